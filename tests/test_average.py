"""Predictions averaged over flips and turns: as by hand, in tiles, of any size, tile by tile; and what is refused."""

import json
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.command import zsd
from zsd_runtime import InputError, load_model
from zsd_runtime.average import COUNTS, SYMMETRIES
from zsd_runtime.engines import OutOfMemory
from zsd_runtime.images import Image, Voxel, read_image, write_image
from zsd_runtime.images.image import Description
from zsd_runtime.model import Model
from zsd_runtime.normalize import Linear
from zsd_runtime.package import ModelDescription
from zsd_runtime.tensors import TensorSpec
from zsd_runtime.tiling import LONGEST_SIDE, choose_square_tile, plan

FIXTURES = Path(__file__).parent / "fixtures" / "schema-1"
KERNEL = np.random.default_rng(5).uniform(0, 1, (3, 5))
LOPSIDED = np.array([[0.5, 1.5], [0.8, 1.2]])  # of the four fine pixels of a pixel
PIXELS = 1 << 20


class Filter:
    """An engine of one filter, without the symmetries of a square; it counts what it does.

    `kernel` is (Y, X), with zeros beyond the edges of a tile; `fine` are the factors of each pixel's fine pixels.
    """

    name, device, precision = "filter", "cpu", "fp32"

    def __init__(self, kernel=KERNEL, fine=LOPSIDED, dtype=np.float32, multiple=(1, 1), largest=PIXELS):
        self.kernel, self.fine, self.multiple, self.largest = kernel, fine, multiple, largest
        self.input_dtype, self.output_dtypes = np.dtype(np.float32), [np.dtype(dtype)] * 2
        self.output_names = ["denoised", "deconvolved"]
        self.runs, self.prepared, self.bytes = 0, [], 0

    def prepare(self, batch_shape, output_shapes):  # noqa: ARG002
        self.prepared.append(batch_shape[2:])
        if prod(batch_shape[2:]) > self.largest:
            raise OutOfMemory("no memory")
        assert all(n % m == 0 for n, m in zip(batch_shape[-2:], self.multiple, strict=True))

    def empty(self, shape, dtype):
        array = np.full(shape, 77, dtype)
        self.bytes += array.nbytes
        return array

    def run(self, batch, outputs):
        assert batch.flags.c_contiguous
        assert batch.shape[2:] == self.prepared[-1]
        self.runs += 1
        ky, kx = self.kernel.shape
        padded = np.pad(batch.astype(np.float64), [(0, 0)] * (batch.ndim - 2) + [(ky // 2,) * 2, (kx // 2,) * 2])
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.kernel.shape, (-2, -1))
        filtered = np.sqrt(np.abs((windows * self.kernel).sum((-2, -1))))  # not linear
        for output, values in zip(outputs, (filtered, np.kron(filtered, self.fine)), strict=True):
            output[:] = np.rint(values) if output.dtype.kind == "u" else values

    def close(self):
        pass


def filtered(engine, axes="yx", halo=(1, 2), **changes):
    """A model of a `Filter`, whose description is as exact as can be."""
    flat = (1,) * (len(axes) - 2)
    source, denoised, fine = (
        TensorSpec(name, 1, (*flat, *scale), "float32", Linear())
        for name, scale in (("noisy", (1, 1)), ("denoised", (1, 1)), ("deconvolved", engine.fine.shape))
    )
    halo = (0,) * len(flat) + halo
    d = ModelDescription("filter", axes, (*flat, *engine.multiple), halo, source, (denoised, fine), b"")
    return Model(replace(d, **changes), engine)


def noise(shape, seed=0):
    return np.random.default_rng(seed).poisson(30, shape).astype(np.uint16) + 100


def by_hand(model, image, average, **options):
    """The mean of predictions for whole images, flipped and turned outside of the model."""
    ways = []
    every: dict[int, list[tuple[int, ...]]]
    every = {1: [()], 2: [(), (-1,)], 4: [(), (-1,), (-2,), (-2, -1)], 8: [(), (-1,)]}
    for turn in range(4 if average == 8 else 1):
        turned = np.rot90(image, turn, (-2, -1))
        for flips in every[average]:
            result = model.predict(np.ascontiguousarray(np.flip(turned, flips)), **options)
            ways.append({k: np.rot90(np.flip(v, flips), -turn, (-2, -1)) for k, v in result.items()})
    return {name: np.mean([way[name] for way in ways], axis=0, dtype=np.float64) for name in ways[0]}


def test_the_symmetries_are_those_of_the_square():
    image = np.arange(6).reshape(2, 3)
    seen = [symmetry(image) for symmetry in SYMMETRIES]
    assert {(way.shape, way.tobytes()) for way in seen} == {
        (way.shape, way.tobytes()) for turn in range(4) for way in (np.rot90(image, turn), np.rot90(image.T, turn))
    }
    for symmetry, way in zip(SYMMETRIES, seen, strict=True):
        np.testing.assert_array_equal(symmetry.undone(way), image)
    np.testing.assert_array_equal(seen[0], image)
    np.testing.assert_array_equal(seen[1], image[:, ::-1])
    assert all(way.shape == (2, 3) for way in seen[:4])


@pytest.mark.parametrize("average", COUNTS)
@pytest.mark.parametrize("name", ["plane", "volume"])
def test_a_network_gives_what_averaging_by_hand_gives(name, average):
    image = noise((48, 48) if name == "plane" else (5, 48, 48))
    with load_model(FIXTURES / f"{name}.zip", "cpu", engine="onnxruntime") as model:
        found, once, expected = model.predict(image, average=average), model.predict(image), None
        expected = by_hand(model, image, average)
    for key in ("denoised", "deconvolved"):
        assert found[key].dtype == np.float32
        np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=1e-5)
        assert (np.abs(once[key] - expected[key]).max() > 2e-3) == (average > 1)


@pytest.mark.parametrize("average", COUNTS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 47), (33, 1), (2, 3), (31, 57), (64, 64)])
def test_any_size_in_any_tiles_is_as_by_hand(shape, average):
    """The filter reaches no further than its halo, so that nothing but rounding may differ."""
    image = noise(shape)
    with filtered(Filter()) as model:
        expected = by_hand(model, image, average, tile=(400, 400))
        for tile in ((400, 400), (24, 24), None):
            found = model.predict(image, tile=tile, average=average)
            for key, values in expected.items():
                assert found[key].shape == values.shape
                np.testing.assert_allclose(found[key], values, rtol=1e-5)
        assert shape != (31, 57) or average == 1 or not np.allclose(model.predict(image).denoised, found.denoised)


