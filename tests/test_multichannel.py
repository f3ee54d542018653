"""One model a channel in one command: train, export, predict, restore; whose channel is whose."""

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.command import zsd
from zsd_optics.inputs import open_images
from zsd_optics.psf_options import per_channel, psf_sources_of
from zsd_optics.psf_source import PsfFile, PsfGaussian, PsfOptics
from zsd_runtime import InputError
from zsd_runtime.channel_models import assigned
from zsd_runtime.channels import Chosen, channel_view, channels_of, choose, file_names, only
from zsd_runtime.images import Image, Voxel, open_image, read_image, write_image
from zsd_runtime.images.image import Channel, Description
from zsd_runtime.notices import no_notice
from zsd_runtime.package import read_package
from zsd_train.run import load_run
from zsd_train.state import State

QUICK = "steps = 2\npatch = 32\nbatch = 1\ndevice = 'cpu'\n[network]\nwidth = 2\ndepth = 1\nhead = 4\n"
PLANE = Path(__file__).parent / "fixtures" / "schema-1" / "plane.zip"
NAMES = ("GFP", "RFP", "DAPI/405")
LEVELS = (100, 400, 1600)  # of the channels, counts: a model of another channel is far off


def picture(names, axes="TCYX", seed=0, levels=LEVELS):
    """Frames of channels that differ in their level."""
    rng = np.random.default_rng(seed)
    data = np.stack([rng.poisson(level / 10, (2, 40, 48)) + level for level in levels], 1).astype(np.uint16)
    described = Description(channels=tuple(Channel(name) for name in names)) if any(names) else Description()
    return Image(data.transpose(["TCYX".index(a) for a in axes]), axes, Voxel.square(0.1), True, described)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of three named channels, of them in another order, and without names."""
    folder = tmp_path_factory.mktemp("channels")
    write_image(folder / "abc.tif", picture(NAMES))
    write_image(folder / "cab.tif", picture(("DAPI/405", "GFP", "RFP"), levels=(1600, 100, 400)))
    write_image(folder / "bare.tif", picture(("", "", "")))
    write_image(folder / "two.tif", picture(NAMES[:2], levels=LEVELS[:2]))
    (folder / "quick.toml").write_text(QUICK)
    return folder


@pytest.fixture(scope="module")
def runs(folder):
    result = zsd("train", folder / "abc.tif", "--psf-sigma", 1.2, "--channels", "all", "--out", folder / "runs",
                 "--config", folder / "quick.toml")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "training RFP (2 of 3)" in result.stderr
    return folder / "runs"


@pytest.fixture(scope="module")
def packages(folder, runs):
    result = zsd("export", runs, folder / "packages", "--quiet")
    assert result.returncode == 0, result.stderr
    return folder / "packages"


def test_a_run_for_each_channel_knows_its_name(runs):
    assert {path.name for path in runs.iterdir()} == {"GFP", "RFP", "DAPI_405"}
    for number, name in enumerate(("GFP", "RFP", "DAPI_405")):
        measured = load_run(runs / name).measured
        assert (measured.channel, measured.channel_number) == (NAMES[number], number)
        assert measured.noise.offset == pytest.approx(LEVELS[number], rel=0.15)
        assert measured.pixel_size_um == pytest.approx(0.1)


def test_a_package_for_each_channel_knows_its_name(packages):
    assert sorted(path.name for path in packages.iterdir()) == ["DAPI_405.zip", "GFP.zip", "RFP.zip"]
    facts = read_package(packages / "DAPI_405.zip").facts
    assert (facts["channel"], facts["channel_number"]) == ("DAPI/405", 2)


@pytest.mark.parametrize("name", ["abc", "cab", "bare", "two"])
def test_each_channel_is_restored_by_its_own_model(name, folder, packages, tmp_path):
    result = zsd("predict", packages, folder / f"{name}.tif", "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    image, back = read_image(folder / f"{name}.tif"), read_image(tmp_path / f"{name}_denoised.tif")
    assert back.axes == "TCYX"
    assert [c.name for c in back.description.channels] == [c.name for c in image.description.channels]
    for number, place in enumerate({"abc": (0, 1, 2), "cab": (2, 0, 1), "bare": (0, 1, 2), "two": (0, 1)}[name]):
        package = packages / ("GFP.zip", "RFP.zip", "DAPI_405.zip")[place]
        alone = Image(image.data[:, number], "TYX")
        write_image(tmp_path / "alone.tif", alone)
        assert zsd("predict", package, tmp_path / "alone.tif", "--out", tmp_path).returncode == 0
        expected = read_image(tmp_path / "alone_denoised.tif").data
        np.testing.assert_allclose(back.data[:, number], expected, rtol=1e-5, atol=1e-4)
    assert ("matched by their order" in result.stderr) == (name == "bare")


def test_a_zarr_of_channels_is_restored_as_a_tiff(folder, packages, tmp_path):
    image = read_image(folder / "cab.tif")
    write_image(tmp_path / "cab.zarr", image)
    for path, format_ in ((folder / "cab.tif", "tiff"), (folder / "cab.tif", "zarr"), (tmp_path / "cab.zarr", "tiff")):
        out = tmp_path / f"{path.suffix}-{format_}"
        options = ("--out", out, "--format", format_, "--tile", "48x48", "--channel", "all")
        assert zsd("predict", packages / "RFP.zip", path, *options).returncode == 0
    first, *others = [read_image(p).data for p in sorted(tmp_path.glob("*/cab_deconvolved.*"))]
    for other in others:
        np.testing.assert_array_equal(first, other)


CHOICES = [
    ("abc", (), ["RFP"], "only RFP, which the model was trained on"),
    ("cab", (), ["RFP"], "only RFP"),
    ("abc", ("--channel", "all"), ["GFP", "RFP", "DAPI/405"], ""),
    ("abc", ("--channel", "dapi/405,0"), ["GFP", "DAPI/405"], ""),
    ("bare", (), ["", "", ""], "trained on RFP: it restores each"),
]


@pytest.mark.parametrize(("name", "options", "restored", "notice"), CHOICES)
def test_a_single_model_restores_its_channel_unless_told_otherwise(
    name, options, restored, notice, folder, packages, tmp_path
):
    result = zsd("predict", packages / "RFP.zip", folder / f"{name}.tif", *options, "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    assert notice in result.stderr
    assert bool(notice) == ("notice: " in result.stderr)
    data = read_image(tmp_path / f"{name}_denoised.tif").data
    assert data.size == 2 * len(restored) * 40 * 48


BAD = {
    "channel of none": (("predict", "packages", "abc.tif", "--channel", "YFP"), "no channel 'YFP': its"),
    "no channels chosen": (("train", "abc.tif", "--psf-sigma", 1), "3 channels, GFP (0), RFP (1), DAPI/405 (2), and"),
    "noise of several": (("noise", "abc.tif", "--channels", "all"), "--channels all are several"),
    "one zip": (("export", "runs", "packages/all.zip"), "runs of 3 channels, DAPI_405, GFP, RFP: give a folder"),
    "packages there": (("export", "runs", "packages"), "exists already"),
    "run there": (
        ("train", "abc.tif", "--psf-sigma", 1, "--channels", "all", "--out", "runs"), "already holds a run: choose",
    ),
    "nothing to resume": (
        ("train", "abc.tif", "--psf-sigma", 1, "--channels", "all", "--resume"), "cannot be resumed",
    ),
    "different channels": (("train", "abc.tif", "two.tif", "--psf-sigma", 1, "--channels", "all"), "3 channels and"),
    "no wavelength": (("train", "abc.tif", "--na", 1.2, "--channels", "RFP"), "wavelength of channel RFP"),
    "twice": (("train", "abc.tif", "--psf-sigma", 1, "--channels", "RFP,1"), "names a channel twice"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_with_channels_is_one_line(name, folder, packages, tmp_path):
    arguments, message = BAD[name]
    paths = {p.name: p for p in folder.iterdir()} | {"packages/all.zip": packages / "all.zip"}
    arguments = [paths.get(str(a), a) for a in arguments]
    if arguments[0] in ("train", "predict") and "--out" not in arguments:
        arguments += ["--out", tmp_path / "never"]
    result = zsd(*arguments)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1), result.stderr
    assert message in result.stderr
    assert not (tmp_path / "never").exists()


def test_one_channel_is_a_run_of_its_own_and_an_image_of_another_order_lends_its_channel(folder, tmp_path):
    result = zsd("train", folder / "abc.tif", folder / "cab.tif", "--psf-sigma", 1.2, "--channels", "rfp", "--out",
                 tmp_path / "run", "--config", folder / "quick.toml")  # fmt: skip
    assert result.returncode == 0, result.stderr
    measured = load_run(tmp_path / "run").measured
    assert (measured.channel, len(measured.images)) == ("RFP", 4)
    assert measured.noise.offset == pytest.approx(400, rel=0.1)


def test_a_training_of_channels_goes_on_where_it_was_interrupted(folder, tmp_path, monkeypatch):
    command = ("train", folder / "two.tif", "--psf-sigma", 1.2, "--channels", "all", "--out", tmp_path, "--config",
               folder / "quick.toml")  # fmt: skip
    average, averaged = State.average, []

    def interrupted(self, *arguments):
        average(self, *arguments)
        averaged.append(self.step)
        if len(averaged) == 3:  # the first step of the second channel
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(State, "average", interrupted)
        result = zsd(*command)
    assert (result.returncode, "--resume" in result.stdout) == (1, True)
    assert load_run(tmp_path / "GFP").measured.steps == 2
    assert zsd(*command, "--resume").returncode == 0
    assert load_run(tmp_path / "RFP").measured.steps == 2


def test_restore_does_all_of_it(folder, tmp_path):
    result = zsd("restore", folder / "two.tif", "--psf-sigma", "GFP=1.1,1=1.2", "--channels", "all", "--out", tmp_path,
                 "--config", folder / "quick.toml", "--pixel-size", 0.2)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["models", "run", "two_deconvolved.tif", "two_denoised.tif"]
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == ["GFP.zip", "RFP.zip"]
    fine = read_image(tmp_path / "two_deconvolved.tif")
    assert (fine.axes, fine.data.shape) == ("TCYX", (2, 2, 80, 96))
    assert fine.voxel.x_um == pytest.approx(0.1)  # what was typed, not what the file says
    assert [c.name for c in fine.description.channels] == ["GFP", "RFP"]
    assert load_run(tmp_path / "run" / "RFP").measured.psf == {"kind": "gaussian", "sigma_px": [1.2]}
    refused = zsd("restore", folder / "two.tif", "--psf-sigma", 1, "--channels", "all", "--out", tmp_path)
    assert "already holds a restoration" in refused.stderr
    again = zsd("restore", folder / "abc.tif", "--psf-sigma", 1, "--channels", "2", "--out", tmp_path, "--config",
                folder / "quick.toml", "--overwrite", "--quiet")  # fmt: skip
    assert (again.returncode, again.stderr) == (0, "")
    assert {p.name for p in tmp_path.iterdir()} >= {"model.zip", "abc_denoised.tif"}
    assert not (tmp_path / "models").exists()
    assert read_image(tmp_path / "abc_denoised.tif").data.size == 2 * 40 * 48


THREE = [Chosen(n, Channel(name)) for n, name in enumerate(NAMES)]


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("all", NAMES, [0, 1, 2]),
        ("rfp", NAMES, [1]),
        ("2, GFP", NAMES, [2, 0]),
        ("0", ("a", "0"), [1]),  # a name goes before a number
        ("channel1", ("", ""), [1]),
        ("a,b", ("c", "a,b"), [1]),
        ("All", ("x", "all"), [1]),
        ("YFP", NAMES, "no channel 'YFP'"),
        ("GFP", ("GFP", "GFP"), "2 channels called 'GFP'.*give a number"),
        ("1", ("GFP", "GFP"), [1]),
        ("", NAMES, "no channel ''"),
        ("-1", NAMES, "no channel '-1'"),
    ],
)
def test_choosing(text, names, expected):
    channels = [Chosen(n, Channel(name)) for n, name in enumerate(names)]
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            choose(text, channels, "channels", "a.tif")
    else:
        assert [c.number for c in choose(text, channels, "channels", "a.tif")] == expected


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (NAMES, ["GFP", "RFP", "DAPI_405"]),
        (("", "α-tubulin", "../x"), ["channel0", "α-tubulin", "x"]),
        (("a/b", "a:b", "A_B"), ["a_b", "a_b_1", "A_B_2"]),
        (("..", "a_1", "a", "A"), ["channel0", "a_1", "a", "A_3"]),
    ],
)
def test_names_of_files(names, files):
    assert file_names([Chosen(n, Channel(name)) for n, name in enumerate(names)]) == files


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["520"], ["520", "520", "520"]),
        (["GFP=520,RFP=610"], ["520", "610", None]),
        (["2=1,dapi/405=3"], "does not name one"),
        (["GFP=520,610"], "does not name one"),
        (["YFP=1"], "does not name one of the channels GFP"),
        (["520", "610"], "one for each"),
        ([], [None, None, None]),
    ],
)
def test_a_value_for_each_channel(texts, expected):
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            per_channel(texts, THREE, "wavelength")
    else:
        assert per_channel(texts, THREE, "wavelength") == expected


def test_the_psf_of_each_channel(tmp_path):
    said = []
    lit = [Chosen(0, Channel("GFP", emission_nm=509.0)), Chosen(1, Channel("RFP", emission_nm=607.0))]
    assert psf_sources_of(lit, na=1.2, notice=said.append) == [PsfOptics(1.2, 509), PsfOptics(1.2, 607)]
    assert said == [f"{c.name}: emission wavelength {c.channel.emission_nm:g} nm, from the file" for c in lit]
    assert psf_sources_of(lit, na=1.2, wavelength="RFP=600") == [PsfOptics(1.2, 509), PsfOptics(1.2, 600)]
    assert psf_sources_of(lit, psf_sigma="GFP=1,RFP=2") == [PsfGaussian((1.0,)), PsfGaussian((2.0,))]
    with pytest.raises(InputError, match="`psf_sigma` is not given for channel RFP"):
        psf_sources_of(lit, psf_sigma="GFP=1")
    for emission in (0.0, 1e6, float("nan"), None):  # what files say that do not know it
        with pytest.raises(InputError, match="of channel GFP, and the file does not say it"):
            psf_sources_of([Chosen(0, Channel("GFP", emission_nm=emission))], na=1.2)
    swapped = Description(channels=(Channel("RFP"), Channel("GFP")))
    several = Image(np.ones((2, 9, 9), np.float32), "CYX", Voxel(), True, swapped)
    write_image(tmp_path / "both.tif", several)
    write_image(tmp_path / "a=b.tif", Image(np.ones((9, 9), np.float32), "YX"))
    both, odd = tmp_path / "both.tif", tmp_path / "a=b.tif"
    assert [s.channel for s in psf_sources_of(lit, psf=[str(both)]) if isinstance(s, PsfFile)] == [1, 0]
    assert psf_sources_of(lit[1:], lit, psf=[both]) == [PsfFile(both, channel=0)]
    assert psf_sources_of(lit, psf=[odd]) == [PsfFile(odd)] * 2
    assert psf_sources_of(lit, psf=[f"GFP={odd}", f"1={both}"]) == [PsfFile(odd), PsfFile(both, channel=0)]
    with pytest.raises(InputError, match=r"channels RFP .0., GFP .1., and none is DAPI"):
        psf_sources_of(THREE[2:], THREE, psf=[both])


def test_the_psf_of_a_channel_is_read_from_a_file_of_several(tmp_path):
    y, x = np.ogrid[-8:9, -8:9]
    widths = {"GFP": 2.0, "RFP": 3.0}
    data = np.stack([np.exp(-0.5 * (y**2 + x**2) / s**2) for s in widths.values()]).astype(np.float32)
    names = tuple(Channel(name) for name in widths)
    write_image(tmp_path / "psf.tif", Image(data, "CYX", Voxel.square(0.05), True, Description(channels=names)))
    (source,) = psf_sources_of([Chosen(0, Channel("RFP"))], psf=[tmp_path / "psf.tif"])
    kernel = source.kernel("yx", Voxel.square(0.1), 2)
    second = float((kernel.sum(0) * np.arange(-(kernel.shape[1] // 2), kernel.shape[1] // 2 + 1) ** 2).sum())
    assert second**0.5 == pytest.approx(3.0, rel=0.15)  # cropped to 99 % of its light


@pytest.mark.parametrize("numbers", [[0], [1], [0, 2], [2, 1], [1, 2]])
def test_views_of_channels_are_what_numpy_takes(numbers, tmp_path):
    image = picture(NAMES)
    write_image(tmp_path / "a.zarr", image)
    for opened in (image, open_image(tmp_path / "a.zarr")):
        view = channel_view(opened.data, 1, numbers)
        assert view.shape == (2, len(numbers), 40, 48)
        whole = tuple(slice(0, n) for n in view.shape)
        np.testing.assert_array_equal(view[whole], image.data[:, numbers])
        np.testing.assert_array_equal(
            view[(1, len(numbers) - 1, slice(3, 9), slice(0, 48))], image.data[1, numbers[-1], 3:9]
        )
        np.testing.assert_array_equal(
            view[(slice(0, 2), 0, slice(3, 9), slice(5, 7))], image.data[:, numbers[0], 3:9, 5:7]
        )
    target = np.zeros_like(image.data)
    channel_view(target, 1, numbers)[(0, 0, slice(2, 5), slice(0, 48))] = image.data[0, 0, 2:5]
    assert target.any(axis=(0, 2, 3)).tolist() == [n == numbers[0] for n in range(3)]
    np.testing.assert_array_equal(target[0, numbers[0], 2:5], image.data[0, 0, 2:5])


def test_labels_follow_their_channels():
    labelled = Description(channels=(Channel("a"), Channel("b")), labels=("a0", "b0", "a1", "b1"))
    image = Image(np.zeros((2, 2, 4, 5), np.uint8), "TCYX", description=labelled)
    kept = only(image, channels_of(image)[1:])
    assert (kept.data.shape, kept.axes) == ((2, 1, 4, 5), "TCYX")
    assert kept.description == Description(channels=(Channel("b"),), labels=("b0", "b1"))


def test_several_models_and_one_image(packages, folder):
    models = [read_package(packages / f"{name}.zip") for name in ("GFP", "RFP", "DAPI_405")]
    said = []

    def pairs(names, channel=None):
        image = picture(names, levels=LEVELS[: len(names)])
        return [[c.number for c in found] for found in assigned(models, image, folder, channel, said.append)]

    assert pairs(("RFP", "GFP")) == [[1], [0], []]
    assert pairs(NAMES, "GFP") == [[0], [], []]
    assert not said
    assert pairs(("GFP", "YFP")) == [[0], [], []]
    assert "no package for YFP (1): not restored" in said[0]
    with pytest.raises(InputError, match=r"channels YFP .0., CFP .1., and the packages are for GFP, RFP, DAPI/405"):
        pairs(("YFP", "CFP"))


@pytest.mark.parametrize("names", [("GFP", "GFP"), ("", ""), ("0", "1"), ("a<b", "α & β")])
def test_names_that_are_odd(names, folder, tmp_path):
    """Two channels of one name are told apart by their numbers."""
    write_image(tmp_path / "a.tif", picture(names, levels=LEVELS[:2]))
    end = ("--config", folder / "quick.toml", "--quiet")
    result = zsd("train", tmp_path / "a.tif", "--psf-sigma", 1, "--channels", "all", "--out", tmp_path / "r", *end)
    assert result.returncode == 0, result.stdout
    models = [load_run(path).measured for path in (tmp_path / "r").iterdir()]
    facts = [{"channel": m.channel, "channel_number": m.channel_number} for m in models]
    described = [replace(read_package(PLANE), channel=f["channel"], rdf={"config": {"zsd": f}}) for f in facts]
    image = open_image(tmp_path / "a.tif")
    for model, measured in zip(described, models, strict=True):
        said = []
        assert [[c.number for c in found] for found in assigned([model], image, folder, None, said.append)] == [
            [measured.channel_number]
        ]
    each = assigned(described, image, folder, None, no_notice)
    assert [[c.number for c in found] for found in each] == [[m.channel_number] for m in models]


def test_images_without_channels_are_opened_as_ever(folder):
    write_image(folder / "plain.png.tif", Image(picture(NAMES).data[0, 0], "YX"))
    opened = open_images([folder / "plain.png.tif"])
    assert (opened.spatial, [a.shape for a in opened.arrays()], opened.frames) == ("YX", [(40, 48)], 1)
