r"""Tiles as pure geometry: any number of axes, any integer output scale, several outputs.

One axis, three tiles (all lengths in input pixels)::

      image          |0                                                        n|
      tile 0      [e |            core             | halo]
      tile 1               [halo |            core             | halo]
      tile 2                                 [halo |              core          | e]
      weights        |=======1=======\\                              /===========|
                                  |ovl|========1========\\
      finished by    |-- tile 0 --|----- tile 1 -----|-------- tile 2 ----------|

All tiles of a plan have one shape, so that an engine with a fixed shape can run them. They start on multiples of
`size_multiple`, the network's pooling grid. Tile k finishes the pixels from k · stride to (k + 1) · stride, and shares
the next `overlap` pixels with its neighbour. With a stride that is a multiple of `grid`, a tile finishes whole chunks
of a Zarr array.

Beyond its edges, the image is continued by reflection, by `EDGE` pixels: every tiling then shows the network the same
edge, and zero padding does not affect the first pixels. (Measured: without reflection the RMSE of the outermost pixel
doubles; with 8 pixels it equals that with a full halo.) Inside the image, the halo is real image, and its result is
cropped. Blending hides what remains of a tile's error. Networks trained with a margin of zeros around every patch, as
published, expect one: `Tile.blank`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import lcm, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError

EDGE = 8  # pixels
LONGEST_SIDE = 2304  # pixels of a chosen tile: larger ones save little halo, and prebuilt engines end there
LONGEST_OVERLAP = 32  # pixels: 30 % difference between tiles becomes steps of 1 %; each pixel is computed twice

Array = NDArray[Any]
Box = tuple[slice, ...]


@dataclass(frozen=True)
class Span:
    """A tile along one axis: it reads [start, start + length), finishes [low, keep) and shares [keep, high)."""

    start: int
    low: int
    keep: int
    high: int


@dataclass(frozen=True)
class Tile:
    """One tile of a plan. Positions are in input pixels; methods take an output's scale where they need it."""

    spans: tuple[Span, ...]
    shape: tuple[int, ...]
    image_shape: tuple[int, ...]

    def read(self, image: Any) -> Array:
        """This tile of `image` (anything that takes slices), with reflection beyond the edges of the image."""
        lines = [
            reflected(np.arange(s.start, s.start + length), n)
            for s, length, n in zip(self.spans, self.shape, self.image_shape, strict=True)
        ]
        part = np.asarray(image[tuple(slice(int(line.min()), int(line.max()) + 1) for line in lines)])
        for axis, line in enumerate(lines):
            if part.shape[axis] != line.size or line[0] > line[-1]:
                part = part.take(line - line.min(), axis)
        return part

    def blank(self, values: Array) -> None:
        """Set the pixels beyond the image to 0, in `values` of this tile's shape."""
        for axis, (span, n) in enumerate(zip(self.spans, self.image_shape, strict=True)):
            along = np.moveaxis(values, axis, 0)
            along[: max(0, -span.start)] = 0
            along[n - span.start :] = 0

    def position(self, pixel: Sequence[int]) -> tuple[int, ...]:
        """The position in the image of a pixel of this tile."""
        return tuple(
            int(reflected(np.array(s.start + p), n))
            for s, p, n in zip(self.spans, pixel, self.image_shape, strict=True)
        )

    def core(self, scale: Sequence[int]) -> Box:
        """The part of the tile's output, `scale` times as fine, that is used: finished or shared."""
        return tuple(
            slice((s.low - s.start) * k, (s.high - s.start) * k) for s, k in zip(self.spans, scale, strict=True)
        )

    def finished(self, scale: Sequence[int]) -> Box:
        """The box of the whole output that this tile finishes."""
        return tuple(slice(s.low * k, s.keep * k) for s, k in zip(self.spans, scale, strict=True))


