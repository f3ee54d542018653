"""`zsd predict --part`: job arrays whose results are those of one process, also after kills and repeats."""

import errno
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr

from tests.command import zsd
from zsd_runtime import InputError
from zsd_runtime.images import Channel, Description, Image, Voxel, write_image
from zsd_runtime.images import ome_zarr_shards as shards
from zsd_runtime.parts import run
from zsd_runtime.parts.run import Part

RNG = np.random.default_rng(1)
SIZES = {"Z": 2, "Y": 16, "X": 16}  # of chunks, so that small images have many


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    for module in (shards, sys.modules["zsd_runtime.images.ome_zarr_write"]):
        monkeypatch.setattr(module, "CHUNK", SIZES)
    monkeypatch.setattr(sys.modules["zsd_runtime.images.ome_zarr_write"], "COARSEST", 32)


@pytest.fixture(scope="module")
def packages(untrained_package, volume_package, tmp_path_factory):
    """With small halos, for small tiles; one of planes is normalised by the percentiles of an image."""
    folder = tmp_path_factory.mktemp("parts")
    made = {}
    for name, source in {
        "plane": untrained_package,
        "volume": volume_package,
        "percentiles": untrained_package,
    }.items():
        made[name] = shutil.copytree(source, folder / name)
        path = next(made[name].glob("*rdf.yaml"))
        rdf = yaml.safe_load(path.read_text())
        for output in rdf["outputs"]:
            for axis in output["axes"]:
                if "halo" in axis:
                    axis["halo"] = 4
        if name == "percentiles":
            percentiles = {"min_percentile": 1.0, "max_percentile": 99.5}
            rdf["inputs"][0]["preprocessing"] = [{"id": "scale_range", "kwargs": percentiles}]
        path.write_text(yaml.safe_dump(rdf))
    return made


def image_of(axes, shape):
    data = RNG.poisson(120, shape).astype(np.uint16)
    data[..., 3, 4], data[..., -4:, :] = 900, 0
    names = tuple(Channel(name, "00FF00") for name in ("a", "b")[: dict(zip(axes, shape, strict=True)).get("C", 0)])
    return Image(data, axes, Voxel(0.3, 0.1, 0.1), description=Description(name="cell", channels=names))


def predict(package, image, out, *options):
    return zsd(
        "predict", package, image, "--out", out, "--device", "cpu", "--engine", "onnxruntime", "--format", "zarr",
        *options,
    )  # fmt: skip


def levels(folder):
    """Of each result its description and the pixels of all levels."""
    found = {}
    for path in sorted(folder.glob("*.zarr")):
        group = zarr.open_group(path, mode="r")
        found[path.name] = dict(group.attrs)["ome"], [group[k][:] for k in sorted(group.array_keys())]
    return found


def assert_same(folder, other):
    one, two = levels(folder), levels(other)
    assert one.keys() == two.keys()
    assert len(one) == 2
    for name, (description, arrays) in one.items():
        assert two[name][0] == description
        assert len(arrays) == len(two[name][1]) > 1
        for a, b in zip(arrays, two[name][1], strict=True):
            np.testing.assert_array_equal(a, b)


CASES = {
    "plane": ("plane", "YX", (90, 70), "28x28"),
    "frames and channels": ("plane", "TCYX", (3, 2, 70, 50), "28x28"),
    "volume": ("volume", "ZYX", (9, 60, 40), "12x24x24"),
    "percentiles": ("percentiles", "TYX", (2, 70, 50), "28x28"),
}


@pytest.mark.parametrize("case", CASES)
def test_parts_together_are_one_process(packages, tmp_path, case):
    name, axes, shape, tile = CASES[case]
    write_image(tmp_path / "cell.tif", image_of(axes, shape))
    assert predict(packages[name], tmp_path / "cell.tif", tmp_path / "one", "--tile", tile).returncode == 0
    for count in (1, 2, 5) if case == "plane" else (3,):
        out = tmp_path / str(count)
        for number in range(count, 0, -1):
            assert not list(out.glob("*.zarr"))  # nothing looks whole before the last one
            result = predict(packages[name], tmp_path / "cell.tif", out, "--tile", tile, "--part", f"{number}/{count}")
            assert result.returncode == 0, result.stderr
        assert re.search(r"cell_deconvolved.zarr are whole \(onnx", result.stdout)
        assert [path.name for path in out.iterdir() if path.suffix != ".zarr"] == []
        assert_same(tmp_path / "one", out)
        again = predict(packages[name], tmp_path / "cell.tif", out, "--tile", tile, "--part", f"1/{count}")
        assert "are whole already" in again.stdout


def test_without_a_tile_regions_begin_on_shards(packages, tmp_path):
    write_image(tmp_path / "cell.tif", image_of("YX", (260, 200)))
    result = predict(packages["plane"], tmp_path / "cell.tif", tmp_path, "--part", "1/3", "--memory", "0.01")
    assert result.returncode == 0
    job = json.loads((tmp_path / ".cell.parts" / "job.json").read_text())
    assert len(job["regions"]) >= 3
    assert all(start % 64 == 0 for _, box in job["regions"] for start, _ in box)


