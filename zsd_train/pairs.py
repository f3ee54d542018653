"""Where self-supervision lives: two independently noisy copies of a patch, made from one noisy image.

*Gaussian* recorruption is eq. 2: ŷ = y + αz, ỹ = y − z/α with z ~ N(0, σ²). With σ² the noise variance the two are
uncorrelated; they are independent only if the noise is Gaussian. At a few photo-electrons a pixel it is not: it is
skewed, and a network learns to tell a bright noise peak of y from a peak of z, and to let it through.

*Poisson* recorruption splits the photo-electrons themselves. The noise line, variance = gain · y + constant, makes
n = (y + constant/gain) / gain a number whose variance is its mean (read noise included, as in the shifted-Poisson
model of Snyder et al. 1995). k ~ Binomial(n, p) and n − k of a Poisson number are independent at any brightness, and
ŷ ∝ k/p, ỹ ∝ (n − k)/(1 − p) with p = 1/(1 + α²) have the same means and variances as eq. 2 gives.

*Odd and even* slices of a volume (eq. 7) are the two copies as they are: what a camera does to a slice, whatever it is,
is independent of what it does to the next. But they show different slices, and the network works on stacks with twice
the distance between slices while it learns.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.ndimage as ndi
import torch
from torch import Tensor

from zsd_optics.noise import NoiseModel
from zsd_train.frames import TILES, Frame, Shape
from zsd_train.losses import crop, dihedral
from zsd_train.networks.dual_stage import Restored


@dataclass(frozen=True)
class Pairs:
    """A batch of N: `noisy` (N, 1, [Z,] Y, X) is the network's input, `target` and `weight` lack the margin.

    weight : 1 where a pixel counts · orientation (N,) : the symmetry (0..7) that the patch, and so the PSF of its
    sample, was turned by · whole (N, 1, 2Z, Y, X) : the stack that odd and even slices come from · lead (N,) : 1 where
    `noisy` holds its first, third, … slice, −1 where it holds the others · taught : what a teacher makes of `noisy`,
    with the margin: learnt in place of `target`.
    """

    noisy: Tensor
    target: Tensor
    weight: Tensor
    orientation: Tensor
    whole: Tensor | None = None
    lead: Tensor | None = None
    taught: Restored | None = None

    def part(self, samples: slice) -> "Pairs":
        """Some of the samples, to look at held-out ones a few at a time."""
        taught = self.taught and Restored(*(image[samples] for image in self.taught))
        return Pairs(
            self.noisy[samples], self.target[samples], self.weight[samples], self.orientation[samples], taught=taught
        )


class Sampler:
    """Draws pairs of patches, with fresh noise every time.

    Parameters
    ----------
    frames : list of Frame
        Each at least one patch large; with `odd_even`, two patches deep.
    noise : NoiseModel
    offset, scale : float
        The normalisation: networks see ``(counts - offset) / scale``.
    patch, margin : tuple of int
        Pixels, axis by axis, that the losses see, and that surround them on each side.
    scheme : {"poisson", "gaussian", "odd-even"}
        How pairs are made.
    """

    def __init__(
        self,
        frames: list[Frame],
        noise: NoiseModel,
        *,
        offset: float,
        scale: float,
        patch: Shape,
        margin: Shape,
        scheme: str = "poisson",
        alpha: tuple[float, float] = (0.5, 1.5),
        device: torch.device | str = "cpu",
    ) -> None:
        self.frames, self.noise, self.offset, self.scale = frames, noise, offset, scale
        self.patch, self.margin, self.alpha = patch, margin, alpha
        self.size = tuple(p + 2 * m for p, m in zip(patch, margin, strict=True))
        self.device = torch.device(device)
        # Below a slope of 0 there are no photo-electrons to split.
        self.scheme = "gaussian" if scheme == "poisson" and not noise.gain > 0 else scheme
        # How many pixels of the image one of a patch stands for.
        self.stride = (2, 1, 1) if scheme == "odd-even" else (1,) * len(patch)
        sizes = torch.tensor([float(frame.image.size) for frame in frames])
        self.cumulative_size = (sizes / sizes.sum()).cumsum(0)

    def draw(self, batch: int, where: torch.Generator, noise: torch.Generator) -> Pairs:
        """A batch of patches; positions come from `where` (on the CPU), noise from `noise` (on the device)."""
        alphas = torch.empty(batch).uniform_(*self.alpha, generator=where).tolist()
        symmetries = torch.randint(8, (batch,), generator=where)
        leads = 1 - 2 * torch.randint(2, (batch,), generator=where)
        samples = []
        for alpha, lead in zip(alphas, leads.tolist(), strict=True):
            frame = self.frames[int(torch.searchsorted(self.cumulative_size, torch.rand(1, generator=where)))]
            corner = frame.corner(self._on_image(self.patch), where)
            samples.append(self._pair(frame, corner, alpha, lead, noise))
        return self._batch(samples, symmetries, leads)

    def held_out(self, seed: int, most: int = 64) -> Pairs | None:
        """Frozen pairs of the held-out tiles, each in the middle of its patch, alone in having weight."""
        chosen = [(frame, tile) for frame in self.frames for tile in frame.tiles()]
        if not chosen:
            return None
        chosen = [chosen[i] for i in np.linspace(0, len(chosen) - 1, min(most, len(chosen))).round().astype(int)]
        noise = torch.Generator(self.device).manual_seed(seed)
        tile = tuple(n // s for n, s in zip(TILES[len(self.patch)], self.stride, strict=True))
        around = tuple(max(0, p - n) // 2 for p, n in zip(self.patch, tile, strict=True))
        middle: Any = (..., *(slice(a, a + n) for a, n in zip(around, tile, strict=True)))
        samples = []
        for frame, first in chosen:
            corner = tuple(a - b for a, b in zip(first, self._on_image(around), strict=True))
            samples.append(self._pair(frame, corner, float(np.mean(self.alpha)), 1, noise))
        pairs = self._batch(samples, torch.zeros(len(chosen), dtype=torch.long), torch.ones(len(chosen)))
        weight = torch.zeros_like(pairs.weight)
        weight[middle] = 1
        return replace(pairs, weight=weight)

    def _batch(self, samples: list[list[Tensor]], symmetries: Tensor, leads: Tensor) -> Pairs:
        turned = [[dihedral(t, int(k)) for t in sample] for sample, k in zip(samples, symmetries, strict=True)]
        noisy, target, weight, *whole = (torch.stack(column)[:, None] for column in zip(*turned, strict=True))
        return Pairs(
            noisy, crop(target, self.margin), crop(weight, self.margin), symmetries.to(self.device),
            *((whole[0], leads.to(self.device)) if whole else ()),
        )  # fmt: skip

    def _pair(self, frame: Frame, corner: Shape, alpha: float, lead: int, noise: torch.Generator) -> list[Tensor]:
        """[noisy, target, weight, with odd-even whole] of the patch that begins, without its margin, at `corner`."""
        start = tuple(c - m for c, m in zip(corner, self._on_image(self.margin), strict=True))
        shape = self._on_image(self.size)
        counts, weight = frame.window(start, shape), self._tensor(frame.weight(start, shape))
        image = self._tensor((counts - self.offset) / self.scale)
        if self.scheme == "odd-even":
            first, second = (0, 1) if lead > 0 else (1, 0)
            return [image[first::2], image[second::2], weight[second::2], image]
        if self.scheme == "poisson":
            unit = self.noise.gain / self.scale
            zero = (-self.noise.constant / self.noise.gain - self.offset) / self.scale
            pair = [electrons * unit + zero for electrons in split_photons((image - zero) / unit, alpha, noise)]
        else:
            smooth = ndi.uniform_filter(counts, 5, axes=(-2, -1))  # H of eq. 3
            sigma = self._tensor(np.sqrt(self.noise.variance(smooth)) / self.scale)
            z = sigma * torch.randn(image.shape, generator=noise, device=self.device)
            pair = [image + alpha * z, image - z / alpha]
        return [*pair, weight]

    def _on_image(self, lengths: Shape) -> Shape:
        return tuple(n * s for n, s in zip(lengths, self.stride, strict=True))

    def _tensor(self, array: np.ndarray) -> Tensor:  # type: ignore[type-arg]
        return torch.tensor(array, dtype=torch.float32, device=self.device)


def split_photons(electrons: Tensor, alpha: float, noise: torch.Generator) -> tuple[Tensor, Tensor]:
    """Thin Poisson numbers into two independent ones of the same mean (module docstring); any shape."""
    p = 1 / (1 + alpha**2)
    positive = electrons.clamp(min=0)
    whole = positive.floor()
    rest = positive - whole
    taken = torch.binomial(whole, torch.full_like(whole, p), generator=noise)
    # Of the rest r < 1, an electron with probability p·r would vary too much, r with probability p too little: the
    # one in 1 − p of the cases, the other in p, gives just the variance p(1 − p)·r that leaves no correlation.
    mode, chance = torch.rand((2, *electrons.shape), generator=noise, device=noise.device)
    taken += torch.where(mode < p, rest * (chance < p), (chance < p * rest).to(rest.dtype))
    # Read noise also makes numbers below 0. There is nothing to split in them, but without them the mean is too high.
    return taken / p, (positive - taken) / (1 - p) + electrons.clamp(max=0)
