"""Each finished image of a folder once: grown, truncated, replaced, killed and started again. Looks are counted."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.command import zsd
from tests.test_restore import QUICK
from zsd_runtime import InputError
from zsd_runtime.images import open_image, read_image
from zsd_runtime.summary import Restored
from zsd_runtime.watch.marks import Marks, alone
from zsd_runtime.watch.ready import FOLDER_LOOKS, images_there
from zsd_runtime.watch.run import Tally, follow, looks_of
from zsd_runtime.watch.watch import FIRST_RETRY, Watch

LOOKS = 3


def image(value=100, shape=(20, 24)):
    return np.full(shape, value, np.uint16)


class Bench:
    """A watched folder, and what was restored of it: names, shapes and means."""

    def __init__(self, path, **options):
        self.folder, self.out = path / "camera", path / "out"
        self.folder.mkdir(exist_ok=True)
        self.restored, self.errors, self.failing = [], [], {}
        self.options = options
        self.start()

    def start(self, model="a", **options):
        """A new process, as far as the watch knows."""
        self.watch = Watch(self.folder, self._restore, Marks(self.out, model), LOOKS, **self.options, **options)

    def _restore(self, path):
        if error := self.failing.get(path.name):
            raise error
        data = read_image(path).data
        self.restored.append((path.name, data.shape, float(data.mean())))
        return Restored(path, (Path(f"{path.stem}_denoised.tif"),))

    def look(self, times=1):
        for _ in range(times):
            self.errors += [outcome.error for outcome in self.watch.look() if outcome.error]

    def write(self, name, value=100, shape=(20, 24), second=0, **options):
        tifffile.imwrite(self.folder / name, image(value, shape), **{"metadata": None, **options})
        os.utime(self.folder / name, (second, second))

    @property
    def names(self):
        return [name for name, *_ in self.restored]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_an_image_that_does_not_change_is_restored_once_at_the_last_look(bench):
    bench.write("cell.tif")
    bench.look(LOOKS)
    assert bench.names == []
    bench.look()
    assert bench.restored == [("cell.tif", (20, 24), 100)]
    bench.look(50)
    assert bench.names == ["cell.tif"]


def test_a_stack_that_grows_page_by_page_is_not_taken_for_a_shorter_one(bench):
    """Every state of it is a valid TIFF. Without a change of size or time, the planes still tell."""
    path = bench.folder / "stack.tif"
    for page in range(1, 8):
        tifffile.imwrite(path, image(page), append=True, photometric="minisblack", metadata=None)
        os.utime(path, (page, page))
        assert open_image(path).data.size == page * 20 * 24
        bench.look(LOOKS)
    assert bench.names == []
    bench.look()
    assert bench.names == ["stack.tif"]
    assert bench.restored[0][2] == 4  # the mean of all pages


def test_a_share_that_tells_an_old_size_is_found_out_by_the_planes(bench, monkeypatch):
    shapes = iter([(1, 20, 24), (2, 20, 24), (3, 20, 24), (3, 20, 24)])
    bench.write("cell.tif")
    monkeypatch.setattr(bench.watch._readiness, "_shape_of", lambda name: next(shapes))
    bench.look(LOOKS + 2)
    assert bench.names == []
    bench.look()
    assert bench.names == ["cell.tif"]


def test_an_image_that_is_written_slowly(bench, tmp_path):
    tifffile.imwrite(tmp_path / "whole.tif", image())
    content = (tmp_path / "whole.tif").read_bytes()
    path = bench.folder / "slow.tif"
    for part in range(0, len(content), 200):
        with path.open("ab") as file:
            file.write(content[part : part + 200])
        os.utime(path, (part, part))
        bench.look(LOOKS)
    assert (bench.names, bench.errors) == ([], [])
    bench.look()
    assert bench.names == ["slow.tif"]


def test_a_truncated_file_is_reported_once_and_restored_when_it_is_whole(bench, tmp_path):
    tifffile.imwrite(tmp_path / "whole.tif", image())
    content = (tmp_path / "whole.tif").read_bytes()
    (bench.folder / "cell.tif").write_bytes(content[:-100])
    bench.look(4 * FIRST_RETRY)
    assert len(bench.errors) == 1
    assert "cell.tif is cut off" in bench.errors[0]
    (bench.folder / "cell.tif").write_bytes(content)
    bench.look(LOOKS + 1)
    assert (bench.names, len(bench.errors)) == (["cell.tif"], 1)


def test_a_file_that_arrives_by_renaming_and_others_that_are_no_images(bench):
    bench.write(".cell.tif.part", second=1)
    for name in (".hidden.tif", "notes.txt", "cell.tif.tmp"):
        (bench.folder / name).write_bytes(b"anything")
    (bench.folder / "sub").mkdir()
    bench.look(2 * LOOKS)
    (bench.folder / ".cell.tif.part").rename(bench.folder / "cell.tif")
    bench.look(LOOKS + 1)
    assert (bench.names, bench.errors) == (["cell.tif"], [])


def test_the_order_is_that_of_the_recording_and_then_of_the_names(bench):
    for name, second in (("b.tif", 1), ("a.tif", 3), ("c.tif", 2), ("d.tif", 2)):
        bench.write(name, second=second)
    bench.look(LOOKS + 1)
    assert bench.names == ["b.tif", "c.tif", "d.tif", "a.tif"]


def test_what_is_done_stays_done_after_a_restart_unless_it_changes_or_the_model_does(bench):
    for name in ("a.tif", "b.tif"):
        bench.write(name)
    bench.look(LOOKS + 1)
    bench.start()
    bench.write("c.tif")
    bench.look(3 * LOOKS)
    assert bench.names == ["a.tif", "b.tif", "c.tif"]
    bench.write("b.tif", value=7, second=9)  # the same size
    bench.look(3 * LOOKS)
    assert bench.names[3:] == ["b.tif"]
    bench.start(model="another")
    bench.look(3 * LOOKS)
    assert sorted(bench.names[4:]) == ["a.tif", "b.tif", "c.tif"]


def test_a_mark_is_whole_or_absent(bench):
    """A kill between the result and the mark restores the image again; a mark that is damaged does not count."""
    bench.write("a.tif")
    bench.look(LOOKS + 1)
    mark = bench.out / "a.tif.json"
    assert json.loads(mark.read_text())["results"] == ["a_denoised.tif"]
    for content in ("", "{", "[]", '{"image": "a.tif", "model": "a", "state": {"size": 1}}'):
        mark.write_text(content)
        bench.start()
        bench.look(LOOKS + 1)
    assert bench.names == 5 * ["a.tif"]
    assert not list(bench.out.glob(".*"))


def test_a_failure_is_no_mark_and_is_tried_again(bench):
    """Such as a full disk: the image does not change. The same error is said once."""
    bench.write("a.tif")
    bench.write("b.tif")
    for failure in (
        InputError("cannot write out", "free some disk"),
        RuntimeError("boom"),
        KeyError("bug"),
        MemoryError(),
    ):
        bench.failing["a.tif"] = failure
        bench.start()
        bench.look(8 * FIRST_RETRY)
    assert bench.names == ["b.tif"]
    assert [error.partition(":")[0] for error in bench.errors] == 4 * ["a.tif"]
    bench.failing.clear()
    bench.look(16 * FIRST_RETRY)
    assert bench.names == ["b.tif", "a.tif"]
    assert not (bench.out / "b_denoised.tif.json").exists()


def test_an_image_that_changes_while_it_is_restored_is_not_done(bench):
    bench.write("a.tif")
    bench.write("b.tif")
    restore, changes = bench.watch._restore, iter(["a.tif", "b.tif"])

    def slow(path):
        outcome = restore(path)
        if name := next(changes, None):  # first the one that is restored, then one that waits for its turn
            bench.write(name, value=55, second=5)
        return outcome

    bench.watch._restore = slow
    bench.look(LOOKS + 1)
    assert "a.tif changed while it was restored" in bench.errors[0]
    bench.look(3 * LOOKS)
    done = {name: mean for name, _, mean in bench.restored}
    assert done == {"a.tif": 55, "b.tif": 55}
    assert {name for name, *_ in bench.watch._marks._done.items()} == {"a.tif", "b.tif"}


def test_a_later_image_waits_for_its_own_end_while_others_are_restored(bench):
    """It was finished at the look, and grew while the first one was restored."""
    bench.write("a.tif")
    bench.write("b.tif")
    restore = bench.watch._restore

    def slow(path):
        if path.name == "a.tif":
            tifffile.imwrite(bench.folder / "b.tif", image(9), append=True, metadata=None)
        return restore(path)

    bench.watch._restore = slow
    bench.look(LOOKS + 1)
    assert bench.names == ["a.tif"]
    bench.look(LOOKS + 1)
    assert bench.restored[1:] == [("b.tif", (2, 20, 24), 54.5)]


def test_files_of_one_image_are_restored_once(bench):
    """An OME-TIFF in two files; the second part comes late."""
    xml = """<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0"
        DimensionOrder="XYZTC" Type="uint16" SizeX="24" SizeY="20" SizeZ="2" SizeC="1" SizeT="1">
        <Channel ID="Channel:0"/>
        <TiffData FirstZ="0" IFD="0"><UUID FileName="z0.ome.tif">urn:uuid:0</UUID></TiffData>
        <TiffData FirstZ="1" IFD="0"><UUID FileName="z1.ome.tif">urn:uuid:1</UUID></TiffData></Pixels></Image></OME>"""
    bench.write("z1.ome.tif", value=3, description=xml)
    bench.look(LOOKS + 1)
    assert "z0.ome.tif is missing" in bench.errors[0]
    bench.write("z0.ome.tif", value=1, description=xml)
    bench.look(4 * FIRST_RETRY)
    assert bench.restored == [("z0.ome.tif", (2, 20, 24), 2)]
    assert len(bench.errors) == 1


def test_two_images_whose_results_would_have_one_name(bench):
    bench.write("a.tif", second=1)
    bench.write("a.tiff", second=2)
    bench.look(3 * FIRST_RETRY)
    assert bench.names == ["a.tif"]
    assert bench.errors == ["a.tif and a.tiff would both become a_…: rename one of them"]
    (bench.folder / "a.tiff").rename(bench.folder / "b.tiff")
    bench.look(LOOKS + 1)
    assert bench.names == ["a.tif", "b.tiff"]


def test_a_zarr_folder_waits_longer_and_for_its_last_chunk(bench):
    import zarr

    array = zarr.create_array(
        bench.folder / "movie.zarr",
        shape=(3, 20, 24),
        chunks=(1, 20, 24),
        dtype="uint16",
        dimension_names=["t", "y", "x"],
    )
    for frame in range(3):
        array[frame] = 1 + frame
        bench.look(FOLDER_LOOKS * LOOKS - 1)
    assert bench.names == []
    bench.look(2)
    assert bench.restored == [("movie.zarr", (3, 20, 24), 2)]


def test_once_takes_what_is_there_and_ends_when_it_is_finished(bench):
    bench.start(once=True)
    bench.write("a.tif")
    bench.write("bad.tif")
    (bench.folder / "bad.tif").write_bytes(b"II*\0")
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 1:
            bench.write("later.tif")
        if len(slept) < 4:
            tifffile.imwrite(bench.folder / "a.tif", image(9), append=True, metadata=None)

    tally = Tally(quiet=True)
    follow(bench.watch, 0.5, tally, sleep=sleep, once=True)
    assert bench.names == ["a.tif"]
    assert bench.restored[0][1] == (4, 20, 24)
    assert (tally.restored, tally.failed) == (1, 1)
    assert set(slept) == {0.5}
    assert len(slept) == 3 + LOOKS


def test_an_empty_folder_once(bench):
    bench.start(once=True)
    follow(bench.watch, 1, Tally(quiet=True), sleep=None, once=True)


def test_a_folder_that_is_away_is_waited_for(bench, capsys):
    bench.write("a.tif")
    away = bench.folder.with_name("away")
    moves = [lambda: bench.folder.rename(away), lambda: None, lambda: None, lambda: away.rename(bench.folder)]

    def sleep(_):
        if moves:
            moves.pop(0)()
        elif bench.names:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(bench.watch, 1, Tally(), sleep=sleep)
    assert bench.names == ["a.tif"]
    assert capsys.readouterr().err.count("cannot be read") == 1
    bench.folder.rename(away)
    with pytest.raises(InputError, match="cannot be read"):
        follow(bench.watch, 1, Tally(quiet=True), once=True)


def test_a_failure_that_was_mended_does_not_count(bench):
    tally = Tally(quiet=True)
    tally(Restored(bench.folder / "a.tif", error="bad"))
    assert (tally.restored, tally.failed) == (0, 1)
    tally(Restored(bench.folder / "a.tif"))
    assert (tally.restored, tally.failed) == (1, 0)


def test_two_watches_do_not_write_to_one_folder(tmp_path):
    with alone(tmp_path / "out"):
        with pytest.raises(InputError, match="another zsd watch"), alone(tmp_path / "out"):
            pass
        with alone(tmp_path / "other"):
            pass
    for left in (f".a.tif.{os.getpid()}.tmp", ".a.tif.1.tmp"):  # of the one before, and of somebody else
        (tmp_path / "out" / left).touch()
    with alone(tmp_path / "out"):
        assert [path.name for path in (tmp_path / "out").glob(".*.tmp")] == [".a.tif.1.tmp"]


def test_a_long_history_of_writers_kills_and_restarts(tmp_path):
    """A thousand looks at random writers: no image early, twice or never, and in the order of their ends."""
    rng = np.random.default_rng(0)
    bench = Bench(tmp_path)
    writing, ends, pages, last = {}, [], {}, {}
    for second in range(1, 1001):
        if rng.random() < 0.15 and len(pages) < 60:
            name = f"{len(pages):02}.tif"
            writing[name], pages[name] = int(rng.integers(1, 6)), 0
        for name in list(writing):
            if rng.random() < 0.6 or (pages[name] and second - last[name] >= LOOKS):  # no longer a pause than allowed
                tifffile.imwrite(bench.folder / name, image(pages[name] + 1), append=True, metadata=None)
                os.utime(bench.folder / name, (second, second))
                pages[name] += 1
                last[name] = second
                if pages[name] == writing[name]:
                    del writing[name]
                    ends.append(name)
        if rng.random() < 0.02:
            bench.start()  # killed; what it knew is gone
        bench.look()
    assert len(ends) == 60
    assert sorted(bench.names) == sorted(ends)
    for name, shape, mean in bench.restored:
        assert int(np.prod(shape)) == 20 * 24 * pages[name]
        assert mean == (pages[name] + 1) / 2
    assert bench.errors == []


@pytest.mark.parametrize(("settle", "poll", "looks"), [(3, 1, 3), (3, 2, 2), (0.1, 1, 2), (10, 0.5, 20), (3, 0.7, 5)])
def test_the_number_of_looks(settle, poll, looks):
    assert looks_of(settle, poll) == looks


def test_oldest_first_and_gone_files_are_no_images(bench):
    bench.write("b.tif", second=2)
    bench.write("a.tif", second=5)
    (bench.folder / "gone.tif").symlink_to(bench.folder / "nothing")
    assert list(images_there(bench.folder)) == ["b.tif", "a.tif"]


@pytest.fixture(scope="module")
def package(untrained_package):
    return untrained_package


def noisy(path, seed=0, shape=(40, 48)):
    path.parent.mkdir(exist_ok=True)
    counts = np.random.default_rng(seed).poisson(30, shape) + 100
    tifffile.imwrite(path, counts.astype(np.uint16))


QUICKLY = ("--poll", 0.01, "--settle", 0.02)


def test_the_command_once_and_again(package, tmp_path):
    folder, out = tmp_path / "camera", tmp_path / "camera" / "restored"
    for seed in range(2):
        noisy(folder / f"{seed}.tif", seed)
    (folder / "bad.tif").write_bytes(b"II*\0nothing")
    result = zsd("watch", package, folder, "--out", out, "--once", *QUICKLY)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == f"error: 1 image failed; 2 images restored in {out}"
    assert "restored 0.tif: 0_denoised.tif, 0_deconvolved.tif" in result.stderr
    assert sum("bad.tif" in line for line in result.stderr.splitlines()) == 1
    written = {path: path.stat().st_mtime_ns for path in out.glob("*.tif")}
    assert len(written) == 4
    zsd("predict", package, folder / "1.tif", "--out", tmp_path)
    np.testing.assert_array_equal(
        tifffile.imread(out / "1_deconvolved.tif"), tifffile.imread(tmp_path / "1_deconvolved.tif")
    )
    (folder / "bad.tif").unlink()
    noisy(folder / "2.tif", 2)
    result = zsd("watch", package, folder, "--out", out, "--once", "--quiet", *QUICKLY)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"OK 1 image restored in {out}\n", "")
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())


WRONG = {
    "no folder": (("{package}", "none"), "none does not exist: give the folder that the microscope writes to"),
    "a file": (("{package}", "file"), "file is a file"),
    "no package": (("none.zip", "camera"), "none.zip does not exist"),
    "not a package": (("file", "camera"), "error: "),
    "out is the folder": (("{package}", "camera", "--out", "camera"), "is the folder that is watched"),
    "out is a file": (("{package}", "camera", "--out", "file"), "--out file is a file"),
    "no time": (("{package}", "camera", "--poll", "0"), "--poll 0 must be a number of seconds above 0"),
    "no number": (("{package}", "camera", "--settle", "nan"), "--settle nan must be"),
    "a PSF for nothing": (("{package}", "camera", "--psf-sigma", "1"), "No such option"),
    "no PSF": (("new.zip", "camera", "--train-first"), "--train-first needs a PSF"),
    "a PSF that is not there": (("new.zip", "camera", "--train-first", "--psf", "GFP=x.tif"), "x.tif does not exist"),
    "not a zip": (("new", "camera", "--train-first", "--psf-sigma", "1"), "give the name of a new zip"),
    "a type": (("{package}", "camera", "--dtype", "int8"), "--dtype int8 must be float32 or uint16"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line(case, package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    noisy(tmp_path / "camera" / "a.tif")
    arguments, message = WRONG[case]
    out = () if "--out" in arguments else ("--out", "out")
    result = zsd("watch", "--once", *QUICKLY, *out, *(part.format(package=package) for part in arguments))
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_training_on_the_first_image(tmp_path):
    """The first one cannot be trained on, the second can; a restart does not train again."""
    folder, out, model = tmp_path / "camera", tmp_path / "out", tmp_path / "model.zip"
    noisy(folder / "1 small.tif", shape=(5, 5))
    for seed in (2, 3):
        noisy(folder / f"{seed}.tif", seed, (72, 80))
    for number, name in enumerate(["1 small.tif", "2.tif", "3.tif"]):
        os.utime(folder / name, (number, number))
    (tmp_path / "quick.toml").write_text(QUICK)
    command = (
        "watch", model, folder, "--out", out, "--once", "--train-first", "--psf-sigma", 1.2, "--steps", 3, "--config",
        tmp_path / "quick.toml", *QUICKLY,
    )  # fmt: skip
    first = zsd(*command)
    assert (out / "2_deconvolved.tif").exists(), first.stderr
    assert (out / "3_denoised.tif").exists()
    trained = model.read_bytes()
    assert first.stderr.count("1 small.tif") >= 1
    noisy(folder / "4.tif", 4, (72, 80))
    second = zsd(*command)
    assert "restored 4.tif" in second.stderr
    assert "restored 3.tif" not in second.stderr
    assert model.read_bytes() == trained


WITHOUT = """
import importlib.abc, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'lightning_fabric', 'onnx', 'scipy', 'skimage', 'psfmodels', 'safetensors'):
            raise ModuleNotFoundError(f'{name} is blocked', name=name)
