"""The U-Net of Noise2Void's and DecoNoising's published PyTorch code, 2D and 3D.

It differs from `zsd_train.networks.unet`: what comes from below is enlarged by transposed convolutions and added to the
skip, where the other enlarges by nearest neighbours and concatenates.
"""

from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from zsd_train.networks.unet import ConvBlock

ENLARGE: dict[str, Any] = {"yx": nn.ConvTranspose2d, "zyx": nn.ConvTranspose3d}


class AdditiveUNet(nn.Module):
    """(N, C, [Z,] Y, X) -> features (N, width, [Z,] Y, X); Y and X multiples of ``2 ** depth``.

    Parameters
    ----------
    width : int
        Channels of the first level; each level below has twice as many.
    depth : int
        Number of poolings, by 2 in Y and X; slices are never pooled. (The published code counts levels, one more.)
    axes : {"yx", "zyx"}
    channels : int
        C, of the input.
    """

    def __init__(self, width: int, depth: int, axes: str = "yx", channels: int = 1) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        factor = (1, 2, 2)[-len(axes) :]
        self.pool = {"yx": nn.MaxPool2d(2), "zyx": nn.MaxPool3d((1, 2, 2))}[axes]
        self.down = nn.ModuleList(ConvBlock(a, b, b, axes=axes) for a, b in pairwise([channels, *widths]))
        self.enlarge = nn.ModuleList(ENLARGE[axes](2 * c, c, factor, stride=factor) for c in reversed(widths[:-1]))
        self.up = nn.ModuleList(ConvBlock(c, c, c, axes=axes) for c in reversed(widths[:-1]))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        skips: list[Tensor] = []
        for block in self.down:
            x = block(self.pool(x) if skips else x)
            skips.append(x)
        for enlarge, block, skip in zip(self.enlarge, self.up, reversed(skips[:-1]), strict=True):
            x = block(enlarge(x) + skip)
        return x
