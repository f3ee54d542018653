"""Units of length and time as files write them, and which pixel sizes a microscope can have."""

import re
import unicodedata
from collections.abc import Mapping
from math import isfinite

from zsd_runtime.images.image import Voxel

# SI prefixes as OME writes them. Case counts: Mm is a megametre, mm a millimetre.
_PREFIXES = {
    "Y": 1e24, "Z": 1e21, "E": 1e18, "P": 1e15, "T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3, "h": 1e2, "da": 1e1, "": 1.0,
    "d": 1e-1, "c": 1e-2, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15, "a": 1e-18, "z": 1e-21, "y": 1e-24,
}  # fmt: skip
_PREFIX_NAMES = {
    "yotta": "Y", "zetta": "Z", "exa": "E", "peta": "P", "tera": "T", "giga": "G", "mega": "M", "kilo": "k",
    "hecto": "h", "deca": "da", "deka": "da", "": "", "deci": "d", "centi": "c", "milli": "m", "micro": "u",
    "nano": "n", "pico": "p", "femto": "f", "atto": "a", "zepto": "z", "yocto": "y",
}  # fmt: skip

_METRES = {
    **{prefix + "m": factor for prefix, factor in _PREFIXES.items()},
    **{
        name + word: _PREFIXES[prefix]
        for name, prefix in _PREFIX_NAMES.items()
        for word in ("meter", "meters", "metre", "metres")
    },
    **dict.fromkeys(("u", "mu", "mum", "micro", "micron", "microns"), 1e-6),
    **dict.fromkeys(("Å", "å", "A", "angstrom", "angstroms", "angström", "ångström", "ångstrom"), 1e-10),
    **dict.fromkeys(("in", "inch", "inches", '"'), 0.0254),
    **dict.fromkeys(("ft", "foot", "feet"), 0.3048),
    **dict.fromkeys(("yd", "yard", "yards"), 0.9144),
    **dict.fromkeys(("thou", "mil"), 2.54e-5), "li": 0.0254 / 12, "pt": 0.0254 / 72, "mi": 1609.344, "mile": 1609.344,
}  # fmt: skip

_SECONDS = {
    **{prefix + "s": factor for prefix, factor in _PREFIXES.items()},
    **{
        name + word: _PREFIXES[prefix]
        for name, prefix in _PREFIX_NAMES.items()
        for word in ("sec", "secs", "second", "seconds")
    },
    **dict.fromkeys(("msec", "msecs"), 1e-3), **dict.fromkeys(("usec", "usecs"), 1e-6),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0), **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
}  # fmt: skip

# A fluorescence microscope has pixels of 5 nm (localisation) to some µm (macroscopes). Cameras that do not know say
# 10000 µm, printers 352, 265 or 85 µm (72, 96, 300 dpi). Slices can be further apart than pixels.
_SMALLEST_UM = 1e-3
_LARGEST_UM = {"Z": 500.0, "Y": 50.0, "X": 50.0}


def length_um(value: object, unit: str | None) -> float | None:
    """A length in µm, without its sign (a stage that moves down gives negative steps).

    Parameters
    ----------
    value : object
        A number, or text of one. Zero, NaN, infinity and text such as "0,3" are unknown.
    unit : str or None
        As files write it: "µm" with either µ, "micron", "nm", "Å", "inch"; "pixel" is unknown, and so is None.

    Returns
    -------
    float or None
        None where it is unknown.
    """
    factor = _factor(unit, _METRES)
    size = number(value)
    if factor is None or not size:
        return None
    # Decimal units are exact this way: 65 nm is 0.065 µm, not 0.06500000000000001.
    metres = abs(size) * factor
    um = float(f"{metres * 1e6:.15g}")
    return um if um and isfinite(um) else None


def time_s(value: object, unit: str | None) -> float | None:
    """A time in seconds; None where it is unknown, zero or negative. See `length_um`."""
    factor = _factor(unit, _SECONDS)
    size = number(value)
    if factor is None or not size or size < 0:
        return None
    seconds = float(f"{size * factor:.15g}")
    return seconds if seconds and isfinite(seconds) else None


def position_s(value: object, unit: str | None) -> float | None:
    """A point in time in seconds, with its sign; None where it is unknown."""
    factor, at = _factor(unit, _SECONDS), number(value)
    return None if factor is None or at is None else at * factor


