"""From raw frames to the parameters of their patterns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zsd_optics.sim.patterns import find_stripes
from zsd_optics.sim.wiener import wiener_parameter
from zsd_runtime.sim.bands import Array, Bands, edge_window
from zsd_runtime.sim.parameters import Pattern, SimParameters
from zsd_runtime.sim.stripes import Stripes, stripes_at
from zsd_runtime.sim.transfer import Transfer

SEARCHED = (0.45, 1.16)  # lengths of the finest wave vector that are searched, as a share of the detection's cutoff
AROUND = 0.25  # and around a given spacing
ALIKE = 0.04  # of the spacing: directions of one microscope differ by less
DOUBTFUL, LEAST_TRUST = 6.0, 5.0
LEAST_MODULATION = 0.1
AGREEMENT = 0.02  # of the wave vector: orders that differ by more have not found the same stripes
IN_BAND = (0.05, 0.8)  # of the cutoff: frequencies by which the brightness of directions is compared


@dataclass(frozen=True)
class Given:
    """What is known of the patterns already.

    Attributes
    ----------
    spacing_nm : float or None
        Of the finest stripes.
    angles_rad : sequence of float or None
        Of the wave vectors, a number for each direction.
    """

    spacing_nm: float | None = None
    angles_rad: Sequence[float] | None = None


def estimate(
    frames: Array,
    transfer: Transfer,
    *,
    directions: int,
    pixel_size_um: float,
    z_step_um: float | None = None,
    offset: float = 0.0,
    given: Given | None = None,
) -> SimParameters:
    """Estimate the patterns of one acquisition.

    Parameters
    ----------
    frames : ndarray
        (directions · phases, [Z,] Y, X), camera counts, direction by direction; 3 phases are two beams, 5 are three.
    transfer : Transfer
    directions : int
    pixel_size_um, z_step_um, offset : float
        Of the raw frames.
    given : Given

    Returns
    -------
    SimParameters
        Whatever was found: `zsd_optics.sim.acquisition` judges it.
    """
    given = given or Given()
    voxel = (pixel_size_um, pixel_size_um) if frames.ndim == 3 else (z_step_um or 1.0, pixel_size_um, pixel_size_um)
    by_direction = np.asarray(frames, np.float64).reshape(directions, -1, *frames.shape[1:]) - offset
    bands = [Bands.of(part, transfer, voxel) for part in by_direction]
    intensities = brightness(bands)
    angles = given.angles_rad or (None,) * directions
    patterns = [
        _pattern(part, float(intensity), given.spacing_nm, AROUND, angle)
        for part, intensity, angle in zip(bands, intensities, angles, strict=True)
    ]
    common = common_spacing_nm(patterns)
    patterns = [
        pattern if _alike(pattern.spacing_nm, common) else _pattern(part, pattern.intensity, common, ALIKE, angle)
        for part, pattern, angle in zip(bands, patterns, angles, strict=True)
    ]
    return SimParameters(
        tuple(patterns), pixel_size_um, z_step_um if frames.ndim == 4 else None, offset, wiener=wiener_parameter(bands)
    )


def common_spacing_nm(patterns: Sequence[Pattern]) -> float:
    """The spacing on which most of the trust agrees: all directions of a microscope have about the same."""
    weights = [sum(max(q.trust) for q in patterns if _alike(q.spacing_nm, p.spacing_nm)) for p in patterns]
    return patterns[int(np.argmax(weights))].spacing_nm


def _alike(spacing_nm: float, other_nm: float) -> bool:
    return abs(spacing_nm - other_nm) < ALIKE * other_nm


def _pattern(
    bands: Bands, intensity: float, spacing_nm: float | None, around: float, angle_rad: float | None
) -> Pattern:
    """The stripes of one direction, searched around a spacing if there is one."""
    cutoff, finest = bands.transfer.cutoff, bands.orders
    if spacing_nm is None:
        lengths = (SEARCHED[0] * cutoff, SEARCHED[1] * cutoff)
    else:
        lengths = (1000 / spacing_nm * (1 - around), 1000 / spacing_nm * (1 + around))
    near = None
    if spacing_nm is not None and angle_rad is not None:
        near = 1000 / spacing_nm * np.array([np.sin(angle_rad), np.cos(angle_rad)])
    found = [
        find_stripes(
            bands, order, (lengths[0] * order / finest, lengths[1] * order / finest),
            None if near is None else near * order / finest,
        )
        for order in range(1, finest + 1)
    ]  # fmt: skip
    wave = _finest_wave(found)
    fixed = [stripes_at(bands, order, wave * order / finest, s.trust) for order, s in enumerate(found, 1)]
    first = _first_phase(fixed)
    phases = 2 * finest + 1
    return Pattern(
        angle_rad=float(np.arctan2(wave[0], wave[1])),
        spacing_nm=float(1000 / np.hypot(*wave)),
        phases_rad=tuple(float((first + 2 * np.pi * n / phases) % (2 * np.pi)) for n in range(phases)),
        modulation=tuple(float(s.modulation) for s in fixed),
        trust=tuple(float(s.trust) for s in fixed),
        intensity=intensity,
    )


def _finest_wave(found: Sequence[Stripes]) -> Array:
    """The wave vector of the highest order, from all orders that agree, each as certain as its trust and number say."""
    orders = np.arange(1, len(found) + 1)
    waves = np.array([s.wave * len(found) / order for s, order in zip(found, orders, strict=True)])
    certainty = np.array([s.trust for s in found]) * orders
    best = waves[np.argmax([s.trust for s in found])]
    agree = np.hypot(*(waves - best).T) < AGREEMENT * np.hypot(*best)
    return np.average(waves[agree], axis=0, weights=certainty[agree] ** 2)  # type: ignore[no-any-return]


def _first_phase(found: Sequence[Stripes]) -> float:
    """The phase of order 1 in the first frame; that of order 2 is twice as large, and tells it twice as well."""
    phase = found[0].phase_rad
    if len(found) == 1:
        return phase
    rest = np.angle(np.exp(1j * (found[1].phase_rad - 2 * phase))) / 2
    certainty = np.array([found[0].trust, 2 * found[1].trust]) ** 2
    return float(phase + rest * certainty[1] / certainty.sum())


def brightness(bands: Sequence[Bands]) -> Array:
    """The brightness of each direction, mean 1, from the spectra of order 0.

    Frequency 0 and those near it are left out: there the offset counts, too. The products of two directions have no
    noise in common; those of one with itself are freed of it.
    """
    first = bands[0]
    ky, kx = first.frequency[-2:]
    length = np.hypot(ky, kx) / first.transfer.cutoff
    used = (length > IN_BAND[0]) & (length < IN_BAND[1])
    weight = np.where(used, first.contrast(0, np.zeros(2)) ** 2, 0)
    spectra = np.stack([(b.spectra[0] * np.sqrt(weight)).ravel() for b in bands])
    products = np.real(spectra @ np.conj(spectra).T)
    tapered = np.mean(edge_window(first.shape[-2:]) ** 2) * np.broadcast_to(weight, first.shape).sum()
    products -= np.diag([b.noise[0] * tapered for b in bands])
    values, vectors = np.linalg.eigh(products)
    strongest = np.abs(vectors[:, np.argmax(values)])
    return strongest / strongest.mean()  # type: ignore[no-any-return]
