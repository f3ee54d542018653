"""Regions: boxes of a stack that workers restore independently of each other.

A region is a slice for each leading axis (T, C) and each spatial axis, in input pixels. Regions start on the shards of
the results (their chunks, where there are no shards): two processes that write into one shard lose each other's chunks.
They consist of whole tiles of the plan of the whole image, so that the results do not depend on their number.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise, product
from math import ceil, inf, prod

from zsd_runtime.errors import InputError
from zsd_runtime.tiling import Box, Plan

MOST_EACH = 4  # regions for each worker: less is lost when one fails, but each computes the tiles before it, too


def regions(plan: Plan, leading: Sequence[int], count: int, grid: Sequence[int]) -> list[Box]:
    """At most `count` regions that cover every image of a stack once.

    Parameters
    ----------
    plan : Plan
        Of the spatial axes.
    leading : sequence of int
        Lengths of the other axes. They are cut first, as their images need no neighbours.
    count : int
    grid : sequence of int
        For each leading and each spatial axis, the multiples (input pixels) on which regions start.
    """
    steps, spatial = grid[: len(leading)], grid[len(leading) :]
    units = [ceil(n / step) for n, step in zip(leading, steps, strict=True)]
    outer = _parts(units, count)
    cuts = [
        [slice(m * k // p * step, min(m * (k + 1) // p * step, n)) for k in range(p)]
        for n, m, p, step in zip(leading, units, outer, steps, strict=True)
    ]
    inner = _boxes(plan, max(1, count // prod(outer)), spatial)
    return [(*images, *box) for images in product(*cuts) for box in inner]


def balanced_regions(
    plan: Plan, leading: Sequence[int], workers: int, grid: Sequence[int], most: float = inf
) -> list[Box]:
    """The `regions` with which so many workers are done first; of equal ones the smallest.

    A worker keeps a row of shards in memory until all of its tiles are there: of at most `most` pixels, if there are
    regions as small.
    """
    found: list[tuple[float, int, list[Box]]] = []
    each = 1
    while True:
        boxes = regions(plan, leading, workers * each, grid)
        tiles = max_and_sum_of_tiles(plan, boxes, len(leading))[0]
        row = max(most, longest_row_of(boxes, len(leading), grid)) if most < inf else inf
        smallest = bool(found) and each > MOST_EACH and len(boxes) == len(found[-1][2])
        found.append((row, ceil(len(boxes) / workers) * tiles, boxes))
        if smallest or (each >= MOST_EACH and min(row for row, _, _ in found) <= most):
            return min(found, key=lambda each: (*each[:2], -len(each[2])))[2]
        each = each + 1 if each < MOST_EACH else 2 * each


def max_and_sum_of_tiles(plan: Plan, boxes: Sequence[Box], leading: int) -> tuple[int, int]:
    """How many tiles the largest of some regions computes, and all of them; they are every product of their cuts."""
    most, total = 1, 1
    for axis, cuts in enumerate(_cuts(boxes)):
        if axis < leading:
            counts = [high - low for low, high in cuts]
        else:
            line, shared = plan.lines[axis - leading], plan.overlap[axis - leading] > 0
            lows = [span.low for span in line]
            first = [bisect_left(lows, low) for low, _ in cuts]
            counts = [bisect_left(lows, high) - max(0, k - shared) for k, (_, high) in zip(first, cuts, strict=True)]
        most, total = most * max(counts), total * sum(counts)
    return most, total


def tiles_of(plan: Plan, region: Box, leading: int) -> int:
    """How many tiles a region computes, those that it shares pixels with among them."""
    return max_and_sum_of_tiles(plan, [region], leading)[0]


def longest_row_of(boxes: Sequence[Box], leading: int, grid: Sequence[int]) -> int:
    """Pixels in the longest row of shards across one of some regions."""
    depth, *others = [max(high - low for low, high in cuts) for cuts in _cuts(boxes)[leading:]]
    return min(depth, grid[leading]) * prod(others)


def _cuts(boxes: Sequence[Box]) -> list[set[tuple[int, int]]]:
    """Along each axis, the different slices of boxes."""
    return [{(box[axis].start, box[axis].stop) for box in boxes} for axis in range(len(boxes[0]))]


def leading_and_spatial(region: Box | None, leading: Sequence[int], spatial: Sequence[int]) -> tuple[Box, Box]:
    """The two parts of a region; of None the whole.

    Raises
    ------
    InputError
        When the region is no box of the image.
    """
    lengths = (*leading, *spatial)
    if region is None:
        region = tuple(slice(0, n) for n in lengths)
    if len(region) != len(lengths) or any(
        not 0 <= b.start < b.stop <= n for b, n in zip(region, lengths, strict=False)
    ):
        text = ", ".join(f"{b.start}:{b.stop}" for b in region)
        raise InputError(f"`region` [{text}] is not a box of an image of {lengths}", option="region")
    return region[: len(leading)], region[len(leading) :]


def _boxes(plan: Plan, count: int, grid: Sequence[int]) -> list[Box]:
    """At most `count` boxes of about one size that cover an image once; each is what a block of tiles finishes."""
    starts = [[s.low for s in line if s.low % step == 0] for line, step in zip(plan.lines, grid, strict=True)]
    cuts = []
    for n, first, p in zip(plan.image_shape, starts, _parts([len(k) for k in starts], count), strict=True):
        edges = [first[len(first) * k // p] for k in range(p)] + [n]
        cuts.append([slice(low, high) for low, high in pairwise(edges)])
    return list(product(*cuts))


def _parts(lengths: Sequence[int], count: int) -> list[int]:
    """Into how many parts to cut axes of so many items, so that there are at most `count` blocks of about one size."""
    parts = [1] * len(lengths)
    while cuttable := [
        axis for axis, n in enumerate(lengths)
        if parts[axis] < n and prod(parts) // parts[axis] * (parts[axis] + 1) <= count
    ]:  # fmt: skip
        parts[max(cuttable, key=lambda axis: lengths[axis] / parts[axis])] += 1
    return parts
