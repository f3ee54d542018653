"""Whether the OTF is as wide as that of the microscope, as the bands of the stripes show.

Two bands hold the same sample where both see it, O(q) · H(q) and g · O(q) · H(q + k). Their ratio is
g · H(q + k) / H(q), whatever the sample is: it says how H falls.
"""

from collections.abc import Sequence

import numpy as np
import scipy.fft

from zsd_runtime.sim.bands import CORNER_PER_PX, Array, Bands, edge_window
from zsd_runtime.sim.parameters import Pattern

RADII = np.linspace(0.15, 1.25, 23)  # edges of the bins, of the cutoff; slower frequencies hold out-of-focus light, too
INNER = 0.8  # of the cutoff: beyond, the first band has hardly any contrast to be divided by
STRETCHES = np.linspace(0.6, 1.5, 46)
LEAST_CONTRAST = 0.02
FEWEST_BINS = 30
BELIEVED = (0.88, 1.15)  # a sample at 20 photons with the true OTF gave 1.08
# How much worse the OTF as it is must fit: with true OTFs, simulations and measured data gave up to 40.
SIGNIFICANT = 60.0


def width_remark(bands: Sequence[Bands], patterns: Sequence[Pattern]) -> str:
    """A sentence if another width fits the bands clearly better; empty if not, or for volumes.

    Parameters
    ----------
    bands : sequence of Bands
        Of the directions whose stripes are to be trusted.
    patterns : sequence of Pattern
    """
    if not bands or bands[0].spectra.ndim != 3:
        return ""
    if any(1000 / p.spacing_nm > bands[0].transfer.cutoff for p in patterns):  # the bands hardly overlap
        return ""
    stretch, gain = best_stretch(bands, patterns)
    if gain < SIGNIFICANT or BELIEVED[0] < stretch < BELIEVED[1]:
        return ""
    cutoff = bands[0].transfer.cutoff
    return (
        f"the bands agree with each other for an OTF that ends at {stretch * cutoff:.1f} cycles/µm and the OTF ends at "
        f"{cutoff:.1f}: it is for another wavelength, NA or pixel size, or the image is not as sharp as it should be"
    )


def best_stretch(bands: Sequence[Bands], patterns: Sequence[Pattern]) -> tuple[float, float]:
    """By which factor the true OTF is wider, and how much better it fits than the OTF as it is (χ², least 1 a bin)."""
    product, power, variance = np.sum([_binned(b, p) for b, p in zip(bands, patterns, strict=True)], axis=0)
    transfer = bands[0].transfer
    centres = (RADII[1:] + RADII[:-1]) / 2
    misfits = np.full(STRETCHES.size, np.inf)
    numbers = np.zeros(STRETCHES.size)
    for n, stretch in enumerate(STRETCHES):
        contrast = transfer((np.zeros(1), centres * transfer.cutoff / stretch))
        used = (variance > 0) & (contrast[:, None] > LEAST_CONTRAST) & (centres[:, None] < INNER)
        if used.sum() < FEWEST_BINS:
            continue
        expected = (contrast / np.maximum(contrast, LEAST_CONTRAST)[:, None] * power)[used]
        weight = 1 / variance[used]
        if not (scale := (expected**2 * weight).sum()) > 0:
            continue
        strength = (product[used] * expected * weight).sum() / scale
        misfits[n] = ((product[used] - strength * expected) ** 2 * weight).sum() / used.sum()
        numbers[n] = used.sum()
    best, as_it_is = int(np.argmin(misfits)), int(np.argmin(np.abs(STRETCHES - 1)))
    if not np.isfinite(misfits[as_it_is]):
        return 1.0, 0.0
    gain = (misfits[as_it_is] - misfits[best]) * numbers[as_it_is] / max(misfits[best], 1.0)
    return float(STRETCHES[best]), float(gain)


def _binned(bands: Bands, pattern: Pattern) -> Array:
    """(3, bins, bins) over |q| and |q + k|: product of both bands, power of order 0 without noise, variance."""
    order = pattern.orders
    wave, size = pattern.wave_vector(order), bands.voxel_um[-1]
    y, x = (np.arange(n) * size for n in bands.shape)
    carrier = np.exp(-2j * np.pi * (wave[0] * y[:, None] + wave[1] * x) - 1j * order * pattern.phases_rad[0])
    moved = scipy.fft.fft2(scipy.fft.ifft2(bands.spectra[order]) * carrier)
    still = bands.spectra[0]
    ky, kx = bands.frequency
    radii = [np.hypot(ky + dy, kx + dx) / bands.transfer.cutoff for dy, dx in ((0, 0), wave)]
    most = CORNER_PER_PX / size
    clean = [(np.abs(k + d) < most) for k, d in ((ky, 0), (kx, 0), (ky, wave[0]), (kx, wave[1]))]
    used = clean[0] & clean[1] & clean[2] & clean[3]
    for radius in radii:
        used = used & (radius >= RADII[0]) & (radius < RADII[-1])
    bins = RADII.size - 1
    first, second = (np.digitize(radius[used], RADII) - 1 for radius in radii)
    noise = bands.noise[0] * np.mean(edge_window(bands.shape) ** 2)
    values = (
        (np.conj(still[used]) * moved[used]).real,
        np.abs(still[used]) ** 2 - noise,
        np.abs(still[used]) ** 2 * np.abs(moved[used]) ** 2 / 2,
    )
    return np.stack([np.bincount(first * bins + second, v, bins * bins).reshape(bins, bins) for v in values])
