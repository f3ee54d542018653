"""How the planes of a raw SIM file follow each other."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError
from zsd_runtime.images import Image

# The slowest first: d (direction), p (phase), z (slice). The usual one first.
ORDERS = {2: ("dp", "pd"), 3: ("dpz", "dzp", "zdp", "pzd", "pdz", "zpd")}
PHASES = (3, 5)
FEWEST_EQUAL = 20  # pixels of the same highest value that are no chance


@dataclass(frozen=True)
class Layout:
    """How many planes of what kind one acquisition has.

    Attributes
    ----------
    directions, phases : int
    slices : int or None
        Of volumes; None for planes.
    """

    directions: int = 3
    phases: int = 3
    slices: int | None = None

    @property
    def planes(self) -> int:
        """Of one acquisition."""
        return self.directions * self.phases * (self.slices or 1)

    @property
    def orders(self) -> tuple[str, ...]:
        """The possible orders of the planes."""
        return ORDERS[2 if self.slices is None else 3]

    def arranged(self, planes: Any, order: str) -> Any:
        """(N, Y, X) in some order as (directions · phases, [Z,] Y, X), direction by direction."""
        lengths = {"d": self.directions, "p": self.phases, "z": self.slices or 1}
        stack = planes.reshape(*(lengths[letter] for letter in order), *planes.shape[-2:])
        target = "dp" if self.slices is None else "dpz"
        axes = [order.index(letter) for letter in target]
        stack = stack.transpose(*axes, len(order), len(order) + 1)
        return stack.reshape(-1, *stack.shape[2:])


def layout_of(
    image: Image, name: str, directions: int = 3, phases: int | None = None, slices: int | None = None
) -> Layout:
    """The layout of a file, from the number of its planes where it is not given.

    3 phases are planes (further ones are further acquisitions), 5 phases with more than one plane each are volumes.

    Raises
    ------
    InputError
        When the planes are no multiple of directions · phases, or it is not clear which.
    """
    number = prod(image.data.shape[:-2])
    times = dict(zip(image.axes, image.data.shape, strict=True)).get("T", 1)
    per_time = number // times if times < number else number
    if not any(per_time % (directions * p) == 0 for p in ((phases,) if phases else PHASES)):
        per_time = number  # directions or phases are along T
    if phases is None:
        fitting = [p for p in PHASES if per_time % (directions * p) == 0]
        if len(fitting) > 1:
            raise InputError(
                f"{name} has {per_time} planes, which may be {directions} directions of 3 phases or of 5",
                "say it with `phases`", option="phases",
            )  # fmt: skip
        phases = fitting[0] if fitting else PHASES[0]
    if per_time % (directions * phases):
        raise InputError(
            f"{name} has {per_time} planes, no multiple of {directions} directions x {phases} phases",
            "give `directions` and `phases` of the acquisition, or a file with all of its raw frames",
            option=("directions", "phases"),
        )  # fmt: skip
    each = per_time // (directions * phases)
    if slices is None and phases == PHASES[1] and each > 1:
        slices = each
    if slices is not None and each % max(slices, 1):
        raise InputError(f"{name} has {each} planes for each phase, no multiple of {slices} slices", option="slices")
    return Layout(directions, phases, None if slices in (None, 1) else slices)


def acquisitions(image: Image, layout: Layout) -> list[NDArray[Any]]:
    """The planes (N, Y, X) of each acquisition in a file."""
    planes = np.asarray(image.data).reshape(-1, *image.data.shape[-2:])
    return [planes[first : first + layout.planes] for first in range(0, len(planes), layout.planes)]


def check_saturation(stack: NDArray[Any], name: str) -> str:
    """A remark on the saturated pixels of planes (N, Y, X), empty if there are none that matter.

    Raises
    ------
    InputError
        When more than 1 % of the pixels of a frame are.
    """
    top = np.iinfo(stack.dtype).max if stack.dtype.kind in "iu" else np.inf
    # Cameras of fewer bits, and files that were rescaled: many pixels at the same highest value.
    highest = stack.max()
    at_highest = stack == highest
    many = at_highest.mean() > 1e-3 and at_highest.sum() > FEWEST_EQUAL
    at_top = at_highest if highest >= top or many else np.zeros(stack.shape, bool)
    share = float(at_top.mean(axis=tuple(range(1, stack.ndim))).max())
    if share > 0.01:
        raise InputError(
            f"{share:.1%} of the pixels of a frame of {name} are saturated ({stack.max():g}): stripes are cut off",
            "record again with less light or a shorter exposure",
        )
    return f"{share:.2%} of the pixels of a frame are saturated" if share > 1e-4 else ""
