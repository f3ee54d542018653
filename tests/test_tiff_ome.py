"""OME-TIFF as microscopes and programs write it."""

from dataclasses import replace
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
import tifffile

from zsd_runtime import InputError
from zsd_runtime.images import (
    Channel,
    Description,
    Image,
    Voxel,
    image_files,
    images_in,
    open_image,
    read_image,
    write_image,
)

RNG = np.random.default_rng(0)
SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def stack(*shape):
    return RNG.integers(1, 1000, shape).astype(np.uint16)


def image_xml(shape, inside="", name="", number=0, more=""):
    """An Image of `shape`, TCZYX."""
    t, c, z, y, x = shape
    channels = "".join(f'<Channel ID="Channel:{number}:{i}" SamplesPerPixel="1"/>' for i in range(c))
    return (
        f'<Image ID="Image:{number}" Name={quoteattr(name)}><Pixels ID="Pixels:{number}" DimensionOrder="XYZCT" '
        f'Type="uint16" SizeX="{x}" SizeY="{y}" SizeZ="{z}" SizeC="{c}" SizeT="{t}" {more}>'
        f"{inside if '<Channel' in inside else channels + inside}</Pixels></Image>"
    )


def xml(body, uuid="urn:uuid:0"):
    return f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{SCHEMA}" UUID="{uuid}">{body}</OME>'


def tiff_data(name, uuid, planes=1, **first):
    at = " ".join(f'First{axis}="{first.get(axis, 0)}"' for axis in "TCZ")
    return f'<TiffData {at} IFD="0" PlaneCount="{planes}"><UUID FileName="{name}">{uuid}</UUID></TiffData>'


def write(path, data, description):
    tifffile.imwrite(path, data, description=description.encode(), metadata=None, photometric="minisblack")


def write_set(folder, axis="T", count=4, planes=1, skip=()):
    """An image in several files, along an axis; all but `skip` are written."""
    names = [f"part{i}.ome.tif" for i in range(count)]
    data = stack(count * planes, 12, 14)
    sizes = {"T": 1, "C": 1, "Z": 1, axis: count * planes}
    parts = "".join(tiff_data(n, f"urn:uuid:{i}", planes, **{axis: i * planes}) for i, n in enumerate(names))
    described = image_xml((*sizes.values(), 12, 14), parts)
    for i, name in enumerate(names):
        if i not in skip:
            write(folder / name, data[i * planes : (i + 1) * planes], xml(described, f"urn:uuid:{i}"))
    return data, names


@pytest.mark.parametrize(("axis", "planes"), [("T", 1), ("Z", 1), ("C", 1), ("Z", 3), ("T", 2)])
def test_an_image_in_several_files_is_read_whole_and_listed_once(tmp_path, axis, planes):
    data, names = write_set(tmp_path, axis, planes=planes)
    assert [p.name for p in image_files(tmp_path)] == names[:1]
    for name in names:
        image = read_image(tmp_path / name)
        assert image.axes == axis + "YX"
        np.testing.assert_array_equal(image.data, data)


@pytest.mark.parametrize(
    ("axis", "planes", "skip"), [("T", 1, [2]), ("T", 1, [0, 2, 3]), ("Z", 1, [0]), ("C", 1, [3]), ("Z", 3, [1, 2])]
)
def test_missing_files_are_named(tmp_path, axis, planes, skip):
    _, names = write_set(tmp_path, axis, planes=planes, skip=skip)
    present = [n for i, n in enumerate(names) if i not in skip]
    assert len(image_files(tmp_path)) == 1
    for name in present:
        with pytest.raises(InputError, match="missing") as error:
            open_image(tmp_path / name)
        assert all(names[i] in str(error.value) for i in skip)
        assert all(n not in str(error.value) for n in present if n != name)


