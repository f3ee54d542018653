"""Bad pixels of an image in parts: each plane is looked at once, whoever comes first, and results are those of one."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tests.test_parts import assert_same, image_of, packages, predict, small_chunks  # noqa: F401 - fixtures
from tests.test_regions import Reads
from zsd_runtime.corrections import corrected
from zsd_runtime.corrections.corrected import Corrected, Corrections
from zsd_runtime.corrections.plane_faults import Findings
from zsd_runtime.corrections.regional import RegionalCorrected, measured
from zsd_runtime.images import write_image
from zsd_runtime.images.chunked import ChunkCache, Chunked

SHAPE, TILE = (9, 60, 40), ("--tile", "12x24x24")
CORRECTIONS = Corrections()
ALL = (slice(0, 9), slice(0, 60), slice(0, 40))


@pytest.fixture
def looked_at(monkeypatch):
    """How often each plane was looked at, by its mean, which differs from plane to plane."""
    looked, find = Counter(), corrected.find_bad_pixels

    def counting(plane, *arguments):
        looked[float(np.nanmean(plane))] += 1
        return find(plane, *arguments)

    monkeypatch.setattr(corrected, "find_bad_pixels", counting)
    return looked


def stack(dtype="uint16"):
    """Padding, a hot pixel, and a blank plane."""
    image = np.random.default_rng(0).poisson(120, SHAPE).astype(dtype)
    image[:, 3, 4], image[:, -4:], image[4] = 900, 0, 0
    if dtype == "float32":
        image[2, :5] = np.nan
    return image


def regional(source, folder=None, corrections=CORRECTIONS):
    """Of all planes, with findings in a folder."""
    image = source if isinstance(source, np.ndarray) else stack()
    _, known = measured(image, corrections, volumes=True, name="it", whole=False)
    findings = folder and Findings(folder)
    return RegionalCorrected(source, corrections, known, [range(9)], volumes=True, findings=findings)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_parts_look_once(packages, tmp_path, looked_at, dtype):  # noqa: F811
    """Regions that are cut in Y and X share all planes."""
    write_image(tmp_path / "cell.zarr", replace(image_of("ZYX", SHAPE), data=stack(dtype)))
    predict(packages["volume"], tmp_path / "cell.zarr", tmp_path / "one", *TILE)
    once = looked_at.copy()
    assert len(once) == SHAPE[0]
    looked_at.clear()
    for number in (3, 1, 2):
        result = predict(packages["volume"], tmp_path / "cell.zarr", tmp_path / "parts", *TILE, "--part", f"{number}/3")
        assert result.returncode == 0, result.stderr
        if number == 3:
            assert "1 of 3 regions" in result.stdout
            assert len(list((tmp_path / "parts" / ".cell.parts").glob("found-*-0/*"))) > 1
    assert looked_at == once
    assert_same(tmp_path / "one", tmp_path / "parts")
    assert not (tmp_path / "parts" / ".cell.parts").exists()


@pytest.mark.parametrize("corrections", [Corrections(), Corrections(lines="YX")])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_what_another_process_found_is_not_looked_for_again(tmp_path, monkeypatch, dtype, corrections):
    image = stack(dtype)
    if corrections.lines:
        image += np.random.default_rng(0).normal(100, 30, (9, 60, 1)).astype(dtype)
    expected = regional(image, corrections=corrections)
    one = regional(image, tmp_path, corrections)
    monkeypatch.setattr(RegionalCorrected, "_looked", lambda *_: pytest.fail("looked again"))
    other = regional(image, tmp_path, corrections)
    for found in (one, other):
        np.testing.assert_array_equal(found[ALL], expected[ALL])
        assert found.blank == expected.blank
        assert all(np.array_equal(found.padding((z,)), expected.padding((z,))) for z in range(9))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", None])
def test_a_damaged_file_is_made_again(tmp_path, content):
    image = stack()
    regional(image, tmp_path)
    file = tmp_path / "3-4.npz"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if content is None else content)
    read = Reads(image)
    again = regional(read, tmp_path)
    assert read.frames == {3}
    np.testing.assert_array_equal(again[ALL], Corrected(image, volumes=True)[ALL])
    assert file.read_bytes() == whole


class Counted:
    """A chunked array that counts what is decoded."""

    shape, ndim, dtype, chunks = SHAPE, 3, np.dtype(np.uint16), (4, 32, 32)

    def __init__(self):
        self.decoded, self.data = Counter(), stack()

    def __getitem__(self, box):
        self.decoded[tuple(b.start for b in box)] += 1
        return self.data[box]


@pytest.mark.parametrize("together", [1, 2, 100])
def test_chunks_of_several_planes_are_decoded_once(tmp_path, monkeypatch, together):
    """Though a row of them does not fit into the cache; and once for each group of planes that fits into memory."""
    monkeypatch.setattr(corrected, "TOGETHER", together * 60 * 40 * 2)
    array = Counted()
    regional(Chunked(array, ChunkCache(1)), tmp_path)
    assert len(array.decoded) == 3 * 2 * 2
    full = {count for (z, _, _), count in array.decoded.items() if z < 8}
    assert full == {max(1, 4 // together)}
    again = Counted()
    found = regional(Chunked(again, ChunkCache(1)), tmp_path)
    assert not again.decoded
    np.testing.assert_array_equal(found[ALL], Corrected(array.data, volumes=True)[ALL])


def test_processes_look_at_planes_in_another_order(tmp_path):
    """Those that begin at once would otherwise look at the same plane at the same time."""
    orders = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        orders.append([])

        class Source(Reads):
            def __getitem__(self, box, order=orders[-1]):
                order.append(box[0].start)
                return super().__getitem__(box)

        image = np.random.default_rng(0).poisson(90, (200, 16, 16)).astype(np.uint16)
        _, known = measured(image, Corrections(), volumes=True, name="it", whole=False)
        RegionalCorrected(
            Source(image), Corrections(), known, [range(200)], volumes=True, findings=Findings(tmp_path / name)
        )
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(200))
    assert orders[0] != orders[1]
