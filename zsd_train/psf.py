"""Point spread functions: read, generate, resample to the training grid, centre, crop.

A PSF for training is sampled on the *deconvolved* grid, odd-sized with its centre on the middle pixel,
non-negative, and sums to 1, so that blurring conserves flux.
"""

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from zsd_runtime.errors import InputError

KEPT_ENERGY = 0.99  # share of the flux inside the crop; the Airy tail falls so slowly that 0.999 needs 6 x the width


def widefield_psf(
    na: float,
    wavelength_nm: float,
    pixel_size_um: float,
    refractive_index: float = 1.515,
    radius_px: int = 32,
) -> NDArray[np.float64]:
    """In-focus widefield PSF by scalar diffraction theory (Gibson & Lanni 1992, through psfmodels).

    Parameters
    ----------
    na : float
        Numerical aperture; must stay below `refractive_index`.
    wavelength_nm : float
        Emission wavelength, nm.
    pixel_size_um : float
        Pixel size of the returned array, µm.
    refractive_index : float
        Of the immersion medium and the sample (no aberration is modelled).
    radius_px : int
        The result is ``2 * radius_px + 1`` square.

    Returns
    -------
    ndarray
        (Y, X), sums to 1.

    Raises
    ------
    InputError
        When a value is outside what optics allows.
    """
    import psfmodels

    if not 0 < na < refractive_index:
        raise InputError(
            f"NA {na} must be above 0 and below the refractive index {refractive_index}: pass the objective's NA, "
            "or the refractive index of its immersion medium with --refractive-index"
        )
    if not 200 <= wavelength_nm <= 2000:
        raise InputError(f"wavelength {wavelength_nm} nm is not light: give nanometres, for instance 525")
    if pixel_size_um <= 0:
        raise InputError(f"pixel size {pixel_size_um} µm must be above 0")
    n = refractive_index
    psf = psfmodels.make_psf(
        [0.0], 2 * radius_px + 1, dxy=pixel_size_um, NA=na, wvl=wavelength_nm / 1000,
        ns=n, ni=n, ni0=n, ng=n, ng0=n, model="scalar",
    )[0]  # fmt: skip
    return _unit_sum(np.asarray(psf, np.float64))


def gaussian_psf(sigma_px: float) -> NDArray[np.float64]:
    """Gaussian PSF of standard deviation `sigma_px` (pixels of the returned grid), cut at 4 σ; (Y, X), sums to 1."""
    if not 0 < sigma_px < 100:
        raise InputError(f"PSF sigma {sigma_px} px must be above 0 and below 100 pixels")
    radius = max(1, int(np.ceil(4 * sigma_px)))
    x = np.arange(-radius, radius + 1)
    line = np.exp(-0.5 * (x / sigma_px) ** 2)
    return _unit_sum(np.outer(line, line))


def prepare_psf(
    psf: NDArray[np.generic],
    psf_pixel_size_um: float,
    pixel_size_um: float,
    *,
    centre: bool = False,
    name: str = "the PSF",
) -> NDArray[np.float64]:
    """Turn a measured or generated PSF into one for training.

    The focal plane of a 3D PSF is taken, the background (median of its rim) removed, the peak brought to the
    centre and the array resampled to `pixel_size_um` in one interpolation, then cropped to the radius that
    holds 99 % of the flux.

    Parameters
    ----------
    psf : ndarray
        (Y, X) or (Z, Y, X), any real dtype, odd-sized in Y and X unless `centre`.
    psf_pixel_size_um, pixel_size_um : float
        Pixel size of `psf`, and of the deconvolved grid that it is brought to, µm.
    centre : bool
        Accept even sizes and a peak far from the middle.
    name : str
        What error messages call it.

    Returns
    -------
    ndarray
        (Y, X), odd-sized, non-negative, sums to 1.
    """
    plane = _focal_plane(_checked(np.asarray(psf), name, centre))
    plane = plane - np.median(_rim(plane))
    centroid = _centroid(plane)
    middle = (np.asarray(plane.shape) - 1) / 2
    if not centre and np.abs(centroid - middle).max() > 0.1 * min(plane.shape) + 1:
        raise InputError(
            f"{name} has its peak at y {centroid[0]:.1f}, x {centroid[1]:.1f}, far from its middle "
            f"{middle[0]:.0f}, {middle[1]:.0f}: pass --centre-psf to move it"
        )
    step = pixel_size_um / psf_pixel_size_um
    if step > 1:  # towards a coarser grid: integrate over the new pixel before sampling it
        plane = ndi.gaussian_filter(plane, 0.5 * np.sqrt(step**2 - 1), mode="nearest")
    reach = np.minimum(centroid, np.asarray(plane.shape) - 1 - centroid).min()
    radius = int(reach / step)
    if radius < 1:
        raise InputError(f"{name} has its peak on its border: give a PSF that holds its whole peak")
    offsets = np.arange(-radius, radius + 1) * step
    grid = np.meshgrid(centroid[0] + offsets, centroid[1] + offsets, indexing="ij")
    resampled = ndi.map_coordinates(plane, grid, order=3, mode="nearest")
    return _unit_sum(np.clip(_crop_to_energy(resampled), 0, None))


