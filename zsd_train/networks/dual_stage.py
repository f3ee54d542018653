"""Two stages in a row: the first denoises, the second deconvolves what the first gives."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from zsd_train.config import NetworkConfig, RCANConfig
from zsd_train.networks.rcan3d import RCAN3D, Window
from zsd_train.networks.unet import CONV, ConvBlock, UNet, activation, upsampled

# The last activation's. The published U-Nets end in ReLU, which can die for a whole run; a slope keeps the gradient,
# and lets noise around zero average out.
LEAKY = 0.2


class Restored(NamedTuple):
    """`denoised` (N, 1, [Z,] Y, X) on the raw grid, `deconvolved` (N, 1, [Z,] kY, kX), k the upsampling."""

    denoised: Tensor
    deconvolved: Tensor


class DualStage(nn.Module):
    """ZS-DeconvNet (Qiao et al. 2024): two networks of one kind, the second with a head on the fine grid.

    Parameters
    ----------
    stage : callable
        Makes one of the two networks, from an image (N, 1, [Z,] Y, X) to features (N, C, [Z,] Y, X).
    denoised_head, deconvolved_head : sequence of int
        Channels from a stage's features to the last convolution before its image.
    axes : {"yx", "zyx"}
    size_multiple : tuple of int
        Sizes must be multiples of it, axis by axis.
    grid_factor : int
        The fine grid's factor in Y and X, 1 or 2; there are never more slices.
    slope, head_slope : float
        Of the activations behind the two images, and inside the heads; 0 is ReLU.
    clipped : bool
        The second stage sees no negative values.
    halo : tuple of int or None
        What to state where it cannot be measured, because the outputs depend on the whole tile.
    """

    kind: str

    def __init__(
        self,
        stage: Callable[[], nn.Module],
        denoised_head: Sequence[int],
        deconvolved_head: Sequence[int],
        *,
        axes: str,
        size_multiple: tuple[int, ...],
        grid_factor: int,
        slope: float,
        head_slope: float = 0.0,
        clipped: bool = False,
        halo: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.axes, self.size_multiple, self.grid_factor, self.halo = axes, size_multiple, grid_factor, halo
        self.denoise = stage()
        self.denoised_head = ConvBlock(*denoised_head, axes=axes, slope=head_slope)
        self.to_denoised = CONV[axes](denoised_head[-1], 1, 3, padding=1)
        self.between = nn.ReLU() if clipped else nn.Identity()
        self.deconvolve = stage()
        self.head = ConvBlock(*deconvolved_head, axes=axes, slope=head_slope)
        self.to_deconvolved = CONV[axes](deconvolved_head[-1], 1, 3, padding=1)
        self.last = activation(slope)
        for module in self.modules():
            if isinstance(module, CONV[axes]):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        for last in (self.to_denoised, self.to_deconvolved):
            nn.init.normal_(last.weight, std=0.02)  # start from a flat, slightly positive image: no output can be
            nn.init.constant_(last.bias, 0.1)  # type: ignore[arg-type]  # born dead

    @property
    def scales(self) -> list[tuple[int, ...]]:
        """How much finer than the input each output is, axis by axis."""
        return [(1,) * len(self.axes), _yx(self.grid_factor, self.axes)]

    def denoised(self, x: Tensor) -> Tensor:
        """The first stage alone."""
        return self.last(self.to_denoised(self.denoised_head(self.denoise(x))))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Restored:  # noqa: D102
        denoised = self.denoised(x)
        features = self.deconvolve(self.between(denoised))
        if self.grid_factor > 1:
            features = upsampled(features, self.grid_factor)
        return Restored(denoised, self.last(self.to_deconvolved(self.head(features))))


class DualStageUNet(DualStage):
    """Two U-Nets: the published network in 2D, "Unet3D" in 3D.

    Parameters
    ----------
    width, depth, convs : int
        Of each U-Net.
    head : int
        Channels of the two convolutions before the deconvolved image.
    grid_factor, axes, slope
        As of `DualStage`.
    """

    kind = "unet"

    def __init__(
        self,
        width: int,
        depth: int,
        convs: int,
        head: int,
        grid_factor: int = 2,
        *,
        axes: str = "yx",
        slope: float = LEAKY,
    ) -> None:
        features = width // 2
        super().__init__(
            lambda: UNet(width, depth, convs, axes), [features], [features, head, head],
            axes=axes, size_multiple=_yx(2**depth, axes), grid_factor=grid_factor, slope=slope,
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
    grid_factor, clipped
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
    ) -> None:
        convolutions = 2 * (1 + 2 * blocks + 2)  # in a row; each sees one voxel further
        super().__init__(
            lambda: RCAN3D(width, blocks, squeezed, window), [width, head], [width, head],
            axes="zyx", size_multiple=(1, 1, 1), grid_factor=grid_factor, slope=LEAKY, head_slope=LEAKY,
            clipped=clipped, halo=None if window else (convolutions,) * 3,
        )  # fmt: skip


def build(config: NetworkConfig | RCANConfig, axes: str) -> DualStage:
    """The network that a configuration describes, with random weights."""
    options = config.model_dump(exclude={"kind"})
    if config.kind == "unet":
        return DualStageUNet(**options, axes=axes)
    return DualStageRCAN(**(options | {"window": None if config.window == "global" else config.window}))


def parameter_count(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _yx(factor: int, axes: str) -> tuple[int, ...]:
    """What changes Y and X by a factor and leaves slices alone."""
    return (1, factor, factor)[-len(axes) :]
