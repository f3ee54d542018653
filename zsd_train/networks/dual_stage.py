"""Networks of two stages: the second deconvolves what the first gives."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from zsd_train.networks.network import LEAKY, Denoiser, Head, Restored, in_yx
from zsd_train.networks.rcan3d import RCAN3D, Window
from zsd_train.networks.unet import CONV, UNet


class DualStage(Denoiser):
    """ZS-DeconvNet (Qiao et al. 2024): two networks of one kind, the second with a head on the fine grid.

    Parameters
    ----------
    stage, axes, size_multiple, slope, channels, head_slope, halo
        As of `Denoiser`.
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
    coarse : bool
        As of `Denoiser`.
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
        coarse: bool = False,
        axes: str = "yx",
        slope: float = LEAKY,
        channels: int = 1,
    ) -> None:
        features, shuffle = width // 2, upsampling == "shuffle" and grid_factor > 1
        super().__init__(
            lambda channels: UNet(width, depth, convs, axes, channels), [features],
            [features, head, head // 2 if shuffle else head], shuffle=shuffle,
            axes=axes, size_multiple=in_yx(2 ** (depth + coarse), axes), grid_factor=grid_factor, slope=slope,
            channels=channels, coarse=coarse,
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
