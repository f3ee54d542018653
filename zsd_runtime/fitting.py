"""Which tiles fit in memory, and on the chunks of a file."""

from collections.abc import Sequence
from math import inf, lcm, prod
from typing import Any

from zsd_runtime.average import turns
from zsd_runtime.engines import OutOfMemory
from zsd_runtime.errors import size_text
from zsd_runtime.memory import free_memory
from zsd_runtime.package import ModelDescription
from zsd_runtime.session import IN_FLIGHT
from zsd_runtime.tiling import choose_square_tile, choose_tile, round_up

BYTES_PER_VOXEL = 5000  # of a package that does not say; the published widths take less
SHARE_OF_FREE_MEMORY = 0.5


def fitting_tile(
    description: ModelDescription,
    overlap: Sequence[int],
    shape: tuple[int, ...],
    grid: tuple[int, ...],
    memory: int | None,
    *,
    device: str,
    average: int = 1,
) -> tuple[int, ...]:
    """The largest tile that fits in `memory` bytes (half of what is free on the device, if None).

    Beside the network's own memory, buffers and the rows that neighbours share along the first axis count. For an
    `average` with turns, tiles are square.
    """
    d = description
    outputs = sum(output.channels * prod(output.scale) for output in d.outputs)
    memory = memory or int(free_memory(device) * SHARE_OF_FREE_MEMORY)
    shared = 4 * outputs * overlap[0] * prod(shape[1:])
    buffers = 4 * (IN_FLIGHT * d.input.channels + (IN_FLIGHT + 1) * outputs)
    if average > 1:  # those of one turned tile
        buffers += 4 * (d.input.channels + outputs)
    pixels = max(memory - shared, memory // 4) / ((d.bytes_per_voxel or BYTES_PER_VOXEL) + buffers)
    choose = choose_square_tile if turns(average) else choose_tile
    tile = choose(shape, d.halo, d.size_multiple, pixels, overlap, grid, d.zero_margin)
    if prod(tile) > pixels:  # too small for a chunk and its halo: write chunks several times
        tile = choose(shape, d.halo, d.size_multiple, pixels, overlap, edge=d.zero_margin)
    return tile


def smaller_tile(
    description: ModelDescription, tile: Sequence[int], error: OutOfMemory, average: int = 1
) -> tuple[int, ...]:
    """The tile with its longest axis halved, as far as its halo allows; Y and X both, if tiles are square.

    Raises
    ------
    OutOfMemory
        When it is the smallest already.
    """
    d = description
    smallest = [2 * round_up(h, s) + s for h, s in zip(d.halo, d.size_multiple, strict=True)]
    room = [t - s for t, s in zip(tile, smallest, strict=True)]
    if max(room) <= 0:
        size = size_text(tile)
        raise OutOfMemory(f"{error}, the smallest that its halo allows ({size}): use another device") from None
    axis = room.index(max(room))
    halved = list(tile)
    halved[axis] = max(tile[axis] // 2, smallest[axis])
    if turns(average):
        halved[-2:] = [min(halved[-2:])] * 2
    return tuple(halved)


def chunk_grid(description: ModelDescription, targets: Sequence[Any]) -> tuple[int, ...]:
    """For each spatial axis, the input pixels after which a chunk of every target starts."""
    return _grid(description, targets, "chunks")


def shard_grid(description: ModelDescription, targets: Sequence[Any]) -> tuple[int, ...]:
    """For each leading and each spatial axis, the input pixels after which a shard (a file) of every target starts."""
    leading = [1] * (len(targets[0].shape) - len(description.axes) - (description.outputs[0].channels > 1))
    for target in targets:
        outer = outer_chunks(target) or (1,) * len(leading)
        leading = [lcm(a, b) for a, b in zip(leading, outer, strict=False)]
    return (*leading, *_grid(description, targets, "shards"))


def longest_row(description: ModelDescription, targets: Sequence[Any], memory: int | None) -> float:
    """Input pixels whose results a quarter of the memory holds, until their shards are whole."""
    each = sum(
        output.channels * prod(output.scale) * target.dtype.itemsize
        for output, target in zip(description.outputs, targets, strict=True)
    )
    return inf if memory is None else memory / 4 / each


def outer_chunks(array: Any) -> tuple[int, ...] | None:
    """The shape of what an array stores in one file: a shard, or a chunk where there are none; None: it has neither."""
    outer = getattr(array, "shards", None) or getattr(array, "chunks", None)
    return tuple(outer) if outer else None


def _grid(description: ModelDescription, targets: Sequence[Any], kind: str) -> tuple[int, ...]:
    axes = len(description.axes)
    grid = [1] * axes
    for target, output in zip(targets, description.outputs, strict=True):
        chunks = (outer_chunks(target) if kind == "shards" else getattr(target, "chunks", None)) or ()
        for axis, (chunk, scale) in enumerate(zip(chunks[-axes:], output.scale, strict=False)):
            grid[axis] = lcm(grid[axis], lcm(chunk, scale) // scale)
    return tuple(grid)
