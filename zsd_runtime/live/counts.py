"""What became of the frames, and how long it took."""

from collections import Counter, deque
from typing import Any

import numpy as np

LATENCIES = 1000  # of the last results; percentiles are theirs


class Counts:
    """Counters of one run; `Live` guards them with a lock.

    Attributes
    ----------
    frames : int
        Of the camera; slices of stacks, too.
    seen, done, replaced, failed : int
        Images for the model. All that were seen are done, replaced by a newer one, failed, or still wait.
    not_kept : Counter
        Results that were to go to a file and did not, by reason.
    error : str or None
        Of the last frame that failed.
    """

    def __init__(self) -> None:
        self.frames = self.seen = self.done = self.replaced = self.failed = self.unassigned = self.keep = 0
        self.not_kept: Counter[str] = Counter()
        self.error: str | None = None
        self._latency_s: deque[float] = deque(maxlen=LATENCIES)
        self._compute_s: deque[float] = deque(maxlen=LATENCIES)
        self._arrivals: deque[float] = deque(maxlen=64)

    def arrive(self, now: float) -> None:
        """Count a frame of the camera."""
        self.frames += 1
        self._arrivals.append(now)

    def finish(self, latency_s: float, compute_s: float, *, newest: bool) -> None:
        """Count a result. Only the newest frames have a latency that counts: others waited in the queue for files."""
        self.done += 1
        self._compute_s.append(compute_s)
        if newest:
            self._latency_s.append(latency_s)

    def fail(self, error: Exception, *, keep: bool) -> None:
        """Count a frame that failed, and whether its results were to be kept."""
        self.failed += 1
        self.error = str(error) or type(error).__name__
        self.not_kept["failed"] += keep

    def not_taken(self, error: Exception) -> None:
        """Count a result that its file did not take."""
        self.error = str(error) or type(error).__name__
        self.not_kept["not taken"] += 1

    def status(self) -> dict[str, Any]:
        """Plain values; percentiles are None before the first result."""
        return {
            "frames": self.frames, "seen": self.seen, "done": self.done, "replaced": self.replaced,
            "failed": self.failed, "unassigned": self.unassigned, "error": self.error,
            "latency_p50_ms": _percentile_ms(self._latency_s, 50),
            "latency_p99_ms": _percentile_ms(self._latency_s, 99),
            "compute_p50_ms": _percentile_ms(self._compute_s, 50), "results": len(self._latency_s),
            "camera_fps": self._rate(),
        }  # fmt: skip

    def _rate(self) -> float | None:
        """Frames per second of the last frames."""
        if len(self._arrivals) < 2 or self._arrivals[-1] == self._arrivals[0]:
            return None
        return (len(self._arrivals) - 1) / (self._arrivals[-1] - self._arrivals[0])


def _percentile_ms(seconds: deque[float], percent: float) -> float | None:
    return 1e3 * float(np.percentile(list(seconds), percent)) if seconds else None
