"""Point spread functions: measure, resample to the training grid, centre, crop.

A PSF for training is sampled on the *deconvolved* grid. It is odd-sized with its centre on the middle pixel,
non-negative, and sums to 1, so that blurring conserves flux. PSFs come from theory (`optics`), from images of beads
(`beads`) or from files of transfer functions (`otf`).
"""

from functools import reduce

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from zsd_optics.optics import widefield_psf
from zsd_runtime.errors import InputError

__all__ = ["fwhm_px", "gaussian_psf", "prepare_psf", "widefield_psf"]

Array = NDArray[np.float64]
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
) -> Array:
    """Turn a measured or generated PSF into one for training.

    Subtracts the background (median of the rim). Moves the peak to the centre and resamples to `voxel_um` in one step,
    which conserves flux. Crops to 99 % of the flux in Y and X, and in Z. Training on planes uses the focal plane of a
    3D PSF.

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

    Returns
    -------
    ndarray
        (Y, X), or (Z, Y, X) if `voxel_um` has a z step; odd-sized, non-negative, sums to 1.

    Raises
    ------
    InputError
        When it is no PSF, or off-centre; when it is narrower than `NYQUIST_FWHM_PX` and the new grid is finer; or when
        it is narrower in Z than in Y and X.
    """
    values = _checked(psf, name)
    if np.size(voxel_um) == 2:
        if psf.ndim == 2 or np.size(psf_voxel_um) == 1:
            raise InputError(
                f"{name} is {_by(psf.shape)} with voxels of {_by(psf_voxel_um)} µm; a volume with "
                f"voxels of {_by(voxel_um)} µm needs a PSF that has Z, and its z step"
            )
    else:
        values = _focal_plane(values)
    _check_size(values, name, centre)
    old, new = _per_axis(psf_voxel_um)[-values.ndim :], _per_axis(voxel_um)
    values = without_background(values)
    peak = centroid(values)
    middle = (np.asarray(values.shape) - 1) / 2
    if not centre and np.any(np.abs(peak - middle) > 0.1 * np.asarray(values.shape) + 1):
        raise InputError(
            f"{name} has its peak at {_position(peak)}, far from its middle {_position(middle)}",
            "set `centre_psf` to move it there", option="centre_psf",
        )  # fmt: skip
    _check_sampling(values, old, new, name)
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


def fwhm_px(psf: Array) -> Array:
    """Full width at half maximum of a PSF without background, pixels, for each axis.

    Measured between the points where a cubic spline along the line through the brightest voxel crosses half of its
    maximum; infinite if it does not cross it within the array.
    """
    return np.array([_half_width(line) for line, _ in lines_through_peak(psf)])


def lines_through_peak(psf: Array) -> list[tuple[Array, int]]:
    """For each axis the values on the line through the brightest voxel, and the position of that voxel on it."""
    peak = [int(place) for place in np.unravel_index(np.argmax(psf), psf.shape)]

    def line(axis: int) -> Array:
        return psf[tuple(slice(None) if a == axis else place for a, place in enumerate(peak))]

    return [(line(axis), place) for axis, place in enumerate(peak)]


def _half_width(line: Array) -> float:
    per_px = 100
    x = np.linspace(0, line.size - 1, per_px * (line.size - 1) + 1)
    fine = CubicSpline(np.arange(line.size), line)(x)
    top = int(np.argmax(fine))
    below = np.flatnonzero(fine < fine[top] / 2)
    left, right = below[below < top], below[below > top]
    return float(right[0] - left[-1]) / per_px if left.size and right.size else np.inf


def without_background(psf: NDArray[np.generic]) -> Array:
    """The PSF minus the median of the faces of its array."""
    values = psf.astype(np.float64)
    return values - np.median(_rim(values))


def _rim(psf: Array) -> Array:
    inner = np.zeros(psf.shape, bool)
    inner[(slice(1, -1),) * psf.ndim] = True
    return psf[~inner]


def centroid(psf: Array) -> Array:
    """Centre of mass of the peak's upper half: distant pixels, however noisy, have no influence."""
    smooth = ndi.gaussian_filter(psf, 0.7)
    peak = np.unravel_index(np.argmax(smooth), psf.shape)
    labels, _ = ndi.label(smooth > 0.5 * smooth.max())
    core = np.where(labels == labels[peak], smooth - 0.5 * smooth.max(), 0)
    return np.asarray(ndi.center_of_mass(core))


def _checked(psf: NDArray[np.generic], name: str) -> Array:
    if psf.ndim not in (2, 3) or psf.size == 0:
        raise InputError(f"{name} has shape {psf.shape}; a PSF is YX or ZYX")
    if psf.dtype.kind not in "uif":
        raise InputError(f"{name} has dtype {psf.dtype}; a PSF is real numbers")
    values = psf.astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{name} contains NaN or infinity", "repair the file")
    if values.min() < -0.05 * np.abs(values).max():
        raise InputError(
            f"{name} has values down to {values.min():g}; light is not negative", "subtract no more than its background"
        )
    return values


def _check_size(psf: Array, name: str, centre: bool) -> None:
    size = _by(psf.shape)
    if min(psf.shape) < 3:
        raise InputError(f"{name} is {size}; a PSF needs at least {_by((3,) * psf.ndim)} pixels")
    if any(n % 2 == 0 for n in psf.shape) and not centre:
        odd = _by(tuple(n - 1 + n % 2 for n in psf.shape))
        raise InputError(
            f"{name} is {size}; a PSF needs an odd size so that it has a centre pixel",
            f"crop it to {odd}, or set `centre_psf`", option="centre_psf",
        )  # fmt: skip
    if psf.max() <= psf.min():
        raise InputError(f"{name} is constant ({psf.max():g}); a PSF has a peak")


def _check_sampling(psf: Array, voxel_um: Array, new_voxel_um: Array, name: str) -> None:
    width = fwhm_px(psf)
    for axis, px, old, new in zip("ZYX"[-psf.ndim :], width, voxel_um, new_voxel_um, strict=True):
        if px < NYQUIST_FWHM_PX and new < 0.99 * old:
            raise InputError(
                f"{name} has a FWHM of {px:.2f} px along {axis}; resampling it from {old:g} to {new:g} µm needs "
                f"{NYQUIST_FWHM_PX:g} (Nyquist)",
                f"measure or generate it with steps of at most {px * old / NYQUIST_FWHM_PX:.3g} µm",
            )
    if psf.ndim == 3 and width[0] * voxel_um[0] < 0.8 * (lateral := (width * voxel_um)[1:].min()):
        raise InputError(
            f"{name} with voxels of {_by(voxel_um)} µm (ZxYxX) would be {width[0] * voxel_um[0]:.3g} µm deep and "
            f"{lateral:.3g} µm wide, which no objective can do; the volume has voxels of {_by(new_voxel_um)} µm",
            "correct the PSF's z step",
        )


def _per_axis(voxel_um: float | tuple[float, ...]) -> Array:
    """From p to (p, p) for Y, X; from (z, p) to (z, p, p)."""
    *z, pixel_size = np.atleast_1d(voxel_um)
    return np.array([*z, pixel_size, pixel_size])


def _focal_plane(psf: Array) -> Array:
    if psf.ndim == 2:
        return psf
    smooth = ndi.gaussian_filter(psf, (0, 1, 1))
    return psf[int(np.argmax(smooth.max(axis=(1, 2))))]


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
    edge = _rim(psf)
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


def _position(point: Array) -> str:
    return ", ".join(f"{axis} {value:.1f}" for axis, value in zip("zyx"[-point.size :], point, strict=True))
