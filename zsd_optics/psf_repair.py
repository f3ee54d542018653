"""Undo what a camera or an FFT did to a PSF, where that is clear: hot and dead pixels, a peak in the corner."""

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from zsd_optics.psf_measure import noise, rim

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
STICKS_OUT = 2.0  # times its third-brightest neighbour; a point at Nyquist's sampling (FWHM 2 px) reaches 1.6
LARGEST_HOT, LARGEST_DEAD = 3, 2  # pixels in a cluster; more are an object, or a dead row through a narrow PSF
FAINTEST = 0.1  # of the PSF's peak; fainter hot pixels change little, and photons look like them
NEIGHBOURS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
# Which pixels touch: only those of one plane, because a bad pixel of a camera is at the same place in all slices.
IN_PLANE = np.pad(np.ones((1, 3, 3), bool), ((1, 1), (0, 0), (0, 0)))


def without_bad_pixels(psf: Array) -> tuple[Array, int]:
    """Replace hot and dead pixels by the median of their neighbours in the plane.

    A hot pixel is at least twice as bright as its third-brightest neighbour, so that pairs are found, too. The PSF's
    own peak may be as sharp if it is undersampled; it stays: without it, nothing broad is left around it.

    Parameters
    ----------
    psf : ndarray
        (Y, X) or (Z, Y, X).

    Returns
    -------
    ndarray
        A copy, if anything is replaced.
    int
        How many pixels were replaced.
    """
    if min(psf.shape[-2:]) < 5:
        return psf, 0
    volume = psf.reshape(-1, *psf.shape[-2:])  # (Z, Y, X)
    values = volume - np.median(rim(psf))
    around = NEIGHBOURS[None]
    middle = ndi.median_filter(values, footprint=around, mode="nearest")
    significant = 6 * noise(psf)
    height = FAINTEST * max(ndi.median_filter(values, size=(1, 3, 3), mode="nearest").max(), 0) + significant
    high = np.maximum(ndi.rank_filter(values, -3, footprint=around, mode="nearest"), 0)
    low = ndi.rank_filter(values, 2, footprint=around, mode="nearest")
    dead = (low - values > np.maximum(height, 2 * significant)) & (values < 0.3 * np.maximum(low, 0))
    hot = (values > STICKS_OUT * high + significant) & (values > height)
    bad = _small(dead, LARGEST_DEAD) | _small(hot, LARGEST_HOT)
    if not bad.any():
        return psf, 0
    bad &= ~_own_peak(np.where(bad, middle, values), bad, noise(psf))
    return np.where(bad, middle + np.median(rim(psf)), volume).reshape(psf.shape), int(bad.sum())


def unwrapped(psf: Array) -> tuple[Array, list[int]]:
    """Move a PSF that is stored as FFTs want it, its peak in the corner, to the middle.

    Along an axis it is, if its peak is near to one face, and the light goes on behind the opposite face.

    Returns
    -------
    ndarray
        `psf`, with the peak in the middle along those axes.
    list of int
        The axes.
    """
    axes = []
    for axis, n in enumerate(psf.shape):
        line, peak = _line(psf, axis)
        near, far = (line, peak) if peak < n / 2 else (line[::-1], n - 1 - peak)
        to_near, to_far = near[: far + 1], near[far:]
        first, last = to_near[0], to_far[-1]
        goes_on = min(first, last) > max(0.3 * max(first, last), 0.1 * line[peak])
        rises_again = last > 2 * max(to_far.min(), 0)
        if far < n / 4 and goes_on and rises_again:
            psf = np.roll(psf, n // 2 - peak, axis)
            axes.append(axis)
    return psf, axes


def _line(psf: Array, axis: int) -> tuple[Array, int]:
    """The line along `axis` through the peak of the smoothed PSF, above the dim part; and the peak's place on it."""
    smooth = ndi.gaussian_filter(psf - np.quantile(psf, 0.1), 0.5, mode="nearest")
    peak = np.unravel_index(np.argmax(smooth), psf.shape)
    return smooth[tuple(slice(None) if a == axis else place for a, place in enumerate(peak))], int(peak[axis])


def _small(mask: Mask, largest: int) -> Mask:
    """Those clusters in the planes that have at most `largest` pixels."""
    labels, count = ndi.label(mask, IN_PLANE)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = largest + 1
    return np.asarray(sizes[labels] <= largest)


def _own_peak(rest: Array, bad: Mask, noise_level: float) -> Mask:
    """Which of the `bad` pixels are the peak of an undersampled PSF; `rest` is the PSF without them."""
    smooth = ndi.gaussian_filter(rest, (0, 0.7, 0.7), mode="nearest")
    z, y, x = np.unravel_index(np.argmax(smooth), rest.shape)
    if smooth[z, y, x] <= 4 * noise_level:
        return bad  # nothing is left: the pixels are all there is
    distance = np.maximum(np.abs(np.arange(rest.shape[1]) - y)[:, None], np.abs(np.arange(rest.shape[2]) - x))
    near = np.broadcast_to(distance <= 2, rest.shape)
    places = np.argwhere(bad & near)
    if not places.size:
        return np.zeros_like(bad)
    y, x = places[0][1:]
    ring = np.maximum(np.abs(np.arange(rest.shape[1]) - y)[:, None], np.abs(np.arange(rest.shape[2]) - x))
    broad = rest[z][ring == 2].mean() > 0.3 * rest[z][ring == 1].mean()
    return np.zeros_like(bad) if broad else bad & near
