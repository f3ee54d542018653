"""Where self-supervision lives: two independently noisy copies of a patch, made from one noisy image.

*Gaussian* recorruption is eq. 2: ŷ = y + αz, ỹ = y − z/α with z ~ N(0, σ²). With σ² the noise variance the two are
uncorrelated; they are independent only if the noise is Gaussian. At a few photo-electrons a pixel it is not: it is
skewed, and a network learns to tell a bright noise peak of y from a peak of z, and to let it through.

*Poisson* recorruption splits the photo-electrons themselves. The noise line, variance = gain · y + constant, makes
n = (y + constant/gain) / gain a number whose variance is its mean (read noise included, as in the shifted-Poisson
model of Snyder et al. 1995). k ~ Binomial(n, p) and n − k of a Poisson number are independent at any brightness, and
ŷ ∝ k/p, ỹ ∝ (n − k)/(1 − p) with p = 1/(1 + α²) have the same means and variances as eq. 2 gives.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import scipy.ndimage as ndi
import torch
from numpy.typing import NDArray
from torch import Tensor

from zsd_train.losses import crop
from zsd_train.noise import NoiseModel

HOLDOUT_TILE = 32  # px; large against the noise's correlation, small against the image


@dataclass(frozen=True)
class Pairs:
    """A batch: `recorrupted` (N, 1, P, P) is the network's input, `target` and `weight` (N, 1, p, p) lack the margin.

    `weight` is 1 where a pixel counts. `orientation` (N,) is the symmetry (0..7) that the patch, and so the PSF of
    its sample, was turned by.
    """

    recorrupted: Tensor
    target: Tensor
    weight: Tensor
    orientation: Tensor


@dataclass(frozen=True)
class _Frame:
    """One image on the device, reflected outwards by `Sampler.border`; `brightness` is a patch's, by its corner."""

    image: Tensor
    sigma: Tensor
    weight: Tensor
    brightness: NDArray[np.float64]
    held_out: list[tuple[int, int]]


