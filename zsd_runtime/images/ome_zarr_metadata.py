"""What the JSON of an OME-Zarr image says of its axes, sizes, position and channels: versions 0.1 to 0.6."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import nan
from typing import Any, Self

from zsd_runtime.errors import InputError
from zsd_runtime.images.image import Channel, Description, Voxel
from zsd_runtime.images.units import number, position_um, time_s, voxel_um

BEFORE_0_3 = "tczyx"  # versions 0.1 and 0.2 knew no other axes
NAMES = {"time": "T", "channel": "C", "channels": "C", "depth": "Z", "height": "Y", "width": "X"}
KINDS = {"time": "T", "channel": "C"}


@dataclass(frozen=True)
class Axis:
    """An axis as the file describes it.

    Attributes
    ----------
    name : str
    letter : str
        Of "TCZYX"; empty for an axis of another kind.
    unit : str or None
    """

    name: str
    letter: str
    unit: str | None = None


@dataclass(frozen=True)
class Placed:
    """Where an array lies: scale and translation along each axis, None where the file gives none that can be read."""

    scale: tuple[float, ...] | None = None
    translation: tuple[float, ...] | None = None
    notices: tuple[str, ...] = ()

    def along(self, order: list[int]) -> Self:
        """Of these axes, in this order."""
        scale, translation = (v and tuple(v[axis] for axis in order) for v in (self.scale, self.translation))
        return replace(self, scale=scale, translation=translation)


def as_dict(value: object) -> Mapping[str, Any]:
    """The value, or nothing if it is not what the standard says."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """The value, or nothing if it is not what the standard says."""
    return value if isinstance(value, list) else []


def ome(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The attributes of a group that belong to OME-Zarr; 0.5 nests what 0.4 did not."""
    return attributes["ome"] if isinstance(attributes.get("ome"), dict) else attributes


def axes_of(multiscale: Mapping[str, Any], dimensions: int, names: list[str] | None) -> list[Axis]:
    """The axes of a multiscale image; `names` are those of its array, for descriptions without axes.

    Raises
    ------
    InputError
        When they are not one for each of the array's `dimensions`. Its message begins after the file's name.
    """
    systems = [as_dict(system) for system in as_list(multiscale.get("coordinateSystems"))]  # 0.6
    finest = as_dict(next(iter(as_list(multiscale.get("datasets"))), None))
    step = as_dict(next(iter(as_list(finest.get("coordinateTransformations"))), None))
    intrinsic = as_dict(step.get("output")).get("name", step.get("output"))
    system = next((s for s in systems if s.get("name") == intrinsic), systems[0] if systems else {})
    described = multiscale.get("axes", system.get("axes"))
    if described is None and names is not None:
        described = names
    if described is None and dimensions == len(BEFORE_0_3):
        described = list(BEFORE_0_3)
    axes = [axis_of(axis) for axis in as_list(described)]
    if len(axes) != dimensions:
        named = [axis.name for axis in axes] if axes else "no axes"
        raise InputError(f"describes {named} for an array of {dimensions} axes", "name them with `axes`", option="axes")
    return axes


def axis_of(described: object) -> Axis:
    """An axis of 0.3 (a string) or of 0.4 (a name, a type, a unit), or of an array's dimension names."""
    axis = as_dict(described)
    name, unit = str(axis.get("name", "") if axis else described), axis.get("unit")
    letter = name.upper() if name.upper() in set("TCZYX") else NAMES.get(name.lower())
    return Axis(name, letter or KINDS.get(str(axis.get("type")).lower(), ""), unit if isinstance(unit, str) else None)


def placed(multiscale: Mapping[str, Any], dataset: Mapping[str, Any], dimensions: int) -> Placed:
    """Compose the coordinate transformations: those of the dataset first, then those of the image.

    From 0.6 on, the image's own lead to other coordinate systems, such as an atlas.
    """
    transforms = list(as_list(dataset.get("coordinateTransformations")))
    if "coordinateSystems" not in multiscale:
        transforms += as_list(multiscale.get("coordinateTransformations"))
    scale, translation = [1.0] * dimensions, [0.0] * dimensions
    kinds: set[str] = set()
    notices = []
    for kind, values in _steps(transforms):
        numbers: list[float | None] = [number(value) for value in as_list(values)]
        kinds.add(kind)
        if kind == "scale" and len(numbers) == dimensions:
            factors = [value or 0.0 for value in numbers]  # 0 is what no voxel has: unknown
            scale = [a * b for a, b in zip(scale, factors, strict=True)]
            translation = [a * b for a, b in zip(translation, factors, strict=True)]
        elif kind == "translation":
            if len(numbers) != dimensions or None in numbers:
                numbers = [nan] * dimensions
                notices.append("the translation of the file cannot be read, so the position counts as unknown")
            translation = [a + (b or 0.0) for a, b in zip(translation, numbers, strict=True)]
        elif kind != "identity":
            what = f"the coordinate transformation '{kind:.40}' of the file cannot be read"
            return Placed(notices=(f"{what}, so pixel size and position count as unknown",))
    return Placed(
        tuple(scale) if "scale" in kinds else None,
        tuple(translation) if "translation" in kinds else None,
        tuple(notices),
    )


