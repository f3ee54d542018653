"""One network learns what another one gives: distillation, and pruning, which is a distillation from another start.

*Distillation* (Hinton et al. 2015): the targets are the outputs of a trained network, the teacher. They are almost free
of noise, on the fine grid too, so that a student learns more from a patch than from a recorrupted target.

*Pruning* (Li et al. 2017): where the student is the teacher with fewer channels, it starts from the filters of the
teacher whose weights are the largest; what they lack it learns by distillation.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from zsd_runtime.errors import InputError
from zsd_train.config import NetworkConfig, RCANConfig, TrainConfig
from zsd_train.networks.dual_stage import DualStage, DualStageUNet, Restored, build
from zsd_train.pairs import Pairs, Sampler
from zsd_train.run import Run

# What differs from a training on noisy images. A student is used on the image itself and must know its like: copies
# from all but the image's own noise to twice its variance. The teacher's output is regularised already.
CHOICES = {
    "scheme": "recorrupt", "alpha": (0.01, 1.0), "denoising_weight": 0.5, "hessian_weight": 0.0, "weakest": 0.0
}  # fmt: skip
AT_ONCE = 8  # held-out patches that the teacher looks at
# A large teacher takes several times as long as a step of a small student: each of its answers is used more than once.
USES, KEPT = 8, 64  # times, on average; batches that are held in memory


class Taught:
    """A sampler whose pairs carry what a teacher makes of them.

    Parameters
    ----------
    sampler : Sampler
    teacher : callable
        From (N, 1, [Z,] Y, X) to `Restored`.
    """

    def __init__(self, sampler: Sampler, teacher: Callable[[Tensor], Restored]) -> None:
        self.sampler, self.teacher, self.size = sampler, teacher, sampler.size
        self.seen: deque[Pairs] = deque(maxlen=KEPT)
        self.draws = 0

    def draw(self, batch: int, where: torch.Generator, noise: torch.Generator) -> Pairs:
        """As `Sampler.draw`, but only every so many batches are new: the others were seen before."""
        if self.draws % USES == 0 or not self.seen:
            self.seen.append(self._taught(self.sampler.draw(batch, where, noise)))
        self.draws += 1
        return self.seen[int(torch.randint(len(self.seen), (1,), generator=where))]

    def held_out(self, seed: int, most: int = 64) -> Pairs | None:
        """As `Sampler.held_out`."""
        pairs = self.sampler.held_out(seed, most)
        return pairs and self._taught(pairs)

    @torch.no_grad()
    def _taught(self, pairs: Pairs) -> Pairs:
        images = zip(*(self.teacher(part) for part in torch.split(pairs.noisy, AT_ONCE)), strict=True)
        return replace(pairs, taught=Restored(*(torch.cat(parts) for parts in images)))


def check_teacher(teacher: Run, config: TrainConfig) -> None:
    """Refuse what the two cannot look at together: outputs on different grids, patches that the teacher cannot pool."""
    if config.scheme == "odd-even":
        raise InputError("scheme odd-even is for learning without a teacher: leave it out")
    theirs, ours = teacher.config.network, config.network
    if ours.grid_factor != theirs.grid_factor:
        raise InputError(
            f"network.grid_factor = {ours.grid_factor}, and {teacher.folder} was trained with {theirs.grid_factor}: "
            f"outputs are compared pixel by pixel, so set it to {theirs.grid_factor}"
        )
    if config.patch % theirs.size_multiple:
        raise InputError(
            f"patch {config.patch} must be a multiple of {theirs.size_multiple}, for the network of {teacher.folder}"
        )


def student(config: NetworkConfig | RCANConfig, teacher: DualStage) -> DualStage:
    """The network of `config`: with the teacher's strongest filters where `prunes`, else with random weights."""
    network = build(config, teacher.axes)
    if not prunes(network, teacher):
        return network
    with torch.no_grad():
        _inherit(network.to_denoised, teacher.to_denoised, _inherit_unet(network.denoise, teacher.denoise))
        features = _inherit_unet(network.deconvolve, teacher.deconvolve)
        _inherit(network.to_deconvolved, teacher.to_deconvolved, _inherit(network.head, teacher.head, features))
    return network


def prunes(network: DualStage, teacher: DualStage) -> bool:
    """Whether `network` is the `teacher`, a U-Net, with as many or fewer channels in every layer."""
    ours, theirs = network.state_dict(), teacher.state_dict()
    return (
        isinstance(network, DualStageUNet)
        and ours.keys() == theirs.keys()
        and all(a <= b for name in ours for a, b in zip(ours[name].shape, theirs[name].shape, strict=True))
    )


def _inherit_unet(network: Any, teacher: Any) -> Tensor:
    """As `_inherit`, along the way of the data through a `UNet`."""
    seen, skips = torch.tensor([0]), []
    for ours, theirs in zip(network.down, teacher.down, strict=True):
        seen = _inherit(ours, theirs, seen)
        skips.append(seen)
    seen = _inherit(network.middle, teacher.middle, seen)
    for ours, theirs in zip(network.up, teacher.up, strict=True):
        from_below = _convolutions(theirs)[0].in_channels // 2  # the skip's channels come after them
        seen = _inherit(ours, theirs, torch.cat([seen, from_below + skips.pop()]))
    return seen


def _inherit(network: nn.Module, teacher: nn.Module, seen: Tensor) -> Tensor:
    """Give convolutions in a row the teacher's strongest filters.

    `seen` are the teacher's channels that come in; those that go out are returned. A filter's strength is its L1 norm
    (Li et al. 2017, section 3.1).
    """
    for ours, theirs in zip(_convolutions(network), _convolutions(teacher), strict=True):
        strength = theirs.weight.abs().flatten(1).sum(1)
        kept = strength.topk(ours.out_channels).indices.sort().values
        ours.weight.copy_(theirs.weight[kept][:, seen])
        ours.bias.copy_(theirs.bias[kept])  # type: ignore[union-attr, index]
        seen = kept
    return seen


def _convolutions(module: nn.Module) -> list[nn.Conv2d | nn.Conv3d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Conv3d)]
