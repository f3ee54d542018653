"""A physical simulator with ground truth: structures, optics, camera. Computes in float64, returns uint16."""

import math
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from zsd_optics.optics import Optics, light_sheet
from zsd_optics.pictures import binned
from zsd_optics.structures import STRUCTURES, Grid, mixed, splat
from zsd_runtime.errors import InputError, size_text

Array = NDArray[np.float64]
GRID_FACTOR = 2  # the truth lives on a grid twice as fine as the camera's, in Y and X
DRAWN_STEP_UM = 0.1  # at most, between the planes on which a volume is drawn; the camera focuses on some of them
DEFOCUS_UM = 2.0  # light from further away is too spread out to matter
PSF_RADIUS = 32  # fine pixels
SAMPLES = ("cell", *STRUCTURES, "mixed")


@dataclass(frozen=True)
class Camera:
    """A camera's response: counts = offset + gain · Poisson(electrons) + read noise, rounded and saturated.

    Parameters
    ----------
    offset : float
        Counts.
    gain : float
        Counts per photo-electron.
    read_noise : float
        Standard deviation, counts.
    saturation : int
        Counts.
    """

    offset: float = 0.0
    gain: float = 1.0
    read_noise: float = 2.0
    saturation: int = 65535

    def __post_init__(self) -> None:
        if not self.gain > 0:
            raise InputError(f"gain {self.gain} must be above 0 counts per electron", "see the camera's data sheet")
        if self.read_noise < 0:
            raise InputError(f"read noise {self.read_noise} must be 0 or above (counts)", option="read_noise")
        if not 0 <= self.offset < self.saturation <= 65535:
            raise InputError(f"offset {self.offset} must be 0 or above and below the saturation {self.saturation}")

    def expose(self, electrons: Array, rng: np.random.Generator) -> NDArray[np.uint16]:
        """One noisy frame (uint16 counts) of the expected `electrons` a pixel."""
        counts = self.offset + self.gain * rng.poisson(electrons) + rng.normal(0, self.read_noise, electrons.shape)
        return np.clip(np.rint(counts), 0, self.saturation).astype(np.uint16)


@dataclass(frozen=True)
class Simulation:
    """What `simulate` returns.

    Parameters
    ----------
    noisy : ndarray
        uint16 ([Z,] Y, X), camera counts.
    clean : ndarray
        float32 ([Z,] Y, X), the expectation of `noisy`, with the offset.
    truth : ndarray
        float32 ([Z,] 2Y, 2X), counts above the offset, before the optics.
    psf : ndarray
        float64 ([Z,] Y, X), on the grid of `truth`.
    pixel_size_um : float
        Of the raw grid.
    z_step_um : float
        Of a volume.
    """

    noisy: NDArray[np.uint16]
    clean: NDArray[np.float32]
    truth: NDArray[np.float32]
    psf: Array
    pixel_size_um: float
    z_step_um: float | None = None


