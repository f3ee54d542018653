"""Hot and dead pixels, rows and columns; cosmic rays.

The optics blur every real point over its neighbours: what stands out alone is not of the sample.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.corrections.padding import union

Plane = NDArray[Any]
Mask = NDArray[np.bool_]

STANDS_OUT = 8.0  # standard deviations: of a million pixels of EMCCD noise, whose tail is long, seven stand out
TAIL = 3.0  # standard deviations below that in which a long tail of the noise shows
LINE = 3.0  # standard deviations of a pixel by which the median of a bad row or column stands out
SHARE = 0.15  # of a point's height that its neighbours have at least; 0.23 for a PSF of σ = 0.5 pixels, 0.5 for 0.85
FREQUENT = 3e-4  # share of hot pixels from which on two side by side are to be expected
PHOTONS = 6.0  # times the variance that light adds to a count: single photons, also of an EMCCD, stay below
SAMPLED = 20_000  # pixels of a plane that the spread is measured on
BINS = 12

_AROUND = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if (y, x) != (0, 0)]
_BESIDE = [(-1, 0), (1, 0), (0, -1), (0, 1)]


@dataclass(frozen=True)
class Spread:
    """How far pixels of a brightness differ from the median of their surroundings (noise, and some structure).

    Attributes
    ----------
    level, sigma : ndarray
        Counts; sigma is a robust standard deviation, which 2 % of outliers do not change.
    """

    level: NDArray[np.float32]
    sigma: NDArray[np.float32]

    @property
    def photon(self) -> float:
        """The variance that light adds to the noise for each count, at most: about the height of a photon."""
        rise = self.level - self.level[0]
        lit = rise > 0.5 * self.sigma[0]
        return float(((self.sigma[lit] ** 2 - self.sigma[0] ** 2) / rise[lit]).min()) if lit.any() else 0.0

    def at(self, level: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sigma at other levels; above the highest it grows as photon noise does."""
        beyond = np.maximum(level - self.level[-1], 0) / max(float(np.ptp(self.level)), 1e-9)
        return (np.interp(level, self.level, self.sigma) * np.sqrt(1 + beyond)).astype(np.float32)


