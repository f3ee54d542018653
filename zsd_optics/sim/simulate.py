"""Raw frames of structured illumination, simulated with their truth."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_optics.optics import Optics
from zsd_optics.sim.theory import axial_transfer, planar_transfer
from zsd_optics.simulate import DEFOCUS_UM, PSF_RADIUS, SAMPLES, Camera, drawn
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.sim.microscope import FACTOR, Sim, frequencies
from zsd_runtime.sim.parameters import Pattern, SimParameters

Array = NDArray[np.float64]
MODULATION = {2: (0.8,), 3: (0.6, 0.8)}


@dataclass(frozen=True)
class Illumination:
    """How a SIM microscope lights the sample.

    Attributes
    ----------
    excitation_nm : float
    spacing_nm : float
        Period of the finest stripes.
    angle_rad : float
        Of the first direction; the others follow evenly over half a turn.
    directions : int
    modulation : tuple of float
        Contrast of each order: one number for two beams (3 phases), two for three (5 phases).
    first_phases_rad : tuple of float or None
        Of the first frame of each direction: a microscope repeats them. None: random.
    """

    excitation_nm: float = 488.0
    spacing_nm: float = 200.0
    angle_rad: float = 0.2
    directions: int = 3
    modulation: tuple[float, ...] = (0.8,)
    first_phases_rad: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not 50 <= self.spacing_nm <= 5000:
            raise InputError(f"spacing {self.spacing_nm} nm must be 50 to 5000", option="spacing")
        if not 1 <= self.directions <= 9:
            raise InputError(f"{self.directions} directions must be 1 to 9", option="directions")
        if self.first_phases_rad is not None and len(self.first_phases_rad) != self.directions:
            raise InputError(f"{len(self.first_phases_rad)} first phases must be one for each direction")
        if len(self.modulation) not in (1, 2) or not all(0 <= m <= 1 for m in self.modulation):
            raise InputError(
                f"modulation {self.modulation} must be one or two numbers from 0 to 1", option="modulation"
            )

    def patterns(self, rng: np.random.Generator) -> tuple[Pattern, ...]:
        """With even phase steps from the first one."""
        number = 2 * len(self.modulation) + 1

        def first(direction: int) -> float:
            known = self.first_phases_rad
            return rng.uniform(0, 2 * math.pi) if known is None else known[direction]

        return tuple(
            Pattern(
                self.angle_rad + direction * math.pi / self.directions, self.spacing_nm,
                tuple(float(n) for n in first(direction) + np.arange(number) * 2 * math.pi / number),
                self.modulation,
            )
            for direction in range(self.directions)
        )  # fmt: skip


def illumination_of(
    axes: int, spacing: float | None = None, modulation: float | None = None, excitation: float | None = None
) -> Illumination:
    """The usual illumination of planes (2 axes) or volumes (3), with what is given."""
    lit = Illumination(modulation=MODULATION[axes])
    finest = lit.modulation[-1] if modulation is None else modulation
    others = tuple(m * finest / lit.modulation[-1] for m in lit.modulation[:-1])
    return replace(
        lit, modulation=(*others, finest), spacing_nm=lit.spacing_nm if spacing is None else spacing,
        excitation_nm=lit.excitation_nm if excitation is None else excitation,
    )  # fmt: skip


@dataclass(frozen=True)
class SimSimulation:
    """What `simulate_sim` returns.

    Attributes
    ----------
    raw : ndarray
        uint16 (directions · phases, [Z,] Y, X), camera counts.
    clean : ndarray
        float32, the expectation of `raw`, with the offset.
    truth : ndarray
        float32 ([Z,] 2Y, 2X), counts above the offset, before the optics.
    sim : Sim
        The true parameters and transfer functions.
    """

    raw: NDArray[np.uint16]
    clean: NDArray[np.float32]
    truth: NDArray[np.float32]
    sim: Sim


def simulate_sim(
    shape: tuple[int, ...] = (256, 256),
    *,
    sample: str = "filaments",
    photons: float = 50.0,
    camera: Camera | None = None,
    na: float = 1.4,
    wavelength_nm: float = 525.0,
    refractive_index: float = 1.515,
    pixel_size_um: float = 0.0626,
    z_step_um: float = 0.125,
    illumination: Illumination | None = None,
    seed: int = 0,
) -> SimSimulation:
    """Simulate the raw frames of 2D-SIM (Y, X) or 3D-SIM (Z, Y, X).

    The sample is drawn on a grid twice as fine, lit by stripes, blurred by the OTF of each order, averaged onto the
    camera's pixels and exposed. The same arguments give the same bytes.

    Parameters
    ----------
    shape : tuple of int
        Raw pixels.
    sample : str
        One of `zsd_optics.simulate.SAMPLES`.
    photons : float
        Largest expected number of photo-electrons in a raw pixel, averaged over the phases.
    camera : Camera
    na, wavelength_nm, refractive_index : float
        Of the detection.
    pixel_size_um, z_step_um : float
        Of the raw frames.
    illumination : Illumination
        Default: three directions, of two beams for planes and of three for volumes.
    seed : int

    Raises
    ------
    InputError
        When a value is outside what physics allows.
    """
    if len(shape) not in (2, 3) or min(shape[-2:]) < 32 or max(shape) > 4096:
        raise InputError(
            f"size {size_text(shape)} must be YxX or ZxYxX with 32 to 4096 pixels in Y and X", option="size"
        )
    if sample not in SAMPLES:
        raise InputError(f"sample {sample!r} is not known", f"choose one of {', '.join(SAMPLES)}", option="sample")
    if not 0 < photons <= 1e6:
        raise InputError(
            f"photons {photons} must be above 0 and at most 1e6 photo-electrons at the peak", option="photons"
        )
    camera = camera or Camera()
    lit = illumination or Illumination(modulation=MODULATION[len(shape)])
    rng = np.random.default_rng(seed)
    optics = Optics(na, wavelength_nm, refractive_index)
    if len(shape) == 2:
        transfer = planar_transfer(optics, pixel_size_um)
    else:
        transfer = axial_transfer(optics, lit.excitation_nm, lit.spacing_nm, (z_step_um, pixel_size_um))
    order = "dp" if len(shape) == 2 else "dpz"
    z_step = z_step_um if len(shape) == 3 else None
    sim = Sim(SimParameters(lit.patterns(rng), pixel_size_um, z_step, camera.offset, order), transfer)
    pad = (*(round(DEFOCUS_UM / z_step_um) for _ in shape[:-2]), PSF_RADIUS, PSF_RADIUS)
    factors = (*(1 for _ in shape[:-2]), FACTOR, FACTOR)
    field = tuple(k * n + 2 * p for k, n, p in zip(factors, shape, pad, strict=True))
    structure = drawn(sample, field, z_step_um / pixel_size_um * FACTOR if len(shape) == 3 else 1.0, rng)
    inside = tuple(slice(p, -p) for p in pad)
    frames = np.concatenate([lit_frames(structure, pattern, sim, inside) for pattern in sim.parameters.patterns])
    mean = frames.mean(axis=0)
    electrons = np.clip(frames, 0, None) * (photons / mean.max())
    truth = structure[inside] * (camera.gain * photons / mean.max())
    return SimSimulation(
        raw=camera.expose(electrons, rng),
        clean=(camera.offset + camera.gain * electrons).astype(np.float32),
        truth=truth.astype(np.float32),
        sim=sim,
    )


def lit_frames(structure: Array, pattern: Pattern, sim: Sim, inside: tuple[slice, ...]) -> Array:
    """(phases, [Z,] Y, X): what the camera sees of a structure on the fine grid, whose part `inside` is the image."""
    frequency = frequencies(structure.shape, sim.fine_voxel_um)
    size = sim.fine_voxel_um[-1]
    # The middle of a raw pixel is half a fine pixel behind that of its first fine one.
    middle = np.exp(1j * np.pi * size * (frequency[-2] + frequency[-1]))
    y, x = ((np.arange(n) - s.start) / FACTOR - 0.25 for n, s in zip(structure.shape[-2:], inside[-2:], strict=True))
    bands: list[Any] = []
    for order in range(pattern.orders + 1):
        ky, kx = pattern.wave_vector(order) * sim.parameters.pixel_size_um
        lit = structure * np.exp(2j * np.pi * (ky * y[:, None] + kx * x))
        seen = np.fft.ifftn(np.fft.fftn(lit) * sim.transfer(frequency, order) * middle)[inside]
        bands.append(sim.share(pattern, order) * seen[..., ::FACTOR, ::FACTOR])
    return np.stack([
        bands[0].real + 2 * sum((np.exp(1j * n * phase) * band).real for n, band in enumerate(bands) if n)
        for phase in pattern.phases_rad
    ])  # fmt: skip
