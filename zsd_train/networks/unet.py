"""The U-Net of one stage (Ronneberger et al. 2015, in the shape of the published ZS-DeconvNet), 2D and 3D."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from zsd_train.forward import upsampled

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
    blurred : bool
        Pool by `MaxBlurPool`.
    top_skip : bool
        Whether the first level's features go straight to the last level, beside what comes from below.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        convs: int,
        axes: str = "yx",
        channels: int = 1,
        *,
        blurred: bool = False,
        top_skip: bool = True,
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth)]
        self.top_skip = top_skip
        plain = {"yx": nn.MaxPool2d(2), "zyx": nn.MaxPool3d((1, 2, 2))}[axes]
        self.pools = nn.ModuleList(MaxBlurPool(c, axes) if blurred else plain for c in widths)
        self.down = nn.ModuleList(
            ConvBlock(before, *[after] * convs, axes=axes) for before, after in pairwise([channels, *widths])
        )
        self.middle = ConvBlock(widths[-1], 2 * widths[-1], widths[-1], axes=axes)
        seen = [c if level == 0 and not top_skip else 2 * c for level, c in enumerate(widths)]
        self.up = nn.ModuleList(
            ConvBlock(n, c, *[c // 2] * (convs - 1), axes=axes) for n, c in reversed([*zip(seen, widths, strict=True)])
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        skips = []
        for block, pool in zip(self.down, self.pools, strict=True):
            x = block(x)
            skips.append(x)
            x = pool(x)
        x = self.middle(x)
        for block in self.up:
            x, skip = upsampled(x, 2), skips.pop()
            x = block(torch.cat([x, skip], dim=1) if skips or self.top_skip else x)
        return x


class MaxBlurPool(nn.Module):
    """Pooling by 2 in Y and X without aliasing: the largest of 2 × 2 at every pixel, blurred, every second one kept.

    Zhang 2019; N2V2 (Höck et al. 2022) uses it against checkerboards.
    """

    weight: Tensor

    def __init__(self, channels: int, axes: str) -> None:
        super().__init__()
        self.volumes = axes == "zyx"
        binomial = torch.tensor([1.0, 2.0, 1.0]) / 4
        weight = torch.outer(binomial, binomial).expand(channels, 1, *[1] * self.volumes, 3, 3)
        self.register_buffer("weight", weight.clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        functional, channels = nn.functional, len(self.weight)
        if self.volumes:
            largest = functional.pad(functional.max_pool3d(x, (1, 2, 2), stride=1), (1, 1, 1, 1, 0, 0), "replicate")
            return functional.conv3d(largest, self.weight, stride=(1, 2, 2), groups=channels)
        largest = functional.pad(functional.max_pool2d(x, 2, stride=1), (1, 1, 1, 1), "replicate")
        return functional.conv2d(largest, self.weight, stride=2, groups=channels)


def activation(slope: float) -> nn.Module:
    """ReLU, or leaky ReLU where `slope` is above 0; a slope of 1 is none."""
    if slope == 1:
        return nn.Identity()
    return nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)
