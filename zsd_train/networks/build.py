"""From a configuration to a network."""

import numpy as np
from numpy.typing import NDArray
from torch import nn

from zsd_train.config import AdditiveConfig, NetworkChoice, RCANConfig
from zsd_train.networks.additive_unet import AdditiveUNet
from zsd_train.networks.dual_stage import DualStageRCAN, DualStageUNet
from zsd_train.networks.network import Network, in_yx
from zsd_train.networks.single_stage import Phantom, SingleStage
from zsd_train.networks.unet import UNet


def build(config: NetworkChoice, axes: str, psf: NDArray[np.float64] | None = None) -> Network:
    """The network that a configuration describes, with random weights.

    `psf` ([Z,] Y, X) is in the graph of networks whose denoised image is the blur of the deconvolved one; None is a
    single pixel, for what does not depend on it.
    """
    if isinstance(config, RCANConfig):
        options = config.model_dump(exclude={"kind"})
        return DualStageRCAN(**(options | {"window": None if config.window == "global" else config.window}))
    if config.stages == 2:
        return DualStageUNet(**config.model_dump(exclude={"kind", "stages", *config.OF_ONE_STAGE}), axes=axes)
    options = {"axes": axes, "size_multiple": in_yx(config.size_multiple, axes), "channels": config.channels}
    if isinstance(config, AdditiveConfig):
        features = config.width

        def stage(channels: int) -> nn.Module:
            return AdditiveUNet(config.width, config.depth, axes, channels)
    else:
        features = config.width // 2

        def stage(channels: int) -> nn.Module:
            return UNet(
                config.width, config.depth, config.convs, axes, channels,
                blurred=config.pooling == "blur", top_skip=config.top_skip,
            )  # fmt: skip

    if not config.phantom:
        return SingleStage(config.kind, stage, features, **options)
    kernel = np.ones((1,) * len(axes)) if psf is None else psf
    return Phantom(config.kind, stage, features, kernel, head=config.head, grid_factor=config.grid_factor, **options)


def parameter_count(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
