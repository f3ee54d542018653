"""Images larger than memory: parts of them are drawn, and each is read once. Counts bytes, no seconds."""

import numpy as np
import pytest
import zarr

from tests.conftest import TINY
from tests.zarr_files import axes, dataset, multiscale, write
from zsd_optics import sampled_parts
from zsd_optics.inputs import open_images
from zsd_optics.sampled_parts import Unread, sampled
from zsd_runtime import InputError
from zsd_runtime.images import read_image
from zsd_runtime.images.chunked import SHARED
from zsd_train import train
from zsd_train.config import make_config
from zsd_train.options import tasks_of

CHUNK = (16, 64, 64)
BYTES = int(np.prod(CHUNK)) * 2


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """2 MB are held, 1.5 MB of parts are drawn, and chunks are cached in 1 MB."""
    monkeypatch.setattr(sampled_parts, "HELD", 2 << 20)
    monkeypatch.setattr(sampled_parts, "SAMPLED", 12 * BYTES)
    monkeypatch.setattr(sampled_parts, "PART", {2: (128, 128), 3: CHUNK})
    monkeypatch.setattr(SHARED, "limit", 1 << 20)


def sparse_volume(path, shape, stored, seed=0):
    """A volume of which only some chunks are stored: where they begin, and their pixels."""
    described = {"version": "0.4", "axes": axes("zyx"), "datasets": [dataset([1.0, 0.2, 0.2])]}
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.attrs["multiscales"] = [described]
    array = group.create_array("0", shape=shape, chunks=CHUNK, dtype="u2", fill_value=0)
    rng = np.random.default_rng(seed)
    grid = [n // c for n, c in zip(shape, CHUNK, strict=True)]
    chosen = rng.choice(np.prod(grid), stored, replace=False)
    found = {}
    for cell in chosen:
        start = tuple(int(i) * c for i, c in zip(np.unravel_index(cell, grid), CHUNK, strict=True))
        found[start] = (rng.poisson(40 + 30 * rng.random(), CHUNK) + 100).astype("u2")
        array[tuple(slice(a, a + n) for a, n in zip(start, CHUNK, strict=True))] = found[start]
    return found


def test_a_volume_much_larger_than_memory_trains(tmp_path, monkeypatch):
    monkeypatch.setattr("zsd_train.fit.keep_flux", lambda *_: [0.0, 0.0])  # as long as 50 steps
    stored = sparse_volume(tmp_path / "a.zarr", (64, 2048, 2048), 200)  # 537 MB, of which 26 MB are stored
    said = []
    SHARED.peak, before = SHARED.held, SHARED.decoded
    parts = open_images([tmp_path / "a.zarr"]).arrays(notice=said.append)
    assert len(parts) == 12
    stored_bytes = {chunk.tobytes() for chunk in stored.values()}
    assert all(part.tobytes() in stored_bytes for part in parts)  # what holds nothing is left out
    assert len({part.tobytes() for part in parts}) == 12  # none twice
    assert SHARED.peak <= 1 << 20
    assert SHARED.decoded - before <= 2 * 12 * 16 * BYTES  # at most a chunk for each part that was looked at
    (what,) = said
    assert "12 parts of up to 16x64x64 pixels were drawn from 1 of 1 images" in what
    psf = np.zeros((3, 5, 5))
    psf[1, 1:4, 1:4] = psf[0, 2, 2] = psf[2, 2, 2] = 1
    config = make_config(network=TINY, axes="zyx", scheme="recorrupt", patch=32, slices=8, batch=2, steps=3,
                         device="cpu", start="scratch")  # fmt: skip
    run = train(parts, psf / psf.sum(), config, tmp_path / "run")
    assert run.measured.steps == 3
    assert run.measured.images == [list(CHUNK)] * 12


def test_the_same_parts_are_drawn_again(tmp_path):
    sparse_volume(tmp_path / "a.zarr", (32, 512, 512), 64)
    first, second = (open_images([tmp_path / "a.zarr"]).arrays() for _ in range(2))
    assert [part.tobytes() for part in first] == [part.tobytes() for part in second]


def test_many_volumes_are_sampled_by_their_size_and_are_never_held(tmp_path):
    sizes = {"a.zarr": (16, 512, 512), "b.zarr": (64, 512, 512), "c.zarr": (16, 128, 128)}
    stored = {
        name: sparse_volume(tmp_path / name, shape, np.prod(shape) // np.prod(CHUNK), seed)
        for seed, (name, shape) in enumerate(sizes.items())
    }  # all chunks
    SHARED.peak = SHARED.held
    parts = {part.tobytes() for part in open_images([tmp_path / name for name in sizes]).arrays()}
    counts = [sum(chunk.tobytes() in parts for chunk in stored[name].values()) for name in sizes]
    assert counts == [2, 9, 1]
    assert SHARED.peak <= 1 << 20


def test_of_two_parts_the_brighter_is_taken():
    volume = np.full((16, 64, 64 * 64), 100, "u2") + np.arange(64 * 64, dtype="u2") % 3
    volume[..., : 32 * 64] += 50  # half of it
    parts, _ = sampled([Unread(volume, "a.tif")], limit=16 * BYTES)
    bright = sum(part.mean() > 120 for part in parts)
    assert len(parts) == 16
    assert 10 <= bright < 16  # 12 of 16 on average


def test_small_images_stay_as_they_are(tmp_path):
    volume = np.random.default_rng(0).integers(100, 200, (2, 8, 64, 64)).astype("u2")
    write(tmp_path / "a.zarr", volume, multiscale("tzyx", (1.0, 0.2, 0.1, 0.1)), chunks=(2, 4, 32, 32))
    said = []
    arrays = open_images([tmp_path / "a.zarr"]).arrays(notice=said.append)
    assert said == []
    np.testing.assert_array_equal(arrays, read_image(tmp_path / "a.zarr").data)


def test_planes_of_a_movie_and_chunks_that_do_not_fit(tmp_path):
    movie = np.random.default_rng(0).integers(100, 200, (24, 300, 250)).astype("u2")
    write(tmp_path / "a.zarr", movie, multiscale("tyx", (1.0, 0.1, 0.1)), chunks=(1, 100, 250))
    parts = open_images([tmp_path / "a.zarr"]).arrays()
    assert {part.shape for part in parts} == {(200, 250)}  # whole chunks
    assert sum(part.nbytes for part in parts) <= 12 * BYTES
    rows = {frame[:200].tobytes() for frame in movie} | {frame[100:].tobytes() for frame in movie}
    assert all(part.tobytes() in rows for part in parts)


def test_calibration_maps_are_refused(tmp_path):
    sparse_volume(tmp_path / "a.zarr", (16, 512, 512), 4)
    np.save(tmp_path / "dark.npy", np.full((512, 512), 100.0))
    with pytest.raises(InputError, match="only parts of large ones are read"):
        tasks_of(
            [tmp_path / "a.zarr"], {"psf_sigma": "1.0"}, scheme="recorrupt", dark=tmp_path / "dark.npy", axes="TYX"
        )


def test_a_volume_that_holds_nothing_is_said_to(tmp_path):
    sparse_volume(tmp_path / "a.zarr", (16, 512, 512), 0)
    (part,) = open_images([tmp_path / "a.zarr"]).arrays()
    assert part.max() == 0
