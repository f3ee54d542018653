"""How many flips and turns a restoration is averaged over, when nobody says it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.average import COUNTS, SYMMETRIES

MOST_VOXELS = 2048**2  # of all images: an average over eight takes seconds then, where a training takes minutes
SAME = 0.03  # of the peak: two PSFs that differ by less are one; the first ring of Airy has 0.0175, coma more


def average_for(voxels: int, psfs: Sequence[NDArray[np.floating] | None]) -> int:
    """Flips and turns that images may be averaged over: 1, 2, 4 or 8.

    Images that are small get as many as their PSFs have in common: under others the deconvolved image would be the
    mean of several wrong ones. So raw SIM frames, whose patterns have directions, are not for this.

    Parameters
    ----------
    voxels : int
        Of all that is restored.
    psfs : sequence of ndarray or None
        (Y, X) or (Z, Y, X), of each channel; None where there is none.
    """
    if voxels > MOST_VOXELS:
        return 1
    return min((symmetries(psf) for psf in psfs if psf is not None), default=COUNTS[-1])


def symmetries(psf: NDArray[np.floating]) -> int:
    """Flips and turns in Y and X that leave a centred PSF (Y, X) or (Z, Y, X) as it is: 1, 2, 4 or 8."""
    largest = max(psf.shape[-2:])
    missing = [largest - size for size in psf.shape[-2:]]
    square = np.pad(psf, [(0, 0)] * (psf.ndim - 2) + [(n // 2, n - n // 2) for n in missing])
    same = [bool(np.abs(turned(square) - square).max() <= SAME * square.max()) for turned in SYMMETRIES]
    return max(count for count in COUNTS if all(same[:count]))
