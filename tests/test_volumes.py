"""Images larger than memory: opened, not read; created, not held."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from zsd_runtime import InputError
from zsd_runtime.images import Image, Voxel, create_image, open_image, read_image, write_image
from zsd_runtime.images.chunked import ChunkCache, Chunked
from zsd_runtime.memory import release

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 60000, (3, 5, 40, 50)).astype(np.uint16)
BOX = (1, slice(1, 4), slice(7, 33), slice(0, 50))


@pytest.fixture
def image():
    return Image(STACK, "TZYX", Voxel(0.3, 0.1, 0.1))


def written_in_boxes(path, image, scale=()):
    """Write box by box, and give what is read back."""
    with create_image(path, image, scale) as target:
        for t in range(3):
            for y in (0, 16, 32):
                box = (t, slice(0, 5), slice(y, min(y + 16, 40)), slice(0, 50))
                target[box] = image.data[box]
    return open_image(path)


@pytest.mark.parametrize("name", ["a.tif", "a.zarr"])
def test_what_is_written_in_boxes_is_read_in_boxes(tmp_path, image, name):
    back = written_in_boxes(tmp_path / name, image)
    assert back.axes == "TZYX"
    assert (back.voxel.y_um, back.voxel.x_um) == pytest.approx((0.1, 0.1))
    assert back.voxel.z_um == pytest.approx(0.3)
    np.testing.assert_array_equal(back.data[BOX], STACK[BOX])
    np.testing.assert_array_equal(read_image(tmp_path / name).data, STACK)


def test_ome_tiff_and_foreign_orders(tmp_path, image):
    back = written_in_boxes(tmp_path / "a.tif", replace(image, ome=True))
    assert back.ome
    np.testing.assert_array_equal(back.data[BOX], STACK[BOX])
    turned = Image(STACK, "CTYX")  # ImageJ's order is TCYX
    write_image(tmp_path / "b.tif", turned)
    assert read_image(tmp_path / "b.tif").axes == "TCYX"
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif").data, STACK.swapaxes(0, 1))


def test_large_compressed_tiff_is_decoded_where_it_is_sliced(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", STACK, compression="zlib", photometric="minisblack", metadata={"axes": "TZYX"})
    monkeypatch.setattr("zsd_runtime.images.tiff.READ_AT_ONCE", 1000)
    back = open_image(tmp_path / "a.tif", axes="TZYX")
    assert isinstance(back.data, Chunked)
    np.testing.assert_array_equal(back.data[BOX], STACK[BOX])


def test_chunks_are_decoded_once_while_they_fit():
    decoded = []

    class Array:
        shape, chunks, dtype, ndim = (40, 50), (16, 16), STACK.dtype, 2

        def __getitem__(self, box):
            decoded.append(box)
            return STACK[0, 0][box]

    array = Chunked(Array())
    for x in range(0, 40, 5):
        np.testing.assert_array_equal(array[3:30, x : x + 10], STACK[0, 0, 3:30, x : x + 10])
    assert len(decoded) == len({str(box) for box in decoded}) == 6
    cache = ChunkCache(2 * 16 * 16 * 2)
    small, other = Chunked(Array(), cache), Chunked(Array(), cache)
    for each in (small, other):
        np.testing.assert_array_equal(each[0:40, 0:50], STACK[0, 0])
    assert cache.peak <= cache.limit
    assert cache.decoded == 2 * STACK[0, 0].nbytes
    del small, other, each
    Chunked(Array(), cache)[0:16, 0:16]
    assert cache.held == 16 * 16 * 2  # those of arrays that are gone are forgotten


def test_ome_zarr_says_what_it_is(tmp_path, image):
    with create_image(tmp_path / "a.zarr", image, (1, 2, 2)) as target:
        assert target.chunks == (1, 5, 40, 50)
    ome = zarr.open_group(tmp_path / "a.zarr").attrs["ome"]
    assert ome["version"] == "0.5"
    (multiscale,) = ome["multiscales"]
    assert [axis["name"] for axis in multiscale["axes"]] == list("tzyx")
    assert multiscale["datasets"][0]["coordinateTransformations"][0]["scale"] == [1, 0.3, 0.1, 0.1]


def test_ome_zarr_0_4_is_read(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    array = group.create_array("s0", shape=(5, 40, 50), dtype="uint16", chunks=(2, 16, 16))
    array[:] = STACK[0]
    axes = [{"name": a, "type": "space", "unit": "nanometer"} for a in "zyx"]
    scale = [{"type": "scale", "scale": [300.0, 65.0, 65.0]}]
    group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "s0", "coordinateTransformations": scale}]}]
    image = open_image(tmp_path / "a.zarr")
    assert (image.axes, (image.voxel.y_um, image.voxel.x_um), image.voxel.z_um) == (
        "ZYX",
        pytest.approx((0.065, 0.065)),
        0.3,
    )
    np.testing.assert_array_equal(image.data[1:4, 3:20, 5:50], STACK[0, 1:4, 3:20, 5:50])


def interrupted(path, image):
    with create_image(path, image) as target:
        target[BOX] = np.zeros_like(STACK[BOX])
        raise KeyboardInterrupt


def test_a_failed_write_leaves_nothing(tmp_path, image):
    for name in ("a.tif", "a.zarr"):
        write_image(tmp_path / name, image)
        before = read_image(tmp_path / name).data
        with pytest.raises(KeyboardInterrupt):
            interrupted(tmp_path / name, image)
        np.testing.assert_array_equal(read_image(tmp_path / name).data, before)  # what was there stays
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tif", "a.zarr"]
    write_image(tmp_path / "a.zarr", image)  # and is replaced when the new one is whole
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tif", "a.zarr"]


def _bare(folder):
    zarr.create_array(folder / "x.zarr", shape=(4, 5), dtype="uint16")


def _group(folder):
    zarr.open_group(folder / "x.zarr", mode="w").create_group("inside")


def _garbled(folder):
    group = zarr.open_group(folder / "x.zarr", mode="w")
    group.attrs["ome"] = {"multiscales": [{"axes": [{"name": "y"}], "datasets": []}]}


def _strange(folder):
    group = zarr.open_group(folder / "x.zarr", mode="w")
    group.create_array("0", shape=(4, 5), dtype="uint16")
    axes = [{"name": "q"}, {"name": "x"}]
    group.attrs["ome"] = {"multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]}


BAD = {
    "bare": (_bare, "name its axes with `axes`"),
    "group": (_group, "without OME-Zarr's multiscales .it holds inside"),
    "garbled": (_garbled, "is missing or malformed"),
    "strange": (_strange, r"has axes \['q', 'x'\]"),
    "folder": (lambda folder: (folder / "x.zarr").mkdir(), "is a folder that is not Zarr"),
    "nothing": (lambda folder: None, "does not exist"),
}


@pytest.mark.parametrize("name", BAD)
def test_zarr_without_the_expected_axes(tmp_path, name):
    make, message = BAD[name]
    make(tmp_path)
    with pytest.raises(InputError, match=message):
        open_image(tmp_path / "x.zarr")


def test_a_folder_that_is_not_zarr_is_not_replaced(tmp_path, image):
    (tmp_path / "x.zarr").mkdir()
    (tmp_path / "x.zarr" / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="left alone"):
        write_image(tmp_path / "x.zarr", image)
    assert (tmp_path / "x.zarr" / "thesis.txt").read_text() == "years"


def test_released_pages_keep_what_was_written(tmp_path):
    array = np.memmap(tmp_path / "a", np.uint16, "w+", shape=(100, 100))
    array[:] = 7
    release(array[3:, 2:])
    assert (array == 7).all()
    private = np.memmap(tmp_path / "a", np.uint16, "c", shape=(100, 100))
    private[:] = 8
    release(private)
    assert (private == 8).all()
    release(np.zeros(3))


RESTORE = """
import os, signal, sys
from contextlib import ExitStack
from pathlib import Path
import numpy as np
from benchmarks.volume import open_stand_in
from zsd_runtime.images import create_image, open_image
from zsd_runtime.memory import peak_memory

