"""Files of microscope vendors: axes, pixels, sizes, channels; what is refused, and in which words."""

import contextlib
import gc
import re
import sys

import mrcfile
import numpy as np
import pytest

from tests import vendor_files as make
from zsd_runtime.errors import InputError
from zsd_runtime.images.files import FORMATS, image_files, open_image, read_image
from zsd_runtime.images.image import Channel, Voxel, read_box

pytest.importorskip("nd2")
pytest.importorskip("liffile")
czi = pytest.importorskip("pylibCZIrw.czi")
h5py = pytest.importorskip("h5py")

NM = dict(zip(make.NAMES, make.EMISSIONS_NM, strict=True))
NAMED = tuple(Channel(n, c, w) for n, c, w in zip(make.NAMES, make.COLORS, make.EMISSIONS_NM, strict=True))


def counts(*shape, dtype="u2", seed=0):
    values = np.random.default_rng(seed).integers(1, 200 if np.dtype(dtype).itemsize == 1 else 4096, shape)
    return values.astype(dtype)


def czi_planes(array):
    """(T, C, Z, Y, X)"""
    return {at: array[at] for at in np.ndindex(array.shape[:3])}


def nd2_frames(array):
    """(T, C, Z, Y, X) to (frames, Y, X, C)"""
    t, c, z, y, x = array.shape
    return np.moveaxis(array, 1, -1).reshape(t * z, y, x, c)


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


# Several images in one file


def positions_nd2(path, shape=(2, 1, 1, 16, 16), places=3, first="T"):
    arrays = [counts(*shape, seed=n) for n in range(places)]
    loops = [
        make.time_loop(shape[0], 500.0),
        make.position_loop([(f"well {n}", 100.0 * n, -50.0) for n in range(places)]),
    ]
    frames = np.stack([nd2_frames(a) for a in arrays], 1)  # (T, P, Y, X, C)
    if first == "P":
        loops, frames = loops[::-1], frames.swapaxes(0, 1)
    make.write_nd2(path, frames.reshape(-1, *frames.shape[2:]), loops, pixel_um=0.1)
    return arrays


def scenes_czi(path, sides=(16, 16)):
    arrays = [counts(1, 1, 1, side, side, seed=n) for n, side in enumerate(sides)]
    tiles = [(a[0, 0, 0], {}, (1000 * n, 0), n) for n, a in enumerate(arrays)]
    scenes = "".join(
        f'<Scene Index="{n}" Name="S{n}"><CenterPosition>{10 * n},-20</CenterPosition></Scene>'
        for n in range(len(sides))
    )
    make.write_czi(
        path, {(0, 0, 0): tiles}, pixel_um=0.1,
        change=lambda xml: xml.replace("</Dimensions>", f"<S><Scenes>{scenes}</Scenes></S></Dimensions>", 1),
    )  # fmt: skip
    return arrays


def scans_lif(path, sides=(16, 16)):
    arrays = [counts(1, 1, 1, side, side, seed=n) for n, side in enumerate(sides)]
    make.write_lif(path, {f"scan {n}": (a[0, 0, 0], "YX", {}, [("", "")]) for n, a in enumerate(arrays)})
    return arrays


ALIKE = {
    "nd2, frames first": (".nd2", positions_nd2, ["well 0", "well 1", "well 2"]),
    "nd2, positions first": (".nd2", lambda p: positions_nd2(p, first="P"), ["well 0", "well 1", "well 2"]),
    "czi scenes": (".czi", scenes_czi, ["S0", "S1"]),
    "lif": (".lif", scans_lif, ["scan 0", "scan 1"]),
}


