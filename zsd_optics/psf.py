"""Point spread functions: measure, resample to the training grid, centre, crop.

A PSF for training is sampled on the *deconvolved* grid. It is odd-sized with its centre on the middle pixel,
non-negative, and sums to 1, so that blurring conserves flux. PSFs come from theory (`optics`), from images of beads
(`beads`) or from files of transfer functions (`otf`).
"""

from collections.abc import Callable
from functools import reduce

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from zsd_optics.optics import widefield_psf
from zsd_optics.psf_check import judge_psf, usable
from zsd_optics.psf_measure import Array, centroid, fwhm_px, rim
from zsd_optics.psf_repair import without_bad_pixels
from zsd_runtime.errors import InputError

__all__ = ["fwhm_px", "gaussian_psf", "prepare_psf", "widefield_psf"]

KEPT_ENERGY = 0.99  # share of the flux inside the crop; the Airy tail decays slowly: 0.999 needs 6 x the width
# An objective passes periods down to λ/(2 NA); a point has a FWHM of 0.51 λ/NA: 2 of Nyquist's pixels of λ/(4 NA).
NYQUIST_FWHM_PX = 2.0


def gaussian_psf(*sigma_px: float) -> Array:
    """Gaussian PSF, cut at 4 σ; sums to 1.

    Parameters
    ----------
    sigma_px : float
        Standard deviations in pixels of the returned grid. One, for Y and X, gives (Y, X). Two, for Z and for Y and X,
        give (Z, Y, X).

    Raises
    ------
    InputError
        When one is not above 0 and below 100 pixels.
    """
    for sigma in sigma_px:
        if not 0 < sigma < 100:
            raise InputError(f"PSF sigma {sigma} px must be above 0 and below 100 pixels")
    lines = [_gaussian_line(sigma) for sigma in (*sigma_px, sigma_px[-1])]
    return _unit_sum(reduce(np.multiply.outer, lines))


def _gaussian_line(sigma_px: float) -> Array:
    radius = max(1, int(np.ceil(4 * sigma_px)))
    return np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_px) ** 2)  # type: ignore[no-any-return]


def prepare_psf(
    psf: NDArray[np.generic],
    psf_voxel_um: float | tuple[float, ...],
    voxel_um: float | tuple[float, ...],
    *,
    centre: bool = False,
    name: str = "the PSF",
    notice: Callable[[str], None] = lambda text: None,
) -> Array:
    """Turn a measured or generated PSF into one for training.

    Judges it (`judge_psf`). Subtracts the background (median of the rim). Moves the peak to the centre and resamples
    to `voxel_um` in one step, which conserves flux. Crops to 99 % of the flux in Y and X, and in Z. Training on planes
    uses the focal plane of a 3D PSF.

    Parameters
    ----------
    psf : ndarray
        (Y, X) or (Z, Y, X), any real dtype, odd-sized unless `centre`.
    psf_voxel_um : float or tuple of float
        Voxel size of `psf`, µm: the pixel size for planes, (z step, pixel size) for volumes.
    voxel_um : float or tuple of float
        Voxel size of the deconvolved grid, µm, in the same form.
    centre : bool
        Accept even sizes and a peak far from the middle.
    name : str
        Name of the PSF in error messages.
    notice : callable
        Gets a sentence for everything that makes the PSF doubtful, and for what was repaired.

    Returns
    -------
    ndarray
        (Y, X), or (Z, Y, X) if `voxel_um` has a z step; odd-sized, non-negative, sums to 1.

    Raises
    ------
    InputError
        When it is no PSF, or one with a fault that makes wrong images; or when it is narrower than `NYQUIST_FWHM_PX`
        and the new grid is finer.
    """
    values = usable(psf, name)
    if np.size(voxel_um) == 2:
        if psf.ndim == 2 or np.size(psf_voxel_um) == 1:
            raise InputError(
                f"{name} is {_by(psf.shape)} with voxels of {_by(psf_voxel_um)} µm; a volume with "
                f"voxels of {_by(voxel_um)} µm needs a PSF that has Z, and its z step"
            )
    elif psf.ndim == 3:
        values = _focal_plane(values, name, notice)
    old, new = _per_axis(psf_voxel_um)[-values.ndim :], _per_axis(voxel_um)
    values = judge_psf(values, tuple(old[:-1]), centre=centre, name=name).settled(name, notice)
    peak = centroid(values)
    _check_sampling(values, old, new, name, notice)
    steps = new / old
    reach = np.minimum(peak, np.asarray(values.shape) - 1 - peak) + 0.5
    radii = np.floor(reach / steps - 0.5 + 1e-6).astype(int)
    radii[-2:] = radii[-2:].min()
    if radii.min() < 1:
        raise InputError(f"{name} does not reach over 3 voxels of {_by(new)} µm around its peak: give a larger one")
    return _unit_sum(np.clip(_crop_to_energy(resampled(values, peak, steps, radii)), 0, None))


