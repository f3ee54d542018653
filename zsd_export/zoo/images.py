"""The images of a recipe, simulated, and the optics that a training on them is told."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_export.zoo.recipe import Exposure, Recipe
from zsd_optics.pictures import binned
from zsd_optics.psf import prepare_psf
from zsd_optics.psf_source import PsfOptics
from zsd_optics.sim.simulate import illumination_of, simulate_sim
from zsd_optics.sim.simulation_files import with_wiener
from zsd_optics.simulate import GRID_FACTOR, Camera, simulate
from zsd_runtime.images import Voxel
from zsd_runtime.sim.microscope import LEAST_WIENER, Sim
from zsd_runtime.sim.reconstruction import reconstruct

Array = NDArray[Any]


@dataclass(frozen=True)
class Image:
    """A simulated image with its truth.

    Attributes
    ----------
    noisy : ndarray
        uint16 ([Z,] Y, X), or raw SIM frames (frames, Y, X): camera counts.
    clean : ndarray
        ([Z,] Y, X): without noise; of SIM, the reconstruction of the frames without noise.
    truth : ndarray
        ([Z,] 2Y, 2X): before the optics.
    psf : ndarray or None
        On the truth's grid; None of SIM.
    sim : Sim or None
        The true patterns, with the Wiener parameter of the noise.
    """

    noisy: Array
    clean: Array
    truth: Array
    psf: Array | None
    sim: Sim | None = None


def simulated(recipe: Recipe, exposure: Exposure) -> Image:
    """One image of a recipe."""
    s = recipe.simulate
    common: dict[str, Any] = {
        "sample": exposure.sample or s.sample, "photons": exposure.photons, "seed": exposure.seed,
        "camera": Camera(s.offset, s.gain, s.read_noise), "na": s.na, "wavelength_nm": s.wavelength_nm,
        "refractive_index": s.refractive_index, "pixel_size_um": s.pixel_size_um,
    }  # fmt: skip
    size = exposure.size or s.size
    if s.kind == "sim":
        lit = replace(illumination_of(2, s.spacing_nm, s.modulation), first_phases_rad=s.first_phases_rad)
        made = simulate_sim(size, illumination=lit, **common)
        sim = with_wiener(made)
        sharp = replace(made.sim, parameters=replace(made.sim.parameters, wiener=LEAST_WIENER[2]))
        return Image(made.raw, reconstruct(made.clean, sharp), made.truth, None, sim)
    z: dict[str, Any] = {"z_step_um": s.z_step_um, "sheet_um": s.sheet_um} if s.kind == "3d" else {}
    result = simulate(size, **common, **z)
    return Image(result.noisy, result.clean, result.truth, result.psf)


def training_psf(recipe: Recipe, image: Image) -> tuple[Array | None, dict[str, Any] | None]:
    """The PSF on the grid of the deconvolved image, and how it was made; None of SIM, whose patterns say it."""
    s = recipe.simulate
    if image.psf is None:
        return None, None
    factor = recipe.config.network.grid_factor
    if s.sheet_um is None:
        source = PsfOptics(s.na, s.wavelength_nm, s.refractive_index)
        return source.kernel(recipe.axes, Voxel.square(s.pixel_size_um, s.z_step_um), factor), source.to_dict()
    assert factor == GRID_FACTOR, "the PSF of a light sheet is simulated on the fine grid only"
    fine = (s.z_step_um or 1.0, s.pixel_size_um / GRID_FACTOR)
    return prepare_psf(image.psf, fine, fine), None


def on_grid(truth: Array, shape: tuple[int, ...]) -> Array:
    """The truth on the grid of a deconvolved image, which may be the raw one."""
    factor = truth.shape[-1] // shape[-1]
    return binned(truth, factor) if factor > 1 else np.asarray(truth)
