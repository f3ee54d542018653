"""Averaging over flips and turns: the network sees every tile in up to eight ways, and the mean is the result.

Tiles are turned, not images: nothing larger than a tile is held, and volumes larger than memory pass as ever. It gives
what turning the whole image gives, because a tile lies on the network's pooling grid with both of its ends.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import lcm

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.engines import Array, Engine
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.package import ModelDescription

COUNTS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Symmetry:
    """A symmetry of the square, on the last two axes of an array: Y and X change places, then each may be reversed."""

    swaps: bool
    y_step: int
    x_step: int

    def __call__(self, values: Array) -> Array:
        """The values as a view, flipped and turned."""
        return (values.swapaxes(-1, -2) if self.swaps else values)[..., :: self.y_step, :: self.x_step]

    def undone(self, values: Array) -> Array:
        """The values as a view, turned and flipped back."""
        values = values[..., :: self.y_step, :: self.x_step]
        return values.swapaxes(-1, -2) if self.swaps else values


# In an order in which the first 2 are the image and its mirror, and the first 4 its flips.
SYMMETRIES = tuple(Symmetry(swaps, y, x) for swaps in (False, True) for y in (1, -1) for x in (1, -1))


def check_average(average: int) -> None:
    """Raise `InputError` unless `average` is a number of symmetries."""
    if average not in COUNTS:
        raise InputError(
            f"`average` {average} must be 1, 2, 4 or 8",
            "2 is the image and its mirror, 4 its flips, 8 its flips and turns",
            option="average",
        )


def turns(average: int) -> bool:
    """Whether an average has symmetries that swap Y and X: its tiles must be square."""
    return average > 4


def averaged(description: ModelDescription, average: int) -> ModelDescription:
    """The description for an average: its lengths hold for Y and X, whichever way the network sees them.

    Raises
    ------
    InputError
        When there is no such average, or the outputs have other grids once they are turned.
    """
    check_average(average)
    if not turns(average):
        return description
    for output in description.outputs:
        if output.scale[-1] != output.scale[-2]:
            raise InputError(
                f"output {output.name} is {size_text(output.scale[-2:])} times as fine as the image, and `average` "
                f"{average} swaps Y and X",
                "set `average` to 4 or less",
                option="average",
            )
    d = description
    return replace(
        d, halo=_alike(d.halo, max), size_multiple=_alike(d.size_multiple, lcm),
        zero_margin=None if d.zero_margin is None else _alike(d.zero_margin, max),
    )  # fmt: skip


def check_square(tile: Sequence[int], average: int) -> None:
    """Raise `InputError` when a tile changes its shape as it is turned: an engine is prepared for one shape."""
    if turns(average) and tile[-1] != tile[-2]:
        square = size_text((*tile[:-2], max(tile[-2:]), max(tile[-2:])))
        raise InputError(
            f"`tile` {size_text(tile)} is not square in Y and X, and `average` {average} turns tiles",
            f"set `tile` to {square}, or `average` to 4",
            option=("tile", "average"),
        )


def average_text(average: int) -> str:
    """What was averaged, for people; empty for 1."""
    ways = {2: "the image and its mirror", 4: "the four flips", 8: "the eight flips and turns"}
    return f"mean of the predictions for {ways[average]}" if average > 1 else ""


class Averaging:
    """Runs an engine on a batch in all ways, and takes the mean; `run` does as an engine's.

    Parameters
    ----------
    engine : Engine
        Prepared for the shape of `batch`.
    batch : ndarray
        (N, C, [Z,] Y, X); an array like it is made for turned batches. Y and X are equal if symmetries swap them.
    outputs : list of ndarray
        The engine's outputs; arrays like them are made for those of one way.
    average : int
        Number of symmetries.
    """

    def __init__(self, engine: Engine, batch: Array, outputs: list[Array], average: int) -> None:
        self._engine, self._symmetries = engine, SYMMETRIES[:average]
        self._turned = engine.empty(batch.shape, batch.dtype)
        self._outputs = [engine.empty(output.shape, output.dtype) for output in outputs]

    def run(self, batch: Array, means: list[NDArray[np.float32]]) -> None:
        """Fill `means`, float32, of the shapes of the engine's outputs."""
        for mean in means:
            mean[:] = 0
        for symmetry in self._symmetries:
            np.copyto(self._turned, symmetry(batch))
            self._engine.run(self._turned, self._outputs)
            for mean, output in zip(means, self._outputs, strict=True):
                mean += symmetry.undone(output)
        for mean in means:
            mean *= np.float32(1 / len(self._symmetries))  # a power of 2: exact


def _alike(lengths: tuple[int, ...], both: Callable[[int, int], int]) -> tuple[int, ...]:
    """Of Y and X the same length."""
    return (*lengths[:-2], *[both(*lengths[-2:])] * 2)
