"""The U-Net of one stage (Ronneberger et al. 2015, in the published 2D ZS-DeconvNet's shape)."""

from itertools import pairwise

import torch
from torch import Tensor, nn


class ConvBlock(nn.Sequential):
    """Convolutions 3×3 'same', each followed by ReLU, through the given channel counts."""

    def __init__(self, *channels: int) -> None:
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class UNet(nn.Module):
    """(N, 1, Y, X) -> features (N, width // 2, Y, X); Y and X multiples of ``2 ** depth``.

    Parameters
    ----------
    width : int
        Channels of the first level; each level below has twice as many.
    depth : int
        Number of 2 × 2 poolings.
    convs : int
        Convolutions a level.
    """

    def __init__(self, width: int, depth: int, convs: int) -> None:
        super().__init__()
        channels = [width * 2**level for level in range(depth)]
        self.down = nn.ModuleList(ConvBlock(before, *[after] * convs) for before, after in pairwise([1, *channels]))
        self.middle = ConvBlock(channels[-1], 2 * channels[-1], channels[-1])
        self.up = nn.ModuleList(ConvBlock(2 * c, c, *[c // 2] * (convs - 1)) for c in reversed(channels))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = nn.functional.max_pool2d(x, 2)
        x = self.middle(x)
        for block in self.up:
            x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, skips.pop()], dim=1))
        return x
