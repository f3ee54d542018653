"""An engine in a process of its own: whatever happens to it, this process goes on."""

import os
import shutil
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.live_fakes import CRASH, HANG, KILL, NO_MEMORY, Dangerous, agrees, cannot_open, plane
from zsd_runtime import InputError, load_model
from zsd_runtime.live import Live
from zsd_runtime.live import isolated as isolated_module
from zsd_runtime.live.isolated import Isolated
from zsd_runtime.live.restorers import open_models

PACKAGE = Path(__file__).parent / "fixtures" / "schema-1" / "plane.zip"


def is_right(outputs, value, shape=(4, 6)):
    assert list(outputs) == ["denoised", "deconvolved"]
    assert (outputs["denoised"] == np.full(shape, value + 0.5, np.float32)).all()
    assert (outputs["deconvolved"] == np.full([2 * n for n in shape], value, np.float32)).all()


def test_whatever_happens_to_the_engine_the_next_frame_is_restored():
    isolated = Isolated(Dangerous)
    try:
        pids = [isolated.pid]
        for number, (value, message, restarts) in enumerate(
            [
                (CRASH, "it is cursed", 0),  # raised there: the process lives on
                (NO_MEMORY, "MemoryError", 0),
                (KILL, f"killed by signal {signal.SIGKILL.value}", 1),
                (HANG, "no answer for 0.5 s", 2),
            ]
        ):
            isolated._timeout_s = 0.5 if value == HANG else 600
            with pytest.raises(RuntimeError, match=message):
                isolated.restore(plane(value), "")
            isolated._timeout_s = 600
            is_right(isolated.restore(plane(number), ""), number)
            assert isolated.status()["restarts"] == restarts
            assert isolated.status()["engine"] == f"dangerous {isolated.pid}"
            pids.append(isolated.pid)
        assert len(set(pids)) == 3
        is_right(isolated.restore(plane(5, (16, 12)), ""), 5, (16, 12))  # another shape, and more room
        is_right(isolated.restore(plane(6), ""), 6)
        assert os.getpid() not in pids
    finally:
        block = isolated._block.name
        isolated.close()
        isolated.close()
    assert isolated.pid is None
    assert not (Path("/dev/shm") / block).exists()


def test_a_process_that_dies_again_and_again_is_given_up():
    isolated = Isolated(Dangerous, most_restarts=1)
    with Live(isolated) as live:
        for value in (KILL, KILL, 1, 2):
            live.put(plane(value), index={"t": value})
            while live.status()["waiting"]:
                pass
    status = live.status()
    isolated.close()
    assert agrees(status)
    assert (status["done"], status["failed"], status["restarts"]) == (0, 4, 1)
    assert "failed 2 times" in status["error"]


def test_a_model_that_cannot_be_opened_is_told_at_once():
    with pytest.raises(RuntimeError, match="there is no model"):
        Isolated(cannot_open)
    with pytest.raises(InputError, match="does not exist"):
        Isolated(partial(open_models, Path("nowhere.zip")))


def test_too_little_shared_memory_is_an_error_not_the_end(monkeypatch):
    isolated = Isolated(Dangerous)
    try:
        monkeypatch.setattr(isolated_module, "SHARED_MEMORY", Path("/"))
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 100))
        with pytest.raises(InputError, match="shared memory"):
            isolated.restore(plane(1), "")
        monkeypatch.undo()
        is_right(isolated.restore(plane(1), ""), 1)
    finally:
        isolated.close()


def test_results_are_those_of_this_process():
    image = np.random.default_rng(1).poisson(30, (40, 48)).astype(np.uint16) + 100
    expected = load_model(PACKAGE, engine="onnxruntime").predict(image)
    isolated = Isolated(partial(open_models, {"GFP": PACKAGE}, engine="onnxruntime"), ("GFP",))
    with Live(isolated) as live:
        live.warm_up(image.shape, ["GFP", "RFP"])
        live.put(image, "GFP")
        live.put(image, "RFP")
    isolated.close()
    assert live.status()["unassigned"] == 1
    assert live.status()["engine"] == "onnxruntime, cpu, fp32"
    shown = [s for s in (live.latest(), live.latest(live.latest().number)) if s and s.outputs]
    for name, values in shown[0].outputs.items():
        assert (values == expected[name]).all()
