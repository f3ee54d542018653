"""Two stages in a row: the first denoises, the second deconvolves what the first gives."""

from typing import NamedTuple

from torch import Tensor, nn

from zsd_train.networks.unet import ConvBlock, UNet


class Restored(NamedTuple):
    """`denoised` (N, 1, Y, X) on the raw grid, `deconvolved` (N, 1, kY, kX) on the fine grid, k the upsampling."""

    denoised: Tensor
    deconvolved: Tensor


class DualStageUNet(nn.Module):
    """The 2D ZS-DeconvNet (Qiao et al. 2024): two U-Nets, the second with a head on the fine grid.

    Parameters
    ----------
    width, depth, convs : int
        Of each U-Net.
    head : int
        Channels of the two convolutions before the deconvolved image.
    upsample : int
        The fine grid's factor in Y and X, 1 or 2.
    """

    def __init__(self, width: int, depth: int, convs: int, head: int, upsample: int = 2) -> None:
        super().__init__()
        self.step = 2**depth
        self.upsample = upsample
        self.denoise = UNet(width, depth, convs)
        self.to_denoised = nn.Conv2d(width // 2, 1, 3, padding=1)
        self.deconvolve = UNet(width, depth, convs)
        self.head = ConvBlock(width // 2, head, head)
        self.to_deconvolved = nn.Conv2d(head, 1, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        for last in (self.to_denoised, self.to_deconvolved):
            nn.init.normal_(last.weight, std=0.02)  # start from a flat, slightly positive image: no output can be
            nn.init.constant_(last.bias, 0.1)  # type: ignore[arg-type]  # born dead

    def forward(self, x: Tensor) -> Restored:  # noqa: D102
        denoised = _leaky(self.to_denoised(self.denoise(x)))
        features = self.deconvolve(denoised)
        if self.upsample > 1:
            features = nn.functional.interpolate(features, scale_factor=float(self.upsample), mode="nearest")
        return Restored(denoised, _leaky(self.to_deconvolved(self.head(features))))


def _leaky(x: Tensor) -> Tensor:
    # The published ReLU can die for a whole run; a slope keeps the gradient, and lets noise around zero average out.
    return nn.functional.leaky_relu(x, 0.2)


def parameter_count(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
