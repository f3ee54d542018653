"""Files that hold several images: plates, wells, bioformats2raw, groups; and images in zips."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.zarr_files import axes, dataset, multiscale, write
from zsd_runtime import InputError
from zsd_runtime.images import Image, create_image, image_files, open_image, read_image, stem
from zsd_runtime.images.image import Voxel

PLANE = np.arange(600, dtype=np.uint16).reshape(20, 30)
SCALE = (0.1, 0.1)
XML = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
  <Image ID="Image:0" Name="overview"><Pixels SizeX="15" SizeY="10" SizeZ="1" SizeC="1" SizeT="1"/></Image>
  <Image ID="Image:1" Name="embryo #3">
    <Pixels ID="Pixels:1" DimensionOrder="XYZCT" Type="uint16" SizeX="30" SizeY="20" SizeZ="1" SizeC="2" SizeT="1"
      PhysicalSizeX="65" PhysicalSizeXUnit="nm" PhysicalSizeY="65" PhysicalSizeYUnit="nm" TimeIncrement="2">
      <Channel ID="Channel:1:0" Name="mEGFP" Color="16711935" EmissionWavelength="509"/>
      <Channel ID="Channel:1:1" Name="mCherry" Color="-16776961" EmissionWavelength="610.0"/>
    </Pixels>
  </Image>
</OME>"""


def root(path, zarr_format=2, **attributes):
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    group.attrs.update({"ome": {"version": "0.5"} | attributes} if zarr_format == 3 else attributes)
    return group


def plate(path, wells=("A/1", "B/12"), fields=2, zarr_format=2):
    """Every field has its own value."""
    described = {"wells": [{"path": w, "rowIndex": 0, "columnIndex": 0} for w in wells]}
    group = root(path, zarr_format, plate=described)
    value = 0
    for name in wells:
        well = group.create_group(name)
        inner = {"well": {"images": [{"path": str(field)} for field in range(fields)]}}
        well.attrs.update({"ome": inner} if zarr_format == 3 else inner)
        for field in range(fields):
            value += 1
            write(well.create_group(str(field)), np.full_like(PLANE, value), multiscale(), zarr_format=zarr_format)
    return group


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_plates_ask_which_field(tmp_path, zarr_format):
    path = tmp_path / "plate.zarr"
    plate(path, zarr_format=zarr_format)
    with pytest.raises(InputError, match=r"4 images \(0: A/1/0, 1: A/1/1, 2: B/12/0, 3: B/12/1\): .*`series`") as error:
        open_image(path)
    assert error.value.options == ("series",)
    image = read_image(path, series=2)
    assert (image.data == 3).all()
    assert image.voxel.x_um == 0.1
    assert image.description.series == ("A/1/0", "A/1/1", "B/12/0", "B/12/1")
    with pytest.raises(InputError, match=r"`series` 4 is not in .*, which holds 4 images: choose from 0 to 3"):
        open_image(path, series=4)
    with pytest.raises(InputError, match="`series` -1 is not in"):
        open_image(path, series=-1)
    assert (read_image(path / "B" / "12", series=1).data == 4).all()  # a well
    assert (read_image(path / "B" / "12" / "0").data == 3).all()  # a field
    assert image_files(path) == [path]


def test_a_plate_of_one_field_and_one_that_lost_wells(tmp_path):
    plate(tmp_path / "one.zarr", wells=("C/3",), fields=1)
    assert (read_image(tmp_path / "one.zarr").data == 1).all()
    plate(tmp_path / "lost.zarr")
    shutil.rmtree(tmp_path / "lost.zarr" / "A" / "1")
    with pytest.raises(InputError, match=r"2 images \(0: B/12/0, 1: B/12/1\)"):
        open_image(tmp_path / "lost.zarr")


