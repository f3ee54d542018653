"""Draws batches of training samples; what becomes input and target is the scheme's."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zsd_optics.noise import NoiseModel
from zsd_train.defaults import Shape, defaults_for
from zsd_train.forward import crop, dihedral
from zsd_train.frames import Frame
from zsd_train.motion import motion_weight
from zsd_train.mps import noise_device
from zsd_train.schemes.scheme import Batch, Chance, Sample, Scheme, Window


class Sampler:
    """Draws samples with fresh noise every time.

    Parameters
    ----------
    frames : list of Frame
        Each at least as large as a patch times the stride of the scheme.
    scheme : Scheme
    noise : NoiseModel
    offset, scale : float
        The normalisation: networks see ``(counts - offset) / scale``.
    patch, margin : tuple of int
        Pixels, axis by axis, that the losses see, and that surround them on each side.
    frames_seen : int
        Of a movie, by the network: images are a frame between its neighbours in time, and the target is made of the
        frame alone.
    device : torch.device or str
        Of the batches; samples are made where noise can be drawn.
    share : callable
        Which samples of a batch of so many are computed with here. All are drawn: noise follows on from that of the
        sample before it.
    """

    def __init__(
        self,
        frames: list[Frame],
        scheme: Scheme,
        noise: NoiseModel,
        *,
        offset: float,
        scale: float,
        patch: Shape,
        margin: Shape,
        frames_seen: int = 1,
        device: torch.device | str = "cpu",
        share: Callable[[int], slice] = lambda batch: slice(batch),
    ) -> None:
        self.frames, self.scheme, self.noise, self.offset, self.scale = frames, scheme, noise, offset, scale
        self.patch, self.margin, self.frames_seen = patch, margin, frames_seen
        self.size = tuple(p + 2 * m for p, m in zip(patch, margin, strict=True))
        self.device, self.share = torch.device(device), share
        self.noise_device = noise_device(self.device)
        axes = "zyx"[-len(patch) :]
        self.stride, self.halo = scheme.stride(axes), scheme.halo(axes)
        sizes = torch.tensor([float(math.prod(frame.image.shape)) for frame in frames])
        self.cumulative_size = (sizes / sizes.sum()).cumsum(0)

    def draw(self, batch: int, position_rng: torch.Generator, noise_rng: torch.Generator) -> Batch:
        """A share of a batch; positions come from `position_rng` (CPU), noise from `noise_rng` (`noise_device`)."""
        uniforms = torch.rand(batch, generator=position_rng).tolist()
        symmetries = torch.randint(8, (batch,), generator=position_rng)
        coins = torch.randint(2, (batch,), generator=position_rng).tolist()
        samples = []
        for uniform, coin in zip(uniforms, coins, strict=True):
            chosen = torch.searchsorted(self.cumulative_size, torch.rand(1, generator=position_rng))
            frame = self.frames[int(chosen)]
            corner = frame.corner(self._on_image(self.patch), position_rng)
            samples.append(self._sample(frame, corner, Chance(uniform, not coin), noise_rng))
        share = self.share(batch)
        return self._batch(samples[share], symmetries[share])

    def held_out(self, seed: int, most: int) -> Batch | None:
        """Frozen samples of at most `most` held-out tiles, each tile in the middle of its patch, which alone counts."""
        chosen = [(frame, tile) for frame in self.frames for tile in frame.tiles()]
        if not chosen:
            return None
        chosen = [chosen[i] for i in np.linspace(0, len(chosen) - 1, min(most, len(chosen))).round().astype(int)]
        noise_rng = torch.Generator(self.noise_device).manual_seed(seed)
        size = defaults_for(len(self.patch)).tile
        tile = tuple(int(n / s) for n, s in zip(size, self.stride, strict=True))
        around = tuple(max(0, p - n) // 2 for p, n in zip(self.patch, tile, strict=True))
        samples = []
        for frame, first in chosen * self.scheme.judgements:
            corner = tuple(a - b for a, b in zip(first, self._on_image(around), strict=True))
            samples.append(self._sample(frame, corner, Chance(0.5, True), noise_rng, judged=True))
        batch = self._batch(samples, torch.zeros(len(samples), dtype=torch.long))
        middle: Any = (..., *(slice(a, a + n) for a, n in zip(around, tile, strict=True)))
        only = torch.zeros_like(batch.mask)
        only[middle] = 1
        return replace(batch, mask=batch.mask * only)

    def _batch(self, samples: list[Sample], symmetries: Tensor) -> Batch:
        turns = symmetries.tolist()

        def stacked(tensors: list[Tensor]) -> Tensor:
            turned = [dihedral(t, k) if t.ndim > 1 else t for t, k in zip(tensors, turns, strict=True)]
            return torch.stack(turned).to(self.device)

        return Batch(
            stacked([s.noisy for s in samples]),
            crop(stacked([s.target for s in samples]), self.margin),
            crop(stacked([s.mask for s in samples]), self.margin),
            symmetries.to(self.device),
            {name: stacked([s.extras[name] for s in samples]) for name in samples[0].extras},
        )

    def _sample(
        self, frame: Frame, corner: Shape, chance: Chance, noise_rng: torch.Generator, *, judged: bool = False
    ) -> Sample:
        """The sample of the patch that begins, without its margin, at `corner`; held-out pixels count if `judged`."""
        start = tuple(c - m - h for c, m, h in zip(corner, self._on_image(self.margin), self.halo, strict=True))
        shape = tuple(n + 2 * h for n, h in zip(self._on_image(self.size), self.halo, strict=True))
        counts = frame.window(start, shape)
        image = self._tensor((counts - self.offset) / self.scale)
        mask = self._tensor(frame.mask(start, shape, judged=judged))
        window = Window(counts, image, mask, self.noise, self.offset, self.scale, start, frame.shape)
        sample = self.scheme.sample(window, chance, noise_rng)
        if self.frames_seen == 1:
            return sample
        # The neighbours are as noisy as the frame itself, as in a prediction: a network learns how far to trust them.
        near = self.frames_seen // 2
        target = sample.target[near : near + 1]
        if judged:
            return replace(sample, target=target)
        weight = motion_weight(counts[near - 1], counts[near + 1], self.noise)
        return replace(sample, target=target, mask=sample.mask * self._tensor(np.sqrt(weight)))

    def _on_image(self, lengths: Shape) -> Shape:
        return tuple(int(n * s) for n, s in zip(lengths, self.stride, strict=True))

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.tensor(array, dtype=torch.float32, device=self.noise_device)
