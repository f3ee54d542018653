"""Stacks of slices that arrive one by one, put together by their index."""

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError, size_text

MOST_OPEN = 16  # stacks under way at once: channels that take turns slice by slice; an older one lost a slice


@dataclass
class _Stack:
    image: NDArray[np.generic]
    missing: set[int]


class Stacks:
    """Stacks under way. Incomplete ones are dropped and counted; slices of two stacks are never mixed.

    Attributes
    ----------
    incomplete : int
        Stacks that were dropped.
    """

    def __init__(self, most_open: int = MOST_OPEN) -> None:
        self.most_open, self.incomplete = most_open, 0
        self._open: OrderedDict[Hashable, _Stack] = OrderedDict()

    def add(
        self, plane: NDArray[np.generic], channel: str, index: Mapping[str, int], z: int, slices: int
    ) -> NDArray[np.generic] | None:
        """Add a slice.

        Parameters
        ----------
        plane : ndarray
            (Y, X); it is copied.
        channel : str
        index : mapping of str to int
            The place of the stack in the acquisition, without "z".
        z, slices : int
            The number of the slice, from 0, and how many the stack has.

        Returns
        -------
        ndarray or None
            The stack (Z, Y, X) that this slice completes.

        Raises
        ------
        InputError
            When the slice does not fit its stack, which is dropped.
        """
        key = (channel, tuple(sorted(index.items())))
        if key not in self._open:
            if not 0 <= z < slices:
                raise InputError(f"slice {z} does not exist in a stack of {slices}")
            while len(self._open) >= self.most_open:  # its slices never came
                self._open.popitem(last=False)
                self.incomplete += 1
            self._open[key] = _Stack(np.empty((slices, *plane.shape), plane.dtype), set(range(slices)))
        stack = self._open[key]
        if z not in stack.missing or len(stack.image) != slices or stack.image.shape[1:] != plane.shape:
            del self._open[key]
            self.incomplete += 1
            raise InputError(
                f"slice {z} of {slices}, {size_text(plane.shape)}, does not fit the stack that it belongs to, "
                f"{size_text(stack.image.shape)}: the stack is dropped"
            )
        stack.image[z] = plane
        stack.missing.remove(z)
        return None if stack.missing else self._open.pop(key).image

    def drop(self) -> None:
        """Drop the stacks under way: their slices will not come any more."""
        self.incomplete += len(self._open)
        self._open.clear()
