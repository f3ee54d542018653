"""Blind spots: a network predicts pixels that it cannot see from those around. Their noise is independent of it.

*Noise2Void* (Krull et al. 2019): some pixels of the input are replaced by a random neighbour, and only there is the
output compared with the noisy image. *DecoNoising* (Goncharova et al. 2020) compares the output's blur by the PSF
instead: the output is then the image before the PSF, the phantom. It cannot hold noise finer than the PSF, and is
deconvolved. *N2V conv.* of that paper blurs what Noise2Void gives, after the training.

Where neighbouring pixels share noise, they tell of the noise of the blind one. They are replaced, too (structured
Noise2Void, Broaddus et al. 2020). The *median* in place of a random neighbour is that of N2V2 (Höck et al. 2022).
"""

from collections.abc import Callable
from itertools import product
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from zsd_optics.noise import NoiseModel
from zsd_runtime.errors import InputError
from zsd_train.forward import Forward, crop, downsample
from zsd_train.schemes.scheme import Batch, Chance, Comparison, Sample, Scheme, Window

# One pixel of each cell is blind: 1 in 32.
CELLS = {"yx": (4, 8), "zyx": (2, 4, 4)}
RADIUS = 2  # of the square that replacements come from, 5 × 5; in volumes, of the same slice
LARGEST_REACH = 8  # larger blocks leave held-out tiles without a blind pixel
# What differs from a preset: the terms that regularise a second stage.
TERMS = {"hessian_weight": 0.0, "contrast_floor": 0.0, "positivity_weight": 0.0}
NETWORKS: dict[tuple[str, str], dict[str, Any]] = {
    ("compact", "yx"): {"kind": "unet", "width": 16, "depth": 3, "convs": 2},
    ("compact", "zyx"): {"kind": "unet", "width": 8, "depth": 2, "convs": 2},
    ("reference", "yx"): {"kind": "additive-unet"},
    ("reference", "zyx"): {"kind": "additive-unet", "width": 32},
}


class BlindSpot(Scheme):
    """Input is the image with blind spots, target the image there."""

    kind: str = "blind-spot"
    judgements: ClassVar[int] = 8
    correlated_noise_remedy: ClassVar[str] = "zsd hides all pixels that share the noise of a hidden one"
    blur: Literal["inside", "after", "none"] = Field(
        "inside",
        description="inside: the blur of the output is compared (DecoNoising); after: the output is compared, and "
        "its blur is the denoised image (N2V conv.); none: no PSF (Noise2Void)",
    )
    positivity: float = Field(
        1.0, ge=0, description="λ of the mean of max(0, −z) of the deconvolved image z, in standard deviations; 0: off"
    )
    replacement: Literal["neighbour", "median"] = Field(
        "neighbour", description="what a blind pixel shows: a random one of the 5 x 5 around, or their median (N2V2)"
    )
    reach: tuple[int, int] | Literal["auto"] = Field(
        "auto",
        description="pixels above and below, left and right of a blind one that share its noise and are replaced, "
        "too, 0 to 8; auto: as far as the measured noise is correlated",
    )

    @field_validator("reach")
    @classmethod
    def _check_reach(cls, reach: Any) -> Any:
        if reach != "auto" and not all(0 <= n <= LARGEST_REACH for n in reach):
            raise ValueError(f"reach {reach} must be two numbers of 0 to {LARGEST_REACH} pixels, or auto")
        return reach

    @property
    def method(self) -> str:  # noqa: D102
        return {"inside": "DecoNoising", "after": "N2V conv.", "none": "Noise2Void"}[self.blur]

    @property
    def needs_psf(self) -> bool:  # noqa: D102
        return self.blur != "none"

    def choices(self, preset: str, axes: str) -> dict[str, Any]:  # noqa: D102
        network = {"stages": 1, "phantom": self.needs_psf, "grid_factor": 1} | NETWORKS[preset, axes]
        return TERMS | {"network": network}

    def check_network(self, network: Any) -> None:  # noqa: D102
        expected = {"stages": 1, "phantom": self.needs_psf, "channels": 1}
        if not self.needs_psf:
            expected["grid_factor"] = 1
        for key, value in expected.items():
            if getattr(network, key, None) != value:
                raise InputError(
                    f"scheme {self.kind} needs a network with {key} = {str(value).lower()}, and network.{key} is "
                    f"{str(getattr(network, key, f'not for kind {network.kind}')).lower()}",
                    "leave it out",
                )

    def chosen(self, noise: NoiseModel, axes: str) -> Scheme:  # noqa: ARG002, D102
        return self if self.reach != "auto" else self.model_copy(update={"reach": noise.reach})

    def sample(self, window: Window, chance: Chance, noise_rng: Any) -> Sample:  # noqa: ARG002, D102
        image = window.image
        assert self.reach != "auto"
        reach = (0,) * (image.ndim - 3) + self.reach
        cell = tuple(n + 2 * r for n, r in zip(CELLS["zyx"[-len(reach) :]], reach, strict=True))
        spots = stratified(tuple(image.shape[1:]), cell, noise_rng)
        blind = torch.zeros_like(window.mask)
        blind[tuple(spots.T)] = 1
        noisy = torch.stack([replaced(c, spots, reach, self.replacement, noise_rng) for c in image])
        return Sample(noisy, image, (window.mask * blind)[None])

    def compare(  # noqa: D102
        self,
        restored: Any,
        batch: Batch,
        forward: Forward,
        first_stage: Callable[[Tensor], Tensor] | None = None,  # noqa: ARG002
    ) -> dict[str, Comparison]:
        targets = [(1.0, batch.target)]
        if self.blur == "none":
            return {"denoised": Comparison(crop(restored.denoised, forward.margin), targets, batch.recorded)}
        if self.blur == "inside":
            image = forward(restored.deconvolved, batch.orientation)
        else:
            factor = restored.deconvolved.shape[-1] // batch.noisy.shape[-1]
            image = crop(downsample(restored.deconvolved, factor), forward.margin)
        # Not `blurred`: a filter of the residual would mix seen pixels into it.
        return {"deconvolved": Comparison(image, targets, batch.mask)}

    def penalty(self, restored: Any, batch: Batch, std: Callable[[Tensor], Tensor] = torch.std) -> Tensor | None:
        """λ · mean(max(0, −z)), relative to the standard deviation as published: its data term is in units of that²."""
        if not self.positivity or self.blur != "inside":
            return None
        return self.positivity * std(batch.target) * (-restored.deconvolved).clamp(min=0).mean()


