"""Distillation (Hinton et al. 2015): a network learns what a trained one, its teacher, gives.

The teacher's outputs are almost free of noise, on the fine grid too, so a student learns more from a patch than from a
recorrupted target. With `zsd_train.networks.prune` it starts from the teacher's own filters.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from zsd_train.forward import Forward, crop, upsampled
from zsd_train.schemes.recorrupt import Recorrupt
from zsd_train.schemes.scheme import Batch, Comparison, Source

AT_ONCE = 8  # held-out patches that the teacher looks at
# A large teacher takes several times as long as a step of a small student: each of its answers is used more than once.
USES, KEPT = 8, 64  # times, on average; batches that are held in memory


class Distill(Recorrupt):
    """Input is a recorrupted copy, target what a teacher makes of it: in place of noisy pixels, and without a PSF."""

    kind: str = "distill"
    sees_neighbours: ClassVar[bool] = False
    alpha: tuple[float, float] = Field(
        (0.01, 1.0),
        description="range of α of eq. 2: a student is used on the image itself, so it sees copies with hardly more "
        "than the image's own noise up to twice its variance",
    )

    def choices(self, preset: str, axes: str) -> dict[str, Any]:  # noqa: ARG002
        """The teacher's output is regularised already."""
        return dict.fromkeys(("hessian_weight", "contrast_floor", "positivity_weight"), 0.0) | {"denoising_weight": 0.5}

    def compare(  # noqa: D102
        self,
        restored: Any,
        batch: Batch,
        forward: Forward,
        first_stage: Callable[[Tensor], Tensor] | None = None,  # noqa: ARG002
    ) -> dict[str, Comparison]:
        compared = {}
        for name, image in restored._asdict().items():
            taught = batch.extras[f"taught_{name}"]
            factor = image.shape[-1] // batch.noisy.shape[-1]
            margin = (*forward.margin[:-2], *(factor * m for m in forward.margin[-2:]))
            mask = batch.recorded if factor == 1 else upsampled(batch.recorded, factor)
            compared[name] = Comparison(crop(image, margin), [(1.0, crop(taught, margin))], mask)
        return compared


class Taught:
    """A sampler whose batches carry what a teacher makes of them.

    Parameters
    ----------
    sampler : Source
    teacher : callable
        From (N, 1, [Z,] Y, X) to a named tuple of outputs.
    """

    def __init__(self, sampler: Source, teacher: Callable[[Tensor], Any]) -> None:
        self.sampler, self.teacher, self.size = sampler, teacher, sampler.size
        self.seen: deque[Batch] = deque(maxlen=KEPT)
        self.draws = 0

    def draw(self, batch: int, position_rng: torch.Generator, noise_rng: torch.Generator) -> Batch:
        """As `Sampler.draw`, but only every so many batches are new. The others were seen before."""
        if self.draws % USES == 0 or not self.seen:
            self.seen.append(self._taught(self.sampler.draw(batch, position_rng, noise_rng)))
        self.draws += 1
        return self.seen[int(torch.randint(len(self.seen), (1,), generator=position_rng))]

    def held_out(self, seed: int, most: int) -> Batch | None:
        """As `Sampler.held_out`."""
        batch = self.sampler.held_out(seed, most)
        return batch and self._taught(batch)

    @torch.no_grad()
    def _taught(self, batch: Batch) -> Batch:
        parts = [self.teacher(part)._asdict() for part in torch.split(batch.noisy, AT_ONCE)]
        return replace(batch, extras={f"taught_{name}": torch.cat([part[name] for part in parts]) for name in parts[0]})