@pytest.mark.parametrize("shape", [(37, 83), (83, 37), (61, 61), (9, 70), (80, 70)])
def test_tiles_of_a_network_give_what_the_whole_gives(shape):
    image = noise(shape)
    with load_model(FIXTURES / "plane.zip", "cpu", engine="onnxruntime") as model:
        slope = model.description.outputs[0].processing.slope
        whole = model.predict(image, tile=(400, 400), average=8)
        for tile in ((48, 48), (60, 60)):
            assert len(model.plan(shape, tile, average=8)) > 1
            tiled = model.predict(image, tile=tile, average=8)
            for key, values in whole.items():
                np.testing.assert_allclose(tiled[key], values, rtol=0, atol=1e-6 * slope)
        half = by_hand(model, image, 8)
        for key, values in half.items():  # the edges are continued further where the image is not square
            inner = (slice(18 * len(values) // shape[0], -18 * len(values) // shape[0]),) * 2
            np.testing.assert_allclose(whole[key][inner], values[inner], rtol=0, atol=1e-3 * slope)


def test_a_network_with_the_symmetries_of_the_square_changes_nothing():
    kernel = np.add.outer([1, 4, 1], [1, 4, 1])
    image = noise((45, 70))
    with filtered(Filter(kernel, np.ones((2, 2))), halo=(1, 1)) as model:
        once = model.predict(image)
        for average in COUNTS:
            for key, values in model.predict(image, average=average).items():
                np.testing.assert_allclose(values, once[key], rtol=1e-6)


def test_without_an_average_nothing_is_turned():
    engine = Filter()
    with filtered(engine) as model:
        once, again = model.predict(noise((20, 30))), model.predict(noise((20, 30)), average=1)
    assert (engine.runs, len(engine.prepared)) == (2, 1)
    for key, values in once.items():
        np.testing.assert_array_equal(values, again[key])


def test_lengths_that_differ_in_y_and_x_hold_in_both():
    """A halo, a size multiple and a margin of zeros of a turned network are those of the other axis."""
    engine = Filter(multiple=(2, 3))
    image = noise((40, 55))
    with filtered(engine, zero_margin=(4, 9)) as model:
        whole = model.predict(image, tile=(400, 400), average=8)
        tiled = model.predict(image, tile=(28, 28), average=8)
    assert all(y == x and y % 6 == 0 for y, x in engine.prepared)
    for key, values in whole.items():
        np.testing.assert_allclose(tiled[key], values, rtol=1e-5)


def test_outputs_in_whole_counts_have_a_mean_in_float32():
    with filtered(Filter(dtype=np.uint16)) as model:
        for image in (noise((30, 30)), noise((50, 90))):
            values = model.predict(image, tile=(40, 40), average=8).denoised
            ones = by_hand(model, image, 8).pop("denoised")
            np.testing.assert_allclose(values, ones, rtol=1e-6)
            assert (values % 1 != 0).any()


class Guarded:
    """A stack that is read, or written, in boxes: it counts them, and their pixels."""

    def __init__(self, data, chunks=None):
        self.data, self.shape, self.dtype = data, data.shape, data.dtype
        self.boxes = self.largest = 0
        if chunks:
            self.chunks = chunks

    def _count(self, values):
        self.boxes, self.largest = self.boxes + 1, max(self.largest, np.size(values))
        return values

    def __getitem__(self, box):
        return self._count(self.data[box])

    def __setitem__(self, box, values):
        assert (self.data[box] == 0).all()  # once
        self.data[box] = self._count(values)


@pytest.mark.parametrize("average", COUNTS)
def test_volumes_pass_tile_by_tile(average):
    """Reads, writes, progress and memory are those of one prediction, whatever the average."""
    engine = Filter()
    volumes = noise((2, 9, 60, 75))
    with filtered(engine, "zyx") as model:
        source = Guarded(volumes)
        targets = [Guarded(np.zeros(shape, np.float32)) for shape in model.output_shapes(volumes.shape)]
        progress, tiles = [], 2 * len(model.plan((9, 60, 75), (3, 24, 24), average=average))
        model.predict_into(
            source, targets, tile=(3, 24, 24), average=average, corrections=None,
            report=lambda done, total: progress.append((done, total)),
        )  # fmt: skip
        assert progress == [(done + 1, tiles) for done in range(tiles)]
        assert engine.runs == average * tiles
        assert engine.bytes <= (3 if average > 1 else 2) * 3 * 24 * 24 * 6 * 4  # a batch, and 1 + 4 times as much out
        assert {target.boxes for target in targets} == {source.boxes} == {tiles}
        assert source.largest <= 3 * 24 * 24
        for number, volume in enumerate(volumes):
            expected = by_hand(model, volume, average)
            for target, values in zip(targets, expected.values(), strict=True):
                np.testing.assert_allclose(target.data[number], values, rtol=1e-5)


def test_chunks_stay_whole_and_counts_are_rounded_after_the_mean():
    image = noise((96, 130))
    with filtered(Filter()) as model:
        shapes = model.output_shapes(image.shape)
        targets = [
            Guarded(np.zeros(s, np.uint16), chunks=(16 * k, 32 * k)) for s, k in zip(shapes, (1, 2), strict=True)
        ]
        model.predict_into(image, targets, tile=(70, 70), average=8)
        for target, values in zip(targets, model.predict(image, average=8).values(), strict=True):
            assert np.abs(target.data - values).max() <= 0.5001


def test_padding_and_hot_pixels_are_as_without():
    image = noise((80, 100)).astype(np.float32)
    image[:, :30] = 0
    image[40, 60] = 60000
    with filtered(Filter()) as model:
        found, clean = model.predict(image, average=8), image.copy()
        clean[40, 60] = 130
        assert (found.denoised[:, :30] == 0).all()
        assert (found.deconvolved[:, :60] == 0).all()
        assert (found.denoised[:, 30:] > 0).all()
        np.testing.assert_allclose(found.denoised, model.predict(clean, average=8).denoised, rtol=0.05)


def test_a_device_without_memory_gets_smaller_squares():
    engine = Filter(largest=40 * 40)
    image, said = noise((70, 130)), []
    with filtered(engine) as model:
        results = [np.zeros(shape, np.float32) for shape in model.output_shapes(image.shape)]
        model.predict_into(image, results, average=8, notice=said.append)
        assert len(said) == len(engine.prepared) - 1 > 0
        assert {y - x for y, x in engine.prepared} == {0}
        np.testing.assert_allclose(results[0], by_hand(model, image, 8, tile=(30, 30))["denoised"], rtol=1e-5)


@settings(max_examples=80, deadline=None)
@given(
    st.tuples(st.integers(1, 6), st.integers(1, 300), st.integers(1, 300)),
    st.integers(0, 20), st.sampled_from([1, 2, 8]), st.integers(100, 10**6), st.integers(1, 20),
)  # fmt: skip
def test_chosen_squares_cover_the_image_within_the_memory(shape, halo, multiple, pixels, grid):
    halos, multiples = (2, halo, halo), (1, multiple, multiple)
    z, y, x = choose_square_tile(shape, halos, multiples, pixels, grid=(1, grid, 2 * grid))
    assert y == x <= LONGEST_SIDE
    planned = plan(shape, (z, y, x), halos, multiples, grid=(1, grid, 2 * grid), square=True)
    assert planned.tile == (z, y, x)
    covered = np.zeros(shape, int)
    for tile in planned:
        covered[tile.finished((1, 1, 1))] += 1
    assert (covered == 1).all()
    smallest = plan(shape, [2 * h + 2 * m + g for h, m, g in zip(halos, multiples, (1, 40, 40), strict=True)],
                    halos, multiples, square=True)  # fmt: skip
    assert z * y * x <= max(pixels, 8 * prod(smallest.tile))


def test_a_square_is_not_as_large_as_the_long_side_of_a_strip():
    side = choose_square_tile((100, 2000), (44, 44), (8, 8), 1e8)[-1]
    assert side < 400  # 2016 would take 20 times the arithmetic of the image


@pytest.mark.parametrize("average", [0, 3, 16, -1, 2.5])
def test_another_number_is_refused(average):
    engine = Filter()
    with filtered(engine) as model, pytest.raises(InputError, match=f"`average` {average} must be 1, 2, 4 or 8: 2 is"):
        model.predict(noise((20, 20)), average=average)
    assert engine.runs == 0


def test_what_cannot_be_turned_is_refused_with_what_can():
    with filtered(Filter()) as model:
        with pytest.raises(InputError, match=r"`tile` 20x30 is not square .* set `tile` to 30x30, or `average` to 4"):
            model.predict(noise((40, 40)), tile=(20, 30), average=8)
        assert model.predict(noise((40, 40)), tile=(20, 30), average=4).denoised.shape == (40, 40)
    with filtered(Filter(fine=np.array([[0.5, 1.5]]))) as model:
        with pytest.raises(InputError, match=r"deconvolved is 1x2 times as fine .* set `average` to 4 or less"):
            model.predict(noise((40, 40)), average=8)
        assert model.predict(noise((40, 40)), average=4).deconvolved.shape == (40, 80)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "cell.tif"
    described = Description(text="day 3")
    write_image(path, Image(noise((2, 45, 60)), "TYX", Voxel.square(0.1), description=described))
    return path


def predicted(image, *options):
    return zsd("predict", FIXTURES / "plane.zip", image, "--device", "cpu", "--engine", "onnxruntime", *options)


def test_the_command_line_averages_and_says_so(image, tmp_path):
    for n, text in ((1, ""), (2, "the image and its mirror"), (4, "the four flips"), (8, "the eight flips and turns")):
        out = tmp_path / str(n)
        result = predicted(image, "--out", out, "--average", n, "--json")
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["average"] == n
        assert {path.name for path in out.iterdir()} == {"cell_denoised.tif", "cell_deconvolved.tif"}
        found = read_image(out / "cell_denoised.tif")
        said = f"\nzsd: mean of the predictions for {text}" if text else ""
        assert found.description.text == "day 3" + said
        with load_model(FIXTURES / "plane.zip", "cpu", engine="onnxruntime") as model:
            expected = model.predict(read_image(image).data[1], average=n)
        np.testing.assert_array_equal(found.data[1], expected.denoised)
        told = predicted(image, "--out", out, "--average", n, "--quiet").stdout
        assert (f", fp32, mean of the predictions for {text})" if text else ", fp32)") in told


def test_a_default_prediction_is_the_same_file(image, tmp_path):
    for out, options in (("default", ()), ("one", ("--average", "1"))):
        assert predicted(image, "--out", tmp_path / out, *options).returncode == 0
    for name in ("cell_denoised.tif", "cell_deconvolved.tif"):
        assert (tmp_path / "default" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


@pytest.mark.parametrize("kind", ["ome.tif", "zarr"])
def test_other_formats_say_it_too(kind, image, tmp_path):
    given = image
    if kind == "ome.tif":
        given = tmp_path / "cell.ome.tif"
        write_image(given, Image(noise((45, 60)), "YX", Voxel.square(0.1), ome=True))
    fmt = "zarr" if kind == "zarr" else "tiff"
    assert predicted(given, "--out", tmp_path, "--average", 4, "--format", fmt).returncode == 0
    told = "zsd: mean of the predictions for the four flips"
    if kind == "zarr":
        attributes = json.loads((tmp_path / "cell_denoised.zarr" / "zarr.json").read_text())["attributes"]
        assert attributes["ome"]["multiscales"][0]["metadata"] == {"description": told}
    else:
        with tifffile.TiffFile(tmp_path / "cell_denoised.tif") as file:
            assert told in file.ome_metadata


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--average", "3"), "--average 3 must be 1, 2, 4 or 8"),
        (("--average", "8", "--tile", "64x48"), "--tile 64x48 is not square"),
    ],
)
def test_the_command_line_refuses_with_a_sentence(image, tmp_path, options, message):
    result = predicted(image, "--out", tmp_path / "out", *options)
    assert result.returncode == 2
    assert message in result.stderr
    assert not list(tmp_path.glob("out/*"))


def test_restore_averages_what_it_writes(tmp_path):
    (tmp_path / "quick.toml").write_text(
        "patch = 32\nbatch = 1\ndevice = 'cpu'\n[network]\nwidth = 2\ndepth = 1\nhead = 4\n"
    )
    tifffile.imwrite(tmp_path / "a.tif", noise((64, 72)))
    arguments = ("restore", tmp_path / "a.tif", "--psf-sigma", 1.2, "--steps", 3, "--config", tmp_path / "quick.toml",
                 "--out", tmp_path / "out", "--quiet", "--average")  # fmt: skip
    refused = zsd(*arguments, 5)
    assert (refused.returncode, (tmp_path / "out").exists()) == (2, False)
    assert "--average 5 must be 1, 2, 4 or 8" in refused.stdout + refused.stderr
    done = zsd(*arguments, 4)
    assert done.stdout.endswith("--average 4\n")
    found = read_image(tmp_path / "out" / "a_deconvolved.tif")
    assert found.description.text == "zsd: mean of the predictions for the four flips"
    with load_model(tmp_path / "out" / "model.zip", "cpu") as model:
        image = read_image(tmp_path / "a.tif").data
        expected = model.predict(image, average=4)
        np.testing.assert_allclose(found.data, expected.deconvolved, rtol=1e-5)
        assert zsd(*arguments, 1, "--overwrite").stdout.endswith(f"--out {tmp_path / 'out'}\n")
        found = read_image(tmp_path / "out" / "a_deconvolved.tif")
        assert found.description.text == ""
    with load_model(tmp_path / "out" / "model.zip", "cpu") as model:
        np.testing.assert_allclose(found.data, model.predict(image).deconvolved, rtol=1e-5)
