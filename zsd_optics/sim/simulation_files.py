"""A simulated SIM acquisition as files that `zsd sim reconstruct` and `zsd train` read."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from zsd_optics.sim.simulate import SimSimulation
from zsd_optics.sim.wiener import wiener_parameter
from zsd_runtime.images import Image, Voxel, write_image
from zsd_runtime.sim.bands import Bands
from zsd_runtime.sim.microscope import Sim

PSF_SIDE, PSF_SLICES = 65, 33


def write_simulation(result: SimSimulation, out: Path) -> None:
    """Write noisy.tif and clean.tif (raw frames), truth.tif, parameters.json, otf.tif and psf.tif.

    The parameters are the true ones, with the Wiener parameter that the noise asks for; psf.tif is that of a noiseless
    reconstruction with them, on the grid of the truth.
    """
    sim = with_wiener(result)
    volumes = result.truth.ndim == 3
    *z_step, pixel_size = sim.voxel_um[:-1]
    raw, fine = Voxel.square(pixel_size, *z_step), Voxel.square(sim.fine_voxel_um[-1], *z_step)
    spatial = "ZYX" if volumes else "YX"
    planes = "ZYX" if volumes else "TYX"  # all raw planes one after the other, as microscopes write them
    psf = sim.psf((PSF_SLICES, PSF_SIDE, PSF_SIDE)[-result.truth.ndim :])
    for name, data, voxel, axes in (
        ("noisy", result.raw.reshape(-1, *result.raw.shape[-2:]), raw, planes),
        ("clean", result.clean.reshape(-1, *result.clean.shape[-2:]), raw, planes),
        ("truth", result.truth, fine, spatial),
        ("psf", psf.astype(np.float32), fine, spatial),
    ):
        write_image(out / f"{name}.tif", Image(data, axes, voxel))
    sim.parameters.save(out / "parameters.json")
    sim.transfer.save(out / "otf.tif")


def with_wiener(result: SimSimulation) -> Sim:
    """The true parameters with the Wiener parameter of the noise."""
    p = result.sim.parameters
    counts = result.raw.astype(np.float64).reshape(p.directions, p.phases, *result.raw.shape[1:]) - p.offset
    bands = [Bands.of(part, result.sim.transfer, result.sim.voxel_um) for part in counts]
    return replace(result.sim, parameters=replace(p, wiener=wiener_parameter(bands)))
