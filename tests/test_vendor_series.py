"""Several images in a vendor's file, frames that were never recorded, colour, positions of the stage."""

import h5py
import numpy as np
import pytest

from tests import vendor_files as make
from tests.vendor_files import counts, czi_planes, nd2_frames
from zsd_runtime.errors import InputError
from zsd_runtime.images.files import open_image, read_image

pytest.importorskip("nd2")
pytest.importorskip("liffile")
pytest.importorskip("pylibCZIrw.czi")


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
    {".ims": make.write_ims, ".dv": make.write_dv}[suffix](tmp_path / f"a{suffix}", counts(1, 1, 1, 8, 8))
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
