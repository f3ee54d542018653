"""PSFs from theory: widefield, confocal and light-sheet, for an objective without aberrations."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from zsd_runtime.errors import InputError, size_text

Array = NDArray[np.float64]
Model = Literal["scalar", "vectorial"]
Kind = Literal["widefield", "confocal", "light-sheet"]


@dataclass(frozen=True)
class Optics:
    """An objective whose immersion matches the sample, and the light that it collects.

    Parameters
    ----------
    na : float
        Numerical aperture, below `refractive_index`.
    wavelength_nm : float
        Of the emission.
    refractive_index : float
        Of immersion, coverslip and sample.
    model : {"scalar", "vectorial"}
        Scalar (Gibson & Lanni 1992), or vectorial (Aguet et al. 2009), which is more accurate above NA 1.

    Raises
    ------
    InputError
        When a value is outside what optics allows.
    """

    na: float
    wavelength_nm: float
    refractive_index: float = 1.515
    model: Model = "scalar"

    def __post_init__(self) -> None:
        if not 0 < self.na < self.refractive_index:
            raise InputError(
                f"NA {self.na} must be above 0 and below the refractive index {self.refractive_index}",
                "correct `na`, or set `refractive_index` to that of the immersion medium",
                option=("na", "refractive_index"),
            )
        if not 200 <= self.wavelength_nm <= 2000:
            raise InputError(
                f"wavelength {self.wavelength_nm} nm is not light", "give nanometres, for instance 525",
                option="wavelength",
            )  # fmt: skip
        if self.model not in get_args(Model):
            raise InputError(f"model {self.model!r} must be {' or '.join(get_args(Model))}", option="model")

    @property
    def nyquist_um(self) -> tuple[float, float]:
        """The largest z step and pixel size (µm) that sample a widefield image fully: half its shortest period."""
        n, um = self.refractive_index, self.wavelength_nm / 1000
        return um / (2 * (n - np.sqrt(n**2 - self.na**2))), um / (4 * self.na)

    def psf(self, shape: tuple[int, ...], voxel_um: tuple[float, ...]) -> Array:
        """Widefield PSF by psfmodels, integrated over each pixel.

        Parameters
        ----------
        shape : tuple of int
            (Y, X) of the focal plane, or (Z, Y, X); Y and X equal.
        voxel_um : tuple of float
            (pixel size,) or (z step, pixel size), µm.

        Returns
        -------
        ndarray
            `shape`, sums to 1, focus in the middle.
        """
        import psfmodels

        _check_voxel(voxel_um)
        *z_step, pixel_size = voxel_um
        slices = shape[0] if z_step else 1
        z = (np.arange(slices) - slices // 2) * (z_step[0] if z_step else 0.0)
        n = self.refractive_index
        psf = psfmodels.make_psf(
            z.tolist(), shape[-1], dxy=pixel_size, NA=self.na, wvl=self.wavelength_nm / 1000,
            ns=n, ni=n, ni0=n, ng=n, ng0=n, model=self.model,
        )  # fmt: skip
        return np.asarray(psf / psf.sum(), np.float64).reshape(shape)


def widefield_psf(
    na: float,
    wavelength_nm: float,
    pixel_size_um: float,
    refractive_index: float = 1.515,
    radius_px: int = 32,
) -> Array:
    """In-focus widefield PSF by scalar theory, (Y, X), ``2 * radius_px + 1`` square, sums to 1; see `Optics`."""
    return Optics(na, wavelength_nm, refractive_index).psf((2 * radius_px + 1,) * 2, (pixel_size_um,))


def generate_psf(
    optics: Optics,
    shape: tuple[int, ...],
    voxel_um: tuple[float, ...],
    kind: Kind = "widefield",
    *,
    sheet_um: float | None = None,
    pinhole_au: float | None = None,
    excitation_nm: float | None = None,
) -> Array:
    """PSF of a widefield, confocal or light-sheet microscope.

    Parameters
    ----------
    optics : Optics
        Of the detection.
    shape : tuple of int
        (Y, X) or (Z, Y, X), odd; Y and X equal.
    voxel_um : tuple of float
        (pixel size,) or (z step, pixel size), µm; at most `Optics.nyquist_um`.
    kind : {"widefield", "confocal", "light-sheet"}
        Confocal: excitation × (detection ∗ pinhole), Sheppard & Wilson 1978. Light-sheet: detection × the sheet, a
        Gaussian along Z.
    sheet_um : float
        FWHM of the light sheet.
    pinhole_au : float
        Diameter of the confocal pinhole in Airy units of 1.22 λ/NA (emission); default 1.
    excitation_nm : float
        Wavelength of the confocal excitation; default: that of the emission.

    Returns
    -------
    ndarray
        `shape`, sums to 1, its maximum in the middle.

    Raises
    ------
    InputError
        When a value is outside what optics allows, the grid is too coarse, or an option is for another kind.
    """
    if kind not in get_args(Kind):
        raise InputError(f"kind {kind!r} must be {', '.join(get_args(Kind))}", option="kind")
    if (sheet_um is not None) != (kind == "light-sheet"):
        raise InputError(
            f"sheet thickness {sheet_um} for a {kind} PSF", "light-sheet needs its FWHM, others have none",
            option="sheet_thickness",
        )  # fmt: skip
    if kind != "confocal" and (pinhole_au, excitation_nm) != (None, None):
        raise InputError(
            f"a {kind} PSF has neither pinhole nor focused excitation", "they are for confocal",
            option=("pinhole", "excitation"),
        )  # fmt: skip
    _check_grid(optics, shape, voxel_um)
    if kind == "confocal":
        psf = _confocal(optics, shape, voxel_um, 1.0 if pinhole_au is None else pinhole_au, excitation_nm)
    else:
        psf = optics.psf(shape, voxel_um)
        if sheet_um is not None and len(shape) == 3:
            psf = psf * light_sheet(sheet_um, shape[0], voxel_um[0])
    return psf / psf.sum()


def _confocal(
    optics: Optics, shape: tuple[int, ...], voxel_um: tuple[float, ...], pinhole_au: float, excitation_nm: float | None
) -> Array:
    if not 0 <= pinhole_au <= 100:
        raise InputError(f"pinhole {pinhole_au} must be 0 to 100 Airy units", option="pinhole")
    radius = pinhole_au / 2 * 1.22 * optics.wavelength_nm / 1000 / optics.na / voxel_um[-1]  # px
    pad = int(np.ceil(radius))
    r = np.arange(-pad, pad + 1)
    pinhole = np.clip(radius + 0.5 - np.hypot(r[:, None], r), 0, 1)  # pixels on its edge count in part
    detection = optics.psf((*shape[:-2], shape[-2] + 2 * pad, shape[-1] + 2 * pad), voxel_um)
    detected = fftconvolve(detection, pinhole.reshape((1,) * (len(shape) - 2) + pinhole.shape), "valid", axes=(-2, -1))
    excitation = Optics(optics.na, excitation_nm or optics.wavelength_nm, optics.refractive_index, optics.model)
    return excitation.psf(shape, voxel_um) * np.clip(detected, 0, None)


def light_sheet(fwhm_um: float, slices: int, z_step_um: float) -> Array:
    """A light sheet's intensity at each slice (Z, 1, 1): a Gaussian along Z, in focus in the middle slice."""
    if not fwhm_um > 0:
        raise InputError(f"sheet thickness {fwhm_um} µm must be above 0", "give its FWHM", option="sheet_thickness")
    z = (np.arange(slices) - slices // 2) * z_step_um
    return np.exp(-4 * np.log(2) * (z / fwhm_um) ** 2).reshape(-1, 1, 1)


def _check_voxel(voxel_um: tuple[float, ...]) -> None:
    for size, name in zip(voxel_um[::-1], ("pixel size", "z step"), strict=False):
        if not size > 0:
            raise InputError(f"{name} {size} µm must be above 0")


def _check_grid(optics: Optics, shape: tuple[int, ...], voxel_um: tuple[float, ...]) -> None:
    _check_voxel(voxel_um)
    size = size_text(shape)
    if len(shape) != len(voxel_um) + 1:
        raise InputError(f"size {size} must be YxX without a z step, ZxYxX with one")
    if shape[-1] != shape[-2] or min(shape[-2:]) < 3 or any(n % 2 == 0 for n in shape) or np.prod(shape) > 2**28:
        raise InputError(f"size {size} must be odd, equal in Y and X and at least 3x3, so that it has a centre pixel")
    bounds = optics.nyquist_um[-len(voxel_um) :]
    formulas = ("λ/(2(n − √(n² − NA²)))", "λ/(4 NA)")[-len(voxel_um) :]
    names = ("z step", "pixel size")[-len(voxel_um) :]
    for given, bound, formula, name in zip(voxel_um, bounds, formulas, names, strict=True):
        if given > bound:
            raise InputError(
                f"{name} {given:g} µm is coarser than Nyquist's {formula} = {bound:.4g} µm",
                "generate the PSF on a finer grid; it is resampled where it is used",
            )
