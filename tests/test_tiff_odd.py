"""TIFF and other files that are not what one expects."""

import struct
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from zsd_runtime import InputError
from zsd_runtime.images import image_files, open_image, read_image, stem, tiff

RNG = np.random.default_rng(0)


def stack(*shape, dtype="uint16", top=1000):
    return RNG.integers(1, top, shape).astype(dtype)


@pytest.mark.parametrize(
    ("shape", "axes", "hint"),
    [((5, 8, 9), "TYX", "--axes ZYX"), ((1, 5, 8, 9), "TYX", "--axes ZYX"), ((8, 9), "YX", "")],
)
@pytest.mark.parametrize("metadata", [{}, None])
def test_planes_without_a_name_are_taken_as_frames_with_a_notice(tmp_path, shape, axes, hint, metadata):
    tifffile.imwrite(tmp_path / "a.tif", stack(*shape), metadata=metadata, photometric="minisblack")
    image = open_image(tmp_path / "a.tif")
    assert image.axes == axes
    assert [hint in n for n in image.description.notices] == ([True] if hint else [])
    assert not open_image(tmp_path / "a.tif", "ZYX" if hint else "YX").description.notices


def test_axes_that_a_plain_tiff_names_are_used(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", stack(5, 8, 9), metadata={"axes": "ZYX"})
    image = open_image(tmp_path / "a.tif")
    assert (image.axes, image.description.notices) == ("ZYX", ())


def test_a_thumbnail_in_a_plain_tiff(tmp_path):
    big = stack(64, 64)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(stack(16, 16), photometric="minisblack", metadata=None)
        file.write(big, photometric="minisblack", metadata=None)
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, big)
    assert "holds 2 images" in image.description.notices[0]
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:  # that says that it is one
        file.write(stack(16, 16), photometric="minisblack", metadata=None, subfiletype=1)
        file.write(big, photometric="minisblack", metadata=None)
    image = read_image(tmp_path / "b.tif")
    np.testing.assert_array_equal(image.data, big)
    assert image.description.notices == ()


@pytest.mark.parametrize(
    ("per_inch", "um"),
    [(72, None), (96, None), (600, None), (4800, None), (254e5 / 65, 0.065), (25400, 1.0), (0, None)],
)
def test_resolution_in_inches_counts_where_no_printer_is_as_fine(tmp_path, per_inch, um):
    tifffile.imwrite(
        tmp_path / "a.tif", stack(8, 8), metadata=None, resolution=(per_inch, per_inch), resolutionunit="INCH"
    )
    image = open_image(tmp_path / "a.tif")
    assert image.voxel.x_um == (um and pytest.approx(um, rel=1e-6))
    assert not image.description.notices


@pytest.mark.parametrize(("per_cm", "um"), [(28.346, None), (118.11, None), (153846.15, 0.065), (100000, 0.1)])
def test_resolution_in_centimetres(tmp_path, per_cm, um):
    tifffile.imwrite(
        tmp_path / "a.tif", stack(8, 8), metadata=None, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER"
    )
    image = open_image(tmp_path / "a.tif")
    assert image.voxel.x_um == (um and pytest.approx(um, rel=1e-4))
    assert bool(image.description.notices) is (um is None)


GREY = stack(16, 16, dtype="uint8", top=255)
RGB8 = stack(16, 16, 3, dtype="uint8", top=255)
RGB16 = stack(16, 16, 3)
OPAQUE = np.full((16, 16, 1), 255, np.uint8)

