"""Several images in one file: which one is opened. Frames that were never finished."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError, size_text

LISTED = 12  # names in one message


@dataclass(frozen=True)
class Series:
    """One of the images in a file.

    Attributes
    ----------
    name : str
    sizes : dict of str to int
        Of its axes; "S" are the samples of a colour image.
    place : dict of str to int
        Where it is along axes of the file that are none of "TCZYX": scene, position, view, tile.
    """

    name: str
    sizes: dict[str, int]
    place: dict[str, int] = field(default_factory=dict)


def choose(path: Path, found: Sequence[Series], wanted: int | None) -> tuple[int, tuple[str, ...]]:
    """The number of the image to open, and what the user should know about the choice.

    Parameters
    ----------
    path : path
        For messages.
    found : sequence of Series
    wanted : int or None
        What the user asks for, from 0. If None, the largest image that is not in colour.

    Raises
    ------
    InputError
        When there is no such image, or several are equally large.
    """
    if not found:
        raise InputError(f"{path} holds no image")
    if wanted is not None:
        if not 0 <= wanted < len(found):
            raise InputError(
                f"`series` {wanted} does not exist: {path} holds {_listed(found)}",
                "choose one of them",
                option="series",
            )
        return wanted, ()
    grey = [number for number, series in enumerate(found) if "S" not in series.sizes] or list(range(len(found)))
    size = {number: prod(found[number].sizes.values()) for number in grey}
    largest = [number for number in grey if size[number] == max(size.values())]
    if len(largest) > 1:
        raise InputError(f"{path} holds {_listed(found)}", "choose one with `series`", option="series")
    if len(found) == 1:
        return 0, ()
    return largest[0], (f"{path.name} holds {_listed(found)}; number {largest[0]}, the largest, is used",)


def whole_frames(path: Path, present: NDArray[np.bool_]) -> tuple[list[int], tuple[str, ...]]:
    """The frames of which every plane was recorded; libraries fill the others with zeros, silently.

    Parameters
    ----------
    path : path
        For messages.
    present : ndarray of bool
        (T, C, Z)

    Returns
    -------
    list of int
        Numbers of the whole frames.
    tuple of str
        A notice that names the others.

    Raises
    ------
    InputError
        When no frame is whole.
    """
    whole: NDArray[np.bool_] = np.asarray(present.all((1, 2)))
    if whole.all():
        return list(range(len(whole))), ()
    planes = f"{int((~present).sum())} of its {present.size} planes"
    if not whole.any():
        short = [c for c in range(present.shape[1]) if not present[:, c].all()]
        where = f" (channel {ranges(short)}, counted from 0)" if 0 < len(short) < present.shape[1] else ""
        raise InputError(
            f"{path} is incomplete: {planes} were never recorded{where}",
            "export the part that is complete from the microscope's software",
        )
    missing = np.flatnonzero(~whole).tolist()
    return np.flatnonzero(whole).tolist(), (
        f"{path.name} is incomplete: {planes} were never recorded; frames {ranges(missing)} of 0-{len(whole) - 1} are "
        "left out",
    )


def ranges(numbers: Iterable[int]) -> str:
    """[1, 2, 3, 7] as "1-3, 7"."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _listed(found: Sequence[Series]) -> str:
    names = [
        f"{number} {s.name!r} ({size_text(n for a, n in s.sizes.items() if n > 1 or a in 'YX')})"
        for number, s in enumerate(found[:LISTED])
    ]
    return f"{len(found)} images: {', '.join(names)}{', …' * (len(found) > LISTED)}"
