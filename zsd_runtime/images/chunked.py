"""Any chunked array, read piece by piece."""

import weakref
from collections import OrderedDict, deque
from itertools import count, product
from math import ceil
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

CACHE = 256 << 20  # bytes of decoded chunks: the neighbouring tiles of a row read the same ones

Key = tuple[int, tuple[int, ...]]  # which array, and the index of the chunk


class ChunkCache:
    """The chunks that were decoded last, of any number of arrays: in all, at most `limit` bytes, or a single chunk.

    Attributes
    ----------
    held, peak, decoded : int
        Bytes that it holds, has held at most, and has taken up.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = self.peak = self.decoded = 0
        self._chunks: OrderedDict[Key, NDArray[Any]] = OrderedDict()
        self._lock, self._dead = Lock(), deque[int]()

    def get(self, key: Key) -> NDArray[Any] | None:
        """A chunk, which then counts as the last one used."""
        with self._lock:
            if key in self._chunks:
                self._chunks.move_to_end(key)
            return self._chunks.get(key)

    def put(self, key: Key, chunk: NDArray[Any]) -> None:
        """Keep a chunk, and drop those that were not used for longest."""
        with self._lock:
            self._bury()
            self.held += chunk.nbytes - (self._chunks[key].nbytes if key in self._chunks else 0)
            self.decoded += chunk.nbytes
            self._chunks[key] = chunk
            while self.held > self.limit and len(self._chunks) > 1:
                self.held -= self._chunks.popitem(last=False)[1].nbytes
            self.peak = max(self.peak, self.held)

    def drop(self, array: int) -> None:
        """Forget the chunks of an array, when the next one comes: the garbage collector may ask while they are used."""
        self._dead.append(array)

    def _bury(self) -> None:
        dead = {self._dead.popleft() for _ in range(len(self._dead))}
        for key in [key for key in self._chunks if key[0] in dead]:
            self.held -= self._chunks.pop(key).nbytes


SHARED = ChunkCache(CACHE)
_numbers = count()


class Chunked:
    """A chunked array, read through the chunks that were decoded last. Takes integers and slices with both ends.

    Attributes
    ----------
    parts : tuple of int
        What is decoded at once: a chunk, or a small shard.
    """

    def __init__(self, array: Any, cache: ChunkCache = SHARED) -> None:
        self.shape, self.ndim = array.shape, array.ndim
        self.dtype = array.dtype.newbyteorder("=")  # what computes with it takes no other order
        self._array, self._cache, self._number = array, cache, next(_numbers)
        shard = getattr(array, "shards", None)  # one read for all chunks in it
        together = shard is not None and int(np.prod(shard)) * array.dtype.itemsize <= cache.limit // 8
        self.parts: tuple[int, ...] = tuple(shard if shard is not None and together else array.chunks)
        weakref.finalize(self, cache.drop, self._number)

    def __getitem__(self, box: tuple[int | slice, ...]) -> NDArray[Any]:
        ranges = [(b.start, b.stop) if isinstance(b, slice) else (b, b + 1) for b in box]
        result = np.empty([high - low for low, high in ranges], self.dtype)
        touched = [range(low // c, ceil(high / c)) for (low, high), c in zip(ranges, self.parts, strict=True)]
        for index in product(*touched):
            starts = [i * c for i, c in zip(index, self.parts, strict=True)]
            ends = [min(s + c, n) for s, c, n in zip(starts, self.parts, self.shape, strict=True)]
            shared = [(max(low, s), min(high, e)) for (low, high), s, e in zip(ranges, starts, ends, strict=True)]
            there = tuple(slice(a - low, b - low) for (a, b), (low, _) in zip(shared, ranges, strict=True))
            here = tuple(slice(a - s, b - s) for (a, b), s in zip(shared, starts, strict=True))
            result[there] = self._decode(index, starts, ends)[here]
        return result[tuple(slice(None) if isinstance(b, slice) else 0 for b in box)]

    def _decode(self, index: tuple[int, ...], starts: list[int], ends: list[int]) -> NDArray[Any]:
        chunk = self._cache.get((self._number, index))
        if chunk is None:
            chunk = np.asarray(self._array[tuple(map(slice, starts, ends))])
            self._cache.put((self._number, index), chunk)
        return chunk
