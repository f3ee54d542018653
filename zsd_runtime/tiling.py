r"""Tiles as pure geometry: any number of axes, any integer output scale. No pixel is touched here.

One axis, two tiles (all lengths in input pixels)::

      image            |0                                        n|
      tile k    [halo |            core            | halo]
      tile k+1                     [halo |            core            | halo]
      blend                              |<overlap>|
      write k         |============weight 1===\\    |
      write k+1                              \\===weight 1=====|

Tiles of one run have one shape. They start on multiples of `step`, the network's pooling grid, so that a pixel has
the same place on that grid in every tiling. Where a tile reaches beyond the image, the image is continued by
reflection; anywhere else the halo is real image, and what the network makes of it is cropped. What is left of a
tile's error is blended over `overlap` pixels.
"""

from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError


@dataclass(frozen=True)
class _Span:
    """One tile along one axis: reads [start, start + tile), writes [low, high), blends over `overlap` at either end."""

    start: int
    low: int
    high: int
    blend_low: int
    blend_high: int


@dataclass(frozen=True)
class Tile:
    """One tile of a plan. Positions are in input pixels; `write`, `crop` and `weight` take an output's scale."""

    spans: tuple[_Span, ...]
    shape: tuple[int, ...]
    image_shape: tuple[int, ...]

    def read(self, image: NDArray[np.generic]) -> NDArray[np.generic]:
        """This tile of `image` (Y, X) or (Z, Y, X), with reflection beyond its edges."""
        indices = (
            reflected(np.arange(s.start, s.start + length), n)
            for s, length, n in zip(self.spans, self.shape, self.image_shape, strict=True)
        )
        return image[np.ix_(*indices)]

    def write(self, scale: tuple[int, ...]) -> tuple[slice, ...]:
        """Where in an output, `scale` times as fine, this tile adds."""
        return tuple(slice(s.low * k, s.high * k) for s, k in zip(self.spans, scale, strict=True))

    def crop(self, scale: tuple[int, ...]) -> tuple[slice, ...]:
        """The part of the tile's own output that goes there."""
        return tuple(
            slice((s.low - s.start) * k, (s.high - s.start) * k) for s, k in zip(self.spans, scale, strict=True)
        )

    def weight(self, scale: tuple[int, ...]) -> NDArray[np.float32]:
        """Weights of that part; over all tiles they sum to one everywhere, exactly."""
        weight = np.ones((1,) * len(self.spans), np.float32)
        for axis, (s, k) in enumerate(zip(self.spans, scale, strict=True)):
            line = np.ones((s.high - s.low) * k, np.float32)
            if s.blend_low:
                line[: s.blend_low * k] = _ramp(s.blend_low * k)
            if s.blend_high:
                line[line.size - s.blend_high * k :] = 1 - _ramp(s.blend_high * k)
            weight = weight * line.reshape([-1 if a == axis else 1 for a in range(len(self.spans))])
        return weight


def plan(
    image_shape: tuple[int, ...],
    tile: tuple[int, ...],
    halo: tuple[int, ...],
    step: tuple[int, ...],
    overlap: tuple[int, ...] | None = None,
) -> list[Tile]:
    """Cover an image with tiles.

    Parameters
    ----------
    image_shape, tile, halo, step, overlap : tuple of int
        One number an axis, input pixels. `tile` and `halo` are rounded up to multiples of `step`; a tile larger
        than the image and its halo is cut down to them. `overlap` (half of a halo unless given) is shortened where
        tiles have no room for it.

    Raises
    ------
    InputError
        When a tile has no core: it must be larger than twice its halo.
    """
    overlap = overlap or tuple(h // 2 for h in halo)
    shape, axes = [], []
    for n, t, h, s, o in zip(image_shape, tile, halo, step, overlap, strict=True):
        length, spans = _plan_axis(n, t, h, s, o)
        shape.append(length)
        axes.append(spans)
    return [Tile(spans, tuple(shape), image_shape) for spans in product(*axes)]


def reflected(index: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Positions on an endless axis -> positions in 0..n-1, mirrored at the first and the last pixel."""
    if n == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * (n - 1))
    return np.where(index < n, index, 2 * (n - 1) - index)


def _plan_axis(n: int, tile: int, halo: int, step: int, overlap: int) -> tuple[int, list[_Span]]:
    halo, tile = _round_up(halo, step), _round_up(tile, step)
    tile = min(tile, _round_up(n + 2 * halo, step))
    core = tile - 2 * halo
    if core <= 0:
        raise InputError(
            f"a tile of {tile} pixels is not larger than twice the halo of {halo}: give one of at least "
            f"{2 * halo + step}"
        )
    if core >= n:
        return tile, [_Span(-halo, 0, n, 0, 0)]
    overlap = min(overlap, core // 2)
    stride = max(step, (core - overlap) // step * step)  # the longest that leaves the overlap
    count = -(-(n - core) // stride) + 1
    stride = min(stride, _round_up(-(-(n - core) // (count - 1)), step))  # spread the slack evenly
    overlap = min(overlap, core - stride, stride)
    starts = [k * stride for k in range(count)]
    # Neighbours meet in the middle of what they share; the blend lies around that point.
    meets = [(a + core + b) // 2 for a, b in pairwise(starts)]
    low = [0] + [m - overlap // 2 for m in meets]
    high = [m - overlap // 2 + overlap for m in meets] + [n]
    spans = [
        _Span(start - halo, lo, min(hi, n), overlap if k else 0, overlap if k < count - 1 else 0)
        for k, (start, lo, hi) in enumerate(zip(starts, low, high, strict=True))
    ]
    return tile, spans


def _ramp(length: int) -> NDArray[np.float32]:
    """Rises from near 0 to near 1 in multiples of 2⁻⁸, whose products over three axes float32 adds without rounding."""
    return (np.round((np.arange(length) + 0.5) / length * 256) / 256).astype(np.float32)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
