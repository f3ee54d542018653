"""The covariance of noise that neighbouring pixels share, as in resized, registered, rotated or demosaiced images.

Blocks of pixels are freed of a quadratic polynomial, the slow part of the structure (blocks as in Ponomarenko et al.
2007). What is left is noise, less what the polynomial took of it. The mean product of residuals at a distance depends
linearly on the covariances of the noise at all distances, so that a small linear system gives the covariances back.

Only blocks without structure count. They are chosen by their surroundings and by their own polynomial, whose noise is
not that of the residual: blocks chosen by their own residual would have too little noise. A block is flat where its
surroundings vary little beside their high frequencies. This ratio does not depend on how bright a block is.

The variance at other levels follows from the high frequencies, as in `zsd_optics.noise`, multiplied by the share that
they have in the flat blocks. Repeats of one scene need no choice of blocks: their differences are noise alone.

The covariance Σ is what recorruption with correlated noise needs (Pang et al. 2021: ŷ = y + αz, ỹ = y − z/α with
z ~ N(0, Σ)).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from zsd_optics.noise_blocks import (
    blocks,
    detrended,
    distances,
    mean_products,
    measured_products,
    usable_blocks,
)
from zsd_optics.noise_phases import Phases, phases_of
from zsd_optics.noise_samples import (
    HIGH_PASS,
    Frame,
    Mask,
    Samples,
    concatenated,
    spatial_samples,
    temporal_samples,
)

Array = NDArray[np.float64]
Correlation = tuple[tuple[float, ...], ...]  # a square of odd side, 1 in its middle
T = TypeVar("T")

REACH, FAR = 4, 8  # pixels: the second for images that were enlarged three times or more
_STILL_CORRELATED = 0.1  # at a distance of REACH
_AGREE = 0.05  # how well the two must agree nearby: larger blocks contain more structure
_FEW, _SHARE = 60, 0.05  # blocks that are chosen: at least so many, or this share of all
_FEWEST = 20  # blocks that say anything
_PIECE, _PIECES = 1024, 8  # pixels of a side, and how many pieces are looked at
_REPEATS_AGREE = 0.1  # dark and bright halves of differences; structure that moved is in the bright one
_EMPTY = 1e-6  # of the largest power of high frequencies
_MOVED = 1.5  # times the variance of the images themselves
# Second differences of next pixels, and of next but one: unit norm, more noise and more structure than fourth ones.
_SECOND = np.outer([0, 1, -2, 1, 0], [0, 1, -2, 1, 0]) / 6.0
_WIDE = np.outer([1, 0, -2, 0, 1], [1, 0, -2, 0, 1]) / 6.0
_HIGH_PASSES = (_SECOND, HIGH_PASS, _WIDE)
_ROUNDING = 4  # times the variance of rounding to grey values: high frequencies must have more


@dataclass(frozen=True)
class Covariance:
    """How the noise is correlated, and samples of it.

    Parameters
    ----------
    correlation : tuple of tuple of float
        Correlation with the pixels around (Y, X).
    samples : list of Samples
        Their residuals have the variance of the noise.
    temporal : bool
        Whether they come from repeats of one scene.
    phases : Phases or None
        The covariance by the place of a pixel, where it differs, as in demosaiced images and those enlarged by 2.
    """

    correlation: Correlation
    samples: list[Samples]
    temporal: bool
    phases: Phases | None = None


def noise_covariance(frames: list[Frame], repeats: list[Frame]) -> Covariance | None:
    """The covariance of correlated noise; None if the images are too small to tell.

    Parameters
    ----------
    frames : list of Frame
        To measure each by itself.
    repeats : list of Frame
        Neighbouring frames, which may show one scene.
    """
    of_repeats, of_images = _of_repeats(repeats), _of_images(frames)
    if of_repeats is None or of_images is None:
        return of_repeats or of_images
    # What moved makes differences larger than the noise of each image, which structure can only make too large.
    moved = _power(of_repeats) > _MOVED * _power(of_images)
    return of_images if moved else of_repeats


@lru_cache(64)
def filter_of(correlation: Correlation, shape: tuple[int, int]) -> Array:
    """Spectrum (Y, X // 2 + 1) of the filter that gives white noise of `shape` (Y, X) this correlation.

    It is the square root of the power spectrum. White noise keeps its variance.
    """
    reach = len(correlation) // 2
    lags = np.arange(-reach, reach + 1)
    periodic = np.zeros(shape)
    np.add.at(periodic, np.ix_(lags % shape[0], lags % shape[1]), np.array(correlation))
    power = np.clip(np.fft.fft2(periodic).real, 0, None)
    return np.sqrt(power / power.mean())[:, : shape[1] // 2 + 1]


def correlated(white: Array, correlation: Correlation | None) -> Array:
    """White noise (..., Y, X) with the correlation of a noise model; as it is for None."""
    if correlation is None:
        return white
    shape = (white.shape[-2], white.shape[-1])
    return np.fft.irfft2(np.fft.rfft2(white) * filter_of(correlation, shape), s=shape)


def _power(found: Covariance) -> float:
    return float(np.square(found.samples[0].residual).mean())


# ------------------------------------------------------------------------------------------------------ one image
def _of_images(frames: list[Frame]) -> Covariance | None:
    pieces = _spread([piece for part in frames for piece in _pieces(part)])
    found = _flat(pieces, REACH)
    if found is None:
        return None
    correlation = _correlation(found.covariance, REACH)
    if _far(correlation) > _STILL_CORRELATED and (wider := _flat(pieces, FAR)):
        wide = _correlation(wider.covariance, FAR)
        if _distance(wide, correlation) < _AGREE:
            found, correlation = wider, wide
    least = _ROUNDING * _rounding(frames[0])
    filters = [pair for pair in zip(_HIGH_PASSES, found.powers, strict=True) if pair[1] > least]
    filters = filters or [(_WIDE, found.powers[-1])]
    candidates = [_samples(frames, kernel, found.covariance[0] / power) for kernel, power in filters]
    # They agree in flat blocks. Elsewhere structure adds to them: the least is the best.
    return Covariance(correlation, [min(candidates, key=_bright_power)], temporal=False, phases=found.phases)


def _samples(frames: list[Frame], high_pass: Array, factor: float) -> Samples:
    """High frequencies, `factor` times their variance."""
    samples = concatenated([spatial_samples(part, high_pass) for part in frames])
    return replace(samples, residual=samples.residual * np.sqrt(factor))


def _bright_power(samples: Samples) -> float:
    return float(np.square(samples.residual[samples.group >= np.median(samples.group)]).mean())


@dataclass(frozen=True)
class _Flat:
    """Means over flat blocks: covariance at `distances`, variance after each of `_HIGH_PASSES`, and `Phases`."""

    covariance: Array
    powers: list[float]
    phases: Phases | None


def _flat(pieces: list[Frame], reach: int) -> _Flat | None:
    """Measure in the flattest blocks."""
    side = 4 * reach
    found = [_measured(piece, reach) for piece in pieces if min(piece.counts.shape) >= side]
    if not found:
        return None
    varied, sloped, powers, residual = (np.concatenate(parts) for parts in zip(*found, strict=True))
    count = min(max(_FEW, int(_SHARE * varied.size)), varied.size)
    if count < _FEWEST:
        return None
    chosen = np.argsort(_rank(varied) + _rank(sloped))[:count]
    products = mean_products(residual[chosen], reach)
    covariance = np.linalg.solve(measured_products(reach), products.mean(axis=0))
    means = powers[chosen].mean(axis=0).tolist()
    if min(covariance[0], *means) <= 0:
        return None
    return _Flat(
        covariance, means, phases_of(residual[chosen], np.array(_correlation(covariance, reach)), covariance[0])
    )


def _measured(part: Frame, reach: int) -> tuple[Array, Array, Array, Array]:
    """For each usable block how its surroundings vary, its slope, its high frequencies, and its residual."""
    squares = [ndi.convolve(part.counts, kernel, mode="reflect") ** 2 for kernel in _HIGH_PASSES]
    powers = np.stack([blocks(image, reach).mean(axis=(2, 3)) for image in squares], axis=-1)
    high = powers[..., 0]
    residual, slopes = detrended(blocks(part.counts, reach))
    usable = usable_blocks(part.usable, reach)
    energy = np.square(residual).mean(axis=(2, 3))
    around = _around(high, usable)
    constant = np.minimum(high, around) <= _EMPTY * around.max(initial=0)  # but for rounding errors: without noise
    with np.errstate(divide="ignore", invalid="ignore"):
        varied, sloped = (
            np.where(constant, np.inf, values / around)
            for values in (_around(energy, usable), np.square(slopes).sum(axis=-1))
        )
    return varied[usable], sloped[usable], powers[usable], residual[usable]


def _around(values: Array, usable: Mask) -> Array:
    """Mean over the blocks that touch each block (blocks overlap by half)."""
    ring = np.ones((5, 5))
    ring[1:-1, 1:-1] = 0
    count = ndi.convolve(usable.astype(np.float64), ring, mode="reflect")
    total: Array = ndi.convolve(np.where(usable, values, 0), ring, mode="reflect")
    # Without a usable neighbour nothing is known: such a block is not flat.
    return np.where(count > 0, total / np.maximum(count, 1), values.max() if values.size else 0)


def _rounding(part: Frame) -> float:
    """Variance that rounding to grey values adds."""
    values = np.unique(part.kept[:: max(part.kept.shape[0] // 256, 1)])
    return float(np.diff(values).min() ** 2 / 12) if values.size > 1 else 0.0


# ---------------------------------------------------------------------------------------------- repeats of a scene
def _of_repeats(frames: list[Frame]) -> Covariance | None:
    """From the differences of frames, if nothing moved."""
    if len(frames) < 2 or len({part.counts.shape for part in frames}) > 1:
        return None
    products, levels = [], []
    for first, second in _spread(list(pairwise(frames))):
        difference = (first.kept - second.kept) / np.sqrt(2)
        for piece in _pieces(replace(first, counts=difference, kept=first.counts, usable=first.usable & second.usable)):
            if min(piece.counts.shape) < 4 * REACH:
                return None
            usable = usable_blocks(piece.usable, REACH)
            products.append(mean_products(detrended(blocks(piece.counts, REACH))[0][usable], REACH))
            levels.append(blocks(piece.kept, REACH).mean(axis=(2, 3))[usable])
    level, product = np.concatenate(levels), np.concatenate(products)
    if level.size < 2 * _FEWEST:
        return None
    dark = level <= np.median(level)
    system = measured_products(REACH)
    solved = [np.linalg.solve(system, product[half].mean(axis=0)) for half in (dark, ~dark, dark | ~dark)]
    if min(part[0] for part in solved) <= 0:
        return None
    of_dark, of_bright, of_all = (_correlation(part, REACH) for part in solved)
    if _distance(of_dark, of_bright) > _REPEATS_AGREE:
        return None
    samples = temporal_samples(frames, _of_means(of_all))
    return Covariance(of_all, samples, temporal=True) if samples else None


def _of_means(correlation: Correlation) -> float:
    """Variance of means over 9x9 pixels beside that of a pixel."""
    reach = len(correlation) // 2
    overlap = (9 - np.abs(np.arange(-reach, reach + 1))).clip(0) / 81
    return max(float(overlap @ np.array(correlation) @ overlap), 1 / 81)


# --------------------------------------------------------------------------------------------------------- blocks
def _pieces(part: Frame) -> list[Frame]:
    """A large frame in parts, which need less memory."""
    parts = []
    for y in range(0, part.counts.shape[0], _PIECE):
        for x in range(0, part.counts.shape[1], _PIECE):
            box = (slice(y, y + _PIECE), slice(x, x + _PIECE))
            parts.append(Frame(part.counts[box], part.kept[box], part.usable[box], part.clipped[box]))
    return [piece for piece in parts if min(piece.counts.shape) >= 4 * REACH] or parts[:1]


def _spread(items: Sequence[T]) -> list[T]:
    """At most `_PIECES` of them, evenly."""
    return [items[int(i)] for i in np.linspace(0, len(items) - 1, min(len(items), _PIECES)).round()]


def _correlation(covariance: Array, reach: int) -> Correlation:
    """The map of a covariance at `distances`, with a power spectrum that is nowhere negative."""
    square = np.zeros((2 * reach + 1,) * 2)
    for (y, x), value in zip(distances(reach), covariance / covariance[0], strict=True):
        square[reach + y, reach + x] = square[reach - y, reach - x] = value
    wide = 8 * reach
    spectrum = filter_of(tuple(map(tuple, square.tolist())), (wide, wide))
    periodic = np.fft.irfft2(spectrum**2, s=(wide, wide))
    near = np.roll(periodic, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]
    return tuple(map(tuple, (near / near[reach, reach]).round(4).tolist()))


def _far(correlation: Correlation) -> float:
    """Largest correlation at the largest distance along an axis."""
    middle = len(correlation) // 2
    return max(abs(correlation[middle][-1]), abs(correlation[-1][middle]))


def _distance(first: Correlation, second: Correlation) -> float:
    """Largest difference within 2 pixels along an axis."""
    a, b = (
        np.array([[part[m + k][m], part[m][m + k]] for k in (1, 2)])
        for part, m in ((part, len(part) // 2) for part in (first, second))
    )
    return float(np.abs(a - b).max())


def _rank(values: Array) -> NDArray[np.int64]:
    return np.argsort(np.argsort(values))
