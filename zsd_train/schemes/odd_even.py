"""Odd and even slices of a volume (eq. 7 to 9): the noise of one slice is independent of the noise of the next.

The two copies are used as they are, so this works for noise of any kind. But they show different slices, and while the
network learns, its slices are twice as far apart as those of the image. The gap term (eq. 8) makes up for the first.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from zsd_optics.psf import with_slices
from zsd_train.forward import crop
from zsd_train.mps import layout_on
from zsd_train.schemes.scheme import Batch, Chance, Sample, Scheme, Stride, Window


class OddEven(Scheme):
    """Input are the odd slices of a volume, target the even ones, or the other way round."""

    kind: str = "odd-even"
    for_volumes_only: ClassVar[bool] = True
    correlated_noise_remedy: ClassVar[str] = "zsd trains on odd and even slices, whose noise is independent"
    gap_weight: float = Field(1.0, ge=0, description="γ of eq. 8 and 9")

    def stride(self, axes: str) -> Stride:  # noqa: ARG002, D102
        return (2, 1, 1)

    def psf(self, psf: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: D102
        return with_slices(psf, 2)

    def sample(self, window: Window, chance: Chance, noise_rng: Any) -> Sample:  # noqa: ARG002, D102
        first, second = (0, 1) if chance.coin else (1, 0)
        image, mask = window.image, window.mask[None]
        lead = torch.tensor(1.0 if chance.coin else -1.0, device=image.device)
        return Sample(image[:, first::2], image[:, second::2], mask[:, second::2], {"whole": image, "lead": lead})

    def targets(self, batch: Batch, first_stage: Callable[[Tensor], Tensor] | None) -> list[tuple[float, Tensor]]:
        """The other slices, and the other slices plus the gap G of eq. 8.

        The gap is by how much the two kinds of slices differ, as far as the first stage can tell so far.
        """
        if first_stage is None or not self.gap_weight:
            return [(1.0, batch.target)]
        with torch.no_grad():
            image = batch.extras["whole"]
            layout = layout_on(image.device, torch.channels_last_3d)
            whole = first_stage(image.contiguous(memory_format=layout)).float()
            gap = batch.extras["lead"][:, None, None, None, None] * (whole[:, :, ::2] - whole[:, :, 1::2])
        margin = [(n - m) // 2 for n, m in zip(gap.shape[2:], batch.target.shape[2:], strict=True)]
        return [(1.0, batch.target), (self.gap_weight, batch.target + crop(gap, tuple(margin)))]
