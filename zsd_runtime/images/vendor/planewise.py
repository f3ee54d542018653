"""An image that a library reads plane by plane."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Read = Callable[[int, slice, slice, slice, slice], NDArray[Any]]


class Planewise:
    """For `Chunked`: the array behind a function that reads a box.

    Parameters
    ----------
    sizes : dict of str to int
        Of each axis of "TCZYX". T, C and Z of size 1 are no axes of the array.
    dtype : dtype
    chunk : dict of str to int
        How much of an axis is read at once; 1 where it is not given. Of T it is always 1.
    read : callable
        From a frame and ranges of C, Z, Y and X to an array of these four axes. It is never called by two threads
        at once.
    """

    def __init__(self, sizes: dict[str, int], dtype: DTypeLike, chunk: dict[str, int], read: Read) -> None:
        self.axes = "".join(a for a in "TCZYX" if a in "YX" or sizes[a] > 1)
        self.shape = tuple(sizes[a] for a in self.axes)
        self.chunks = tuple(min(sizes[a], chunk.get(a, 1)) for a in self.axes)
        self.dtype = np.dtype(dtype)
        self.ndim = len(self.axes)
        self._read = read
        self._lock = threading.Lock()

    def __getitem__(self, box: tuple[slice, ...]) -> NDArray[Any]:
        given = dict(zip(self.axes, box, strict=True))
        t, c, z, y, x = (given.get(a, slice(0, 1)) for a in "TCZYX")
        with self._lock:
            frames = [self._read(frame, c, z, y, x) for frame in range(t.start, t.stop)]
        return np.stack(frames).reshape([b.stop - b.start for b in box])
