"""OME-Zarr 0.5 in shards, written box by box by several processes.

It is begun with all levels of its pyramid and without a description, so that no viewer takes it for whole: `begin`.
Each process opens it (`Sharded`), and writes boxes of the finest level. Coarser levels follow shard by shard
(`coarser_shards`, `write_shard`), and at the end the description (`describe`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from zsd_runtime.images.image import Image, as_dtype
from zsd_runtime.images.ome_zarr_write import (
    CHUNK,
    ORDER,
    averaged,
    factors_of,
    few_threads,
    make_array,
    metadata,
    window_of,
    with_known_channels,
)
from zsd_runtime.images.remote import zarr_place
from zsd_runtime.images.whole_shards import WholeShards

# Chunks in a shard along each axis: files of 16 to 34 MB. 100 TB in chunks of 1 to 8 MB would be many more files than
# file systems like. A worker holds a row of shards in memory: so they are not deep.
SHARD = {"Y": 4, "X": 4}
SHARD_OF_VOLUMES = {"Y": 2, "X": 2}

Box = tuple[slice, ...]
Index = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Shape, chunks, shards and type of an array."""

    shape: Index
    chunks: Index
    shards: Index
    dtype: Any


def layout_of(image: Image, scale: tuple[int, ...]) -> Layout:
    """Of the finest level, in the order of the image's axes; it is `scale` times as fine as the raw image."""
    return _layout(image.axes, tuple(image.data.shape), image.data.dtype, scale, finest=True)


def _layout(axes: str, shape: Index, dtype: Any, scale: tuple[int, ...], *, finest: bool) -> Layout:
    volumes = len(scale) == 3
    chunk = CHUNK if volumes else CHUNK | {"Z": 1}
    finer = dict(zip("ZYX"[-len(scale) :], scale, strict=True)) if finest else {}
    many = SHARD_OF_VOLUMES if volumes else SHARD
    chunks = tuple(min(chunk.get(a, 1) * finer.get(a, 1), n) for a, n in zip(axes, shape, strict=True))
    shards = tuple(c * min(many.get(a, 1), ceil(n / c)) for a, c, n in zip(axes, chunks, shape, strict=True))
    return Layout(shape, chunks, shards, dtype)


def begin(path: Path, image: Image, scale: tuple[int, ...], *, again: bool = False) -> None:
    """Make the arrays of an image, `scale` times as fine as its raw one along its last axes; all are empty.

    With `again`, arrays that are there stay: several processes may do so at once.
    """
    import zarr
    from zarr.errors import ContainsArrayError

    few_threads()
    axes, _ = _ordered(image)
    group = zarr.open_group(zarr_place(path), mode="a" if again else "w-", zarr_format=3)
    for level, (_, size) in enumerate(_levels(image)):
        made = _layout(axes, size, image.data.dtype, scale, finest=level == 0)
        try:
            make_array(group, level, axes, size, made.chunks, made.dtype, made.shards)
        except ContainsArrayError:
            if not again:
                raise


