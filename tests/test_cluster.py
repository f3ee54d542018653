"""`zsd predict --cluster`: workers of dask share an image; killed ones, and killed clients, cost only their regions."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.command import zsd
from tests.small_disk import small_disk
from tests.test_parts import assert_same
from zsd_runtime import InputError, cluster, workers
from zsd_runtime.images import Image, Voxel, write_image

distributed = pytest.importorskip("distributed")
FRAMES = 24
NOWHERE = Path("/nowhere/cell.tif")


@pytest.fixture(scope="module")
def scheduler():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0, silence_logs=50
    ) as made:
        yield made.scheduler_address


@pytest.fixture(scope="module")
def images(untrained_package, tmp_path_factory):
    """A movie, and what one process makes of it."""
    folder = tmp_path_factory.mktemp("cluster")
    movie = np.random.default_rng(2).poisson(120, (FRAMES, 300, 40)).astype(np.uint16)
    write_image(folder / "cell.zarr", Image(movie, "TYX", Voxel.square(0.1)))
    assert predict(untrained_package, folder / "cell.zarr", folder / "one").returncode == 0
    return folder / "cell.zarr", folder / "one"


def predict(package, image, out, *options):
    return zsd("predict", package, image, "--out", out, "--device", "cpu", "--engine", "onnxruntime", *options)


def marks(out):
    return len(list((out / ".cell.parts" / "done").glob("*.json")))


def when_begun(out, do):
    """In another thread, as soon as a region is done."""

    def wait():
        while not marks(out):
            time.sleep(0.001)
        found.append(marks(out))
        do()

    found: list[int] = []
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return found, thread


def test_workers_make_what_one_process_makes(scheduler, untrained_package, images, tmp_path):
    image, one = images
    result = predict(untrained_package, image, tmp_path, "--cluster", scheduler)
    assert result.returncode == 0, result.stderr
    assert re.search(r"OK \d+ of \d+ regions restored by 2 workers, 0 were done before; .* are whole", result.stdout)
    assert_same(one, tmp_path)
    assert "whole already" in predict(untrained_package, image, tmp_path, "--cluster", scheduler).stdout


def test_a_killed_worker_costs_only_its_region(scheduler, untrained_package, images, tmp_path):
    image, one = images
    with distributed.Client(scheduler) as client:
        victim = next(iter(client.run(os.getpid).values()))
    found, thread = when_begun(tmp_path, lambda: os.kill(victim, signal.SIGKILL))
    result = predict(untrained_package, image, tmp_path, "--cluster", scheduler)
    thread.join()
    assert result.returncode == 0, result.stderr
    total = int(re.search(r"of (\d+) regions", result.stdout)[1])
    assert found[0] < total
    assert_same(one, tmp_path)


def test_a_killed_client_is_resumed(scheduler, untrained_package, images, tmp_path):
    image, one = images
    process = subprocess.Popen(
        [sys.executable, "-c", "from zsd import main; main()", "predict", untrained_package, image, "--out", tmp_path,
         "--device", "cpu", "--engine", "onnxruntime", "--cluster", scheduler],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    _, thread = when_begun(tmp_path, lambda: os.kill(process.pid, signal.SIGKILL))
    thread.join(60)
    process.communicate()
    assert not list(tmp_path.glob("*.zarr"))
    result = predict(untrained_package, image, tmp_path, "--cluster", scheduler)
    assert result.returncode == 0, result.stderr
    restored, total, before = map(int, re.search(r"(\d+) of (\d+) .*, (\d+) were done", result.stdout).groups())
    assert before > 0
    assert restored + before == total
    assert_same(one, tmp_path)


def test_a_full_disk_costs_only_what_did_not_fit(scheduler, untrained_package, images, tmp_path):
    """The error says so; once there is room, only the missing regions are restored."""
    image, one = images
    with small_disk(tmp_path / "disk", "3m") as disk:
        out = disk.path / "out"
        full = predict(untrained_package, image, out, "--cluster", scheduler)
        assert full.returncode == 2
        assert "No space left on device: free some disk" in full.stderr
        assert not list(out.glob("*.zarr"))
        done = marks(out)
        disk.remount("size=60m")
        result = predict(untrained_package, image, out, "--cluster", scheduler)
        assert result.returncode == 0, result.stderr
        restored, total, before = map(int, re.search(r"(\d+) of (\d+) .*, (\d+) were done", result.stdout).groups())
        assert 0 < done <= before < total  # the other worker may have finished its region after the error
        assert restored == total - before
        assert_same(one, out)


def test_a_changed_source_is_an_error(scheduler, untrained_package, images, tmp_path):
    copied = shutil.copytree(images[0], tmp_path / "cell.zarr")
    assert predict(untrained_package, copied, tmp_path, "--part", "1/24").returncode == 0
    os.utime(next(path for path in (copied / "0" / "c").rglob("*") if path.is_file()), (1, 1))
    result = predict(untrained_package, copied, tmp_path, "--cluster", scheduler)
    assert result.returncode == 2
    assert "another image, or it changed since" in result.stderr
    assert marks(tmp_path) == 1


def test_errors_name_the_remedy(scheduler, untrained_package, images, tmp_path, monkeypatch):
    image, _ = images
    monkeypatch.setattr(cluster, "ANSWER_S", 0.5)
    for options, said in (
        (("--cluster", "tcp://127.0.0.1:9"), "no dask scheduler answers at --cluster tcp://127.0.0.1:9"),
        (("--cluster", "nowhere"), "no dask scheduler answers at --cluster nowhere"),
        (("--cluster", "local:0"), "must be local:N"),
        (("--cluster", scheduler, "--part", "1/2"), "give one of them"),
        (("--cluster", scheduler, "--format", "tiff"), "would be TIFF"),
    ):
        result = predict(untrained_package, image, tmp_path, *options)
        assert result.returncode == 2, options
        assert said in result.stderr
    with distributed.Client(scheduler) as client:
        with pytest.raises(InputError, match=r"worker tcp.* does not see /nowhere/cell.tif"):
            workers.check_workers(client, [image, NOWHERE], tmp_path)
        with pytest.raises(InputError, match=r"cannot write to /nowhere .*No such file"):
            workers.check_workers(client, [image], NOWHERE.parent)
        monkeypatch.setattr(workers, "version", lambda name: "9.9")
        with pytest.raises(InputError, match=r"has zsd .*, this machine 9.9: install the same"):
            workers.check_workers(client, [image], tmp_path)


def test_the_extra_is_named(monkeypatch, untrained_package, images, tmp_path):
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = predict(untrained_package, images[0], tmp_path, "--cluster", "local:2")
    assert result.returncode == 2
    assert "pip install 'zsd[cluster]'" in result.stderr
