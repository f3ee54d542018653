"""How many flips and turns a restoration is averaged over, when nobody says it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.average import COUNTS, SYMMETRIES

if TYPE_CHECKING:
    from zsd_train.run import Run

MOST_VOXELS = 2**21  # of all images: two idle cores took 20 s for an average over eight, where a training takes minutes
SAME = 0.03  # of the peak: two PSFs that differ by less are one; the first ring of Airy has 0.0175, coma more
FLIPS = 4


def average_for(voxels: int, runs: Sequence["Run"]) -> int:
    """Flips and turns that images may be averaged over: 1, 2, 4 or 8.

    Small images get as many as leave the PSF and the noise of every channel as they are. Under others the deconvolved
    image would be the mean of several wrong ones, and noise along one axis would look to the network like structure.
    Networks other than the compact one take too long, and raw SIM frames have patterns with a direction.

    Parameters
    ----------
    voxels : int
        Of all that is restored.
    runs : sequence of Run
        The training of each channel.
    """
    if voxels > MOST_VOXELS or any(run.config.preset != "compact" or run.sim is not None for run in runs):
        return 1
    return min(_symmetries(run) for run in runs)


def _symmetries(run: "Run") -> int:
    """Of the PSF and the noise of a training."""
    noise = run.measured.noise
    along_one_axis = len(noise.correlated) == 1 or bool(noise.row_noise) != bool(noise.column_noise)
    return min(symmetries(run.psf), FLIPS if along_one_axis else COUNTS[-1])


def symmetries(psf: NDArray[np.floating]) -> int:
    """Flips and turns in Y and X that leave a centred PSF (Y, X) or (Z, Y, X) as it is: 1, 2, 4 or 8."""
    largest = max(psf.shape[-2:])
    missing = [largest - size for size in psf.shape[-2:]]
    square = np.pad(psf, [(0, 0)] * (psf.ndim - 2) + [(n // 2, n - n // 2) for n in missing])
    same = [bool(np.abs(turned(square) - square).max() <= SAME * square.max()) for turned in SYMMETRIES]
    return max(count for count in COUNTS if all(same[:count]))
