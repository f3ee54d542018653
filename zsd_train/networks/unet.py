"""The U-Net of one stage (Ronneberger et al. 2015, in the shape of the published ZS-DeconvNet), 2D and 3D."""

from itertools import pairwise

import torch
from torch import Tensor, nn

CONV: dict[str, type[nn.Conv2d] | type[nn.Conv3d]] = {"yx": nn.Conv2d, "zyx": nn.Conv3d}


class ConvBlock(nn.Sequential):
    """Convolutions over 3 pixels an axis, 'same', each followed by (leaky) ReLU, through the given channel counts."""

    def __init__(self, *channels: int, axes: str = "yx", slope: float = 0.0) -> None:
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [CONV[axes](before, after, 3, padding=1), activation(slope)]
        super().__init__(*layers)


class UNet(nn.Module):
    """(N, C, [Z,] Y, X) -> features (N, width // 2, [Z,] Y, X); Y and X multiples of ``2 ** depth``.

    Parameters
    ----------
    width : int
        Channels of the first level; each level below has twice as many.
    depth : int
        Number of poolings, by 2 in Y and X; slices, of which there are few, are never pooled.
    convs : int
        Convolutions a level.
    axes : {"yx", "zyx"}
    channels : int
        C, of the input.
    """

    def __init__(self, width: int, depth: int, convs: int, axes: str = "yx", channels: int = 1) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth)]
        self.pool = {"yx": nn.MaxPool2d(2), "zyx": nn.MaxPool3d((1, 2, 2))}[axes]
        self.down = nn.ModuleList(
            ConvBlock(before, *[after] * convs, axes=axes) for before, after in pairwise([channels, *widths])
        )
        self.middle = ConvBlock(widths[-1], 2 * widths[-1], widths[-1], axes=axes)
        self.up = nn.ModuleList(ConvBlock(2 * c, c, *[c // 2] * (convs - 1), axes=axes) for c in reversed(widths))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = self.pool(x)
        x = self.middle(x)
        for block in self.up:
            x = block(torch.cat([upsampled(x, 2), skips.pop()], dim=1))
        return x


def upsampled(x: Tensor, factor: int) -> Tensor:
    """(N, C, [Z,] Y, X) -> (N, C, [Z,] factor · Y, factor · X), nearest neighbour."""
    scale = [1.0] * (x.ndim - 4) + [float(factor)] * 2
    return nn.functional.interpolate(x, scale_factor=scale, mode="nearest")


def activation(slope: float) -> nn.Module:
    """ReLU, or leaky ReLU where `slope` is above 0."""
    return nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)
