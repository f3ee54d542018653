"""A part of an image without its bad pixels, exactly as if the whole image had been looked at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from zsd_runtime.corrections.corrected import Corrected, Corrections, Index, Mask
from zsd_runtime.corrections.hot_pixels import Spread


@dataclass(frozen=True)
class Measured:
    """What corrections need to know of the whole image.

    Attributes
    ----------
    spread : Spread or None
        Of the noise; None: planes are too small to be looked at.
    lasting : ndarray of bool or None
        (Y, X), pixels that are hot in every plane.
    nan : bool
        Whether any padding is NaN.
    """

    spread: Spread | None
    lasting: Mask | None
    nan: bool


def measured(source: Any, corrections: Corrections, *, volumes: bool, name: str, whole: bool) -> tuple[Any, Measured]:
    """What corrections need to know of an image, and the corrected image if it was looked at as a `whole`.

    An image of whole numbers has no NaN: a few of its planes are enough, unless `whole` is asked for.
    """
    if whole or source.dtype.kind == "f":
        image = Corrected(source, corrections, volumes=volumes, name=name)
        return image, Measured(image.spread, image.lasting, image.nan)
    few = RegionalCorrected(source, corrections, None, (), volumes=volumes, name=name)
    return None, Measured(few.spread, few.lasting, nan=False)


class RegionalCorrected(Corrected):
    """As `Corrected`, where only some planes were looked at, for a reader that reads no others.

    Parameters
    ----------
    source, corrections, volumes, name
        As for `Corrected`.
    known : Measured or None
        Of the whole image; measured when not given.
    planes : sequence of range
        For each axis before Y and X, the indices that will be read; empty: none.
    """

    def __init__(
        self,
        source: Any,
        corrections: Corrections,
        known: Measured | None,
        planes: Sequence[range],
        *,
        volumes: bool = False,
        name: str = "the image",
    ) -> None:
        self._known, self._wanted = known, planes
        super().__init__(source, corrections, volumes=volumes, name=name)

    def _look(self, report: Callable[[float], None]) -> None:
        if self.too_small:
            return
        if self._known is None:
            self._measure()
        else:
            self.spread, self.lasting, self.nan = self._known.spread, self._known.lasting, self._known.nan
        nan = self.nan
        self._seen: set[Index] = set()
        wanted = list(product(*self._wanted)) if self._wanted or self.ndim == 2 else []
        for done, index in enumerate(wanted if self._known else [], 1):
            self._see(index)
            report(done / len(wanted))
        self.nan = nan

    def _see(self, index: Index) -> None:
        if index not in self._seen:
            self._seen.add(index)
            self._look_at(index)

    def _nearest(self, index: Index) -> Index | None:
        """As that of the whole image; planes are looked at until one is not blank."""
        if not self.volumes:
            return None
        slices = self.shape[-3]
        for distance in range(1, slices):
            for z in (index[-1] - distance, index[-1] + distance):
                if 0 <= z < slices:
                    self._see(other := (*index[:-1], z))
                    if other not in self.blank:
                        return other
        return None