def bioformats2raw(path, series=None, xml=XML, zarr_format=2):
    group = root(path, zarr_format, **{"bioformats2raw.layout": 3})
    names = series or ["0", "1"]
    inner = group.create_group("OME")
    if series:
        inner.attrs.update({"ome": {"series": series}} if zarr_format == 3 else {"series": series})
    small, large = (group.create_group(name) for name in names)
    write(small, PLANE[::2, ::2], multiscale(), zarr_format=zarr_format)
    both = np.stack([PLANE, PLANE + 7])
    write(large, both, multiscale(axes=axes("cyx", None), datasets=[dataset([1.0, 1.0, 1.0])]), zarr_format=zarr_format)
    if xml:
        (path / "OME" / "METADATA.ome.xml").write_text(xml, encoding="utf-8")


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("series", [None, ["first", "second"]])
def test_bioformats2raw_with_its_ome_xml(tmp_path, zarr_format, series):
    """The largest of its images, with what only the OME-XML knows; also by the path of the image."""
    bioformats2raw(tmp_path / "a.zarr", series, zarr_format=zarr_format)
    names = tuple(series or ["0", "1"])
    image = read_image(tmp_path / "a.zarr")
    assert image.description.series == names
    assert (
        f"0: {names[0]}, 1: {names[1]}); the largest, 1, is taken; `series` takes another"
        in image.description.notices[0]
    )
    for found in (image, open_image(tmp_path / "a.zarr" / names[1]), open_image(tmp_path / "a.zarr", series=1)):
        assert (found.axes, found.data.shape, found.description.name) == ("CYX", (2, 20, 30), "embryo #3")
        assert (found.voxel, found.description.size_source) == (Voxel(None, 0.065, 0.065), "OME-XML")
        channels = [(c.name, c.color, c.emission_nm) for c in found.description.channels]
        assert channels == [("mEGFP", "00FF00", 509.0), ("mCherry", "FF0000", 610.0)]
        assert found.description.time_step_s == 2.0
    small = open_image(tmp_path / "a.zarr", series=0)
    assert (small.description.name, small.data.shape, small.description.notices) == ("overview", (10, 15), ())


def test_a_lost_image_is_not_replaced_by_its_overview(tmp_path):
    bioformats2raw(tmp_path / "a.zarr")
    shutil.rmtree(tmp_path / "a.zarr" / "1" / "0")
    with pytest.raises(InputError, match=r"2 images \(0: 0, 1: 1\): choose one with `series`"):
        open_image(tmp_path / "a.zarr")
    with pytest.raises(InputError, match="does not hold the array 0 of its description: copy it again"):
        open_image(tmp_path / "a.zarr", series=1)


@pytest.mark.parametrize("xml", [None, "<OME>", "<OME/>", "no XML"])
def test_bioformats2raw_without_a_readable_xml(tmp_path, xml):
    bioformats2raw(tmp_path / "a.zarr", xml=xml)
    assert open_image(tmp_path / "a.zarr").description.channels == ()


def test_several_multiscales(tmp_path):
    """By the standard the first is meant."""
    group = write(
        tmp_path / "a.zarr",
        PLANE,
        multiscale(name="raw"),
        multiscale(name="b", datasets=[dataset([0.2, 0.2], path="b")]),
    )
    write(group, PLANE[::2, ::2] + 1, name="b")
    image = read_image(tmp_path / "a.zarr")
    assert image.description.series == ("raw", "b")
    assert "holds 2 images (0: raw, 1: b); the first is taken" in image.description.notices[0]
    np.testing.assert_array_equal(image.data, PLANE)
    second = read_image(tmp_path / "a.zarr", series=1)
    assert (second.description.name, second.voxel.x_um, second.description.notices) == ("b", 0.2, ())
    np.testing.assert_array_equal(second.data, PLANE[::2, ::2] + 1)


def test_groups_of_images(tmp_path):
    group = root(tmp_path / "a.zarr")
    write(group.create_group("raw/camera 2"), PLANE, multiscale())
    labels = group.create_group("labels")
    write(labels.create_group("nuclei"), PLANE * 2, multiscale())
    image = read_image(tmp_path / "a.zarr")  # the only image: labels are none
    np.testing.assert_array_equal(image.data, PLANE)
    assert image.description.series == ()
    write(group.create_group("raw/camera 10"), PLANE, multiscale())
    with pytest.raises(InputError, match=r"2 images \(0: raw/camera 2, 1: raw/camera 10\).*`series`"):
        open_image(tmp_path / "a.zarr")
    write(group.create_group("fused"), np.tile(PLANE, (2, 2)), multiscale())
    image = open_image(tmp_path / "a.zarr")
    assert image.data.shape == (40, 60)
    assert "the largest, 0, is taken" in image.description.notices[0]


