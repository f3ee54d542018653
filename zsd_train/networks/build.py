"""From a configuration to a network."""

from torch import nn

from zsd_train.config import NetworkConfig, RCANConfig
from zsd_train.networks.dual_stage import DualStageRCAN, DualStageUNet, Network, SingleStageUNet


def build(config: NetworkConfig | RCANConfig, axes: str) -> Network:
    """The network that a configuration describes, with random weights."""
    options = config.model_dump(exclude={"kind", "stages"})
    if isinstance(config, RCANConfig):
        return DualStageRCAN(**(options | {"window": None if config.window == "global" else config.window}))
    if config.stages == 1:
        return SingleStageUNet(config.width, config.depth, config.convs, axes=axes, channels=config.channels)
    return DualStageUNet(**options, axes=axes)


def parameter_count(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
