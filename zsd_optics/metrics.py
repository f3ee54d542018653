"""Scores against a truth, and the best that classical methods can score."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from zsd_optics.filters import richardson_lucy
from zsd_runtime.errors import InputError, size_text

Array = NDArray[Any]
SIGMAS = np.arange(0.4, 4.05, 0.1)  # pixels, tried for the best Gaussian filter


@dataclass(frozen=True)
class Scores:
    """Scores of an image against a truth.

    Parameters
    ----------
    psnr : float
        dB, relative to the truth's range.
    ssim : float
        0 to 1.
    nrmse : float
        Relative to the truth's range.
    gain, offset : float
        Of the linear fit before the comparison.
    """

    psnr: float
    ssim: float
    nrmse: float
    gain: float
    offset: float


def evaluate(image: NDArray[np.generic], truth: NDArray[np.generic]) -> Scores:
    """Compare `image` with `truth` after the best linear fit, ``gain · image + offset``.

    Methods differ in scale; like Weigert et al. 2018 we fit first, which hides no structure. The range is that of the
    truth (maximum - minimum).

    Parameters
    ----------
    image, truth : ndarray
        Same shape, any real dtype.

    Raises
    ------
    InputError
        When the shapes differ or the truth is constant.
    """
    x, t, span = _checked(image, truth)
    gain, offset = _fit(x, t)
    fitted = gain * x + offset
    mse = float(np.mean((fitted - t) ** 2))
    similarity = structural_similarity(fitted, t, data_range=span) if min(t.shape) >= 7 else np.nan  # type: ignore[no-untyped-call]
    ssim = float(similarity)
    return Scores(_decibel(span**2, mse), ssim, float(np.sqrt(mse)) / span, gain, offset)


def psnr(image: NDArray[np.generic], truth: NDArray[np.generic]) -> float:
    """Peak signal-to-noise ratio as the images are, without a fit: 10 · log10(range² / mean((truth - image)²)), dB.

    The range is that of the truth (maximum - minimum). Both must be in the same units, with the same camera offset.

    Parameters
    ----------
    image, truth : ndarray
        Same shape, any real dtype.

    Returns
    -------
    float
        dB; infinite for equal images.

    Raises
    ------
    InputError
        When the shapes differ or the truth is constant.
    """
    x, t, span = _checked(image, truth)
    return _decibel(span**2, float(np.mean((t - x) ** 2)))


def snr(image: NDArray[np.generic], truth: NDArray[np.generic]) -> float:
    """Signal-to-noise ratio as the images are, without a fit: 10 · log10(Σ truth² / Σ (truth - image)²), dB.

    The camera offset and the background count as signal: a truth with an offset of 100 counts has a larger SNR than the
    same truth without.

    Parameters
    ----------
    image, truth : ndarray
        Same shape, any real dtype.

    Returns
    -------
    float
        dB; infinite for equal images.

    Raises
    ------
    InputError
        When the shapes differ or the truth is constant.
    """
    x, t, _ = _checked(image, truth)
    return _decibel(float(np.sum(t**2)), float(np.sum((t - x) ** 2)))


def best_gaussian(noisy: Array, clean: Array) -> tuple[tuple[float, ...], Scores]:
    """The Gaussian filter that scores best against `clean`, which a denoiser must beat.

    Returns
    -------
    tuple of float
        σ (pixels) of each axis: the same in Y and X, another one in Z.
    Scores
        With this filter.
    """

    def mse(*sigmas: float) -> float:
        return _fitted_mse(ndi.gaussian_filter(noisy, sigmas), clean)

    sigma = float(min(SIGMAS, key=lambda s: mse(*[s] * noisy.ndim)))
    if noisy.ndim == 2:
        best: tuple[float, ...] = (sigma, sigma)
    else:  # one after the other: they depend little on each other
        axial = float(min([0.0, *SIGMAS], key=lambda s: mse(s, sigma, sigma)))
        lateral = float(min([0.0, *SIGMAS], key=lambda s: mse(axial, s, s)))
        best = (axial, lateral, lateral)
    return best, evaluate(ndi.gaussian_filter(noisy, best), clean)


def best_richardson_lucy(
    noisy: Array, offset: float, psf: Array, truth: Array, iterations: int = 500
) -> tuple[int, Scores]:
    """Richardson–Lucy (1972, 1974) onto the grid of `truth`, stopped where it scores best against it."""
    best, smallest, kept = 0, np.inf, np.zeros(truth.shape)
    grid_factor = truth.shape[-1] // noisy.shape[-1]
    for n, estimate in enumerate(richardson_lucy(noisy - offset, psf, grid_factor, iterations), 1):
        mse = _fitted_mse(estimate, truth)
        if mse < smallest:
            best, smallest, kept = n, mse, estimate.copy()
        elif n > best + 10:
            break
    return best, evaluate(kept, truth)


def _checked(image: Array, truth: Array) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Image and truth in float64, and the range of the truth."""
    if image.shape != truth.shape:
        raise InputError(
            f"the image is {size_text(image.shape)} and the truth {size_text(truth.shape)}",
            "they must be on the same grid (compare denoised with clean.tif, deconvolved with truth.tif)",
        )
    t = truth.astype(np.float64)
    span = float(np.ptp(t))
    if span == 0:
        raise InputError(f"the truth is constant ({t.flat[0]:g})", "give one with structure")
    return image.astype(np.float64), t, span


def _decibel(signal: float, error: float) -> float:
    return float(10 * np.log10(signal / error)) if error > 0 else float("inf")


def _fit(x: Array, truth: Array) -> tuple[float, float]:
    """The (gain, offset) of the best linear fit of `x` to `truth`."""
    variance = x.var(dtype=np.float64)
    mean, target = x.mean(dtype=np.float64), truth.mean(dtype=np.float64)
    gain = float((np.mean(x * truth, dtype=np.float64) - mean * target) / variance) if variance > 0 else 0.0
    return gain, float(target - gain * mean)


def _fitted_mse(x: Array, truth: Array) -> float:
    gain, offset = _fit(x, truth)
    return float(np.mean((gain * x + offset - truth) ** 2, dtype=np.float64))
