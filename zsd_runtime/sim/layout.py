"""How the planes of a raw SIM file follow each other."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError, size_text
from zsd_runtime.images import Image

# The slowest first: d (direction), p (phase), z (slice). The usual one first.
ORDERS = {2: ("dp", "pd"), 3: ("dpz", "dzp", "zdp", "pzd", "pdz", "zpd")}
PHASES = (3, 5)
SMALLEST_PX = 32  # of frames: fewer hold too few periods of the stripes
FEWEST_EQUAL = 20  # pixels of the same highest value that are no chance
MORE_EQUAL = 4  # times as many as of the value below: without saturation, values become rarer towards the highest


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
    if number == 1:
        raise InputError(
            f"{name} has a single plane, and {directions} directions x {phases} phases have {directions * phases}",
            "give a file with all raw frames, or a folder that holds nothing but these, one in each file; an OTF, a "
            "PSF and a result are no raw frames",
        )
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


def check_frames(stack: NDArray[Any], name: str) -> None:
    """Refuse frames (…, Y, X) in which no stripes can be found, whatever they show.

    Raises
    ------
    InputError
        When they are too small, or one of them is constant.
    """
    if min(stack.shape[-2:]) < SMALLEST_PX:
        raise InputError(
            f"{name} has frames of {size_text(stack.shape[-2:])} pixels, and stripes are found from "
            f"{SMALLEST_PX}x{SMALLEST_PX} on",
            "give the whole frames",
        )
    planes = stack.reshape(-1, *stack.shape[-2:])
    blank = [n for n, plane in enumerate(planes) if plane.min() == plane.max()]
    if blank:
        raise InputError(
            f"frame {blank[0]} of {name} is blank: all of its pixels are {planes[blank[0]].flat[0]:g}",
            "give a file with all of its raw frames",
        )


def check_saturation(stack: NDArray[Any], name: str) -> str:
    """A remark on the saturated pixels of planes (N, Y, X), empty if there are none that matter.

    Constant frames are not called saturated: `check_frames` says what is wrong with them.

    Raises
    ------
    InputError
        When more than 1 % of the pixels of a frame are.
    """
    constant = (stack == stack[:, :1, :1]).all(axis=(1, 2))
    if constant.all():
        return ""
    stack = stack[~constant]
    top = np.iinfo(stack.dtype).max if stack.dtype.kind in "iu" else np.inf
    highest = stack.max()
    at_highest = stack == highest
    if highest < top and not _piled_up(stack, at_highest):
        return ""
    share = float(at_highest.mean(axis=(1, 2)).max())
    if share > 0.01:
        raise InputError(
            f"{share:.1%} of the pixels of a frame of {name} are saturated ({highest:g}): stripes are cut off",
            "record again with less light or a shorter exposure",
        )
    return f"{share:.2%} of the pixels of a frame are saturated" if share > 1e-4 else ""


def _piled_up(stack: NDArray[Any], at_highest: NDArray[np.bool_]) -> bool:
    """Whether values end at one, as of cameras of fewer bits and of files that were rescaled.

    Few photons have few values, too, and many pixels at the highest; but more at the value below.
    """
    number = int(at_highest.sum())
    if number <= FEWEST_EQUAL or number <= 1e-3 * stack.size:
        return False
    below = stack[~at_highest]
    return number > MORE_EQUAL * int((below == below.max()).sum())
