"""One file a slice, and NDTiff."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tifffile

from zsd_runtime import InputError
from zsd_runtime.images import Voxel, image_files, open_image, read_image, stem

RNG = np.random.default_rng(0)


def write(folder, names, shape=(8, 9), **options):
    folder.mkdir(exist_ok=True)
    data = [RNG.integers(1, 1000, shape).astype(np.uint16) for _ in names]
    for name, plane in zip(names, data, strict=True):
        tifffile.imwrite(folder / name, plane, **options)
    return np.array(data)


ONE_IMAGE = {
    "slices": ([f"img_z{z:03d}.tif" for z in range(6)], "ZYX", (6,)),
    "slices from 1": ([f"cell1_Z{z}.tif" for z in range(1, 12)], "ZYX", (11,)),
    "frames": ([f"movie t{t:04d}.TIF" for t in range(3)], "TYX", (3,)),
    "everything": (
        [f"img_t{t:03d}_z{z:03d}_c{c}.tif" for t in range(2) for z in range(3) for c in range(2)], "TZCYX", (2, 3, 2)
    ),
    "one channel": ([f"img_t{t:03d}_z{z:03d}_c0.tif" for t in range(2) for z in range(3)], "TZYX", (2, 3)),
    "letters and numbers together": (
        [f"s_C001Z{z:03d}T{t:03d}.tif" for z in range(1, 4) for t in range(1, 3)], "ZTYX",
        (3, 2),
    ),
    "Leica": ([f"lif_t{t:02d}_ch{c:02d}.tiff" for t in range(3) for c in range(2)], "TCYX", (3, 2)),
    "Micro-Manager": (
        [
            f"img_channel{c:03d}_position000_time{t:09d}_z{z:03d}.tif"
            for c in range(2) for t in range(2) for z in range(3)
        ],
        "CTZYX", (2, 2, 3),
    ),
    "Micro-Manager 1.4": (
        [f"img_{t:09d}_{c}_{z:03d}.tif" for t in range(2) for c in ("DAPI", "GFP") for z in range(3)],
        "TCZYX", (2, 2, 3),
    ),
    "every tenth": ([f"scan-slice{z:03d}.tif" for z in range(0, 50, 10)], "ZYX", (5,)),
    "words": ([f"a_time={t}.tif" for t in range(3)], "TYX", (3,)),
}  # fmt: skip


@pytest.mark.parametrize("kind", ONE_IMAGE)
def test_files_that_are_one_image(tmp_path, kind):
    names, axes, outer = ONE_IMAGE[kind]
    data = write(tmp_path / "scan", names).reshape(*outer, 8, 9)
    order = "".join(a for a in "TCZYX" if a in axes)
    data = data.transpose([axes.index(a) for a in order])
    (path,) = image_files(tmp_path / "scan")
    assert path == tmp_path / "scan"
    image = read_image(path)
    assert image.axes == order
    np.testing.assert_array_equal(image.data, data)
    assert f"{len(names)} files" in image.description.notices[0]


SEPARATE = {
    "unrelated numbers": ["cell_t3.tif", "cell_t17.tif", "cell_t240.tif"],
    "only two": ["cell_z0.tif", "cell_z1.tif"],
    "channels": ["cell_c0.tif", "cell_c1.tif", "cell_c2.tif"],
    "no letters": ["img0001.tif", "img0002.tif", "img0003.tif"],
    "samples": ["fish1.tif", "fish2.tif", "fish3.tif"],
    "dates": ["t20240101.tif", "t20240315.tif", "t20250101.tif"],
    "words that end in t": ["plant1.tif", "plant2.tif", "plant3.tif"],
    "concentrations": ["drug_t0.5.tif", "drug_t1.5.tif", "drug_t2.5.tif"],
}


@pytest.mark.parametrize("kind", SEPARATE)
def test_files_that_are_images_of_their_own(tmp_path, kind):
    write(tmp_path / "a", SEPARATE[kind])
    assert sorted(p.name for p in image_files(tmp_path / "a")) == sorted(SEPARATE[kind])


def test_stacks_in_a_file_each_are_images_of_their_own(tmp_path):
    names = [f"t{t:03d}.tif" for t in range(3)]
    write(tmp_path / "a", names, (4, 8, 9), imagej=True)
    write(tmp_path / "b", names, (4, 8, 9), photometric="minisblack")
    for folder in ("a", "b"):
        assert [p.name for p in image_files(tmp_path / folder)] == names


def test_several_images_in_a_folder_go_by_patterns(tmp_path):
    one = write(tmp_path, [f"pos0_z{z:03d}.tif" for z in range(3)])
    write(tmp_path, [f"pos1_z{z:03d}.tif" for z in range(4)])
    write(tmp_path, ["alone.tif"])
    files = image_files(tmp_path)
    assert [p.name for p in files] == ["alone.tif", "pos0_z*.tif", "pos1_z*.tif"]
    assert [stem(p) for p in files] == ["alone", "pos0", "pos1"]
    np.testing.assert_array_equal(read_image(files[1]).data, one)
    assert open_image(files[2]).data.shape == (4, 8, 9)
    with pytest.raises(InputError, match="does not exist"):
        open_image(tmp_path / "pos7_z*.tif")


@pytest.mark.parametrize(
    ("names", "missing", "named"),
    [
        ([f"img_z{z:03d}.tif" for z in range(8)], ["img_z003.tif"], ["1 of them is missing", "Z 3"]),
        ([f"img_z{z:03d}.tif" for z in range(8)], ["img_z003.tif", "img_z004.tif"], ["Z 3; Z 4"]),
        ([f"a_t{t:02d}_z{z:02d}.tif" for t in range(3) for z in range(3)], ["a_t01_z02.tif"], ["T 1, Z 2"]),
        ([f"img_{t:09d}_{c}_000.tif" for t in range(4) for c in "AB"], ["img_000000002_B_000.tif"], ["T 2, C B"]),
    ],
)
def test_missing_slices_are_named(tmp_path, names, missing, named):
    write(tmp_path / "a", [n for n in names if n not in missing])
    assert image_files(tmp_path / "a") == [tmp_path / "a"]
    with pytest.raises(InputError, match="missing") as error:
        open_image(tmp_path / "a")
    for part in named:
        assert part in str(error.value)


def test_slices_of_other_shapes_are_an_error(tmp_path):
    write(tmp_path / "a", [f"img_z{z:03d}.tif" for z in range(4)])
    tifffile.imwrite(tmp_path / "a" / "img_z002.tif", np.zeros((8, 10), np.uint16))
    with pytest.raises(InputError, match=r"img_z002\.tif has shape \(8, 10\)"):
        open_image(tmp_path / "a")


def test_a_damaged_slice_is_named(tmp_path):
    write(tmp_path / "a", [f"img_z{z:03d}.tif" for z in range(4)])
    (tmp_path / "a" / "img_z002.tif").write_bytes(b"")
    with pytest.raises(InputError, match=r"img_z002\.tif is not a readable"):
        open_image(tmp_path / "a")


def test_slices_are_read_where_they_are_sliced(tmp_path):
    data = write(tmp_path / "a", [f"img_z{z:03d}.tif" for z in range(5)], compression="zlib")
    image = open_image(tmp_path / "a")
    assert not isinstance(image.data, np.ndarray)
    np.testing.assert_array_equal(image.data[1:4, 2:8, 3:9], data[1:4, 2:8, 3:9])


def test_micromanagers_text_describes_its_slices(tmp_path):
    names = [f"img_channel{c:03d}_position000_time000000000_z{z:03d}.tif" for c in range(2) for z in range(3)]
    write(tmp_path / "a", names)
    summary = {"PixelSize_um": 0.065, "z-step_um": -0.3, "ChNames": ["DAPI", "GFP"], "Interval_ms": 500}
    (tmp_path / "a" / "metadata.txt").write_text(json.dumps({"Summary": summary}))
    image = open_image(tmp_path / "a")
    assert (image.axes, image.voxel) == ("CZYX", Voxel(0.3, 0.065, 0.065))
    assert [c.name for c in image.description.channels] == ["DAPI", "GFP"]
    assert image.description.time_step_s == 0.5


# Its makers' library leaves files open, so it runs in a process of its own.
WRITE_NDTIFF = """
import json, sys, numpy, ndtiff
folder, summary, axes, metadata = sys.argv[1], *map(json.loads, sys.argv[2:])
dataset = ndtiff.NDTiffDataset(folder, name="acq", summary_metadata=summary, writable=True)
for at, plane in zip(axes, numpy.load(folder + "/planes.npy")):
    dataset.put_image(at, plane, metadata)
