"""Structured illumination: raw frames are recorrupted, and both copies reconstructed (eq. 10, 11).

The network sees reconstructions, whose noise is correlated over many pixels and modulated by the illumination. No
recorruption of them is independent. That of the raw frames is, for their noise is the camera's; and as the
reconstruction is linear, so are the two images that it makes of the copies. Each patch is reconstructed with the frames
around it, by the parameters of the original.

The deconvolved image is compared after H_SIM, the transfer function of the reconstruction, with its negative lobes.

Published for volumes are odd and even slices of the reconstruction (eq. 13, 14): scheme sim-odd-even. But
reconstruction mixes slices, so that neighbours share most of their noise, and a network learns to keep it.
"""

from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import PrivateAttr

from zsd_optics.noise_model import NoiseModel
from zsd_runtime.errors import InputError
from zsd_runtime.sim.microscope import FACTOR, Sim
from zsd_runtime.sim.reconstruction import AXIAL_HALO, HALO, Reconstruction, reconstruct
from zsd_train.defaults import Shape
from zsd_train.forward import crop
from zsd_train.schemes.odd_even import OddEven
from zsd_train.schemes.recorrupt import Recorrupt
from zsd_train.schemes.scheme import Chance, Counts, Sample, Stride, Window

NETWORKS: dict[tuple[str, str], dict[str, Any]] = {
    ("compact", "yx"): {"kind": "unet", "coarse": True, "grid_factor": 1},
    ("compact", "zyx"): {"kind": "unet", "width": 8, "depth": 2, "head": 8, "grid_factor": 1},
    ("reference", "yx"): {"kind": "unet", "width": 32, "depth": 4, "convs": 3, "head": 128, "grid_factor": 1},
    ("reference", "zyx"): {"kind": "rcan", "grid_factor": 1},
}


class StructuredIllumination(Recorrupt):
    """Input and target are reconstructions of two recorrupted copies of the same raw frames."""

    kind: str = "sim"
    sees_neighbours: ClassVar[bool] = False
    of_raw_frames: ClassVar[bool] = True
    reconstructs: ClassVar[bool] = True
    _sim: Sim | None = PrivateAttr(None)

    @property
    def method(self) -> str:  # noqa: D102
        return "ZS-DeconvNet SIM"

    @property
    def needs_psf(self) -> bool:
        """The transfer function of the reconstruction takes its place."""
        return False

    def with_microscope(self, sim: Sim) -> "StructuredIllumination":
        """The same for the raw frames of an acquisition."""
        scheme = self.model_copy()
        scheme._sim = sim
        return scheme

    @property
    def microscope(self) -> Sim:
        """Whose frames are trained on.

        Raises
        ------
        InputError
            When there is none.
        """
        if self._sim is None:
            raise InputError(
                "scheme sim needs the patterns of the raw frames",
                "give `sim` from zsd_optics.sim.acquisition, or train by the command line", option="sim",
            )  # fmt: skip
        return self._sim

    def choices(self, preset: str, axes: str) -> dict[str, Any]:  # noqa: D102
        return {"network": NETWORKS[preset, axes]}

    def stride(self, axes: str) -> Stride:
        """The network's pixels are those of the reconstruction."""
        return (*(1.0 for _ in axes[:-2]), 1 / FACTOR, 1 / FACTOR)

    def halo(self, axes: str) -> Shape:  # noqa: D102
        return (*(AXIAL_HALO for _ in axes[:-2]), HALO, HALO)

    def dark_level(self, noise: NoiseModel) -> float:  # noqa: ARG002
        """A reconstruction has no offset."""
        return 0.0

    def channels(self, image: Counts) -> int:
        """One, of as many raw frames as the patterns have.

        Raises
        ------
        InputError
            When an image has another number of frames.
        """
        expected = self.microscope.parameters.frames
        if len(image) != expected:
            raise InputError(
                f"an image has {len(image)} raw frames, and its patterns are of {expected}",
                "give the frames (directions · phases, [Z,] Y, X) that the patterns were found in",
            )
        return 1

    def view(self, counts: Counts) -> Counts:
        """The reconstruction; what is one already stays as it is."""
        return counts if len(counts) == 1 else reconstruct(np.asarray(counts[:]), self.microscope)[None]

    def sample(self, window: Window, chance: Chance, noise_rng: Any) -> Sample:  # noqa: D102
        pair = super().sample(window, chance, noise_rng)
        dark = (self.microscope.parameters.offset - window.offset) / window.scale
        shape = tuple(window.image.shape[1:])
        reconstruction = _reconstruction(self.microscope, shape, window.image.device)
        inside = window.inside.to(window.image.device)
        start = tuple(window.start[-2:])
        copies = reconstruction(torch.stack([pair.noisy, pair.target]) - dark, start, inside)
        halo = self.halo("zyx"[-len(shape) :])
        fine_halo = (*halo[:-2], *(FACTOR * n for n in halo[-2:]))
        noisy, target = crop(copies, fine_halo)
        mask = crop(window.mask, halo).clamp(min=0)  # of what saturated frames make, no bound is known
        for axis in (-2, -1):
            mask = mask.repeat_interleave(FACTOR, axis)
        return Sample(noisy[None], target[None], mask[None])


class SimOddEven(OddEven):
    """Odd and even slices of the reconstruction, as published."""

    kind: str = "sim-odd-even"
    of_raw_frames: ClassVar[bool] = True
    correlated_noise_remedy: ClassVar[str] = (
        "and neighbouring slices of a reconstruction share noise, too, which odd and even slices take for structure: "
        "choose `scheme` sim"
    )

    @property
    def method(self) -> str:  # noqa: D102
        return "ZS-DeconvNet SIM"

    @property
    def needs_psf(self) -> bool:
        """The transfer function of the reconstruction takes its place."""
        return False

    def choices(self, preset: str, axes: str) -> dict[str, Any]:  # noqa: D102
        return {"network": NETWORKS[preset, axes]}

    def dark_level(self, noise: NoiseModel) -> float:  # noqa: ARG002
        """A reconstruction has no offset."""
        return 0.0


@lru_cache(8)
def _reconstruction(sim: Sim, shape: Shape, device: torch.device) -> Reconstruction:
    return Reconstruction.of(sim, shape).on(torch, device)
