"""How close to the truth: metrics, and the classical methods that a network has to beat."""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from skimage.metrics import structural_similarity

from zsd_runtime.errors import InputError, size_text

Array = NDArray[np.float64]


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
    variance = x.var()
    gain = float(((x - x.mean()) * (t - t.mean())).mean() / variance) if variance > 0 else 0.0
    offset = float(t.mean() - gain * x.mean())
    fitted = gain * x + offset
    mse = float(np.mean((fitted - t) ** 2))
    similarity = structural_similarity(fitted, t, data_range=span) if min(t.shape) >= 7 else np.nan  # type: ignore[no-untyped-call]
    ssim = float(similarity)
    psnr = float(10 * np.log10(span**2 / mse)) if mse > 0 else float("inf")
    return Scores(psnr, ssim, float(np.sqrt(mse)) / span, gain, offset)


def best_gaussian(noisy: Array, clean: Array) -> tuple[float, Scores]:
    """The Gaussian filter whose σ (px) scores best against `clean`: the bar that a denoiser must pass."""
    scores = [(float(s), evaluate(ndi.gaussian_filter(noisy, s), clean)) for s in np.arange(0.4, 4.05, 0.1)]
    return max(scores, key=lambda pair: pair[1].psnr)


def best_richardson_lucy(
    noisy: Array, offset: float, psf: Array, truth: Array, iterations: int = 100
) -> tuple[int, Scores]:
    """Richardson–Lucy (1972, 1974) onto the grid of `truth`, stopped where it scores best against it."""
    best = (0, Scores(-np.inf, 0, 0, 0, 0))
    for n, estimate in enumerate(richardson_lucy(noisy - offset, psf, truth.shape[0] // noisy.shape[0], iterations), 1):
        scores = evaluate(estimate, truth)
        if scores.psnr > best[1].psnr:
            best = (n, scores)
        elif n > best[0] + 10:
            break
    return best


def richardson_lucy(signal: Array, psf: Array, upsample: int, iterations: int):  # type: ignore[no-untyped-def]
    """Yield the estimate after each iteration, (kY, kX); the forward model is that of eq. 6: blur, then mean over k².

    `signal` (Y, X) is above the offset, in counts; negatives are clipped. The image is continued by reflection.
    """
    pad = -(-psf.shape[0] // 2 // upsample) + 1
    observed = np.pad(np.clip(signal, 0, None), pad, mode="reflect")
    flipped = psf[::-1, ::-1]
    cut = slice(pad * upsample, -pad * upsample)
    shape = observed.shape

    def forward(x: Array) -> Array:
        blurred = fftconvolve(x, psf, mode="same")
        return blurred.reshape(shape[0], upsample, shape[1], upsample).mean(axis=(1, 3))

    def transpose(y: Array) -> Array:
        return fftconvolve(np.kron(y, np.ones((upsample, upsample))), flipped, mode="same")

    weight = np.maximum(transpose(np.ones(shape)), 1e-9)
    estimate = np.full((shape[0] * upsample, shape[1] * upsample), max(observed.mean(), 1e-9))
    for _ in range(iterations):
        estimate = estimate * np.clip(transpose(observed / np.maximum(forward(estimate), 1e-9)), 0, None) / weight
        yield estimate[cut, cut]
