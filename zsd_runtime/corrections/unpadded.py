"""Results whose padding stays without data."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.corrections.corrected import Box, Corrected, Corrections
from zsd_runtime.package import ModelDescription


def corrected_for(
    description: ModelDescription,
    source: Any,
    targets: Sequence[Any],
    corrections: Corrections | None,
    notice: Callable[[str], None],
) -> tuple[Any, Sequence[Any]]:
    """For a model: the source without its bad pixels, and targets whose padding stays without data."""
    if not isinstance(source, Corrected):
        if corrections is None:
            return source, targets
        source = Corrected(source, corrections, volumes=len(description.axes) == 3)
        if found := source.notice():
            notice(found)
    if source.padded:
        outputs, seen = description.outputs, description.channels
        targets = [
            Unpadded(target, source, output.scale, channels=(seen, output.channels))
            for target, output in zip(targets, outputs, strict=True)
        ]
    return (source if source.changed else source.source), targets


class Unpadded:
    """What results are written to: where the image has padding they are 0, or NaN as the image is.

    Parameters
    ----------
    target : array-like
        Takes boxes (…, [C,] [Z,] Y, X), on a grid `scale` times as fine as that of the image.
    image : Corrected
    scale : tuple of int
        For the last axes.
    channels : (int, int)
        How many the model sees and makes; with one, there is no axis for it.
    """

    def __init__(
        self, target: Any, image: Corrected, scale: tuple[int, ...], *, channels: tuple[int, int] = (1, 1)
    ) -> None:
        self.shape, self.dtype = target.shape, target.dtype
        for kind in ("chunks", "shards"):
            if hasattr(target, kind):
                setattr(self, kind, getattr(target, kind))
        self.target, self._image, self._scale, self._channels = target, image, scale, channels

    def __setitem__(self, box: Box, values: NDArray[Any]) -> None:
        places = [range(b.start, b.stop) if isinstance(b, slice) else range(b, b + 1) for b in box]
        result = np.array(values).reshape([len(place) for place in places])
        y, x = (np.array(place) // k for place, k in zip(places[-2:], self._scale[-2:], strict=True))
        for here in np.ndindex(result.shape[:-2]):
            padding = self._image.padding(self._raw([place[i] for place, i in zip(places, here, strict=False)]))
            if padding is not None:
                empty = np.nan if self._image.nan and result.dtype.kind == "f" else 0
                result[here][padding[np.ix_(y, x)]] = empty
        self.target[box] = result.reshape(np.shape(values))

    def _raw(self, fine: list[int]) -> tuple[int, ...]:
        """The image's plane that a plane of the result is of; of several channels the first."""
        depth = len(self._scale) - 2
        leading, z = fine[: len(fine) - depth], fine[len(fine) - depth :]
        seen, made = self._channels
        leading = leading[: len(leading) - (made > 1)] + [0] * (seen > 1)
        return (*leading, *(at // k for at, k in zip(z, self._scale, strict=False)))
