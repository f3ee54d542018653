"""Other views of data that is read where it is sliced."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class View:
    """Some axes of `data` in another order, at one index of the others. Takes integers and slices with both ends.

    Parameters
    ----------
    data : array-like
        What takes such slices, with `shape` and `dtype`.
    order : sequence of int, optional
        Axes of `data`, in the order of the view; all that are not in `at` when not given.
    at : mapping of int to int
        The index along each of the other axes.
    """

    def __init__(self, data: Any, order: Sequence[int] | None = None, at: Mapping[int, int] | None = None) -> None:
        self._data, self._at = data, dict(at or {})
        self._order = [a for a in range(len(data.shape)) if a not in self._at] if order is None else list(order)
        self.shape = tuple(data.shape[axis] for axis in self._order)
        self.dtype, self.ndim = data.dtype, len(self._order)
        parts = getattr(data, "parts", None)  # see `Chunked`
        self.parts = parts and tuple(parts[axis] for axis in self._order)

    def __getitem__(self, box: tuple[int | slice, ...]) -> NDArray[Any]:
        whole: list[int | slice] = [slice(0, n) for n in self._data.shape]
        for axis, index in self._at.items():
            whole[axis] = index
        for axis, part in zip(self._order, box, strict=True):
            whole[axis] = part if isinstance(part, slice) else slice(part, part + 1)
        found = np.asarray(self._data[tuple(whole)])  # without the axes of `at`
        left = [axis for axis in range(len(whole)) if axis not in self._at]
        found = found.transpose([left.index(axis) for axis in self._order])
        return found[tuple(slice(None) if isinstance(part, slice) else 0 for part in box)]