def position_um(value: object, unit: str | None) -> float | None:
    """A position in µm, with its sign; zero is a position. None where it is unknown. See `length_um`."""
    size = number(value)
    if size == 0 and _factor(unit, _METRES):
        return 0.0
    um = length_um(value, unit)
    return None if um is None or size is None else um if size > 0 else -um


def number(value: object) -> float | None:
    """A finite number, from a number or its text; None for anything else."""
    if isinstance(value, bool) or "_" in str(value):  # Python reads 1_000
        return None
    try:
        size = float(value if isinstance(value, int | float) else str(value).strip())
    except (ValueError, OverflowError):
        return None
    return size if isfinite(size) else None


def plausible(voxel: Voxel) -> tuple[Voxel, tuple[str, ...]]:
    """Take sizes that no fluorescence microscope has as unknown.

    Returns
    -------
    Voxel
        Y and X are both unknown if one of them is.
    tuple of str
        A notice for each size that was taken as unknown; it names the value.
    """
    wrong = {a: um for a in "ZYX" if (um := voxel[a]) is not None and not _SMALLEST_UM <= um <= _LARGEST_UM[a]}
    notices = []
    if side := wrong.get("X", wrong.get("Y")):
        notices.append(
            f"the file says that pixels are {side:g} µm wide; no fluorescence microscope has such pixels, so their "
            "size counts as unknown"
        )
    if "Z" in wrong:
        notices.append(f"the file says that slices are {wrong['Z']:g} µm apart; this counts as unknown")
    planes = {"Y", "X"} & set(wrong)
    return (
        Voxel(None if "Z" in wrong else voxel.z_um, None if planes else voxel.y_um, None if planes else voxel.x_um),
        tuple(notices),
    )


def voxel_um(sizes: Mapping[str, tuple[object, str | None]]) -> tuple[Voxel, tuple[str, ...]]:
    """The voxel that a file describes.

    Parameters
    ----------
    sizes : mapping of str to (object, str or None)
        The value and the unit along axes of "ZYX", as in the file. An axis that the file says nothing of is left out,
        or its value is None.

    Returns
    -------
    Voxel
        Implausible sizes are unknown; Y and X are both unknown if one of them is.
    tuple of str
        Notices that name each value that could not be used.
    """
    um, notices = {}, []
    for axis, (value, unit) in sizes.items():
        um[axis] = length_um(value, unit)
        if um[axis] is None and value not in (None, ""):
            of = {"Z": "z step"}.get(axis, "pixel size")
            if number(value) is None:
                notices.append(f"the {of} {value!s:.40} of the file is not a number, so it counts as unknown")
            elif not number(value):
                notices.append(f"the {of} of the file is 0, so it counts as unknown")
            elif unit and not _is_pixel(unit):
                notices.append(f"the {of} of the file is {value!s:.40} {unit!s:.40}, a unit that zsd does not know")
    y, x = um.get("Y"), um.get("X")
    if (y or x) and not (y and x) and not notices:
        notices.append(f"the file gives a pixel size along {'Y' if y else 'X'} only, so it counts as unknown")
    voxel, implausible = plausible(Voxel(um.get("Z"), *((y, x) if y and x else (None, None))))
    return voxel, (*dict.fromkeys(notices), *implausible)


def _is_pixel(unit: str) -> bool:
    return _plain(unit).lower() in {"pixel", "pixels", "px", "voxel", "reference frame", "referenceframe", "none", ""}


def _factor(unit: str | None, table: Mapping[str, float]) -> float | None:
    if unit is None:
        return None
    plain = _plain(unit)
    return table.get(plain, table.get(plain.lower()))


def _plain(unit: str) -> str:
    """With either µ, escaped or read in the wrong encoding, as "u"; without "/pixel" and brackets."""
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), str(unit))
    text = text.replace("Â", "").replace("Î¼", "µ").replace("Ã…", "Å")  # UTF-8 that was read as Latin-1
    text = unicodedata.normalize("NFKC", text).replace("μ", "u")  # NFKC maps both µ to one, and Å's three to one
    text = text.replace("�", "u") if text.endswith("m") else text
    text = text.replace("\0", "").strip().strip("[]()").strip()
    return re.sub(r"\s*(/|per)\s*(pixels?|px|voxels?)$", "", text, flags=re.IGNORECASE)