def begun(packages, folder, *options, part="1/3"):
    """An image of which a part was done."""
    write_image(folder / "cell.tif", image_of("YX", (90, 70)))
    done = predict(packages["plane"], folder / "cell.tif", folder / "out", "--tile", "28x28", "--part", part, *options)
    assert done.returncode == 0, done.stderr
    return folder / "cell.tif", folder / "out", folder / "out" / ".cell.parts"


def marks(job):
    return sorted(path.name for path in (job / "done").iterdir())


def test_a_part_that_is_run_again_does_only_what_is_missing(packages, tmp_path):
    image, out, job = begun(packages, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in job.glob("done/*")}
    total = len(json.loads((job / "job.json").read_text())["regions"])
    assert 0 < len(before) < total
    again = predict(packages["plane"], image, out, "--tile", "28x28", "--part", "1/3")
    assert f"0 of {total} regions restored here, {len(before)} were done before" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in job.glob("done/*")} == before
    damaged = next(iter(json.loads(next(iter(before)).read_text())["files"]))
    whole = (job / damaged).read_bytes()
    (job / damaged).write_bytes(whole[:-9] + bytes(9))  # as long as before
    again = predict(packages["plane"], image, out, "--tile", "28x28", "--part", "1/3")
    assert f"1 of {total} regions restored here" in again.stdout
    assert (job / damaged).read_bytes() == whole
    (job / damaged).unlink()
    assert f"1 of {total} regions" in predict(packages["plane"], image, out, "--tile", "28x28", "--part", "1/3").stdout


def test_what_changed_between_parts_is_an_error(packages, tmp_path):
    image, out, job = begun(packages, tmp_path)
    for options, said in (
        (("--tile", "32x32"), "was begun with another --tile ([28, 28] then, [32, 32] now)"),
        (("--tile", "28x28", "--average", "2"), "another --average (1 then, 2 now)"),
        (("--tile", "28x28", "--dtype", "uint16"), "another --dtype"),
        (("--tile", "28x28", "--keep-hot-pixels"), "another --keep-hot-pixels"),
    ):
        result = predict(packages["plane"], image, out, *options, "--part", "2/3")
        assert result.returncode == 2
        assert said in result.stderr
    assert "another package" in predict(packages["percentiles"], image, out, "--tile", "28x28", "--part", "2/3").stderr
    write_image(image, image_of("YX", (90, 70)))
    result = predict(packages["plane"], image, out, "--tile", "28x28", "--part", "2/3")
    assert result.returncode == 2
    assert "another image, or it changed since" in result.stderr
    assert "remove this folder to begin again" in result.stderr
    assert len(marks(job)) > 0


def test_errors_name_the_remedy(packages, tmp_path):
    image, out, _ = begun(packages, tmp_path)
    for part in ("0/3", "4/3", "1", "x/y", "1/3/4"):
        result = predict(packages["plane"], image, out, "--part", part)
        assert result.returncode == 2
        assert "--part" in result.stderr
    tiff = zsd("predict", packages["plane"], image, "--out", out, "--part", "1/3", "--device", "cpu")
    assert tiff.returncode == 2
    assert "would be TIFF" in tiff.stderr
    assert "--format zarr" in tiff.stderr
    early = predict(packages["plane"], image, out, "--tile", "28x28", "--part", "finish")
    assert early.returncode == 2
    assert re.search(r"\d+ of \d+ regions of .* are missing", early.stderr)
    assert Part.parsed("2/5") == Part(2, 5)
    with pytest.raises(InputError):
        Part.parsed("last")


def test_processes_that_begin_at_once_share_one_job(packages, tmp_path):
    """Three begin it at the same time; the results are those of one process."""
    write_image(tmp_path / "cell.tif", image_of("YX", (90, 70)))
    predict(packages["plane"], tmp_path / "cell.tif", tmp_path / "one", "--tile", "28x28")
    command = [
        sys.executable, "-c", STARTED, str(packages["plane"]), str(tmp_path / "cell.tif"), "--out",
        str(tmp_path / "out"), "--tile", "28x28", "--format", "zarr", "--device", "cpu", "--engine", "onnxruntime",
        "--part",
    ]  # fmt: skip
    running = [subprocess.Popen([*command, f"{n}/3"], stdout=subprocess.PIPE, text=True) for n in (1, 2, 3)]
    said = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    if list((tmp_path / "out").glob(".*.parts")):  # the last two looked at the same time
        predict(packages["plane"], tmp_path / "cell.tif", tmp_path / "out", "--tile", "28x28", "--part", "finish")
    assert_same(tmp_path / "one", tmp_path / "out")


# A process of its own, with the small chunks of this module.
STARTED = f"""
import sys
from zsd_runtime.images import ome_zarr_shards, ome_zarr_write
ome_zarr_shards.CHUNK = ome_zarr_write.CHUNK = {SIZES!r}
ome_zarr_write.COARSEST = 32
from zsd import main
sys.argv[1:1] = ["predict"]
main()
"""


