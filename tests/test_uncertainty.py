"""The uncertainty of results: what theory says of a linear filter, in tiles and files, and what has none."""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.command import zsd
from zsd_optics.pictures import binned
from zsd_runtime import InputError, load_model
from zsd_runtime.camera import Camera, camera_of
from zsd_runtime.images import read_image
from zsd_runtime.model import Model
from zsd_runtime.normalize import Linear
from zsd_runtime.package import ModelDescription
from zsd_runtime.tensors import TensorSpec
from zsd_runtime.uncertainty import FACTOR, LEVEL, REPEATS, SHARE_OF_LIGHT, Uncertain, with_uncertainty

FIXTURES = Path(__file__).parent / "fixtures" / "schema-1"
CAMERA = Camera(offset=100.0, scale=50.0, gain=2.0, constant=-180.0, floor=20.0)  # read noise of √20 counts
LEVEL_COUNTS = 40.0


class Mean:
    """An engine that takes the mean over 3 x 3 pixels, and repeats it on a grid twice as fine; it counts its runs."""

    name, device, precision = "mean", "cpu", "fp32"

    def __init__(self, dtype=np.float32):
        self.input_dtype, self.output_dtypes = np.dtype(dtype), [np.dtype(np.float32)] * 2
        self.output_names, self.runs = ["denoised", "deconvolved"], 0

    def prepare(self, batch_shape, output_shapes):
        assert len(output_shapes) == 2
        assert output_shapes[1][-1] == 2 * batch_shape[-1]

    def empty(self, shape, dtype):
        return np.full(shape, 77, dtype)

    def run(self, batch, outputs):
        assert batch.dtype == self.input_dtype
        self.runs += 1
        padded = np.pad(batch.astype(np.float32), [(0, 0)] * (batch.ndim - 2) + [(1, 1)] * 2, mode="edge")
        views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (-2, -1))
        outputs[0][:] = views.mean((-2, -1)) - (100 if self.input_dtype == np.uint16 else 0)
        outputs[1][:] = np.kron(outputs[0], np.ones((2, 2)))

    def close(self):
        pass


def description(camera=CAMERA, dtype="float32", axes="yx", channels=1):
    """Of a `Mean`: normalised numbers, or camera counts if the input is uint16."""
    flat = (1,) * (len(axes) - 2)
    counts = dtype == "uint16"
    before, after = (Linear(), Linear()) if counts else (Linear(1 / 50, -2), Linear(50))
    source = TensorSpec("noisy", channels, (*flat, 1, 1), dtype, before)
    denoised = TensorSpec("denoised", 1, (*flat, 1, 1), "float32", after)
    fine = TensorSpec("deconvolved", 1, (*flat, 2, 2), "float32", after)
    halo = (*flat[:0], *(0 for _ in flat), 2, 2)
    return ModelDescription("m", axes, (1,) * len(axes), halo, source, (denoised, fine), b"", camera=camera)


def uncertain(repeats=REPEATS, **kind):
    d = description(**kind)
    engine = Mean(d.input.dtype)
    return Model(with_uncertainty(d), Uncertain(engine, d, repeats)), engine


def even(shape):
    """An image without noise, `LEVEL_COUNTS` above the offset; corrections would take it for a blank one."""
    return np.full(shape, 100 + LEVEL_COUNTS, np.float32)


@pytest.mark.parametrize("axes", ["yx", "zyx"])
@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_a_linear_filter_has_the_uncertainty_that_its_noise_gives(axes, dtype):
    model, _ = uncertain(40, axes=axes, dtype=dtype)
    result = model.predict(even((3, 64, 64) if axes == "zyx" else (96, 96)), corrections=None)
    np.testing.assert_allclose(result.denoised, LEVEL_COUNTS, rtol=1e-5)
    # The line's variance at 140 counts is 2 · 140 - 180 counts²; the mean of 9 pixels has a ninth of it.
    variance, level = (2 * 140 - 180) / 9, LEVEL * 50
    for name, grid in (("denoised", 1), ("deconvolved", 2)):
        light = SHARE_OF_LIGHT[grid] * LEVEL_COUNTS
        expected = FACTOR * np.sqrt((0.676 * np.sqrt(variance)) ** 2 + light**2 + level**2)
        found = result[f"{name}_uncertainty"]
        assert found.shape == result[name].shape
        assert found.dtype == np.float32
        assert found.mean() == pytest.approx(expected, rel=0.03)
        assert found.std() < 0.15 * expected


