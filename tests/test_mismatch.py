"""Images that are of another kind than a model's training are warned of; images of the same kind are not."""

import json
import re
import shutil
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import scipy.ndimage as ndi
import tifffile
import yaml

from tests.command import zsd
from zsd_optics import simulate as simulated
from zsd_optics.noise import estimate_noise
from zsd_runtime import InputError, load_model, mismatches, statistics
from zsd_runtime.camera import Camera
from zsd_runtime.images import Voxel
from zsd_runtime.images.image import Channel, Description, Image
from zsd_runtime.mismatch import Mismatch, image_mismatches, noise_ratios
from zsd_runtime.normalize import Linear
from zsd_runtime.package import ModelDescription, read_package
from zsd_runtime.summary import MOST_LINES, Restored, warning_lines
from zsd_runtime.tensors import TensorSpec

SHAPE = (160, 160)
CAMERA = simulated.Camera(100, 2, 2)


@cache
def photons(seed=2):
    """Light, electrons a pixel, at most about 100."""
    scene = simulated.simulate(SHAPE, photons=100, camera=CAMERA, seed=seed)
    return np.clip((scene.clean - 100.0) / 2, 0, None)


def exposed(light, camera=CAMERA, seed=0):
    return camera.expose(light, np.random.default_rng(seed))


def described(image, axes="yx", **fields):
    """A model that was trained on `image`, as an export describes it."""
    planes = [np.asarray(plane, np.float64) for plane in image.reshape(-1, *image.shape[-2:])]
    noise = estimate_noise(planes)
    bright = max(float(np.percentile(ndi.uniform_filter(plane, 5), 99.5)) for plane in planes)
    camera = Camera(
        noise.offset, bright - noise.offset, noise.gain, noise.constant, noise.floor, image.dtype.name,
        float(image.min()), float(image.max()),
    )  # fmt: skip
    found = statistics(image)
    camera = replace(camera, saturated=found.saturated, noise_ratios=noise_ratios(camera, found))
    spec = TensorSpec("noisy", 1, (1,) * len(axes), "float32", Linear())
    return ModelDescription("model", axes, (4,) * len(axes), (8,) * len(axes), spec, (), b"", camera=camera, **fields)


@pytest.fixture(scope="module")
def model():
    return described(exposed(photons()))


def raw(seed=1):
    return exposed(photons(), seed=seed)


def changed(image, change):
    image = image.copy()
    change(image)
    return image


def stretched(image):
    return (image - image.min()) / float(np.ptp(image))


HOT = np.random.default_rng(3).random(SHAPE) < 0.005
SAME = {  # images of the same camera, whatever they show
    "the same": lambda: raw(),
    "as float": lambda: raw().astype(np.float32),
    "as int32": lambda: raw().astype(np.int32),
    "a third of the exposure": lambda: exposed(photons() / 3),
    "three times the exposure": lambda: exposed(photons() * 3),
    "bleached to a fifth": lambda: exposed(photons() / 5),
    "another field": lambda: exposed(photons(9)),
    "no dark background": lambda: exposed(photons() + 40),
    "all foreground": lambda: exposed(np.sort(photons().ravel())[-6400:].reshape(80, 80).copy()),
    "a crop": lambda: raw()[30:110, 40:150],
    "a small crop": lambda: raw()[30:70, 40:80],
    "smaller than a window": lambda: raw()[:9, :12],
    "zeros at the border": lambda: changed(raw(), lambda a: a.__setitem__(np.s_[:40], 0)),
    "the offset at the border": lambda: changed(raw(), lambda a: a.__setitem__(np.s_[:, -30:], 100)),
    "full scale at the border": lambda: changed(raw().astype(np.float32), lambda a: a.__setitem__(np.s_[:9], np.nan)),
    "a frame of NaN": lambda: np.stack([raw().astype(np.float32), np.full(SHAPE, np.nan, np.float32)]),
    "single NaN": lambda: changed(raw().astype(np.float32), lambda a: a.__setitem__(HOT, np.nan)),
    "hot pixels": lambda: changed(raw(), lambda a: a.__setitem__(HOT, 60000)),
    "mildly hot pixels": lambda: changed(raw(), lambda a: a.__setitem__(HOT, 300)),
    "dead pixels": lambda: changed(raw(), lambda a: a.__setitem__(HOT, 0)),
    "a blank frame": lambda: np.stack([raw(1), raw(2), np.zeros_like(raw())]),
    "a frame of the offset": lambda: np.stack([raw(1), np.full_like(raw(), 100), raw(2)]),
    "a dark frame": lambda: np.stack([raw(1), exposed(0 * photons()), raw(2)]),
    "row noise": lambda: raw() + np.random.default_rng(0).normal(0, 1, (160, 1)),
    "a background of 3 counts was subtracted": lambda: raw().astype(np.int16) - 3,
}


