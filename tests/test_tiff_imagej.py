"""ImageJ's TIFF files, and what stands in them."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile

from zsd_runtime import InputError
from zsd_runtime.images import Channel, Description, Image, Voxel, open_image, read_image, write_image

RNG = np.random.default_rng(0)


def stack(*shape):
    return RNG.integers(1, 1000, shape).astype(np.uint16)


def write(path, data, *lines, per_pixel=10.0):
    """As ImageJ: all it knows stands in the description."""
    text = "\n".join(("ImageJ=1.54f", f"images={len(data) if data.ndim > 2 else 1}", *lines, "loop=false", ""))
    tifffile.imwrite(
        path, data, metadata=None, photometric="minisblack", resolution=(per_pixel, per_pixel), resolutionunit=1,
        description=text.encode(),
    )  # fmt: skip


SIZES = [
    (["unit=micron", "spacing=0.3"], Voxel(0.3, 0.1, 0.1), 0),
    (["unit=\\u00B5m", "spacing=0.3"], Voxel(0.3, 0.1, 0.1), 0),
    (["unit=µm", "spacing=0.3"], Voxel(0.3, 0.1, 0.1), 0),
    (["unit=μm", "spacing=0.3"], Voxel(0.3, 0.1, 0.1), 0),
    (["unit=micron", "spacing=-0.3"], Voxel(0.3, 0.1, 0.1), 0),
    (["unit=micron", "spacing=300", "zunit=nm"], Voxel(0.3, 0.1, 0.1), 0),
    (["unit=um", "spacing=0.3", "yunit=um", "zunit=um"], Voxel(0.3, 0.1, 0.1), 0),
    (["unit=um", "yunit=nm", "spacing=0.3"], Voxel(0.3), 1),  # pixels of 0.1 µm x 0.1 nm
    (["unit=micron", "spacing=0,3"], Voxel(None, 0.1, 0.1), 1),
    (["unit=micron", "spacing=NaN"], Voxel(None, 0.1, 0.1), 1),
    (["unit=micron", "spacing=0"], Voxel(None, 0.1, 0.1), 1),
    (["unit=micron"], Voxel(None, 0.1, 0.1), 0),
    (["unit=inch", "spacing=0.3"], Voxel(), 2),
    (["unit=furlong", "spacing=0.3"], Voxel(), 2),
    (["unit=pixel", "spacing=1"], Voxel(), 0),
    ([], Voxel(), 0),
]


@pytest.mark.parametrize(("lines", "voxel", "notices"), SIZES)
def test_sizes(tmp_path, lines, voxel, notices):
    write(tmp_path / "a.tif", stack(4, 8, 8), "slices=4", *lines)
    image = open_image(tmp_path / "a.tif")
    assert image.axes == "ZYX"
    assert image.voxel == voxel
    assert len(image.description.notices) == notices
    assert image.description.size_source == ("ImageJ" if voxel != Voxel() else "")


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        (["finterval=2.5"], 2.5), (["finterval=2", "tunit=min"], 120.0), (["finterval=100", "tunit=ms"], 0.1),
        (["fps=7"], None),  # the speed of its playback
        (["finterval=0"], None), (["finterval=1,5"], None),
    ],
)  # fmt: skip
def test_time_steps(tmp_path, lines, seconds):
    write(tmp_path / "a.tif", stack(4, 8, 8), "frames=4", *lines)
    assert open_image(tmp_path / "a.tif").description.time_step_s == seconds


@pytest.mark.parametrize(
    ("lines", "pages", "announced"),
    [
        (["images=6", "frames=6"], 4, 6), (["images=6", "slices=6"], 5, 6),
        (["images=8", "channels=2", "slices=4"], 7, 8), (["images=6", "frames=6", "hyperstack=true"], 1, 6),
    ],
)  # fmt: skip
@pytest.mark.parametrize("contiguous", [True, False])
def test_more_planes_announced_than_held(tmp_path, lines, pages, announced, contiguous):
    text = "\n".join(("ImageJ=1.52p", *lines, "loop=false", ""))
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for i, plane in enumerate(stack(pages, 16, 16)):
            described = text if i == 0 else None
            tiff.write(
                plane, photometric="minisblack", metadata=None, contiguous=contiguous and i > 0, description=described
            )
    with pytest.raises(InputError, match=f"announces {announced} planes and holds {pages}"):
        open_image(tmp_path / "a.tif")


@pytest.mark.parametrize("lines", [["frames=4"], ["slices=2", "frames=2"], ["channels=3"]])
def test_planes_that_are_not_announced_are_a_notice(tmp_path, lines):
    write(tmp_path / "a.tif", stack(6, 16, 16), *lines)
    assert "more planes than its ImageJ description" in open_image(tmp_path / "a.tif").description.notices[0]
    write(tmp_path / "a.tif", stack(6, 16, 16), "slices=2", "channels=3")
    assert not open_image(tmp_path / "a.tif").description.notices


@pytest.mark.parametrize("left_out", [1, 700, 2 * 16 * 16 * 2])
def test_one_directory_for_all_planes(tmp_path, left_out):
    """As ImageJ writes above 4 GB, and virtual stacks."""
    data = stack(6, 16, 16)
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True, truncate=True, metadata={"axes": "TYX"})
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, data)
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[:-left_out])
    with pytest.raises(InputError, match=r"announces 6 planes and holds [345]"):
        open_image(tmp_path / "cut.tif")


def test_frames_with_a_distance_between_slices(tmp_path):
    write(tmp_path / "a.tif", stack(4, 8, 8), "frames=4", "unit=um", "spacing=0.3")
    (notice,) = open_image(tmp_path / "a.tif").description.notices
    assert "0.3 µm apart" in notice
    assert "--axes ZYX" in notice
    image = open_image(tmp_path / "a.tif", "ZYX")
    assert (image.axes, image.voxel) == ("ZYX", Voxel(0.3, 0.1, 0.1))


def lut(*rgb):
    return np.array([np.arange(256) * v // 255 for v in rgb], np.uint8)


def test_tables_labels_and_the_rest_are_carried_over(tmp_path):
    tables = [lut(0, 255, 0), np.array([np.arange(255, -1, -1)] * 3, np.uint8)]
    labels = [f"t{i // 2} c{i % 2}" for i in range(6)]
    metadata = {
        "axes": "TCYX", "mode": "composite", "LUTs": tables, "Labels": labels, "finterval": 30.0, "Info": "line\nµ",
        "unit": "um", "Ranges": [0.0, 10.0, 0.0, 20.0],
    }  # fmt: skip
    data = stack(3, 2, 8, 8)
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True, resolution=(10, 10), metadata=metadata)
    image = read_image(tmp_path / "a.tif")
    fine = image.resized((3, 2, 16, 16), "float32")
    write_image(tmp_path / "b.tif", replace(fine, data=np.zeros((3, 2, 16, 16), np.float32)))
    for found in (image, read_image(tmp_path / "b.tif")):
        described = found.description
        assert [c.color for c in described.channels] == ["00FF00", "000000"]
        for channel, table in zip(described.channels, tables, strict=True):
            np.testing.assert_array_equal(channel.lut, table)
        assert described.labels == tuple(labels)
        assert (described.time_step_s, described.text) == (30.0, "line\nµ")
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert tiff.imagej_metadata["mode"] == "composite"


def test_one_channel_in_colour(tmp_path):
    described = Description(channels=(Channel(color="FF00FF"),))
    write_image(tmp_path / "a.tif", Image(np.zeros((8, 8), np.float32), "YX", description=described))
    (channel,) = read_image(tmp_path / "a.tif").description.channels
    assert channel.color == "FF00FF"
    assert channel.lut[:, 128].tolist() == [128, 0, 128]


@pytest.mark.parametrize(("axes", "shape"), [("TYX", (3, 8, 8)), ("CYX", (2, 8, 8)), ("TZCYX", (2, 3, 2, 8, 8))])
def test_labels_of_other_planes_are_left_out(tmp_path, axes, shape):
    described = Description(labels=("one", "two"))
    write_image(tmp_path / "a.tif", Image(np.zeros(shape, np.float32), axes, description=described))
    assert read_image(tmp_path / "a.tif").description.labels == (("one", "two") if axes == "CYX" else ())


@pytest.mark.parametrize(("axes", "kept"), [("TCYX", True), ("TZYX", True), ("CTYX", False), ("ZTYX", False)])
def test_labels_of_planes_in_another_order_are_left_out(tmp_path, axes, kept):
    labels = tuple(f"plane {i}" for i in range(6))
    image = Image(np.zeros((3, 2, 8, 8), np.float32), "TCYX", description=Description(labels=labels))
    write_image(tmp_path / "a.tif", image)
    assert open_image(tmp_path / "a.tif", axes).description.labels == (labels if kept else ())


@pytest.mark.parametrize(
    ("dtype", "described", "ome"),
    [
        ("float32", Description(), False),
        ("uint16", Description(), False),
        ("int32", Description(), True),
        ("float64", Description(), True),
        ("int16", Description(), True),
        ("float32", Description(channels=(Channel("GFP"),)), False),
        ("float32", Description(origin_um={"Z": 1.0}), True),  # ImageJ counts pixels, whose size is not known
        ("float32", Description(channels=(Channel(color="FF0000"),)), False),
    ],
)
def test_what_imagej_cannot_hold_is_written_as_ome_tiff(tmp_path, dtype, described, ome):
    data = np.arange(64).reshape(8, 8).astype(dtype)
    write_image(tmp_path / "a.tif", Image(data, "YX", description=described))
    image = read_image(tmp_path / "a.tif")
    assert image.ome is ome
    assert image.data.dtype == dtype
    np.testing.assert_array_equal(image.data, data)


def test_a_hyperstack_carries_names_wavelengths_and_position(tmp_path):
    channels = (Channel("α-tubulin", "00FF00", 520.0), Channel('"GFP" & 1', "FF0000", 610.0))
    described = Description(
        "scan 3", channels=channels, time_step_s=2.5, origin_um={"Z": -4.0, "Y": 12.5, "X": 0.0}
    )  # fmt: skip
    data = np.arange(3 * 2 * 4 * 8 * 8, dtype=np.uint16).reshape(3, 2, 4, 8, 8)
    write_image(tmp_path / "a.tif", Image(data, "TCZYX", Voxel.square(0.1, 0.3), description=described))
    image = read_image(tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.imagej_metadata["Labels"][:3] == ["α-tubulin", '"GFP" & 1', "α-tubulin"]
        assert file.imagej_metadata["xorigin"] == 0
    assert not image.ome
    assert image.axes == "TCZYX"
    np.testing.assert_array_equal(image.data, data)
    found = image.description
    assert [(c.name, c.color, c.emission_nm) for c in found.channels] == [
        (c.name, c.color, c.emission_nm) for c in channels
    ]
    assert (found.name, found.time_step_s) == ("scan 3", 2.5)
    assert found.origin_um == pytest.approx(described.origin_um)


@pytest.mark.parametrize("dtype", ["int64", "uint64", "float16"])
def test_what_no_tiff_holds_is_an_error(tmp_path, dtype):
    with pytest.raises(InputError, match=f"does not hold {dtype}"):
        write_image(tmp_path / "a.tif", Image(np.zeros((8, 8), dtype), "YX"))
    assert not list(tmp_path.iterdir())
