"""What a page or a window shows of a running restoration: the door between the work and its display."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Shown:
    """A frame and what became of it.

    Attributes
    ----------
    number : int
        Counts up; a display asks for what is newer than the last one that it has.
    raw : ndarray
        (Y, X), camera counts.
    outputs : dict of ndarray
        By name, (Y', X'), counts above the offset; empty where nothing was restored yet.
    channel : str
    latency_ms : float or None
        From the arrival of the frame to its result.
    details : dict
        Of the frame: pixel_size_um, exposure_ms, time and whatever else is known of it.
    """

    number: int
    raw: NDArray[np.generic]
    outputs: dict[str, NDArray[np.float32]]
    channel: str = ""
    latency_ms: float | None = None
    details: dict[str, Any] = field(default_factory=dict)


class View(Protocol):
    """A running restoration as a display sees it. Every method may be called from any thread and never waits."""

    def latest(self, after: int = -1) -> Shown | None:
        """The newest frame whose number is above `after`."""

    def status(self) -> dict[str, Any]:
        """Plain values: seen, done, replaced, failed, latency_p50_ms, latency_p99_ms, error, paused, and more."""

    def pause(self, paused: bool) -> None:
        """Stop or go on restoring for the display; what is written to files goes on."""
