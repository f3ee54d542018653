"""CZI: mosaics, other dimensions, gaps, compression."""

import numpy as np
import pytest

from tests import vendor_files as make
from tests.vendor_files import counts, czi_planes
from zsd_runtime.errors import InputError
from zsd_runtime.images.files import open_image, read_image
from zsd_runtime.images.image import Voxel, read_box

pytest.importorskip("pylibCZIrw.czi")


def test_czi_mosaics(tmp_path):
    whole = counts(16, 40)
    tiles = [(whole[:, :16], {}, (0, 0), 0), (whole[:, 16:28], {}, (16, 0), 0), (whole[:, 28:], {}, (28, 0), 0)]
    make.write_czi(tmp_path / "fit.czi", {(0, 0, 0): tiles})
    image = read_image(tmp_path / "fit.czi")
    np.testing.assert_array_equal(image.data, whole)
    assert not image.description.notices
    make.write_czi(tmp_path / "gap.czi", {(0, 0, 0): [tiles[0], tiles[2]]})
    image = read_image(tmp_path / "gap.czi")
    np.testing.assert_array_equal(image.data, np.where((np.arange(40) < 16) | (np.arange(40) >= 28), whole, 0))
    assert "2 tiles" in image.description.notices[0]
    assert "30 % of the pixels lie in none" in image.description.notices[0]
    make.write_czi(tmp_path / "overlap.czi", {(0, 0, 0): [tiles[0], (whole[:, 12:40], {}, (12, 0), 0)]})
    image = read_image(tmp_path / "overlap.czi")
    np.testing.assert_array_equal(image.data, whole)
    assert "not blended" in image.description.notices[0]


def test_a_czi_mosaic_that_lacks_a_tile_in_one_frame(tmp_path):
    whole = counts(2, 16, 32)
    tiles = {t: [(whole[t, :, :16], {}, (0, 0), 0), (whole[t, :, 16:], {}, (16, 0), 0)] for t in range(2)}
    make.write_czi(tmp_path / "a.czi", {(0, 0, 0): tiles[0], (1, 0, 0): tiles[1][:1]})
    image = read_image(tmp_path / "a.czi")
    np.testing.assert_array_equal(image.data, whole[0])
    assert "frames 1 of 0-1" in image.description.notices[0]


@pytest.mark.parametrize(("axis", "word"), [("V", "view"), ("I", "illumination"), ("H", "phase"), ("R", "rotation")])
def test_other_dimensions_of_czi_are_series(tmp_path, axis, word):
    arrays = counts(3, 16, 16)
    make.write_czi(tmp_path / "a.czi", {(0, 0, 0): [(a, {axis: n}, (0, 0), 0) for n, a in enumerate(arrays)]})
    with pytest.raises(InputError, match=f"3 images: 0 '{word} 0'"):
        open_image(tmp_path / "a.czi")
    np.testing.assert_array_equal(read_image(tmp_path / "a.czi", series=2).data, arrays[2])


def test_czi_that_starts_elsewhere(tmp_path):
    """A cut-out keeps the coordinates of the whole."""
    arrays = counts(2, 16, 16)
    planes = {(5 + t, 0, 3): [(a, {}, (-700, 300), 0)] for t, a in enumerate(arrays)}
    make.write_czi(tmp_path / "a.czi", planes)
    np.testing.assert_array_equal(read_image(tmp_path / "a.czi").data, arrays)


def test_czi_with_channels_of_different_types(tmp_path):
    light, dark = counts(16, 16, dtype="u1"), counts(16, 16)
    make.write_czi(tmp_path / "a.czi", {(0, 0, 0): light, (0, 1, 0): dark})
    image = read_image(tmp_path / "a.czi")
    assert image.data.dtype == np.uint16
    np.testing.assert_array_equal(image.data, [light, dark])


@pytest.mark.parametrize("options", ["zstd0:", "zstd1:", "uncompressed:"])
def test_compressed_czi(tmp_path, options):
    array = counts(2, 1, 1, 32, 32)
    make.write_czi(tmp_path / "a.czi", czi_planes(array), compression_options=options)
    np.testing.assert_array_equal(read_image(tmp_path / "a.czi").data, array.squeeze())


def test_a_czi_tile_that_says_it_is_larger_than_the_memory(tmp_path):
    path = tmp_path / "a.czi"
    make.write_czi(path, czi_planes(counts(1, 1, 1, 16, 16)))
    content = bytearray(path.read_bytes())
    tile = content.index(b"ZISRAWSUBBLOCK")  # a header of 32 bytes, the sizes of metadata and attachment, of the pixels
    content[tile + 32 + 8 : tile + 32 + 16] = (1 << 60).to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        read_box(open_image(path).data, (slice(0, 16), slice(0, 16)))


def test_czi_without_sizes_and_names(tmp_path):
    make.write_czi(tmp_path / "a.czi", czi_planes(counts(1, 2, 1, 16, 16)), names=("", ""), pixel_um=None)
    image = open_image(tmp_path / "a.czi")
    assert image.voxel == Voxel()
    assert not image.description.size_source
    assert [c.name for c in image.description.channels] == ["", ""]
