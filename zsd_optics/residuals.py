"""What a result took away from its image: in standard deviations of the noise, its correlation, and by brightness.

If a result took away the noise and nothing else, the residual is white, has a deviation of 1, and a mean of 0 at every
brightness. Structure in it is structure that the result lacks or invents.
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.special import log_ndtr

from zsd_optics.imaging import Array, Mask, compared_pixels, noise_variance
from zsd_optics.noise_model import NoiseModel

REACH = 8  # pixels to either side that the autocorrelation covers
# Classes of brightness, as shares of the pixels: bright structures are few.
CLASSES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
FEWEST = 30  # pixels in a class
LOCAL_PX = 1.5  # σ of the local mean that classes are made of


@dataclass(frozen=True)
class BrightnessClass:
    """The residual of pixels where the result is of similar brightness, in its local mean.

    Attributes
    ----------
    level : float
        Mean of the result, camera counts.
    mean : float
        Mean of the residual, standard deviations of the noise; above 0 the result is too dark there.
    error : float
        Standard error of `mean` if the residual is white noise.
    deviation : float
        Root mean square of the residual.
    counts : float
        Mean of (image − result), counts.
    pixels : int
    """

    level: float
    mean: float
    error: float
    deviation: float
    counts: float
    pixels: int


@dataclass(frozen=True)
class Residuals:
    """The noisy image minus a result, in standard deviations of the noise at each pixel.

    Attributes
    ----------
    map : ndarray
        ([Z,] Y, X), the residual; NaN where the mask is False.
    deviation : float
        Root mean square. 1 if just the noise was taken away, less if some of it stayed, more if structure went, too.
    mean : float
        0 if light is kept.
    autocorrelation : ndarray
        (2 · reach + 1, 2 · reach + 1), with the pixels around in Y and X, within slices; 1 in the middle.
    correlation_y, correlation_x : float
        With the next pixel along Y and X.
    largest : float
        The correlation furthest from that of the noise (0 for white noise), minus it.
    largest_at : tuple of int
        Its distance in Y and X, pixels.
    significance : float
        |largest| in standard errors of the correlation of white noise, 1 / √pairs.
    chance : float
        Probability that white noise of this size has a correlation as large at any of the distances. Large images make
        tiny correlations significant: look at `largest`, too.
    by_brightness : tuple of BrightnessClass
        Dark to bright.
    pixels : int
        That were compared.
    """

    map: Array
    deviation: float
    mean: float
    autocorrelation: Array
    correlation_y: float
    correlation_x: float
    largest: float
    largest_at: tuple[int, int]
    significance: float
    chance: float
    by_brightness: tuple[BrightnessClass, ...]
    pixels: int


def residuals(
    expected: NDArray[np.generic],
    image: NDArray[np.generic],
    noise: NoiseModel,
    *,
    reach: int = REACH,
    mask: Mask | None = None,
) -> Residuals:
    """Measure what a result took away.

    What it cannot see: detail that the blur of the microscope hides; and errors in few pixels, which means do not show
    (`error_significance` does). A network that learns from this very image follows its noise a little; the deviation is
    then a little below 1, and neighbours have a small negative correlation.

    Parameters
    ----------
    expected : ndarray
        (Y, X) or (Z, Y, X), camera counts with the offset, on the grid of the image: what `reblurred` gives.
    image : ndarray
        The same shape, raw counts.
    noise : NoiseModel
        Of the image. Its variance is taken at the level of `expected`. Correlations that it knows of are no fault.
    reach : int
        Of the autocorrelation, pixels.
    mask : ndarray of bool
        True where a pixel counts.

    Raises
    ------
    InputError
        When shapes differ, values are not finite, or the noise is 0.
    """
    used = compared_pixels(expected, image, mask)
    taken = normalised_residual(expected, image, noise)
    reach = min(reach, min(image.shape[-2:]) - 1)
    correlation, pairs = autocorrelation(taken, reach, used)
    excess = correlation - _known(noise, reach)
    excess[reach, reach] = 0
    y, x = (int(i) for i in np.unravel_index(np.argmax(np.abs(excess)), excess.shape))
    largest = float(excess[y, x])
    errors = np.abs(excess) * np.sqrt(pairs)
    values = taken[used]
    return Residuals(
        map=np.where(used, taken, np.nan),
        deviation=float(np.sqrt(np.mean(values**2))),
        mean=float(values.mean()),
        autocorrelation=correlation,
        correlation_y=float(correlation[reach + 1, reach]),
        correlation_x=float(correlation[reach, reach + 1]),
        largest=largest,
        largest_at=(y - reach, x - reach),
        significance=float(errors[y, x]),
        chance=_chance(float(errors.max()), excess.size // 2),
        by_brightness=_by_brightness(expected.astype(np.float64), image.astype(np.float64), taken, used),
        pixels=int(values.size),
    )


def normalised_residual(expected: NDArray[np.generic], image: NDArray[np.generic], noise: NoiseModel) -> Array:
    """(image − expected) / standard deviation of the noise at the level of `expected`, any shape."""
    return (image.astype(np.float64) - expected.astype(np.float64)) / np.sqrt(noise_variance(expected, noise))


def autocorrelation(residual: Array, reach: int, used: Mask | None = None) -> tuple[Array, Array]:
    """Correlation of a residual with the pixels around it in Y and X; slices count together.

    Parameters
    ----------
    residual : ndarray
        ([Z,] Y, X).
    reach : int
        Pixels to either side, below the size of the image.
    used : ndarray of bool
        True where a pixel counts; None: everywhere.

    Returns
    -------
    correlation : ndarray
        (2 · reach + 1, 2 · reach + 1), 1 in the middle; 0 for a constant residual.
    pairs : ndarray
        How many pairs of pixels each comes from.
    """
    kept = np.ones(residual.shape, np.bool_) if used is None else used
    centred = np.where(kept, residual - residual[kept].mean(), 0)
    shape = tuple(next_fast_len(n + reach, real=True) for n in residual.shape[-2:])
    products, pairs = np.zeros((2, 2 * reach + 1, 2 * reach + 1))
    planes = (-1, *residual.shape[-2:])
    for values, there in zip(centred.reshape(planes), kept.reshape(planes), strict=True):
        products += _lagged(values, shape, reach)
        pairs += _lagged(there.astype(np.float64), shape, reach).round()
    power = products[reach, reach] / pairs[reach, reach]
    covariance = np.divide(products, pairs, out=np.zeros_like(products), where=pairs > 0)
    return (covariance / power if power > 0 else covariance), pairs


def next_pixel(residual: Array) -> tuple[float, float]:
    """Correlation of a residual ([Z,] Y, X) with the next pixel along Y and X."""
    correlation, _ = autocorrelation(residual, 1)
    return float(correlation[2, 1]), float(correlation[1, 2])


def _lagged(values: Array, shape: tuple[int, ...], reach: int) -> Array:
    """Sums of products of all pairs of pixels at each distance up to the reach."""
    sums = np.asarray(irfft2(np.abs(rfft2(values, shape)) ** 2, shape))
    lags = np.arange(-reach, reach + 1)
    return sums[np.ix_(lags, lags)]


def _known(noise: NoiseModel, reach: int) -> Array:
    """The correlation that the noise itself has, as far as the model knows it."""
    known = np.zeros((2 * reach + 1, 2 * reach + 1))
    if noise.correlation is not None:
        measured = np.asarray(noise.correlation)
        around = min(len(measured) // 2, reach)
        middle = len(measured) // 2
        inner = slice(middle - around, middle + around + 1)
        known[reach - around : reach + around + 1, reach - around : reach + around + 1] = measured[inner, inner]
    return known


def _chance(standard_errors: float, distances: int) -> float:
    """Probability that the largest of so many independent normal numbers is as far from 0."""
    tail = 2 * np.exp(log_ndtr(-standard_errors))
    return float(-np.expm1(distances * np.log1p(-min(tail, 1 - 1e-16))))


def _by_brightness(expected: Array, image: Array, taken: Array, used: Mask) -> tuple[BrightnessClass, ...]:
    """Means over classes of local brightness."""
    # A result follows the noise of a pixel a little. Classes of its brightness there would hold pixels that are bright
    # by noise; its local mean hardly depends on it.
    window = (0.0,) * (expected.ndim - 2) + (LOCAL_PX, LOCAL_PX)
    level = ndi.gaussian_filter(np.where(used, expected, expected[used].mean()), window)[used]
    edges = np.unique(np.quantile(level, CLASSES))
    number = np.clip(np.searchsorted(edges, level, side="right") - 1, 0, max(edges.size - 2, 0))
    found = []
    for place in range(max(edges.size - 1, 1)):
        inside = number == place
        pixels = int(inside.sum())
        if pixels < min(FEWEST, level.size):
            continue
        values, counts = taken[used][inside], expected[used][inside]
        found.append(
            BrightnessClass(
                level=float(counts.mean()),
                mean=float(values.mean()),
                error=float(pixels**-0.5),
                deviation=float(np.sqrt(np.mean(values**2))),
                counts=float(np.mean(image[used][inside] - counts)),
                pixels=pixels,
            )
        )
    return tuple(found)
