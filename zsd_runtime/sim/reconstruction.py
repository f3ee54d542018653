"""The linear reconstruction of SIM: from raw frames to an image on a grid twice as fine.

A frame is y_p = (o · Σ_l m_l/2 · e^{i l (2πk·r + φ_p)}) ∗ h, l from −L to L (m_0 = 2). The pseudo-inverse over the
phases gives bands C_l(q) = g_l · O(q − l k) · H_l(q), g_l = m_l/2. Each band is moved to where it belongs, and all are
added:

    recon = IFFT[ A / (D + w²) · Σ_l g_l · (H_l · C_l)(q + l k) ],   D = Σ_l g_l² · H_l²(q + l k),

summed over directions, too (Gustafsson 2000; Gustafsson et al. 2008). A band is moved by the whole steps of the
spectrum by indexing, and by the rest with a carrier on the raw grid. A fine pixel lies at half its index minus a
quarter.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError
from zsd_runtime.sim.microscope import FACTOR, Shape, Sim, frequencies
from zsd_runtime.tiling import reflected

HALO = 12  # raw pixels around what is wanted, beyond which light hardly matters
AXIAL_HALO = 4  # slices


@dataclass(frozen=True)
class Band:
    """One order of one direction, ready for windows of one shape.

    Attributes
    ----------
    direction : int
    separation : array
        (phases,), complex: from the frames of the direction to the band.
    carrier : array or None
        (Y, X), complex: the part of the shift that is no whole step of the spectrum; None for order 0.
    wave : tuple of float
        (y, x), cycles per raw pixel.
    weights : array
        ([Z,] Y, X), complex: all filters, at the frequencies of the band.
    rows, columns : tuple of (slice, slice)
        Runs of these in the band, and where they are in the spectrum of the result.
    """

    direction: int
    separation: Any
    carrier: Any
    wave: tuple[float, float]
    weights: Any
    rows: tuple[tuple[slice, slice], ...]
    columns: tuple[tuple[slice, slice], ...]

    @classmethod
    def of(cls, sim: Sim, direction: int, order: int, shape: Shape) -> "Band":
        """All that can be computed before there are frames."""
        pattern = sim.parameters.patterns[direction]
        wave = pattern.wave_vector(order) * sim.parameters.pixel_size_um
        steps = wave * shape[-2:]  # of the spectrum
        whole = np.rint(steps).astype(int)
        part = (steps - whole) / shape[-2:]  # cycles per pixel
        y, x = np.arange(shape[-2])[:, None], np.arange(shape[-1])
        carrier = np.exp(-2j * np.pi * (part[0] * y + part[1] * x)) if order else None
        in_band = frequencies(shape, sim.voxel_um)
        moved = [f + d / sim.parameters.pixel_size_um for f, d in zip(in_band[-2:], part, strict=True)]
        in_band = (*in_band[:-2], *moved)
        ky, kx = pattern.wave_vector(order)
        in_sample = (*in_band[:-2], in_band[-2] - ky, in_band[-1] - kx)
        signed = [np.rint(np.fft.fftfreq(n, 1 / n)).astype(int) - s for n, s in zip(shape[-2:], whole, strict=True)]
        # A fine pixel lies at half its index minus a quarter.
        quarter = [np.exp(-0.5j * np.pi * q / n) for q, n in zip(signed, shape[-2:], strict=True)]
        contrast = np.broadcast_to(sim.transfer(in_band, order), shape)
        seen = contrast != 0  # elsewhere, nothing is added, and the filters need not be known
        at = tuple(np.broadcast_to(f, shape)[seen] for f in in_sample)
        weights = np.zeros(shape, np.complex64)
        weights[seen] = contrast[seen] * sim.kept(at, order) * sim.filter(at)
        weights *= sim.weight(pattern, order) * (2 if order else 1)  # the negative order is the conjugate
        weights *= quarter[0][:, None] * quarter[1]
        rows, columns = (runs(q % (FACTOR * n)) for q, n in zip(signed, shape[-2:], strict=True))
        return cls(
            direction, (pattern.separation[order] / pattern.intensity).astype(np.complex64),
            None if carrier is None else carrier.astype(np.complex64), (float(wave[0]), float(wave[1])),
            weights, rows, columns,
        )  # fmt: skip

    def on(self, xp: Any, device: Any) -> "Band":
        """With arrays of another module."""

        def there(array: Any) -> Any:
            return None if array is None else xp.asarray(array, device=device)

        return replace(
            self, separation=there(self.separation), carrier=there(self.carrier), weights=there(self.weights),
        )  # fmt: skip


@dataclass(frozen=True)
class Reconstruction:
    """The reconstruction of windows of one shape; the same code for arrays of numpy and of torch.

    Attributes
    ----------
    shape : tuple of int
        ([Z,] Y, X) of the windows, raw pixels.
    bands : tuple of Band
    phases : int
        Frames of a direction.
    xp : module
        numpy or torch.
    device : Any
        Of the arrays.
    """

    shape: Shape
    bands: tuple[Band, ...]
    phases: int
    xp: Any = np
    device: Any = "cpu"

    @classmethod
    def of(cls, sim: Sim, shape: Shape) -> "Reconstruction":
        """Compute all filters."""
        patterns = sim.parameters.patterns
        bands = [Band.of(sim, d, order, shape) for d, p in enumerate(patterns) for order in range(p.orders + 1)]
        return cls(shape, tuple(bands), sim.parameters.phases)

    def on(self, xp: Any, device: Any) -> "Reconstruction":
        """The same with arrays of another module."""
        return replace(self, bands=tuple(band.on(xp, device) for band in self.bands), xp=xp, device=device)

    def __call__(self, frames: Any, start: Sequence[int] = (0, 0), inside: Any = None) -> Any:
        """Reconstruct.

        Parameters
        ----------
        frames : array
            (…, directions · phases, [Z,] Y, X), float32 counts above the offset. It wraps around: a rim of `HALO`
            pixels is not valid.
        start : sequence of int
            (y, x): the first pixel of the window in the image whose phases the parameters are.
        inside : array
            (Y, X), 1 where pixels belong to the image: beyond, where frames are continued by reflection, there are no
            stripes.

        Returns
        -------
        array
            (…, [Z,] 2Y, 2X), counts above the offset.
        """
        xp, axes = self.xp, tuple(range(-len(self.shape), 0))
        letters = "zyx"[axes[0] :]
        leading = tuple(frames.shape[: axes[0] - 1])
        frames = frames.reshape(*leading, -1, self.phases, *self.shape) + 0j
        fine = (*self.shape[:-2], *(FACTOR * n for n in self.shape[-2:]))
        spectrum = xp.zeros((*leading, *fine), dtype=xp.complex64, device=self.device)
        for band in self.bands:
            of_direction = frames[(..., band.direction, slice(None), *(slice(None) for _ in self.shape))]
            image = xp.einsum(f"p,...p{letters}->...{letters}", band.separation, of_direction)
            if band.carrier is not None:
                turn = 2 * np.pi * sum(k * s for k, s in zip(band.wave, start, strict=True))
                image = image * (band.carrier if inside is None else band.carrier * inside)
                image = image * complex(np.cos(turn), -np.sin(turn))
            moved = xp.fft.fftn(image, None, axes)
            moved *= band.weights
            for from_row, to_row in band.rows:
                for from_column, to_column in band.columns:
                    spectrum[..., to_row, to_column] += moved[..., from_row, from_column]
        return xp.fft.ifftn(spectrum, None, axes).real * FACTOR**2


def reconstruct(frames: NDArray[Any], sim: Sim) -> NDArray[np.float32]:
    """Reconstruct a whole image.

    Parameters
    ----------
    frames : ndarray
        (directions · phases, [Z,] Y, X), camera counts, direction by direction.
    sim : Sim

    Returns
    -------
    ndarray
        ([Z,] 2Y, 2X), counts above the offset.

    Raises
    ------
    InputError
        When there are not as many frames as the parameters have.
    """
    p = sim.parameters
    if frames.ndim != sim.axes + 1 or len(frames) != p.frames:
        raise InputError(
            f"raw frames of shape {frames.shape} are not {p.directions} directions x {p.phases} phases of "
            f"{'volumes' if sim.axes == 3 else 'planes'}",
            "give the raw stack that these parameters are for",
        )
    shape = frames.shape[1:]
    margins = (*(AXIAL_HALO for _ in shape[:-2]), HALO, HALO)
    padded = tuple(fast_length(n + 2 * m) for n, m in zip(shape, margins, strict=True))
    lines = [np.arange(-m, size - m) for m, size in zip(margins, padded, strict=True)]
    places: Any = (slice(None), *np.ix_(*map(reflected, lines, shape)))
    window = np.asarray(frames, np.float32)[places] - p.offset
    inside = np.outer(*((line >= 0) & (line < n) for line, n in zip(lines[-2:], shape[-2:], strict=True)))
    fine = _reconstruction(sim, padded)(window.astype(np.float32), (-HALO, -HALO), inside.astype(np.float32))
    factors = (*(1 for _ in shape[:-2]), FACTOR, FACTOR)
    box = tuple(slice(m * k, (m + n) * k) for m, n, k in zip(margins, shape, factors, strict=True))
    return np.ascontiguousarray(fine[box], np.float32)


def runs(places: NDArray[np.int_]) -> tuple[tuple[slice, slice], ...]:
    """Consecutive numbers as pairs of slices, of their indices and of themselves: faster than the numbers."""
    starts = [0, *(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), len(places)]
    return tuple((slice(a, b), slice(int(places[a]), int(places[a]) + b - a)) for a, b in itertools.pairwise(starts))


@lru_cache(2)
def _reconstruction(sim: Sim, shape: Shape) -> Reconstruction:
    return Reconstruction.of(sim, shape)


def fast_length(n: int) -> int:
    """The next even length whose only factors are 2, 3 and 5, for FFTs."""
    while True:
        rest = n
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1 and n % 2 == 0:
            return n
        n += 1
