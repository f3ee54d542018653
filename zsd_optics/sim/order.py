"""In which order the planes of a raw SIM file follow each other: the one in which the stripes make sense."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_optics.sim.estimate import ALIKE, DOUBTFUL, estimate
from zsd_runtime.errors import InputError
from zsd_runtime.sim.layout import Layout
from zsd_runtime.sim.parameters import SimParameters
from zsd_runtime.sim.transfer import Transfer

APART_RAD = 0.2  # at least, between two directions


def in_order(
    planes: NDArray[Any], layout: Layout, transfer: Transfer, order: str | None, name: str, sizes: dict[str, Any]
) -> SimParameters:
    """The patterns in the order of planes that is given, or else in the likeliest one; `sizes` go to `estimate`.

    Raises
    ------
    InputError
        When the given order is surely wrong.
    """

    def found(those: Iterable[str]) -> dict[str, SimParameters]:
        return {o: replace(estimate(layout.arranged(planes, o), transfer, **sizes), order=o) for o in those}

    tried = found([order] if order else layout.orders)
    if order is None:
        return max(tried.values(), key=likelihood)
    if likelihood(tried[order])[0] < best_likelihood(layout.directions):
        tried |= found(o for o in layout.orders if o != order)
        check_order(order, tried, layout, name)
    return tried[order]


def check_layout_order(order: str | None, layout: Layout) -> None:
    """Refuse an order that planes of this layout cannot have.

    Raises
    ------
    InputError
        When it is none of `layout.orders`.
    """
    if order is not None and order not in layout.orders:
        raise InputError(f"order {order!r} must be one of {', '.join(layout.orders)}", option="order")


def likelihood(parameters: SimParameters) -> tuple[int, float]:
    """How much patterns look like those of a microscope, to be compared.

    First the number of directions that agree with others in their spacing, and of different angles; then how well they
    show. In a wrong order, frames of several directions mix, and all "directions" show the strongest of them.
    """
    patterns = parameters.patterns
    spacings = np.array([p.spacing_nm for p in patterns])
    alike = max(int((np.abs(spacings - s) < ALIKE * s).sum()) for s in spacings)
    turns = np.exp(2j * np.array([p.angle_rad for p in patterns]))  # an angle and its opposite are one direction
    apart = np.abs(np.angle(turns[:, None] / turns)) > 2 * APART_RAD
    different = 1 + int(apart[np.triu_indices(len(patterns), 1)].sum())
    return alike + different, float(np.sum([np.log(max(p.trust)) for p in patterns]))


def best_likelihood(directions: int) -> int:
    """When all directions agree in their spacing and differ in their angles."""
    return directions + 1 + directions * (directions - 1) // 2


def check_order(order: str, tried: dict[str, SimParameters], layout: Layout, name: str) -> None:
    """Refuse a given order of planes in which the stripes make no sense, where they do in another.

    Raises
    ------
    InputError
        When it is surely wrong.
    """
    best = max(tried, key=lambda o: likelihood(tried[o]))
    certain = likelihood(tried[best])[0] == best_likelihood(layout.directions) and tried[best].least_trust >= DOUBTFUL
    if best != order and certain:
        raise InputError(
            f"the planes of {name} are ordered {in_words(best)}, as their correlation shows, and not {order!r}",
            f"leave out `order`, or set it to {best}", option="order",
        )  # fmt: skip


def in_words(order: str) -> str:
    """'direction, slice, phase', the slowest first."""
    return ", ".join({"d": "direction", "p": "phase", "z": "slice"}[letter] for letter in order) + " (slowest first)"