@pytest.mark.parametrize("case", ALIKE)
def test_images_alike_must_be_chosen(tmp_path, case):
    suffix, writer, names = ALIKE[case]
    path = tmp_path / f"a{suffix}"
    arrays = writer(path)
    with pytest.raises(InputError, match=f"{len(names)} images: 0 '{names[0]}'.*1 '{names[1]}'.*choose") as error:
        open_image(path)
    assert error.value.options == ("series",)
    for number, array in enumerate(arrays):
        image = read_image(path, series=number)
        np.testing.assert_array_equal(image.data, array.squeeze())
        assert image.description.name == names[number]
        assert image.description.series == tuple(names)
        assert not image.description.notices
    with pytest.raises(InputError, match=r"`series` 7 does not exist"):
        open_image(path, series=7)


@pytest.mark.parametrize(("suffix", "writer"), [(".czi", scenes_czi), (".lif", scans_lif)])
def test_the_largest_image_is_taken_with_a_notice(tmp_path, suffix, writer):
    path = tmp_path / f"a{suffix}"
    arrays = writer(path, (16, 24, 20))
    image = read_image(path)
    np.testing.assert_array_equal(image.data, arrays[1].squeeze())
    assert len(image.description.notices) == 1
    assert "3 images" in image.description.notices[0]
    assert "number 1, the largest" in image.description.notices[0]


@pytest.mark.parametrize("suffix", [".ims", ".dv"])
def test_formats_of_one_image_refuse_other_series(tmp_path, suffix):
    write(suffix, tmp_path / f"a{suffix}", counts(1, 1, 1, 8, 8))
    assert open_image(tmp_path / f"a{suffix}", series=0).axes == "YX"
    with pytest.raises(InputError, match="holds one image"):
        open_image(tmp_path / f"a{suffix}", series=1)


def test_positions_of_the_stage(tmp_path):
    positions_nd2(tmp_path / "a.nd2")
    origin = open_image(tmp_path / "a.nd2", series=1).description.origin_um
    assert origin == {"Y": pytest.approx(-50 - 0.75), "X": pytest.approx(100 - 0.75)}
    scenes_czi(tmp_path / "a.czi")
    origin = open_image(tmp_path / "a.czi", series=1).description.origin_um
    assert origin == {"Y": pytest.approx(-20 - 0.75), "X": pytest.approx(10 - 0.75)}
    make.write_ims(tmp_path / "a.ims", counts(1, 1, 3, 8, 8), (0.3, 0.1, 0.1), origin_um=(5.0, -7.0, 100.0))
    origin = open_image(tmp_path / "a.ims").description.origin_um
    assert origin == {"Z": pytest.approx(5.15), "Y": pytest.approx(-6.95), "X": pytest.approx(100.05)}
    stage = np.tile([0.0, 30.0, 40.0, 9.0], (3, 1))
    make.write_dv(tmp_path / "a.dv", counts(1, 1, 3, 11, 21), "CTZ", pixel_um=(0.1, 0.1, 0.3), stage=stage)
    origin = open_image(tmp_path / "a.dv").description.origin_um
    assert origin == {"X": pytest.approx(29.0), "Y": pytest.approx(39.5), "Z": 9.0}


# What was never recorded


def test_frames_that_were_never_recorded_are_left_out(tmp_path):
    array = counts(5, 2, 3, 16, 16)
    loops = [make.time_loop(5, 500.0), make.z_loop(3, 0.3)]
    make.write_nd2(tmp_path / "a.nd2", nd2_frames(array), loops, written=range(10))  # stopped in the fourth frame
    planes = czi_planes(array)
    make.write_czi(tmp_path / "a.czi", {at: p for at, p in planes.items() if at < (3, 0, 2)})
    make.write_ims(tmp_path / "a.ims", array, skip=[(3, 1), (4, 0), (4, 1)])
    make.write_ims(tmp_path / "b.ims", array, empty=[(3, 0), (3, 1), (4, 1)])
    # Of the fifth frame, two of the files hold nothing that could be missed.
    told = {
        "a.nd2": "5 of its 15 planes were never recorded; frames 3-4 of 0-4",
        "a.czi": "4 of its 24 planes were never recorded; frames 3 of 0-3",
        "a.ims": "3 of its 24 planes were never recorded; frames 3 of 0-3",
        "b.ims": "9 of its 30 planes were never recorded; frames 3-4 of 0-4",
    }
    for name, expected in told.items():
        image = read_image(tmp_path / name)
        np.testing.assert_array_equal(image.data, array[:3], err_msg=name)
        (notice,) = image.description.notices
        assert f"{expected} are left out" in notice


