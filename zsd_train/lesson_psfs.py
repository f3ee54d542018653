"""The microscopes of the lessons that starting weights learn from (`zsd_train.pretrain`): PSFs of random width."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zsd_optics.optics import Optics, generate_psf
from zsd_optics.psf import gaussian_psf
from zsd_train.config import Axes
from zsd_train.defaults import Shape

FACTOR = 2  # the truth's grid is finer by it, in Y and X
# Highest frequency that the optics pass, cycles a raw pixel. At 0.5 pixels are as small as Nyquist asks for; many
# microscopes have larger ones, and without lessons of them a network takes their fine detail for noise.
CUTOFF = (0.18, 0.9)
SIGMA_PX = (0.4, 1.7)  # of PSFs that are Gaussian, raw pixels


def random_psf(axes: Axes, number: int, rng: np.random.Generator, window: Shape) -> Tensor:
    """A PSF of random width on the fine grid, that fits the window: one in three Gaussian, the others from theory."""
    cutoff = math.exp(rng.uniform(*np.log(CUTOFF)))  # = 2 NA / λ · raw pixel size
    if axes == "yx" and number % 3 == 0:
        psf = gaussian_psf(FACTOR * math.exp(rng.uniform(*np.log(SIGMA_PX))))
    else:
        na, index = (1.2, 1.515) if axes == "yx" else (rng.uniform(0.8, 1.25), 1.33)
        fine_um = cutoff * 0.525 / (2 * na) / FACTOR
        side = 65 if axes == "yx" else 41
        z_um = rng.uniform(0.15, 0.95 * Optics(na, 525.0, index).nyquist_um[0])
        shape, steps = ((side, side), (fine_um,)) if axes == "yx" else ((9, side, side), (z_um, fine_um))
        sheet: dict[str, Any] = {"kind": "light-sheet", "sheet_um": rng.uniform(0.5, 2)}
        psf = generate_psf(Optics(na, 525.0, index), shape, steps, **sheet if axes == "zyx" and number % 2 else {})
    return _fitted(psf, window)


def _fitted(psf: NDArray[np.float64], window: Shape) -> Tensor:
    """The middle of a PSF, at most as large as the window; sums to 1."""
    excess = [max(0, n - (w - 1 + w % 2)) for n, w in zip(psf.shape, window, strict=True)]
    inside = psf[tuple(slice(-(-e // 2), n - -(-e // 2)) for e, n in zip(excess, psf.shape, strict=True))]
    return torch.tensor(inside / inside.sum(), dtype=torch.float32)