def resampled(psf: Array, middle: Array, steps: Array, radii: NDArray[np.integer]) -> Array:
    """Integrate a PSF over the voxels of another grid.

    A cubic spline along each axis interpolates the cumulative flux up to the edges of the new voxels; differences of
    it are the new values. No flux is lost between voxels, a coarser grid averages instead of aliasing, and a finer
    grid, binned again, gives the old values.

    Parameters
    ----------
    psf : ndarray
        Any number of axes.
    middle : ndarray
        The point, in old voxels, that becomes the centre of the middle voxel.
    steps : ndarray
        Size of a new voxel in old ones, for each axis.
    radii : ndarray
        The result has ``2 * radii + 1`` voxels.
    """
    for axis, (centre, step, radius) in enumerate(zip(middle, steps, radii, strict=True)):
        flux = np.insert(np.cumsum(psf, axis), 0, 0.0, axis)
        edges = np.arange(psf.shape[axis] + 1) - 0.5
        new_edges = centre + step * (np.arange(2 * radius + 2) - radius - 0.5)
        psf = np.diff(CubicSpline(edges, flux, axis)(new_edges), axis=axis)
    return psf


def with_slices(psf: Array, distance: int) -> Array:
    """The PSF (Z, Y, X) of a stack that has only every `distance`-th slice; odd-sized, sums to 1."""
    middle = (np.asarray(psf.shape) - 1) / 2
    radii = np.array(psf.shape) // 2
    radii[0] = max(1, psf.shape[0] // 2 // distance)
    return _unit_sum(np.clip(resampled(psf, middle, np.array([distance, 1.0, 1.0]), radii), 0, None))


def _check_sampling(psf: Array, voxel_um: Array, new_voxel_um: Array, name: str, notice: Callable[[str], None]) -> None:
    width = fwhm_px(psf)
    for axis, px, old, new in zip("ZYX"[-psf.ndim :], width, voxel_um, new_voxel_um, strict=True):
        if px < NYQUIST_FWHM_PX and new < 0.99 * old:
            raise InputError(
                f"{name} has a FWHM of {px:.2f} px along {axis}; resampling it from {old:g} to {new:g} µm needs "
                f"{NYQUIST_FWHM_PX:g} (Nyquist)",
                f"measure or generate it with steps of at most {px * old / NYQUIST_FWHM_PX:.3g} µm",
            )
    wide = (width * voxel_um)[-2:].max()
    if wide < new_voxel_um[-1]:
        notice(
            f"{name} is {wide:.3g} µm wide, less than a pixel of the deconvolved grid ({new_voxel_um[-1]:g} µm), so "
            "there is no blur to remove: check both pixel sizes"
        )


def _per_axis(voxel_um: float | tuple[float, ...]) -> Array:
    """From p to (p, p) for Y, X; from (z, p) to (z, p, p)."""
    *z, pixel_size = np.atleast_1d(voxel_um)
    return np.array([*z, pixel_size, pixel_size])


def _focal_plane(psf: Array, name: str, notice: Callable[[str], None]) -> Array:
    """The slice with the brightest pixel, which hot pixels must not choose."""
    smooth = ndi.gaussian_filter(without_bad_pixels(psf)[0], (0, 1, 1))
    z = int(np.argmax(smooth.max(axis=(1, 2))))
    if z in (0, len(psf) - 1) and len(psf) > 1:
        end = "first" if z == 0 else "last"
        notice(f"{name} is brightest in its {end} slice, so its focus may be outside: give it with more slices")
    return np.asarray(psf[z])


def _crop_to_energy(psf: Array) -> Array:
    """Crop to KEPT_ENERGY of what exceeds the noise: to a square around a circle in Y and X, and to slices in Z."""
    y, x = (np.arange(n) - n // 2 for n in psf.shape[-2:])
    psf = _cropped(psf, np.hypot(y[:, None], x).round().astype(int), (psf.ndim - 2, psf.ndim - 1))
    if psf.ndim == 3:
        psf = _cropped(psf, np.abs(np.arange(psf.shape[0]) - psf.shape[0] // 2)[:, None, None], (0,))
    return psf


def _cropped(psf: Array, distance: NDArray[np.integer], axes: tuple[int, ...]) -> Array:
    """Crop `axes` at the `distance` from the middle (whole voxels, broadcast) within which KEPT_ENERGY lies."""
    middle = psf.shape[axes[0]] // 2
    ring = np.broadcast_to(distance, psf.shape).ravel()
    count = np.bincount(ring)[: middle + 1]
    energy = np.bincount(ring, psf.ravel())[: middle + 1]
    edge = rim(psf)
    noise = 1.48 * np.median(np.abs(edge - np.median(edge)))
    noisy = energy < 3 * noise * np.sqrt(count)  # rings that noise explains
    noisy[:2] = False
    noisy[:-1] &= noisy[1:]  # a single one may be a dark ring of the Airy pattern
    end = int(np.argmax(noisy)) if noisy.any() else middle + 1
    share = np.cumsum(energy[:end]) / energy[:end].sum()
    radius = max(1, int(np.argmax(share >= KEPT_ENERGY)))
    kept = slice(middle - radius, middle + radius + 1)
    return psf[tuple(kept if axis in axes else slice(None) for axis in range(psf.ndim))]


def _unit_sum(psf: Array) -> Array:
    return psf / psf.sum()


def _by(values: float | tuple[float, ...] | Array) -> str:
    return "x".join(f"{value:g}" for value in np.atleast_1d(values))