@dataclass(frozen=True)
class Plan:
    """Tiles that cover an image, the last axis fastest."""

    lines: tuple[tuple[Span, ...], ...]
    tile: tuple[int, ...]
    image_shape: tuple[int, ...]
    overlap: tuple[int, ...]

    def __len__(self) -> int:
        return prod(map(len, self.lines))

    def __iter__(self) -> Iterator[Tile]:
        return (Tile(spans, self.tile, self.image_shape) for spans in product(*self.lines))

    def part(self, box: Box) -> "Plan":
        """The tiles that a box needs: those that finish it, and those before them that share pixels with them.

        They are tiles of the whole plan, so that their sum is bit for bit the same.

        Raises
        ------
        InputError
            When the box does not begin and end where tiles do.
        """
        lines = []
        for line, b, overlap in zip(self.lines, box, self.overlap, strict=True):
            first = next((k for k, span in enumerate(line) if span.low == b.start), None)
            last = next((k for k, span in enumerate(line) if span.keep == b.stop), None)
            if first is None or last is None:
                raise InputError(f"{b.start}:{b.stop} is not finished by whole tiles", "take one of the `regions`")
            lines.append(line[max(0, first - (overlap > 0)) : last + 1])
        return Plan(tuple(lines), self.tile, self.image_shape, self.overlap)

    @property
    def arithmetic(self) -> float:
        """Pixels that go through the network for each pixel of the image."""
        return len(self) * prod(self.tile) / prod(self.image_shape)


def plan(
    image_shape: Sequence[int],
    tile: Sequence[int],
    halo: Sequence[int],
    size_multiple: Sequence[int],
    overlap: Sequence[int] | None = None,
    grid: Sequence[int] | None = None,
    edge: Sequence[int] | None = None,
    *,
    square: bool = False,
) -> Plan:
    """Cover an image with tiles.

    Parameters
    ----------
    image_shape, tile, halo, size_multiple, overlap, grid : sequence of int
        One number an axis, input pixels. `tile` and `halo` are rounded up to multiples of `size_multiple`;
        a tile larger than the image is cut down to it. `overlap` (half of a halo, at most 32, unless given) is
        shortened where tiles have no room for it. The stride is a multiple of `grid` where tiles are long enough.
        `edge` is by how much the image is continued at both ends of an axis, rounded up to `size_multiple` and at most
        a halo; `EDGE` unless given.
    square : bool
        Keep tiles square in Y and X where the image is not; it is then continued by a whole halo, for all tiles alike.

    Raises
    ------
    InputError
        When a tile has no core: it must be larger than twice its halo.
    """
    edge = _square_edge(image_shape, halo, edge) if square else edge
    numbers = _axes(image_shape, halo, size_multiple, overlap, grid, edge)
    axes = [_plan_axis(length, *axis) for length, axis in zip(tile, numbers, strict=True)]
    lengths, lines, overlaps = zip(*axes, strict=True)
    if square:
        lengths = (*lengths[:-2], *[max(lengths[-2:])] * 2)
    return Plan(lines, lengths, tuple(image_shape), overlaps)


