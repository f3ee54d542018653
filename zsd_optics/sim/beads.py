"""Beads under a simulated SIM microscope: a check of the transfer function H_SIM, from the raw frames on.

The published code of ZS-DeconvNet makes the PSF of SIM this way, from an image of simulated beads. Here H_SIM is known
exactly, and the beads confirm it.
"""

import numpy as np
from numpy.typing import NDArray

from zsd_optics.sim.simulate import lit_frames
from zsd_runtime.errors import InputError
from zsd_runtime.sim.microscope import FACTOR, Sim
from zsd_runtime.sim.reconstruction import reconstruct

Array = NDArray[np.float64]
MARGIN = 16  # raw pixels around the image whose light reaches it
COUNTS = 1000.0  # of a bead


def bead_image(
    sim: Sim, shape: tuple[int, int] = (160, 160), apart_px: int = 40, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The reconstruction of beads that are smaller than a fine pixel, without noise.

    Parameters
    ----------
    sim : Sim
        Of planes.
    shape : tuple of int
        (Y, X), raw pixels.
    apart_px : int
        Raw pixels between neighbours, before each is moved at random by up to a quarter of that.
    seed : int

    Returns
    -------
    ndarray
        (2Y, 2X), counts above the offset.
    ndarray
        (N, 2), the fine pixel (y, x) of each bead.

    Raises
    ------
    InputError
        When the microscope is for volumes, or no bead fits.
    """
    if sim.axes != 2:
        raise InputError("beads are simulated in planes, and the microscope is for volumes")
    step, reach = FACTOR * apart_px, FACTOR * apart_px // 4
    lines = [np.arange(step // 2, FACTOR * n - step // 2 + 1, step) for n in shape]
    if min(map(len, lines)) == 0:
        raise InputError(f"no bead fits into {shape[0]}x{shape[1]} pixels, {apart_px} apart", "give a larger image")
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, 2)
    places = places + rng.integers(-reach, reach + 1, places.shape)
    pad = FACTOR * MARGIN
    structure = np.zeros(tuple(FACTOR * n + 2 * pad for n in shape))
    structure[tuple((places + pad).T)] = COUNTS
    inside = tuple(slice(pad, pad + FACTOR * n) for n in shape)
    p = sim.parameters
    frames = np.concatenate([pattern.intensity * lit_frames(structure, pattern, sim, inside) for pattern in p.patterns])
    return reconstruct(frames + p.offset, sim), places


def psf_from_beads(sim: Sim, side: int = 33, **image: int) -> Array:
    """The mean of all beads of `bead_image`, (side, side), odd, centred, sum 1: what `Sim.psf` says exactly."""
    fine, places = bead_image(sim, **image)  # type: ignore[arg-type]
    half = side // 2
    boxes = [fine[y - half : y + half + 1, x - half : x + half + 1] for y, x in places]
    psf = np.mean([box for box in boxes if box.shape == (side, side)], axis=0, dtype=np.float64)
    return psf / psf.sum()  # type: ignore[no-any-return]
