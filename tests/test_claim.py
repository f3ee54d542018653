"""One training at a time writes into a run folder; what a killed one held is free."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_train import PSF, image, tiny
from zsd_runtime import InputError
from zsd_train import train
from zsd_train.claim import LOCK, claimed

# Says whether it holds the folder, when it is asked to begin, and ends when it is asked to.
HOLDS = """
import sys
from pathlib import Path
from zsd_runtime.errors import InputError
from zsd_train.claim import claimed
print("ready", flush=True)
sys.stdin.readline()
try:
    with claimed(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.readline()
except InputError as error:
    print(error, flush=True)
"""


@pytest.fixture
def start():
    """Starts processes that hold a folder when they get a line, and end when they get another."""
    processes = []

    def started(folder):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDS, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        )  # fmt: skip
        processes.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield started
    for process in processes:
        process.kill()
        process.communicate()


def ask(*processes):
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    return [process.stdout.readline() for process in processes]


def killed(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("stale", [False, True])
def test_of_several_processes_that_begin_at_once_one_does(start, tmp_path, stale):
    """Also where a process died before them."""
    if stale:
        ask(dead := start(tmp_path))
        killed(dead)
    said = ask(*[start(tmp_path) for _ in range(4)])
    assert sorted(text == "held\n" for text in said) == [False, False, False, True]
    assert all(text == "held\n" or str(tmp_path) in text for text in said)
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_a_training_waits_for_no_other(start, tmp_path):
    """It refuses a folder that another process trains into, whether it is new or resumed, and takes that of a dead."""
    run = tmp_path / "run"
    ask(other := start(run))
    message = f"a training writes into {run} already: choose another `out`, give `devices` .*stop that training"
    with pytest.raises(InputError, match=message):
        train([image()], PSF, tiny(steps=2), run)
    assert [path.name for path in run.iterdir()] == [LOCK]
    killed(other)
    assert train([image()], PSF, tiny(steps=2), run).measured.steps == 2
    ask(other := start(run))
    before = (run / "config.toml").read_text()
    with pytest.raises(InputError, match=message):
        train([image()], PSF, tiny(steps=4), run, resume=True)
    assert (run / "config.toml").read_text() == before
    killed(other)
    assert train([image()], PSF, tiny(steps=4), run, resume=True).measured.steps == 4


def test_a_training_that_ended_meanwhile_is_not_written_over(tmp_path, monkeypatch):
    """Another one began and ended after this one had looked."""
    run = tmp_path / "run"

    def late(folder):
        monkeypatch.undo()
        train([image()], PSF, tiny(steps=2), run)
        return claimed(folder)

    monkeypatch.setattr("zsd_train.training.claimed", late)
    with pytest.raises(InputError, match="already holds a run"):
        train([image()], PSF, tiny(steps=3), run)
    assert "steps = 2" in (run / "config.toml").read_text()


def test_a_process_has_a_folder_once(tmp_path):
    with claimed(tmp_path), pytest.raises(InputError), claimed(tmp_path):
        pass
    with claimed(tmp_path):
        pass
