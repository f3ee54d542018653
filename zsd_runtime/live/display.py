"""What a display sees of a restoration: the last frame of each channel."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.live.inbox import Frame
from zsd_runtime.live.view import Shown


class Display:
    """The last frame of each channel; `Live` guards it with a lock.

    Attributes
    ----------
    paused : bool
        Nothing is shown any more, until it is False again.
    """

    def __init__(self) -> None:
        self.paused = False
        self._shown: dict[str, Shown] = {}
        self._number = 0
        self._newest: dict[str, int] = {}  # the number of the frame that is shown of each channel

    def latest(self, after: int) -> Shown | None:
        """What is newer than `after`; of several channels, the one that waits longest to be seen."""
        newer = [shown for shown in self._shown.values() if shown.number > after]
        return min(newer, key=lambda shown: shown.number, default=None)

    def show(
        self, frame: Frame, outputs: Mapping[str, NDArray[np.float32]], latency_ms: float | None = None
    ) -> None:  # fmt: skip
        """Show a frame, of a volume its middle slice, unless a newer one of its channel was shown."""
        if self.paused or frame.number < self._newest.get(frame.channel, -1):
            return
        self._newest[frame.channel] = frame.number
        self._shown[frame.channel] = Shown(
            self._number, _plane(frame.image), {name: _plane(values) for name, values in outputs.items()},
            frame.channel, latency_ms, frame.details | {"index": frame.index},
        )  # fmt: skip
        self._number += 1

    def show_raw(self, frame: Frame) -> None:
        """Show a frame as long as nothing of its channel was restored."""
        shown = self._shown.get(frame.channel)
        if shown is None or not shown.outputs:
            self.show(frame, {})


def _plane(image: NDArray[Any]) -> NDArray[Any]:
    return image if image.ndim == 2 else image[len(image) // 2]
