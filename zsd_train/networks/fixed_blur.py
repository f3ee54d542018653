"""The PSF as a layer of a network, for outputs that follow from others: ``(deconvolved ∗ PSF)↓`` of eq. 6."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zsd_train.forward import downsample

NEGLIGIBLE = 1e-3  # share of the light that may be misplaced


class FixedBlur(nn.Module):
    """Blur by a PSF, then the mean over the fine pixels of each raw pixel; the image's edge is continued.

    A PSF of n^d pixels costs as much as the rest of a small network. As a sum of products of a filter along X and a
    filter across it, of which few are needed, it takes a tenth of that or less.

    Parameters
    ----------
    psf : ndarray
        ([Z,] Y, X), odd-sized, sums to 1.
    grid_factor : int
    """

    along_x: Tensor
    across_x: Tensor

    def __init__(self, psf: NDArray[np.float64], grid_factor: int) -> None:
        super().__init__()
        self.grid_factor = grid_factor
        self.convolve: Any = {2: nn.functional.conv2d, 3: nn.functional.conv3d}[psf.ndim]
        # Not saved with the weights: the run folder and the graph hold the PSF.
        for name, filters in zip(("along_x", "across_x"), separated(psf), strict=True):
            self.register_buffer(name, torch.tensor(filters, dtype=torch.float32), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 1, [Z,] kY, kX) -> (N, 1, [Z,] Y, X)."""
        for filters in (self.along_x, self.across_x):
            padding = [side for n in reversed(filters.shape[2:]) for side in (n // 2, n // 2)]
            image = self.convolve(nn.functional.pad(image, padding, "replicate"), filters)
        return downsample(image, self.grid_factor)


def separated(psf: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Filters along X (R, 1, [1,] 1, X) and across it (1, R, [Z,] Y, 1) that one after the other blur by a PSF.

    They are the first singular vectors of the PSF, as many as it needs. Convolutions of networks do not flip their
    filters, so these are flipped.
    """
    left, strength, right = np.linalg.svd(psf.reshape(-1, psf.shape[-1]), full_matrices=False)
    for rank in range(1, len(strength) + 1):
        across, along = left[:, :rank] * strength[:rank] ** 0.5, strength[:rank, None] ** 0.5 * right[:rank]
        if np.abs(across @ along - psf.reshape(-1, psf.shape[-1])).sum() <= NEGLIGIBLE:
            break
    across = across / (across @ along).sum()  # the flux stays exactly
    ones = (1,) * (psf.ndim - 1)
    return along[:, ::-1].reshape(rank, 1, *ones, -1).copy(), across[::-1].T.reshape(1, rank, *psf.shape[:-1], 1).copy()
