"""A smaller network that starts from a trained one: pruning by the strength of filters (Li et al. 2017)."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zsd_train.config import NetworkChoice
from zsd_train.networks.build import build
from zsd_train.networks.network import Network


def student(config: NetworkChoice, teacher: Network, psf: NDArray[np.float64] | None = None) -> Network:
    """The network of `config`: with the teacher's strongest filters where `prunes`, else with random weights."""
    network = build(config, teacher.axes, psf)
    if prunes(network, teacher):
        with torch.no_grad():
            for (unet, head, last), (their_unet, their_head, their_last) in zip(
                _stages(network), _stages(teacher), strict=True
            ):
                seen, phases = _inherit_unet(unet, their_unet), getattr(their_head, "phases", 1)
                seen = _inherit(head, their_head, seen, phases)
                for ours, theirs in zip(last, their_last, strict=True):
                    _inherit(ours, theirs, seen)
    return network


def prunes(network: Network, teacher: Network) -> bool:
    """Whether `network` is the `teacher`, made of U-Nets, with as many channels in each layer, or down to half of them.

    With fewer, too much of each sum is missing: with a quarter of the channels, all features of a stage were below 0
    and stayed there. Random weights learn (4 dB from the teacher after 500 steps in place of 17 dB).
    """
    ours, theirs = network.state_dict(), teacher.state_dict()
    phases = [[getattr(head, "phases", 1) for _, head, _ in _stages(n)] for n in (network, teacher)]
    return (
        network.kind == teacher.kind == "unet"
        and phases[0] == phases[1]
        and [(unet.top_skip, type(unet.pools[0])) for unet, _, _ in _stages(network)]
        == [(unet.top_skip, type(unet.pools[0])) for unet, _, _ in _stages(teacher)]
        and ours.keys() == theirs.keys()
        and all(a <= b <= 2 * a for name in ours for a, b in zip(ours[name].shape, theirs[name].shape, strict=True))
    )


def _stages(network: Any) -> list[tuple[Any, Any, Any]]:
    """The U-Net, the head and the last convolutions of each stage."""
    stages = []
    if hasattr(network, "denoise"):
        last = [network.to_denoised] if network.to_mixture is None else [network.to_denoised, network.to_mixture]
        stages.append((network.denoise, network.denoised_head, last))
    if hasattr(network, "deconvolve"):
        stages.append((network.deconvolve, network.head, [network.to_deconvolved]))
    return stages


def _inherit_unet(network: Any, teacher: Any) -> Tensor:
    """As `_inherit`, along the way of the data through a `UNet`."""
    seen, skips = torch.tensor([0]), []
    for ours, theirs in zip(network.down, teacher.down, strict=True):
        seen = _inherit(ours, theirs, seen)
        skips.append(seen)
    seen = _inherit(network.middle, teacher.middle, seen)
    for ours, theirs in zip(network.up, teacher.up, strict=True):
        skip = skips.pop()
        if skips or teacher.top_skip:
            from_below = _convolutions(theirs)[0].in_channels // 2  # the skip's channels come after them
            seen = torch.cat([seen, from_below + skip])
        seen = _inherit(ours, theirs, seen)
    return seen


def _inherit(network: nn.Module, teacher: nn.Module, seen: Tensor, phases: int = 1) -> Tensor:
    """Give convolutions in a row the teacher's strongest filters.

    `seen` are the teacher's channels that come in; those that go out are returned. A filter's strength is its L1 norm
    (Li et al. 2017, section 3.1). Of the last convolution each feature has as many filters as there are `phases`.
    """
    layers = [*zip(_convolutions(network), _convolutions(teacher), strict=True)]
    for n, (ours, theirs) in enumerate(layers, 1):
        each = phases if n == len(layers) else 1
        strength = theirs.weight.abs().flatten(1).sum(1).view(-1, each).sum(1)
        kept = strength.topk(ours.out_channels // each).indices.sort().values
        filters = (kept[:, None] * each + torch.arange(each)).flatten()
        ours.weight.copy_(theirs.weight[filters][:, seen])
        ours.bias.copy_(theirs.bias[filters])  # type: ignore[union-attr, index]
        seen = kept
    return seen


def _convolutions(module: nn.Module) -> list[nn.Conv2d | nn.Conv3d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Conv3d)]
