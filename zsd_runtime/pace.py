"""How fast a model restores frames that come one after the other, as from a camera."""

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np

from zsd_runtime.model import Model

SECONDS = 3.0  # of timed frames
WARM_UP = 3  # frames; the first one prepares the engine and its buffers
LEAST = 3  # frames that are timed, however long they take


@dataclass(frozen=True)
class Pace:
    """Frames that a model restored one by one.

    Attributes
    ----------
    frames : int
        That were timed.
    frames_per_s : float
        Over all of them.
    median_ms, p99_ms : float
        Latency: from a frame in memory to its results in memory, ms.
    """

    frames: int
    frames_per_s: float
    median_ms: float
    p99_ms: float


def pace_of(
    model: Model, image: Any, seconds: float = SECONDS, *, timer: Callable[[], float] = time.perf_counter
) -> Pace:
    """Restore an image again and again, through `Model.stream`, as frames of a camera that waits for each result.

    The next frame comes when the results of the last one are there, so nothing overlaps. Warm-up and measurement each
    end after `seconds`, the measurement after three frames at the earliest.

    Parameters
    ----------
    model : Model
    image : ndarray
        As for `Model.stream`.
    seconds : float
    timer : callable
        Gives the time, s.
    """
    wanted = SimpleQueue[bool]()
    came = 0.0

    def camera() -> Generator[Any, None, None]:
        nonlocal came
        while wanted.get():
            came = timer()
            yield image

    def latencies() -> Generator[float, None, None]:
        with closing(model.stream(camera())) as results:
            wanted.put(True)
            try:
                for _ in results:
                    yield timer() - came
                    wanted.put(True)
            finally:
                wanted.put(False)  # the camera runs in another thread, which would wait for ever

    with closing(latencies()) as arriving:
        spent = 0.0
        for number, latency in enumerate(arriving, 1):
            spent += latency
            if number == WARM_UP or spent >= seconds:
                break
        timed: list[float] = []
        for latency in arriving:
            timed.append(latency)
            if len(timed) >= LEAST and sum(timed) >= seconds:
                break
    median, p99 = np.percentile(timed, (50, 99))
    return Pace(len(timed), len(timed) / sum(timed), 1e3 * float(median), 1e3 * float(p99))
