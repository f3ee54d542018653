"""Noise whose covariance depends on the place of a pixel in 2 x 2 pixels: after demosaicing, or an enlargement by 2.

A camera with a colour filter measures green at every other pixel; software interpolates the rest. The interpolated
pixels have less noise, and it is a function of their neighbours' noise. Noise that is drawn with the mean covariance is
not such a function: a network can tell the two apart, and learns to keep the image's own. Noise of this kind is
cyclostationary (Gardner et al. 2006): its covariance is one map for each of four places.
"""

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float64]
# Of the pixels whose (Y, X) are (even, even), (even, odd), (odd, even), (odd, odd): their covariances with the pixels
# around, over the mean variance.
Phases = tuple[tuple[tuple[float, ...], ...], ...]

_DIFFER, _SURE = 0.1, 5  # variances of places, over the mean; and in standard errors


def phases_of(residual: Array, correlation: Array, variance: float) -> Phases | None:
    """The covariance of each place, if their variances differ.

    Parameters
    ----------
    residual : ndarray
        (N, Y, X), flat blocks without their polynomials, whose first pixel is at an even place.
    correlation : ndarray
        The mean correlation, an odd square.
    variance : float
        The mean variance.
    """
    reach = len(correlation) // 2
    products = phase_products(residual, reach)
    differences = (products.mean(axis=1) - products.mean(axis=(0, 1))) / variance  # polynomials take alike from each
    spread = (products - products.mean(axis=0))[:, :, reach, reach].std(axis=1) / variance
    least = np.maximum(_DIFFER, _SURE * spread / np.sqrt(products.shape[1]))
    if not (np.abs(differences[:, reach, reach]) > least).any():
        return None
    return tuple(tuple(map(tuple, part.round(4).tolist())) for part in correlation + differences)


def phase_products(residual: Array, reach: int) -> Array:
    """Mean products of residuals (N, Y, X) with pixels at each distance, for each of the four places in 2 x 2 pixels.

    Returns
    -------
    ndarray
        (4, N, 2 · reach + 1, 2 · reach + 1); phases (0, 0), (0, 1), (1, 0), (1, 1) of (Y, X).
    """
    inner = residual[:, reach:-reach, reach:-reach]
    shifted = sliding_window_view(residual, inner.shape[1:], axis=(1, 2))  # (N, distances of Y, of X, Y, X)
    products = [
        np.einsum("nyx,nijyx->nij", inner[:, y::2, x::2], shifted[..., y::2, x::2]) / inner[0, y::2, x::2].size
        for y, x in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    return np.stack(products)


@lru_cache(16)
def phase_filters(phases: Phases, shape: tuple[int, int]) -> Array:
    """What gives white noise of `shape` (even Y and X) this covariance, on the grids of the four phases.

    The covariances of the phases make a matrix of 4 x 4 power spectra (Gardner et al. 2006, cyclostationary processes);
    its square root filters four independent white images into one of correlated noise.

    Returns
    -------
    ndarray
        complex (Y / 2, X / 2, 4, 4), for the frequencies of a phase's grid.
    """
    half = (shape[0] // 2, shape[1] // 2)
    reach = len(phases[0]) // 2
    covariance = np.zeros((4, 4, *half))
    for phase, around in enumerate(phases):
        for y in range(-reach, reach + 1):
            for x in range(-reach, reach + 1):
                to_y, to_x = phase // 2 + y, phase % 2 + x
                other = 2 * (to_y % 2) + to_x % 2
                covariance[phase, other, (to_y // 2) % half[0], (to_x // 2) % half[1]] += around[reach + y][reach + x]
    spectra = np.moveaxis(np.fft.fft2(covariance).conj(), (0, 1), (2, 3))
    values, vectors = np.linalg.eigh((spectra + np.swapaxes(spectra.conj(), 2, 3)) / 2)
    roots = np.sqrt(np.clip(values, 0, None))
    filters: Array = (vectors * roots[..., None, :]) @ np.swapaxes(vectors.conj(), 2, 3)
    return filters
