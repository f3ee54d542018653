"""Where a PSF comes from: a file, theory, or a Gaussian. A run saves this, so that its PSF can be made again."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from zsd_optics.inputs import read_sized
from zsd_runtime.errors import InputError
from zsd_runtime.images import Voxel, open_image
from zsd_runtime.notices import Notice, no_notice
from zsd_runtime.sizes import required

# A generated PSF reaches at least so far along Z, to either side: light from further away is too spread out to matter.
REACH_UM = 2.0
SIDE_PX = 65  # of a generated PSF, in Y and X, at least
Kernel = NDArray[np.float64]


MOST_SIGMA = 50  # raw pixels; `gaussian_psf` takes twice as many of the finer grid


@dataclass(frozen=True)
class PsfFile:
    """A PSF from an image file.

    Parameters
    ----------
    path : path
        (Y, X) or (Z, Y, X); planes use the focal plane of a 3D PSF.
    pixel_size_um, z_step_um : float
        Replace what the file says.
    centre : bool
        Accept an even size, and a peak far from the middle.
    channel : int
        Which channel of a file that holds several, from 0.
    sha256 : str
        Of the file when this was saved (`to_dict`).
    """

    kind: ClassVar[str] = "file"
    path: Path
    pixel_size_um: float | None = None
    z_step_um: float | None = None
    centre: bool = False
    channel: int | None = None
    sha256: str | None = None

    def slices(self) -> int:
        """How many slices it has; frames count, too, for a PSF has none."""
        image = open_image(self.path)
        return max([1, *(n for a, n in zip(image.axes, image.data.shape, strict=True) if a in "TZ")])

    def kernel(self, axes: str, voxel: Voxel, grid_factor: int, notice: Notice = no_notice) -> Kernel:
        """The PSF on the deconvolved grid; see `PsfSource`."""
        from zsd_optics.psf import prepare_psf

        if self.sha256 and self.sha256 != _sha256(self.path):
            raise InputError(f"{self.path} has changed since it was described", "give the file that it was")
        fine = _fine_voxel(axes, voxel, grid_factor)
        given = Voxel.square(self.pixel_size_um, self.z_step_um)
        psf, own = read_sized(self.path, given, "psf_", needs_z_step=axes == "zyx", channel=self.channel, notice=notice)
        return prepare_psf(psf, own, fine, centre=self.centre, name=str(self.path), notice=notice)

    def to_dict(self) -> dict[str, Any]:
        """As TOML or JSON can hold it."""
        return _to_dict(self) | {"path": str(self.path), "sha256": self.sha256 or _sha256(self.path)}


@dataclass(frozen=True)
class PsfOptics:
    """A widefield PSF from theory, without aberrations.

    Parameters
    ----------
    na : float
        Numerical aperture.
    wavelength_nm : float
        Of the emission.
    refractive_index : float
        Of immersion and sample.
    """

    kind: ClassVar[str] = "optics"
    na: float
    wavelength_nm: float
    refractive_index: float = 1.515

    def kernel(self, axes: str, voxel: Voxel, grid_factor: int, notice: Notice = no_notice) -> Kernel:
        """The PSF on the deconvolved grid; see `PsfSource`."""
        from zsd_optics.optics import Optics
        from zsd_optics.psf import prepare_psf

        *z_step, pixel_size = _fine_voxel(axes, voxel, grid_factor)
        optics = Optics(self.na, self.wavelength_nm, self.refractive_index)
        first_zero, period = 2 * optics.nyquist_um[0], 2 * optics.nyquist_um[1]  # on the axis; λ/(2 NA), 1 FWHM
        slices = [2 * round(max(REACH_UM, first_zero) / step) + 1 for step in z_step]
        side = max(SIDE_PX, 2 * round(2 * period / pixel_size) + 1)
        fine = (*z_step, pixel_size)
        psf = optics.psf((*slices, side, side), fine)
        return prepare_psf(psf, fine, fine, name="the generated PSF", notice=notice)

    def to_dict(self) -> dict[str, Any]:
        """As TOML or JSON can hold it."""
        return _to_dict(self)


@dataclass(frozen=True)
class PsfGaussian:
    """A Gaussian PSF.

    Parameters
    ----------
    sigma_px : tuple of float
        Standard deviations in raw pixels: one for Y and X, and before it one for Z if the images are volumes.
    """

    kind: ClassVar[str] = "gaussian"
    sigma_px: tuple[float, ...]

    def kernel(self, axes: str, voxel: Voxel, grid_factor: int, notice: Notice = no_notice) -> Kernel:  # noqa: ARG002
        """The PSF on the deconvolved grid; see `PsfSource`. A Gaussian needs no voxel size."""
        from zsd_optics.psf import gaussian_psf

        given = "x".join(f"{sigma:g}" for sigma in self.sigma_px)
        if not all(0 < sigma < MOST_SIGMA for sigma in self.sigma_px):
            raise InputError(
                f"`psf_sigma` {given} must be above 0 and below {MOST_SIGMA} raw pixels",
                "a sharp image has about 1", option="psf_sigma",
            )  # fmt: skip
        if len(self.sigma_px) != len(axes) - 1:
            two = "two with an x between, ZxYX, for instance 1.5x1.1"
            expected = two if axes == "zyx" else "one number, for instance 1.2"
            kind = "volumes" if axes == "zyx" else "planes"
            raise InputError(
                f"the images are {kind}, so `psf_sigma` {given} must be {expected} (raw pixels)",
                "correct it, or say with `axes` what the images are", option=("psf_sigma", "axes"),
            )  # fmt: skip
        *z, lateral = self.sigma_px
        return gaussian_psf(*z, lateral * grid_factor)

    def to_dict(self) -> dict[str, Any]:
        """As TOML or JSON can hold it."""
        return _to_dict(self) | {"sigma_px": list(self.sigma_px)}


# What they have in common: `kernel(axes, voxel, grid_factor, notice)` makes the PSF ([Z,] Y, X) for images with `axes`
# ("yx" or "zyx") and raw `voxel`, on a grid `grid_factor` times as fine in Y and X: odd-sized, centred, sums to 1.
# `notice` gets a sentence for everything that a user should know of it.
PsfSource = PsfFile | PsfOptics | PsfGaussian


def psf_source_from_dict(values: dict[str, Any]) -> PsfSource:
    """The inverse of `to_dict`."""
    fields = {key: value for key, value in values.items() if key != "kind"}
    match values.get("kind"):
        case PsfFile.kind:
            return PsfFile(**fields | {"path": Path(fields["path"])})
        case PsfOptics.kind:
            return PsfOptics(**fields)
        case PsfGaussian.kind:
            return PsfGaussian(tuple(fields["sigma_px"]))
    raise InputError(f"a PSF of kind {values.get('kind')!r} is unknown", "it must be file, optics or gaussian")


def _fine_voxel(axes: str, voxel: Voxel, grid_factor: int) -> tuple[float, ...]:
    """(pixel size,) or (z step, pixel size) of the deconvolved grid, µm."""
    otherwise = ", or use `psf_sigma`"
    fine = (required(voxel.x_um, "pixel_size", "the image", otherwise) / grid_factor,)
    return fine if axes == "yx" else (required(voxel.z_um, "z_step", "the volume", otherwise), *fine)


def _to_dict(source: PsfSource) -> dict[str, Any]:
    """Its kind and fields; TOML has no null, so what is not given is left out."""
    return {"kind": source.kind} | {key: value for key, value in asdict(source).items() if value is not None}


def _sha256(path: Path) -> str:
    """Of a file, or of all files of a Zarr folder."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
