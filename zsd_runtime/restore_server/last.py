"""The last image that was restored, for the page."""

import time
from collections import deque
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.images import open_image, read_box
from zsd_runtime.live.view import Shown
from zsd_runtime.summary import Restored

LATENCIES = 500  # of the last images


class LastResult:
    """A `View` of images that come one by one: the middle plane of the last one, and counts."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._newest: Shown | None = None
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._seen = self._done = self._failed = 0
        self._paused, self._error = False, ""

    def arrived(self) -> float:
        """Count an image; the time, for `finished`."""
        with self._lock:
            self._seen += 1
        return time.monotonic()

    def failed(self, error: str) -> None:
        """Count an image that could not be restored; the page shows why until another one is."""
        with self._lock:
            self._failed, self._error = self._failed + 1, error

    def finished(self, outcome: Restored, names: list[str], arrived: float) -> None:
        """Show the planes of an image and its results, whose files are read now.

        Parameters
        ----------
        outcome : Restored
        names : list of str
            Of the outputs.
        arrived : float
        """
        latency_ms = 1000 * (time.monotonic() - arrived)
        raw, details = _plane(outcome.image)
        outputs = {n: _plane(path)[0].astype(np.float32) for n, path in zip(names, outcome.results, strict=True)}
        with self._lock:
            self._done, self._error = self._done + 1, ""
            self._latencies.append(latency_ms)
            if not self._paused:
                self._newest = Shown(self._done, raw, outputs, "", latency_ms, details)

    def latest(self, after: int = -1) -> Shown | None:
        """As `View.latest`."""
        newest = self._newest
        return newest if newest is not None and newest.number > after else None

    def status(self) -> dict[str, Any]:
        """As `View.status`."""
        with self._lock:
            p50, p99 = np.percentile(self._latencies, [50, 99]).tolist() if self._latencies else (None, None)
            return {
                "seen": self._seen, "done": self._done, "replaced": 0, "failed": self._failed, "latency_p50_ms": p50,
                "latency_p99_ms": p99, "error": self._error, "paused": self._paused,
            }  # fmt: skip

    def pause(self, paused: bool) -> None:
        """As `View.pause`."""
        self._paused = paused


def _plane(path: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    """The first frame and channel of an image, its middle slice; and what is known of it."""
    image = open_image(path)
    height, width = image.data.shape[-2:]
    leading = zip(image.axes[:-2], image.data.shape[:-2], strict=True)
    index = (length // 2 if axis == "Z" else 0 for axis, length in leading)
    plane = np.array(read_box(image.data, (*index, slice(0, height), slice(0, width)), str(path)))
    return plane, {"name": path.name, "pixel_size_um": image.voxel.x_um}
