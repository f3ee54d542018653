"""How close to the truth: metrics, and the classical methods that a network has to beat."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from zsd_optics.filters import richardson_lucy
from zsd_runtime.errors import InputError, size_text

Array = NDArray[Any]
SIGMAS = np.arange(0.4, 4.05, 0.1)  # px, tried for the best Gaussian filter


@dataclass(frozen=True)
class Scores:
    """psnr : dB, of the truth's range · ssim : 0..1 · nrmse : of the truth's range · gain, offset : the fit used."""

    psnr: float
    ssim: float
    nrmse: float
    gain: float
    offset: float


def evaluate(image: NDArray[np.generic], truth: NDArray[np.generic]) -> Scores:
    """Compare `image` with `truth` of the same shape, after the gain and offset that bring it nearest.

    Weigert et al. 2018 compare restorations after such a linear fit, since methods differ in scale; it hides no
    structure. The range is that of the truth (maximum - minimum).

    Raises
    ------
    InputError
        When shapes differ or the truth is constant.
    """
    if image.shape != truth.shape:
        raise InputError(
            f"the image is {size_text(image.shape)} and the truth {size_text(truth.shape)}: they must be on the "
            "same grid (compare denoised with clean.tif, deconvolved with truth.tif)"
        )
    x, t = image.astype(np.float64), truth.astype(np.float64)
    span = float(np.ptp(t))
    if span == 0:
        raise InputError(f"the truth is constant ({t.flat[0]:g}): there is nothing to compare with")
    gain, offset = _fit(x, t)
    fitted = gain * x + offset
    mse = float(np.mean((fitted - t) ** 2))
    similarity = structural_similarity(fitted, t, data_range=span) if min(t.shape) >= 7 else np.nan  # type: ignore[no-untyped-call]
    ssim = float(similarity)
    psnr = float(10 * np.log10(span**2 / mse)) if mse > 0 else float("inf")
    return Scores(psnr, ssim, float(np.sqrt(mse)) / span, gain, offset)


def best_gaussian(noisy: Array, clean: Array) -> tuple[tuple[float, ...], Scores]:
    """The Gaussian filter that scores best against `clean`: the bar that a denoiser must pass.

    Its σ (px) is one number for Y and X, and in a volume another one for Z.
    """

    def mse(*sigmas: float) -> float:
        return _fitted_mse(ndi.gaussian_filter(noisy, sigmas), clean)

    sigma = float(min(SIGMAS, key=lambda s: mse(*[s] * noisy.ndim)))
    if noisy.ndim == 2:
        best: tuple[float, ...] = (sigma, sigma)
    else:  # one after the other: the two depend little on each other
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


def _fit(x: Array, truth: Array) -> tuple[float, float]:
    """The (gain, offset) that bring `x` nearest to `truth`."""
    variance = x.var(dtype=np.float64)
    mean, target = x.mean(dtype=np.float64), truth.mean(dtype=np.float64)
    gain = float((np.mean(x * truth, dtype=np.float64) - mean * target) / variance) if variance > 0 else 0.0
    return gain, float(target - gain * mean)


def _fitted_mse(x: Array, truth: Array) -> float:
    gain, offset = _fit(x, truth)
    return float(np.mean((gain * x + offset - truth) ** 2, dtype=np.float64))
