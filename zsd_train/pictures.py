"""Pictures to look at, never to measure on: each panel has its own grey levels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.tiling import reflected

GAP = 4  # white pixels between panels


def montage(panels: list[NDArray[Any]]) -> NDArray[np.uint8]:
    """Panels of one height side by side, each from its 0.5th (black) to its 99.7th percentile (white)."""
    columns = []
    for panel in panels:
        low, high = np.percentile(panel, (0.5, 99.7))
        columns += [np.clip((panel - low) / max(high - low, 1e-9), 0, 1) * 255, np.full((panel.shape[0], GAP), 255.0)]
    return np.hstack(columns[:-1]).round().astype(np.uint8)


def enlarged(image: NDArray[Any], factor: int) -> NDArray[Any]:
    """Every pixel (Y, X) as a square of `factor` pixels."""
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def middle(image: NDArray[Any], side: int, step: int | tuple[int, ...]) -> NDArray[Any]:
    """The middle of an image, at most `side` pixels and a multiple of `step` along each axis; contiguous."""
    steps = np.broadcast_to(step, image.ndim)
    sizes = [min(n, side) // s * s for n, s in zip(image.shape, steps, strict=True)]
    starts = [(n - size) // 2 for n, size in zip(image.shape, sizes, strict=True)]
    return np.ascontiguousarray(image[tuple(slice(n, n + size) for n, size in zip(starts, sizes, strict=True))])


def continued(image: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """An image of `shape` from the first pixel on, mirrored at the edges where it has no more."""
    lines = [reflected(np.arange(n), size) for n, size in zip(shape, image.shape, strict=True)]
    return image[np.ix_(*lines)]