def choose_tile(
    image_shape: Sequence[int],
    halo: Sequence[int],
    size_multiple: Sequence[int],
    pixels: float,
    overlap: Sequence[int] | None = None,
    grid: Sequence[int] | None = None,
    edge: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """The tile of at most `pixels` pixels, and LONGEST_SIDE a side, with which the fewest go through the network.

    It divides each axis into as few equal parts as possible, and cuts the longest tiles first; the smallest has a core
    of one `size_multiple`. Other arguments as for `plan`.
    """
    axes = list(_axes(image_shape, halo, size_multiple, overlap, grid, edge))
    counts = [1] * len(axes)
    lengths = [_length(1, *axis) for axis in axes]
    while True:
        cuttable = [a for a, (n, *_) in enumerate(axes) if lengths[a] > _length(n, *axes[a])]
        wanted = [a for a in cuttable if lengths[a] > LONGEST_SIDE] or (cuttable if prod(lengths) > pixels else [])
        if not wanted:
            return tuple(lengths)
        # The axis on which tiles have the longest core for their halo.
        axis = max(wanted, key=lambda a: lengths[a] / (2 * axes[a][1] + axes[a][3] + axes[a][2]))
        counts[axis] += 1
        lengths[axis] = _length(counts[axis], *axes[axis])


def choose_square_tile(
    image_shape: Sequence[int],
    halo: Sequence[int],
    size_multiple: Sequence[int],
    pixels: float,
    overlap: Sequence[int] | None = None,
    grid: Sequence[int] | None = None,
    edge: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """As `choose_tile`, for tiles that are square in Y and X; `halo`, `size_multiple` and `edge` are so, too."""
    edge = _square_edge(image_shape, halo, edge)
    tile = choose_tile(image_shape, halo, size_multiple, pixels, overlap, grid, edge)
    if tile[-1] == tile[-2]:
        return tile
    axes = list(_axes(image_shape, halo, size_multiple, overlap, grid, edge))
    smallest = min(2 * axes[-1][1] + axes[-1][2], max(_length(1, *axis) for axis in axes[-2:]))
    parts = {_length(count, *axis) for axis in axes[-2:] for count in range(1, -(-axis[0] // axis[2]) + 1)}
    tiles = [(*tile[:-2], side, side) for side in sorted(max(side, smallest) for side in parts)]
    fitting = [square for square in tiles if square[-1] <= LONGEST_SIDE and prod(square) <= pixels] or tiles[:1]
    plans = (plan(image_shape, square, halo, size_multiple, overlap, grid, edge, square=True) for square in fitting)
    return min(plans, key=lambda planned: (planned.arithmetic, len(planned))).tile


def reflected(index: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Positions on an endless axis -> positions in 0..n-1, mirrored at the first and the last pixel."""
    if n == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * (n - 1))
    return np.where(index < n, index, 2 * (n - 1) - index)


def round_up(value: int, multiple: int) -> int:
    """The next multiple."""
    return -(-value // multiple) * multiple


def edges(halo: Sequence[int], size_multiple: Sequence[int], edge: Sequence[int] | None = None) -> list[int]:
    """By how much an image is continued beyond its edges, for each axis; see `plan`."""
    return [
        min(round_up(e, s), round_up(h, s))
        for e, s, h in zip(edge or [EDGE] * len(halo), size_multiple, halo, strict=True)
    ]


def _axes(
    image_shape: Sequence[int],
    halo: Sequence[int],
    size_multiple: Sequence[int],
    overlap: Sequence[int] | None,
    grid: Sequence[int] | None,
    edge: Sequence[int] | None,
) -> Iterator[tuple[int, int, int, int, int, int]]:
    """(n, halo, size_multiple, overlap, grid, edge) of each axis, halo and edge on the pooling grid."""
    overlap = [min(h // 2, LONGEST_OVERLAP) for h in halo] if overlap is None else overlap
    edge = edges(halo, size_multiple, edge)
    halo = [round_up(h, s) for h, s in zip(halo, size_multiple, strict=True)]
    return zip(image_shape, halo, size_multiple, overlap, grid or [1] * len(size_multiple), edge, strict=True)


def _square_edge(image_shape: Sequence[int], halo: Sequence[int], edge: Sequence[int] | None) -> Sequence[int] | None:
    """`edge` for square tiles: a whole halo in Y and X, if the image is not square."""
    if image_shape[-1] == image_shape[-2]:
        return edge
    return (*(edge or [EDGE] * len(halo))[:-2], *halo[-2:])


def _length(count: int, n: int, halo: int, size_multiple: int, overlap: int, grid: int, edge: int) -> int:
    """Length of the tiles when `count` of them cover an axis."""
    if count == 1:
        return round_up(n + edge, size_multiple) + edge
    stride = round_up(-(-n // count), lcm(size_multiple, grid))
    return min(round_up(stride + overlap, size_multiple) + 2 * halo, round_up(n + edge, size_multiple) + edge)


def _plan_axis(
    tile: int, n: int, halo: int, size_multiple: int, overlap: int, grid: int, edge: int
) -> tuple[int, tuple[Span, ...], int]:
    """Length of the tiles, the tiles, and how many pixels neighbours share."""
    asked, tile = tile, round_up(tile, size_multiple)
    end = round_up(n + edge, size_multiple)
    if tile >= end + edge:
        return end + edge, (Span(-edge, 0, n, n),), 0
    core = tile - 2 * halo
    if core <= 0:
        raise InputError(
            f"a tile of {asked} pixels is not larger than twice the halo of {halo}",
            f"give one of at least {2 * halo + size_multiple}",
        )
    overlap = min(overlap, core // 2)
    room = core - overlap
    stride = room // lcm(size_multiple, grid) * lcm(size_multiple, grid) or max(
        size_multiple, room // size_multiple * size_multiple
    )
    overlap = min(overlap, core - stride, stride)  # no pixel is shared by three
    last = -(-(end - tile + halo) // stride)  # the first whose core, pulled back into the image, reaches its end
    spans = tuple(
        Span(
            start=min(max(k * stride - halo, -edge), end - tile),
            low=k * stride,
            keep=(k + 1) * stride if k < last else n,
            high=min((k + 1) * stride + overlap, n) if k < last else n,
        )
        for k in range(last + 1)
    )
    return tile, spans, overlap
