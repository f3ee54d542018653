"""What a page asks for: the next frame, the part of it that is seen, and the contrast."""

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zsd_runtime.serve.picture import Box, Limits

LARGEST_SIDE = 4096  # screen pixels of one image
MOST_MANUAL = 100  # contrasts that a page may set


class MalformedMessage(ValueError):
    """No page of ours sends such a message."""


@dataclass(frozen=True)
class Look:
    """A request for a frame.

    Attributes
    ----------
    id : int
        The answer carries it.
    after : int
        Number of the frame that the page has: a newer one is asked for.
    hold : bool
        No newer one: the frame that was last shown, in another box or contrast.
    channel : str
        Only frames of this channel; of any if empty.
    box : Box
    size : (int, int)
        Width and height of an image on the screen, pixels.
    manual : dict of str to Limits
        Counts that are shown black and white, by ``channel/output``.
    """

    id: int = 0
    after: int = -1
    hold: bool = False
    channel: str = ""
    box: Box = (0.0, 0.0, 1.0, 1.0)
    size: tuple[int, int] = (512, 512)
    manual: dict[str, Limits] = field(default_factory=dict)

    def differs(self, other: "Look | None") -> bool:
        """Whether the same frame looks different."""
        return other is None or (self.box, self.size, self.manual) != (other.box, other.size, other.manual)


def look_of(message: dict[str, Any]) -> Look:
    """Read a page's request for a frame.

    Raises
    ------
    MalformedMessage
        When it is not one.
    """
    try:
        x0, y0, x1, y1 = (min(max(_finite(value), 0.0), 1.0) for value in message["box"])
        width, height = (min(max(int(_finite(value)), 1), LARGEST_SIDE) for value in message["size"])
        manual = {str(key): (_finite(low), _finite(high)) for key, (low, high) in message["manual"].items()}
        if x1 < x0 or y1 < y0 or len(manual) > MOST_MANUAL:
            raise MalformedMessage("the box is turned over, or there are too many contrasts")
        return Look(
            int(message["id"]), int(message["after"]), bool(message["hold"]), str(message["channel"]),
            (x0, y0, x1, y1), (width, height), manual,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise MalformedMessage(f"not a request for a frame: {error!r}") from None


def message_of(text: str | None) -> dict[str, Any]:
    """A page's message, a JSON object; None where bytes came in place of text.

    Raises
    ------
    MalformedMessage
        When it is not one.
    """
    try:
        message = json.loads(text or "")
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise MalformedMessage("a message is a JSON object")
    return message


def plain(value: Any) -> Any:
    """A value as JSON in a browser takes it: NumPy's numbers as Python's, what is no finite number as null."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is not a finite number")
    return number