def test_groups_without_images_say_what_is_inside(tmp_path):
    group = root(tmp_path / "a.zarr")
    with pytest.raises(InputError, match="it is empty"):
        open_image(tmp_path / "a.zarr")
    group.create_array("mask", data=PLANE)
    group.create_group("tables")
    with pytest.raises(InputError, match=r"it holds mask \(array\), tables\): give the image inside it, or an array"):
        open_image(tmp_path / "a.zarr")
    assert open_image(tmp_path / "a.zarr" / "mask", "YX").data.shape == (20, 30)
    with pytest.raises(InputError, match="one array; there is no `series` 3"):
        open_image(tmp_path / "a.zarr" / "mask", "YX", series=3)


def zipped(folder, name, inside=""):
    """A zip of a folder, at its root or in a folder of the zip."""
    target = folder.parent / name
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, Path(inside) / file.relative_to(folder))
        if inside:
            archive.writestr(f"__MACOSX/{inside}/.zgroup", "{}")
    return target


@pytest.mark.parametrize("name", ["a.ome.zarr.zip", "a.zarr.zip", "A.OZX", "a.zip", "b.zarr", "without ending"])
@pytest.mark.parametrize("inside", ["", "cells.ome.zarr"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zips(tmp_path, name, inside, zarr_format):
    write(tmp_path / "x", PLANE, multiscale("yx", SCALE, [5.0, 6.0]), zarr_format=zarr_format)
    path = zipped(tmp_path / "x", name, inside)
    image = open_image(path)
    assert (image.axes, image.voxel.x_um, image.description.origin_um) == ("YX", 0.1, {"Y": 5.0, "X": 6.0})
    np.testing.assert_array_equal(image.data[3:17, 8:30], PLANE[3:17, 8:30])
    np.testing.assert_array_equal(read_image(path).data, PLANE)
    assert image.description.notices == ()


def test_zips_of_more_than_one_image(tmp_path):
    bioformats2raw(tmp_path / "raw", zarr_format=3)
    image = open_image(zipped(tmp_path / "raw", "raw.ozx", "raw.zarr"))
    assert image.description.channels[1].name == "mCherry"
    stored = open_image(zipped(tmp_path / "raw", "b.ozx"), series=1).data[0, 2:20, 0:30]
    np.testing.assert_array_equal(stored, PLANE[2:20])
    zarr.create_array(tmp_path / "bare", data=PLANE)
    np.testing.assert_array_equal(read_image(zipped(tmp_path / "bare", "bare.zip"), "YX").data, PLANE)
    turned = open_image(tmp_path / "bare.zip", "XY")  # and the file stays open as long as this view of it
    np.testing.assert_array_equal(turned.data[0:30, 0:20], PLANE.T)


def test_zips_that_are_no_images(tmp_path):
    write(tmp_path / "x" / "a.zarr", PLANE, multiscale())
    write(tmp_path / "x" / "b.zarr", PLANE, multiscale())
    with pytest.raises(InputError, match=r"2 Zarr folders \['a.zarr', 'b.zarr'\]: unpack it"):
        open_image(zipped(tmp_path / "x", "two.zip"))
    whole = zipped(tmp_path / "x" / "a.zarr", "whole.zarr.zip").read_bytes()
    (tmp_path / "cut.ome.zarr.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut.ome.zarr.zip is a damaged zip.*copy it again"):
        open_image(tmp_path / "cut.ome.zarr.zip")
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr("rdf.yaml", "type: model")
    with pytest.raises(InputError, match="is a ZIP archive"):
        open_image(tmp_path / "model.zip")
    with (
        pytest.raises(InputError, match=r"as a folder, not as a zip: end the name in .ome.zarr"),
        create_image(tmp_path / "new.ozx", Image(PLANE, "YX")),
    ):
        pass
    assert not (tmp_path / "new.ozx").exists()


def test_zips_in_folders_are_found_and_named_after(tmp_path):
    write(tmp_path / "x", PLANE, multiscale())
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.ome.zarr.zip", "b.ozx", "c.zip"):
        shutil.move(zipped(tmp_path / "x", name), folder)
    assert [path.name for path in image_files(folder)] == ["a.ome.zarr.zip", "b.ozx"]
    assert [stem(path) for path in image_files(folder)] == ["a", "b"]