@pytest.mark.parametrize("folder", ["C:\\data\\", "/home/me/scan/", "raw/", "..\\"])
def test_files_are_found_without_the_folders_of_another_computer(tmp_path, folder):
    data, names = write_set(tmp_path)
    for i, name in enumerate(names):
        with tifffile.TiffFile(tmp_path / name) as tiff:
            text = tiff.ome_metadata
        write(tmp_path / name, data[i], text.replace('FileName="', f'FileName="{folder}'))
    assert [p.name for p in image_files(tmp_path)] == names[:1]
    np.testing.assert_array_equal(read_image(tmp_path / names[1]).data, data)
    (tmp_path / names[3]).unlink()
    with pytest.raises(InputError, match=f"of which {names[3]} is missing"):
        open_image(tmp_path / names[1])


PARTS = {
    "empty": (lambda path: path.write_bytes(b""), "part2.ome.tif, a part of .* is not a readable TIFF"),
    "no TIFF": (lambda path: path.write_text("moved"), "part2.ome.tif, a part of .* is not a readable TIFF"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-40]), "part2.ome.tif is cut off"),
    "other shape": (lambda path: tifffile.imwrite(path, stack(9, 14)), "part2.ome.tif has planes of 9x14 pixels"),
}


@pytest.mark.parametrize("fault", PARTS)
def test_the_part_that_is_damaged_is_named(tmp_path, fault):
    damage, message = PARTS[fault]
    write_set(tmp_path)
    damage(tmp_path / "part2.ome.tif")
    with pytest.raises(InputError, match=message):
        open_image(tmp_path / "part0.ome.tif")


def test_a_part_of_another_acquisition_is_a_notice(tmp_path):
    write_set(tmp_path)
    assert not open_image(tmp_path / "part0.ome.tif").description.notices
    write(tmp_path / "part2.ome.tif", stack(12, 14), xml(image_xml((1, 1, 1, 12, 14)), "urn:uuid:x"))
    (notice,) = open_image(tmp_path / "part0.ome.tif").description.notices
    assert notice.startswith("part2.ome.tif may be of another acquisition")


def test_files_of_one_image_that_are_listed_one_by_one_count_once(tmp_path):
    _, names = write_set(tmp_path)
    tifffile.imwrite(tmp_path / "z.tif", stack(8, 8))
    (tmp_path / "a link.tif").symlink_to("z.tif")
    files = [tmp_path / n for n in ("a link.tif", "z.tif", *names)]
    assert images_in(files) == [tmp_path / "z.tif", tmp_path / names[0]]
    assert images_in([tmp_path / "z.tif"] * 2) == [tmp_path / "z.tif"] * 2  # the verbs refuse it
    assert images_in([tmp_path / names[2], tmp_path / names[1]]) == [tmp_path / names[2]]
    assert images_in([tmp_path, tmp_path / names[1]]) == [tmp_path / names[0], tmp_path / "z.tif"]


def test_two_sets_and_a_single_image_in_one_folder(tmp_path):
    write_set(tmp_path)
    (tmp_path / "sub").mkdir()
    names = [f"other{i}.ome.tif" for i in range(2)]
    parts = "".join(tiff_data(n, f"urn:uuid:{i}", 1, Z=i) for i, n in enumerate(names))
    for i, name in enumerate(names):
        write(tmp_path / name, stack(8, 8), xml(image_xml((1, 1, 2, 8, 8), parts), f"urn:uuid:{i}"))
    tifffile.imwrite(tmp_path / "alone.ome.tif", stack(8, 8), ome=True, photometric="minisblack")
    assert [p.name for p in image_files(tmp_path)] == ["alone.ome.tif", "other0.ome.tif", "part0.ome.tif"]


def test_a_file_that_was_renamed_is_itself(tmp_path):
    data = stack(3, 9, 9)
    body = image_xml((3, 1, 1, 9, 9), tiff_data("before.ome.tif", "urn:uuid:7", 3))
    for uuid in ("urn:uuid:7", "urn:uuid:8"):  # with and without its own id
        write(tmp_path / "after.ome.tif", data, xml(body, uuid))
        image = read_image(tmp_path / "after.ome.tif")
        assert image.axes == "TYX"
        np.testing.assert_array_equal(image.data, data)


