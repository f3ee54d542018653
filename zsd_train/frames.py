"""Images to draw patches from, planes or volumes, in memory or mapped from files: what is bright, what is held out."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from zsd_runtime.tiling import reflected
from zsd_train.defaults import Shape, defaults_for


@dataclass(frozen=True)
class Frame:
    """One image (C, [Z,] Y, X) in camera counts; where it says shape or start, of ([Z,] Y, X).

    Attributes
    ----------
    image : ndarray
        In memory or mapped from a file.
    brightness : ndarray
        The mean of each block.
    held_out : ndarray of bool
        For each tile whether its pixels are kept from training.
    """

    image: NDArray[np.generic]
    brightness: NDArray[np.float64]
    held_out: NDArray[np.bool_]

    @classmethod
    def of(cls, image: NDArray[np.generic], holdout: float, rng: np.random.Generator) -> "Frame":
        """Look once over an `image` and choose the share `holdout` of it."""
        block = defaults_for(image.ndim - 1).block
        brightness = np.mean([block_means(channel, block) for channel in image], axis=0)
        return cls(image, brightness, _held_out(image.shape[1:], brightness, holdout, rng))

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
        lines = self._lines(start, shape)
        box = self.image[(slice(None), *(slice(line.min(), line.max() + 1) for line in lines))]
        within = np.ix_(*(line - line.min() for line in lines))
        return np.asarray(box, np.float64)[(slice(None), *within)]

    def mask(self, start: Shape, shape: Shape) -> NDArray[np.float32]:
        """Of the same window, 1 where a pixel may be learnt from."""
        tile = defaults_for(len(self.shape)).tile
        lines = [line // n for line, n in zip(self._lines(start, shape), tile, strict=True)]
        return 1 - self.held_out[np.ix_(*lines)].astype(np.float32)

    def corner(self, patch: Shape, position_rng: torch.Generator) -> Shape:
        """Of two random places for a patch the brighter: foreground is favoured without a threshold."""
        free = [n - p + 1 for n, p in zip(self.shape, patch, strict=True)]
        corners = [tuple(int(torch.randint(n, (1,), generator=position_rng)) for n in free) for _ in range(2)]
        return max(corners, key=lambda corner: self._mean(corner, patch))

    def _mean(self, corner: Shape, patch: Shape) -> float:
        blocks = defaults_for(len(self.shape)).block
        low = [min(c // b, n - 1) for c, b, n in zip(corner, blocks, self.brightness.shape, strict=True)]
        high = [max((c + p) // b, a + 1) for c, p, b, a in zip(corner, patch, blocks, low, strict=True)]
        return float(self.brightness[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].mean())

    def _lines(self, start: Shape, shape: Shape) -> list[NDArray[np.int64]]:
        lengths = zip(start, shape, self.shape, strict=True)
        return [reflected(np.arange(first, first + length), n) for first, length, n in lengths]


def block_means(image: NDArray[np.generic], block: Shape) -> NDArray[np.float64]:
    """Mean over each whole `block`; of volumes, slab by slab. Of an axis shorter than one there is one block."""
    block = tuple(min(n, b) for n, b in zip(image.shape, block, strict=True))

    def means(part: NDArray[np.generic]) -> NDArray[np.float64]:
        whole = part[tuple(slice(n // b * b) for n, b in zip(part.shape, block, strict=True))]
        split = [length for n, b in zip(whole.shape, block, strict=True) for length in (n // b, b)]
        return whole.reshape(split).mean(axis=tuple(range(1, 2 * part.ndim, 2)), dtype=np.float64)

    if image.ndim == 2:
        return means(image)
    slabs = range(0, len(image) - block[0] + 1, block[0])
    return np.concatenate([means(np.asarray(image[z : z + block[0]])) for z in slabs])


def _held_out(
    shape: Shape, brightness: NDArray[np.float64], share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Tiles, spread over the range of brightness, that make up `share` of the image (or none if it is small)."""
    defaults = defaults_for(len(shape))
    tile, block = defaults.tile, defaults.block
    held_out = np.zeros([-(-n // t) for n, t in zip(shape, tile, strict=True)], bool)
    whole = [n // t for n, t in zip(shape, tile, strict=True)]
    if share == 0 or np.prod(whole) < 8:
        return held_out
    per_tile = tuple(t // b for t, b in zip(tile, block, strict=True))
    means = block_means(brightness[tuple(slice(n * p) for n, p in zip(whole, per_tile, strict=True))], per_tile)
    darkest_first = np.argsort(means, axis=None)
    count = max(2, round(share * darkest_first.size))
    edges = np.linspace(0, darkest_first.size, count + 1).astype(int)
    chosen = [darkest_first[int(rng.integers(low, high))] for low, high in pairwise(edges)]
    held_out[np.unravel_index(chosen, means.shape)] = True
    return held_out
