"""The bands of one direction as they are measured: separated, with their noise, not yet moved."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.sim.microscope import frequencies
from zsd_runtime.sim.transfer import Transfer

Array = NDArray[np.float64]
Spectrum = NDArray[np.complex128]
LOW_CUT_PER_UM = 0.5  # σ: slower variations are of the offset and of out-of-focus light
BEYOND = 1.05  # of the cutoff: from here on there is noise only
CORNER_PER_PX = 0.45  # columns and rows beyond may hold artefacts of the camera
TAPER = 16  # the edge of an image fades over one part in so many


@dataclass(frozen=True)
class Bands:
    """Spectra of the orders of one direction.

    Attributes
    ----------
    spectra : ndarray
        (1 + orders, [Z,] Y, X), complex, in the order of an FFT; phases count from 0 in even steps.
    transfer : Transfer
    voxel_um : tuple of float
        ([z step,] pixel size, pixel size).
    """

    spectra: Spectrum
    transfer: Transfer
    voxel_um: tuple[float, ...]

    @classmethod
    def of(cls, frames: Array, transfer: Transfer, voxel_um: tuple[float, ...]) -> "Bands":
        """Separate the frames (phases, [Z,] Y, X) of a direction, counts above the offset."""
        phases = len(frames)
        steps = 2j * np.pi * np.arange(phases) / phases
        orders = np.arange((phases - 1) // 2 + 1)
        separation = np.exp(-orders[:, None] * steps) / phases
        window = edge_window(frames.shape[-2:])
        bands = np.tensordot(separation, frames * window, 1)
        return cls(np.fft.fftn(bands, axes=tuple(range(1, bands.ndim))), transfer, voxel_um)

    @property
    def shape(self) -> tuple[int, ...]:
        """([Z,] Y, X)."""
        return self.spectra.shape[1:]

    @property
    def orders(self) -> int:
        """Number of orders beside 0."""
        return len(self.spectra) - 1

    @cached_property
    def frequency(self) -> tuple[Array, ...]:
        """([kz,] ky, kx), cycles/µm."""
        return frequencies(self.shape, self.voxel_um)

    @cached_property
    def noise(self) -> Array:
        """Mean power of the noise of each band, where nothing was tapered; 0 if light reaches all frequencies."""
        ky, kx = self.frequency[-2:]
        most = CORNER_PER_PX / self.voxel_um[-1]
        empty = (np.hypot(ky, kx) > BEYOND * self.transfer.cutoff) & (np.abs(ky) < most) & (np.abs(kx) < most)
        empty = np.broadcast_to(empty, self.shape)
        if empty.mean() < 0.002:
            return np.zeros(len(self.spectra))
        kept = np.mean(edge_window(self.shape[-2:]) ** 2)
        return np.array([np.mean(np.abs(band[empty]) ** 2) / kept for band in self.spectra])

    def low_cut(self, wave: Array) -> Array:
        """What is kept of frequencies around those of an order's centre."""
        squared = (self.frequency[-2] - wave[0]) ** 2 + (self.frequency[-1] - wave[1]) ** 2
        return 1 - np.exp(-squared / (2 * LOW_CUT_PER_UM**2))  # type: ignore[no-any-return]

    def contrast(self, order: int, wave: Array) -> Array:
        """H_l at frequencies moved by a wave vector (ky, kx), cycles/µm."""
        moved = (*self.frequency[:-2], self.frequency[-2] + wave[0], self.frequency[-1] + wave[1])
        return self.transfer(moved, order)


def edge_window(shape: tuple[int, ...]) -> Array:
    """(Y, X), 1 in the middle, falling to 0 at the edges by a cosine, which would else make a cross in the spectrum."""
    return np.outer(*(_falling(n) for n in shape))


def _falling(length: int) -> Array:
    place = np.arange(length)
    inside = np.minimum(place, place[::-1]) * TAPER / (length - 1)
    return (1 - np.cos(np.pi * np.minimum(inside, 1))) / 2  # type: ignore[no-any-return]