def test_a_killed_part_is_done_again(packages, tmp_path):
    write_image(tmp_path / "cell.tif", image_of("YX", (140, 140)))
    predict(packages["plane"], tmp_path / "cell.tif", tmp_path / "one", "--tile", "28x28")
    process = subprocess.Popen(
        [sys.executable, "-c", STARTED, str(packages["plane"]), str(tmp_path / "cell.tif"), "--out",
         str(tmp_path / "out"), "--tile", "28x28", "--format", "zarr", "--device", "cpu", "--engine", "onnxruntime",
         "--part", "1/8"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    done = tmp_path / "out" / ".cell.parts" / "done"
    while process.poll() is None and not (done.is_dir() and list(done.glob("*.json"))):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not list((tmp_path / "out").glob("*.zarr"))
    first = len(marks(done.parent))
    result = predict(packages["plane"], tmp_path / "cell.tif", tmp_path / "out", "--tile", "28x28", "--part", "1/1")
    assert f"{first} were done before" in result.stdout
    assert_same(tmp_path / "one", tmp_path / "out")


def test_a_finish_that_was_interrupted_goes_on(packages, tmp_path, monkeypatch):
    """In the coarser levels, and between the two results."""
    write_image(tmp_path / "cell.tif", image_of("YX", (90, 70)))
    one, out = tmp_path / "one", tmp_path / "out"
    predict(packages["plane"], tmp_path / "cell.tif", one, "--tile", "28x28")
    part = ("--tile", "28x28", "--part", "1/1")
    with monkeypatch.context() as broken:
        broken.setattr(run, "write_shard", fails_after(1, run.write_shard))
        assert predict(packages["plane"], tmp_path / "cell.tif", out, *part).returncode == 1
    assert not list(out.glob("*.zarr"))
    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", fails_after(1, Path.rename))
        assert predict(packages["plane"], tmp_path / "cell.tif", out, *part).returncode == 1
    assert len(list(out.glob("*.zarr"))) == 1
    assert "are whole" in predict(packages["plane"], tmp_path / "cell.tif", out, *part).stdout
    assert_same(one, out)


def fails_after(calls, function):
    left = [calls]

    def failing(*arguments, **named):
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("killed")
        return function(*arguments, **named)

    return failing


def test_a_full_disk_keeps_what_is_done(packages, tmp_path, monkeypatch):
    """The error says so, and the next run does the rest."""
    image, out, job = begun(packages, tmp_path)
    before, part = marks(job), ("--tile", "28x28", "--part", "1/1")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(run, "mark", full)
        result = predict(packages["plane"], image, out, *part)
    assert result.returncode == 2
    assert "No space left on device: free some disk" in result.stderr
    assert marks(job) == before
    again = predict(packages["plane"], image, out, *part)
    assert f"restored here, {len(before)} were done before; " in again.stdout
    assert "are whole" in again.stdout


def test_one_process_finishes(packages, tmp_path):
    """While another one does, nobody else; `finish` takes over from one that died elsewhere."""
    image, out, job = begun(packages, tmp_path)
    (job / "finishing").write_text("elsewhere 1")
    for part in ("2/3", "3/3"):
        result = predict(packages["plane"], image, out, "--tile", "28x28", "--part", part)
    assert "another process finishes the results" in result.stdout
    assert not list(out.glob("*.zarr"))
    result = predict(packages["plane"], image, out, "--tile", "28x28", "--part", "finish")
    assert "are whole" in result.stdout


def test_a_plan_is_what_parts_do(packages, tmp_path):
    """Tiles, regions and files of the plan are those of the job; nothing is written."""
    write_image(tmp_path / "cell.tif", image_of("ZYX", (9, 60, 40)))
    options = ("--tile", "12x24x24")
    said = zsd("plan", tmp_path / "cell.tif", packages["volume"], "--workers", 3, *options, "--device", "cpu").stdout
    predict(packages["volume"], tmp_path / "cell.tif", tmp_path / "out", *options, "--part", "1/3")
    job = tmp_path / "out" / ".cell.parts"
    regions = json.loads((job / "job.json").read_text())["regions"]
    total = len(regions)
    predict(packages["volume"], tmp_path / "cell.tif", tmp_path / "out", *options, "--part", "1/1")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and "/0/c/" in path.as_posix()]
    assert f"regions  {total}, of at most" in said
    assert f", {len(files)} files; then" in said
    assert re.search(r"OK [\d.e-]+ hours with 3 workers", said)
    assert "image    9x60x40, " in said


def test_a_plan_refuses_what_cannot_be(packages):
    for arguments, said in (
        (("2000x9000", packages["volume"]), "has 2 lengths; the model takes ZYX"),
        (("nothing.tif", packages["volume"]), "does not exist"),
        (("200x900x900", packages["volume"], "--memory", "0"), "must be a number of GB above 0"),
        (("200x900x900", packages["volume"], "--tile", "8x8x8"), "not larger than twice the halo"),
    ):
        result = zsd("plan", *arguments, "--device", "cpu")
        assert result.returncode == 2, arguments
        assert said in result.stderr
