"""A damaged or odd TIFF opens, or is refused with a sentence; 10,000 examples each with -m slow."""

import contextlib
import io
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zsd_runtime import InputError
from zsd_runtime.images import open_image, read_image

DATA = np.arange(4 * 16 * 16, dtype=np.uint16).reshape(2, 2, 16, 16)
KINDS: dict[str, dict[str, Any]] = {
    "imagej": {"imagej": True, "metadata": {"axes": "TCYX", "unit": "um", "spacing": 0.3, "Labels": ["a"] * 4}},
    "ome": {
        "ome": True,
        "metadata": {"axes": "TCYX", "PhysicalSizeX": 0.1, "Channel": {"Name": ["a", "b"]}, "UUID": "urn:uuid:1"},
    },
    # Not LZW: on damaged data the decoder of imagecodecs 2026.3.6 may crash (lzw_decode), whoever calls it.
    "compressed": {"compression": "zlib", "tile": (16, 16)},
    "plain": {},
}
TEXT = st.one_of(
    st.text(max_size=8), st.floats().map(str), st.integers(-3, 99999).map(str), st.sampled_from(["µm", "0,3", "XYCZT"])
)
IMAGEJ = [
    "unit",
    "spacing",
    "frames",
    "slices",
    "channels",
    "images",
    "finterval",
    "order",
    "zunit",
    "c0",
    "c1",
    "mode",
]
PIXELS = [
    "PhysicalSizeX", "PhysicalSizeXUnit", "PhysicalSizeZ", "TimeIncrement", "TimeIncrementUnit", "SizeT", "SizeC",
    "SizeZ", "DimensionOrder",
]  # fmt: skip
CHANNEL = ["Name", "Color", "EmissionWavelength", "SamplesPerPixel"]
PLANE = ["TheZ", "PositionX", "PositionXUnit", "PositionZ"]


def written(options):
    file = io.BytesIO()
    tifffile.imwrite(file, DATA, photometric="minisblack", **options)
    return file.getvalue()


CONTENTS = {kind: written(options) for kind, options in KINDS.items()}


def damage(path, kind, changes, kept):
    content = bytearray(CONTENTS[kind])
    for at, value in changes:
        content[at % len(content)] = value
    path.write_bytes(content[: int(len(content) * kept)])
    with contextlib.suppress(InputError):
        read_image(path)


def imagej(path, lines):
    text = "ImageJ=1.54f\n" + "".join(f"{key}={value}\n" for key, value in lines.items())
    options: dict[str, Any] = {"metadata": None, "photometric": "minisblack", "resolution": (10, 10)}
    tifffile.imwrite(path, DATA, description=text.encode(), **options)
    with contextlib.suppress(InputError):
        assert open_image(path).data.shape[-2:] == (16, 16)


def ome(path, *attributes):
    printable = [{k: "".join(c for c in v if c.isprintable()) for k, v in some.items()} for some in attributes]
    sizes = {"SizeX": "16", "SizeY": "16", "SizeZ": "4", "SizeC": "1", "SizeT": "1", "DimensionOrder": "XYZCT"}
    root = ElementTree.Element("OME", xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06")
    pixels = ElementTree.SubElement(ElementTree.SubElement(root, "Image"), "Pixels", {**sizes, **printable[0]})
    for name, values in zip(("Channel", "TiffData", "Plane"), (printable[1], {}, printable[2]), strict=True):
        ElementTree.SubElement(pixels, name, values)
    text = ElementTree.tostring(root, encoding="utf-8")
    tifffile.imwrite(path, DATA, metadata=None, photometric="minisblack", description=text)
    with contextlib.suppress(InputError):
        assert open_image(path).data.shape[-2:] == (16, 16)


FIXTURE = [HealthCheck.function_scoped_fixture]
QUICK = {"max_examples": 60, "deadline": None, "suppress_health_check": FIXTURE}
LONG = {"max_examples": 10_000, "deadline": None, "suppress_health_check": FIXTURE}
DAMAGE = given(
    st.sampled_from(list(KINDS)),
    st.lists(st.tuples(st.one_of(st.integers(0, 600), st.integers(0, 5000)), st.integers(0, 255)), max_size=8),
    st.one_of(st.just(1.0), st.floats(0, 1)),
)
LINES = given(st.dictionaries(st.sampled_from(IMAGEJ), TEXT))
ATTRIBUTES = given(*(st.dictionaries(st.sampled_from(names), TEXT) for names in (PIXELS, CHANNEL, PLANE)))


@settings(**QUICK)
@DAMAGE
def test_damage(tmp_path, kind, changes, kept):
    damage(tmp_path / "a.tif", kind, changes, kept)


@settings(**QUICK)
@LINES
def test_lines_of_imagej(tmp_path, lines):
    imagej(tmp_path / "a.tif", lines)


@settings(**QUICK)
@ATTRIBUTES
def test_attributes_of_ome(tmp_path, pixels, channel, plane):
    ome(tmp_path / "a.ome.tif", pixels, channel, plane)


@pytest.mark.slow
@settings(**LONG)
@DAMAGE
def test_much_damage(tmp_path, kind, changes, kept):
    damage(tmp_path / "a.tif", kind, changes, kept)


@pytest.mark.slow
@settings(**LONG)
@LINES
def test_many_lines_of_imagej(tmp_path, lines):
    imagej(tmp_path / "a.tif", lines)


@pytest.mark.slow
@settings(**LONG)
@ATTRIBUTES
def test_many_attributes_of_ome(tmp_path, pixels, channel, plane):
    ome(tmp_path / "a.ome.tif", pixels, channel, plane)
