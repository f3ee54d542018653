"""Find the stripes of one direction: wave vector, phase and modulation.

The bands of order 0 and l hold the same sample, O(q) · H_0(q) and g_l · O(q − k) · H_l(q). Where both see it, moving
one onto the other makes them alike: their correlation has a peak at k, whose angle is the phase, and whose height is
the modulation (Gustafsson et al. 2008; Shroff et al. 2010).
"""

import numpy as np
import scipy.fft

from zsd_runtime.sim.bands import LOW_CUT_PER_UM, Array, Bands, Spectrum
from zsd_runtime.sim.stripes import Stripes, overlap, stripes_at, sums

FLOOR = 0.1  # contrast below which a band is no longer sharpened for the first, coarse search
LEAST_OVERLAP = 0.01  # of the largest: where bands overlap less, there is no peak to be trusted
NEAR = 3.0  # steps of the spectrum around a given wave vector
SEARCHES = ((1.0, 0.1), (0.15, 0.01), (0.05, 0.01))  # half-width and step, in steps of the spectrum


def find_stripes(bands: Bands, order: int, lengths: tuple[float, float], near: Array | None = None) -> Stripes:
    """Find the stripes of an order.

    Parameters
    ----------
    bands : Bands
    order : int
    lengths : tuple of float
        The least and the greatest length of the wave vector, cycles/µm.
    near : ndarray
        (ky, kx): look around it only.
    """
    wave, trust = _coarse(bands, order, lengths, near)
    return stripes_at(bands, order, _fine(bands, order, wave), trust)


def correlation(bands: Bands, order: int) -> Array:
    """How alike order 0 and another are when moved by each wave vector, (2Y, 2X) in the order of an FFT, half steps.

    The correlation of the sharpened bands, over its standard deviation if they had nothing in common,
    √Σ |a(q)|² · |b(q + k)|²: where little of the bands overlaps it is small by nature.
    """
    still = np.zeros(2)
    cut = bands.low_cut(still)
    contrasts = (bands.contrast(which, still) for which in (0, order))
    sharpening = [cut * contrast / (contrast**2 + _floor(bands, contrast) ** 2) for contrast in contrasts]
    a, b = bands.spectra[0] * sharpening[0], bands.spectra[order] * sharpening[1]
    found = _summed(np.conj(scipy.fft.ifftn(a)) * scipy.fft.ifftn(b))
    power = _summed(np.conj(scipy.fft.ifftn(np.abs(a) ** 2)) * scipy.fft.ifftn(np.abs(b) ** 2))
    expected = scipy.fft.fft2(power).real
    expected = np.maximum(expected, LEAST_OVERLAP * expected.max())
    heights = np.abs(scipy.fft.fft2(found, s=[2 * n for n in found.shape]))
    return heights / np.sqrt(_with_halves(expected))  # type: ignore[no-any-return]


def _floor(bands: Bands, contrast: Array) -> float:
    """The contrast below which a band is not sharpened; that of volumes is small everywhere but at frequency 0."""
    if contrast.ndim == 2:
        return FLOOR
    ky, kx = bands.frequency[-2:]
    return FLOOR * float(contrast[:, np.hypot(ky, kx)[0] > LOW_CUT_PER_UM].max())


def _summed(volume: Spectrum) -> Spectrum:
    """Over the slices, if there are any."""
    return volume.reshape(-1, *volume.shape[-2:]).sum(axis=0)  # type: ignore[no-any-return]


def _with_halves(grid: Array) -> Array:
    """(Y, X) that wraps around as (2Y, 2X), the mean of two neighbours between them."""
    for axis in (0, 1):
        pairs = np.stack([grid, (grid + np.roll(grid, -1, axis)) / 2], axis + 1)
        grid = pairs.reshape([2 * n if i == axis else n for i, n in enumerate(grid.shape)])
    return grid


def _coarse(bands: Bands, order: int, lengths: tuple[float, float], near: Array | None) -> tuple[Array, float]:
    """The highest peak, and how far it is above the median."""
    heights = correlation(bands, order)
    ky, kx = (np.fft.fftfreq(n, bands.voxel_um[-1]) for n in heights.shape)
    length = np.hypot(ky[:, None], kx)
    looked = (lengths[0] <= length) & (length <= lengths[1])
    median = float(np.median(heights[looked]))
    if near is not None:
        steps = np.hypot(ky[:, None] - near[0], kx - near[1]) * bands.shape[-1] * bands.voxel_um[-1]
        looked &= steps <= NEAR
    row, column = np.unravel_index(np.argmax(np.where(looked, heights, -1)), heights.shape)
    return np.array([ky[row], kx[column]]), float(heights[row, column]) / max(median, 1e-30)


def _fine(bands: Bands, order: int, wave: Array) -> Array:
    size = np.array([n * bands.voxel_um[-1] for n in bands.shape[-2:]])  # µm: a step of the spectrum is its inverse
    for reach, step in SEARCHES:
        found, _ = overlap(bands, order, wave)
        offsets = np.arange(-round(reach / step), round(reach / step) + 1) * step
        heights = np.abs(sums(found, wave[0] + offsets / size[0], wave[1] + offsets / size[1], bands.voxel_um[-1]))
        row, column = np.unravel_index(np.argmax(heights), heights.shape)
        rest = np.array([_vertex(heights[:, column], int(row)), _vertex(heights[row], int(column))])
        wave = wave + (np.array([offsets[row], offsets[column]]) + rest * step) / size
    return wave


def _vertex(heights: Array, middle: int) -> float:
    """Where the parabola through three heights has its vertex, in steps from the middle one."""
    if not 0 < middle < len(heights) - 1:
        return 0.0
    left, centre, right = heights[middle - 1 : middle + 2]
    curvature = left - 2 * centre + right
    return 0.0 if curvature >= 0 else float(0.5 * (left - right) / curvature)