class Sharded:
    """The finest level, to write into, with its axes in the order of the image; it remembers what was written.

    Attributes
    ----------
    written : set of tuple of int
        Shards, by their index along each axis of the file.
    """

    def __init__(self, path: Path, image: Image) -> None:
        import zarr

        few_threads()
        axes, _ = _ordered(image)
        array: Any = zarr.open_group(zarr_place(path), mode="r+", zarr_format=3)["0"]
        self._array, self._path = array, path
        self._order = [axes.index(a) for a in image.axes]
        self.shape = tuple(array.shape[axis] for axis in self._order)
        self.chunks = tuple(array.chunks[axis] for axis in self._order)
        self.shards = tuple(array.shards[axis] for axis in self._order)
        self.dtype = array.dtype
        self.written: set[Index] = set()

    def __setitem__(self, box: tuple[int | slice, ...], values: Any) -> None:
        slices = [b if isinstance(b, slice) else slice(b, b + 1) for b in box]
        back = np.argsort(self._order)
        block = np.reshape(values, [b.stop - b.start for b in slices]).transpose(back)
        there = tuple(slices[axis] for axis in back)
        touched = set(
            product(*(range(b.start // s, ceil(b.stop / s)) for b, s in zip(there, self._array.shards, strict=True)))
        )
        if len(touched) == 1 and all(
            b.start % s == 0 and b.stop in (b.start + s, n)
            for b, s, n in zip(there, self._array.shards, self._array.shape, strict=True)
        ):  # a whole one: Zarr would read what stands there, which may be damaged
            (self._path / shard_file(next(iter(touched)))).unlink(missing_ok=True)
        self._array[there] = block
        self.written |= touched


def shard_file(index: Index, level: int = 0) -> str:
    """The file of a shard, relative to the folder of its image."""
    return "/".join([str(level), "c", *map(str, index)])


def coarser_shards(path: Path) -> Iterator[tuple[int, Index]]:
    """The level and the index of each shard of the coarser levels that is not stored yet, finer levels first."""
    import zarr

    group = zarr.open_group(zarr_place(path, read_only=True), mode="r", zarr_format=3)
    for level in range(1, len(list(group.array_keys()))):
        array: Any = group[str(level)]
        for index in product(*(range(ceil(n / s)) for n, s in zip(array.shape, array.shards, strict=True))):
            if not (path / shard_file(index, level)).is_file():
                yield level, index


def write_shard(path: Path, image: Image, level: int, index: Index) -> None:
    """Write a shard of a coarser level from the level before it, chunk by chunk."""
    import zarr

    few_threads()
    group = zarr.open_group(zarr_place(path), mode="r+", zarr_format=3)
    finer: Any = group[str(level - 1)]
    coarser: Any = group[str(level)]
    factor = _levels(image)[level][0]
    whole = [
        range(i * s, min((i + 1) * s, n), c)
        for i, s, n, c in zip(index, coarser.shards, coarser.shape, coarser.chunks, strict=True)
    ]
    with WholeShards(coarser) as target:
        for starts in product(*whole):
            ends = [min(a + c, r.stop) for a, c, r in zip(starts, coarser.chunks, whole, strict=True)]
            source = tuple(slice(a * k, b * k) for a, b, k in zip(starts, ends, factor, strict=True))
            target[tuple(map(slice, starts, ends))] = as_dtype(averaged(finer[source], factor), finer.dtype)


def describe(path: Path, image: Image, extra: dict[str, Any]) -> None:
    """Write the description, and `extra` attributes beside it: with it, the image is whole."""
    import zarr

    image = with_known_channels(image)
    axes, _ = _ordered(image)
    group = zarr.open_group(zarr_place(path), mode="r+", zarr_format=3)
    levels = _levels(image)
    shrunk, total = [], dict.fromkeys(axes, 1)
    for factor, _ in levels:
        total = {a: total[a] * k for a, k in zip(axes, factor, strict=True)}
        shrunk.append(total)
    window = window_of(group[str(len(levels) - 1)], axes) if image.description.channels else None
    group.update_attributes({"ome": metadata(image, axes, shrunk, window), **extra})


def _ordered(image: Image) -> tuple[str, tuple[int, ...]]:
    """The axes in the order of the standard, and their lengths."""
    length = dict(zip(image.axes, image.data.shape, strict=True))
    axes = "".join(a for a in ORDER if a in image.axes)
    return axes, tuple(length[a] for a in axes)


def _levels(image: Image) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Of each level by how much it is coarser than the one before it, and its shape."""
    axes, shape = _ordered(image)
    levels, shrunk = [((1,) * len(axes), shape)], dict.fromkeys(axes, 1)
    while factors := factors_of(shape, axes, image, shrunk):
        factor = tuple(factors[a] for a in axes)
        shape = tuple(n // k for n, k in zip(shape, factor, strict=True))
        levels.append((factor, shape))
        shrunk = {a: shrunk[a] * factors[a] for a in axes}
    return levels