dataset.finish()
"""


def write_ndtiff(folder, summary, axes, planes, **metadata):
    pytest.importorskip("ndtiff")
    np.save(folder / "planes.npy", planes)
    arguments = [str(folder), *map(json.dumps, (summary, axes, metadata))]
    subprocess.run([sys.executable, "-c", WRITE_NDTIFF, *arguments], check=True, capture_output=True)
    (folder / "planes.npy").unlink()
    return next(p for p in folder.iterdir() if p.is_dir())


def test_channels_that_the_names_name(tmp_path):
    names = [f"img_{t:09d}_{c}_000.tif" for c in ("GFP", "DAPI") for t in range(3)]
    data = write(tmp_path / "a", names).reshape(2, 3, 8, 9)
    summary = {"ChNames": ["GFP", "DAPI"], "ChColors": [-16711936, -16776961]}
    (tmp_path / "a" / "metadata.txt").write_text(json.dumps({"Summary": summary}))
    image = read_image(tmp_path / "a")
    found = {c.name: (c.color, image.data[:, i]) for i, c in enumerate(image.description.channels)}
    for i, (name, color) in enumerate({"GFP": "00FF00", "DAPI": "0000FF"}.items()):
        assert found[name][0] == color
        np.testing.assert_array_equal(found[name][1], data[i])


def test_ndtiff(tmp_path):
    data = RNG.integers(1, 1000, (2, 2, 3, 64, 64)).astype(np.uint16)
    axes = [{"time": t, "channel": c, "z": z} for t in range(2) for c in ("GFP", "RFP") for z in range(3)]
    summary = {"PixelSize_um": 10000.0, "z-step_um": 0.3}
    folder = write_ndtiff(tmp_path, summary, axes, data.reshape(-1, 64, 64), PixelSizeUm=0.065)
    assert image_files(tmp_path) == [folder]
    assert image_files(folder) == [folder]
    for path in (folder, next(folder.glob("*.tif"))):
        image = read_image(path)
        order = [image.axes.index(a) for a in "TCZYX"]
        np.testing.assert_array_equal(image.data.transpose(order), data)
        assert image.voxel == Voxel(0.3, 0.065, 0.065)
        assert [c.name for c in image.description.channels] == ["GFP", "RFP"]
        assert image.description.size_source == "Micro-Manager"


def test_positions_of_ndtiff_have_to_be_chosen(tmp_path):
    data = RNG.integers(1, 1000, (2, 3, 64, 64)).astype(np.uint16)
    axes = [{"position": p, "z": z} for p in range(2) for z in range(3)]
    folder = write_ndtiff(tmp_path, {"a": 1}, axes, data.reshape(-1, 64, 64), b=1)
    with pytest.raises(InputError, match="holds 2 images"):
        open_image(folder)
    for p in range(2):
        np.testing.assert_array_equal(read_image(folder, series=p).data, data[p])


def test_missing_planes_of_ndtiff_are_an_error(tmp_path):
    axes = [{"time": t, "z": z} for t, z in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2)]]
    folder = write_ndtiff(tmp_path, {"a": 1}, axes, np.ones((5, 64, 64), np.uint16), b=1)
    with pytest.raises(InputError, match="announces 6 planes and holds 5"):
        open_image(folder)
