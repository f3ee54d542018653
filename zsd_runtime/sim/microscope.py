"""A structured illumination microscope as a linear system: what its reconstruction transfers of each frequency.

Without noise, a reconstruction is the sample convolved with H_SIM = A · D / (D + w²), where D is the squared contrast
of all bands, w the Wiener parameter and A the apodisation. A deconvolution of the result needs exactly this function:
it has negative lobes, and is not the same in all directions.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError
from zsd_runtime.sim.parameters import Pattern, SimParameters
from zsd_runtime.sim.transfer import Transfer

FACTOR = 2  # how much finer the grid of the result is in Y and X
LARGEST_PSF = 65
PSF_REACH_UM, PSF_DEPTH_UM = 1.0, 1.5  # of the PSF, from its centre
PSF_LOST = 0.03  # lobes further out, which cancel each other nearly
SHARPER = 3.0  # ratio of the Wiener parameters for eyes and for networks
# The least one that makes sense, for planes and volumes, whose contrast is small away from kz = 0.
LEAST_WIENER = {2: 0.02, 3: 0.002}
NOTCH_WIDTH = 0.25  # σ of the notch, as a share of the cutoff

Array = NDArray[np.float64]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Sim:
    """A structured illumination microscope: its detection, and the patterns of an acquisition.

    Attributes
    ----------
    parameters : SimParameters
    transfer : Transfer
    """

    parameters: SimParameters
    transfer: Transfer

    def __post_init__(self) -> None:
        finest = max(1000 / p.spacing_nm for p in self.parameters.patterns)
        check_reach(finest, self.transfer, self.parameters.pixel_size_um)

    def sharper(self) -> "Sim":
        """For a network, which removes the noise that a large Wiener parameter is for (benchmarks/sim_training.py)."""
        smooth, least = self.parameters.wiener, LEAST_WIENER[self.axes]
        wiener = max(smooth / SHARPER, min(least, smooth))
        return replace(self, parameters=replace(self.parameters, wiener=wiener, smooth_wiener=smooth))

    def smoother(self) -> "Sim":
        """For eyes: undoes `sharper`."""
        wiener = self.parameters.smooth_wiener or self.parameters.wiener
        return replace(self, parameters=replace(self.parameters, wiener=wiener, smooth_wiener=None))

    @property
    def axes(self) -> int:
        """2 for planes, 3 for volumes."""
        return len(self.transfer.step) + 1

    @property
    def voxel_um(self) -> tuple[float, ...]:
        """([z step,] pixel size, pixel size) of the raw frames."""
        p = self.parameters
        z = () if self.axes == 2 else (p.z_step_um or 1.0,)
        return (*z, p.pixel_size_um, p.pixel_size_um)

    def contrast(self, frequency: tuple[Array, ...], pattern: Pattern, order: int) -> Array:
        """H_l at frequencies ([kz,] ky, kx) of the sample, cycles/µm, moved by the order's wave vector."""
        ky, kx = pattern.wave_vector(abs(order)) * np.sign(order)
        moved = (*frequency[:-2], frequency[-2] + ky, frequency[-1] + kx)
        return self.transfer(moved, abs(order))

    def kept(self, frequency: tuple[Array, ...], order: int) -> Array:
        """What the notch leaves of order 0."""
        if order or not self.parameters.notch:
            return np.ones(1)
        squared = frequency[-2] ** 2 + frequency[-1] ** 2
        return 1 - self.parameters.notch * np.exp(-squared / (2 * (NOTCH_WIDTH * self.transfer.cutoff) ** 2))

    def weight(self, pattern: Pattern, order: int) -> float:
        """g_l over the relative variance of the band's noise."""
        rows = pattern.separation
        variance = float(np.sum(np.abs(rows[abs(order)]) ** 2)) * len(pattern.phases_rad) / pattern.intensity
        return self.share(pattern, order) / variance

    def share(self, pattern: Pattern, order: int) -> float:
        """g_l: what part of the light is in an order."""
        return pattern.modulation[abs(order) - 1] / 2 if order else 1.0

    def coverage(self, frequency: tuple[Array, ...]) -> Array:
        """D: the squared contrast of all bands at frequencies of the sample."""
        terms = [
            self.share(p, order) * self.weight(p, order)
            * self.kept(frequency, order) * self.contrast(frequency, p, order) ** 2
            for p in self.parameters.patterns
            for order in range(-p.orders, p.orders + 1)
        ]  # fmt: skip
        return np.sum(np.broadcast_arrays(*terms), axis=0)  # type: ignore[no-any-return]

    def apodisation(self, frequency: tuple[Array, ...]) -> Array:
        """A: the shape of the widefield OTF, stretched to what all orders together reach in each direction."""
        ky, kx = frequency[-2:]
        radius = np.hypot(ky, kx)
        reach = self.reach(*(k / np.maximum(radius, 1e-12) for k in (ky, kx)))
        shape = self.transfer.along_r(np.minimum(radius / reach, 1.0))
        if len(frequency) == 2:
            return shape
        highest = self.transfer.axial_cutoff
        return shape * np.clip(1 - np.abs(frequency[0]) / highest, 0, None)

    def reach(self, uy: Array, ux: Array) -> Array:
        """The highest frequency that all orders together transfer in a direction (a unit vector), cycles/µm."""
        reach = np.full(np.broadcast_shapes(uy.shape, ux.shape), self.transfer.cutoff)
        for pattern in self.parameters.patterns:
            vy, vx = pattern.wave_vector(pattern.orders)
            along, across = np.abs(uy * vy + ux * vx), np.abs(uy * vx - ux * vy)
            inside = self.transfer.cutoff**2 - across**2
            reach = np.maximum(reach, np.where(inside > 0, along + np.sqrt(np.maximum(inside, 0)), 0))
        return reach

    def filter(self, frequency: tuple[Array, ...]) -> Array:
        """A / (D + w²), so that the light is conserved."""
        zero = tuple(np.zeros(1) for _ in frequency)
        weights = [self.apodisation(f) / (self.coverage(f) + self.parameters.wiener**2) for f in (frequency, zero)]
        return weights[0] / (weights[1] * self.coverage(zero))  # type: ignore[no-any-return]

    def transfer_function(self, shape: Shape) -> Array:
        """H_SIM on the grid of the result, of `shape` ([Z,] Y, X), in the order of an FFT; 1 at frequency 0."""
        frequency = frequencies(shape, self.fine_voxel_um)
        return self.filter(frequency) * self.coverage(frequency)

    @property
    def fine_voxel_um(self) -> tuple[float, ...]:
        """Of the result."""
        return (*self.voxel_um[:-2], *(n / FACTOR for n in self.voxel_um[-2:]))

    def compact_psf(self, slices: int = 1) -> Array:
        """The PSF of the result for an image of so many slices.

        In Y and X it is as small as it can be without losing more than `PSF_LOST` of the light.
        """
        side = min(LARGEST_PSF, 2 * round(PSF_REACH_UM / self.fine_voxel_um[-1]) + 1)
        depth = (2 * min(round(PSF_DEPTH_UM / self.voxel_um[0]), slices - 1) + 1,) if self.axes == 3 else ()
        psf = self.psf((*depth, side, side))
        radius = side // 2
        while radius > 3 and abs(_middle(psf, radius - 1).sum() - 1) < PSF_LOST:
            radius -= 1
        psf = _middle(psf, radius)
        return psf / psf.sum()  # type: ignore[no-any-return]

    def psf(self, shape: Shape) -> Array:
        """The point spread function of the result, of an odd `shape` ([Z,] Y, X), its middle at the centre; sum 1."""
        # Large enough that what wraps around does not matter.
        large = (*(2 * n + 1 for n in shape[:-2]), *(max(2 * n + 1, 129) for n in shape[-2:]))
        psf = np.fft.fftshift(np.fft.ifftn(self.transfer_function(large)).real)
        psf = psf[tuple(slice((m - n) // 2, (m - n) // 2 + n) for m, n in zip(large, shape, strict=True))]
        return psf / psf.sum()  # type: ignore[no-any-return]


def _middle(psf: Array, radius: int) -> Array:
    """Rows and columns up to a radius around the centre."""
    centre = psf.shape[-1] // 2
    inside = slice(centre - radius, centre + radius + 1)
    return psf[..., inside, inside]


def check_reach(wave: float, transfer: Transfer, pixel_size_um: float) -> None:
    """Refuse stripes (cycles/µm) whose bands the grid of the result cannot hold.

    Raises
    ------
    InputError
        When they reach beyond its Nyquist frequency.
    """
    finest, nyquist = wave + transfer.cutoff, FACTOR / (2 * pixel_size_um)
    if finest > nyquist * 1.02:
        raise InputError(
            f"stripes of {1000 / wave:.0f} nm and the detection reach {finest:.1f} cycles/µm and the grid of the "
            f"result only {nyquist:.1f}",
            "give the right `spacing`, `pixel_size`, `na` and `wavelength`; such stripes need smaller raw pixels",
            option=("spacing", "pixel_size", "na", "wavelength"),
        )


def frequencies(shape: Shape, voxel_um: tuple[float, ...]) -> tuple[Array, ...]:
    """Cycles/µm of an FFT, axis by axis, as arrays that broadcast."""
    return tuple(
        np.asarray(np.fft.fftfreq(n, size), np.float64).reshape([-1 if i == axis else 1 for i in range(len(shape))])
        for axis, (n, size) in enumerate(zip(shape, voxel_um, strict=True))
    )
