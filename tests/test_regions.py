"""Regions: boxes that cover a stack once, on shards, and whose results do not depend on how many there are."""

from dataclasses import replace
from math import ceil, prod

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_tiling import plans
from zsd_runtime import InputError, load_model
from zsd_runtime.corrections.corrected import Corrected, Corrections
from zsd_runtime.corrections.regional import RegionalCorrected, measured
from zsd_runtime.images.whole_shards import WholeShards
from zsd_runtime.model import Model
from zsd_runtime.normalize import ScaleRange, ZeroMeanUnitVariance
from zsd_runtime.regions import balanced_regions, longest_row_of, max_and_sum_of_tiles, regions, tiles_of
from zsd_runtime.tiling import plan

RNG = np.random.default_rng(0)
TILE = (28, 28)


@settings(max_examples=60, deadline=None)
@given(plans(), st.lists(st.integers(1, 6), max_size=2), st.integers(1, 40), st.data())
def test_regions_cover_a_stack_once_and_start_on_the_grid(geometry, leading, count, data):
    arguments, _ = geometry
    planned = plan(**arguments)
    shape = (*leading, *arguments["image_shape"])
    grid = [data.draw(st.integers(1, 4)) for _ in leading] + [
        data.draw(st.sampled_from([1, step, 2 * step])) for step in arguments["grid"]
    ]
    found = regions(planned, leading, count, grid)
    assert 1 <= len(found) <= count
    covered = np.zeros(shape, int)
    for box in found:
        covered[box] += 1
        assert all(b.start % step == 0 for b, step in zip(box, grid, strict=True))
        inside = planned.part(box[len(leading) :])
        assert tiles_of(planned, box, len(leading)) == len(inside) * prod(b.stop - b.start for b in box[: len(leading)])
    assert (covered == 1).all()
    each = [tiles_of(planned, box, len(leading)) for box in found]
    assert max_and_sum_of_tiles(planned, found, len(leading)) == (max(each), sum(each))


def test_frames_and_channels_are_cut_first_then_the_longest_axis():
    planned = plan((64, 256), (24, 24), (4, 4), (4, 4), (0, 0))
    assert regions(planned, (), 2, (1, 1)) == [(slice(0, 64), slice(0, 128)), (slice(0, 64), slice(128, 256))]
    assert len(regions(planned, (), 10_000, (1, 1))) == len(planned)
    whole = (slice(0, 64), slice(0, 256))
    assert regions(planned, (4,), 2, (1, 1, 1)) == [(slice(0, 2), *whole), (slice(2, 4), *whole)]
    assert regions(planned, (4,), 9, (3, 1, 1))[0] == (slice(0, 3), slice(0, 64), slice(0, 64))


@pytest.mark.parametrize("workers", [1, 2, 3, 5, 8])
def test_workers_get_about_equal_work(workers):
    """The last one needs at most twice its share, with the tiles that are computed twice."""
    planned = plan((256, 256), (24, 24), (4, 4), (4, 4), (2, 2))
    found = balanced_regions(planned, (), workers, (1, 1))
    longest = max(tiles_of(planned, box, 0) for box in found)
    assert ceil(len(found) / workers) * longest <= 2 * ceil(len(planned) / workers)


def test_a_worker_holds_no_longer_row_than_it_may():
    planned = plan((64, 1024), (24, 24), (4, 4), (4, 4), (2, 2))
    for most in (64 * 1024, 8 * 512, 8 * 120):
        found = balanced_regions(planned, (), 2, (8, 8), most)
        assert longest_row_of(found, 0, (8, 8)) <= most
    assert longest_row_of(balanced_regions(planned, (), 2, (8, 8), 1), 0, (8, 8)) == 8 * 24


@pytest.fixture(scope="module")
def planes(untrained_package):
    with load_model(untrained_package, device="cpu", engine="onnxruntime") as model:
        yield Model(replace(model.description, halo=(4, 4)), model.engine)  # small tiles: borders may be wrong


@pytest.fixture(scope="module")
def volumes(volume_package):
    with load_model(volume_package, device="cpu", engine="onnxruntime") as model:
        yield Model(replace(model.description, halo=(2, 4, 4)), model.engine)


def normalised_by(model, processing):
    """The same network with another normalisation."""
    source = replace(model.description.input, processing=processing)
    return Model(replace(model.description, input=source), model.engine)


def image_of(shape):
    """Counts with hot pixels, a blank plane, and padding."""
    image = RNG.poisson(100 + 50 * RNG.random((*shape[:-2], 1, 1)), shape).astype(np.uint16)
    image[..., 7, 9], image[..., -3:, :] = 900, 0
    image[(0,) * (image.ndim - 2)] = 0 if image.ndim > 2 else image
    return image


def targets_for(model, image, kind, folder):
    """Arrays, and Zarr with chunks or shards."""
    axes = len(model.description.axes)
    for output, shape in zip(model.description.outputs, model.output_shapes(image.shape), strict=True):
        if kind == "array":
            yield np.full(shape, np.nan, np.float32)
            continue
        chunks = (*[1] * (len(shape) - axes), *[n * k for n, k in zip((2, 8, 8)[-axes:], output.scale, strict=True)])
        shards = (*[1] * (len(shape) - axes), *[2 * n for n in chunks[-axes:]]) if kind == "shards" else None
        yield zarr.create_array(
            folder / f"{output.name}.zarr", shape=shape, chunks=chunks, shards=shards, dtype="float32",
            fill_value=np.nan, overwrite=True,
        )  # fmt: skip


