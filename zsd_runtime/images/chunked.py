"""Any chunked array, read piece by piece, in any order of its axes."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import product
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

CACHE = 256 << 20  # bytes of decoded chunks: the neighbouring tiles of a row read the same ones


class Chunked:
    """A chunked array, read through the chunks that were decoded last. Takes integers and slices with both ends."""

    def __init__(self, array: Any, cache: int = CACHE) -> None:
        self.shape, self.ndim = array.shape, array.ndim
        self.dtype = array.dtype.newbyteorder("=")  # what computes with it takes no other order
        self._array = array
        shard = getattr(array, "shards", None)  # one read for all chunks in it
        together = shard is not None and int(np.prod(shard)) * array.dtype.itemsize <= cache // 8
        self._chunk: tuple[int, ...] = tuple(shard if shard is not None and together else array.chunks)
        self._room = max(1, cache // (int(np.prod(self._chunk)) * array.dtype.itemsize))
        self._decoded: OrderedDict[tuple[int, ...], NDArray[Any]] = OrderedDict()

    def __getitem__(self, box: tuple[int | slice, ...]) -> NDArray[Any]:
        ranges = [(b.start, b.stop) if isinstance(b, slice) else (b, b + 1) for b in box]
        result = np.empty([high - low for low, high in ranges], self.dtype)
        touched = [range(low // c, ceil(high / c)) for (low, high), c in zip(ranges, self._chunk, strict=True)]
        for index in product(*touched):
            starts = [i * c for i, c in zip(index, self._chunk, strict=True)]
            ends = [min(s + c, n) for s, c, n in zip(starts, self._chunk, self.shape, strict=True)]
            shared = [(max(low, s), min(high, e)) for (low, high), s, e in zip(ranges, starts, ends, strict=True)]
            there = tuple(slice(a - low, b - low) for (a, b), (low, _) in zip(shared, ranges, strict=True))
            here = tuple(slice(a - s, b - s) for (a, b), s in zip(shared, starts, strict=True))
            result[there] = self._decode(index, starts, ends)[here]
        return result[tuple(slice(None) if isinstance(b, slice) else 0 for b in box)]

    def transpose(self, order: Sequence[int]) -> "Turned":
        """The same array with its axes in this order; see `Turned`."""
        return Turned(self, order)

    def _decode(self, index: tuple[int, ...], starts: list[int], ends: list[int]) -> NDArray[Any]:
        if index in self._decoded:
            self._decoded.move_to_end(index)
        else:
            chunk = self._array[tuple(map(slice, starts, ends))]
            self._decoded[index] = np.asarray(chunk)
            if len(self._decoded) > self._room:
                self._decoded.popitem(last=False)
        return self._decoded[index]


class Turned:
    """An array that takes slices, seen with its axes in another order; nothing is copied.

    Parameters
    ----------
    array : array-like
        With `shape`, `dtype` and `chunks`, read or assigned through integers and slices with both ends.
    order : sequence of int
        Its axes in the new order. Those that are left out have length 1.
    """

    def __init__(self, array: Any, order: Sequence[int]) -> None:
        self._array, self._order = array, tuple(order)
        self._left_out = tuple(axis for axis in range(len(array.shape)) if axis not in self._order)
        self.shape = tuple(array.shape[axis] for axis in self._order)
        self.dtype, self.ndim = array.dtype, len(self._order)

    @property
    def chunks(self) -> tuple[int, ...]:
        """Of the array, in the new order."""
        return tuple(self._array.chunks[axis] for axis in self._order)

    def __getitem__(self, box: tuple[int | slice, ...]) -> NDArray[Any]:
        values = self._array[self._inner(box)].transpose(self._order + self._left_out)
        return values[tuple(slice(None) if isinstance(b, slice) else 0 for b in box) + (0,) * len(self._left_out)]

    def __setitem__(self, box: tuple[int | slice, ...], values: Any) -> None:
        lengths = [b.stop - b.start if isinstance(b, slice) else 1 for b in box] + [1] * len(self._left_out)
        back = np.argsort(self._order + self._left_out)
        self._array[self._inner(box)] = np.reshape(values, lengths).transpose(back)

    def _inner(self, box: tuple[int | slice, ...]) -> tuple[slice, ...]:
        """The box in the array's own order."""
        slices = dict(zip(self._order, box, strict=True))
        inner = [slices.get(axis, 0) for axis in range(len(self._array.shape))]
        return tuple(b if isinstance(b, slice) else slice(b, b + 1) for b in inner)

    def transpose(self, order: Sequence[int]) -> "Turned":
        """The same array with these axes in this order."""
        return Turned(self, order)