def write_companion(folder, describe=True):
    data = stack(4, 9, 11)
    names = [f"scan_{i}.ome.tif" for i in range(2)]
    parts = "".join(tiff_data(n, f"urn:uuid:{i}", 2, Z=2 * i) for i, n in enumerate(names))
    sizes = 'PhysicalSizeX="100" PhysicalSizeXUnit="nm" PhysicalSizeY="100" PhysicalSizeYUnit="nm" PhysicalSizeZ="0.3"'
    if describe:
        text = xml(image_xml((1, 1, 4, 9, 11), parts, more=sizes), "urn:uuid:c")
        (folder / "scan.companion.ome").write_text(text, encoding="utf-8")
    for i, name in enumerate(names):
        body = '<BinaryOnly MetadataFile="scan.companion.ome" UUID="urn:uuid:c"/>'
        write(folder / name, data[2 * i : 2 * i + 2], xml(body, f"urn:uuid:{i}"))
    return data


@pytest.mark.parametrize("name", ["scan_0.ome.tif", "scan_1.ome.tif", "scan.companion.ome"])
def test_the_companion_is_read(tmp_path, name):
    data = write_companion(tmp_path)
    image = read_image(tmp_path / name)
    assert image.axes == "ZYX"
    assert image.voxel == Voxel(0.3, 0.1, 0.1)
    np.testing.assert_array_equal(image.data, data)
    assert [p.name for p in image_files(tmp_path)] == ["scan_0.ome.tif"]


def test_a_missing_companion_is_named(tmp_path):
    write_companion(tmp_path, describe=False)
    with pytest.raises(InputError, match=r"scan\.companion\.ome, which is missing"):
        open_image(tmp_path / "scan_1.ome.tif")


def test_files_missing_beside_a_companion_are_named(tmp_path):
    write_companion(tmp_path)
    (tmp_path / "scan_1.ome.tif").unlink()
    for name in ("scan_0.ome.tif", "scan.companion.ome"):
        with pytest.raises(InputError, match=r"scan_1\.ome\.tif is missing"):
            open_image(tmp_path / name)


def write_images(path, shapes, axes="YX", names=None):
    arrays = [stack(*shape) for shape in shapes]
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for i, data in enumerate(arrays):
            metadata = {"axes": axes[-data.ndim :], "Name": names[i] if names else f"pos{i}"}
            tiff.write(data, photometric="minisblack", metadata=metadata)
    return arrays


