"""The last image that was restored, for the page."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.images import Image, read_box
from zsd_runtime.live.view import Shown

LATENCIES = 500  # of the last images
LARGEST_SHOWN = 4096  # pixels a side of a raw image; of a larger one, its middle


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

    def finished(self, raw: Image, results: Mapping[str, Image], name: str, arrived: float) -> None:
        """Count an image, and show planes of it and of its results, which are read now.

        Parameters
        ----------
        raw : Image
        results : mapping of str to Image
            By output.
        name : str
            Of the image.
        arrived : float
            What `arrived` said.
        """
        latency_ms = 1000 * (time.monotonic() - arrived)
        share = [min(1.0, LARGEST_SHOWN / n) for n in raw.data.shape[-2:]]
        plane = _plane(raw, share)
        outputs = {output: _plane(result, share).astype(np.float32) for output, result in results.items()}
        details = {"name": name, "pixel_size_um": raw.voxel.x_um}
        with self._lock:
            self._done, self._error = self._done + 1, ""
            self._latencies.append(latency_ms)
            if not self._paused:
                self._newest = Shown(self._done, plane, outputs, "", latency_ms, details)

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


def _plane(image: Image, share: Sequence[float]) -> NDArray[Any]:
    """The first frame and channel of an image and its middle slice; of Y and X the middle `share`."""
    leading = zip(image.axes[:-2], image.data.shape[:-2], strict=True)
    index = (length // 2 if axis == "Z" else 0 for axis, length in leading)
    middle = (
        slice(round(n * (1 - s) / 2), round(n * (1 + s) / 2)) for n, s in zip(image.data.shape[-2:], share, strict=True)
    )
    return np.array(read_box(image.data, (*index, *middle)))
