"""Pictures to look at, not to measure: each panel has its own grey levels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.tiling import reflected

GAP = 4  # white pixels between panels


def montage(panels: list[NDArray[Any]], levels: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """Panels of one height side by side, from black to white at `levels`, or at each one's own (`grey_levels`)."""
    columns = []
    for panel in panels:
        low, high = levels or grey_levels(panel)
        columns += [np.clip((panel - low) / max(high - low, 1e-9), 0, 1) * 255, np.full((panel.shape[0], GAP), 255.0)]
    return np.hstack(columns[:-1]).round().astype(np.uint8)


def grey_levels(image: NDArray[Any]) -> tuple[float, float]:
    """The values shown as black and white: the 0.5th and the 99.7th percentile."""
    low, high = np.percentile(image, (0.5, 99.7))
    return float(low), float(high)


def enlarged(image: NDArray[Any], factor: int) -> NDArray[Any]:
    """Every pixel (..., Y, X) as a square of `factor` pixels."""
    return image.repeat(factor, axis=-2).repeat(factor, axis=-1)


def binned(fine: NDArray[Any], factor: int) -> NDArray[Any]:
    """The mean over factor × factor pixels, (..., kY, kX) -> (..., Y, X): what a raw pixel sees of the fine grid."""
    y, x = fine.shape[-2:]
    return fine.reshape(*fine.shape[:-2], y // factor, factor, x // factor, factor).mean(axis=(-3, -1))  # type: ignore[no-any-return]


def middle(image: NDArray[Any], side: int | tuple[int, ...], step: int | tuple[int, ...]) -> NDArray[Any]:
    """The middle of an image, at most `side` pixels and a multiple of `step` along each axis; contiguous."""
    sides, steps = np.broadcast_to(side, image.ndim), np.broadcast_to(step, image.ndim)
    sizes = [min(n, most) // s * s for n, most, s in zip(image.shape, sides, steps, strict=True)]
    starts = [(n - size) // 2 for n, size in zip(image.shape, sizes, strict=True)]
    return np.ascontiguousarray(image[tuple(slice(n, n + size) for n, size in zip(starts, sizes, strict=True))])


def continued(image: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """The image cropped or continued to `shape`, mirrored at its far edges."""
    lines = [reflected(np.arange(n), size) for n, size in zip(shape, image.shape, strict=True)]
    return image[np.ix_(*lines)]
