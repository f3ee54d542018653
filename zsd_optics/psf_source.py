"""The PSF of a training, from whichever description of it a person gives: a file, optics, or a Gaussian."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_optics.inputs import agreed
from zsd_runtime.errors import InputError
from zsd_runtime.images import Voxel, read_image

GENERATED_REACH_UM = 2.0  # of a PSF along Z: light from further away is spread too thin to count


def psf_of(
    path: Path | None,
    psf_voxel: Voxel,
    centre: bool,
    sigma: str | None,
    na: float | None,
    wavelength: float | None,
    refractive_index: float,
    voxel: Voxel,
    axes: str,
    grid_factor: int,
) -> NDArray[np.float64]:
    """The PSF on the deconvolved grid from whichever description of it was given."""
    from zsd_optics import psf as make
    from zsd_optics.optics import Optics

    ways: dict[str, Any] = {"--psf": path, "--psf-sigma": sigma, "--na": na}
    chosen = [option for option, value in ways.items() if value is not None]
    if len(chosen) != 1:
        raise InputError(
            f"the PSF is given {'by ' + ' and '.join(chosen) if chosen else 'by nothing'}: "
            "give one of --psf FILE, --psf-sigma PIXELS, or --na with --wavelength"
        )
    if sigma is not None:
        return _gaussian(sigma, axes, grid_factor)
    pixel_size_um = voxel.x_um
    if pixel_size_um is None:
        raise InputError("the image does not say its pixel size: give it with --pixel-size (µm), or use --psf-sigma")
    fine: tuple[float, ...] = (pixel_size_um / grid_factor,)
    if axes == "zyx":
        if voxel.z_um is None:
            raise InputError("the volume does not say its z step: give it with --z-step (µm), or use --psf-sigma")
        fine = (voxel.z_um, *fine)
    if na is not None:
        if wavelength is None:
            raise InputError("--na needs the emission wavelength: add --wavelength (nm)")
        if axes == "yx":
            generated = make.widefield_psf(na, wavelength, fine[0], refractive_index)
        else:
            reach = 2 * round(GENERATED_REACH_UM / fine[0]) + 1
            generated = Optics(na, wavelength, refractive_index).psf((reach, 65, 65), (fine[0], fine[1]))
        return make.prepare_psf(generated, fine, fine, name="the generated PSF")
    assert path is not None
    image = read_image(path)
    if image.axes not in ("YX", "ZYX", "TYX"):
        raise InputError(f"{path} has axes {image.axes}; a PSF is YX or ZYX")
    size = agreed(psf_voxel.x_um, image.voxel.pixel_size_um(str(path)), "--psf-pixel-size", str(path))
    if size is None:
        raise InputError(f"{path} does not say its pixel size: give it with --psf-pixel-size (µm)")
    own: tuple[float, ...] = (size,)
    if axes == "zyx" and image.data.ndim == 3:
        step = agreed(psf_voxel.z_um, image.voxel.z_um, "--psf-z-step", str(path))
        if step is None:
            raise InputError(f"{path} does not say its z step: give it with --psf-z-step (µm)")
        own = (step, size)
    return make.prepare_psf(image.data, own, fine, centre=centre, name=str(path))


def _gaussian(sigma: str, axes: str, grid_factor: int) -> NDArray[np.float64]:
    from zsd_optics.psf import gaussian_psf

    try:
        sigmas = [float(part) for part in sigma.lower().split("x")]
    except ValueError:
        sigmas = []
    if len(sigmas) != len(axes) - 1:
        expected = (
            "one number, for instance 1.2" if axes == "yx" else "two with an x between, ZxYX, for instance 1.5x1.1"
        )
        raise InputError(f"--psf-sigma {sigma} must be {expected} (raw pixels)")
    return gaussian_psf(*sigmas[:-1], sigmas[-1] * grid_factor)