def test_gaps_in_czi(tmp_path):
    array = counts(3, 16, 16)
    make.write_czi(tmp_path / "t.czi", {(0, 0, 0): array[0], (1, 0, 0): array[1], (3, 0, 0): array[2]})
    image = read_image(tmp_path / "t.czi")
    np.testing.assert_array_equal(image.data, array)
    assert "frames 2 of 0-3" in image.description.notices[0]
    make.write_czi(tmp_path / "z.czi", {(0, 0, 0): array[0], (0, 0, 1): array[1], (0, 0, 3): array[2]})
    with pytest.raises(InputError, match="1 of its 4 planes"):
        open_image(tmp_path / "z.czi")
    make.write_czi(tmp_path / "c.czi", {(0, 0, 0): array[0], (0, 2, 0): array[2]})  # channels may be cut out
    image = read_image(tmp_path / "c.czi")
    np.testing.assert_array_equal(image.data, array[[0, 2]])
    assert [c.name for c in image.description.channels] == ["GFP", "DAPI"]


def test_a_frame_missing_in_the_middle_is_named(tmp_path):
    array = counts(4, 1, 1, 16, 16)
    make.write_nd2(tmp_path / "a.nd2", nd2_frames(array), [make.time_loop(4, 500.0)], written=[0, 2, 3])
    image = read_image(tmp_path / "a.nd2")
    np.testing.assert_array_equal(image.data, array[[0, 2, 3], 0, 0])
    assert "frames 1 of 0-3 are left out" in image.description.notices[0]


def test_incomplete_volumes_are_refused(tmp_path):
    array = counts(1, 2, 4, 16, 16)
    make.write_nd2(tmp_path / "a.nd2", nd2_frames(array), [make.z_loop(4, 0.3)], written=[0, 1, 2])
    planes = czi_planes(array)
    make.write_czi(tmp_path / "a.czi", {at: p for at, p in planes.items() if at < (0, 1, 1)})
    make.write_ims(tmp_path / "a.ims", array, skip=[(0, 1)])
    make.write_dv(tmp_path / "a.dv", array.transpose(1, 0, 2, 3, 4)[:, :, :3], sections=7, channels=2)
    for name in ("a.nd2", "a.czi", "a.ims", "a.dv"):
        with pytest.raises(InputError, match=r"incomplete|cut off") as error:
            open_image(tmp_path / name)
        assert ("channel 1" in str(error.value)) == (name in ("a.czi", "a.ims"))


def test_pixels_of_an_nd2_past_its_end_do_not_count(tmp_path):
    array = counts(3, 1, 1, 16, 16)
    path = tmp_path / "a.nd2"
    make.write_nd2(path, nd2_frames(array), [make.time_loop(3, 500.0)])
    content = path.read_bytes()
    name = content.rindex(b"ImageDataSeq|2!") + len(b"ImageDataSeq|2!")  # in the map of chunks
    path.write_bytes(content[:name] + (10**9).to_bytes(8, "little") + content[name + 8 :])
    image = read_image(path)
    assert image.data.shape == (2, 16, 16)
    assert "frames 2 of 0-2" in image.description.notices[0]


def test_blocks_of_an_ims_that_were_never_written_are_told(tmp_path):
    make.write_ims(tmp_path / "a.ims", counts(1, 1, 1, 64, 64), chunk=(1, 32, 32))
    with h5py.File(tmp_path / "a.ims", "r+") as file:
        channel = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0"]
        pixels = channel["Data"][...]
        del channel["Data"]
        data = channel.create_dataset("Data", (1, 64, 64), "u2", chunks=(1, 32, 32))
        data[:, :32] = pixels[:, :32]
    (notice,) = open_image(tmp_path / "a.ims").description.notices
    assert "2 blocks were never written and count as 0" in notice