def spread_of(planes: Iterable[tuple[NDArray[np.float32], Mask | None, bool]]) -> Spread:
    """The spread of planes: for each its values, which pixels are padding, and whether it holds whole numbers."""
    levels, residuals, smallest = [], [], 0.5
    for values, padding, whole in planes:
        usable = np.ones(values.shape, bool) if padding is None else ~padding
        usable[:2], usable[-2:], usable[:, :2], usable[:, -2:] = False, False, False, False
        places = np.flatnonzero(usable)
        places = places[:: max(1, places.size // SAMPLED)]
        smallest = smallest if whole else 0.0
        if places.size:
            levels.append(np.median(_neighbours(values, places, _AROUND), axis=0))
            residuals.append(values.ravel()[places] - levels[-1])
    if not levels:
        return Spread(np.zeros(1, np.float32), np.full(1, np.inf, np.float32))
    level, residual = np.concatenate(levels), np.concatenate(residuals)
    groups = np.array_split(np.argsort(level), min(BINS, max(1, level.size // 200)))
    sigma = [max(_robust_sigma(residual[group]), smallest) for group in groups]
    return Spread(
        np.array([level[group].mean() for group in groups], np.float32),
        np.maximum.accumulate(sigma).astype(np.float32),
    )


def _robust_sigma(residual: NDArray[np.float32]) -> float:
    """The larger of two estimates: of noise about the median, and of rare bright events, as single photons are."""
    centre, high = np.quantile(residual, (0.5, 0.97))
    return max(1.4826 * float(np.median(np.abs(residual - centre))), float(high - centre) / 1.88)


def find_hot_pixels(
    values: NDArray[np.float32], spread: Spread, missing: Mask, padding: Mask | None, neighbour_share: float
) -> tuple[Mask | None, Mask | None]:
    """Hot and dead pixels of a plane (Y, X).

    Parameters
    ----------
    values : ndarray
        Finite; not changed.
    spread : Spread
    missing : ndarray of bool
        Pixels that are dead for sure.
    padding : ndarray of bool or None
        None of it is hot or dead.
    neighbour_share : float
        What the optics leave of a point's height in its neighbours, at least; 0: points are as narrow as hot pixels,
        which cannot be found then.
    """
    hot, dead = (_bad_lines(values, spread, sign) for sign in (1, -1))
    dead = union(dead, missing if missing.any() else None)
    if not neighbour_share:
        return hot, dead
    limit = STANDS_OUT
    for first in (True, False, False):  # the neighbours of hot pixels are found once these are replaced
        if (bad := union(hot, dead)) is not None:
            values = values.copy()
            values[bad] = replacements(values, bad)
        frequent = hot is not None and float(np.mean(hot)) > FREQUENT
        up, down = (_lone_pixels(values, spread, sign, neighbour_share) for sign in (1, -1))
        if first:
            limit = up.threshold()
        more_hot, more_dead = (lone.above(limit, padding, pairs=frequent) for lone in (up, down))
        if first and more_hot is not None and _is_light(values, more_hot, spread):
            limit, more_hot = np.inf, None
        if more_hot is None and more_dead is None:
            break
        hot, dead = union(hot, more_hot), union(dead, more_dead)
    return hot, dead


def replacements(plane: Plane, bad: Mask, padding: Mask | None = None) -> NDArray[np.float32]:
    """For each bad pixel, in the order of `plane[bad]`, the median of the good ones among its 24 neighbours.

    Neighbours in the `padding` are not good.
    """
    places = np.flatnonzero(bad)
    near = _neighbours(plane, places, _AROUND).astype(np.float32)
    wrong = bad if padding is None else bad | padding
    near[_neighbours(wrong, places, _AROUND)] = np.nan
    lonely = ~np.isfinite(near).any(axis=0)
    if lonely.any():
        good = plane[~wrong & np.isfinite(plane)].astype(np.float32)
        near[:, lonely] = np.median(good) if good.size else 0.0
    return np.nanmedian(near, axis=0).astype(np.float32)


@dataclass(frozen=True)
class _Lone:
    """Pixels that are higher than their neighbours, and more so than optics allow."""

    shape: tuple[int, ...]
    places: NDArray[np.intp]
    heights: NDArray[np.float32]  # standard deviations
    alone: Mask  # beside all four neighbours
    paired: Mask  # beside the three lower ones

    def threshold(self) -> float:
        """The height of hot pixels: above `STANDS_OUT` where the noise has a long tail, as that of an EMCCD."""
        heights = self.heights[self.alone]
        near = int(((heights > STANDS_OUT - TAIL) & (heights <= STANDS_OUT)).sum())
        far = int((heights > STANDS_OUT).sum())
        if far == 0 or near < far:  # hot pixels are spread over a wide range: few lie near the threshold
            return STANDS_OUT
        return float(STANDS_OUT + TAIL * np.log(2 * far) / np.log((near + far) / far))  # an exponential one ends there

    def above(self, threshold: float, padding: Mask | None, *, pairs: bool) -> Mask | None:
        """The hot ones. Two side by side look like a point between two pixels, unless `pairs` are to be expected."""
        either = self.paired & (self.heights > (threshold if pairs else 2.5 * threshold))
        places = self.places[either | (self.alone & (self.heights > threshold))]
        mask = np.zeros(self.shape, bool)
        mask.ravel()[places] = True
        if padding is not None:
            mask &= ~padding
        return mask if mask.any() else None


def _lone_pixels(values: NDArray[np.float32], spread: Spread, sign: int, neighbour_share: float) -> _Lone:
    """Look for pixels that stand out upwards (sign 1) or downwards (-1)."""
    signed = sign * values
    padded = np.pad(signed, 1, mode="reflect")
    up, down, left, right = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    second = np.maximum(  # the second largest of the four
        np.minimum(np.maximum(up, down), np.maximum(left, right)),
        np.maximum(np.minimum(up, down), np.minimum(left, right)),
    )
    places = np.flatnonzero(signed - second > STANDS_OUT / 2 * spread.sigma[0])
    level = np.median(_neighbours(values, places, _AROUND), axis=0)
    # At an edge, the noise of the bright side counts.
    sigma = np.maximum(spread.at(np.maximum(level, sign * second.ravel()[places])), np.float32(1e-9))
    height = sign * (values.ravel()[places] - level)
    beside = np.sort(sign * (_neighbours(values, places, _BESIDE) - level), axis=0)
    least = neighbour_share * height + sigma
    height[height < PHOTONS * spread.photon] = 0
    return _Lone(values.shape, places, height / sigma, beside.mean(axis=0) < least, beside[:3].mean(axis=0) < least)


def _bad_lines(values: NDArray[np.float32], spread: Spread, sign: int) -> Mask | None:
    """Whole rows and columns, one pixel wide, that stand out alone."""
    lines = np.zeros(values.shape, bool)
    for image, mask in ((values, lines), (values.T, lines.T)):
        if image.shape[1] < 8:
            continue
        rows = np.pad(sign * image[:: max(1, len(image) // 128)], ((0, 0), (2, 2)), mode="reflect")
        n = image.shape[1]
        at = {by: rows[:, 2 + by : 2 + by + n] for by in (-2, -1, 0, 1, 2)}
        level = (at[-2] + at[2]) / 2
        height = np.median(at[0] - level, axis=0)
        if (height <= LINE * spread.sigma[0]).all():  # as almost always
            continue
        beside = np.maximum(*(np.median(at[by] - level, axis=0) for by in (-1, 1)))
        sigma = spread.at(np.median(sign * level, axis=0).astype(np.float32))
        alone = (height > LINE * sigma) & (beside < SHARE * height)
        alone[[0, -1]] = False  # what lies beyond the border may shine into its line alone
        mask[:, alone] = True
    return lines if lines.any() else None


def _is_light(values: NDArray[np.float32], hot: Mask, spread: Spread) -> bool:
    """Whether what stands out gathers where the image is bright: points that the image does not resolve."""
    places = np.flatnonzero(hot)
    everywhere = np.arange(0, values.size, max(1, values.size // SAMPLED))

    def surroundings(at: NDArray[np.intp]) -> NDArray[np.float32]:
        around = _neighbours(values, at, _AROUND)
        level = np.median(around, axis=0)
        means: NDArray[np.float32] = np.minimum(around, level + 4 * spread.at(level)).mean(axis=0)
        return means

    ranks = np.searchsorted(np.sort(surroundings(everywhere)), surroundings(places)) / everywhere.size
    return bool(ranks.mean() > 0.5 + max(0.1, 3 * 0.29 / np.sqrt(places.size)))  # evenly spread: 0.5 ± 0.29 for each


def _neighbours(values: NDArray[Any], places: NDArray[np.intp], offsets: list[tuple[int, int]]) -> NDArray[Any]:
    """Values around flat `places`, one row an offset; mirrored at the border."""
    height, width = values.shape
    y, x = np.divmod(places, width)
    return np.stack([values[_mirror(y + dy, height), _mirror(x + dx, width)] for dy, dx in offsets])


def _mirror(index: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    index = np.abs(index)
    return np.clip(np.minimum(index, 2 * (n - 1) - index), 0, n - 1)