@pytest.mark.parametrize(
    ("shapes", "largest"),
    [
        ([(16, 16), (64, 64)], 1),  # an overview first
        ([(64, 64), (16, 16)], 0),
        ([(4, 16, 16), (3, 16, 16)], 0),  # the second position was aborted
        ([(1, 16, 16), (3, 16, 16), (2, 16, 16)], 1),
        ([(8, 8), (8, 8), (32, 32)], 2),  # two small ones of the same shape
    ],
)
def test_the_largest_image_is_taken_with_a_notice(tmp_path, shapes, largest):
    arrays = write_images(tmp_path / "a.ome.tif", shapes, "TYX")
    image = read_image(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(image.data, arrays[largest].squeeze())
    assert len(image.description.series) == len(shapes)
    assert f"holds {len(shapes)} images" in image.description.notices[0]
    assert f"pos{largest}" in image.description.notices[0]
    for i, data in enumerate(arrays):
        chosen = read_image(tmp_path / "a.ome.tif", series=i)
        np.testing.assert_array_equal(chosen.data, data.squeeze())
        assert chosen.description.name == f"pos{i}"
        assert not chosen.description.notices


@pytest.mark.parametrize(("shape", "series"), [((40, 40, 3), 1), ((90, 90, 3), 1), ((90, 90, 3), 0)])
def test_an_overview_in_colour_is_left_out_with_a_notice(tmp_path, shape, series):
    data = stack(64, 64)
    pages = [(RNG.integers(0, 255, shape, np.uint8), "rgb", "YXS", "slide"), (data, "minisblack", "YX", "scan")]
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tiff:
        for pixels, photometric, axes, name in pages if series else pages[::-1]:
            tiff.write(pixels, photometric=photometric, metadata={"axes": axes, "Name": name})
    image = read_image(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(image.data, data)
    assert f"not in colour is taken, {series}: scan" in image.description.notices[0]
    with pytest.raises(InputError, match="colour"):
        open_image(tmp_path / "a.ome.tif", series=1 - series)


def test_images_of_one_shape_have_to_be_chosen(tmp_path):
    arrays = write_images(tmp_path / "a.ome.tif", [(2, 16, 16)] * 3, "TYX")
    with pytest.raises(InputError, match="holds 3 images") as error:
        open_image(tmp_path / "a.ome.tif")
    assert error.value.options == ("series",)
    assert "2 pos2 (TYX 2x16x16)" in str(error.value)
    np.testing.assert_array_equal(read_image(tmp_path / "a.ome.tif", series=2).data, arrays[2])
    for number in (-1, 3):
        with pytest.raises(InputError, match=f"`series` {number} is not in"):
            open_image(tmp_path / "a.ome.tif", series=number)


def test_of_positions_in_a_file_each_that_of_the_file_is_taken(tmp_path):
    names = [f"pos{i}.ome.tif" for i in range(3)]
    data = [stack(2, 8, 8) for _ in names]
    bodies = [image_xml((2, 1, 1, 8, 8), tiff_data(n, f"urn:uuid:{i}", 2), f"P{i}", i) for i, n in enumerate(names)]
    for i, name in enumerate(names):
        write(tmp_path / name, data[i], xml("".join(bodies), f"urn:uuid:{i}"))
    assert [p.name for p in image_files(tmp_path)] == names
    for i, name in enumerate(names):
        image = read_image(tmp_path / name)
        np.testing.assert_array_equal(image.data, data[i])
        assert image.description.name == f"P{i}"
    (tmp_path / names[0]).unlink()  # the others are no part of this one
    np.testing.assert_array_equal(read_image(tmp_path / names[1]).data, data[1])
    assert read_image(tmp_path / names[1]).description.name == "P1"


def test_a_pyramid_is_one_image(tmp_path):
    data = stack(64, 64)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tiff:
        options = {"tile": (16, 16), "compression": "zlib", "photometric": "minisblack"}
        tiff.write(data, subifds=2, metadata={"axes": "YX"}, **options)
        for step in (2, 4):
            tiff.write(data[::step, ::step], subfiletype=1, **options)
    image = read_image(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(image.data, data)
    assert (image.description.series, image.description.notices) == ((), ())


@pytest.mark.parametrize(("announced", "held"), [((5, 1, 1), 3), ((1, 1, 4), 2), ((2, 2, 2), 7)])
def test_an_aborted_acquisition_is_no_image(tmp_path, announced, held):
    """tifffile fills what is missing with zeros."""
    body = image_xml((*announced, 8, 8), f'<TiffData IFD="0" PlaneCount="{held}"/>')
    write(tmp_path / "a.ome.tif", stack(held, 8, 8), xml(body))
    total = int(np.prod(announced))
    with pytest.raises(InputError, match=f"announces {total} planes and holds {held}"):
        open_image(tmp_path / "a.ome.tif")


SIZES = [
    ('PhysicalSizeX="0.0626" PhysicalSizeY="0.0626"', Voxel(None, 0.0626, 0.0626)),
    ('PhysicalSizeX="-0.1" PhysicalSizeY="-0.1" PhysicalSizeZ="-0.3"', Voxel(0.3, 0.1, 0.1)),
    ('PhysicalSizeX="0" PhysicalSizeY="0" PhysicalSizeZ="0"', Voxel()),
    ('PhysicalSizeX="0,0626" PhysicalSizeY="0,0626"', Voxel()),
    ('PhysicalSizeX="NaN" PhysicalSizeY="NaN" PhysicalSizeZ="0.2"', Voxel(0.2)),
    ('PhysicalSizeX="INF" PhysicalSizeY="INF"', Voxel()),
    ('PhysicalSizeX="10000" PhysicalSizeY="10000"', Voxel()),
    ('PhysicalSizeX="626" PhysicalSizeXUnit="Å" PhysicalSizeY="62.6" PhysicalSizeYUnit="nm"', Voxel.square(0.0626)),
    ('PhysicalSizeX="1e-4" PhysicalSizeXUnit="mm" PhysicalSizeY="1e-7" PhysicalSizeYUnit="m"', Voxel(None, 0.1, 0.1)),
    ('PhysicalSizeX="0.1" PhysicalSizeXUnit="μm" PhysicalSizeY="0.1" PhysicalSizeYUnit="µm"', Voxel(None, 0.1, 0.1)),
    ('PhysicalSizeX="1e-13" PhysicalSizeXUnit="Mm" PhysicalSizeY="0.1"', Voxel(None, 0.1, 0.1)),
    ('PhysicalSizeX="1" PhysicalSizeXUnit="pixel" PhysicalSizeY="1" PhysicalSizeYUnit="reference frame"', Voxel()),
    ("", Voxel()),
]  # fmt: skip


@pytest.mark.parametrize(("attributes", "voxel"), SIZES)
def test_sizes(tmp_path, attributes, voxel):
    write(tmp_path / "a.ome.tif", stack(2, 8, 8), xml(image_xml((1, 1, 2, 8, 8), "<TiffData/>", more=attributes)))
    image = open_image(tmp_path / "a.ome.tif")
    assert image.voxel == voxel
    assert image.description.size_source == ("OME-XML" if voxel != Voxel() else "")
    unusable = voxel.x_um is None and attributes and "pixel" not in attributes
    assert bool(image.description.notices) == bool(unusable)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252"])
def test_the_encoding_of_the_description(tmp_path, encoding):
    more = 'PhysicalSizeX="0.1" PhysicalSizeXUnit="µm" PhysicalSizeY="0.1" PhysicalSizeYUnit="µm"'
    text = xml(image_xml((1, 1, 2, 8, 8), "<TiffData/>", "é 5 µm", more=more)).replace("UTF-8", encoding)
    options = {"description": text.encode(encoding), "metadata": None, "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.ome.tif", stack(2, 8, 8), **options)
    image = open_image(tmp_path / "a.ome.tif")
    assert (image.axes, image.voxel, image.description.name) == ("ZYX", Voxel(None, 0.1, 0.1), "é 5 µm")


def test_a_malformed_description_is_a_notice(tmp_path):
    text = xml(image_xml((1, 1, 2, 8, 8), "<TiffData/>", "x")).replace("</Pixels>", "<br>")
    write(tmp_path / "a.ome.tif", stack(2, 8, 8), text)
    image = open_image(tmp_path / "a.ome.tif")
    assert image.data.shape == (2, 8, 8)
    assert "OME description is malformed" in image.description.notices[0]


FULL = Description(
    "cell <7> & “µ”",
    "two lines\nof text",
    (Channel("GFP & α", "00FF00", 509.0), Channel("", "FF00FF"), Channel("0", None, 670.5)),
    1.5,
    {"Z": -3.0, "Y": 20.5, "X": -1000.25},
)


def channels_xml(*attributes):
    return (
        "".join(f'<Channel ID="Channel:0:{i}" SamplesPerPixel="1" {a}/>' for i, a in enumerate(attributes))
        + "<TiffData/>"
    )


CHANNELS = [
    (['Name="GFP"', ""], [("GFP", None, None), ("", None, None)]),
    (['Name="0"', 'Name="1"'], [("0", None, None), ("1", None, None)]),
    (['Name="GFP"', 'Name="GFP"'], [("GFP", None, None)] * 2),
    (['Name="a&lt;b &amp; c"', 'Name="α-tubulin"'], [("a<b & c", None, None), ("α-tubulin", None, None)]),
    (['Color="-16776961"', 'Color="16711935"'], [("", "FF0000", None), ("", "00FF00", None)]),
    (['Color="-1"', 'Color="65535"'], [("", "FFFFFF", None), ("", "0000FF", None)]),
    (['Color="red"', 'Name="x"'], [("", None, None), ("x", None, None)]),
    (
        ['EmissionWavelength="509"', 'EmissionWavelength="0.67" EmissionWavelengthUnit="µm"'],
        [("", None, 509.0), ("", None, 670.0)],
    ),
    (["", ""], []),
    (['Name="only one is described"'], [("only one is described", None, None), ("", None, None)]),
]


@pytest.mark.parametrize(("attributes", "expected"), CHANNELS)
def test_channels_are_read_and_written_back(tmp_path, attributes, expected):
    write(tmp_path / "a.ome.tif", stack(2, 8, 8), xml(image_xml((1, 2, 1, 8, 8), channels_xml(*attributes))))
    image = read_image(tmp_path / "a.ome.tif")
    write_image(tmp_path / "b.tif", replace(image, data=image.data.astype(np.float32)))
    for found in (image, read_image(tmp_path / "b.tif")):
        assert [(c.name, c.color, c.emission_nm) for c in found.description.channels] == expected


def test_what_is_written_is_read_back_and_is_valid_xml(tmp_path):
    data = RNG.random((2, 3, 4, 8, 10)).astype(np.float32)
    write_image(tmp_path / "a.tif", Image(data, "TCZYX", Voxel(0.3, 0.1, 0.1), True, FULL))
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, data)
    assert image.voxel == Voxel(0.3, 0.1, 0.1)
    assert replace(image.description, size_source="") == FULL
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        root = ElementTree.fromstring(tiff.ome_metadata)
    planes = root.findall(f".//{{{SCHEMA}}}Plane")
    assert len(planes) == 24
    for plane in planes:
        assert float(plane.get("PositionZ")) == pytest.approx(-3 + 0.3 * int(plane.get("TheZ")))
        assert (float(plane.get("PositionX")), plane.get("PositionXUnit")) == (-1000.25, "µm")
    assert [c.get("Color") for c in root.iter(f"{{{SCHEMA}}}Channel")] == [
        str(0x00FF00FF),
        str(0xFF00FFFF - (1 << 32)),
        None,
    ]
    assert [c.get("Name") for c in root.iter(f"{{{SCHEMA}}}Channel")] == ["GFP & α", None, "0"]


@pytest.mark.parametrize("axes", ["CTZYX", "ZCTYX", "ZYX", "CYX", "YX"])
def test_positions_follow_the_planes_in_any_order(tmp_path, axes):
    shape = [dict(zip("TCZYX", (2, 3, 4, 8, 10), strict=True))[a] for a in axes]
    described = Description(origin_um={"Z": 1.0, "Y": 2.0, "X": 3.0})
    write_image(tmp_path / "a.tif", Image(np.zeros(shape, np.float32), axes, Voxel(0.5, 0.1, 0.1), True, described))
    assert read_image(tmp_path / "a.tif").description.origin_um == described.origin_um
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        planes = ElementTree.fromstring(tiff.ome_metadata).findall(f".//{{{SCHEMA}}}Plane")
    for plane in planes:
        assert float(plane.get("PositionZ")) == 1 + 0.5 * int(plane.get("TheZ"))


@pytest.mark.parametrize(
    ("more", "origin"),
    [
        ('<Plane TheZ="0" TheT="0" TheC="0" PositionX="5" PositionXUnit="mm"/>', {"X": 5000.0}),
        ('<Plane TheZ="0" TheT="0" TheC="0" PositionX="5"/>', {}),  # of a frame that nobody knows
        ('<Plane TheZ="0" TheT="0" TheC="0" PositionX="5" PositionXUnit="reference frame"/>', {}),
        ('<Plane TheZ="1" TheT="0" TheC="0" PositionX="5" PositionXUnit="µm"/>', {}),
        ("", {}),
    ],
)
def test_positions(tmp_path, more, origin):
    write(tmp_path / "a.ome.tif", stack(2, 8, 8), xml(image_xml((1, 1, 2, 8, 8), "<TiffData/>" + more)))
    described = open_image(tmp_path / "a.ome.tif").description
    assert described.origin_um == origin
    assert len(described.notices) == ('TheZ="0"' in more and not origin)


def test_the_label_of_the_stage_is_a_position(tmp_path):
    label = '<StageLabel Name="A1" X="7" XUnit="µm" Y="-0.5" YUnit="mm"/></Image>'
    write(
        tmp_path / "a.ome.tif", stack(8, 8), xml(image_xml((1, 1, 1, 8, 8), "<TiffData/>").replace("</Image>", label))
    )
    assert open_image(tmp_path / "a.ome.tif").description.origin_um == {"Y": -500.0, "X": 7.0}


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ('TimeIncrement="2.5"', 2.5), ('TimeIncrement="500" TimeIncrementUnit="ms"', 0.5), ('TimeIncrement="0"', None),
        ('TimeIncrement="1" TimeIncrementUnit="min"', 60.0), ('TimeIncrement="x"', None),
    ],
)  # fmt: skip
def test_time_steps(tmp_path, more, seconds):
    write(tmp_path / "a.ome.tif", stack(2, 8, 8), xml(image_xml((2, 1, 1, 8, 8), "<TiffData/>", more=more)))
    assert open_image(tmp_path / "a.ome.tif").description.time_step_s == seconds


