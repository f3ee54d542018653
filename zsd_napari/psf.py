"""How a person describes a PSF in a widget, and the kernel that it becomes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_optics.psf_source import PsfFile, PsfGaussian, PsfOptics
from zsd_runtime.errors import InputError
from zsd_runtime.images import Voxel
from zsd_runtime.notices import Notice, no_notice
from zsd_runtime.sizes import required


@dataclass(frozen=True)
class PsfLayer:
    """A PSF from another layer.

    Attributes
    ----------
    name : str
    pixels : ndarray
        (Y, X) or (Z, Y, X).
    voxel : Voxel
        Of the layer, µm.
    """

    name: str
    pixels: NDArray[Any]
    voxel: Voxel

    def kernel(self, axes: str, voxel: Voxel, grid_factor: int, notice: Notice = no_notice) -> NDArray[np.float64]:
        """The PSF on the deconvolved grid; see `zsd_optics.psf_source.PsfSource`."""
        from zsd_optics.psf import prepare_psf

        if self.pixels.ndim not in (2, 3):
            raise InputError(
                f"the PSF layer {self.name} has {self.pixels.ndim} axes", "a PSF is YX or ZYX", option="psf_layer"
            )

        def sizes(of: Voxel, what: str) -> tuple[float, ...]:
            otherwise = ", or describe the PSF by its σ"
            pixel = required(of.x_um, "pixel_size", what, otherwise)
            return (required(of.z_um, "z_step", what, otherwise), pixel) if axes == "zyx" else (pixel,)

        *z, pixel = sizes(voxel, "the image")
        own = sizes(self.voxel, f"the PSF layer {self.name}")
        if axes == "yx" and self.pixels.ndim == 3 and self.voxel.z_um:
            own = (self.voxel.z_um, *own)
        return prepare_psf(
            self.pixels, own, (*z, pixel / grid_factor), name=f"the PSF layer {self.name}", notice=notice
        )

    def to_dict(self) -> None:
        """A layer cannot be made again from a run."""


Psf = PsfOptics | PsfFile | PsfGaussian | PsfLayer