folder, planes, kill_at = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
image = open_image(folder / f"{planes}.tif")

def report(done, total):
    if done / total >= kill_at:
        os.kill(os.getpid(), signal.SIGKILL)

with open_stand_in() as model, ExitStack() as files, peak_memory() as peak:
    targets = [
        files.enter_context(create_image(folder / name, image.resized(shape, "uint16"), output.scale))
        for name, shape, output in zip(
            ("denoised.zarr", "deconvolved.tif"), model.output_shapes(image.data.shape), model.description.outputs
        )
    ]
    model.predict_into(image.data, targets, memory=60_000_000, report=report)
print(peak[0] / 1e6)
"""


def restored(folder, planes, kill_at=2.0):
    """A volume of 512² planes through a one-layer 3D network, in a process of its own."""
    command = [sys.executable, "-c", RESTORE, str(folder), str(planes), str(kill_at)]
    root = Path(__file__).parents[1]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows counts the pages of mapped files until it wants them")
def test_memory_does_not_grow_with_the_volume(tmp_path):
    peaks = {}
    for planes in (40, 200):  # results of 105 and 524 MB
        volume = RNG.poisson(100, (planes, 512, 512)).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"{planes}.tif", volume, imagej=True, metadata={"axes": "ZYX"})
        result = restored(tmp_path, planes)
        assert result.returncode == 0, result.stderr
        peaks[planes] = float(result.stdout)
    # 503 MB more were read and written; a busy system keeps some pages for a while
    assert peaks[200] < peaks[40] + 100
    # and what was written is right: the mean of 27 neighbours, which the volume's inside shows without its edges
    z, y, x = 100, 200, 300
    expected = volume[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2].mean()
    for name, place in (("denoised.zarr", (z, y, x)), ("deconvolved.tif", (z, 2 * y + 1, 2 * x))):
        assert open_image(tmp_path / name).data[tuple(slice(n, n + 1) for n in place)].item() == pytest.approx(
            expected, abs=0.51
        )


def test_damaged_chunks_are_the_fault_of_the_image_not_the_result(package, tmp_path):
    from zsd_runtime import load_model

    array = zarr.create_array(
        tmp_path / "bad.zarr", data=STACK[0, 0], chunks=(20, 25), compressors=zarr.codecs.GzipCodec()
    )
    chunk = next(path for path in (tmp_path / "bad.zarr").rglob("*") if path.is_file() and path.name != "zarr.json")
    chunk.write_bytes(b"garbage")
    with load_model(package, device="cpu") as model:
        targets = [np.zeros(shape, np.float32) for shape in model.output_shapes(array.shape)]
        with pytest.raises(InputError, match="the image cannot be read"):
            model.predict_into(open_image(tmp_path / "bad.zarr", "YX").data, targets)


STATISTICS = """
import sys
from dataclasses import replace
import numpy as np
from benchmarks.volume import open_stand_in
from zsd_runtime.images import open_image
from zsd_runtime.memory import peak_memory
from zsd_runtime.normalize import ScaleRange