@pytest.mark.parametrize(
    ("times", "unit", "seconds", "notices"),
    [
        ([0, 5, 10, 15], "s", 5.0, 0), ([100, 350, 610], "ms", 0.255, 0), ([0, 1, 2], "min", 60.0, 0),
        ([-3, -1, 1], "s", 2.0, 0), ([0, 1, 9], "s", None, 1), ([0, 0, 0], "s", None, 0), ([0, None, 2], "s", None, 0),
        ([5], "s", None, 0), ([0, "x", 2], "s", None, 0),
    ],
)  # fmt: skip
def test_time_steps_from_the_times_of_planes(tmp_path, times, unit, seconds, notices):
    planes = "".join(
        f'<Plane TheZ="{z}" TheC="0" TheT="{t}" DeltaT="{s if z == 0 else 7}" DeltaTUnit="{unit}"/>'
        for t, s in enumerate(times) for z in range(2) if s is not None
    ) + '<Plane TheZ="0" TheC="0" TheT="1"/>' * (None in times)  # fmt: skip
    text = xml(image_xml((len(times), 1, 2, 8, 8), "<TiffData/>" + planes))
    write(tmp_path / "a.ome.tif", stack(2 * len(times), 8, 8), text)
    described = open_image(tmp_path / "a.ome.tif").description
    assert (described.time_step_s, len(described.notices)) == (seconds, notices)


