"""How far the sample moved between the directions of an acquisition."""

from collections.abc import Sequence

import numpy as np
import scipy.fft

from zsd_runtime.sim.bands import Bands

REACH_PX, STEP_PX = 4.0, 0.05


def drift_px(bands: Sequence[Bands]) -> float:
    """The largest shift of a direction's widefield image against that of the first, raw pixels."""
    shifts = [shift_px(bands[0], other) for other in bands[1:]]
    return max((float(np.hypot(*s)) for s in shifts), default=0.0)


def shift_px(first: Bands, other: Bands) -> np.ndarray:
    """(y, x) by which `other` is shifted against `first`: the peak of their correlation, to a fraction of a pixel."""
    still = np.zeros(2)
    weight = first.low_cut(still) * first.contrast(0, still)
    a, b = (_widefield(each, weight) for each in (first, other))
    power = np.conj(a) * b
    offsets = np.arange(-round(REACH_PX / STEP_PX), round(REACH_PX / STEP_PX) + 1) * STEP_PX
    y, x = (np.fft.fftfreq(n) for n in power.shape)
    heights = (np.exp(2j * np.pi * np.outer(offsets, y)) @ power @ np.exp(2j * np.pi * np.outer(x, offsets))).real
    row, column = np.unravel_index(np.argmax(heights), heights.shape)
    return np.array([offsets[row], offsets[column]])


def _widefield(bands: Bands, weight: np.ndarray) -> np.ndarray:
    spectrum = bands.spectra[0] * weight
    if spectrum.ndim == 2:
        return spectrum
    image = scipy.fft.ifftn(spectrum).sum(axis=0)
    return np.asarray(scipy.fft.fft2(image))
