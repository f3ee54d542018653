"""Whether the frames hold the frequencies that the OTF says, and no others."""

from collections.abc import Sequence

import numpy as np

from zsd_runtime.sim.bands import CORNER_PER_PX, Bands

RINGS = np.linspace(0, 2, 41)  # edges, of the cutoff
OUTSIDE = (1.06, 1.2)
FAR = 1.35
EXCESS = 1.15  # of the noise: power outside that is no chance
MISSING = 0.85


def support_remark(bands: Sequence[Bands]) -> str:
    """A sentence if the OTF is too narrow or too wide for the frames; empty if not, or if nothing can be said."""
    length, power = radial_power(bands)
    cutoff = bands[0].transfer.cutoff
    far = power[length > FAR]
    if far.size < 2 or not np.isfinite(far).all():
        return ""
    noise = float(far.mean())
    outside = power[(length > OUTSIDE[0]) & (length < OUTSIDE[1])]
    above = length[(power > EXCESS * noise) & (length < FAR)]
    reach = float(above.max()) if above.size else 0.0
    if outside.size and outside.mean() > EXCESS * noise:
        return (
            f"the frames hold detail up to {reach * cutoff:.1f} cycles/µm and the OTF ends at {cutoff:.1f}: it is for "
            "another wavelength, NA or pixel size"
        )
    return ""


def radial_power(bands: Sequence[Bands]) -> tuple[np.ndarray, np.ndarray]:
    """Mean power of order 0 on rings, and their radius as a share of the cutoff."""
    first = bands[0]
    ky, kx = first.frequency[-2:]
    most = CORNER_PER_PX / first.voxel_um[-1]
    length = np.hypot(ky, kx).reshape(first.shape[-2:])
    used = (length < most) & (np.maximum(np.abs(ky), np.abs(kx)).reshape(length.shape) < most)
    power = np.mean([np.abs(b.spectra[0]) ** 2 for b in bands], axis=0)
    power = power if power.ndim == 2 else power.mean(axis=0)
    ring = np.digitize(length[used] / first.transfer.cutoff, RINGS) - 1
    number = np.bincount(ring, minlength=RINGS.size)[: RINGS.size - 1]
    total = np.bincount(ring, power[used], minlength=RINGS.size)[: RINGS.size - 1]
    centres = (RINGS[1:] + RINGS[:-1]) / 2
    good = number > 8
    return centres[good], total[good] / number[good]
