"""From counts to what a page shows: contrast, histogram, and a JPEG of the part that is seen.

The contrast is applied here and the page gets a JPEG of the part that it shows, at the size at which it shows it. So a
frame costs the same, about 100 kB and a few milliseconds, whatever the size of the image and the zoom. With 8-bit
pixels and contrast in the browser, every frame of 2048 x 2048 pixels would take 4 MB for the raw image and 16 MB for
the deconvolved one, and 8 bits would not be enough for another contrast.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

Limits = tuple[float, float]  # counts that are shown black and white
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 of the part that is seen, as shares of the image

SAMPLES = 1 << 16  # pixels that contrast and histogram look at
DARKEST, BRIGHTEST = 0.1, 99.9  # percent: automatic contrast leaves out what is beyond
BINS = 96
STEADY = 0.15  # automatic contrast follows when it is wrong by this share of its range: it would flicker otherwise
QUALITY = 88


@dataclass(frozen=True)
class Picture:
    """A part of an image as a JPEG, and what the page tells of the image.

    Attributes
    ----------
    jpeg : bytes
    facts : dict
        JSON: shape (of the image), box (of the JPEG, as shares of the image), low and high (counts shown black and
        white), auto, histogram, and histogram_range (counts).
    """

    jpeg: bytes
    facts: dict[str, Any]


class Contrasts:
    """The contrast of each image of a stream: manual, or automatic and steady."""

    def __init__(self) -> None:
        self._limits: dict[str, Limits] = {}
        self._ranges: dict[str, Limits] = {}

    def picture(
        self, key: str, image: NDArray[np.generic], box: Box, size: tuple[int, int], manual: Mapping[str, Limits]
    ) -> Picture:
        """Make the picture of an image.

        Parameters
        ----------
        key : str
            Of the image among those of the stream: its channel and output.
        image : ndarray
            (Y, X), counts.
        box : Box
            The part that is seen.
        size : (int, int)
            Width and height of the screen that it has, pixels.
        manual : mapping
            Counts that are shown black and white, by key; automatic for the others.
        """
        sample = sampled(image)
        low, high = auto_limits(sample)
        self._limits[key] = low, high = steady(self._limits.get(key), (low, high))
        lowest, highest = (float(sample.min()), float(sample.max())) if sample.size else (0.0, 1.0)
        reach = (min(lowest, low), min(highest, high + (high - low)))  # a single hot pixel must not squeeze the rest
        self._ranges[key] = begin, end = steady(self._ranges.get(key), histogram_range(reach, image.dtype))
        counts, _ = np.histogram(sample, BINS, (begin, end))
        low, high = manual.get(key, (low, high))
        part, shares = seen(image, box, size)
        facts = {
            "shape": list(image.shape), "box": shares, "low": low, "high": high, "auto": key not in manual,
            "histogram": counts.tolist(), "histogram_range": [begin, end],
        }  # fmt: skip
        return Picture(bytes(imagecodecs.jpeg8_encode(as_grey(part, (low, high)), level=QUALITY)), facts)


def sampled(image: NDArray[np.generic]) -> NDArray[np.float32]:
    """Finite pixels of an image, evenly spread, at most about `SAMPLES`."""
    step = int(np.ceil(np.sqrt(image.size / SAMPLES)))
    sample = image[::step, ::step].astype(np.float32)
    return sample[np.isfinite(sample)]


def auto_limits(sample: NDArray[np.float32]) -> Limits:
    """What all but the darkest and the brightest pixels lie between."""
    if not sample.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(sample, (DARKEST, BRIGHTEST)))
    return (low, high) if high > low else (low, low + 1)


def histogram_range(reach: Limits, dtype: np.dtype[Any]) -> Limits:
    """The range of the bins. Of whole numbers, each bin has as many: others make combs."""
    if dtype.kind == "f":
        return reach
    width = np.ceil((reach[1] - reach[0] + 1) / BINS)
    return reach[0] - 0.5, reach[0] - 0.5 + float(width) * BINS


def steady(before: Limits | None, now: Limits) -> Limits:
    """The limits of before, unless they have become wrong."""
    if before is None:
        return now
    slack = STEADY * (before[1] - before[0])
    return before if all(abs(a - b) <= slack for a, b in zip(before, now, strict=True)) else now


def seen(image: NDArray[np.generic], box: Box, size: tuple[int, int]) -> tuple[NDArray[np.generic], list[float]]:
    """The part of an image in a box, no finer than the screen shows it, and the box that it really has."""
    height, width = image.shape
    x0, y0, x1, y1 = box
    left, top = min(int(x0 * width), width - 1), min(int(y0 * height), height - 1)
    right, bottom = max(int(np.ceil(x1 * width)), left + 1), max(int(np.ceil(y1 * height)), top + 1)
    part = image[top:bottom, left:right]
    step = max(1, min(part.shape[1] // size[0], part.shape[0] // size[1]))
    if step > 1:
        rows, columns = part.shape[0] // step, part.shape[1] // step
        # Rows first: they are contiguous, and columns are then few. That is four times as fast as both at once.
        lines = part[: rows * step, : columns * step].reshape(rows, step, -1).sum(1, np.float32)
        part = lines.reshape(rows, columns, step).sum(2) / np.float32(step * step)
    bottom, right = top + part.shape[0] * step, left + part.shape[1] * step
    return part, [left / width, top / height, right / width, bottom / height]


def as_grey(image: NDArray[np.generic], limits: Limits) -> NDArray[np.uint8]:
    """8 bits between the limits; what is no number is black."""
    low, high = limits
    grey = (image.astype(np.float32) - low) * np.float32(255 / max(high - low, 1e-9))
    np.nan_to_num(grey, copy=False, nan=0.0)
    return np.clip(np.rint(grey, out=grey), 0, 255, out=grey).astype(np.uint8)
