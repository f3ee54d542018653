"""Whether the patterns of one acquisition serve another."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.sim.bands import Bands
from zsd_runtime.sim.microscope import Sim
from zsd_runtime.sim.stripes import stripes_at

MOST_RAD = 0.5  # phases that differ by more cost detail
LEAST_TRUST = 6.0
REMEDY = "estimate them again for each acquisition with `each`, or for this file by itself"
LEAST_SEEN = 0.3  # of the known modulation: stripes that show less cannot be judged


def stripes_moved(frames: NDArray[Any], sim: Sim, least_trust: float = LEAST_TRUST, remedy: str = REMEDY) -> str:
    """A sentence if the stripes of other frames lie elsewhere than `sim` says; empty if not, or if they hardly show.

    Parameters
    ----------
    frames : ndarray
        (directions · phases, [Z,] Y, X), camera counts, direction by direction.
    sim : Sim
    least_trust : float
        Directions whose stripes had less when they were found are not compared.
    remedy : str
    """
    p = sim.parameters
    counts = np.asarray(frames, np.float64).reshape(p.directions, p.phases, *frames.shape[1:]) - p.offset
    moved = []
    for number, (pattern, part) in enumerate(zip(p.patterns, counts, strict=True), 1):
        if pattern.trust and max(pattern.trust) < least_trust:
            continue
        bands = Bands.of(part, sim.transfer, sim.voxel_um)
        order = int(np.argmax(pattern.trust)) + 1 if pattern.trust else 1
        seen = stripes_at(bands, order, pattern.wave_vector(order), 0.0)
        turn = np.angle(np.exp(1j * (seen.phase_rad - order * pattern.phases_rad[0])))
        if abs(turn) > MOST_RAD and seen.modulation > LEAST_SEEN * pattern.modulation[order - 1]:
            moved.append(f"direction {number} by {abs(turn):.1f} rad")
    if not moved:
        return ""
    return f"its stripes lie elsewhere than the parameters say ({', '.join(moved)}), and the result is wrong: {remedy}"