def test_the_description_of_one_channel_is_kept_without_an_axis_for_it(tmp_path):
    write(
        tmp_path / "a.ome.tif",
        stack(8, 8),
        xml(image_xml((1, 1, 1, 8, 8), channels_xml('Name="GFP" Color="16711935"'))),
    )
    image = read_image(tmp_path / "a.ome.tif")
    fine = image.resized((16, 16), "float32")
    write_image(tmp_path / "b.tif", replace(fine, data=np.zeros((16, 16), np.float32)))
    assert read_image(tmp_path / "b.tif").description.channels == (Channel("GFP", "00FF00"),)


@pytest.mark.parametrize(
    ("axes", "shape", "new_axes", "new_shape", "kept"),
    [
        ("CYX", (2, 8, 8), "CYX", (2, 16, 16), True),
        ("CYX", (2, 8, 8), "CYX", (3, 8, 8), False),
        ("CYX", (2, 8, 8), "YX", (8, 8), False),
        ("YX", (8, 8), "CYX", (2, 8, 8), False),
        ("TCYX", (5, 2, 8, 8), "TCYX", (5, 2, 16, 16), True),
    ],
)
def test_names_of_channels_stay_with_their_channels(axes, shape, new_axes, new_shape, kept):
    count = dict(zip(axes, shape, strict=True)).get("C", 1)
    described = Description(channels=tuple(Channel(str(i)) for i in range(count)))
    image = Image(np.zeros(shape), axes, Voxel(), True, described)
    assert bool(image.resized(new_shape, "float32", new_axes).description.channels) is kept