class Noise2Void(BlindSpot):
    """The same without a PSF: it denoises only."""

    kind: str = "noise2void"
    blur: Literal["none"] = "none"  # type: ignore[assignment]


def stratified(shape: tuple[int, ...], cell: tuple[int, ...], noise_rng: torch.Generator) -> Tensor:
    """One random pixel of each cell of an image, (K, axes): none twice, each equally often.

    A cell that the border cuts has one with a probability equal to the share of the cell inside the image.
    """
    counts = [-(-n // c) for n, c in zip(shape, cell, strict=True)]
    size = torch.tensor(cell, device=noise_rng.device)
    corners = torch.cartesian_prod(*(torch.arange(n, device=size.device) for n in counts)) * size
    spots = corners + (torch.rand(corners.shape, generator=noise_rng, device=size.device) * size).long()
    return spots[(spots < torch.tensor(shape, device=size.device)).all(1)]


def replaced(
    image: Tensor, spots: Tensor, reach: tuple[int, ...], replacement: str, noise_rng: torch.Generator
) -> Tensor:
    """An image ([Z,] Y, X) in which the blocks around `spots` show other pixels: none of those blocks'.

    Parameters
    ----------
    image : Tensor
    spots : Tensor
        (K, axes).
    reach : tuple of int
        Pixels of a block to either side of its middle, axis by axis.
    replacement : {"neighbour", "median"}
        Of the ring of `RADIUS` pixels around the block. Where the ring leaves the image, it is mirrored at the middle.
    noise_rng : torch.Generator
    """
    shape = torch.tensor(image.shape, device=spots.device)
    block = _offsets(reach, spots.device)
    around = _offsets((*reach[:-2], *(r + RADIUS for r in reach[-2:])), spots.device)
    ring = around[(around.abs() > torch.tensor(reach, device=spots.device)).any(1)]
    places = spots[:, None] + block  # (K, block, axes)
    if replacement == "neighbour":
        which = torch.randint(len(ring), places.shape[:2], generator=noise_rng, device=spots.device)
        values = image[tuple(_inside(spots[:, None], ring[which], shape).movedim(-1, 0))]
    else:
        seen = image[tuple(_inside(spots[:, None], ring, shape).movedim(-1, 0))].sort(1).values
        middle = seen.shape[1] // 2  # their number is even
        values = seen[:, middle - 1 : middle + 1].mean(1, keepdim=True).expand(places.shape[:2])
    within = ((places >= 0) & (places < shape)).all(-1)
    result = image.clone()
    result[tuple(places[within].T)] = values[within]
    return result


def _offsets(reach: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor([*product(*(range(-r, r + 1) for r in reach))], device=device)


def _inside(spots: Tensor, offsets: Tensor, shape: Tensor) -> Tensor:
    """Pixels at offsets from spots; along an axis along which one would be outside, at the opposite offset."""
    places = spots + offsets
    return torch.where((places < 0) | (places >= shape), spots - offsets, places)
