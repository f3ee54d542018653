"""The door for schemes: what a way of learning from noisy images alone has to say.

A scheme is a value: its fields are what a person may choose, its methods are all that distinguishes it from others.
It stands in a file of its own and is found by its `kind`. CONTRIBUTING.md shows how to add one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from zsd_optics.noise import NoiseModel
from zsd_runtime.errors import InputError
from zsd_train.defaults import Shape
from zsd_train.forward import Forward, crop

Counts = NDArray[Any]
Stride = tuple[float, ...]


class Chance(NamedTuple):
    """The random numbers of one patch. They are drawn for every scheme alike, so that all see the same patches.

    Attributes
    ----------
    uniform : float
        Between 0 and 1.
    coin : bool
    """

    uniform: float
    coin: bool


@dataclass(frozen=True)
class Window:
    """The part of an image that a patch is made of: `Scheme.stride` times as large as the patch with its margin.

    Attributes
    ----------
    counts : ndarray
        (C, [Z,] Y, X), camera counts.
    image : Tensor
        The same, normalised: ``(counts - offset) / scale``.
    mask : Tensor
        ([Z,] Y, X), 1 where a pixel may be learnt from, -1 where it is saturated (`Frame.mask`), or 0.
    noise : NoiseModel
    offset, scale : float
        Counts.
    start : tuple of int
        ([Z,] Y, X), where in the image its first pixel is; negative in the border.
    whole : tuple of int
        ([Z,] Y, X), the shape of the image.
    """

    counts: NDArray[np.float64]
    image: Tensor
    mask: Tensor
    noise: NoiseModel
    offset: float
    scale: float
    start: Shape = (0, 0)
    whole: Shape = ()

    @property
    def inside(self) -> Tensor:
        """(Y, X), 1 where the image is, 0 where it is continued by reflection."""
        lines = [
            (torch.arange(first, first + n) >= 0) & (torch.arange(first, first + n) < whole)
            for first, n, whole in zip(self.start[-2:], self.image.shape[-2:], self.whole[-2:], strict=True)
        ]
        return torch.outer(*(line.float() for line in lines))


@dataclass(frozen=True)
class Sample:
    """One patch with its margin, before it is turned.

    Attributes
    ----------
    noisy : Tensor
        (C, [Z,] Y, X), the network's input.
    target : Tensor
        (1, [Z,] Y, X), what the network's output is compared with.
    mask : Tensor
        (1, [Z,] Y, X), how much a pixel counts; negative where only a prediction below the target does.
    extras : dict
        Other tensors that `Scheme.targets` needs; images (C, [Z,] Y, X) are turned with the patch, numbers are not.
    """

    noisy: Tensor
    target: Tensor
    mask: Tensor
    extras: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """N turned samples.

    Attributes
    ----------
    noisy : Tensor
        (N, C, [Z,] Y, X), with the margin.
    target, mask : Tensor
        (N, 1, [Z,] Y, X), without the margin.
    orientation : Tensor
        (N,), the symmetry (0..7) by which the patch was turned, and so the PSF of its sample.
    extras : dict
        As of the samples, with the margin.
    """

    noisy: Tensor
    target: Tensor
    mask: Tensor
    orientation: Tensor
    extras: dict[str, Tensor] = field(default_factory=dict)

    @property
    def recorded(self) -> Tensor:
        """The mask for an image of what the camera records on average, saturated pixels included."""
        return self.mask.abs()

    def part(self, samples: slice) -> "Batch":
        """Some of the samples."""
        return Batch(
            self.noisy[samples], self.target[samples], self.mask[samples], self.orientation[samples],
            {name: tensor[samples] for name, tensor in self.extras.items()},
        )  # fmt: skip


class Source(Protocol):
    """Where batches come from."""

    size: Shape

    def draw(self, batch: int, position_rng: torch.Generator, noise_rng: torch.Generator) -> Batch:
        """A batch of training samples."""

    def held_out(self, seed: int, most: int) -> Batch | None:
        """Samples that are judged at validations."""


class Comparison(NamedTuple):
    """What the loss compares for one output.

    Attributes
    ----------
    prediction : Tensor
        (N, 1, [Z,] Y, X).
    targets : list of (float, Tensor)
        Weights and what the prediction is compared with, each of the prediction's shape.
    mask : Tensor
        Of the prediction's shape.
    blurred : bool
        Whether the prediction went through the PSF: its residual then goes through the Wiener filter.
    """

    prediction: Tensor
    targets: list[tuple[float, Tensor]]
    mask: Tensor
    blurred: bool = False


class Scheme(BaseModel):
    """How a network learns without clean images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    for_volumes_only: ClassVar[bool] = False
    judgements: ClassVar[int] = 1  # samples of each held-out tile: more where few of its pixels are compared
    of_raw_frames: ClassVar[bool] = False  # of structured illumination, which other methods do not take
    sees_neighbours: ClassVar[bool] = False  # of a frame in a movie: its window holds them, too, as channels
    reconstructs: ClassVar[bool] = False  # the network sees another image than the camera; `view` leaves it as it is
    correlated_noise_remedy: ClassVar[str] = ""  # what it does about noise that pixels share, if not the usual

    @property
    def method(self) -> str:
        """What papers call it: a key of `zsd_export.package.credits.CITATIONS`."""
        return "ZS-DeconvNet"

    @property
    def needs_psf(self) -> bool:
        """Whether a PSF has a meaning for it."""
        return True

    def choices(self, preset: str, axes: str) -> dict[str, Any]:  # noqa: ARG002
        """Keys of `TrainConfig` that have another default with this scheme; a network as a dictionary."""
        return {}

    def check_network(self, network: Any) -> None:
        """Refuse a network (of `TrainConfig`) that cannot learn by this scheme.

        Raises
        ------
        InputError
        """

    def chosen(self, noise: NoiseModel, axes: str) -> "Scheme":  # noqa: ARG002
        """The scheme for images with this noise."""
        return self

    def stride(self, axes: str) -> Stride:
        """How many pixels of the image one pixel of a patch stands for, axis by axis; a half where it is finer."""
        return (1,) * len(axes)

    def halo(self, axes: str) -> Shape:
        """Pixels of the image that `sample` needs around a patch and its margin, and leaves out of the sample."""
        return (0,) * len(axes)

    def dark_level(self, noise: NoiseModel) -> float:
        """What the network sees where there is no light, counts."""
        return noise.offset

    def channels(self, image: Counts) -> int:
        """How many channels the network sees of an image (C, [Z,] Y, X)."""
        return len(self.view(image[(slice(None), *(slice(1) for _ in image.shape[1:]))]))

    def psf(self, psf: NDArray[np.float64]) -> NDArray[np.float64]:
        """The PSF ([Z,] Y, X) on the grid of a patch, from that on the grid of the image."""
        return psf

    def view(self, counts: Counts) -> Counts:
        """What the network sees of an image (C, [Z,] Y, X) when it restores it; counts, (C', [Z,] Y, X)."""
        return counts

    def sample(self, window: Window, chance: Chance, noise_rng: Any) -> Sample:
        """One training sample; `noise_rng` is a torch.Generator on the device of the image."""
        raise NotImplementedError

    def targets(self, batch: Batch, first_stage: Callable[[Tensor], Tensor] | None) -> list[tuple[float, Tensor]]:  # noqa: ARG002
        """What outputs are compared with, and the weight of each comparison.

        `first_stage` is the network's first stage while it learns, and None at validation.
        """
        return [(1.0, batch.target)]

    def compare(
        self, restored: Any, batch: Batch, forward: Forward, first_stage: Callable[[Tensor], Tensor] | None = None
    ) -> dict[str, Comparison]:
        """What is compared, by output: a denoised image as it is, a deconvolved one after the PSF (eq. 5 and 6)."""
        targets = self.targets(batch, first_stage)
        compared = {}
        if "denoised" in restored._fields:
            compared["denoised"] = Comparison(crop(restored.denoised, forward.margin), targets, batch.recorded)
        if "deconvolved" in restored._fields:
            image = forward(restored.deconvolved, batch.orientation)
            compared["deconvolved"] = Comparison(image, targets, batch.mask, blurred=True)
        return compared

    def penalty(self, restored: Any, batch: Batch, std: Callable[[Tensor], Tensor] = torch.std) -> Tensor | None:  # noqa: ARG002
        """A term of the loss that asks something of the outputs themselves; None for nothing.

        `std` is the standard deviation of a tensor of this and all other parts of the batch (`Group.std`).
        """
        return None


def scheme_from(value: Any) -> Any:
    """A scheme from its kind, or from a dictionary of its kind and its choices; others are left as they are."""
    choices = {"kind": value} if isinstance(value, str) else value
    if not isinstance(choices, dict):
        return value
    try:
        return scheme_class(choices.get("kind")).model_validate(choices)
    except ValidationError as error:
        found = [
            (".".join(map(str, e["loc"])), e["input"], e["msg"].removeprefix("Value error, ")) for e in error.errors()
        ]
        raise ValueError("; ".join(f"{key} = {value!r}: {message}" for key, value, message in found)) from None


def scheme_class(kind: Any) -> type[Scheme]:
    """The scheme of a kind, among those whose modules are imported.

    Raises
    ------
    InputError
        When there is none.
    """
    known = {cls.model_fields["kind"].default: cls for cls in _subclasses(Scheme)}
    if not isinstance(kind, str) or kind not in known:
        raise InputError(f"scheme {kind!r} is not known", f"choose one of {', '.join(sorted(known))}", option="scheme")
    return known[kind]


def _subclasses(cls: type[Scheme]) -> list[type[Scheme]]:
    return [found for child in cls.__subclasses__() for found in (child, *_subclasses(child))]
