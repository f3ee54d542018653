"""Frames one after the other: what is timed, and that nothing overlaps. The clock is a fake."""

import json
import threading

import numpy as np
import pytest

from tests.command import zsd
from zsd_runtime import load_model
from zsd_runtime.pace import LEAST, WARM_UP, pace_of


class Clock:
    """A time that passes only when it is told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class SlowModel:
    """A model whose n-th frame takes `seconds[n]` of a clock, the last one for ever after."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds = clock, seconds
        self.frames = self.results = 0

    def stream(self, images):
        for _ in images:
            assert self.frames == self.results  # no frame comes before the last one's results
            self.clock.now += self.seconds[min(self.frames, len(self.seconds) - 1)]
            self.frames += 1
            yield {}
            self.results += 1


@pytest.mark.parametrize(
    ("seconds", "frames", "timed"),
    [
        ([9, 0.5], 1 + 6, 6),  # the first one took longer than a whole measurement
        ([0.5], WARM_UP + 6, 6),
        ([20], 1 + LEAST, LEAST),  # bounded
    ],
)
def test_what_is_timed(seconds, frames, timed):
    model = SlowModel(clock := Clock(), seconds)
    pace = pace_of(model, np.zeros((4, 4)), seconds=3, timer=clock)
    assert (model.frames, pace.frames) == (frames, timed)
    assert pace.frames_per_s == pytest.approx(1 / seconds[-1])
    assert pace.median_ms == pace.p99_ms == pytest.approx(1e3 * seconds[-1])


def test_a_slow_frame_shows_in_the_tail_and_in_the_mean_but_not_in_the_median():
    model = SlowModel(clock := Clock(), [0.25] * (WARM_UP + 3) + [2.0, 0.25])
    pace = pace_of(model, None, seconds=4, timer=clock)
    assert pace.median_ms == 250
    assert pace.p99_ms > 1500
    assert pace.frames_per_s == pytest.approx(pace.frames / (2 + 0.25 * (pace.frames - 1)))


@pytest.mark.parametrize("failing", [False, True])
def test_no_thread_stays(untrained_package, failing):
    before = threading.enumerate()
    with load_model(untrained_package, "cpu", engine="onnxruntime") as model:
        run, calls = model.engine.run, []

        def counted(batch, outputs):
            calls.append(batch.shape)
            if failing and len(calls) == 3:
                raise RuntimeError("broken")
            run(batch, outputs)

        model.engine.run = counted
        image = np.full((64, 64), 200, np.uint16)
        if failing:
            with pytest.raises(RuntimeError, match="broken"):
                pace_of(model, image, seconds=1e-9)
        else:
            assert pace_of(model, image, seconds=1e-9).frames == LEAST
            assert len(calls) == 1 + LEAST
        for thread in set(threading.enumerate()) - set(before):  # where the engine failed, it was told to end just now
            thread.join(300)
            assert not thread.is_alive()


def test_the_command(untrained_package):
    arguments = ("bench", untrained_package, "--live", "--size", "64x64", "--engine", "onnxruntime", "--seconds", 0.01)
    result = zsd(*arguments, "--device", "cpu", "--precision", "fp32")
    assert result.returncode == 0, result.stderr
    header, row = result.stdout.splitlines()
    assert header.split() == ["engine", "device", "precision", "size", "median", "p99", "frames/s", "frames"]
    assert row.split()[:4] == ["onnxruntime", "cpu", "fp32", "64x64"]
    result = zsd(*arguments, "--device", "cpu", "--precision", "fp32", "--json")
    (row,) = json.loads(result.stdout)
    assert row["frames"] >= LEAST
    assert 0 < row["median_ms"] <= row["p99_ms"]
    assert row["frames_per_s"] > 0
    wrong = zsd("bench", untrained_package, "--seconds", 0)
    assert wrong.returncode == 2
    assert "--seconds 0 must be a number above 0" in wrong.stderr
