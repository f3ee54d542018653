"""What OME-Zarr files of other programs say: axes, sizes, position, time, channels."""

import re
import shutil
from typing import Any

import numpy as np
import pytest
import zarr

from tests.zarr_files import axes, dataset, multiscale, write
from zsd_optics.inputs import open_images
from zsd_runtime import InputError
from zsd_runtime.images import Voxel, open_image, read_image

RNG = np.random.default_rng(0)
PLANE = RNG.integers(100, 60000, (20, 30)).astype(np.uint16)
STACK = RNG.integers(100, 60000, (2, 3, 4, 20, 30)).astype(np.uint16)  # TCZYX
VOLUME = STACK[0, 0]
GLOBAL = {"coordinateTransformations": [{"type": "scale", "scale": [0.5, 0.2, 0.2]}]}
SHIFTED = {
    "coordinateTransformations": [
        {"type": "scale", "scale": [2.0, 2.0]},
        {"type": "translation", "translation": [100.0, 200.0]},
    ]
}
SYSTEMS = {
    "axes": None,
    "coordinateSystems": [
        {"name": "atlas", "axes": axes("zyx", "meter")},
        {"name": "physical", "axes": axes("zyx", "nanometer")},
    ],
    "coordinateTransformations": [{"type": "scale", "scale": [9.0, 9.0, 9.0], "output": {"name": "atlas"}}],
    "datasets": [
        {
            "path": "0",
            "coordinateTransformations": [
                {
                    "type": "sequence", "input": {"path": "0"}, "output": {"name": "physical"},
                    "transformations": [
                        {"type": "scale", "scale": [500.0, 65.0, 65.0]},
                        {"type": "translation", "translation": [1000.0, -2000.0, 0.0]},
                    ],
                }
            ],
        }
    ],
}  # fmt: skip