sys.meta_path.insert(0, Block())
import zsd
zsd.main()
"""


def test_a_watch_without_a_training_needs_no_torch(package, tmp_path):
    noisy(tmp_path / "camera" / "0.tif")
    command = ["watch", package, tmp_path / "camera", "--out", tmp_path / "out", "--once", *QUICKLY]
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT, *map(str, command)], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (0, f"OK 1 image restored in {tmp_path / 'out'}\n"), result.stderr
    command = ["watch", tmp_path / "new.zip", *command[2:], "--train-first", "--psf-sigma", 1]
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT, *map(str, command)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "pip install 'zsd[export]'" in result.stderr


def started(package, folder, out, *options):
    program = [
        sys.executable,
        "-c",
        "import zsd; zsd.main()",
        "watch",
        package,
        folder,
        "--out",
        out,
        *QUICKLY,
        *options,
    ]
    return subprocess.Popen([str(part) for part in program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(*paths, process):
    while not all(path.exists() for path in paths):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def test_kill_and_ctrl_c(package, tmp_path):
    """Killed after the second image, whatever it was doing; what was marked is not restored again."""
    folder, out = tmp_path / "camera", tmp_path / "out"
    for seed in range(6):
        noisy(folder / f"{seed}.tif", seed)
        os.utime(folder / f"{seed}.tif", (seed, seed))
    killed = started(package, folder, out, "--engine", "onnxruntime")
    wait_for(out / ".zsd-watch" / "1.tif.json", process=killed)
    killed.kill()
    killed.communicate()
    marked = [path.name.partition(".")[0] for path in (out / ".zsd-watch").glob("*.json")]
    before = {n: (out / f"{n}_denoised.tif").stat().st_mtime_ns for n in marked}
    stopped = started(package, folder, out, "--engine", "onnxruntime")
    wait_for(*(out / ".zsd-watch" / f"{seed}.tif.json" for seed in range(6)), process=stopped)
    stopped.send_signal(signal.SIGINT)
    output, errors = stopped.communicate()
    assert stopped.returncode == 0, errors
    assert output == f"OK {6 - len(marked)} image{'s' * (len(marked) < 5)} restored in {out}\n"
    assert {n: (out / f"{n}_denoised.tif").stat().st_mtime_ns for n in marked} == before
    for seed in range(6):
        assert tifffile.imread(out / f"{seed}_deconvolved.tif").shape == (80, 96)
    assert not list(out.rglob("*.tmp"))  # not even what the killed one left
