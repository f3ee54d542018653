"""Where a movie moves: there, a network learns soonest not to trust the frames before and after.

Most of a scene is still, and averaging it over time is the first thing that a network learns from its neighbours. What
moves is blurred by that, and is too small a part of the loss to be learnt soon. So pixels count more where the frame
before and the frame after differ by more than most of the scene does. Weights are a function of these two alone, whose
noise is independent of the target's: they change how soon a network learns what, and favour no value of a pixel.
"""

from typing import Any

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from zsd_optics.noise_model import NoiseModel

SMOOTHED, SPREAD = 5, 9  # pixels over which changes are averaged, and over which they count: what moved was in between
LARGEST = 16.0


def motion_weight(before: NDArray[Any], after: NDArray[Any], noise: NoiseModel) -> NDArray[np.float64]:
    """How much each pixel counts, 1 where nothing moves; most of the scene is taken to be still.

    So bleaching, and noise that neighbouring pixels share, count as stillness: they are everywhere.

    Parameters
    ----------
    before, after : ndarray
        ([Z,] Y, X), counts.
    noise : NoiseModel
    """
    axes = (-2, -1)
    variance = 2 * noise.variance(ndi.uniform_filter((before + after) / 2, SMOOTHED, axes=axes)) / SMOOTHED**2
    change = ndi.uniform_filter(after - before, SMOOTHED, axes=axes) ** 2 / np.maximum(variance, 1e-12)
    change = ndi.uniform_filter(change, SPREAD, axes=axes)
    return np.clip(change / max(1.0, float(np.median(change))), 1, LARGEST)
