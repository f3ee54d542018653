"""Generalised Anscombe transform: an image whose noise has standard deviation 1 everywhere, and back.

Photon noise is stronger where an image is brighter. Filters that compare grey values with one noise level (non-local
means, bilateral, total variation) work on the transformed image.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_optics.noise_model import NoiseModel

Array = NDArray[Any]
DARKEST = 2 * np.sqrt(3 / 8)  # the transform of 0 electrons without read noise


def stabilised(counts: Array, noise: NoiseModel) -> NDArray[np.float64]:
    """Generalised Anscombe transform (Starck et al. 1998): noise of standard deviation 1.

    Parameters
    ----------
    counts : ndarray
        Camera counts, any shape.
    noise : NoiseModel
        If its gain is 0, the noise is the same everywhere, and the image is only scaled.

    Returns
    -------
    ndarray
        float64, the shape of `counts`; in standard deviations of the noise.
    """
    counts = counts.astype(np.float64)
    if noise.gain == 0:
        return counts / np.sqrt(noise.constant)
    return 2 / noise.gain * np.sqrt(np.maximum(noise.gain * counts + 3 / 8 * noise.gain**2 + noise.constant, 0))


def unstabilised(image: Array, noise: NoiseModel) -> NDArray[np.float64]:
    """Closed-form approximation of the exact unbiased inverse of `stabilised` (Mäkitalo and Foi 2013, eq. 10).

    The mean of a transformed noisy pixel is not the transform of its mean. The unbiased inverse takes this into
    account, which the algebraic one does not; they differ where there is little light.

    Parameters
    ----------
    image : ndarray
        What `stabilised` gives, denoised; any shape.
    noise : NoiseModel
        The same as for `stabilised`.

    Returns
    -------
    ndarray
        float64, camera counts, the shape of `image`.
    """
    image = image.astype(np.float64)
    if noise.gain == 0:
        return image * np.sqrt(noise.constant)
    d = np.maximum(image, DARKEST)
    root = np.sqrt(3 / 2)
    electrons = d**2 / 4 + root / 4 / d - 11 / 8 / d**2 + 5 / 8 * root / d**3 - 1 / 8
    return noise.gain * electrons - noise.constant / noise.gain
