"""Where a result disagrees with its image, without a truth: the error map of SQUIRREL, and one without the noise.

SQUIRREL (Culley et al. 2018, Nature Methods 15, 263) blurs a result back to what the microscope would show of it, fits
it linearly, and looks at what is left. Two programs of its authors (NanoJ-SQUIRREL, NanoPyx) estimate the blur as a
Gaussian, the resolution scaling function.
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from zsd_optics.imaging import (
    Array,
    Mask,
    check_finite,
    check_structure,
    compared_pixels,
    counted_pixels,
    grid_factor,
    noise_variance,
    reblurred,
)
from zsd_optics.noise_model import NoiseModel
from zsd_optics.scaling_function import best_line, estimated_width, gaussian_blurred
from zsd_runtime.errors import InputError

WINDOW_PX = 2.0  # σ of the local mean: about 50 pixels, in which noise is 7 times weaker
BEYOND = 3.0  # standard errors


@dataclass(frozen=True)
class ErrorMap:
    """Difference between an image and a result that was blurred back.

    Attributes
    ----------
    map : ndarray
        ([Z,] Y, X) of the image, counts: |slope · reblurred + intercept − image|; NaN where the mask is False.
    rse : float
        Resolution-scaled error: root of the mean square of the difference, counts. It has the noise of the image.
    rsp : float
        Resolution-scaled Pearson coefficient: correlation of image and reblurred result, −1 to 1.
    slope, intercept : float
        Of the linear fit. For a result of zsd, 1 and the camera offset (0 if the result has the offset).
    sigma_px : float
        Of the Gaussian blur in Y and X, pixels of the result; NaN if it went through a PSF.
    sigma_z_px : float
        The same in Z; 0 for planes.
    """

    map: Array
    rse: float
    rsp: float
    slope: float
    intercept: float
    sigma_px: float
    sigma_z_px: float = 0.0


@dataclass(frozen=True)
class ErrorSignificance:
    """Where a reblurred result contradicts its image beyond noise.

    Attributes
    ----------
    map : ndarray
        ([Z,] Y, X), the local mean of (reblurred − image) in standard errors of the noise; above 0 the result shows
        more light than there was; NaN where the mask is False.
    window_px : float
        σ of the window of the local mean.
    deviation : float
        Root mean square of the map. 1 if image and result differ by just the noise. A denoised result follows the noise
        a little, so less is usual; more is a contradiction.
    beyond : float
        Share of the pixels beyond ± 3 standard errors; 0.0027 by chance.
    largest : float
        The value furthest from 0. Its sign says if there is light too much or too little.
    """

    map: Array
    window_px: float
    deviation: float
    beyond: float
    largest: float


def error_map(
    result: NDArray[np.generic],
    image: NDArray[np.generic],
    psf: NDArray[np.generic] | None = None,
    *,
    sigma_px: float | None = None,
    mask: Mask | None = None,
) -> ErrorMap:
    """The error map of SQUIRREL (Culley et al. 2018): |α · (result ∗ blur) + β − image|, with RSE and RSP.

    The result is blurred and averaged onto the grid of the image, then fitted linearly. NanoPyx interpolates the image
    to the grid of the result instead; on equal grids both are the same.

    What it cannot see: detail that the blur hides. Two sharp images that blur to the same one have the same map; a
    filament that is one or two lines, or a point where there is haze that sums to it, goes unnoticed. Nor can it see an
    error that a linear fit takes away (a wrong scale; see `zsd_optics.linearity`). The noise of the image is in map,
    RSE and RSP, and does not make a result wrong: compare the numbers of several results of one image, not of several
    images. `error_significance` is the map without the noise. An estimated blur hides a wrong PSF in part: it fits it.

    Parameters
    ----------
    result : ndarray
        (Y, X) or (Z, Y, X), denoised or deconvolved; Y and X may be finer than those of the image by a whole number.
    image : ndarray
        ([Z,] Y, X), raw counts.
    psf : ndarray
        ([Z,] Y, X), on the grid of `result`, odd-sized, sums to 1.
    sigma_px : float
        Instead of a PSF, σ of a Gaussian in Y and X, pixels of `result`; 0 for a denoised result, which needs no blur.
        If neither is given, the Gaussian that leaves the smallest RSE, with a σ of its own in Z.
    mask : ndarray of bool
        ([Z,] Y, X), True where a pixel of the image counts.

    Raises
    ------
    InputError
        When shapes do not fit, the image or the result is constant, values are not finite, or both blurs are given.
    """
    factor = grid_factor(result.shape, image.shape)
    if psf is not None and sigma_px is not None:
        raise InputError("a PSF and a Gaussian are two blurs", "give one of them", option=("psf", "sigma"))
    if sigma_px is not None and not 0 <= sigma_px < 100:
        raise InputError(f"sigma {sigma_px:g} px must be 0 or above and below 100 pixels", option="sigma")
    used = counted_pixels(image, mask)
    check_finite(result, "the result")
    check_structure(image[used], "the image")
    check_structure(result, "the result")
    sigmas = (np.nan, 0.0)
    if psf is not None:
        expected = reblurred(result, image.shape, psf)
    else:
        sigmas = (sigma_px, 0.0) if sigma_px is not None else estimated_width(result, image, used, factor)
        expected = gaussian_blurred(result, sigmas, factor)
    slope, intercept = best_line(expected[used], image[used])
    difference = np.where(used, slope * expected + intercept - image.astype(np.float64), np.nan)
    return ErrorMap(
        np.abs(difference), float(np.sqrt(np.mean(difference[used] ** 2))), _pearson(expected[used], image[used]),
        slope, intercept, float(sigmas[0]), float(sigmas[1]),
    )  # fmt: skip


def error_significance(
    expected: NDArray[np.generic],
    image: NDArray[np.generic],
    noise: NoiseModel,
    *,
    window_px: float = WINDOW_PX,
    mask: Mask | None = None,
) -> ErrorSignificance:
    """Where a result contradicts its image beyond noise: the local mean of (expected − image), in standard errors.

    The mean has Gaussian weights w. Its variance is Σ w² · variance(noise) for white noise; where neighbours share
    noise and the model knows how much, it is larger accordingly. Nothing is fitted: a wrong scale is an error here.

    What it cannot see: detail that the blur hides, and contradictions that are weaker than the noise of a window.

    Parameters
    ----------
    expected : ndarray
        (Y, X) or (Z, Y, X), camera counts with the offset, on the grid of the image: what `reblurred` gives.
    image : ndarray
        The same shape, raw counts.
    noise : NoiseModel
        Of the image.
    window_px : float
        σ of the window in Y and X; the slices of a volume are looked at one by one.
    mask : ndarray of bool
        True where a pixel counts.

    Raises
    ------
    InputError
        When shapes differ, values are not finite, the noise is 0, or the window is not above 0.
    """
    if not 0 < window_px < min(image.shape[-2:]) / 2:
        raise InputError(
            f"window {window_px:g} px must be above 0 and below half of the image", "for instance 2", option="window"
        )
    used = compared_pixels(expected, image, mask)
    variance = noise_variance(expected, noise)
    weights = _weights(window_px)
    # Sums over the pixels that count only: at borders and holes there are fewer, and the standard error is larger.
    total = _windowed(used.astype(np.float64), weights)
    mean = _windowed(np.where(used, expected - image.astype(np.float64), 0), weights)
    spread = _windowed(np.where(used, variance, 0), weights**2) * _shared(noise, window_px)
    significance = np.full(image.shape, np.nan)
    seen = used & (total > 0)
    significance[seen] = mean[seen] / np.sqrt(spread[seen])
    values = significance[seen]
    return ErrorSignificance(
        significance, window_px, float(np.sqrt(np.mean(values**2))), float(np.mean(np.abs(values) > BEYOND)),
        float(values[np.argmax(np.abs(values))]),
    )  # fmt: skip


def _pearson(x: NDArray[np.generic], y: NDArray[np.generic]) -> float:
    a, b = (values - values.mean(dtype=np.float64) for values in (x, y))
    power = float(np.sum(a**2) * np.sum(b**2))
    return float(np.sum(a * b)) / power**0.5 if power > 0 else 0.0


def _weights(sigma: float) -> Array:
    reach = int(4 * sigma + 0.5)
    return np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)  # type: ignore[no-any-return]


def _windowed(values: Array, weights: Array) -> Array:
    """Weighted sums in Y and X; nothing beyond the borders."""
    for axis in (-2, -1):
        values = ndi.correlate1d(values, weights, axis, mode="constant")
    return values


def _shared(noise: NoiseModel, window_px: float) -> float:
    """By how much noise that neighbours share raises the variance of a local mean; 1 for white noise."""
    if noise.correlation is None:
        return 1.0
    correlation = np.asarray(noise.correlation)
    lags = [np.arange(n) - n // 2 for n in correlation.shape]
    # Weights of two pixels at a distance: a Gaussian times itself, shifted.
    overlap = np.exp(-(lags[0][:, None] ** 2 + lags[1] ** 2) / (4 * window_px**2))
    return max(float(np.sum(correlation * overlap)), 1e-3)
