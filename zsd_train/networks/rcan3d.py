"""The residual channel attention network of one stage (Zhang et al. 2018, in the published 3D ZS-DeconvNet's shape)."""

from torch import Tensor, nn

from zsd_train.networks.unet import ConvBlock

Window = tuple[int, int, int]  # slices, rows and columns, odd


class RCAN3D(nn.Module):
    """(N, C, Z, Y, X) -> features (N, width, Z, Y, X), of any size: blocks in a row, and one long skip.

    The published residual groups have neither a convolution nor a skip of their own: 2 groups of 2 blocks are 4 blocks.

    Parameters
    ----------
    width : int
        Channels.
    blocks : int
        Residual blocks, each of two convolutions and channel attention.
    squeezed : int
        Channels in the middle of the attention.
    window : (int, int, int) or None
        Of `ChannelAttention`.
    channels : int
        C, of the input.
    """

    def __init__(self, width: int, blocks: int, squeezed: int, window: Window | None, channels: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv3d(channels, width, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(width, squeezed, window) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.first(x)
        return x + self.blocks(x)


class ResidualBlock(nn.Module):
    """Two convolutions with channel attention, added to what came in (Zhang et al. 2018, section 3.4)."""

    def __init__(self, width: int, squeezed: int, window: Window | None) -> None:
        super().__init__()
        self.convolutions = ConvBlock(width, width, width, axes="zyx", slope=0.2)
        self.attention = ChannelAttention(width, squeezed, window)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x + self.attention(self.convolutions(x))


class ChannelAttention(nn.Module):
    """Weigh each channel by its mean and that of the others (Zhang et al. 2018, section 3.3).

    Published is the mean over all that the network is given (`window` None). The same voxel then comes out differently
    in another tile, and a halo does not help. A mean over a window around each voxel depends on nothing beyond it: the
    result is the same in every tiling, once the halo has grown by half the window for every block: that is what it
    costs. It is computed axis by axis, on the few channels in the middle, which keeps it cheap.
    """

    def __init__(self, width: int, squeezed: int, window: Window | None) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.Conv3d(width, squeezed, 1),  # commutes with the mean, which then has few channels to go over
            *(_means(window) if window else [nn.AdaptiveAvgPool3d(1)]),
            nn.ReLU(inplace=True),
            nn.Conv3d(squeezed, width, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x * self.weigh(x)


def _means(window: Window) -> list[nn.Module]:
    """Moving means along Z, Y and X; at a border the outermost voxels count for those that are missing."""
    z, y, x = (n // 2 for n in window)
    kernels = [(window[0], 1, 1), (1, window[1], 1), (1, 1, window[2])]
    return [nn.ReplicationPad3d((x, x, y, y, z, z)), *(nn.AvgPool3d(kernel, stride=1) for kernel in kernels)]
