"""A physical simulator with ground truth: structures, optics, camera. float64 inside, uint16 out."""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from zsd_runtime.errors import InputError
from zsd_train.psf import widefield_psf

Array = NDArray[np.float64]
UPSAMPLE = 2  # the truth lives on a grid twice as fine as the camera's


@dataclass(frozen=True)
class Camera:
    """A camera's response: counts = offset + gain · Poisson(electrons) + read noise, rounded and saturated.

    `offset` and `read_noise` are in counts, `gain` in counts per photo-electron, `saturation` in counts.
    """

    offset: float = 0.0
    gain: float = 1.0
    read_noise: float = 2.0
    saturation: int = 65535

    def __post_init__(self) -> None:
        if not self.gain > 0:
            raise InputError(f"gain {self.gain} must be above 0 counts per electron: see the camera's data sheet")
        if self.read_noise < 0:
            raise InputError(f"read noise {self.read_noise} must be 0 or above (counts)")
        if not 0 <= self.offset < self.saturation <= 65535:
            raise InputError(f"offset {self.offset} must be 0 or above and below the saturation {self.saturation}")

    def expose(self, electrons: Array, rng: np.random.Generator) -> NDArray[np.uint16]:
        """One noisy frame (uint16 counts) of the expected `electrons` a pixel."""
        counts = self.offset + self.gain * rng.poisson(electrons) + rng.normal(0, self.read_noise, electrons.shape)
        return np.clip(np.rint(counts), 0, self.saturation).astype(np.uint16)


@dataclass(frozen=True)
class Simulation:
    """What `simulate` returns.

    noisy : uint16 (Y, X), camera counts · clean : float32 (Y, X), its expectation, offset included ·
    truth : float32 (2Y, 2X), counts above the offset before the optics · psf : float64 on the truth's grid ·
    pixel_size_um : of the raw grid.
    """

    noisy: NDArray[np.uint16]
    clean: NDArray[np.float32]
    truth: NDArray[np.float32]
    psf: Array
    pixel_size_um: float


def simulate(
    shape: tuple[int, int] = (512, 512),
    *,
    photons: float = 30.0,
    camera: Camera | None = None,
    na: float = 1.4,
    wavelength_nm: float = 525.0,
    refractive_index: float = 1.515,
    pixel_size_um: float = 0.0626,
    seed: int = 0,
) -> Simulation:
    """Simulate a fluorescence image with its truth.

    Filaments, vesicles and a diffuse background are drawn on a grid twice as fine as the camera's, blurred by a
    diffraction PSF, averaged onto the camera's pixels and exposed. `photons` is the largest expected number of
    photo-electrons in a raw pixel. The same arguments give the same bytes.

    Raises
    ------
    InputError
        When a value is outside what physics or memory allows.
    """
    if len(shape) != 2 or min(shape) < 16 or max(shape) > 16384:
        raise InputError(f"size {'x'.join(map(str, shape))} must be YxX with 16 to 16384 pixels a side")
    if not 0 < photons <= 1e6:
        raise InputError(f"photons {photons} must be above 0 and at most 1e6 photo-electrons at the peak")
    camera = camera or Camera()
    rng = np.random.default_rng(seed)
    psf = widefield_psf(na, wavelength_nm, pixel_size_um / UPSAMPLE, refractive_index)
    pad = psf.shape[0] // 2 + psf.shape[0] % 2  # light from beyond the field reaches into it
    field = (UPSAMPLE * shape[0] + 2 * pad, UPSAMPLE * shape[1] + 2 * pad)
    structure = _filaments(field, rng) + _vesicles(field, rng) + _diffuse(field, rng)
    blurred = fftconvolve(structure, psf, mode="same")[pad:-pad, pad:-pad]
    raw = np.clip(mean_pool(blurred), 0, None)
    electrons = raw * (photons / raw.max())
    truth = structure[pad:-pad, pad:-pad] * (camera.gain * photons / raw.max())
    return Simulation(
        noisy=camera.expose(electrons, rng),
        clean=(camera.offset + camera.gain * electrons).astype(np.float32),
        truth=truth.astype(np.float32),
        psf=psf,
        pixel_size_um=pixel_size_um,
    )


def mean_pool(fine: Array) -> Array:
    """Average 2 × 2 pixels (2Y, 2X) -> (Y, X): what a raw pixel sees of the fine grid, mean conserved."""
    y, x = fine.shape
    return fine.reshape(y // 2, 2, x // 2, 2).mean(axis=(1, 3))


def _filaments(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Worm-like chains: straight on the scale of a cell, bending slowly, with some variation of brightness."""
    image = np.zeros(shape)
    step = 0.5
    for _ in range(max(2, round(np.prod(shape) / 18000))):
        length = int(rng.uniform(0.5, 1.5) * max(shape) / step)
        turns = np.cumsum(rng.normal(0, 0.012, length)) + rng.uniform(0, 2 * np.pi)
        turns = ndi.gaussian_filter1d(turns, 20)
        start = rng.uniform(-0.1, 1.1, 2) * shape
        path = start[:, None] + step * np.cumsum([np.sin(turns), np.cos(turns)], axis=1)
        brightness = rng.uniform(0.6, 1.0) * (1 + 0.15 * ndi.gaussian_filter1d(rng.normal(0, 5, length), 30))
        _splat(image, path, step * np.clip(brightness, 0, None))
    return ndi.gaussian_filter(image, 0.8)  # a filament is about as thin as a fine pixel; this only antialiases it


def _vesicles(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Small filled spheres of 2 to 5 fine pixels' radius, seen in projection."""
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


def _diffuse(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Out-of-focus haze: smooth, and gone in places, as outside a cell."""
    haze = ndi.gaussian_filter(rng.normal(0, 1, shape), min(shape) / 12, mode="wrap")
    return 0.03 * np.clip(haze / haze.std() + 0.8, 0, None)


def _splat(image: Array, path: Array, weight: Array) -> None:
    """Add points (2, N) to `image` with bilinear weights."""
    corner = np.floor(path).astype(int)
    part = path - corner
    for dy in (0, 1):
        for dx in (0, 1):
            y, x = corner[0] + dy, corner[1] + dx
            inside = (y >= 0) & (y < image.shape[0]) & (x >= 0) & (x < image.shape[1])
            share = (part[0] if dy else 1 - part[0]) * (part[1] if dx else 1 - part[1]) * weight
            np.add.at(image, (y[inside], x[inside]), share[inside])