def simulate(
    shape: tuple[int, ...] = (512, 512),
    *,
    sample: str = "cell",
    photons: float = 30.0,
    camera: Camera | None = None,
    na: float = 1.4,
    wavelength_nm: float = 525.0,
    refractive_index: float = 1.515,
    pixel_size_um: float = 0.0626,
    z_step_um: float = 0.3,
    sheet_um: float | None = None,
    seed: int = 0,
) -> Simulation:
    """Simulate a fluorescence image (Y, X) or volume (Z, Y, X) with its truth.

    The sample is drawn on a grid twice as fine as the camera's, blurred by a diffraction PSF, averaged onto the
    camera's pixels and exposed. In a volume every slice contains the defocused light of the others. The same arguments
    give the same bytes.

    Parameters
    ----------
    shape : tuple of int
        (Y, X) or (Z, Y, X), raw pixels.
    sample : str
        One of `SAMPLES`: "cell" has filaments, vesicles and a diffuse background; "mixed", one to three of the others,
        which are those of `zsd_optics.structures`.
    photons : float
        Largest expected number of photo-electrons in a raw pixel.
    camera : Camera
        Default: ``Camera()``.
    na, wavelength_nm, refractive_index : float
        Of the objective and the emission; see `Optics`.
    pixel_size_um, z_step_um : float
        Of the raw grid; the z step counts for volumes only.
    sheet_um : float
        FWHM of a light sheet that lights the slice in focus (a dithered lattice, too, as a Gaussian); by default the
        whole volume is lit. For volumes only.
    seed : int
        Of structures and noise.

    Raises
    ------
    InputError
        When a value is outside what physics or memory allows.
    """
    if len(shape) not in (2, 3) or min(shape[-2:]) < 16 or max(shape) > 16384 or shape[0] < 1:
        raise InputError(
            f"size {size_text(shape)} must be YxX or ZxYxX with 16 to 16384 pixels in Y and X", option="size"
        )  # fmt: skip
    if sample not in SAMPLES:
        raise InputError(f"sample {sample!r} is not known", f"choose one of {', '.join(SAMPLES)}", option="sample")
    if not 0 < z_step_um <= 10:
        raise InputError(f"z step {z_step_um} µm must be above 0 and at most 10", option="z_step")
    if not 0 < photons <= 1e6:
        raise InputError(
            f"photons {photons} must be above 0 and at most 1e6 photo-electrons at the peak", option="photons"
        )
    if sheet_um is not None and len(shape) == 2:
        raise InputError(f"sheet thickness {sheet_um} µm is for volumes", "leave it out", option="sheet_thickness")
    camera = camera or Camera()
    rng = np.random.default_rng(seed)
    fine_um = pixel_size_um / GRID_FACTOR
    z = shape[:-2]  # (slices,), or () for a plane
    per_slice = 2 * math.ceil((z_step_um / DRAWN_STEP_UM - 1) / 2) + 1 if z else 1  # odd: one of them is in focus
    theory = Optics(na, wavelength_nm, refractive_index)

    def point(step_um: float) -> Array:
        slices = [2 * round(DEFOCUS_UM / step_um) + 1 for _ in z]
        side = 2 * PSF_RADIUS + 1
        psf = theory.psf((*slices, side, side), (*(step_um for _ in z), fine_um))
        if sheet_um is None:
            return psf
        psf = psf * light_sheet(sheet_um, slices[0], step_um)
        return psf / psf.sum()

    optics, psf = point(z_step_um / per_slice), point(z_step_um)
    pad = [n // 2 + n % 2 for n in optics.shape]  # light from outside the field reaches into it
    inside = tuple(slice(p, -p) for p in pad)
    fine = (*(per_slice * n for n in z), *(GRID_FACTOR * n for n in shape[-2:]))
    field = tuple(n + 2 * p for n, p in zip(fine, pad, strict=True))
    structure = drawn(sample, field, z_step_um / per_slice / fine_um if z else 1.0, rng)
    blurred = fftconvolve(structure, optics, mode="same")[inside]
    structure = structure[inside]
    if z:  # a slice of the camera is the light in the middle plane; a slice of the truth is the mean of its planes
        blurred = blurred[per_slice // 2 :: per_slice]
        structure = structure.reshape(*z, per_slice, *fine[1:]).mean(axis=1)
    raw = np.clip(binned(blurred, GRID_FACTOR), 0, None)
    electrons = raw * (photons / raw.max())
    truth = structure * (camera.gain * photons / raw.max())
    return Simulation(
        noisy=camera.expose(electrons, rng),
        clean=(camera.offset + camera.gain * electrons).astype(np.float32),
        truth=truth.astype(np.float32),
        psf=psf,
        pixel_size_um=pixel_size_um,
        z_step_um=z_step_um if z else None,
    )


def drawn(sample: str, shape: tuple[int, ...], plane_px: float, rng: np.random.Generator) -> Array:
    """The sample ([Z,] Y, X) on the fine grid, whose planes are `plane_px` fine pixels apart."""
    if sample == "cell":
        return _volume(shape, plane_px, rng) if len(shape) == 3 else _plane(shape, rng)
    return {**STRUCTURES, "mixed": mixed}[sample](Grid(shape, plane_px), rng)


def _plane(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return _filaments(shape, rng) + _vesicles(shape, rng) + _diffuse(shape, rng)


def _volume(shape: tuple[int, ...], plane_px: float, rng: np.random.Generator) -> Array:
    """The same structures in 3D (Z, Y, X); planes are `plane_px` fine pixels apart."""
    volume = np.zeros(shape)
    depth_px = shape[0] * plane_px
    amount = shape[1] * shape[2] * depth_px
    for _ in range(max(3, round(amount / 3e5))):
        length = int(rng.uniform(0.5, 1.5) * max(shape[1:]) / 0.5)
        turns = ndi.gaussian_filter1d(np.cumsum(rng.normal(0, 0.012, length)) + rng.uniform(0, 2 * np.pi), 20)
        climbs = ndi.gaussian_filter1d(np.cumsum(rng.normal(0, 0.003, length)) + rng.normal(0, 0.06), 20)
        steps = np.array([np.sin(climbs) / plane_px, np.cos(climbs) * np.sin(turns), np.cos(climbs) * np.cos(turns)])
        path = (rng.uniform(-0.1, 1.1, 3) * shape)[:, None] + 0.5 * np.cumsum(steps, axis=1)
        splat(volume, path, np.full(length, 0.5 * rng.uniform(0.6, 1.0)))
    volume = ndi.gaussian_filter(volume, (0.8 / plane_px, 0.8, 0.8))
    for _ in range(max(3, round(amount / 8e5))):
        centre, radius = rng.uniform(0, 1, 3) * shape, rng.uniform(2, 5)
        reach = np.array([radius / plane_px, radius, radius]) + 2
        low, high = (
            np.maximum(np.floor(centre - reach), 0).astype(int),
            np.minimum(centre + reach + 1, shape).astype(int),
        )
        z, y, x = np.ogrid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        far = np.sqrt((plane_px * (z - centre[0])) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        volume[box] += rng.uniform(0.02, 0.06) * np.clip(radius - far + 0.5, 0, 1)  # antialiased surface
    coarse = [max(4, -(-n // c)) for n, c in zip(shape, (16 / plane_px, 16, 16), strict=True)]
    haze = ndi.gaussian_filter(rng.normal(0, 1, [int(n) for n in coarse]), 2.5, mode="wrap")
    haze = 0.0005 * np.clip(haze / haze.std() + 0.8, 0, None)
    return volume + ndi.zoom(haze, [n / m for n, m in zip(shape, haze.shape, strict=True)], order=1)


def _filaments(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Worm-like chains: nearly straight on the scale of a cell, with some variation of brightness."""
    image = np.zeros(shape)
    step = 0.5
    for _ in range(max(2, round(np.prod(shape) / 18000))):
        length = int(rng.uniform(0.5, 1.5) * max(shape) / step)
        turns = np.cumsum(rng.normal(0, 0.012, length)) + rng.uniform(0, 2 * np.pi)
        turns = ndi.gaussian_filter1d(turns, 20)
        start = rng.uniform(-0.1, 1.1, 2) * shape
        path = start[:, None] + step * np.cumsum([np.sin(turns), np.cos(turns)], axis=1)
        brightness = rng.uniform(0.6, 1.0) * (1 + 0.15 * ndi.gaussian_filter1d(rng.normal(0, 5, length), 30))
        splat(image, path, step * np.clip(brightness, 0, None))
    return ndi.gaussian_filter(image, 0.8)  # filaments are one fine pixel wide; this antialiases


def _vesicles(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Small filled spheres with radii of 2 to 5 fine pixels, in projection."""
    image = np.zeros(shape)
    for _ in range(max(2, round(np.prod(shape) / 12000))):
        centre = rng.uniform(0, 1, 2) * shape
        radius = rng.uniform(2, 5)
        low = np.maximum(np.floor(centre - radius - 2), 0).astype(int)
        high = np.minimum(np.ceil(centre + radius + 3), shape).astype(int)
        y, x = np.mgrid[low[0] : high[0], low[1] : high[1]]
        depth = radius**2 - (y - centre[0]) ** 2 - (x - centre[1]) ** 2
        image[low[0] : high[0], low[1] : high[1]] += rng.uniform(0.3, 0.9) / radius * np.sqrt(np.clip(depth, 0, None))
    return ndi.gaussian_filter(image, 0.5) * 0.4


def _diffuse(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Out-of-focus haze: smooth, and absent in places, as outside a cell."""
    haze = ndi.gaussian_filter(rng.normal(0, 1, shape), min(shape) / 12, mode="wrap")
    return 0.03 * np.clip(haze / haze.std() + 0.8, 0, None)