CASES = [("array", "plane", 1), ("chunks", "stack", 1), ("shards", "plane", 2), ("shards", "volume", 1)]


@pytest.mark.parametrize(("kind", "what", "average"), [*CASES, ("chunks", "volumes", 1)])
def test_results_do_not_depend_on_the_number_of_regions(planes, volumes, tmp_path, kind, what, average):
    model = planes if what in ("plane", "stack") else volumes
    shape = {"plane": (70, 50), "stack": (3, 70, 50), "volume": (7, 26, 18), "volumes": (2, 7, 18, 14)}[what]
    image, tile = image_of(shape), {2: TILE, 3: (8, 20, 20)}[len(model.description.axes)]
    whole = list(targets_for(model, image, kind, tmp_path))
    model.predict_into(image, whole, tile=tile, average=average)
    expected = [target[:] for target in whole]
    for workers in (1, 2, 5) if what == "plane" else (2, 5):
        targets = list(targets_for(model, image, kind, tmp_path))
        found = model.regions(shape, targets, tile, workers, average=average)
        assert len(found) >= min(workers, 2)
        for box in reversed(found):
            model.predict_into(image, targets, tile=tile, region=box, average=average)
        for target, one in zip(targets, expected, strict=True):
            np.testing.assert_array_equal(target[:], one)


@pytest.mark.parametrize("processing", [ScaleRange(1.0, 99.8), ZeroMeanUnitVariance()])
def test_the_normalisation_is_fitted_once_and_handed_on(planes, processing):
    model, image = normalised_by(planes, processing), image_of((2, 70, 50))
    expected = [np.empty(n, np.float32) for n in model.output_shapes(image.shape)]
    model.predict_into(image, expected, tile=TILE, corrections=None)
    targets = [np.full_like(one, np.nan) for one in expected]
    lines = model.lines(image, targets, TILE)
    assert len(lines) == 2
    found = model.regions(image.shape, targets, TILE, 5)
    for box in found:
        read = Reads(image)
        model.predict_into(read, targets, tile=TILE, region=box, line=lines, corrections=None)
        assert read.frames == set(range(box[0].start, box[0].stop))
    for target, one in zip(targets, expected, strict=True):
        np.testing.assert_array_equal(target, one)


class Reads:
    """An array that knows which frames were read."""

    def __init__(self, data):
        self.data, self.shape, self.dtype, self.frames = data, data.shape, data.dtype, set()

    def __getitem__(self, box):
        self.frames |= set(range(*box[0].indices(self.shape[0]))) if isinstance(box[0], slice) else {box[0]}
        return self.data[box]


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("volume", [False, True])
def test_a_regional_correction_is_that_of_the_whole(dtype, volume):
    image = image_of((9, 40, 50)).astype(dtype)
    image[:3] = 0
    if dtype == "float32":
        image[5, :6] = np.nan
    whole = Corrected(image, Corrections(), volumes=volume)
    _, known = measured(image, Corrections(), volumes=volume, name="it", whole=False)
    np.testing.assert_equal(known.spread.sigma, whole.spread.sigma)
    assert known.nan == whole.nan == (dtype == "float32")
    for planes in (range(2), range(3, 6), range(8, 9)):
        box = (slice(planes.start, planes.stop), slice(0, 40), slice(0, 50))
        read = Reads(image)
        part = RegionalCorrected(read, Corrections(), known, [planes], volumes=volume)
        np.testing.assert_array_equal(part[box], whole[box])
        assert all(np.array_equal(part.padding((z,)), whole.padding((z,))) for z in planes)
        assert volume or read.frames == set(planes)


def test_a_shard_is_written_once(tmp_path):
    array = zarr.create_array(tmp_path / "a", shape=(50, 70), chunks=(8, 8), shards=(16, 32), dtype="uint16")
    writes, data = [], RNG.integers(0, 999, (50, 70)).astype(np.uint16)

    class Counted:
        shape, dtype, shards = array.shape, array.dtype, array.shards

        def __setitem__(self, box, values):
            writes.append(box)
            array[box] = values

    with WholeShards(Counted()) as target:
        for y in range(0, 50, 7):
            for x in range(0, 70, 11):
                target[y : min(y + 7, 50), x : min(x + 11, 70)] = data[y : y + 7, x : x + 11]
    assert len(writes) == 4 * 3
    np.testing.assert_array_equal(array[:], data)


def test_regions_that_cannot_be_are_refused(planes):
    image = image_of((70, 50))
    targets = [np.empty(n, np.float32) for n in planes.output_shapes(image.shape)]
    whole = (slice(0, 70), slice(0, 50))
    with pytest.raises(InputError, match="needs the tiles"):
        planes.predict_into(image, targets, region=whole)
    for box in [whole[:1], (slice(0, 71), slice(0, 50)), (slice(3, 3), slice(0, 50))]:
        with pytest.raises(InputError, match="is not a box"):
            planes.predict_into(image, targets, tile=TILE, region=box)
    with pytest.raises(InputError, match="not finished by whole tiles"):
        planes.predict_into(image, targets, tile=TILE, region=(slice(3, 70), slice(0, 50)))
