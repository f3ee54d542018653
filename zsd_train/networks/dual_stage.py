"""Networks of one stage, which denoise, and of two: the second deconvolves what the first gives."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from zsd_train.forward import shuffled, upsampled
from zsd_train.networks.rcan3d import RCAN3D, Window
from zsd_train.networks.unet import CONV, ConvBlock, UNet, activation

# The last activation's. The published U-Nets end in ReLU, which can die for a whole run; a slope keeps the gradient,
# and lets noise around zero average out.
LEAKY = 0.2


class Restored(NamedTuple):
    """`denoised` (N, 1, [Z,] Y, X) on the raw grid, `deconvolved` (N, 1, [Z,] kY, kX), k the upsampling."""

    denoised: Tensor
    deconvolved: Tensor


class Denoised(NamedTuple):
    """`denoised` (N, 1, [Z,] Y, X) on the raw grid."""

    denoised: Tensor


class Network(nn.Module):
    """The first stage, which denoises, and what training and export ask of a network of any number of stages.

    `outputs` are the fields of the named tuple that it returns. The last convolution before the image of each is called
    ``to_<output>``.

    Parameters
    ----------
    stage : callable
        Makes a network from images of so many channels (N, C, [Z,] Y, X) to features.
    head : sequence of int
        Channels from the stage's features to the last convolution before the denoised image.
    axes : {"yx", "zyx"}
    channels : int
        C, of the input.
    size_multiple : tuple of int
        Sizes must be multiples of it, axis by axis.
    slope, head_slope : float
        Of the activations behind the images, and inside the heads; 0 is ReLU.
    halo : tuple of int or None
        What to state where it cannot be measured, because the outputs depend on the whole tile.
    """

    kind: str
    outputs: tuple[str, ...] = Denoised._fields
    grid_factor = 1

    def __init__(
        self,
        stage: Callable[[int], nn.Module],
        head: Sequence[int],
        *,
        axes: str,
        size_multiple: tuple[int, ...],
        slope: float,
        channels: int = 1,
        head_slope: float = 0.0,
        halo: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.axes, self.channels, self.size_multiple, self.halo = axes, channels, size_multiple, halo
        self.denoise = stage(channels)
        self.denoised_head = ConvBlock(*head, axes=axes, slope=head_slope)
        self.to_denoised = CONV[axes](head[-1], 1, 3, padding=1)
        self.last = activation(slope)

    @property
    def scales(self) -> list[tuple[int, ...]]:
        """How much finer than the input each output is, axis by axis."""
        return [(1,) * len(self.axes), _yx(self.grid_factor, self.axes)][: len(self.outputs)]

    def denoised(self, x: Tensor) -> Tensor:
        """The first stage alone: (N, C, [Z,] Y, X) -> (N, 1, [Z,] Y, X)."""
        return self.last(self.to_denoised(self.denoised_head(self.denoise(x))))  # type: ignore[no-any-return]

    def initialise(self) -> None:
        """Random weights (He et al. 2015). Images start flat and slightly positive, so no output is born dead."""
        for module in self.modules():
            if isinstance(module, CONV[self.axes]):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        for last in (getattr(self, f"to_{output}") for output in self.outputs):
            nn.init.normal_(last.weight, std=0.02)
            nn.init.constant_(last.bias, 0.1)
        for head in (module for module in self.modules() if isinstance(module, Head)):
            head.even_out()


class DualStage(Network):
    """ZS-DeconvNet (Qiao et al. 2024): two networks of one kind, the second with a head on the fine grid.

    Parameters
    ----------
    stage, axes, size_multiple, slope, channels, head_slope, halo
        As of `Network`.
    denoised_head, deconvolved_head : sequence of int
        Channels from a stage's features to the last convolution before its image.
    grid_factor : int
        The fine grid's factor in Y and X, 1 or 2; there are never more slices.
    shuffle : bool
        The head works on the raw grid, and its last features are the fine grid's pixels (`Head`).
    clipped : bool
        The second stage sees no negative values.
    """

    outputs = Restored._fields

    def __init__(
        self,
        stage: Callable[[int], nn.Module],
        denoised_head: Sequence[int],
        deconvolved_head: Sequence[int],
        *,
        grid_factor: int,
        shuffle: bool = False,
        clipped: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(stage, denoised_head, **options)
        self.grid_factor = grid_factor
        self.between = nn.ReLU() if clipped else nn.Identity()
        self.deconvolve = stage(1)
        self.head = Head(
            *deconvolved_head, factor=grid_factor, shuffle=shuffle, axes=self.axes, slope=options.get("head_slope", 0.0)
        )
        self.to_deconvolved = CONV[self.axes](deconvolved_head[-1], 1, 3, padding=1)
        self.initialise()

    def forward(self, x: Tensor) -> Restored:  # noqa: D102
        denoised = self.denoised(x)
        features = self.head(self.deconvolve(self.between(denoised)))
        return Restored(denoised, self.last(self.to_deconvolved(features)))


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


class SingleStageUNet(Network):
    """One U-Net, which denoises.

    Parameters
    ----------
    width, depth, convs : int
        Of the U-Net.
    axes, slope, channels
        As of `Network`.
    """

    kind = "unet"

    def __init__(
        self, width: int, depth: int, convs: int, *, axes: str = "yx", slope: float = LEAKY, channels: int = 1
    ) -> None:
        super().__init__(
            lambda channels: UNet(width, depth, convs, axes, channels), [width // 2],
            axes=axes, size_multiple=_yx(2**depth, axes), slope=slope, channels=channels,
        )  # fmt: skip
        self.initialise()

    def forward(self, x: Tensor) -> Denoised:  # noqa: D102
        return Denoised(self.denoised(x))


class DualStageUNet(DualStage):
    """Two U-Nets: the published network in 2D, "Unet3D" in 3D.

    Parameters
    ----------
    width, depth, convs : int
        Of each U-Net.
    head : int
        Channels of the two convolutions before the deconvolved image. With shuffle, half as many are left on the fine
        grid.
    grid_factor, axes, slope, channels
        As of `DualStage`.
    upsampling : {"nearest", "shuffle"}
        How the head gets to the fine grid.
    """

    kind = "unet"

    def __init__(
        self,
        width: int,
        depth: int,
        convs: int,
        head: int,
        grid_factor: int = 2,
        upsampling: str = "nearest",
        *,
        axes: str = "yx",
        slope: float = LEAKY,
        channels: int = 1,
    ) -> None:
        features, shuffle = width // 2, upsampling == "shuffle" and grid_factor > 1
        super().__init__(
            lambda channels: UNet(width, depth, convs, axes, channels), [features],
            [features, head, head // 2 if shuffle else head], shuffle=shuffle,
            axes=axes, size_multiple=_yx(2**depth, axes), grid_factor=grid_factor, slope=slope, channels=channels,
        )  # fmt: skip


class DualStageRCAN(DualStage):
    """Two residual channel attention networks in 3D.

    Published are RCAN3D (4 blocks, head 64), RCAN3D_SIM (8, 256, clipped) and RCAN3D_SIM_compact (4, 64, clipped), all
    with a global mean.

    Parameters
    ----------
    width, blocks, squeezed : int
        Of each network.
    head : int
        Channels of the convolution before each image.
    window : (int, int, int) or None
        Slices, rows and columns that channel attention looks at, odd; None is the mean over the whole tile.
    grid_factor, clipped, channels
        As of `DualStage`.
    """

    kind = "rcan"

    def __init__(
        self,
        width: int = 64,
        blocks: int = 4,
        head: int = 64,
        grid_factor: int = 2,
        *,
        squeezed: int = 4,
        window: Window | None = (5, 17, 17),
        clipped: bool = False,
        channels: int = 1,
    ) -> None:
        convolutions = 2 * (1 + 2 * blocks + 2)  # in a row; each sees one voxel further
        super().__init__(
            lambda channels: RCAN3D(width, blocks, squeezed, window, channels), [width, head], [width, head],
            axes="zyx", size_multiple=(1, 1, 1), grid_factor=grid_factor, slope=LEAKY, head_slope=LEAKY,
            channels=channels, clipped=clipped, halo=None if window else (convolutions,) * 3,
        )  # fmt: skip


def _yx(factor: int, axes: str) -> tuple[int, ...]:
    """What changes Y and X by a factor and leaves slices alone."""
    return (1, factor, factor)[-len(axes) :]
