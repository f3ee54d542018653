"""Files of microscope vendors: axes, pixels, sizes, channels; what is refused, and in which words."""

import contextlib
import gc
import re
import sys

import numpy as np
import pytest

from tests import vendor_files as make
from tests.vendor_files import counts, czi_planes, nd2_frames
from zsd_runtime.errors import InputError
from zsd_runtime.images.files import FORMATS, image_files, open_image, read_image
from zsd_runtime.images.image import Channel

pytest.importorskip("nd2")
pytest.importorskip("liffile")
pytest.importorskip("pylibCZIrw.czi")

NM = dict(zip(make.NAMES, make.EMISSIONS_NM, strict=True))
NAMED = tuple(Channel(n, c, w) for n, c, w in zip(make.NAMES, make.COLORS, make.EMISSIONS_NM, strict=True))


def write(suffix, path, array):
    """(T, C, Z, Y, X) with pixels of 0.1 µm, slices 0.3 µm apart, 2 s from frame to frame."""
    t, c, z, y, x = array.shape
    if suffix == ".czi":
        make.write_czi(path, czi_planes(array), pixel_um=0.1, z_um=0.3, step_s=2.0)
    elif suffix == ".nd2":
        make.write_nd2(path, nd2_frames(array), [make.time_loop(t, 2000.0), make.z_loop(z, 0.3)], pixel_um=0.1)
    elif suffix == ".ims":
        make.write_ims(path, array, (0.3, 0.1, 0.1))
    elif suffix == ".lif":
        lengths = {a: (0, (n - 1) * um * 1e-6, "m") for a, n, um in (("Z", z, 0.3), ("Y", y, 0.1), ("X", x, 0.1))}
        luts = list(zip(make.NAMES, ("Green", "Red", "Blue"), strict=True))[:c]
        make.write_lif(path, {"cell": (array, "TCZYX", {**lengths, "T": (0, 2.0 * (t - 1), "s")}, luts)})
    elif suffix == ".dv":
        stage = np.zeros((t * c * z, 4))
        stage[:, 0] = 2.0 * np.tile(np.repeat(np.arange(t), z), c)
        swapped = array.transpose(1, 0, 2, 3, 4)
        make.write_dv(path, swapped, "CTZ", wavelengths=(509, 583, 461)[:c], pixel_um=(0.1, 0.1, 0.3), stage=stage)


EVERY = (".czi", ".nd2", ".ims", ".lif", ".dv")
SHAPES = {(2, 3, 4): "TCZYX", (3, 1, 1): "TYX", (1, 2, 1): "CYX", (1, 1, 5): "ZYX", (1, 1, 1): "YX", (2, 1, 3): "TZYX"}


@pytest.mark.parametrize("suffix", EVERY)
@pytest.mark.parametrize("leading", SHAPES)
def test_axes_pixels_and_sizes(tmp_path, suffix, leading):
    array = counts(*leading, 20, 30)
    path = tmp_path / f"zelle µ 1{suffix}"
    write(suffix, path, array)
    image = read_image(path)
    axes = SHAPES[leading]
    assert image.axes == axes
    np.testing.assert_array_equal(image.data, array.reshape([n for n in leading if n > 1] + [20, 30]))
    assert image.data.dtype == np.uint16
    assert image.voxel.x_um == pytest.approx(0.1)
    assert image.voxel.y_um == pytest.approx(0.1)
    assert image.voxel.z_um == (pytest.approx(0.3) if "Z" in axes else None)
    d = image.description
    assert d.time_step_s == (pytest.approx(2.0) if "T" in axes else None)
    assert d.size_source
    assert not d.notices
    assert not d.series
    expected = NAMED[: leading[1]]
    if suffix == ".lif":
        expected = tuple(Channel(c.name, c.color) for c in expected)
    if suffix == ".dv":
        expected = tuple(Channel(str(int(NM[c.name])), None, NM[c.name]) for c in expected)
    assert d.channels == expected