@pytest.mark.parametrize("name", SAME)
def test_images_of_the_same_camera_are_not_warned_of(name, model):
    assert [str(m) for m in mismatches(model, statistics(SAME[name]()))] == []


OTHER = {  # the image, the kind, and words of the sentence
    "background subtracted": (lambda: raw() - 104.0, "dark level", r"at -3\.9.*is 100.*background was subtracted"),
    "a background of half the offset": (lambda: raw() - 50.0, "dark level", r"at 50.*background was subtracted"),
    "subtracted and clipped": (lambda: np.clip(raw() - 104.0, 0, None).astype(np.uint16), "dark level", "subtracted"),
    "rolling ball": (lambda: raw() - ndi.minimum_filter(ndi.gaussian_filter(raw() * 1.0, 3), 30), "dark level", ""),
    "0 to 1": (lambda: stretched(raw()).astype(np.float32), "dark level", r"rescaled to 0\.\.1"),
    "-1 to 1": (lambda: 2 * stretched(raw()) - 1, "dark level", r"rescaled to -1\.\.1"),
    "full scale is 1": (lambda: raw() / 65535, "dark level", "rescaled to"),
    "mean 0 and variance 1": (lambda: (raw() - raw().mean()) / raw().std(), "dark level", "offset is 100"),
    "8 bit, halved": (lambda: np.clip(raw() / 2.0, 0, 255).astype(np.uint8), "dark level", "at 49.*8 bit"),
    "8 bit, stretched": (lambda: (255 * stretched(raw())).astype(np.uint8), "dark level", "8 bit"),
    "16 bit, stretched": (lambda: (65535 * stretched(raw())).astype(np.uint16), "dark level|noise", "scaled|stretched"),
    "the logarithm": (lambda: np.log1p(raw().astype(np.float32)), "dark level", "rescaled"),
    "a camera of offset 500": (lambda: raw() + 400, "dark level", "about 400 counts above"),
    "inverted": (lambda: raw().max() - raw(), "dark level|noise", ""),
    "12 bits at the top of 16": (lambda: raw() * 16, "noise", "rescaled"),
    "two frames averaged": (lambda: (raw(1) + raw(2).astype(np.float32)) / 2, "noise", "averaged"),
    "eight frames averaged": (lambda: np.mean([raw(s) for s in range(8)], 0), "noise", "averaged"),
    "four frames summed": (lambda: np.sum([raw(s) for s in range(4)], 0), "dark level", "above that of the model's"),
    "pixels summed": (lambda: raw().reshape(80, 2, 80, 2).sum((1, 3)), "dark level", "another camera or was rescaled"),
    "pixels averaged": (lambda: raw().reshape(80, 2, 80, 2).mean((1, 3)), "noise", "averaged"),
    "twice the gain": (lambda: exposed(photons(), simulated.Camera(100, 4, 2)), "noise", "gain is another"),
    "another camera": (lambda: exposed(photons(), simulated.Camera(100, 2, 9)), "noise", "gain is another"),
    "filtered": (lambda: ndi.gaussian_filter(raw().astype(np.float32), 1), "noise", "filtered"),
    "median": (lambda: ndi.median_filter(raw(), 3), "noise", "filtered"),
    "rotated": (lambda: ndi.rotate(raw().astype(np.float32), 15, reshape=False, order=1), "noise", "resampled"),
    "a result of zsd": (lambda: (2 * photons()).astype(np.float32), "dark level", "offset is 100"),
    "twenty times as bright": (lambda: exposed(photons() * 20), "brightness", "20"),
    "a hundredth of the light": (lambda: exposed(photons() / 100), "brightness", "only 1/"),
    "nothing but noise": (lambda: exposed(photons() * 0), "brightness", "only 1/"),
    "all zeros": (lambda: np.zeros(SHAPE, np.uint16), "dark level", "at 0 counts"),
    "a small stretched crop": (lambda: stretched(raw()[:10, :10]), "dark level", r"rescaled to 0\.\.1"),
    "saturated": (lambda: np.minimum(raw(), 220), "saturation", r"saturated at 220 counts"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_images_of_another_kind_are_warned_of(name, model):
    image, kind, words = OTHER[name]
    found = mismatches(model, statistics(image()))
    assert found
    assert found[0].kind in kind.split("|"), found
    assert len({m.kind for m in found}) == len(found)
    text = str(found[0])
    assert re.search(words, text), text
    assert "\n" not in text
    assert "nan" not in text


@pytest.mark.parametrize("seed", range(6))
def test_cameras_at_random(seed):
    """No false alarm for other exposures and fields; averaged, shifted and stretched images are found."""
    rng = np.random.default_rng(seed)
    camera = simulated.Camera(rng.uniform(30, 500), np.exp(rng.uniform(-1, 1.5)), rng.uniform(1, 4))
    light = photons(seed) * rng.uniform(0.5, 4)
    model = described(exposed(light, camera, seed))
    same = [exposed(light * k, camera, seed + 1) for k in (0.4, 1, 2.5)] + [exposed(photons(seed + 50), camera, seed)]
    assert [m.text for image in same for m in mismatches(model, statistics(image))] == []
    frames = [exposed(light, camera, s).astype(np.float64) for s in range(4)]
    other = [np.mean(frames, 0), frames[0] - camera.offset, stretched(frames[0]), frames[0] * 8, sum(frames)]
    assert [bool(mismatches(model, statistics(image))) for image in other] == [True] * len(other)


def test_an_offset_that_holds_background_is_no_bound():
    """The model was trained where nothing was dark; its noise line says where the camera's own offset is."""
    crowded = described(exposed(photons() + 60))
    assert crowded.camera.offset > 200
    assert mismatches(crowded, statistics(exposed(photons() + 20))) == []
    (found,) = mismatches(crowded, statistics(exposed(photons()) - 110.0))
    assert found.kind == "dark level"


def test_volumes_are_sampled():
    read = []

    class Lazy:
        shape, dtype = (3, 40, 1500, 1500), np.dtype(np.uint16)

        def __getitem__(self, box):
            read.append(box)
            return exposed(np.full([s.stop - s.start for s in box[-2:]], 9.0), seed=len(read))

    found = statistics(Lazy())
    assert found.dark == pytest.approx(118, abs=0.5)
    assert len({box[:2] for box in read}) == 16
    pixels = sum(np.prod([s.stop - s.start for s in box[-2:]]) for box in read)
    assert 1 << 19 < pixels <= 1 << 21
    assert found.variances == pytest.approx([40] * len(found.variances), rel=0.1)


ODD = {
    "one pixel": np.zeros((1, 1), np.uint8),
    "one row": np.zeros((1, 300), np.float32),
    "all NaN": np.full((50, 50), np.nan, np.float32),
    "all infinite": np.full((50, 50), np.inf),
    "64 bit": np.random.default_rng(0).integers(0, 2**63 - 1, (64, 64)),
    "half precision": np.random.default_rng(0).random((64, 64)).astype(np.float16),
    "huge": np.random.default_rng(0).random((64, 64)) * 1e300,
    "large": np.random.default_rng(0).random((64, 64)) * 1e37,
    "some infinite": np.where(np.random.default_rng(0).random((64, 64)) < 0.1, np.inf, 1.0),
    "two values": np.random.default_rng(0).integers(0, 2, (64, 64)).astype(np.uint8),
    "blank": np.zeros((2, 3, 20, 20), np.uint16),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_images_are_measured_without_a_complaint(name, model):
    for mismatch in mismatches(model, statistics(ODD[name])):
        assert "nan" not in str(mismatch)


SIZES = {  # axes of the model; the image's z step and pixel sizes; kinds
    "the same": ("yx", (None, 0.0626, 0.0626), []),
    "rounded": ("yx", (None, 0.0625, 0.063), []),
    "unknown": ("yx", (None, None, None), []),
    "1 µm": ("yx", (None, 1, 1), ["pixel size"]),
    "binned": ("yx", (None, 0.1252, 0.1252), ["pixel size"]),
    "a magnifier of 1.5": ("yx", (None, 0.0417, 0.0417), ["pixel size"]),
    "X alone": ("yx", (None, 0.0626, 0.1), ["pixel size"]),
    "a plane's step": ("yx", (5, 0.0626, 0.0626), []),
    "another step": ("zyx", (0.3, 0.0626, 0.0626), ["z step"]),
    "both": ("zyx", (0.3, 0.1, 0.1), ["pixel size", "z step"]),
    "no step": ("zyx", (None, 0.0626, 0.0626), []),
    "what is no size": ("zyx", (0.0, float("nan"), -1), []),
}


@pytest.mark.parametrize("name", SIZES)
def test_pixel_sizes(name, model):
    axes, (z, y, x), kinds = SIZES[name]
    sized = replace(model, axes=axes, pixel_size_um=0.0626, z_step_um=0.2, camera=None)
    found = mismatches(sized, statistics(raw()), Voxel(z, y, x))
    assert [m.kind for m in found] == kinds
    if name == "1 µm":
        assert "its pixel size is 1 µm, and the model was trained at 0.0626 µm" in str(found[0])
    assert mismatches(replace(sized, pixel_size_um=None, z_step_um=None), statistics(raw()), Voxel(z, y, x)) == []


def test_each_channel_is_compared_by_itself(model):
    data = np.stack([[raw(s), raw(s) + 400] for s in range(3)])
    named = Description(channels=(Channel("GFP"), Channel("mCherry")))
    image = Image(data, "TCYX", Voxel(0.2, 1, 1), description=named)
    found = image_mismatches(replace(model, channel="gfp", pixel_size_um=0.1), image)
    assert [m.kind for m in found] == ["pixel size", "channel", "dark level"]
    assert found[1].text.startswith("channel 'mCherry' is not the model's, which was trained on 'gfp'")
    assert found[2].text.startswith("channel mCherry: the darkest parts are at 500.1 counts")
    bare = image_mismatches(model, replace(image, description=Description()))
    assert [m.text[:10] for m in bare] == ["channel 1:"]
    single = replace(image, data=data[:, 0], axes="TYX", description=Description(channels=(Channel("DAPI"),)))
    assert [m.kind for m in image_mismatches(replace(model, channel="GFP"), single)] == ["channel"]


# What a package says.


def test_a_package_says_what_it_was_trained_on(packages, simulation):
    camera = read_package(packages["2D zoo"]).camera
    assert camera is not None
    assert camera.offset == pytest.approx(100, abs=2)
    assert camera.gain == pytest.approx(1.5, rel=0.2)
    assert (camera.dtype, camera.lowest, camera.highest) == ("uint16", simulation.noisy.min(), simulation.noisy.max())
    assert camera.noise_ratios == pytest.approx((1, 1, 1), abs=0.25)
    assert camera.least_level == pytest.approx(100 - 4 / 1.5, abs=2)
    assert read_package(packages["2D deepimagej"]).camera == camera
    assert read_package(packages["3D zoo"]).camera is None  # imported weights
    assert mismatches(read_package(packages["2D zoo"]), statistics(simulation.noisy)) == []


def test_older_packages_say_nothing_of_a_camera():
    from tests.test_golden import OLD

    for kind in ("plane", "volume"):
        model = read_package(OLD / f"{kind}.zip")
        assert (model.camera, model.channel) == (None, None)
        assert mismatches(model, statistics(raw() * 100)) == []


BAD = {
    "no mapping": lambda c: [1, 2],
    "no offset": lambda c: {k: v for k, v in c.items() if k != "offset"},
    "a text": lambda c: {**c, "gain": "high"},
    "truth": lambda c: {**c, "gain": True},
    "infinite": lambda c: {**c, "constant": float("inf")},
    "NaN": lambda c: {**c, "offset": float("nan")},
    "no scale": lambda c: {**c, "scale": 0},
    "negative gain": lambda c: {**c, "gain": -1},
    "two ratios": lambda c: {**c, "noise_ratios": [1, 1]},
    "a ratio of 0": lambda c: {**c, "noise_ratios": [1, 1, 0]},
    "a dtype of lists": lambda c: {**c, "dtype": [["x"]]},
    "a number as dtype": lambda c: {**c, "dtype": 16},
}


@pytest.mark.parametrize("name", BAD)
def test_a_camera_that_is_malformed_is_an_error(name, package, tmp_path):
    shutil.copytree(package, tmp_path / "copy")
    rdf = yaml.safe_load((package / "rdf.yaml").read_text())
    facts = rdf["config"]["zsd"]
    facts["camera"] = BAD[name](facts["camera"])
    (tmp_path / "copy" / "rdf.yaml").write_text(yaml.safe_dump(rdf))
    with pytest.raises(InputError, match="export the model again") as error:
        read_package(tmp_path / "copy")
    assert "\n" not in str(error.value)


def test_a_channel_stands_in_the_package(package, tmp_path):
    shutil.copytree(package, tmp_path / "copy")
    rdf = yaml.safe_load((package / "rdf.yaml").read_text())
    rdf["config"]["zsd"]["channel"] = "GFP"
    (tmp_path / "copy" / "rdf.yaml").write_text(yaml.safe_dump(rdf))
    assert read_package(tmp_path / "copy").channel == "GFP"


# What `zsd predict` says.


@pytest.fixture(scope="module")
def images(tmp_path_factory, simulation):
    folder = tmp_path_factory.mktemp("images")
    noisy = simulation.noisy
    size = {"imagej": True, "metadata": {"unit": "um", "axes": "YX"}}
    tifffile.imwrite(folder / "good.tif", noisy, resolution=(1 / 0.0626, 1 / 0.0626), **size)
    tifffile.imwrite(folder / "micron.tif", noisy, resolution=(1, 1), **size)
    tifffile.imwrite(folder / "micron2.tif", noisy, resolution=(1, 1), **size)
    tifffile.imwrite(folder / "f01.tif", stretched(noisy).astype(np.float32))
    return folder


def test_predict_warns_in_its_last_lines(package, images, tmp_path):
    names = ["good", "micron", "f01", "micron2"]
    result = zsd(
        "predict", package, *(images / f"{n}.tif" for n in names), "--out", tmp_path, "--engine", "onnxruntime"
    )
    assert result.returncode == 0
    *_, first, second = result.stderr.splitlines()
    assert first.startswith("warning: micron.tif, micron2.tif: its pixel size is 1 µm, and the model")
    assert second.startswith("warning: f01.tif: the darkest parts are at 0.")
    assert result.stdout.splitlines()[-1].endswith("; 2 warnings")
    assert sum("warning" in line for line in result.stderr.splitlines()) == 2


@pytest.mark.parametrize(("name", "end"), [("good", "fp32)"), ("f01", "; 1 warning: run without --quiet")])
def test_predict_quietly(name, end, package, images, tmp_path):
    result = zsd("predict", package, images / f"{name}.tif", "--out", tmp_path, "--engine", "onnxruntime", "--quiet")
    assert result.stderr == ""
    (line,) = result.stdout.splitlines()
    assert line.startswith("OK 1 image restored in ")
    assert line.endswith(end)


def test_json(package, images, tmp_path):
    result = zsd(
        "predict", package, images / "good.tif", images / "f01.tif", images / "none.tif", "--out", tmp_path, "--json",
        "--engine", "onnxruntime", "--quiet",
    )  # fmt: skip
    assert result.returncode == 2
    (line,) = result.stdout.splitlines()
    found = json.loads(line)
    good, scaled, missing = found.pop("images")
    assert found.pop("seconds") > 0
    assert found == {"engine": "onnxruntime", "device": "cpu", "precision": "fp32", "average": 1}
    results = [str(tmp_path / f"good_{name}.tif") for name in ("denoised", "deconvolved")]
    assert good == {
        "image": str(images / "good.tif"), "results": results, "warnings": [], "bad_pixels": {}, "error": None,
    }  # fmt: skip
    assert [w["kind"] for w in scaled["warnings"]] == ["dark level"]
    assert (missing["results"], "does not exist" in missing["error"]) == ([], True)


def test_many_images_are_few_lines(tmp_path):
    batch = [Restored(tmp_path / f"{i}.tif", warnings=(Mismatch("noise", f"noise {i}"),)) for i in range(20)]
    lines = warning_lines(batch)
    assert len(lines) == MOST_LINES + 1
    assert lines[-1].startswith("15 more with another noise")
    alike = [Restored(tmp_path / f"{i}.tif", warnings=(Mismatch("noise", "loud"),)) for i in range(20)]
    assert warning_lines(alike) == ["0.tif, 1.tif, 2.tif and 17 more: loud"]


def test_inspect_and_the_page_say_it(package):
    page = (package / "README.md").read_text()
    told = zsd("inspect", package).stdout
    for text in (page, told):
        assert "uint16, " in text
        assert "dark parts at " in text


def test_python(package, simulation):
    with load_model(package, engine="onnxruntime") as model:
        assert model.description.camera is not None
        found = mismatches(model.description, statistics(simulation.noisy / 2), Voxel.square(0.5))
    assert [m.kind for m in found] == ["pixel size", "dark level"]