SAMPLES: dict[str, tuple[Any, dict[str, Any], str | None]] = {
    "two channels": (stack(16, 16, 2), {"planarconfig": "contig"}, "CYX"),
    "three channels": (RGB16, {"planarconfig": "contig"}, "CYX"),
    "8-bit channels": (RGB8, {"planarconfig": "contig"}, "CYX"),
    "planes of 16-bit colours": (np.moveaxis(RGB16, -1, 0), {"photometric": "rgb", "planarconfig": "separate"}, "CYX"),
    "16-bit colours": (RGB16, {"photometric": "rgb"}, "CYX"),
    "float channels": (RGB16.astype("f4"), {"planarconfig": "contig"}, "CYX"),
    "a stack of them": (stack(4, 16, 16, 2), {"planarconfig": "contig"}, "TCYX"),
    "grey as colours": (np.stack([GREY] * 3, -1), {"photometric": "rgb"}, "YX"),
    "grey as planes of colours": (np.stack([GREY] * 3), {"photometric": "rgb", "planarconfig": "separate"}, "YX"),
    "grey and alpha": (
        np.concatenate([GREY[..., None], OPAQUE], -1), {"planarconfig": "contig", "extrasamples": ["unassalpha"]}, "YX"
    ),
    "grey as colours and alpha": (
        np.concatenate([np.stack([GREY] * 3, -1), OPAQUE], -1),
        {"photometric": "rgb", "extrasamples": ["unassalpha"]}, "YX",
    ),
    "colours": (RGB8, {"photometric": "rgb"}, None),
    "planes of colours": (np.moveaxis(RGB8, -1, 0), {"photometric": "rgb", "planarconfig": "separate"}, None),
    "a black colour picture": (np.zeros((16, 16, 3), np.uint8), {"photometric": "rgb"}, None),
    "colours and alpha": (
        np.concatenate([RGB8, OPAQUE], -1), {"photometric": "rgb", "extrasamples": ["unassalpha"]}, None
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_samples(tmp_path, name):
    data, options, axes = SAMPLES[name]
    tifffile.imwrite(tmp_path / "a.tif", data, metadata=None, **{"photometric": "minisblack", **options})
    if axes is None:
        with pytest.raises(InputError, match="colour image"):
            open_image(tmp_path / "a.tif")
        return
    image = read_image(tmp_path / "a.tif")
    assert image.axes == axes
    assert image.description.notices
    if axes == "YX":
        np.testing.assert_array_equal(image.data, GREY)
    elif options.get("planarconfig") == "separate":
        np.testing.assert_array_equal(image.data, data)
    else:
        np.testing.assert_array_equal(image.data, np.moveaxis(data, -1, -3))


@pytest.mark.parametrize(
    ("data", "axes"),
    [
        (GREY, "YX"), (np.concatenate([GREY[..., None], OPAQUE], -1), "YX"), (np.stack([GREY] * 3, -1), "YX"),
        (np.concatenate([np.stack([GREY] * 3, -1), OPAQUE], -1), "YX"), (RGB8, None), (stack(16, 16), "YX"),
    ],
)  # fmt: skip
def test_png(tmp_path, data, axes):
    iio.imwrite(tmp_path / "a.png", data)
    if axes is None:
        with pytest.raises(InputError, match="colour image"):
            open_image(tmp_path / "a.png")
    else:
        image = read_image(tmp_path / "a.png")
        np.testing.assert_array_equal(image.data, GREY if data.dtype == np.uint8 else data)
        assert bool(image.description.notices) is (data.ndim > 2)


@pytest.mark.parametrize(("dtype", "top"), [("uint8", 255), ("uint16", 65535), ("uint32", 2**32 - 1)])
def test_white_stored_as_0_is_inverted(tmp_path, dtype, top):
    data = stack(16, 16, dtype=dtype, top=200)
    tifffile.imwrite(tmp_path / "a.tif", top - data, photometric="miniswhite", metadata=None)
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, data)
    assert image.data.dtype == dtype
    assert "MinIsWhite" in image.description.notices[0]


def test_an_inverted_table_of_imagej_leaves_the_numbers(tmp_path):
    """ImageJ changes how they are shown, and measures what is stored."""
    data = stack(16, 16)
    tifffile.imwrite(
        tmp_path / "a.tif", data, photometric="miniswhite", metadata=None, description="ImageJ=1.54f\nimages=1\n"
    )
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, data)
    assert "inverted in ImageJ" in image.description.notices[0]


def test_white_stored_as_0_in_float_is_an_error(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((8, 8), np.float32), photometric="miniswhite", metadata=None)
    with pytest.raises(InputError, match="MinIsWhite"):
        open_image(tmp_path / "a.tif")


def test_nan_is_no_fault_of_the_file(tmp_path):
    data = stack(16, 16).astype(np.float32)
    data[:4] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True)
    assert np.isnan(open_image(tmp_path / "a.tif").data).sum() == 64
    with pytest.raises(InputError, match="64 pixels that are NaN"):
        read_image(tmp_path / "a.tif")


