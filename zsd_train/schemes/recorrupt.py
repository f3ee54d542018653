"""Recorruption: two copies of a noisy image whose noise is independent.

*Gaussian* recorruption is eq. 2: ŷ = y + αz, ỹ = y − z/α with z ~ N(0, σ²). If σ² is the variance of the noise, the two
are uncorrelated. They are independent only if the noise is Gaussian. At a few photo-electrons a pixel it is skewed: a
network learns to tell a bright noise peak of y from a peak of z, and lets it through.

*Poisson* recorruption splits the photo-electrons themselves. The noise line, variance = gain · y + constant, makes
n = (y + constant/gain) / gain a number whose variance equals its mean (read noise included, as in the shifted-Poisson
model of Snyder et al. 1995). k ~ Binomial(n, p) and n − k of a Poisson number are independent at any brightness, and
ŷ ∝ k/p, ỹ ∝ (n − k)/(1 − p) with p = 1/(1 + α²) have the same means and variances as in eq. 2.

Where neighbouring pixels share noise, as in resized images, they share photo-electrons, which cannot be split. Eq. 2
holds for such noise, too, if z is correlated as the noise is: z ~ N(0, Σ) (Pang et al. 2021). In a volume z is
correlated within each slice.
"""

from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.ndimage as ndi
import torch
from pydantic import Field, field_validator
from torch import Tensor

from zsd_optics.noise_covariance import Correlation, filter_of
from zsd_optics.noise_model import NoiseModel
from zsd_optics.noise_phases import Phases, phase_filters
from zsd_train.defaults import Shape
from zsd_train.schemes.scheme import Chance, Sample, Scheme, Window


class Recorrupt(Scheme):
    """Input and target are two recorrupted copies of the same pixels."""

    kind: str = "recorrupt"
    sees_neighbours: ClassVar[bool] = True
    noise: Literal["poisson", "gaussian"] = Field(
        "poisson",
        description="poisson: split the photo-electrons; gaussian: add and subtract noise, as published (eq. 2), "
        "which is always done where neighbouring pixels share noise",
    )
    alpha: tuple[float, float] = Field((0.5, 1.5), description="range of α of eq. 2; each patch draws its own")

    @field_validator("alpha")
    @classmethod
    def _check_alpha(cls, alpha: tuple[float, float]) -> tuple[float, float]:
        if not 0 < alpha[0] <= alpha[1]:
            raise ValueError(f"alpha {alpha} must be a range low <= high above 0")
        return alpha

    def sample(self, window: Window, chance: Chance, noise_rng: Any) -> Sample:  # noqa: D102
        noise, image, scale = window.noise, window.image, window.scale
        alpha = self.alpha_at(chance.uniform)
        # Without a gain there are no photo-electrons to split; pixels that share noise share them.
        if self.noise == "poisson" and noise.gain > 0 and noise.correlation is None:
            unit = noise.gain / scale
            zero = (-noise.constant / noise.gain - window.offset) / scale
            copies = split_photons((image - zero) / unit, alpha, noise_rng)
            noisy, target = (electrons * unit + zero for electrons in copies)
        else:
            smooth = ndi.uniform_filter(window.counts, 5, axes=(-2, -1))  # H of eq. 3
            sigma = torch.tensor(np.sqrt(noise.variance(smooth)) / scale, dtype=torch.float32, device=image.device)
            z = sigma * noise_like(noise, image, window.start, noise_rng)
            noisy, target = image + alpha * z, image - z / alpha
        return Sample(noisy, target, window.mask[None])

    def alpha_at(self, uniform: float) -> float:
        """α for a number between 0 and 1, in single precision like the random numbers."""
        low, high = self.alpha
        return float(torch.tensor(uniform, dtype=torch.float32) * (high - low) + low)


def noise_like(noise: NoiseModel, image: Tensor, start: Shape, noise_rng: Any) -> Tensor:
    """Noise of mean variance 1, correlated as in a noise model, for an image (..., Y, X) that begins at `start`."""

    def white(*shape: int) -> Tensor:
        return torch.randn(shape, generator=noise_rng, device=image.device)

    if noise.correlation is None:
        return white(*image.shape)
    if noise.phases is None:
        return correlated(white(*image.shape), noise.correlation)
    y, x = (first % 2 for first in start[-2:])  # drawn from the even place before it to the one behind it
    rows, columns = (n + odd + (n + odd) % 2 for n, odd in zip(image.shape[-2:], (y, x), strict=True))
    drawn = correlated_by_phase(white(*image.shape[:-2], 4, rows // 2, columns // 2), noise.phases)
    return drawn[..., y : y + image.shape[-2], x : x + image.shape[-1]]


def correlated_by_phase(white: Tensor, phases: Phases) -> Tensor:
    """Noise (..., Y, X) with the covariances of `phases`, from four white images (..., 4, Y / 2, X / 2)."""
    shape = (2 * white.shape[-2], 2 * white.shape[-1])
    spectra = torch.fft.fft2(white).movedim(-3, -1)[..., None]
    filtered = (_phase_filters(phases, shape, white.device) @ spectra)[..., 0].movedim(-1, -3)
    return torch.nn.functional.pixel_shuffle(torch.fft.ifft2(filtered).real, 2)[..., 0, :, :]


@lru_cache(16)
def _phase_filters(phases: Phases, shape: tuple[int, int], device: torch.device) -> Tensor:
    return torch.tensor(phase_filters(phases, shape), dtype=torch.complex64, device=device)


def correlated(white: Tensor, correlation: Correlation) -> Tensor:
    """White noise (..., Y, X) with this correlation in Y and X, by FFT on its device; it keeps its variance."""
    shape = (white.shape[-2], white.shape[-1])
    return torch.fft.irfft2(torch.fft.rfft2(white) * _filter(correlation, shape, white.device), s=shape)


@lru_cache(16)
def _filter(correlation: Correlation, shape: tuple[int, int], device: torch.device) -> Tensor:
    return torch.tensor(filter_of(correlation, shape), dtype=torch.float32, device=device)


def split_photons(electrons: Tensor, alpha: float, noise_rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Split Poisson numbers of any shape into two independent ones of the same mean (module docstring)."""
    p = 1 / (1 + alpha**2)
    positive = electrons.clamp(min=0)
    whole = positive.floor()
    rest = positive - whole
    taken = torch.binomial(whole, torch.full_like(whole, p), generator=noise_rng)
    # For the rest r < 1, taking an electron with probability p·r would vary too much, taking r with probability p too
    # little: the first in 1 − p of the cases and the second in p give the variance p(1 − p)·r, which leaves no
    # correlation.
    mode, chance = torch.rand((2, *electrons.shape), generator=noise_rng, device=noise_rng.device)
    taken += torch.where(mode < p, rest * (chance < p), (chance < p * rest).to(rest.dtype))
    # Read noise also makes negative numbers. They cannot be split, but without them the mean would be too high.
    return taken / p, (positive - taken) / (1 - p) + electrons.clamp(max=0)
