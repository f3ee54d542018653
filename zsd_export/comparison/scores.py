"""Scores of a result: against a truth, and what can be said without one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from zsd_export.comparison.restoring import Result
from zsd_export.comparison.subject import Subject
from zsd_optics import metrics
from zsd_optics.imaging import reblurred
from zsd_optics.pictures import binned
from zsd_optics.residuals import next_pixel, normalised_residual

Array = NDArray[Any]


@dataclass(frozen=True)
class Against:
    """Scores against a truth.

    Attributes
    ----------
    snr, psnr : float
        dB, as the images are.
    psnr_fitted : float
        dB, after the best linear fit.
    ssim, nrmse : float
        After the same fit.
    """

    snr: float
    psnr: float
    psnr_fitted: float
    ssim: float
    nrmse: float


@dataclass(frozen=True)
class Residual:
    """What a result took away: the noisy image minus the result, in standard deviations of the noise at each pixel.

    Attributes
    ----------
    correlation_y, correlation_x : float
        With the next pixel along Y and X. 0 for white noise, if all of it and nothing else was taken away.
    deviation : float
        Standard deviation: 1 if just the noise was taken away, less if some of it stayed, more if structure went, too.
    """

    correlation_y: float
    correlation_x: float
    deviation: float


def against(result: Array, truth: Array) -> Against:
    """Scores of an image against a truth, both in the same units.

    A result on another grid than the truth, as of a deconvolution onto the camera's grid, is first interpolated
    linearly onto that of the truth, or averaged if it is finer.

    Parameters
    ----------
    result, truth : ndarray
        (Y, X), one of them finer by a whole number or none.
    """
    image = on_grid(result, truth.shape)
    fitted = metrics.evaluate(image, truth)
    return Against(
        metrics.snr(image, truth), metrics.psnr(image, truth), fitted.psnr, fitted.ssim, fitted.nrmse
    )  # fmt: skip


def on_grid(image: Array, shape: tuple[int, ...]) -> Array:
    """The image on a grid of `shape`, which is that of the same field: interpolated linearly, or averaged."""
    if image.shape == shape:
        return image
    if image.shape[0] > shape[0]:
        return binned(image, image.shape[0] // shape[0])
    factor = shape[0] / image.shape[0]
    return ndi.zoom(image.astype(np.float64), factor, order=1, mode="nearest", grid_mode=True)


def residual(result: Result, subject: Subject, kernel: Array | None) -> Residual | None:
    """What the result took away; of a deconvolved one, after it is blurred and binned as the microscope does.

    Parameters
    ----------
    result : Result
    subject : Subject
    kernel : ndarray or None
        The PSF (Y, X) on the grid of a deconvolved result.

    Returns
    -------
    Residual or None
        None for a deconvolved result without a PSF.
    """
    if result.deconvolved and kernel is None:
        return None
    psf, offset = (kernel, subject.offset) if result.deconvolved else (None, 0.0)
    expected = reblurred(result.image, subject.image.data.shape, psf, offset=offset)
    taken = normalised_residual(expected, subject.noisy, subject.noise)
    return Residual(*next_pixel(taken), float(taken.std()))