TYPES = ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_types(tmp_path, dtype, byteorder):
    data = stack(16, 20, top=120).astype(dtype)
    data = data if dtype.startswith("u") else -data
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack", byteorder=byteorder)
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, data)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "lzw", "predictor": True}, {"compression": "zlib", "tile": (16, 16)}, {"compression": "zstd"},
        {"compression": "lzma"}, {"compression": "packbits"}, {"compression": "jpegxl"}, {"compression": "jpeg2000"},
        {"bigtiff": True}, {"tile": (16, 16)}, {"rowsperstrip": 3}, {"compression": "lerc"},
    ],
)  # fmt: skip
def test_ways_to_store(tmp_path, options):
    data = stack(3, 20, 33)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack", **options)
    image = read_image(tmp_path / "a.tif", "TYX")
    np.testing.assert_array_equal(image.data, data)
    assert not image.description.notices


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"imagej": True, "metadata": {"axes": "TZCYX"}}, (2, 3, 4, 40, 50)),
        ({"ome": True, "tile": (16, 16), "metadata": {"axes": "CTZYX"}}, (2, 3, 4, 40, 50)),
        ({"planarconfig": "contig", "metadata": None}, (3, 40, 50, 2)),
    ],
)
def test_large_compressed_files_are_read_where_they_are_sliced(tmp_path, monkeypatch, options, shape):
    tifffile.imwrite(tmp_path / "a.tif", stack(*shape), compression="zlib", photometric="minisblack", **options)
    whole = read_image(tmp_path / "a.tif")
    monkeypatch.setattr(tiff, "READ_AT_ONCE", 0)
    image = open_image(tmp_path / "a.tif")
    assert not isinstance(image.data, np.ndarray)
    assert image.axes == whole.axes
    box = tuple(slice(n // 3, n // 3 + n // 2) for n in image.data.shape)
    np.testing.assert_array_equal(image.data[box], whole.data[box])
    np.testing.assert_array_equal(image.data[(1, *box[1:])], whole.data[(1, *box[1:])])


def test_compression_with_loss_is_a_notice(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY, compression="jpeg")
    assert "compressed with loss (JPEG)" in read_image(tmp_path / "a.tif").description.notices[0]


def write_tags(path, tags, data):
    """A big-endian TIFF of one plane, tag by tag."""
    tags = sorted([*tags, (273, 4, 8), (279, 4, len(data))])
    entries = [
        struct.pack(">HHI", tag, kind, 1) + (struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value))
        for tag, kind, value in tags
    ]
    directory = struct.pack(">H", len(tags)) + b"".join(entries) + struct.pack(">I", 0)
    path.write_bytes(struct.pack(">2sHI", b"MM", 42, 8 + len(data)) + data + directory)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_bits(tmp_path, bits):
    data = RNG.integers(0, 1 << bits, (16, 16)).astype(np.uint16)
    packed = np.packbits((data.ravel()[:, None] >> np.arange(bits - 1, -1, -1)) & 1).tobytes()
    write_tags(
        tmp_path / "a.tif",
        [(256, 3, 16), (257, 3, 16), (258, 3, bits), (259, 3, 1), (262, 3, 1), (277, 3, 1), (278, 3, 16)],
        packed,
    )
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, data)


def test_an_unknown_compression_is_named(tmp_path):
    write_tags(
        tmp_path / "a.tif",
        [(256, 3, 16), (257, 3, 16), (258, 3, 8), (259, 3, 40000), (262, 3, 1), (277, 3, 1), (278, 3, 16)],
        bytes(256),
    )
    with pytest.raises(InputError, match=r"compressed in a way that zsd cannot read \(40000"):
        read_image(tmp_path / "a.tif")


BY_NAME = {
    "a.dcimg": "Hamamatsu DCIMG", "a.oib": "Olympus OIB", "a.vsi": "Olympus VSI", "a.sld": "SlideBook",
    "a.ZVI": "Zeiss ZVI", "a.jpg": "JPEG", "a.JPEG": "JPEG", "a.gif": "GIF", "a.avi": "film", "a.npz": "NumPy archive",
    "a.mat": "MATLAB", "a.raw": "raw dump", "a.msr": "Abberior", "a.dm4": "Gatan", "a.nd": "MetaMorph list",
    "a.tif.gz": "gzip archive", "a.nii": "NIfTI", "a.jp2": "JPEG 2000",
}  # fmt: skip
BY_CONTENT = {
    "a.tif": (b"\xff\xd8\xff\xe0" + bytes(50), "JPEG"), "b.tif": (b"PK\x03\x04" + bytes(50), "ZIP archive"),
    "c.tif": (b"<!DOCTYPE html>", "web page"), "d.tif": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    "e.tif": (bytes(1000), "nothing but zeros"), "f.tif": (b"", "empty"), "g.tif": (b"\x89HDF\r\n\x1a\n", "HDF5"),
    "h.png": (b"GIF89a" + bytes(50), "GIF"), "j.tif": (b"\x1f\x8b\x08" + bytes(50), "gzip archive"),
    "k.png": (b"\xff\xd8\xff\xe0" + bytes(50), "JPEG"), "i.tif": (b"\x93NUMPY\x01\0", "NumPy array"),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_NAME)
def test_formats_that_are_not_read_are_named_with_a_remedy(tmp_path, name):
    (tmp_path / name).write_bytes(b"x" * 100)
    with pytest.raises(InputError, match=f"is an? {BY_NAME[name]}.*, which zsd does not read: ."):
        open_image(tmp_path / name)


