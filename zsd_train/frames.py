"""Images to draw patches from, planes or volumes, in memory or mapped from files: what is bright, what is held out."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zsd_runtime.corrections.corrected import Corrected
from zsd_runtime.tiling import reflected
from zsd_train.defaults import Shape, defaults_for

LEAST_MEASURED = 0.5  # share of a patch, or of a held-out tile, that must be data


@dataclass(frozen=True)
class Frame:
    """One image (C, [Z,] Y, X) in camera counts; where it says shape or start, of ([Z,] Y, X).

    Attributes
    ----------
    image : array-like
        In memory or mapped from a file, or without its bad pixels; of a movie also with its neighbours in time.
    brightness : ndarray
        The mean of each block, over pixels that are data.
    data_share : ndarray
        The share of pixels of each block that are data.
    held_out : ndarray of bool
        For each tile whether its pixels are kept from training.
    """

    image: Any
    brightness: NDArray[np.float64]
    data_share: NDArray[np.float64]
    held_out: NDArray[np.bool_]

    @classmethod
    def of(cls, image: NDArray[np.generic] | Corrected, holdout: float, rng: np.random.Generator) -> "Frame":
        """Look once over an `image` and choose the share `holdout` of it."""
        block = defaults_for(image.ndim - 1).block
        channels = [_Blocks.of(image, channel, block) for channel in range(len(image))]
        brightness = np.mean([blocks.brightness for blocks in channels], axis=0)
        share = np.min([blocks.data_share for blocks in channels], axis=0)
        return cls(image, brightness, share, _held_out(image.shape[1:], brightness, share, holdout, rng))

    @property
    def shape(self) -> Shape:
        """Without channels."""
        return self.image.shape[1:]

    def tiles(self) -> list[Shape]:
        """First pixel of each held-out tile."""
        return [
            tuple(np.multiply(place, defaults_for(len(self.shape)).tile).tolist())
            for place in np.argwhere(self.held_out)
        ]

    def window(self, start: Shape, shape: Shape) -> NDArray[np.float64]:
        """Counts (C, …) of a window, continued by reflection where it reaches beyond the image."""
        box, within = self._box(start, shape)
        counts = self.image[(slice(None), *box)]
        return np.asarray(counts, np.float64)[(slice(None), *within)]

    def measured(self, start: Shape, shape: Shape) -> NDArray[np.bool_]:
        """Of the same window, which pixels are data in all channels."""
        mask = self._marked("measured", start, shape)
        return np.ones(shape, bool) if mask is None else np.logical_and.reduce(mask)

    def saturated(self, start: Shape, shape: Shape) -> NDArray[np.bool_]:
        """Of the same window, which pixels are saturated in any channel."""
        mask = self._marked("saturated", start, shape)
        return np.zeros(shape, bool) if mask is None else np.logical_or.reduce(mask)

    def mask(self, start: Shape, shape: Shape, *, judged: bool = False) -> NDArray[np.float32]:
        """Of the same window, what may be learnt from each pixel, or judged by it.

        1: its value; -1: it is saturated, so that its light is at least its value; 0: nothing. (Without saturated
        pixels bright places would become too dark: those that are left are the weaker noise of their place.)
        """
        learnt = self.measured(start, shape).astype(np.float32) - self.saturated(start, shape)
        if judged:
            return learnt
        tile = defaults_for(len(self.shape)).tile
        lines = [line // n for line, n in zip(self._lines(start, shape), tile, strict=True)]
        return np.where(self.held_out[np.ix_(*lines)], np.float32(0), learnt)

    def _marked(self, name: str, start: Shape, shape: Shape) -> NDArray[np.bool_] | None:
        """A mask (C, …) of a window of an image that has masks; None if it has none there."""
        box, within = self._box(start, shape)
        look: Any = getattr(self.image, name, None)
        mask = look((slice(None), *box)) if look else None
        return None if mask is None else mask[(slice(None), *within)]

    def corner(self, patch: Shape, position_rng: torch.Generator) -> Shape:
        """Of two random places for a patch the brighter: foreground is favoured without a threshold.

        Places that are mostly padding are drawn again.
        """
        free = [n - p + 1 for n, p in zip(self.shape, patch, strict=True)]
        for _ in range(100):
            corners = [tuple(int(torch.randint(n, (1,), generator=position_rng)) for n in free) for _ in range(2)]
            shares = [float(self.data_share[self._blocks(corner, patch)].mean()) for corner in corners]
            if max(shares) >= LEAST_MEASURED:
                break
        return max(
            zip(corners, shares, strict=True),
            key=lambda place: (
                place[1] >= LEAST_MEASURED,
                float(self.brightness[self._blocks(place[0], patch)].mean()),
            ),
        )[0]

    def _blocks(self, corner: Shape, patch: Shape) -> tuple[slice, ...]:
        """The blocks of a patch."""
        blocks = defaults_for(len(self.shape)).block
        low = [min(c // b, n - 1) for c, b, n in zip(corner, blocks, self.brightness.shape, strict=True)]
        high = [max((c + p) // b, a + 1) for c, p, b, a in zip(corner, patch, blocks, low, strict=True)]
        return tuple(slice(a, b) for a, b in zip(low, high, strict=True))

    def _box(self, start: Shape, shape: Shape) -> tuple[tuple[slice, ...], tuple[Any, ...]]:
        """The part of the image that a window shows, and where in it each pixel of the window is."""
        lines = self._lines(start, shape)
        return (
            tuple(slice(int(line.min()), int(line.max()) + 1) for line in lines),
            np.ix_(*(line - line.min() for line in lines)),
        )

    def _lines(self, start: Shape, shape: Shape) -> list[NDArray[np.int64]]:
        lengths = zip(start, shape, self.shape, strict=True)
        return [reflected(np.arange(first, first + length), n) for first, length, n in lengths]


@dataclass(frozen=True)
class _Blocks:
    """The mean over the data of each block of a channel, and the share of data; of volumes looked at slab by slab."""

    brightness: NDArray[np.float64]
    data_share: NDArray[np.float64]

    @classmethod
    def of(cls, image: NDArray[np.generic] | Corrected, channel: int, block: Shape) -> "_Blocks":
        shape = image.shape[1:]
        # Of an axis shorter than a block there is one.
        depth = min(block[0], shape[0]) if len(shape) == 3 else shape[0]
        slabs = range(0, shape[0] - depth + 1, depth)
        parts = []
        for z in slabs:
            box = (channel, slice(z, z + depth))
            values = np.asarray(image[box])
            measured = image.measured(box) if isinstance(image, Corrected) else None
            if measured is None:
                means = block_means(values, block)
                parts.append((means, np.ones_like(means)))
            else:
                share = block_means(measured, block)
                means = block_means(np.where(measured, values, 0), block) / np.maximum(share, 1e-9)
                parts.append((np.where(share > 0, means, np.inf), share))
        brightness, share = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        darkest = brightness.min() if np.isfinite(brightness).any() else 0.0
        return cls(np.where(np.isfinite(brightness), brightness, darkest), share)


def block_means(image: NDArray[np.generic], block: Shape) -> NDArray[np.float64]:
    """Mean over each whole `block`; of an axis shorter than one there is one block."""
    block = tuple(min(n, b) for n, b in zip(image.shape, block, strict=True))
    whole = image[tuple(slice(n // b * b) for n, b in zip(image.shape, block, strict=True))]
    split = [length for n, b in zip(whole.shape, block, strict=True) for length in (n // b, b)]
    means: NDArray[np.float64] = whole.reshape(split).mean(axis=tuple(range(1, 2 * image.ndim, 2)), dtype=np.float64)
    return means


def _held_out(
    shape: Shape,
    brightness: NDArray[np.float64],
    data_share: NDArray[np.float64],
    share: float,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Tiles, spread over the range of brightness, that make up `share` of the image (or none if it is small)."""
    defaults = defaults_for(len(shape))
    tile, block = defaults.tile, defaults.block
    held_out = np.zeros([-(-n // t) for n, t in zip(shape, tile, strict=True)], bool)
    whole = [n // t for n, t in zip(shape, tile, strict=True)]
    if share == 0 or np.prod(whole) < 8:
        return held_out
    per_tile = tuple(t // b for t, b in zip(tile, block, strict=True))
    inside = tuple(slice(n * p) for n, p in zip(whole, per_tile, strict=True))
    means, data = block_means(brightness[inside], per_tile), block_means(data_share[inside], per_tile)
    darkest_first = np.argsort(means, axis=None)
    darkest_first = darkest_first[data.ravel()[darkest_first] >= LEAST_MEASURED]
    if darkest_first.size < 8:
        return held_out
    count = max(2, round(share * darkest_first.size))
    edges = np.linspace(0, darkest_first.size, count + 1).astype(int)
    chosen = [darkest_first[int(rng.integers(low, high))] for low, high in pairwise(edges)]
    held_out[np.unravel_index(chosen, means.shape)] = True
    return held_out
