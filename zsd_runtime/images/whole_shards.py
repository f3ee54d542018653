"""Write whole shards: a part of one is kept in memory until the rest has come."""

from itertools import product
from math import ceil, prod
from types import TracebackType
from typing import Any, Self

import numpy as np


class WholeShards:
    """A target that writes each shard once. Every pixel of it is assigned once; boxes may cut shards anywhere.

    Zarr reads, decodes and writes the whole shard for each part of it. This is a context manager: shards that are not
    whole at its end are written in parts.

    Parameters
    ----------
    target : array-like
        What is written to; with `shape`, `dtype` and `shards`, as a Zarr array.
    """

    def __init__(self, target: Any) -> None:
        self.target, self.shape, self.dtype = target, target.shape, target.dtype
        self._shard: tuple[int, ...] = target.shards
        self._parts: dict[tuple[int, ...], list[tuple[tuple[slice, ...], Any]]] = {}
        self._missing: dict[tuple[int, ...], int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for parts in self._parts.values() if kind is None else ():
            for box, values in parts:
                self.target[box] = values

    def __setitem__(self, box: tuple[int | slice, ...], values: Any) -> None:
        slices = tuple(b if isinstance(b, slice) else slice(b, b + 1) for b in box)
        values = np.reshape(values, [b.stop - b.start for b in slices])
        touched = (range(b.start // s, ceil(b.stop / s)) for b, s in zip(slices, self._shard, strict=True))
        for index in product(*touched):
            whole = tuple(
                slice(i * s, min((i + 1) * s, n)) for i, s, n in zip(index, self._shard, self.shape, strict=True)
            )
            part = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(whole, slices, strict=True))
            here = tuple(slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, slices, strict=True))
            self._add(index, whole, part, values[here])

    def _add(self, index: tuple[int, ...], whole: tuple[slice, ...], part: tuple[slice, ...], values: Any) -> None:
        """Keep a part of a shard; write the shard when it is whole."""
        missing = self._missing.pop(index, _size(whole)) - values.size
        if missing:
            self._missing[index] = missing
            self._parts.setdefault(index, []).append((part, values.copy()))
            return
        shard = np.empty([b.stop - b.start for b in whole], self.dtype)
        for box, known in [*self._parts.pop(index, []), (part, values)]:
            shard[tuple(slice(b.start - w.start, b.stop - w.start) for b, w in zip(box, whole, strict=True))] = known
        self.target[whole] = shard


def _size(box: tuple[slice, ...]) -> int:
    return prod(b.stop - b.start for b in box)