# Colour


def test_colour_is_refused(tmp_path):
    rgb = counts(16, 16, 3, dtype="u1")
    make.write_czi(tmp_path / "a.czi", {(0, 0, 0): rgb})
    make.write_nd2(tmp_path / "a.nd2", rgb[None], [], components=1)
    make.write_lif(tmp_path / "a.lif", {"rgb": (rgb, "YXS", {}, [("", "Red"), ("", "Green"), ("", "Blue")])})
    for name in ("a.czi", "a.nd2", "a.lif"):
        with pytest.raises(InputError, match=r"colour image \(RGB\)"):
            open_image(tmp_path / name)


def test_a_colour_overview_is_not_the_largest_image(tmp_path):
    rgb, grey = counts(64, 64, 3, dtype="u1"), counts(16, 16)
    images = {"overview": (rgb, "YXS", {}, [("", "")] * 3), "cell": (grey, "YX", {}, [("", "")])}
    make.write_lif(tmp_path / "a.lif", images)
    image = read_image(tmp_path / "a.lif")
    np.testing.assert_array_equal(image.data, grey)
    assert "number 1" in image.description.notices[0]


# CZI


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


# ND2


def test_nd2_without_calibration(tmp_path):
    """nd2 says 1 µm then."""
    make.write_nd2(tmp_path / "a.nd2", counts(1, 16, 16, 1), [], pixel_um=None)
    assert open_image(tmp_path / "a.nd2").voxel == Voxel()


def test_nd2_whose_description_cannot_be_read(tmp_path):
    """nd2 0.12 fails for channels without a dye."""
    frames = counts(1, 16, 16, 2)
    make.write_nd2(tmp_path / "a.nd2", frames, [], probes=False)
    image = read_image(tmp_path / "a.nd2")
    np.testing.assert_array_equal(image.data, np.moveaxis(frames[0], -1, 0))
    if not image.description.channels:
        assert "no readable pixel size" in image.description.notices[0]


def test_frames_of_nd2_without_a_loop(tmp_path):
    array = counts(4, 1, 1, 16, 16)
    make.write_nd2(tmp_path / "a.nd2", nd2_frames(array), [])
    image = read_image(tmp_path / "a.nd2")
    assert image.axes == "TYX"
    np.testing.assert_array_equal(image.data, array[:, 0, 0])
    assert "does not say what its 4 frames are" in image.description.notices[0]
    make.write_nd2(tmp_path / "b.nd2", nd2_frames(array), [make.time_loop(3, 500.0)])
    image = read_image(tmp_path / "b.nd2")
    np.testing.assert_array_equal(image.data, array[:3, 0, 0])
    assert "holds 4 frames; the 3 that it describes are used" in image.description.notices[0]


@pytest.mark.parametrize(
    ("period", "measured", "step"), [(500.0, 0.0, 0.5), (0.0, 730.0, 0.73), (500.0, 510.0, 0.51), (0.0, 0.0, None)]
)
def test_frame_interval_of_nd2(tmp_path, period, measured, step):
    make.write_nd2(tmp_path / "a.nd2", counts(2, 16, 16, 1), [make.time_loop(2, period, measured)])
    assert open_image(tmp_path / "a.nd2").description.time_step_s == step


# LIF


def test_lif_tiles_and_wavelengths_are_series(tmp_path):
    array = counts(3, 2, 16, 16)
    for axis, word in (("M", "tile"), ("λ", "wavelength")):
        make.write_lif(tmp_path / "a.lif", {"scan": (array, f"{axis}CYX", {}, [("", ""), ("", "")])})
        with pytest.raises(InputError, match=f"3 images: 0 'scan, {word} 0'"):
            open_image(tmp_path / "a.lif")
        np.testing.assert_array_equal(read_image(tmp_path / "a.lif", series=1).data, array[1])


