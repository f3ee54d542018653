"""What training and export ask of a network, whatever its stages."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from zsd_train.forward import downsample, shuffled, smoothly_upsampled, upsampled
from zsd_train.networks.unet import CONV, ConvBlock, activation

# The last activation's. The published U-Nets end in ReLU, which can die for a whole run; a slope keeps the gradient,
# and lets noise around zero average out.
LEAKY = 0.2
# A fine and a coarse result are mixed by sigmoid(STEEP · x): few steps of a training go from one to the other.
STEEP = 8.0
MOSTLY_FINE = -1.0  # STEEP · x before anything is learnt


class Restored(NamedTuple):
    """`denoised` (N, 1, [Z,] Y, X) on the raw grid, `deconvolved` (N, 1, [Z,] kY, kX), k the upsampling."""

    denoised: Tensor
    deconvolved: Tensor


class Denoised(NamedTuple):
    """`denoised` (N, 1, [Z,] Y, X) on the raw grid."""

    denoised: Tensor


class Network(nn.Module):
    """A network from a noisy image to a named tuple of images, whose fields are its `outputs`.

    The last convolution before an image is called ``to_<output>``. An output without one follows from another.

    Parameters
    ----------
    axes : {"yx", "zyx"}
    channels : int
        C, of the input.
    size_multiple : tuple of int
        Sizes must be multiples of it, axis by axis.
    slope : float
        Of the activation behind the images; 0 is ReLU, 1 is none.
    halo : tuple of int or None
        What to state where it cannot be measured, because the outputs depend on the whole tile.
    """

    kind: str
    outputs: tuple[str, ...]
    grid_factor = 1

    def __init__(
        self,
        *,
        axes: str,
        size_multiple: tuple[int, ...],
        slope: float,
        channels: int = 1,
        halo: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.axes, self.channels, self.size_multiple, self.halo = axes, channels, size_multiple, halo
        self.slope, self.last = slope, activation(slope)

    @property
    def scales(self) -> list[tuple[int, ...]]:
        """How much finer than the input each output is, axis by axis."""
        return [(1,) * len(self.axes), in_yx(self.grid_factor, self.axes)][: len(self.outputs)]

    @property
    def last_convolutions(self) -> dict[str, nn.Module]:
        """By output."""
        return {output: getattr(self, f"to_{output}") for output in self.outputs if hasattr(self, f"to_{output}")}

    def denoised(self, x: Tensor) -> Tensor:
        """The denoised image alone: (N, C, [Z,] Y, X) -> (N, 1, [Z,] Y, X)."""
        raise NotImplementedError

    def initialise(self) -> None:
        """Random weights (He et al. 2015). Images start flat and slightly positive, so no output is born dead."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        for last in self.last_convolutions.values():
            nn.init.normal_(last.weight, std=0.02)  # type: ignore[arg-type]
            nn.init.constant_(last.bias, 0.1)  # type: ignore[arg-type]
        if (mixture := getattr(self, "to_mixture", None)) is not None:
            nn.init.zeros_(mixture.weight)
            nn.init.constant_(mixture.bias, MOSTLY_FINE / STEEP)
        for head in (module for module in self.modules() if isinstance(module, Head)):
            head.even_out()


class Denoiser(Network):
    """A network whose first stage denoises.

    Parameters
    ----------
    stage : callable
        Makes a network from images of so many channels (N, C, [Z,] Y, X) to features.
    head : sequence of int
        Channels from the stage's features to the last convolution before the denoised image.
    head_slope : float
        Of the activations inside the heads.
    coarse : bool
        The same stage also sees the image binned 2 × 2 in Y and X, where there is less noise and everything is half as
        large. Pixel by pixel, the denoised image is a mixture of both results: a small network averages over few
        pixels, which is not enough where little light varies slowly.
    **options
        Of `Network`.
    """

    outputs: tuple[str, ...] = Denoised._fields

    def __init__(
        self,
        stage: Callable[[int], nn.Module],
        head: Sequence[int],
        *,
        head_slope: float = 0.0,
        coarse: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.denoise = stage(self.channels)
        self.denoised_head = ConvBlock(*head, axes=self.axes, slope=head_slope)
        self.to_denoised = CONV[self.axes](head[-1], 1, 3, padding=1)
        self.to_mixture = CONV[self.axes](head[-1], 1, 3, padding=1) if coarse else None

    def denoised(self, x: Tensor) -> Tensor:
        """The first stage alone: (N, C, [Z,] Y, X) -> (N, 1, [Z,] Y, X)."""
        features, fine = self._denoised_at_once(x)
        if self.to_mixture is None:
            return fine
        coarse = smoothly_upsampled(self._denoised_at_once(downsample(x, 2))[1], 2)
        return fine + torch.sigmoid(STEEP * self.to_mixture(features)) * (coarse - fine)

    def _denoised_at_once(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The last features, and the image of them."""
        features = self.denoised_head(self.denoise(x))
        return features, self.last(self.to_denoised(features))


class Head(ConvBlock):
    """Convolutions from features on the raw grid to features on the fine grid (N, C, [Z,] kY, kX).

    Without `shuffle` the features are first enlarged, and every convolution has k² times as many pixels (as published).
    With it, the convolutions stay on the raw grid; the last one gives k² numbers for each feature, one for each fine
    pixel (sub-pixel convolution, Shi et al. 2016).

    Parameters
    ----------
    *channels : int
        Of the features, and after each convolution; the last are those on the fine grid.
    factor : int
        k.
    shuffle : bool
    axes, slope
        As of `ConvBlock`.
    """

    def __init__(self, *channels: int, factor: int, shuffle: bool, axes: str, slope: float) -> None:
        self.phases = factor**2 if shuffle else 1
        super().__init__(*channels[:-1], channels[-1] * self.phases, axes=axes, slope=slope)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if self.phases == 1 and self.factor > 1:
            x = upsampled(x, self.factor)
        features: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return features if self.phases == 1 else shuffled(features, self.factor)

    def even_out(self) -> None:
        """Give all fine pixels of a raw one the same weights, so that no checkerboard is there to begin with.

        Aitken et al. 2017.
        """
        last = [layer for layer in self if isinstance(layer, nn.Conv2d | nn.Conv3d)][-1]
        with torch.no_grad():
            last.weight.copy_(last.weight[:: self.phases].repeat_interleave(self.phases, 0))


def in_yx(factor: int, axes: str) -> tuple[int, ...]:
    """What changes Y and X by a factor and leaves slices alone."""
    return (1, factor, factor)[-len(axes) :]