@pytest.mark.parametrize("suffix", EVERY)
def test_boxes_are_read_where_they_are_sliced(tmp_path, suffix):
    array = counts(3, 2, 4, 40, 50)
    write(suffix, tmp_path / f"a{suffix}", array)
    data = open_image(tmp_path / f"a{suffix}").data
    for box in [
        (slice(1, 3), slice(0, 2), slice(2, 4), slice(5, 21), slice(33, 50)),
        (2, 1, 3, slice(0, 40), slice(0, 50)),
        (0, slice(1, 2), 0, slice(39, 40), slice(49, 50)),
    ]:
        np.testing.assert_array_equal(data[box], array[box])


@pytest.mark.parametrize("suffix", EVERY)
def test_files_are_closed_with_their_image(tmp_path, suffix):
    write(suffix, tmp_path / f"a{suffix}", counts(2, 2, 2, 8, 8))
    image = open_image(tmp_path / f"a{suffix}")
    assert image.data[0, 0, 0, 0:8, 0:8].shape == (8, 8)
    del image
    gc.collect()  # warnings of files that nobody closed are errors


@pytest.mark.parametrize("suffix", EVERY)
def test_a_folder_of_vendor_files_is_a_folder_of_images(tmp_path, suffix):
    write(suffix, tmp_path / f"A{suffix.upper()}", counts(1, 1, 1, 8, 8))
    assert image_files(tmp_path) == [tmp_path / f"A{suffix.upper()}"]
    assert open_image(tmp_path / f"A{suffix.upper()}").axes == "YX"


@pytest.mark.parametrize(("suffix", "dtype"), [
    (".czi", "u1"), (".czi", "f4"), (".nd2", "u1"), (".nd2", "f4"), (".ims", "u1"), (".ims", "f4"), (".lif", "u1"),
    (".lif", "f4"), (".dv", "u1"), (".dv", "i2"), (".dv", "f4"), (".dv", "i4"),
])  # fmt: skip
def test_number_types(tmp_path, suffix, dtype):
    array = counts(2, 2, 1, 16, 16, dtype=dtype)
    if dtype == "f4":
        array /= 4096 if suffix == ".czi" else 3
    write(suffix, tmp_path / f"a{suffix}", array)
    image = read_image(tmp_path / f"a{suffix}")
    assert image.data.dtype == dtype
    np.testing.assert_array_equal(image.data, array[:, :, 0])


@pytest.mark.parametrize("suffix", EVERY)
@pytest.mark.parametrize("kind", ["empty", "zeros", "start and zeros", "cut in half", "last byte missing"])
def test_damaged_files_give_one_sentence(tmp_path, suffix, kind):
    path = tmp_path / f"a{suffix}"
    write(suffix, path, counts(2, 2, 2, 30, 30))
    content = path.read_bytes()
    path.write_bytes({
        "empty": b"", "zeros": bytes(4096), "start and zeros": content[:64].ljust(4096, b"\0"),
        "cut in half": content[: len(content) // 2], "last byte missing": content[:-1],
    }[kind])  # fmt: skip
    if kind == "last byte missing" and suffix in (".ims", ".czi"):
        with contextlib.suppress(InputError):  # what is missing may be padding at the end
            assert read_image(path).data.shape == (2, 2, 2, 30, 30)
        return
    with pytest.raises(InputError) as error:
        read_image(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert re.search("copy it again|no image|complete", str(error.value)), str(error.value)


@pytest.mark.parametrize("suffix", [".czi", ".nd2", ".ims", ".lif"])
def test_an_ending_that_lies(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"II*\0" + bytes(4000))
    with pytest.raises(InputError, match=r"does not begin like one: .*correct its ending"):
        open_image(path)


@pytest.mark.parametrize(("suffix", "module"), [
    (".czi", "pylibCZIrw"), (".nd2", "nd2"), (".ims", "h5py"), (".lif", "liffile"), (".dv", "mrcfile"),
    (".mrc", "mrcfile"),
])  # fmt: skip
def test_a_missing_library_gives_its_install_line(tmp_path, monkeypatch, suffix, module):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(bytes(2048))
    for name in [n for n in sys.modules if n.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(InputError, match=rf"{module}, which is missing: pip install 'zsd\[vendor\]'"):
        open_image(path)


def test_every_format_has_a_reader():
    known = {suffix for format_ in FORMATS for suffix in format_.suffixes}
    assert known >= {".czi", ".nd2", ".lif", ".ims", ".dv", ".mrc"}
