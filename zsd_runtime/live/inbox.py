"""Frames that wait for the model: the newest of each channel for the display, and a bounded queue for files."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """What a model restores at once.

    Attributes
    ----------
    number : int
        Counts up in the order of arrival.
    image : ndarray
        (Y, X), or (Z, Y, X) for a model of volumes; camera counts. Nobody changes it any more.
    channel : str
    index : dict of str to int
        Its place in the acquisition, such as ``{"t": 3, "c": 0}``; without "z" for volumes.
    details : dict
        Of the frame: pixel_size_um, exposure_ms and whatever else is known of it.
    arrived : float
        Seconds on the clock of `Live`.
    keep : bool
        Whether its results go to a file.
    """

    number: int
    image: NDArray[np.generic]
    channel: str = ""
    index: dict[str, int] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    arrived: float = 0.0
    keep: bool = False


class Inbox:
    """Frames that wait; `Live` guards it with a lock.

    A frame replaces the one of its channel that waits for the display. A frame whose results go to a file waits in a
    queue, too, as long as that has room. The display and the queue are served in turns, and no frame twice.

    Parameters
    ----------
    most_bytes : int
        Of frames in the queue; a single larger one may wait there.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._newest: dict[str, Frame] = {}
        self._queue: OrderedDict[int, Frame] = OrderedDict()
        self._queued_bytes = 0
        self._display_is_next = True

    def put(self, frame: Frame) -> Frame | None:
        """Add a frame; the one that it replaced, which nobody will restore, or None."""
        if frame.keep and (not self._queue or self._queued_bytes + frame.image.nbytes <= self.most_bytes):
            self._queue[frame.number] = frame
            self._queued_bytes += frame.image.nbytes
        before = self._newest.get(frame.channel)
        self._newest[frame.channel] = frame  # it takes the turn of the one before it: channels wait equally long
        return None if before is None or before.number in self._queue else before

    def take(self, *, display: bool = True) -> tuple[Frame, bool] | None:
        """The next frame to restore, and whether it is the newest of its channel; None if none waits.

        `display` False leaves frames that wait for the display alone.
        """
        newest = next((f for f in self._newest.values() if display or f.keep), None)
        oldest = next(iter(self._queue.values()), None)
        queue_is_next = oldest is not None and not (display and self._display_is_next)
        frame = oldest if newest is None or queue_is_next else newest
        if frame is None:
            return None
        self._display_is_next = frame is not newest
        is_newest = self._newest.get(frame.channel) is frame
        if is_newest:
            del self._newest[frame.channel]
        if self._queue.pop(frame.number, None):
            self._queued_bytes -= frame.image.nbytes
        return frame, is_newest

    def clear(self) -> list[Frame]:
        """Remove all frames; what they were."""
        frames = list(self._waiting().values())
        self._newest.clear()
        self._queue.clear()
        self._queued_bytes = 0
        return frames

    def __len__(self) -> int:
        return len(self._waiting())

    def _waiting(self) -> dict[int, Frame]:
        return self._queue | {frame.number: frame for frame in self._newest.values()}
