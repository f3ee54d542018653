"""Which images an OME-Zarr hierarchy holds, and which one of them is meant."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from zsd_runtime.errors import InputError
from zsd_runtime.images.ome_zarr_metadata import as_dict, as_list, ome

DEPTH = 4  # groups in groups that are searched for images
NO_IMAGES = {"labels", "OME", "tables"}  # groups that belong to an image or a plate
LISTED = 8  # names in a message


@dataclass(frozen=True)
class Member:
    """An image in a hierarchy: number `index` of the multiscales of a `group`."""

    name: str
    group: Any
    index: int = 0

    def attributes(self) -> Mapping[str, Any]:
        """What belongs to OME-Zarr of the group's attributes."""
        return ome(dict(self.group.attrs))

    def multiscale(self) -> Mapping[str, Any]:
        """Its description; empty if it is malformed."""
        return as_dict(as_list(self.attributes().get("multiscales"))[self.index])


def members(group: Any, name: str = "", depth: int = DEPTH) -> Iterator[Member]:
    """All images in a group, in the order of its description: multiscales, a plate, a well, bioformats2raw's or others.

    Images that the description names and the group lacks are left out.
    """
    described = ome(dict(group.attrs))
    multiscales = as_list(described.get("multiscales"))
    for index, multiscale in enumerate(multiscales):
        number = f"{index}" if len(multiscales) > 1 else ""
        own = as_dict(multiscale).get("name")
        label = own if isinstance(own, str) and own and not name else "/".join(filter(None, (name, number)))
        yield Member(label, group, index)
    if not multiscales and depth:
        for path in _paths(group, described):
            if (child := _child(group, path)) is not None:
                yield from members(child, f"{name}/{path}".strip("/"), depth - 1)


def _paths(group: Any, described: Mapping[str, Any]) -> list[str]:
    """Of the groups in which the images of a group are."""
    for kind, entries in (("plate", "wells"), ("well", "images")):
        if kind in described:
            paths = [as_dict(entry).get("path") for entry in as_list(as_dict(described[kind]).get(entries))]
            return [path.strip("/") for path in paths if isinstance(path, str)]
    if "bioformats2raw.layout" in described and (listing := _child(group, "OME")) is not None:
        series = as_list(ome(dict(listing.attrs)).get("series"))
        if series and all(isinstance(path, str) for path in series):
            return [path.strip("/") for path in series]
    return sorted((key for key in group.group_keys() if key not in NO_IMAGES), key=_natural)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(digits or 0), text) for digits, text in re.findall(r"(\d{1,18})|(\D+)", name)]


def _child(group: Any, path: str) -> Any:
    """The group of this path; None if there is none, or if the path leads out of the group."""
    try:
        child = group[path] if path else None
    except Exception:  # many kinds, from many layers: it is not there, or is no group
        return None
    return child if hasattr(child, "group_keys") else None


def chosen(path: Path, group: Any, series: int | None) -> tuple[Member, tuple[str, ...], tuple[str, ...]]:
    """The image that is meant; the names of all images, if there are several; notices.

    Raises
    ------
    InputError
        When there is no image, or several without a largest one and `series` does not choose.
    """
    found = list(members(group))
    if not found:
        inside = sorted(f"{key} (array)" if hasattr(node, "chunks") else key for key, node in group.members())
        holds = f"it holds {', '.join(inside[:LISTED])}{', …' * (len(inside) > LISTED)}" if inside else "it is empty"
        raise InputError(
            f"{path} is a Zarr group without OME-Zarr's multiscales ({holds})",
            "give the image inside it, or an array inside it with `axes`" if inside else "write it again",
            option="axes",
        )
    if series is not None:
        if not 0 <= series < len(found):
            count = f"{len(found)} image{'s' * (len(found) > 1)}"
            choice = f"choose from 0 to {len(found) - 1}" if len(found) > 1 else "leave it out"
            raise InputError(f"`series` {series} is not in {path}, which holds {count}", choice, option="series")
        return found[series], _names(found), ()
    if len(found) == 1:
        return found[0], (), ()
    names = _names(found)
    listing = ", ".join(f"{number}: {name}" for number, name in enumerate(names[:LISTED]))
    holds = f"{path} holds {len(found)} images ({listing}{', …' * (len(names) > LISTED)})"
    if all(member.group is found[0].group for member in found):  # the standard: by default, the first
        return found[0], names, (f"{holds}; the first is taken; `series` takes another",)
    # Fields of a plate are alike, and opening them all takes long.
    alike = {"plate", "well"} & set(ome(dict(group.attrs)))
    pixels = [] if alike else [_pixels(member) for member in found]
    if not pixels or 0 in pixels or pixels.count(max(pixels)) > 1:
        raise InputError(holds, "choose one with `series`", option="series")
    largest = pixels.index(max(pixels))
    return found[largest], names, (f"{holds}; the largest, {largest}, is taken; `series` takes another",)


def _names(found: list[Member]) -> tuple[str, ...]:
    return tuple(member.name for member in found) if len(found) > 1 else ()


def _pixels(member: Member) -> int:
    """Of the first level; 0 if it cannot be opened."""
    first = as_dict(next(iter(as_list(member.multiscale().get("datasets"))), None))
    try:
        return prod(member.group[first["path"]].shape)
    except Exception:  # as in `_child`; if this one is meant, opening it says what is wrong
        return 0
