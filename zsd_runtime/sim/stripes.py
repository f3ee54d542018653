"""The stripes of one direction where their wave vector is known: phase and modulation.

The bands of order 0 and l hold the same sample, O(q) · H_0(q) and g_l · O(q − k) · H_l(q). Where both see it, their
product has the angle of the phase and the height of the modulation (Gustafsson et al. 2008; Shroff et al. 2010).
"""

from dataclasses import dataclass

import numpy as np

from zsd_runtime.sim.bands import TAPER, Array, Bands, Spectrum

EDGE_PX = 4  # left out at the edges beside the taper: what was filtered there has seen the taper


@dataclass(frozen=True)
class Stripes:
    """One order of one direction.

    Attributes
    ----------
    wave : ndarray
        (ky, kx), cycles/µm, of this order.
    phase_rad : float
        Of this order in the first frame, at the centre of the first pixel.
    modulation : float
    trust : float
        Peak over median of the correlation.
    """

    wave: Array
    phase_rad: float
    modulation: float
    trust: float


def stripes_at(bands: Bands, order: int, wave: Array, trust: float) -> Stripes:
    """Phase and modulation of stripes whose wave vector (ky, kx), cycles/µm, is known."""
    found, power = overlap(bands, order, wave)
    total = sums(found, wave[0:1], wave[1:2], bands.voxel_um[-1])[0, 0]
    return Stripes(wave, float(np.angle(total)), float(2 * abs(total) / power) if power > 0 else 0.0, trust)


def overlap(bands: Bands, order: int, wave: Array) -> tuple[Spectrum, float]:
    """conj(a) · b in space (Y, X), where both bands see the sample, and the power of a without its noise."""
    still = np.zeros(2)
    first = bands.low_cut(still) * bands.contrast(order, wave)
    second = bands.low_cut(wave) * bands.contrast(0, -wave)
    a = np.fft.ifftn(bands.spectra[0] * first)
    b = np.fft.ifftn(bands.spectra[order] * second)
    used = _interior(bands.shape)
    noise = bands.noise[0] * np.sum(np.broadcast_to(first, bands.shape) ** 2) / first.size * used.mean()
    power = float(np.sum(np.abs(a) ** 2 * used) - noise)
    product = np.conj(a) * b * used
    return product.reshape(-1, *product.shape[-2:]).sum(axis=0), power


def _interior(shape: tuple[int, ...]) -> Array:
    """(Y, X), 1 but for the edges."""
    mask = np.zeros(shape[-2:])
    rim = [n // TAPER + EDGE_PX for n in shape[-2:]]
    mask[tuple(slice(m, n - m) for m, n in zip(rim, shape[-2:], strict=True))] = 1
    return mask


def sums(product: Spectrum, ky: Array, kx: Array, size_um: float) -> Spectrum:
    """Σ product · e^{−2πi k·r} for all (ky, kx), by two products of matrices."""
    y, x = (np.arange(n) * size_um for n in product.shape)
    return np.exp(-2j * np.pi * np.outer(ky, y)) @ product @ np.exp(-2j * np.pi * np.outer(x, kx))  # type: ignore[no-any-return]