@pytest.mark.parametrize("axes", ["CTZYX", "TZCYX", "ZCTYX", "TZYCX"])
def test_lif_stores_axes_in_any_order(tmp_path, axes):
    sizes = {"T": 2, "C": 3, "Z": 4, "Y": 12, "X": 16}
    array = counts(*(sizes[a] for a in axes))
    make.write_lif(tmp_path / "a.lif", {"scan": (array, axes, {}, [("", "")] * 3)})
    image = read_image(tmp_path / "a.lif")
    np.testing.assert_array_equal(image.data, array.transpose([axes.index(a) for a in image.axes]))
    assert image.axes[-3:] == "ZYX"


def test_a_lif_cut_after_its_header(tmp_path):
    array = counts(4, 16, 16)
    make.write_lif(tmp_path / "a.lif", {"scan": (array, "TYX", {}, [("", "")])}, cut=-100)
    with pytest.raises(InputError, match=r"is cut off: the pixels of 'scan' reach past its end"):
        open_image(tmp_path / "a.lif")


# DV and MRC


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("nesting", ["CTZ", "TZC", "TCZ"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_dv_orders(tmp_path, order, nesting, dtype):
    sizes = {"T": 2, "C": 3, "Z": 4}
    array = counts(*(sizes[a] for a in nesting), 12, 16, dtype=dtype)
    seconds = np.zeros(array.shape[:3])
    seconds += 7.5 * np.arange(2).reshape([2 if a == "T" else 1 for a in nesting])
    stage = np.zeros((24, 4))
    stage[:, 0] = seconds.reshape(-1)
    make.write_dv(tmp_path / "a.dv", array, nesting, order, (525, 600, 680), stage=stage)
    image = read_image(tmp_path / "a.dv")
    assert image.axes == "TCZYX"
    np.testing.assert_array_equal(image.data, array.transpose([nesting.index(a) for a in "TCZ"] + [3, 4]))
    assert image.voxel == Voxel(0.125, 0.08, 0.08)
    assert [c.emission_nm for c in image.description.channels] == [525, 600, 680]
    assert image.description.time_step_s == 7.5


def test_dv_written_by_sim_software_ends_in_mrc(tmp_path):
    array = counts(1, 1, 9, 16, 16)
    make.write_dv(tmp_path / "a.mrc", array, frames=0, channels=0)
    image = read_image(tmp_path / "a.mrc")
    assert (image.axes, image.voxel.x_um) == ("ZYX", 0.08)
    np.testing.assert_array_equal(image.data, array[0, 0])


def test_dv_of_an_otf_names_the_command(tmp_path):
    make.write_dv(tmp_path / "a.dv", np.ones((1, 1, 3, 8, 8), np.complex64))
    with pytest.raises(InputError, match=r"complex numbers.*from-otf"):
        open_image(tmp_path / "a.dv")


@pytest.mark.parametrize(("mode", "dtype"), [(0, "i1"), (1, "i2"), (2, "f4"), (6, "u2"), (12, "f2")])
def test_mrc_types_and_sizes_in_angstrom(tmp_path, mode, dtype):
    array = counts(5, 12, 16, dtype="u1").astype(dtype)
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(array)
        file.voxel_size = (650.0, 650.0, 3000.0)
        assert file.header.mode == mode
    image = read_image(tmp_path / "a.mrc")
    assert (image.axes, image.data.dtype) == ("ZYX", dtype)
    np.testing.assert_array_equal(image.data, array)
    assert image.voxel == Voxel(0.3, 0.065, 0.065)


@pytest.mark.parametrize(("shape", "how", "axes"), [
    ((12, 16), None, "YX"), ((5, 12, 16), "set_volume", "ZYX"), ((5, 12, 16), "set_image_stack", "TYX"),
    ((3, 5, 12, 16), None, "TZYX"), ((1, 12, 16), "set_volume", "YX"), ((3, 1, 12, 16), None, "TYX"),
])  # fmt: skip
def test_mrc_volumes_and_stacks(tmp_path, shape, how, axes):
    array = counts(*shape)
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(array)
        if how:
            getattr(file, how)()
    image = read_image(tmp_path / "a.mrc")
    assert image.axes == axes
    np.testing.assert_array_equal(image.data, array.squeeze())
    assert image.voxel == Voxel()


@pytest.mark.parametrize(
    ("crs", "axes"), [((1, 2, 3), "ZYX"), ((2, 1, 3), "ZXY"), ((3, 1, 2), "YXZ"), ((0, 0, 0), "ZYX")]
)
def test_mrc_names_its_axes(tmp_path, crs, axes):
    array = counts(5, 12, 16)
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(array)
        file.header.mapc, file.header.mapr, file.header.maps = crs
    image = read_image(tmp_path / "a.mrc")
    assert image.axes == "ZYX"
    np.testing.assert_array_equal(image.data, array.transpose([axes.index(a) for a in "ZYX"]))


def test_bytes_of_imod_are_unsigned(tmp_path):
    array = np.arange(192, dtype=np.uint8).reshape(12, 16) + 64
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(array.view(np.int8))
    with (tmp_path / "a.mrc").open("r+b") as file:
        file.seek(152)
        file.write((1146047817).to_bytes(4, "little") + bytes(4))
    np.testing.assert_array_equal(read_image(tmp_path / "a.mrc").data, array)


@pytest.mark.parametrize(("at", "value", "message"), [
    (12, 101, "mode 101"), (0, -5, "header says"), (8, 10**6, "cut off"), (92, 10**6, "cut off"),
    (92, -8, "header says"),
])  # fmt: skip
def test_mrc_headers_that_cannot_be(tmp_path, at, value, message):
    make.write_dv(tmp_path / "a.dv", counts(1, 1, 2, 12, 16))
    with (tmp_path / "a.dv").open("r+b") as file:
        file.seek(at)
        file.write(value.to_bytes(4, "little", signed=True))
    with pytest.raises(InputError, match=message):
        open_image(tmp_path / "a.dv")


# IMS


@pytest.mark.parametrize(
    ("shape", "chunk"),
    [((1, 1, 5, 33, 70), (4, 32, 32)), ((2, 2, 1, 31, 1), (1, 16, 16)), ((1, 1, 8, 8, 8), (8, 8, 8))],
)
def test_the_padding_of_ims_is_cut(tmp_path, shape, chunk):
    array = counts(*shape)
    make.write_ims(tmp_path / "a.ims", array, chunk=chunk)
    image = read_image(tmp_path / "a.ims")
    np.testing.assert_array_equal(image.data, array.reshape(image.data.shape))
    assert (image.data > 0).all()


@pytest.mark.parametrize(("unit", "factor"), [("um", 1.0), ("µm", 1.0), ("nm", 1e-3), ("mm", 1e3)])
def test_units_of_ims(tmp_path, unit, factor):
    make.write_ims(tmp_path / "a.ims", counts(1, 1, 3, 8, 8), (0.3 / factor, 0.1 / factor, 0.1 / factor), unit=unit)
    voxel = open_image(tmp_path / "a.ims").voxel
    assert (voxel.z_um, voxel.y_um, voxel.x_um) == pytest.approx((0.3, 0.1, 0.1))


def test_other_hdf5_is_not_imaris(tmp_path):
    with h5py.File(tmp_path / "a.ims", "w") as file:
        file["x"] = np.zeros((8, 8))
    with pytest.raises(InputError, match="not of Imaris"):
        open_image(tmp_path / "a.ims")


def test_pixel_sizes_that_no_microscope_has_are_unknown(tmp_path):
    make.write_nd2(tmp_path / "a.nd2", counts(1, 16, 16, 1), [], pixel_um=10000.0)
    image = open_image(tmp_path / "a.nd2")
    assert image.voxel == Voxel()
    assert "10000 µm" in image.description.notices[0]
