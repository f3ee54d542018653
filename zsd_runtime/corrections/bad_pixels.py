"""Pixels that are no measurement of the sample: padding, clipped values, hot and dead pixels, NaN.

All are found by themselves, without any setting of the camera; padding and hot pixels have modules of their own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.corrections.hot_pixels import SHARE, Spread, find_hot_pixels, replacements, spread_of
from zsd_runtime.corrections.padding import find_padding, mirrored_into, union

Plane = NDArray[Any]
Mask = NDArray[np.bool_]

FEWEST = 4  # planes that show which hot pixels last
PILED = 1e-4  # share of a plane that must pile up at the end of the range to be clipped


@dataclass(frozen=True)
class BadPixels:
    """Masks (Y, X) of a plane, each None where there is no such pixel.

    Attributes
    ----------
    padding : ndarray or None
        Constant areas and areas of NaN: outside of what was imaged.
    low, high : ndarray or None
        Clipped at the lower and the upper end of the range.
    hot, dead : ndarray or None
        Single pixels that stand out upwards and downwards; dead ones may also be NaN.
    """

    padding: Mask | None = None
    low: Mask | None = None
    high: Mask | None = None
    hot: Mask | None = None
    dead: Mask | None = None

    @property
    def replaced(self) -> Mask | None:
        """Hot and dead pixels: they get the median of their surroundings."""
        return union(self.hot, self.dead)

    @property
    def unmeasured(self) -> Mask | None:
        """What is no value of the sample: all but pixels that are clipped at the lower end, where the light is low."""
        return union(self.padding, self.high, self.hot, self.dead)

    @property
    def blank(self) -> bool:
        """Whether the whole plane is padding: a frame that was never taken."""
        return self.padding is not None and bool(self.padding.all())

    def with_hot(self, more: Mask | None) -> "BadPixels":
        """With further hot pixels, outside of what is bad already."""
        known = union(self.padding, self.high, self.dead)
        more = more if more is None or known is None else more & ~known
        return self if more is None or not more.any() else replace(self, hot=union(self.hot, more))

    def counts(self) -> dict[str, int]:
        """Number of pixels by kind."""
        masks = {"padding": self.padding, "low": self.low, "high": self.high, "hot": self.hot, "dead": self.dead}
        return {kind: 0 if mask is None else int(mask.sum()) for kind, mask in masks.items()}


def measure_spread(planes: Iterable[Plane]) -> Spread:
    """The spread of the planes (Y, X) of one image together."""
    return spread_of((*_filled(plane), plane.dtype.kind != "f") for plane in planes)


def find_bad_pixels(plane: Plane, spread: Spread | None = None, neighbour_share: float = SHARE) -> BadPixels:
    """Find the pixels of a plane that are no data.

    Parameters
    ----------
    plane : ndarray
        (Y, X), camera counts, any real dtype; may hold NaN.
    spread : Spread
        Of the image that the plane belongs to; measured on the plane when not given.
    neighbour_share : float
        What the optics leave of a point's height in its neighbours, at least.
    """
    values, padding = _filled(plane)
    if padding is not None and padding.all():
        return BadPixels(padding)
    missing = ~np.isfinite(plane) if plane.dtype.kind == "f" else np.zeros(plane.shape, bool)
    if padding is not None:
        missing &= ~padding
    hot, dead = find_hot_pixels(values, spread or measure_spread([plane]), missing, padding, neighbour_share)
    elsewhere = union(padding, hot, dead)
    return BadPixels(padding, _clipped(values, elsewhere, -1), _clipped(values, elsewhere, 1), hot, dead)


def lasting_hot_pixels(
    planes: Sequence[Plane], spread: Spread | None = None, neighbour_share: float = SHARE
) -> Mask | None:
    """Pixels that are hot or dead in all of some planes (Y, X) of one camera, also by less than the noise of one.

    Found in the mean of the planes, whose noise is lower; needs `FEWEST` planes. (Not in their median: it makes edges
    that no optics make.)
    """
    looked_at = [(values, padding) for values, padding in map(_filled, planes) if padding is None or not padding.all()]
    if len(looked_at) < FEWEST:
        return None
    spread = spread or spread_of((*each, True) for each in looked_at)
    hot = [find_bad_pixels(values, spread, neighbour_share).replaced for values, _ in looked_at]
    times = sum((mask.astype(np.uint8) for mask in hot if mask is not None), np.zeros(planes[0].shape, np.uint8))
    often = times > max(1, len(hot) // 4)
    total = np.zeros(planes[0].shape)
    for (values, _), mask in zip(looked_at, hot, strict=True):
        if mask is not None:  # a cosmic ray does not last
            once = mask & ~often
            values[once] = replacements(values, once)
        total += values
    return union(often, find_bad_pixels((total / len(hot)).astype(np.float32), None, neighbour_share).replaced)


def _filled(plane: Plane) -> tuple[NDArray[np.float32], Mask | None]:
    """The plane as float32 with its padding mirrored and other NaN left out, and the padding."""
    padding = find_padding(plane)
    with np.errstate(over="ignore"):  # beyond float32 is infinite
        values = plane.astype(np.float32)
    if plane.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
        values[~finite] = np.median(values[finite]) if finite.any() else 0.0
    if padding is not None:
        values = np.asarray(mirrored_into(values, padding), np.float32)
    return values, padding


def _clipped(values: NDArray[np.float32], bad: Mask | None, end: int) -> Mask | None:
    """Pixels that pile up at an end of the range; without clipping they become fewer towards it."""
    inside = values if bad is None else values[~bad]
    extreme = inside.min() if end < 0 else inside.max()
    others = inside[inside != extreme]
    if others.size == 0:
        return None
    piled, beside = inside.size - others.size, int((others == (others.min() if end < 0 else others.max())).sum())
    if piled <= max(10, PILED * inside.size, 2 * beside):
        return None
    return values == extreme if bad is None else (values == extreme) & ~bad