class Sampler:
    """Draws recorrupted pairs from images held in memory, with fresh noise every time.

    Parameters
    ----------
    images : list of ndarray
        (Y, X) camera counts, each at least `patch` on a side.
    noise : NoiseModel
    offset, scale : float
        The normalisation: networks see ``(counts - offset) / scale``.
    patch, margin : int
        Raw pixels that the losses see, and that surround them on each side.
    """

    def __init__(
        self,
        images: list[NDArray[np.float64]],
        noise: NoiseModel,
        *,
        offset: float,
        scale: float,
        patch: int,
        margin: int,
        recorruption: Literal["poisson", "gaussian"] = "poisson",
        alpha: tuple[float, float] = (0.5, 1.5),
        holdout: float = 0.08,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.patch, self.margin = patch, margin
        self.size = patch + 2 * margin
        self.border = self.size
        self.alpha = alpha
        self.device = torch.device(device)
        # Below a slope of 0 there are no photo-electrons to split.
        self.poisson = recorruption == "poisson" and noise.gain > 0
        if self.poisson:
            self.unit = noise.gain / scale
            self.zero = (-noise.constant / noise.gain - offset) / scale
        rng = np.random.default_rng(seed)
        self.frames = [self._prepare(image, noise, offset, scale, holdout, rng) for image in images]
        areas = torch.tensor([float(f.brightness.size) for f in self.frames])
        self.cumulative_area = (areas / areas.sum()).cumsum(0)

    def _prepare(
        self,
        image: NDArray[np.float64],
        noise: NoiseModel,
        offset: float,
        scale: float,
        holdout: float,
        rng: np.random.Generator,
    ) -> _Frame:
        smooth = ndi.uniform_filter(image, 5)  # H of eq. 3
        tiles = _held_out_tiles(smooth, holdout, rng)
        weight = np.ones(image.shape)
        for y, x in tiles:
            weight[y : y + HOLDOUT_TILE, x : x + HOLDOUT_TILE] = 0

        def on_device(array: NDArray[np.float64]) -> Tensor:
            return torch.tensor(np.pad(array, self.border, mode="reflect"), dtype=torch.float32, device=self.device)

        # Brightness of the patch whose first corner is at (y, x): a mean over its square.
        means = ndi.uniform_filter(smooth, self.patch, origin=-(self.patch // 2))
        corners = (slice(0, image.shape[0] - self.patch + 1), slice(0, image.shape[1] - self.patch + 1))
        return _Frame(
            on_device((image - offset) / scale),
            on_device(np.sqrt(noise.variance(smooth)) / scale),
            on_device(weight),
            means[corners],
            tiles,
        )

    def draw(self, batch: int, where: torch.Generator, noise: torch.Generator) -> Pairs:
        """A batch of patches; positions come from `where` (on the CPU), noise from `noise` (on the device)."""
        alphas = torch.empty(batch).uniform_(*self.alpha, generator=where)
        symmetries = torch.randint(8, (batch,), generator=where)
        samples = []
        for alpha, k in zip(alphas.tolist(), symmetries.tolist(), strict=True):
            frame = self.frames[int(torch.searchsorted(self.cumulative_area, torch.rand(1, generator=where)))]
            y, x = self._corner(frame, where)
            samples.append([dihedral(t, k) for t in self._recorrupt(frame, y, x, alpha, noise)])
        recorrupted, target, weight = (torch.stack(column)[:, None] for column in zip(*samples, strict=True))
        return Pairs(recorrupted, crop(target, self.margin), crop(weight, self.margin), symmetries.to(self.device))

    def held_out(self, seed: int, most: int = 64) -> Pairs | None:
        """Frozen pairs of the held-out tiles, each in the middle of its patch, alone in having weight."""
        chosen = [(f, y, x) for f in self.frames for y, x in f.held_out]
        if not chosen:
            return None
        chosen = [chosen[i] for i in np.linspace(0, len(chosen) - 1, min(most, len(chosen))).round().astype(int)]
        noise = torch.Generator(self.device).manual_seed(seed)
        around = (self.patch - HOLDOUT_TILE) // 2
        alpha = float(np.mean(self.alpha))
        samples = [self._recorrupt(f, y - around, x - around, alpha, noise) for f, y, x in chosen]
        recorrupted, target, _ = (torch.stack(column)[:, None] for column in zip(*samples, strict=True))
        target = crop(target, self.margin)
        weight = torch.zeros_like(target)
        middle = slice(around, around + HOLDOUT_TILE)
        weight[..., middle, middle] = 1
        orientation = torch.zeros(len(chosen), dtype=torch.long, device=self.device)
        return Pairs(recorrupted, target, weight, orientation)

    def _corner(self, frame: _Frame, where: torch.Generator) -> tuple[int, int]:
        """Of two random places the brighter: foreground is favoured without a threshold, background still seen."""
        rows, columns = frame.brightness.shape
        y = torch.randint(rows, (2,), generator=where).tolist()
        x = torch.randint(columns, (2,), generator=where).tolist()
        i = int(np.argmax(frame.brightness[y, x]))
        return y[i], x[i]

    def _recorrupt(self, frame: _Frame, y: int, x: int, alpha: float, noise: torch.Generator) -> list[Tensor]:
        """(recorrupted, target, weight), each (P, P), of the patch whose corner without margin is at (y, x)."""
        start_y, start_x = y - self.margin + self.border, x - self.margin + self.border
        window = (slice(start_y, start_y + self.size), slice(start_x, start_x + self.size))
        image = frame.image[window]
        if self.poisson:
            first, second = split_photons((image - self.zero) / self.unit, alpha, noise)
            pair = [first * self.unit + self.zero, second * self.unit + self.zero]
        else:
            z = frame.sigma[window] * torch.randn(image.shape, generator=noise, device=self.device)
            pair = [image + alpha * z, image - z / alpha]
        return [*pair, frame.weight[window]]


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


def dihedral(image: Tensor, k: int) -> Tensor:
    """Symmetry ``k`` (0..7) of the square on the last two axes, exact: turn by 90° k % 4 times, mirror if k > 3."""
    turned = torch.rot90(image, k % 4, (-2, -1))
    return turned.flip(-1) if k > 3 else turned


def _held_out_tiles(smooth: NDArray[np.float64], share: float, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Corners of tiles, spread over the range of brightness, that make up `share` of the image (or none if small)."""
    size = HOLDOUT_TILE
    corners = [
        (y, x) for y in range(0, smooth.shape[0] - size + 1, size) for x in range(0, smooth.shape[1] - size + 1, size)
    ]
    if share == 0 or len(corners) < 8:
        return []
    corners.sort(key=lambda c: float(smooth[c[0] : c[0] + size, c[1] : c[1] + size].mean()))
    count = max(2, round(share * len(corners)))
    edges = np.linspace(0, len(corners), count + 1).astype(int)
    return [corners[int(rng.integers(low, high))] for low, high in pairwise(edges)]
