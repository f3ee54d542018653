"""Networks of one stage: it denoises, or gives the image before the PSF, from which the denoised one follows."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from zsd_train.networks.fixed_blur import FixedBlur
from zsd_train.networks.network import LEAKY, Denoised, Denoiser, Head, Network, Restored
from zsd_train.networks.unet import CONV

# Light before the PSF is never negative: a small slope keeps the gradient and hardly lets it become so.
PHANTOM_LEAKY = 0.02


class SingleStage(Denoiser):
    """One network, which denoises.

    Parameters
    ----------
    kind : str
        Of the network.
    stage : callable
        As of `Denoiser`.
    features : int
        Channels that the stage gives.
    slope : float
        As of `Network`.
    **options
        Of `Network`.
    """

    def __init__(
        self, kind: str, stage: Callable[[int], nn.Module], features: int, *, slope: float = LEAKY, **options: Any
    ) -> None:
        super().__init__(stage, [features], slope=slope, **options)
        self.kind = kind
        self.initialise()

    def forward(self, x: Tensor) -> Denoised:  # noqa: D102
        return Denoised(self.denoised(x))


class Phantom(Network):
    """One network, which gives the image before the PSF; the denoised image is its blur (Goncharova et al. 2020).

    The paper calls that image the phantom. The blur is part of the graph, so that every program that runs the network
    gives both images.

    Parameters
    ----------
    kind, stage, features, slope
        As of `SingleStage`.
    psf : ndarray
        ([Z,] Y, X) on the deconvolved grid, odd-sized, sums to 1.
    head : int
        Channels of the convolutions before the deconvolved image, if its grid is finer: half as many are left on it.
    grid_factor : int
        The fine grid's factor in Y and X, 1 or 2.
    **options
        Of `Network`.
    """

    outputs = Restored._fields

    def __init__(
        self,
        kind: str,
        stage: Callable[[int], nn.Module],
        features: int,
        psf: NDArray[np.float64],
        *,
        head: int,
        grid_factor: int,
        slope: float = PHANTOM_LEAKY,
        **options: Any,
    ) -> None:
        super().__init__(slope=slope, **options)
        self.kind, self.grid_factor = kind, grid_factor
        self.deconvolve = stage(self.channels)
        channels = [features] if grid_factor == 1 else [features, head, max(1, head // 2)]
        self.head: nn.Module = nn.Identity()
        if grid_factor > 1:  # ONNX has sub-pixel convolution for planes only
            shuffle = self.axes == "yx"
            self.head = Head(*channels, factor=grid_factor, shuffle=shuffle, axes=self.axes, slope=0.0)
        self.to_deconvolved = CONV[self.axes](channels[-1], 1, 3, padding=1)
        self.blur = FixedBlur(psf, grid_factor)
        self.initialise()

    def denoised(self, x: Tensor) -> Tensor:  # noqa: D102
        return self(x).denoised  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Restored:  # noqa: D102
        deconvolved = self.last(self.to_deconvolved(self.head(self.deconvolve(x))))
        return Restored(self.blur(deconvolved), deconvolved)
