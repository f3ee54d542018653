"""The noise of a layer, and a picture of a PSF."""

from dataclasses import asdict
from typing import Any

import numpy as np

from zsd_napari.psf import Psf, PsfLayer
from zsd_napari.source import Source
from zsd_napari.worker import Link, Remote
from zsd_optics.noise import MOST_FRAMES, estimate_noise
from zsd_optics.noise_line import groups, noise_level_function
from zsd_optics.noise_samples import frame, noisy, spatial_samples
from zsd_optics.psf_picture import fwhm_text, psf_picture
from zsd_runtime.images import Voxel

MOST_SIDE = 1024  # pixels of a plane that is measured


def measure_noise(link: Link, source: Source) -> dict[str, Any]:
    """Measure the noise of some planes of a layer.

    Returns
    -------
    dict
        The fields of `NoiseModel`, its `read_noise` and `warnings`, and the points of its line: `signal`, `variance`
        and `error`, counts and counts².
    """
    remote = Remote(link, source.shape, source.dtype)
    inside = tuple(slice((n - min(n, MOST_SIDE)) // 2, (n + min(n, MOST_SIDE)) // 2) for n in source.shape[-2:])
    planes = [plane.astype(np.float64) for plane in remote.spread(MOST_FRAMES, inside)]
    link.progress(0.5, "measuring the noise")
    noise = estimate_noise(planes)
    samples = spatial_samples(frame(planes[0], noisy(planes[0]), None, None))
    signal, variance, error = noise_level_function(samples.signal, samples.residual, groups(samples.group))
    return asdict(noise) | {
        "read_noise": noise.read_noise, "warnings": noise.warnings, "signal": signal,
        "variance": variance, "error": error, "planes": len(planes),
    }  # fmt: skip


def picture_psf(link: Link, psf: Psf, axes: str, voxel: Voxel) -> dict[str, Any]:
    """Sections and profiles of a PSF, as a training on the layer would use it on the raw grid.

    Returns
    -------
    dict
        `picture` (Y, X, 3), `text` with its widths, the `kernel` ([Z,] Y, X), and its `voxel_um`.
    """
    if voxel.x_um is None and not isinstance(psf, PsfLayer):
        voxel = Voxel(1.0, 1.0, 1.0)
    kernel = psf.kernel(axes, voxel, 2, link.notice)
    fine = (voxel.x_um or 1.0) / 2
    steps = (fine,) if axes == "yx" else (voxel.z_um or 1.0, fine)
    picture = psf_picture(kernel, steps, "PSF on the deconvolved grid")
    return {"picture": picture, "text": fwhm_text(kernel, steps), "kernel": kernel, "voxel_um": steps}
