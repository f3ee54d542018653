"""The Wiener parameter of a reconstruction, from the noise of the raw frames and the fall of the sample's spectrum."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.sim.bands import Bands
from zsd_runtime.sim.microscope import LEAST_WIENER

FITTED = (0.15, 0.7)  # of the cutoff: frequencies whose power is fitted
JUDGED = 1.0  # of the cutoff: where noise and sample are compared
LARGEST = 0.6
# One number for all frequencies has to be larger than this at high signal and smaller at low signal: on simulated
# filaments, vesicles and cells of 10 to 1000 photons w = 0.19 · (w_judged / 0.19)^0.72 is within 0.3 dB of the best.
PIVOT, POWER = 0.19, 0.72


def wiener_parameter(bands: Sequence[Bands]) -> float:
    """w with w² = noise/sample at the frequency where widefield ends and SIM begins.

    The power of the sample falls as a power of the frequency; it is fitted where order 0 shows it.
    """
    first = bands[0]
    ky, kx = first.frequency[-2:]
    length = _in_focus(np.hypot(ky, kx)) / first.transfer.cutoff
    used = (length > FITTED[0]) & (length < FITTED[1])
    power = np.mean([_in_focus(np.abs(b.spectra[0]) ** 2) for b in bands], axis=0)
    noise = float(np.mean([b.noise[0] for b in bands]))
    contrast = _in_focus(np.broadcast_to(first.contrast(0, np.zeros(2)), first.shape))
    edges = np.linspace(*FITTED, 12)
    ring = np.digitize(length[used], edges)
    number = np.bincount(ring, minlength=13)[1:12]
    measured = np.bincount(ring, power[used], minlength=13)[1:12] / np.maximum(number, 1)
    seen = np.bincount(ring, contrast[used] ** 2, minlength=13)[1:12] / np.maximum(number, 1)
    sample = (measured - noise) / np.maximum(seen, 1e-9)
    good = (number > 0) & (measured > 1.2 * noise)
    least = LEAST_WIENER[len(first.shape)]
    if noise <= 0 or good.sum() < 3:
        return least if noise <= 0 else LARGEST
    centres = (edges[1:] + edges[:-1]) / 2
    fall, level = np.polyfit(np.log(centres[good]), np.log(sample[good]), 1, w=np.sqrt(number[good]))
    expected = np.exp(level + fall * np.log(JUDGED))
    return float(np.clip(PIVOT * (np.sqrt(noise / expected) / PIVOT) ** POWER, least, LARGEST))


def _in_focus(spectrum: NDArray[Any]) -> NDArray[Any]:
    """The plane kz = 0 of a volume's spectrum."""
    return spectrum if spectrum.ndim == 2 else spectrum[0]
