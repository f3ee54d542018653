"""From a raw file to what its reconstruction needs: frames in order, the optics, the patterns, and what is doubtful."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_optics.noise import estimate_noise
from zsd_optics.sim.drift import drift_px
from zsd_optics.sim.estimate import ALIKE, DOUBTFUL, LEAST_MODULATION, LEAST_TRUST, SEARCHED, Given
from zsd_optics.sim.order import check_layout_order, in_order, in_words
from zsd_optics.sim.support import support_remark
from zsd_optics.sim.width import width_remark
from zsd_runtime.errors import InputError
from zsd_runtime.sim.bands import Bands
from zsd_runtime.sim.layout import Layout, check_frames, check_saturation
from zsd_runtime.sim.microscope import Sim, check_reach
from zsd_runtime.sim.parameters import Pattern, SimParameters
from zsd_runtime.sim.transfer import Transfer

DRIFT_PX = 0.5
UNSEEN_MODULATION = 0.5
LOW_MODULATION = 0.25
IMPOSSIBLE = 1.15  # times what light allows: more than an error of measurement
NOISE_PLANES = 9  # that the offset is estimated from


@dataclass(frozen=True)
class Acquisition:
    """Raw frames and their patterns.

    Attributes
    ----------
    frames : ndarray
        (directions · phases, [Z,] Y, X), camera counts, direction by direction.
    sim : Sim
    """

    frames: NDArray[Any]
    sim: Sim


def acquisition(
    planes: NDArray[Any],
    layout: Layout,
    transfer: Transfer,
    *,
    pixel_size_um: float,
    z_step_um: float | None = None,
    order: str | None = None,
    given: Given | None = None,
    offset: float | None = None,
    name: str = "the image",
) -> Acquisition:
    """Find the order of the planes and the patterns of one acquisition.

    Parameters
    ----------
    planes : ndarray
        (N, Y, X), camera counts.
    layout : Layout
    transfer : Transfer
    pixel_size_um, z_step_um : float
    order : str
        How the planes follow each other, e.g. "dp"; found if not given.
    given : Given
        What is known of the patterns.
    offset : float
        Counts; estimated if not given.
    name : str
        For errors.

    Returns
    -------
    Acquisition
        Its parameters have `remarks` on everything that is doubtful.

    Raises
    ------
    InputError
        When there are no stripes to be found, or the frames are saturated, constant or too small.
    """
    check_frames(planes, name)
    remarks = [check_saturation(planes, name)]
    check_layout_order(order, layout)
    finest = 1000 / given.spacing_nm if given and given.spacing_nm else SEARCHED[0] * transfer.cutoff
    check_reach(finest, transfer, pixel_size_um)
    if offset is None:
        step = max(1, len(planes) // NOISE_PLANES)
        offset = estimate_noise([plane.astype(np.float64) for plane in planes[::step]]).offset
    sizes: dict[str, Any] = {
        "directions": layout.directions, "pixel_size_um": pixel_size_um, "z_step_um": z_step_um, "offset": offset,
        "given": given,
    }  # fmt: skip
    parameters = in_order(planes, layout, transfer, order, name, sizes)
    frames = layout.arranged(planes, parameters.order)
    if order is None and parameters.order != layout.orders[0]:
        remarks.append(f"the planes are ordered {in_words(parameters.order)}, as their correlation shows")
    check_found(parameters, given or Given(), name)
    remarks += doubts(parameters, transfer)
    parameters = replace(parameters, patterns=tuple(clamped(p, transfer) for p in parameters.patterns))
    remarks += doubts_of_frames(frames, parameters, transfer)
    parameters = replace(parameters, remarks=tuple(text for text in remarks if text))
    return Acquisition(frames, Sim(parameters, transfer))


def doubts_of_frames(frames: NDArray[Any], parameters: SimParameters, transfer: Transfer) -> list[str]:
    """What a user should look at in frames (directions · phases, [Z,] Y, X): a wrong OTF, or a sample that moved."""
    size = parameters.pixel_size_um
    voxel = (*(() if frames.ndim == 3 else (parameters.z_step_um or 1.0,)), size, size)
    counts = np.asarray(frames, np.float64) - parameters.offset
    counts = counts.reshape(parameters.directions, parameters.phases, *frames.shape[1:])
    bands = [Bands.of(part, transfer, voxel) for part in counts]
    trusted = [n for n, p in enumerate(parameters.patterns) if max(p.trust) >= DOUBTFUL]
    too_narrow = support_remark(bands)
    found = [too_narrow or width_remark([bands[n] for n in trusted], [parameters.patterns[n] for n in trusted])]
    drift = drift_px(bands)
    if drift > DRIFT_PX:
        found.append(
            f"the sample moved by {drift:.1f} px between directions: fine detail is doubled; record faster, or hold "
            "the focus and the stage"
        )
    return found


def check_found(parameters: SimParameters, given: Given, name: str) -> None:
    """Refuse patterns that are none.

    Raises
    ------
    InputError
        When no peak is above the background in a direction, unless spacing and angles were given, or the stripes have
        hardly any contrast.
    """
    known = given.spacing_nm is not None and given.angles_rad is not None
    for number, pattern in enumerate(parameters.patterns, 1):
        if max(pattern.trust) < LEAST_TRUST and not known:
            raise InputError(
                f"{name} shows no stripes in direction {number}: its highest peak is {max(pattern.trust):.1f} times "
                f"the background, and {LEAST_TRUST:g} would be a sign of stripes",
                "check the order of the planes, NA, wavelength and pixel size; or give `spacing` and `angles` of the "
                "microscope, or the `parameters` of a brighter image",
                option=("spacing", "angles", "parameters", "order"),
            )
        if max(pattern.modulation) < LEAST_MODULATION:
            raise InputError(
                f"the stripes of direction {number} of {name} have a modulation of {max(pattern.modulation):.2f}; "
                f"below {LEAST_MODULATION:g} they give noise only",
                "check polarisation, alignment and focus of the illumination, and whether the sample is thick",
            )


def most_modulation(orders: int) -> tuple[float, ...]:
    """What light allows for each order.

    Two beams: 1. Three beams of amplitudes a (centre) and b interfere to a² + 2b² + 4ab cos + 2b² cos, of which order 1
    is greatest for a = √2 b, and order 2 without a central beam.
    """
    return (1.0,) if orders == 1 else (2**0.5, *(1.0 for _ in range(orders - 1)))


def clamped(pattern: Pattern, transfer: Transfer) -> Pattern:
    """Believable modulations: what light allows, and at least 0.5 where the bands overlap too little to measure it."""
    least = UNSEEN_MODULATION if 1000 / pattern.spacing_nm > transfer.cutoff else 0.0
    most = most_modulation(pattern.orders)
    return replace(
        pattern,
        modulation=tuple(float(np.clip(m, least, top)) for m, top in zip(pattern.modulation, most, strict=True)),
    )


def doubts(parameters: SimParameters, transfer: Transfer) -> list[str]:
    """What a user should look at."""
    found = []
    patterns = dict(enumerate(parameters.patterns, 1))
    if dim := {n: max(p.trust) for n, p in patterns.items() if max(p.trust) < DOUBTFUL}:
        found.append(
            f"{_directions(dim)}: the stripes hardly show (trust {_values(dim, 1)}); compare angle and spacing with "
            "those of other images"
        )
    finest = {n: p.modulation[-1] for n, p in patterns.items()}
    if none := {n: m for n, m in finest.items() if m < LEAST_MODULATION}:
        found.append(
            f"{_directions(none)}: the finest stripes have a modulation of {_values(none, 2)}, and add noise rather "
            "than detail; the `parameters` of a brighter image may serve this one"
        )
    if low := {n: m for n, m in finest.items() if LEAST_MODULATION <= m < LOW_MODULATION}:
        found.append(
            f"{_directions(low)}: the finest stripes have a low modulation, {_values(low, 2)}: the reconstruction is "
            "noisier or less sharp than it could be; check polarisation and alignment"
        )
    unseen = {n: finest[n] for n, p in patterns.items() if 1000 / p.spacing_nm > transfer.cutoff}
    if unseen:
        nm = patterns[min(unseen)].spacing_nm
        found.append(
            f"{_directions(unseen)}: the stripes ({nm:.0f} nm) are finer than the objective resolves, so that their "
            f"modulation is uncertain; measured {_values(unseen, 2)}, used within {UNSEEN_MODULATION:g} and 1"
        )
    most = {n: most_modulation(p.orders) for n, p in patterns.items()}
    excess = {n: max(m / top for m, top in zip(p.modulation, most[n], strict=True)) for n, p in patterns.items()}
    if strange := {n: max(patterns[n].modulation) for n in excess if excess[n] > IMPOSSIBLE and n not in unseen}:
        found.append(
            f"{_directions(strange)}: a modulation of {_values(strange, 2)} is more than light allows; the OTF may be "
            "of other optics"
        )
    spacings = [p.spacing_nm for p in parameters.patterns]
    if max(spacings) > (1 + ALIKE) * min(spacings):
        found.append(
            f"the directions have different spacings ({', '.join(f'{s:.1f}' for s in spacings)} nm): one of them is "
            "likely wrong"
        )
    return found


def _directions(those: dict[int, float]) -> str:
    return f"direction{'s' * (len(those) > 1)} {', '.join(map(str, those))}"


def _values(those: dict[int, float], digits: int) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in those.values())
