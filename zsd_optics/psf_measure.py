"""What can be measured of a PSF: its background, noise, centre and width."""

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

Array = NDArray[np.float64]
SIGMA_PER_FWHM = 1 / np.sqrt(8 * np.log(2))  # of a Gaussian
SLOPE = 0.05  # of the peak: a background that differs by less from face to face is even
NOISELESS = 0.001  # of the peak: what is measured has more noise where it is dim, and more again at its peak


def fwhm_px(psf: Array) -> Array:
    """Full width at half maximum of a PSF without background, pixels, for each axis.

    Measured between the points where a cubic spline along the line through the brightest voxel crosses half of its
    maximum; infinite if it does not cross it within the array. A noisy PSF is smoothed by a Gaussian of a third of its
    width first, and the result is corrected for it: √(measured² - smoothing²), which is exact for a Gaussian.
    """
    widths = _widths(psf)
    if noise(psf) < NOISELESS * psf.max() and _noise_at_peak(psf) < 15 * NOISELESS * psf.max():
        return widths
    for _ in range(3):  # the noise made the first widths wrong
        sigmas = np.minimum(widths, np.asarray(psf.shape) / 2) / 3 * SIGMA_PER_FWHM
        added = np.array([_sampled_variance(sigma) for sigma in sigmas]) / SIGMA_PER_FWHM**2
        widths = np.sqrt(np.maximum(_widths(ndi.gaussian_filter(psf, sigmas, mode="nearest")) ** 2 - added, 0))
    return widths


def lines_through_peak(psf: Array) -> list[tuple[Array, int]]:
    """For each axis the values on the line through the brightest voxel, and the position of that voxel on it."""
    peak = [int(place) for place in np.unravel_index(np.argmax(psf), psf.shape)]

    def line(axis: int) -> Array:
        return psf[tuple(slice(None) if a == axis else place for a, place in enumerate(peak))]

    return [(line(axis), place) for axis, place in enumerate(peak)]


def without_background(psf: NDArray[np.generic]) -> Array:
    """The PSF minus the median of the faces of its array; minus a plane if opposite faces differ (`slopes`)."""
    values = psf.astype(np.float64)
    for axis, slope in enumerate(slopes(values)):
        if slope:
            ramp = np.linspace(-0.5, 0.5, values.shape[axis]) * slope
            values -= ramp.reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    return values - np.median(rim(values))


def slopes(psf: Array) -> Array:
    """How much the background rises from the first to the last face of each axis; 0 where that is little.

    The median of a face ignores a bead that is near to it. A difference counts above `SLOPE` of the peak, and above the
    noise.
    """
    height = psf.max() - np.median(rim(psf))
    rise = np.array([np.median(psf.take(-1, axis)) - np.median(psf.take(0, axis)) for axis in range(psf.ndim)])
    error = noise(psf) * np.sqrt(2 * np.asarray(psf.shape) / psf.size)
    return np.where(np.abs(rise) > np.maximum(SLOPE * height, 6 * error), rise, 0.0)


def rim(psf: Array) -> Array:
    """The values on the faces of the array."""
    inner = np.zeros(psf.shape, bool)
    inner[(slice(1, -1),) * psf.ndim] = True
    return psf[~inner]


def noise(psf: Array) -> float:
    """Standard deviation of the noise where the PSF is dim: from the differences of neighbours along X.

    The rows above and below say where it is dim, so that the noise itself does not choose.
    """
    difference = psf[..., 1:-1, 1:-1] - (psf[..., 1:-1, :-2] + psf[..., 1:-1, 2:]) / 2
    beside = psf[..., :-2, 1:-1] + psf[..., 2:, 1:-1]
    chosen = difference[beside <= np.median(beside)]
    return float(1.48 * np.median(np.abs(chosen - np.median(chosen))) / np.sqrt(1.5))


def centroid(psf: Array) -> Array:
    """Centre of mass of the peak's upper half: distant pixels, however noisy, have no influence."""
    smooth = ndi.gaussian_filter(psf, 0.7)
    peak = np.unravel_index(np.argmax(smooth), psf.shape)
    labels, _ = ndi.label(smooth > 0.5 * smooth.max())
    core = np.where(labels == labels[peak], smooth - 0.5 * smooth.max(), 0)
    return np.asarray(ndi.center_of_mass(core))


def _widths(psf: Array) -> Array:
    return np.array([_half_width(line) for line, _ in lines_through_peak(psf)])


def _half_width(line: Array) -> float:
    per_px = 100
    x = np.linspace(0, line.size - 1, per_px * (line.size - 1) + 1)
    fine = CubicSpline(np.arange(line.size), line)(x)
    top = int(np.argmax(fine))
    below = np.flatnonzero(fine < fine[top] / 2)
    left, right = below[below < top], below[below > top]
    return float(right[0] - left[-1]) / per_px if left.size and right.size else np.inf


def _sampled_variance(sigma: float) -> float:
    """Variance (px²) of a Gaussian that is sampled at whole pixels, less than σ² if it is narrow."""
    x = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
    weights = np.exp(-0.5 * (x / sigma) ** 2)
    return float((x**2 * weights).sum() / weights.sum())


def _noise_at_peak(psf: Array) -> float:
    """Noise including the photons' where the PSF is bright; 0 for a PSF of few pixels, which is not smooth enough.

    The difference of second order along both Y and X (Immerkær 1996) is small for smooth PSFs.
    """
    bright = psf > psf.max() / 2
    if bright.sum() < 25:
        return 0.0
    kernel = np.outer([1, -2, 1], [1, -2, 1]).reshape((1,) * (psf.ndim - 2) + (3, 3)) / 6
    return float(np.sqrt(np.mean(ndi.convolve(psf, kernel)[bright] ** 2)))