image = open_image(sys.argv[1]).data
with open_stand_in() as model, peak_memory() as peak:
    source = replace(model.description.input, processing=ScaleRange(1, 99))
    model.description = replace(model.description, input=source)
    targets = [np.broadcast_to(np.float32(0), shape) for shape in model.output_shapes(image.shape)]
    [line] = model.lines(image, targets, (32, 64, 64)).values()
print(peak[0] / 1e6, line.slope)
"""


def test_statistics_of_a_mapped_volume_are_streamed(tmp_path):
    """One pass over 200 MB of mapped pixels holds a block at a time."""
    planes = np.arange(400, dtype=np.uint16)[:, None, None] * np.ones((1, 512, 512), np.uint16)
    tifffile.imwrite(tmp_path / "400.tif", planes, imagej=True, metadata={"axes": "ZYX"})
    command = [sys.executable, "-c", STATISTICS, str(tmp_path / "400.tif")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert result.returncode == 0, result.stderr
    peak, slope = map(float, result.stdout.split())
    assert peak < 200
    assert slope == pytest.approx(1 / (395 - 4), rel=0.05)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
def test_what_is_killed_leaves_only_temporaries(tmp_path):
    tifffile.imwrite(tmp_path / "40.tif", np.zeros((40, 512, 512), np.uint16), imagej=True, metadata={"axes": "ZYX"})
    assert restored(tmp_path, 40, kill_at=0.5).returncode == -signal.SIGKILL
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left[-1] == "40.tif"
    assert len(left) == 3
    assert all(name.startswith(".de") and name.endswith(".tmp") for name in left[:2])


def test_a_disk_that_fills_up_in_the_last_write_is_an_error(tmp_path):
    """write(2) then takes a part, and says so only by its number; the file has its full size already."""
    program = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from zsd_runtime.images import Image, create_image

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with create_image(Path(sys.argv[1]), Image(np.ones((64, 64), np.uint16), "YX")) as target:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
    target[slice(0, 64), slice(0, 64)] = np.ones((64, 64), np.uint16)
"""
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.tif")], capture_output=True, text=True, check=False
    )
    assert "cannot write" in result.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_containers_leave_what_their_limits_say(tmp_path, monkeypatch):
    from zsd_runtime import memory

    job = tmp_path / "batch" / "job"
    job.mkdir(parents=True)
    for group, limit, used, cached in (
        (job, "max", 10, 0),
        (job.parent, "8000", 7900, 6000),
        (tmp_path, "9000", 7900, 0),
    ):
        (group / "memory.max").write_text(limit)
        (group / "memory.current").write_text(str(used))
        (group / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\n")
    (tmp_path / "own").write_text("0::/batch/job\n")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    monkeypatch.setattr(memory, "OWN_CGROUP", tmp_path / "own")
    assert list(memory._free_in_cgroups()) == [6100, 1100]
    assert memory.free_memory() == 1100
