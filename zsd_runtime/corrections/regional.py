"""A part of an image without its bad pixels, exactly as if the whole image had been looked at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zsd_runtime.corrections.corrected import Corrected, Corrections, Mask
from zsd_runtime.corrections.hot_pixels import Spread
from zsd_runtime.corrections.plane_faults import Findings, Group, Index


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


def measured(
    source: Any,
    corrections: Corrections,
    *,
    volumes: bool,
    name: str,
    whole: bool,
    findings: Findings | None = None,
) -> tuple[Any, Measured]:
    """What corrections need to know of an image, and the corrected image if it was looked at as a `whole`.

    An image of whole numbers has no NaN: a few of its planes are enough, unless `whole` is asked for. Of a whole one,
    `findings` keep what was found.
    """
    if whole or source.dtype.kind == "f":
        image = Corrected(source, corrections, volumes=volumes, name=name)
        if findings is not None:
            image.keep_in(findings)
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
    findings : Findings or None
        What this and other processes found.
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
        findings: Findings | None = None,
    ) -> None:
        self._known, self._wanted, self._findings = known, planes, findings
        self._seen: set[Group] = set()
        super().__init__(source, corrections, volumes=volumes, name=name)

    def _look(self, report: Callable[[float], None]) -> None:
        if self.too_small:
            return
        if self._known is None:
            self._measure()
            return
        self.spread, self.lasting = self._known.spread, self._known.lasting
        groups = self._groups(self._wanted)
        if self._findings is not None:  # processes that begin at once seldom look at the same planes
            groups = [groups[i] for i in np.random.default_rng().permutation(len(groups))]
        for done, group in enumerate(groups, 1):
            self._see(group)
            report(done / len(groups))
        self.nan = self._known.nan

    def _see(self, group: Group) -> None:
        if group in self._seen:
            return
        self._seen.add(group)
        found = None if self._findings is None else self._findings.read(group)
        if found is None:
            found = self._looked(group)
            if self._findings is not None:
                self._findings.write(group, found)
        self._add(found)

    def _nearest(self, index: Index) -> Index | None:
        """As that of the whole image; planes are looked at until one is not blank."""
        if not self.volumes:
            return None
        slices = self.shape[-3]
        for distance in range(1, slices):
            for z in (index[-1] - distance, index[-1] + distance):
                if 0 <= z < slices:
                    other = (*index[:-1], z)
                    self._see(self._groups([range(i, i + 1) for i in other])[0])
                    if other not in self.blank:
                        return other
        return None
