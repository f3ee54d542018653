"""The transfer functions of structured illumination, from theory."""

import numpy as np
from numpy.typing import NDArray

from zsd_optics.optics import Optics
from zsd_runtime.sim.transfer import Transfer

SAMPLES = 512  # of the radial table, up to the cutoff
AXIAL_REACH_UM = 4.0  # of the PSF along Z, on each side
LATERAL_REACH_UM = 4.0


def planar_transfer(optics: Optics, pixel_size_um: float) -> Transfer:
    """The OTF of a lens in focus without aberrations, and of the camera's pixels (Goodman, Fourier Optics, 6.4)."""
    cutoff = 2 * optics.na / (optics.wavelength_nm / 1000)
    step = cutoff / (SAMPLES - 1)
    rho = np.linspace(0, 1, SAMPLES)
    lens = 2 / np.pi * (np.arccos(rho) - rho * np.sqrt(1 - rho**2))
    return Transfer((lens * np.sinc(rho * cutoff * pixel_size_um))[None], (step,))


def axial_transfer(optics: Optics, excitation_nm: float, spacing_nm: float, voxel_um: tuple[float, float]) -> Transfer:
    """The OTFs of 3-beam illumination: of order 1 with the axial stripes that the beams' interference has.

    Order 1 is the interference of the central beam and one at the angle θ: along Z it is cos(2π z n (1 − cos θ)/λ), and
    it moves with the focus, so that its OTF is that of the PSF times the cosine. Order 2, of the two outer beams, does
    not vary along Z (Gustafsson et al. 2008, eq. 4).

    Parameters
    ----------
    optics : Optics
        Of the detection.
    excitation_nm, spacing_nm : float
        Wavelength, and period of the finest stripes (order 2).
    voxel_um : tuple of float
        (z step, pixel size) of the raw frames.
    """
    z_step, pixel_size = voxel_um
    lateral = pixel_size / 2
    slices = 2 * round(AXIAL_REACH_UM / z_step) + 1
    side = 2 * round(LATERAL_REACH_UM / lateral) + 1
    psf = optics.psf((slices, side, side), (z_step, lateral)).sum(axis=1)  # (Z, X): its spectrum is that at ky = 0
    z_um = (np.arange(slices) - slices // 2) * z_step
    sine = excitation_nm / (2 * spacing_nm) / optics.refractive_index
    axial = optics.refractive_index / (excitation_nm / 1000) * (1 - np.sqrt(1 - min(sine, 1.0) ** 2))
    orders = [psf, psf * np.cos(2 * np.pi * axial * z_um)[:, None], psf]
    frequency = np.fft.fftfreq(side, lateral)
    kept = slice(0, side // 2 + 1)
    tables = [_centred_spectrum(order)[:, kept] * np.sinc(frequency[kept] * lateral) for order in orders]
    values = np.stack(tables) / tables[0][slices // 2, 0]
    return Transfer(values, (1 / (slices * z_step), 1 / (side * lateral)))


def _centred_spectrum(psf: NDArray[np.float64]) -> NDArray[np.float64]:
    """Real spectrum (kz, kx) of a symmetric PSF, kz from negative to positive."""
    spectrum: NDArray[np.float64] = np.fft.fft2(np.fft.ifftshift(psf)).real
    return np.fft.fftshift(spectrum, axes=0)
