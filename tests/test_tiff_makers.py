"""What MetaMorph and Micro-Manager write."""

import json
import struct

import numpy as np
import pytest
import tifffile

from zsd_runtime import InputError
from zsd_runtime.images import Voxel, open_image, read_image

RNG = np.random.default_rng(0)


def stack(*shape):
    return RNG.integers(1, 1000, shape).astype(np.uint16)


def write_stk(path, data, calibration=(13, 200), unit=b"um\0", z=(300, 1000)):
    """MetaMorph's stack: all planes behind one directory; UIC1 has sizes, UIC2 a date and a distance a plane."""
    count = len(data)
    pixels = data.astype("<u2").tobytes()
    uic2 = b"".join(struct.pack("<6I", *z, 2_450_000, 1000 * i, 2_450_000, 0) for i in range(count))
    start = 8 + len(pixels)
    parts = [uic2]
    at_fraction = start + len(uic2)
    parts.append(struct.pack("<2I", *calibration))
    at_unit = at_fraction + 8
    parts.append(struct.pack("<I", len(unit)) + unit + bytes(-len(unit) % 4))
    at_uic1 = at_unit + len(parts[-1])
    parts.append(struct.pack("<8I", 3, 1, 4, at_fraction, 5, at_fraction, 6, at_unit))
    at_uic3 = at_uic1 + 32
    parts.append(struct.pack("<2I", 500, 1) * count)
    directory = at_uic3 + 8 * count
    y, x = data.shape[1:]
    tags = [
        (256, 4, 1, x), (257, 4, 1, y), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1),
        (278, 4, 1, y), (279, 4, 1, x * y * 2),
        (33628, 4, 4, at_uic1), (33629, 5, count, start), (33630, 5, count, at_uic3),
    ]  # fmt: skip
    body = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, directory) + pixels + b"".join(parts) + body)


def test_metamorph_stk(tmp_path):
    data = stack(4, 8, 10)
    write_stk(tmp_path / "a.stk", data)
    image = read_image(tmp_path / "a.stk")
    assert image.axes == "ZYX"
    np.testing.assert_array_equal(image.data, data)
    assert image.voxel == Voxel(0.3, 0.065, 0.065)
    assert image.description.size_source == "MetaMorph"


def write_mmstack(path, data, summary):
    """Micro-Manager's stack of (T, P, Z, C, Y, X): a header, then directories of 162 bytes with the pixels behind."""
    y, x = data.shape[-2:]
    text = json.dumps(summary).encode()
    planes, index = b"", []
    start, size, count = 40 + len(text), 162 + 2 * x * y, int(np.prod(data.shape[:4]))
    for i, (t, p, z, c) in enumerate(np.ndindex(data.shape[:4])):
        at = start + i * size
        index.append((c, z, t, p, at))
        tags = [
            (256, 3, 1, x), (257, 3, 1, y), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, at + 162),
            (277, 3, 1, 1), (278, 3, 1, y), (279, 4, 1, 2 * x * y), (282, 4, 1, 1), (283, 4, 1, 1), (296, 3, 1, 3),
            (51123, 2, 8, start + count * size + 8 + 20 * count),
        ]  # fmt: skip
        planes += struct.pack("<H", 13) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        planes += struct.pack("<I", at + size if i + 1 < count else 0) + data[t, p, z, c].astype("<u2").tobytes()
    header = struct.pack("<2sHI", b"II", 42, start)
    header += struct.pack("<8I", 54773648, start + count * size, 483765892, 0, 99384722, 0, 2355492, len(text))
    table = struct.pack("<2I", 3453623, count) + b"".join(struct.pack("<5I", *entry) for entry in index)
    path.write_bytes(header + text + planes + table + b'{"a": 1}')


SUMMARY = {
    "MicroManagerVersion": "2.0", "Frames": 2, "Slices": 3, "Channels": 2, "Positions": 1, "TimeFirst": True,
    "SlicesFirst": True, "PixelSize_um": 0.065, "z-step_um": -0.5, "Interval_ms": 1500.0, "ChNames": ["DAPI", "GFP"],
    "ChColors": [-16776961, -16711936],
}  # fmt: skip


def test_micromanager_stack(tmp_path):
    data = stack(2, 1, 3, 2, 8, 9)
    write_mmstack(tmp_path / "a_MMStack.tif", data, SUMMARY)
    image = read_image(tmp_path / "a_MMStack.tif")
    assert image.axes == "TCZYX"
    np.testing.assert_array_equal(image.data, data[:, 0].swapaxes(1, 2))
    assert image.voxel == Voxel(0.5, 0.065, 0.065)
    assert [(c.name, c.color) for c in image.description.channels] == [("DAPI", "0000FF"), ("GFP", "00FF00")]
    assert image.description.time_step_s == 1.5


def test_positions_in_a_micromanager_stack(tmp_path):
    data = stack(2, 3, 3, 2, 8, 9)
    write_mmstack(tmp_path / "a_MMStack.tif", data, {**SUMMARY, "Positions": 3})
    with pytest.raises(InputError, match="holds 3 images"):
        open_image(tmp_path / "a_MMStack.tif")
    for p in range(3):
        image = read_image(tmp_path / "a_MMStack.tif", series=p)
        np.testing.assert_array_equal(image.data, data[:, p].swapaxes(1, 2))


def test_a_micromanager_stack_that_was_stopped(tmp_path):
    data = stack(2, 1, 3, 2, 8, 9)
    write_mmstack(tmp_path / "a_MMStack.tif", data, {**SUMMARY, "Frames": 5})
    image = read_image(tmp_path / "a_MMStack.tif")
    np.testing.assert_array_equal(image.data, data[:, 0].swapaxes(1, 2))
    assert "announces more planes than there are" in image.description.notices[0]


def test_micromanager_names_its_pixels(tmp_path):
    """Its TIFF tags say 10000 µm when no objective is set; its own metadata is what counts."""
    tag = json.dumps({"PixelSizeUm": 0.065, "XPositionUm": -12.5, "YPositionUm": 7.0})
    tifffile.imwrite(
        tmp_path / "a.tif", stack(8, 8), metadata=None, resolution=(1, 1), resolutionunit="CENTIMETER",
        extratags=[(51123, 2, None, tag, True)],
    )  # fmt: skip
    image = open_image(tmp_path / "a.tif")
    assert image.voxel == Voxel.square(0.065)
    assert image.description.origin_um == {"Y": 7.0, "X": -12.5}
    tifffile.imwrite(
        tmp_path / "b.tif", stack(8, 8), metadata=None, resolution=(1, 1), resolutionunit="CENTIMETER",
        extratags=[(51123, 2, None, json.dumps({"PixelSizeUm": 0}), True)],
    )  # fmt: skip
    assert open_image(tmp_path / "b.tif").voxel == Voxel()