def _steps(transforms: list[Any]) -> Iterator[tuple[str, Any]]:
    """The kind and the values of each transformation; those of 0.6's sequences one by one."""
    for transform in transforms:
        kind = str(as_dict(transform).get("type"))
        if kind == "sequence":
            yield from _steps(as_list(as_dict(transform).get("transformations")))
        else:
            yield kind, as_dict(transform).get(kind)


def voxel_of(axes: list[Axis], place: Placed) -> tuple[Voxel, tuple[str, ...]]:
    """The voxel size, and notices of what was assumed or cannot be used.

    The standard leaves units open. Lengths without one are µm, unless all are 1: then nobody gave a size.
    """
    sizes = {
        axis.letter: (value, axis.unit)
        for axis, value in zip(axes, place.scale or (), strict=False)
        if axis.letter in set("ZYX")
    }
    bare = {letter: value for letter, (value, unit) in sizes.items() if not (unit or "").strip()}
    if all(value == 1 for value in bare.values()):
        bare = {}
    other = next((unit for _, unit in sizes.values() if unit), "micrometer")
    voxel, notices = voxel_um({a: (value, other if a in bare else unit) for a, (value, unit) in sizes.items()})
    if used := [f"{value:g}" for a, value in bare.items() if voxel[a]]:
        notices = (f"the file gives no unit with the voxel size {' x '.join(used)}; it is read as {other}", *notices)
    return voxel, notices


def origin_of(axes: list[Axis], place: Placed, voxel: Voxel) -> tuple[dict[str, float], tuple[str, ...]]:
    """The position of the first voxel, µm, along each axis of "ZYX" that the file gives it of, and notices.

    Without a unit it is in that of the other axes, or of the voxel size, see `voxel_of`. Without either it may be in
    pixels.
    """
    other = next((axis.unit for axis in axes if axis.letter in set("ZYX") and axis.unit), None)
    other = other or ("micrometer" if voxel != Voxel() else None)
    origin, notices = {}, []
    for axis, value in zip(axes, place.translation or (), strict=False):
        if axis.letter in set("ZYX"):
            unit = axis.unit if (axis.unit or "").strip() else other
            um = position_um(value, unit)
            if um is not None:
                origin[axis.letter] = um
            elif unit is None and value:
                notices.append(f"the file gives no unit with the position {value:g}, so it counts as unknown")
    return origin, tuple(notices)


def time_step_of(axes: list[Axis], place: Placed) -> tuple[float | None, tuple[str, ...]]:
    """The time between frames, s, and notices; without a unit it is in seconds, unless it is 1."""
    for axis, value in zip(axes, place.scale or (), strict=False):
        if axis.letter == "T" and not (axis.unit or "").strip():
            if value == 1 or not (seconds := time_s(value, "s")):
                return None, ()
            return seconds, (f"the file gives no unit with the time step {value:g}; it is read in seconds",)
        if axis.letter == "T":
            return time_s(value, axis.unit), ()
    return None, ()


def described(
    multiscale: Mapping[str, Any], omero: object, axes: list[Axis], place: Placed, channels: int
) -> tuple[Voxel, Description]:
    """The voxel size and what else the file says of an image with so many channels."""
    voxel, sizes = voxel_of(axes, place)
    time_step, times = time_step_of(axes, place)
    origin, positions = origin_of(axes, place, voxel)
    known, names = channels_of(omero, channels)
    name = multiscale.get("name")
    return voxel, Description(
        name=name if isinstance(name, str) else "",
        channels=known,
        time_step_s=time_step,
        origin_um=origin,
        size_source="OME-Zarr" if voxel != Voxel() else "",
        notices=place.notices + sizes + positions + times + names,
    )


def channels_of(omero: object, count: int) -> tuple[tuple[Channel, ...], tuple[str, ...]]:
    """Names and colours of `count` channels, or none, and notices."""
    described = [as_dict(channel) for channel in as_list(as_dict(omero).get("channels"))]
    if not any(described):
        return (), ()
    if len(described) != count:
        return (), (f"the file describes {len(described)} channels and holds {count}, so their names are not used",)
    return tuple(_channel(channel) for channel in described), ()


def _channel(described: Mapping[str, Any]) -> Channel:
    label = described.get("label")
    emission = number(described.get("emissionWave"))
    return Channel(
        name=str(label) if isinstance(label, str | int | float) else "",
        color=color_of(described.get("color")),
        emission_nm=emission if emission and emission > 0 else None,
    )


def color_of(value: object) -> str | None:
    """The hexadecimal RRGGBB of OME-Zarr's text, with or without "#" and alpha, or OME's number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value >> 8 & 0xFFFFFF:06X}"  # signed RGBA
    match = re.fullmatch("#?([0-9a-fA-F]{6})([0-9a-fA-F]{2})?", str(value).strip())
    return match[1].upper() if match else None