# a description; its data and their axes as stored; the voxel size; what else is expected
SIZES: dict[str, tuple[Any, ...]] = {
    "nm": (multiscale("yx", (65, 65), axes=axes("yx", "nanometer")), PLANE, "YX", (None, 0.065, 0.065), {}),
    "angstrom": (multiscale("yx", (650, 650), axes=axes("yx", "angstrom")), PLANE, "YX", (None, 0.065, 0.065), {}),
    "mm": (multiscale("yx", (1e-4, 1e-4), axes=axes("yx", "millimeter")), PLANE, "YX", (None, 0.1, 0.1), {}),
    "greek mu": (multiscale("yx", (0.1, 0.1), axes=axes("yx", "\u03bcm")), PLANE, "YX", (None, 0.1, 0.1), {}),
    "inch": (multiscale("yx", (1e-5, 1e-5), axes=axes("yx", "inch")), PLANE, "YX", (None, 0.254, 0.254), {}),
    "no unit": (
        multiscale("zyx", (0.5, 0.1, 0.1), axes=axes("zyx", None)), VOLUME, "ZYX", (0.5, 0.1, 0.1),
        {"notice": r"no unit with the voxel size 0.5 x 0.1 x 0.1; it is read as micrometer"},
    ),
    "no unit, no size": (multiscale("zyx", (1, 1, 1), axes=axes("zyx", "")), VOLUME, "ZYX", (None,) * 3, {}),
    "no unit of one axis": (
        multiscale(
            "zyx", (300, 65, 65),
            axes=[{"name": "z", "type": "space"}, *axes("yx", "nanometer")],
        ),
        VOLUME, "ZYX", (0.3, 0.065, 0.065), {"notice": "voxel size 300; it is read as nanometer"},
    ),
    "pixels": (multiscale("yx", (3, 3), axes=axes("yx", "pixel")), PLANE, "YX", (None,) * 3, {}),
    "furlongs": (
        multiscale("yx", (3, 3), axes=axes("yx", "furlong")), PLANE, "YX", (None,) * 3, {"notice": "furlong"},
    ),
    "a metre": (multiscale("yx", (1, 1), axes=axes("yx", "meter")), PLANE, "YX", (None,) * 3, {"notice": "unknown"}),
    "negative": (multiscale("zyx", (-0.5, 0.1, -0.1)), VOLUME, "ZYX", (0.5, 0.1, 0.1), {}),
    "zero": (multiscale("zyx", (0, 0.1, 0.1)), VOLUME, "ZYX", (None, 0.1, 0.1), {"notice": "z step of the file is 0"}),
    "global": (multiscale("zyx", (1, 1, 1), **GLOBAL), VOLUME, "ZYX", (0.5, 0.2, 0.2), {}),
    "both": (multiscale("zyx", (2, 0.5, 0.5), **GLOBAL), VOLUME, "ZYX", (1.0, 0.1, 0.1), {}),
    "only global": (multiscale(axes=axes("zyx"), datasets=[dataset()], **GLOBAL), VOLUME, "ZYX", (0.5, 0.2, 0.2), {}),
    "translated": (
        multiscale("yx", (0.1, 0.1), [12.5, -40.0]), PLANE, "YX", (None, 0.1, 0.1),
        {"origin_um": {"Y": 12.5, "X": -40.0}},
    ),
    "translated in nm": (
        multiscale("yx", (65, 65), [0, 2500], axes=axes("yx", "nanometer")), PLANE, "YX", (None, 0.065, 0.065),
        {"origin_um": {"Y": 0.0, "X": 2.5}},
    ),
    "translated twice": (  # 12.5 and 40 by the dataset, twice as far by the image's scale, then moved
        multiscale("yx", (0.1, 0.1), [12.5, 40.0], **SHIFTED), PLANE, "YX", (None, 0.2, 0.2),
        {"origin_um": {"Y": 125.0, "X": 280.0}},
    ),
    "translated without unit": (
        multiscale("yx", (0.1, 0.1), [12.5, 40.0], axes=axes("yx", None)), PLANE, "YX", (None, 0.1, 0.1),
        {"origin_um": {"Y": 12.5, "X": 40.0}, "notice": "read as micrometer"},
    ),
    "translated in pixels": (
        multiscale("yx", (1, 1), [512, 0], axes=axes("yx", None)), PLANE, "YX", (None,) * 3,
        {"notice": "no unit with the position 512, so it counts as unknown"},
    ),
    "rotated": (
        multiscale(datasets=[{"path": "0", "coordinateTransformations": [{"type": "rotation", "rotation": [1]}]}]),
        PLANE, "YX", (None,) * 3, {"notice": "'rotation' of the file cannot be read"},
    ),
    "of another rank": (
        multiscale("yx", (1, 0.1, 0.1)), PLANE, "YX", (None,) * 3, {"notice": "'scale' of the file cannot be read"},
    ),
    "position no number": (
        multiscale("yx", (0.1, 0.1), [None, "far"], **SHIFTED), PLANE, "YX", (None, 0.2, 0.2),
        {"notice": "position counts as unknown"},
    ),
    "0.6": (multiscale(**SYSTEMS), VOLUME, "ZYX", (0.5, 0.065, 0.065), {"origin_um": {"Z": 1.0, "Y": -2.0, "X": 0.0}}),
    "0.1": ({"version": "0.1", "datasets": [{"path": "0"}]}, STACK, "TCZYX", (None,) * 3, {}),
    "0.2": ({"version": "0.2", "name": "n", "datasets": [{"path": "0"}]}, STACK, "TCZYX", (None,) * 3, {"name": "n"}),
    "0.3": ({"version": "0.3", "axes": ["c", "y", "x"], "datasets": [{"path": "0"}]}, STACK[0, :, 0], "CYX",
            (None,) * 3, {}),
    "seconds": (multiscale("tyx", (5, 0.1, 0.1)), STACK[:, 0, 0], "TYX", (None, 0.1, 0.1), {"time_step_s": 5.0}),
    "milliseconds": (
        multiscale("tyx", (250, 0.1, 0.1), axes=axes("tyx", time_unit="millisecond")), STACK[:, 0, 0], "TYX",
        (None, 0.1, 0.1), {"time_step_s": 0.25},
    ),
    "minutes of both levels": (
        multiscale(
            "tyx", (1, 1, 1), axes=axes("tyx", time_unit="minute"),
            coordinateTransformations=[{"type": "scale", "scale": [2, 0.1, 0.1]}],
        ),
        STACK[:, 0, 0], "TYX", (None, 0.1, 0.1), {"time_step_s": 120.0},
    ),
    "time without unit": (
        multiscale("tyx", (5, 0.1, 0.1), axes=axes("tyx", time_unit=None)), STACK[:, 0, 0], "TYX", (None, 0.1, 0.1),
        {"time_step_s": 5.0, "notice": "time step 5; it is read in seconds"},
    ),
    "no time step": (
        multiscale("tyx", (1, 0.1, 0.1), axes=axes("tyx", time_unit=None)), STACK[:, 0, 0], "TYX", (None, 0.1, 0.1),
        {"time_step_s": None},
    ),
    "upper case": (multiscale("ZYX", (0.5, 0.1, 0.1), axes=[
        {"name": n, "type": "space", "unit": "micrometer"} for n in "ZYX"]), VOLUME, "ZYX", (0.5, 0.1, 0.1), {}),
    "words": (
        multiscale(axes=[{"name": "time", "type": "time"}, {"name": "Lambda", "type": "channel"}, *axes("zyx")],
                   scale=(1, 1, 0.5, 0.1, 0.1)), STACK, "TCZYX", (0.5, 0.1, 0.1), {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_sizes_positions_and_times(tmp_path, name):
    described, data, stored, voxel, expected = SIZES[name]
    write(tmp_path / "a.zarr", data, described)
    image = read_image(tmp_path / "a.zarr")
    assert image.axes == stored
    np.testing.assert_array_equal(image.data, data)
    assert [image.voxel[a] for a in "ZYX"] == pytest.approx(list(voxel))
    known = image.description
    assert known.size_source == ("OME-Zarr" if any(voxel) else "")
    for key in {"name", "time_step_s", "origin_um"} & set(expected):
        assert getattr(known, key) == (pytest.approx(expected[key]) if expected[key] else expected[key])
    assert known.origin_um == pytest.approx(expected.get("origin_um", {}))
    if "notice" in expected:
        assert re.search(expected["notice"], "\n".join(known.notices))
    else:
        assert known.notices == ()


@pytest.mark.parametrize("stored", ["xyz", "zxy", "yxz", "yxc", "xyzct", "ztyx", "qzyx", "yqx"])
def test_other_orders_are_read_where_they_are_sliced(tmp_path, stored):
    """Y and X come last, Z before them; an unknown axis of length 1 is left out."""
    length = {"t": 2, "c": 3, "z": 4, "y": 20, "x": 30, "q": 1}
    size = {"t": 5.0, "c": 1.0, "z": 0.5, "y": 0.1, "x": 0.2, "q": 7.0}
    data = RNG.integers(0, 60000, [length[a] for a in stored]).astype(np.uint16)
    write(tmp_path / "a.zarr", data, multiscale(stored, [size[a] for a in stored]))
    image = open_image(tmp_path / "a.zarr")
    assert not isinstance(image.data, np.ndarray)
    order = [a for a in stored if a in "tc"] + [a for a in "zyx" if a in stored]
    assert image.axes == "".join(order).upper()
    assert (image.voxel.y_um, image.voxel.x_um) == (0.1, 0.2)
    assert image.voxel.z_um == (0.5 if "z" in stored else None)
    known = data.squeeze(stored.index("q")) if "q" in stored else data
    expected = known.transpose([stored.replace("q", "").index(a) for a in order])
    assert image.data.shape == expected.shape
    box = (*(1 if a in "tc" else slice(1, length[a] - 1) for a in order[:-2]), slice(3, 19), slice(7, 30))
    np.testing.assert_array_equal(image.data[box], expected[box])
    np.testing.assert_array_equal(read_image(tmp_path / "a.zarr").data, expected)


def test_typed_axes_rename_those_of_the_file(tmp_path):
    """Sizes stay with their axis: a stack whose slices were stored as frames."""
    write(tmp_path / "a.zarr", VOLUME, multiscale("tyx", (0.5, 0.1, 0.2), axes=axes("tyx", time_unit="micrometer")))
    image = open_image(tmp_path / "a.zarr", "ZYX")
    assert (image.axes, image.voxel) == ("ZYX", Voxel(0.5, 0.1, 0.2))
    turned = open_image(tmp_path / "a.zarr", "zxy")
    assert (turned.axes, turned.voxel) == ("ZYX", Voxel(0.5, 0.2, 0.1))
    np.testing.assert_array_equal(turned.data[0:4, 0:30, 0:20], VOLUME.swapaxes(1, 2))
    with pytest.raises(InputError, match="names 2 axes"):
        open_image(tmp_path / "a.zarr", "YX")


def omero(*channels):
    return {"omero": {"channels": list(channels)}}


CHANNELS = {
    "named": (omero({"label": "GFP", "color": "00FF00"}, {"label": "RFP", "color": "ff0000"}, {"label": "BF"}),
              [("GFP", "00FF00"), ("RFP", "FF0000"), ("BF", None)]),
    "with alpha": (omero({"label": "a", "color": "#00FF00"}, {"color": "00FF0080"}, {"label": None, "color": "red"}),
                   [("a", "00FF00"), ("", "00FF00"), ("", None)]),
    "numbers": (omero({"label": 0, "color": 16711935}, {"label": 488, "color": -1}, {"label": "x", "color": True}),
                [("0", "00FF00"), ("488", "FFFFFF"), ("x", None)]),
    "too few": (omero({"label": "GFP"}), []),
    "not a list": ({"omero": {"channels": {"label": "GFP"}}}, []),
    "none": ({}, []),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_channels(tmp_path, name, zarr_format):
    attributes, expected = CHANNELS[name]
    write(tmp_path / "a.zarr", STACK[0, :, 0], multiscale("cyx", (1, 0.1, 0.1)), zarr_format=zarr_format, **attributes)
    described = open_image(tmp_path / "a.zarr").description
    assert [(c.name, c.color) for c in described.channels] == expected
    assert [n for n in described.notices if "1 channels and holds 3" in n] == list(described.notices)
    assert bool(described.notices) == (name == "too few")


def test_emission_wavelengths_and_a_single_channel(tmp_path):
    described = {"label": "GFP", "color": "00FF00", "emissionWave": 509}
    write(tmp_path / "a.zarr", PLANE, multiscale(), **omero(described))
    (channel,) = open_image(tmp_path / "a.zarr").description.channels
    assert (channel.name, channel.emission_nm) == ("GFP", 509.0)


STORED = {
    "big endian": (PLANE.astype(">u2"), {}),
    "F order": (PLANE, {"order": "F"}),
    "nested keys": (PLANE, {"chunk_key_encoding": {"name": "v2", "separator": "/"}}),
    "float": (PLANE.astype(np.float32) / 7, {}),
    "signed": (PLANE.astype(np.int32) - 30000, {}),
    "one chunk": (PLANE, {"chunks": (20, 30)}),
    "tall chunks": (PLANE, {"chunks": (7, 1)}),
    "sharded": (PLANE, {"zarr_format": 3, "chunks": (5, 5), "shards": (10, 15)}),
    "v3 with keys of v2": (PLANE, {"zarr_format": 3, "chunk_key_encoding": {"name": "v2", "separator": "."}}),
    "v3 big endian": (PLANE.astype(">u2"), {"zarr_format": 3}),
}


@pytest.mark.parametrize("name", STORED)
def test_however_pixels_are_stored(tmp_path, name):
    data, options = STORED[name]
    write(tmp_path / "a.zarr", data, multiscale(), **options)
    image = open_image(tmp_path / "a.zarr")
    assert image.data.dtype.isnative  # torch takes no other
    assert image.data[3:20, 5:30].dtype.isnative
    np.testing.assert_array_equal(image.data[3:20, 5:30], data[3:20, 5:30])
    np.testing.assert_array_equal(read_image(tmp_path / "a.zarr").data, data)
    assert image.description.notices == ()


def test_the_finest_level_and_others_by_their_path(tmp_path):
    """The standard wants the finest level first; not everybody does."""
    levels = [dataset([0.2, 0.2], [0.05, 0.05], "half"), dataset([0.1, 0.1], None, "deep/full")]
    group = write(tmp_path / "a.zarr", PLANE[::2, ::2], multiscale(datasets=levels), name="half")
    write(group, PLANE, name="deep/full")
    image = open_image(tmp_path / "a.zarr")
    assert (image.data.shape, image.voxel.x_um) == ((20, 30), 0.1)
    half = open_image(tmp_path / "a.zarr" / "half")
    assert (half.axes, half.data.shape, half.voxel.x_um) == ("YX", (10, 15), 0.2)
    assert half.description.origin_um == {"Y": 0.05, "X": 0.05}
    full = open_image(tmp_path / "a.zarr" / "deep" / "full")
    assert (full.axes, full.voxel.x_um) == ("YX", 0.1)
    assert "level 1 of a.zarr" in full.description.notices[0]
    np.testing.assert_array_equal(read_image(tmp_path / "a.zarr" / "deep" / "full").data, PLANE)


def test_names_of_dimensions(tmp_path):
    """Of bare arrays: Zarr 3's own, and xarray's."""
    zarr.create_array(tmp_path / "a.zarr", data=VOLUME, dimension_names=["Z", "y", "x"])
    assert open_image(tmp_path / "a.zarr").axes == "ZYX"
    attributes = {"_ARRAY_DIMENSIONS": ["time", "height", "width"]}
    zarr.create_array(tmp_path / "b.zarr", data=VOLUME, zarr_format=2, attributes=attributes)
    assert open_image(tmp_path / "b.zarr").axes == "TYX"
    assert open_image(tmp_path / "b.zarr", "ZYX").axes == "ZYX"
    zarr.create_array(tmp_path / "c.zarr", data=VOLUME, dimension_names=["dim_0", "dim_1", "dim_2"])
    with pytest.raises(InputError, match=r"bare Zarr array of shape \(4, 20, 30\) and axes \['dim_0'.*`axes`"):
        open_image(tmp_path / "c.zarr")


def test_a_name_without_zarr(tmp_path):
    write(tmp_path / "experiment 7", PLANE, multiscale())
    np.testing.assert_array_equal(read_image(tmp_path / "experiment 7").data, PLANE)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_chunks_that_a_copy_has_lost_are_counted(tmp_path, zarr_format):
    write(tmp_path / "a.zarr", PLANE, multiscale(), zarr_format=zarr_format, chunks=(10, 10))
    assert open_image(tmp_path / "a.zarr").description.notices == ()
    folder = tmp_path / "a.zarr" / "0"
    for lost in ("0.1", "1.2") if zarr_format == 2 else ("c/0/1", "c/1/2"):
        (folder / lost).unlink()
    (folder / ".DS_Store").write_text("a foreign file is no chunk")
    notice = "2 of 6 chunks of the file are not stored, so they are read as 0; copy the file again"
    assert open_image(tmp_path / "a.zarr").description.notices[0].startswith(notice)
    assert open_image(tmp_path / "a.zarr" / "0").description.notices[0].startswith(notice)
    shutil.make_archive(str(tmp_path / "a.zarr"), "zip", tmp_path / "a.zarr")
    assert open_image(tmp_path / "a.zarr.zip").description.notices[0].startswith(notice)


def test_lost_shards_and_lost_levels(tmp_path):
    levels = [dataset([0.1, 0.1]), dataset([0.2, 0.2], None, "1")]
    group = write(
        tmp_path / "a.zarr", PLANE, multiscale(datasets=levels), zarr_format=3, chunks=(5, 5), shards=(10, 10)
    )
    write(group, PLANE[::2, ::2], name="1")
    (tmp_path / "a.zarr" / "0" / "c" / "1" / "1").unlink()
    assert "1 of 6 chunks" in open_image(tmp_path / "a.zarr").description.notices[0]
    shutil.rmtree(tmp_path / "a.zarr" / "1")  # of a viewer's overview
    assert open_image(tmp_path / "a.zarr").data.shape == (20, 30)
    write(group, PLANE[::2, ::2], name="1")
    shutil.rmtree(tmp_path / "a.zarr" / "0")  # an image of half the size would be another image
    with pytest.raises(InputError, match="does not hold the array 0 of its description: copy it again"):
        open_image(tmp_path / "a.zarr")


REFUSED = {
    "an axis that zsd does not know": (multiscale("qyx", (1, 0.1, 0.1)), STACK[0, :, 0], r"\['q', 'y', 'x'\].*`axes`"),
    "axes of another rank": (multiscale("zyx", (1, 1, 1)), PLANE, r"\['z', 'y', 'x'\] for an array of 2 axes"),
    "no axes": ({"datasets": [{"path": "0"}]}, PLANE, "no axes for an array of 2 axes"),
    "two of the same": (multiscale("yy"), PLANE, "does not name its axes"),
    "no Y": (multiscale("zx"), PLANE, "an image has Y and X"),
    "a path that leads out": (multiscale(datasets=[{"path": "../other"}]), PLANE, "does not hold the array ../other"),
    "no path": (multiscale(datasets=[{}]), PLANE, "does not hold the array None"),
    "no datasets": (multiscale(datasets={}), PLANE, "datasets is missing or malformed"),
    "complex": (multiscale(), PLANE.astype(np.complex64), "complex numbers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_sentence(tmp_path, name):
    described, data, message = REFUSED[name]
    write(tmp_path / "a.zarr", data, described)
    with pytest.raises(InputError, match=message):
        open_image(tmp_path / "a.zarr")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_damaged_chunk_is_named_with_its_file(tmp_path, zarr_format):
    write(tmp_path / "a.zarr", PLANE, multiscale(), zarr_format=zarr_format)
    chunk = next(p for p in sorted((tmp_path / "a.zarr" / "0").rglob("*1")) if p.is_file())
    chunk.write_bytes(b"xx")
    for read in (lambda path: open_images([path]).arrays(), read_image):
        with pytest.raises(InputError, match=r"a\.zarr cannot be read .*: copy it again"):
            read(tmp_path / "a.zarr")


def test_a_folder_without_its_hidden_files_says_so(tmp_path):
    write(tmp_path / "a.zarr", PLANE, multiscale())
    for name in (".zgroup", ".zattrs", "0/.zarray"):
        (tmp_path / "a.zarr" / name).unlink()
    with pytest.raises(InputError, match=r"is not Zarr: copy it again, with its hidden files"):
        open_image(tmp_path / "a.zarr")
