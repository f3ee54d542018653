"""What the camera would see of a result: blurred, binned to the camera's pixels, above its offset."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from zsd_optics.noise_model import NoiseModel
from zsd_optics.pictures import binned
from zsd_runtime.errors import InputError, size_text

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
UNIT_SUM = 0.01  # a PSF whose sum differs more from 1 was not normalised
UNSEEN = 0.01  # share of a pixel's light that may come from beyond a border


def imaged(sample: NDArray[np.generic], psf: NDArray[np.generic], factor: int) -> Array:
    """What the camera sees of a sample: blurred, then averaged over factor × factor pixels; reflected at the borders.

    Light that comes from outside the field is not known, so within the reach of the PSF from a border the result is a
    guess.

    Parameters
    ----------
    sample : ndarray
        ([Z,] factor · Y, factor · X).
    psf : ndarray
        ([Z,] Y, X), on the same grid, odd-sized, sums to 1.
    factor : int

    Returns
    -------
    ndarray
        ([Z,] Y, X).
    """
    padded = np.pad(sample.astype(np.float64), [(n // 2, n // 2) for n in psf.shape], mode="symmetric")
    return binned(fftconvolve(padded, psf, mode="valid"), factor)


def reblurred(
    result: NDArray[np.generic],
    shape: tuple[int, ...],
    psf: NDArray[np.generic] | None = None,
    *,
    offset: float = 0.0,
) -> Array:
    """A result on the grid of the image, as it is compared with the image.

    Parameters
    ----------
    result : ndarray
        (Y, X) or (Z, Y, X), denoised or deconvolved. Y and X may be finer than those of the image by a whole number.
    shape : tuple of int
        Of the image.
    psf : ndarray or None
        ([Z,] Y, X), on the grid of `result`, odd-sized, sums to 1; None if the result is not deconvolved.
    offset : float
        Counts to add: the camera offset if `result` is in counts above it.

    Returns
    -------
    ndarray
        `shape`, camera counts.

    Raises
    ------
    InputError
        When the grids or the PSF do not fit, or the result is not finite.
    """
    factor = grid_factor(result.shape, shape)
    check_finite(result, "the result")
    if psf is None:
        return binned(result.astype(np.float64), factor) + offset
    _check_psf(psf, result)
    return imaged(result, psf, factor) + offset


def within_reach(shape: tuple[int, ...], psf: NDArray[np.generic], factor: int) -> Mask:
    """Pixels whose light comes from within the image: those further from its borders than the PSF reaches.

    What lies beyond the borders is unknown, so that even the true sample, blurred, differs from its image there. At
    least half of the image is left along each axis.

    Parameters
    ----------
    shape : tuple of int
        ([Z,] Y, X) of the image.
    psf : ndarray
        ([Z,] Y, X), odd-sized, sums to 1; Y and X finer than the image by `factor`.
    factor : int

    Returns
    -------
    ndarray of bool
        `shape`.
    """
    mask = np.ones(shape, bool)
    for axis, n in enumerate(shape):
        profile = psf.sum(axis=tuple(i for i in range(psf.ndim) if i != axis))
        beyond = np.maximum(np.cumsum(profile), np.cumsum(profile[::-1]))[: len(profile) // 2 + 1]  # of each distance
        reach = len(profile) // 2 - int(np.searchsorted(beyond, UNSEEN))
        margin = min(-(-reach // (factor if axis >= len(shape) - 2 else 1)), n // 4)
        mask[(slice(None),) * axis + (slice(0, margin),)] = False
        mask[(slice(None),) * axis + (slice(n - margin, n),)] = False
    return mask


def grid_factor(result: tuple[int, ...], image: tuple[int, ...]) -> int:
    """How much finer the grid of a result is than that of its image, in Y and X.

    Raises
    ------
    InputError
        When it is not finer by the same whole number, or they are not both planes or both volumes.
    """
    expected = "give the result of this image: on its grid, or finer in Y and X by a whole number"
    if len(result) != len(image) or len(image) not in (2, 3) or not min(image) or result[:-2] != image[:-2]:
        raise InputError(f"the result is {size_text(result)} and the image {size_text(image)}", expected)
    factor = result[-1] // image[-1]
    if factor < 1 or any(n != factor * m for n, m in zip(result[-2:], image[-2:], strict=True)):
        raise InputError(f"the result is {size_text(result)} and the image {size_text(image)}", expected)
    return factor


def compared_pixels(expected: NDArray[np.generic], image: NDArray[np.generic], mask: Mask | None) -> Mask:
    """The pixels of two images on one grid that are compared: those of the mask, or all.

    Raises
    ------
    InputError
        When shapes differ, values are not finite where they count, or there are fewer than 2 pixels.
    """
    if grid_factor(expected.shape, image.shape) != 1:
        raise InputError(
            f"the result is {size_text(expected.shape)} and the image {size_text(image.shape)}",
            "bring it to the grid of the image with `reblurred`",
        )
    used = counted_pixels(image, mask)
    check_finite(expected[used], "the result")
    return used


def counted_pixels(image: NDArray[np.generic], mask: Mask | None) -> Mask:
    """The pixels of an image that count: those of the mask, or all.

    Raises
    ------
    InputError
        When the mask does not fit, values are not finite where they count, or there are fewer than 2 pixels.
    """
    used = np.ones(image.shape, np.bool_) if mask is None else mask
    if used.shape != image.shape or used.dtype != np.bool_:
        raise InputError(
            f"the mask is {size_text(used.shape)} ({used.dtype}) and the image {size_text(image.shape)}",
            "give booleans, one for each pixel", option="mask",
        )  # fmt: skip
    if used.sum() < 2:
        raise InputError(f"the mask leaves {used.sum()} pixels", "2 or more are compared", option="mask")
    check_finite(image[used], "the image")
    return used


def noise_variance(expected: NDArray[np.generic], noise: NoiseModel) -> Array:
    """Variance of the noise (counts²) at each pixel of a noise-free image.

    Raises
    ------
    InputError
        When it is 0 somewhere: there is then nothing to measure a difference by.
    """
    variance = noise.variance(expected.astype(np.float64))
    if (variance <= 0).any():
        raise InputError(
            f"the noise has a variance of {np.nanmin(variance):g} counts² somewhere",
            "give the `gain` and the `read_noise` of the camera", option=("gain", "read_noise"),
        )  # fmt: skip
    return variance


def check_structure(values: NDArray[np.generic], name: str) -> None:
    """Refuse a constant image, which nothing can be fitted to."""
    if values.min() == values.max():
        raise InputError(f"{name} is constant ({values.flat[0]:g})", "give one with structure")


def check_finite(values: NDArray[np.generic], name: str) -> None:
    """Refuse NaN and infinite values."""
    if not np.isfinite(values).all():
        raise InputError(f"{name} has values that are not finite (NaN or infinite)", "crop, replace or mask them")


def _check_psf(psf: NDArray[Any], result: NDArray[np.generic]) -> None:
    size = size_text(psf.shape)
    if psf.ndim != result.ndim or any(n % 2 == 0 for n in psf.shape):
        raise InputError(
            f"the PSF is {size} and the result {size_text(result.shape)}",
            "give as many axes, and odd sizes, so that the PSF has a middle pixel", option="psf",
        )  # fmt: skip
    total = float(psf.sum())
    if not abs(total - 1) <= UNIT_SUM:
        raise InputError(f"the PSF sums to {total:g} and must sum to 1", "divide it by its sum", option="psf")
