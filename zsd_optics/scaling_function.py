"""The blur between a result and its image as a Gaussian: the resolution scaling function of SQUIRREL."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from zsd_optics.imaging import Array, Mask
from zsd_optics.pictures import binned

Box = tuple[slice, ...]

WIDEST = 5.0  # σ, pixels of the image: the blur of a microscope with 4 times the pixels that it needs
TRIED = 12  # widths, before the best one is refined
LOOKED_AT = {2: (512, 512), 3: (24, 128, 128)}  # pixels of the image that a width is estimated from: enough, and quick


def estimated_width(
    result: NDArray[np.generic], image: NDArray[np.generic], used: Mask, factor: int
) -> tuple[float, float]:
    """The Gaussian that, with a linear fit, leaves the smallest difference between a result and its image.

    Parameters
    ----------
    result : ndarray
        ([Z,] factor · Y, factor · X).
    image : ndarray
        ([Z,] Y, X).
    used : ndarray of bool
        ([Z,] Y, X), True where a pixel of the image counts.
    factor : int

    Returns
    -------
    float, float
        σ in Y and X, and in Z (0 for planes), pixels of the result.
    """
    shown, fine = _liveliest(result, image.shape, factor)
    part, counts, inside = result[fine], image[shown].astype(np.float64), used[shown]
    if inside.sum() < 2 or np.ptp(counts[inside]) == 0 or np.ptp(part) == 0:
        part, counts, inside = result, image.astype(np.float64), used

    def error(lateral: float, axial: float) -> float:
        blurred = gaussian_blurred(part, (lateral, axial), factor)[inside]
        slope, intercept = best_line(blurred, counts[inside])
        return float(np.mean((counts[inside] - (slope * blurred + intercept)) ** 2))

    lateral = _smallest(lambda s: error(s, 0.0), WIDEST * factor)
    if image.ndim == 2:
        return lateral, 0.0
    axial = _smallest(lambda s: error(lateral, s), WIDEST)
    return _smallest(lambda s: error(s, axial), WIDEST * factor), axial


def _liveliest(result: NDArray[np.generic], shape: tuple[int, ...], factor: int) -> tuple[Box, Box]:
    """The part of the image, and the same part of the result, in which the result varies most."""
    sides = [min(n, most) for n, most in zip(shape, LOOKED_AT[len(shape)], strict=True)]
    starts = [
        sorted({*range(0, n - side + 1, max(side // 2, 1)), n - side}) for n, side in zip(shape, sides, strict=True)
    ]
    scale = (1, factor, factor)[-len(shape) :]

    def box(place: tuple[int, ...], scale: Sequence[int]) -> Box:
        return tuple(slice(p * k, (p + n) * k) for p, n, k in zip(place, sides, scale, strict=True))

    best = max(product(*starts), key=lambda place: float(result[box(place, scale)].astype(np.float64).var()))
    return box(best, (1,) * len(shape)), box(best, scale)


def _smallest(error: Callable[[float], float], widest: float) -> float:
    """The σ of the smallest error; 0 if no blur is as good as any."""
    tried = np.concatenate([[0.0], np.geomspace(0.25, widest, TRIED)])
    errors = [error(float(sigma)) for sigma in tried]
    best = int(np.argmin(errors))
    bounds = float(tried[max(best - 1, 0)]), float(tried[min(best + 1, TRIED)])
    refined = minimize_scalar(error, bounds=bounds, method="bounded", options={"xatol": 1e-3})
    return float(refined.x) if refined.fun < errors[best] else float(tried[best])


def gaussian_blurred(result: NDArray[np.generic], sigmas: Sequence[float], factor: int) -> Array:
    """The result after a Gaussian (σ in Y and X, and in Z), on the grid of the image."""
    lateral, axial = sigmas
    per_axis = (axial, lateral, lateral)[-result.ndim :]
    return binned(ndi.gaussian_filter(result.astype(np.float64), per_axis), factor)


def best_line(x: NDArray[np.generic], y: NDArray[np.generic]) -> tuple[float, float]:
    """Slope and intercept of the best line y(x); slope 0 for a constant x."""
    centred = x - x.mean(dtype=np.float64)
    power = float(np.sum(centred**2))
    slope = float(np.sum(centred * y)) / power if power > 0 else 0.0
    return slope, float(y.mean(dtype=np.float64) - slope * x.mean(dtype=np.float64))
