"""Any chunked array, read piece by piece."""

from collections import OrderedDict
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

    def _decode(self, index: tuple[int, ...], starts: list[int], ends: list[int]) -> NDArray[Any]:
        if index in self._decoded:
            self._decoded.move_to_end(index)
        else:
            chunk = self._array[tuple(map(slice, starts, ends))]
            self._decoded[index] = np.asarray(chunk)
            if len(self._decoded) > self._room:
                self._decoded.popitem(last=False)
        return self._decoded[index]
