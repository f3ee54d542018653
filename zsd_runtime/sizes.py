"""Lengths in µm: what is typed, what files say, and what to do when they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path

from zsd_runtime.errors import InputError
from zsd_runtime.images import Image, Voxel
from zsd_runtime.notices import Notice, no_notice

TOLERANCE = 0.01  # two programs round the same size differently


def agreed(
    typed: float | None, found: Mapping[Path, float | None], option: str, notice: Notice = no_notice
) -> float | None:
    """A size (µm): the one that is typed, else the one that all files say which know it; None if none does.

    Parameters
    ----------
    typed : float
        Replaces what the files say, with a notice where that differs by more than 1 %.
    found : mapping of path to float
        What each file says.
    option : str
        Under which it is typed, for example "psf_pixel_size".
    notice : callable
        Gets a sentence when a file's size is replaced, or taken for another file.

    Raises
    ------
    InputError
        When what is typed is no length, or files differ by more than 1 %.
    """
    known = {path: um for path, um in found.items() if um is not None}
    if typed is not None:
        if not (isfinite(typed) and typed > 0):
            raise InputError(f"`{option}` {typed:g} must be above 0 µm", option=option)
        replaced = [path for path, um in known.items() if abs(typed / um - 1) > TOLERANCE]
        if replaced:
            notice(f"{names_text(replaced)} says {known[replaced[0]]:g} µm; `{option}` {typed:g} µm is used")
        return typed
    if not known:
        return None
    first, um = next(iter(known.items()))
    for path, other in known.items():
        if abs(other / um - 1) > TOLERANCE:
            raise InputError(
                f"{first} has a {_size_name(option)} of {um:g} µm and {path} one of {other:g} µm",
                f"train a model for each, or type the right one with `{option}`", option=option,
            )  # fmt: skip
    unknown = [path for path in found if path not in known]
    if unknown:
        notice(f"{names_text(unknown)} does not say its {_size_name(option)}; that of {first}, {um:g} µm, is used")
    return um


def sized(image: Image, path: Path, typed: Voxel, notice: Notice = no_notice) -> Image:
    """The image, with the sizes that are `typed` in place of its own; see `agreed`."""
    voxel = image.voxel
    if (um := agreed(typed.x_um, {path: voxel.x_um}, "pixel_size", notice)) != voxel.x_um:
        voxel = replace(voxel, y_um=um, x_um=um)
    return replace(image, voxel=replace(voxel, z_um=agreed(typed.z_um, {path: voxel.z_um}, "z_step", notice)))


def required(um: float | None, option: str, name: str, otherwise: str = "") -> float:
    """A size (µm); an error if it is unknown, which says how to give it, or what to do `otherwise`."""
    if um is None:
        remedy = f"give it with `{option}` (µm){otherwise}"
        raise InputError(f"{name} does not say its {_size_name(option)}", remedy, option=(option, "psf_sigma"))
    return um


def _size_name(option: str) -> str:
    return "z step" if option.endswith("z_step") else "pixel size"


def lengths(text: str, option: str) -> tuple[float, ...]:
    """From "1.2", for Y and X, to (1.2,); from "1.5x1.1", for Z and for Y and X, to (1.5, 1.1)."""
    try:
        values = tuple(float(part) for part in text.lower().split("x"))
    except ValueError:
        values = ()
    if len(values) not in (1, 2):
        expected = "a number, for instance 1.2, or two with an x between, ZxYX, for instance 1.5x1.1"
        raise InputError(f"`{option}` {text} must be {expected}", option=option)
    return values


def names_text(paths: Sequence[Path]) -> str:
    """The first path, and how many more there are."""
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