def _checked(psf: NDArray[np.generic], name: str, centre: bool) -> NDArray[np.float64]:
    if psf.ndim not in (2, 3) or psf.size == 0:
        raise InputError(f"{name} has shape {psf.shape}; a PSF is YX or ZYX")
    if psf.dtype.kind not in "uif":
        raise InputError(f"{name} has dtype {psf.dtype}; a PSF is real numbers")
    y, x = psf.shape[-2:]
    if min(y, x) < 3:
        raise InputError(f"{name} is {y}x{x}; a PSF needs at least 3x3 pixels")
    if (y % 2 == 0 or x % 2 == 0) and not centre:
        odd = f"{y - 1 + y % 2}x{x - 1 + x % 2}"
        raise InputError(
            f"{name} is {y}x{x}; a PSF needs an odd size so that it has a centre pixel: crop it to {odd}, "
            "or pass --centre-psf"
        )
    values = psf.astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{name} contains NaN or infinity: repair the file")
    if values.min() < -0.05 * np.abs(values).max():
        raise InputError(
            f"{name} goes down to {values.min():g}; light is not negative: subtract no more than its floor"
        )
    if values.max() <= values.min():
        raise InputError(f"{name} is constant ({values.max():g}); a PSF has a peak")
    return values


def _focal_plane(psf: NDArray[np.float64]) -> NDArray[np.float64]:
    if psf.ndim == 2:
        return psf
    smooth = ndi.gaussian_filter(psf, (0, 1, 1))
    return psf[int(np.argmax(smooth.max(axis=(1, 2))))]


def _rim(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    inner = np.zeros(plane.shape, bool)
    inner[1:-1, 1:-1] = True
    return plane[~inner]


def _centroid(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre of mass of the peak's upper half: far pixels, however noisy, have no say."""
    smooth = ndi.gaussian_filter(plane, 0.7)
    peak = np.unravel_index(np.argmax(smooth), plane.shape)
    labels, _ = ndi.label(smooth > 0.5 * smooth.max())
    core = np.where(labels == labels[peak], smooth - 0.5 * smooth.max(), 0)
    return np.asarray(ndi.center_of_mass(core))


def _crop_to_energy(psf: NDArray[np.float64]) -> NDArray[np.float64]:
    """Crop to the circle's square that holds KEPT_ENERGY of what rises above the noise of the rim."""
    centre = psf.shape[0] // 2
    y, x = np.indices(psf.shape) - centre
    ring = np.hypot(y, x).round().astype(int)
    count = np.bincount(ring.ravel())[: centre + 1]
    energy = np.bincount(ring.ravel(), psf.ravel())[: centre + 1]
    rim = _rim(psf)
    noise = 1.48 * np.median(np.abs(rim - np.median(rim)))
    lost = energy < 3 * noise * np.sqrt(count)  # rings that noise explains
    lost[:2] = False
    lost[:-1] &= lost[1:]  # one alone may be a dark ring of the Airy pattern
    end = int(np.argmax(lost)) if lost.any() else centre + 1
    share = np.cumsum(energy[:end]) / energy[:end].sum()
    radius = max(1, int(np.argmax(share >= KEPT_ENERGY)))
    return psf[centre - radius : centre + radius + 1, centre - radius : centre + radius + 1]


def _unit_sum(psf: NDArray[np.float64]) -> NDArray[np.float64]:
    return psf / psf.sum()