@pytest.mark.parametrize("name", BY_CONTENT)
def test_files_that_are_something_else(tmp_path, name):
    content, what = BY_CONTENT[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} is not a readable .*: it is .*{what}"):
        open_image(tmp_path / name)


DAMAGED = {
    "a.png": lambda path: iio.imwrite(path, stack(64, 64)), "a.npy": lambda path: np.save(path, stack(64, 64)),
    "a.tif": lambda path: tifffile.imwrite(path, stack(64, 64)),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_cut_off_is_no_other_format(tmp_path, name):
    DAMAGED[name](tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:600])
    with pytest.raises(InputError, match=r"is cut off.*copy it again") as error:
        read_image(tmp_path / name)
    assert "it is a" not in str(error.value)


def test_a_jpeg_that_is_called_png_is_no_png(tmp_path):
    iio.imwrite(tmp_path / "a.jpg", stack(64, 64, dtype="uint8", top=200))
    (tmp_path / "a.jpg").rename(tmp_path / "a.png")
    with pytest.raises(InputError, match="it is a JPEG"):
        open_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("data", "axes", "expected"),
    [
        (stack(5, 6), None, "YX"), (stack(3, 5, 6), "ZYX", "ZYX"), (stack(5, 6, 3), "YXC", "CYX"),
        (np.asfortranarray(stack(5, 6)), None, "YX"), (stack(5, 6).astype(">u2"), None, "YX"),
        (stack(5, 6).astype(float), None, "YX"),
    ],
)  # fmt: skip
def test_numpy_arrays(tmp_path, data, axes, expected):
    np.save(tmp_path / "a.npy", data)
    image = read_image(tmp_path / "a.npy", axes)
    assert image.axes == expected
    np.testing.assert_array_equal(image.data, np.moveaxis(data, -1, 0) if axes == "YXC" else data)
    assert isinstance(open_image(tmp_path / "a.npy", axes).data, np.memmap)


def test_numpy_arrays_that_are_no_images(tmp_path):
    np.save(tmp_path / "a.npy", stack(3, 5, 6))
    with pytest.raises(InputError, match="`axes`") as error:
        open_image(tmp_path / "a.npy")
    assert error.value.options == ("axes",)
    np.save(tmp_path / "b.npy", np.array([[{}]]), allow_pickle=True)
    np.save(tmp_path / "c.npy", stack(5, 6).astype(complex))
    for name, message in {"b": "not a readable NumPy", "c": "complex"}.items():
        with pytest.raises(InputError, match=message):
            open_image(tmp_path / f"{name}.npy")


def test_folders_as_they_are(tmp_path):
    names = [
        "Cell 1 (GFP).tif",
        "Zelle_äöü.tif",
        "细胞.tif",
        "UPPER.TIF",
        "-dash.tif",
        "x.btf",
        "y.tf8",
        'it\'s "q".tif',
    ]
    for name in names:
        tifffile.imwrite(tmp_path / name, stack(8, 8))
    for name in ("a.oib", "a.dcimg"):
        (tmp_path / name).write_bytes(b"x")
    for name in ("Thumbs.db", "notes.txt", "._Cell 1 (GFP).tif", ".hidden.tif", "preview.jpg", ".DS_Store"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "link.tif").symlink_to("UPPER.TIF")
    (tmp_path / "another.tif").symlink_to(tmp_path / "UPPER.TIF")
    (tmp_path / "broken.tif").symlink_to("nowhere.tif")
    assert [p.name for p in image_files(tmp_path)] == sorted([*names, "a.oib", "a.dcimg", "broken.tif"])
    with pytest.raises(InputError, match=r"link to nowhere\.tif, which does not exist"):
        open_image(tmp_path / "broken.tif")
    for name in ("x.btf", "y.tf8", "link.tif"):
        assert open_image(tmp_path / name).data.shape == (8, 8)


def test_a_folder_of_folders_names_one(tmp_path):
    (tmp_path / "position 1").mkdir()
    tifffile.imwrite(tmp_path / "position 1" / "a.tif", stack(8, 8))
    with pytest.raises(InputError, match="such as position 1"):
        image_files(tmp_path)


def test_refusals_point_to_info(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", RGB8, photometric="rgb")
    with pytest.raises(InputError, match=r"zsd info .*a\.tif"):
        open_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.b.c.tif", "a.b.c"), ("a.ome.btf", "a"), ("scan.companion.ome", "scan"), ("a.STK", "a"), ("x.lsm", "x")],
)
def test_stems(tmp_path, name, expected):
    assert stem(tmp_path / name) == expected


def test_a_folder_keeps_its_name(tmp_path):
    (tmp_path / "cells 12.5 ms").mkdir()
    assert stem(tmp_path / "cells 12.5 ms") == "cells 12.5 ms"