def test_results_are_those_without_uncertainty_and_repeat_exactly():
    image = np.random.default_rng(0).poisson(60, (70, 50)).astype(np.float32) + 100
    d = description()
    with Model(d, Mean()) as plain:
        expected = plain.predict(image, tile=(40, 40))
    model, engine = uncertain()
    first, again = (model.predict(image, tile=(40, 40)) for _ in range(2))
    for name in expected:
        np.testing.assert_array_equal(first[name], expected[name])
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    tiles = len(model.plan((70, 50), (40, 40)))
    assert engine.runs == 2 * tiles * (1 + REPEATS)


def test_brighter_pixels_are_less_certain_also_in_tiles():
    image = even((128, 128))
    image[:, 64:] += 900
    model, _ = uncertain()
    whole, tiled = (model.predict(image, tile=tile, corrections=None).denoised_uncertainty for tile in (None, (48, 48)))
    for found in (whole, tiled):
        assert found[:, 80:].mean() > 3 * found[:, :48].mean()
    np.testing.assert_allclose(binned(tiled, 16), binned(whole, 16), rtol=0.15)  # other random numbers


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"camera": None}, "does not say the noise"),
        ({"camera": replace(CAMERA, gain=0.0)}, "do not show the gain"),
        ({"camera": replace(CAMERA, correlated="YX")}, "shared by neighbouring pixels along Y and X"),
        ({"channels": 2}, "no output `denoised`"),
    ],
)
def test_what_has_no_uncertainty_says_why(change, why):
    with pytest.raises(InputError, match=why) as raised:
        with_uncertainty(description(**change))
    assert raised.value.options == ("uncertainty",)


@pytest.mark.parametrize("repeats", [-1, 0, 1])
def test_one_repeat_is_too_few(repeats):
    with pytest.raises(InputError, match=f"`uncertainty` {repeats} must be 2"):
        Uncertain(Mean(), description(), repeats)


def test_a_package_keeps_what_pixels_share():
    camera = replace(CAMERA, correlated="X")
    assert camera_of(camera.facts) == camera
    assert "correlated" not in CAMERA.facts
    with pytest.raises(InputError, match="correlated along"):
        camera_of({**CAMERA.facts, "correlated": "Z"})


@pytest.fixture(scope="module", params=["plane", "volume"])
def packaged(request, tmp_path_factory):
    """A package that knows its camera, and an image for it."""
    folder = tmp_path_factory.mktemp("packaged") / "model"
    with zipfile.ZipFile(FIXTURES / f"{request.param}.zip") as archive:
        archive.extractall(folder)
    rdf = yaml.safe_load((folder / "rdf.yaml").read_text("utf-8"))
    rdf["config"]["zsd"]["camera"] = CAMERA.facts
    (folder / "rdf.yaml").write_text(yaml.safe_dump(rdf), "utf-8")
    return folder, FIXTURES / f"{request.param}.tif"


def test_the_command_line_writes_a_map_of_each_output(packaged, tmp_path):
    package, image = packaged
    said = zsd("predict", package, image, "--out", tmp_path, "--engine", "onnxruntime", "--uncertainty")
    assert said.returncode == 0, said.stderr
    with load_model(package, engine="onnxruntime", uncertainty=REPEATS) as model:
        expected = model.predict(read_image(image).data)
    for name in ("denoised", "deconvolved"):
        result, spread = (read_image(tmp_path / f"{image.stem}_{name}{end}.tif") for end in ("", "_uncertainty"))
        assert (spread.data.shape, spread.voxel) == (result.data.shape, result.voxel)
        np.testing.assert_array_equal(spread.data, expected[f"{name}_uncertainty"])
        assert spread.data.min() > 0


def test_the_command_line_refuses_a_package_that_does_not_know_its_camera(tmp_path):
    said = zsd("predict", FIXTURES / "plane.zip", FIXTURES / "plane.tif", "--out", tmp_path, "--uncertainty")
    assert said.returncode == 2
    assert "error: the model has no uncertainty: its package does not say the noise of its images" in said.stderr
    assert "leave --uncertainty out" in said.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shared", [("--part", "1/2"), ("--cluster", "local:2")])
def test_several_processes_make_no_uncertainty(shared, tmp_path):
    said = zsd("predict", FIXTURES / "plane.zip", FIXTURES / "plane.tif", "--out", tmp_path, "--uncertainty", *shared)
    assert said.returncode == 2
    assert "--uncertainty is not made by several processes yet" in said.stderr


def test_half_widths_are_not_rounded_to_counts(packaged, tmp_path):
    package, image = packaged
    options = ("--engine", "onnxruntime", "--uncertainty", "--dtype", "uint16")
    assert zsd("predict", package, image, "--out", tmp_path, *options).returncode == 0
    found = {
        name: read_image(tmp_path / f"{image.stem}_{name}.tif").data.dtype
        for name in ("denoised", "denoised_uncertainty")
    }
    assert found == {"denoised": np.uint16, "denoised_uncertainty": np.float32}
