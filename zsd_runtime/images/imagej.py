"""What ImageJ writes into its TIFF files: read and written."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError
from zsd_runtime.images.image import Channel, Description, Image, Voxel
from zsd_runtime.images.units import number, time_s, voxel_um


def check_imagej(imagej: dict[str, Any], planes: int, name: str) -> None:
    """Raise `InputError` if the file has fewer planes than it announces, or numbers that are not what they seem."""
    if (imagej.get("c0"), imagej.get("c1")) == (-32768, 1):
        raise InputError(
            f"{name} holds ImageJ's signed 16-bit numbers, which are stored 32768 too high: convert it in ImageJ "
            "(Image > Type > 32-bit) and save it again"
        )
    counts = [imagej.get(key, 1) for key in ("channels", "slices", "frames")]
    if not all(isinstance(n, int) and n > 0 for n in counts):
        raise InputError(f"{name} has {counts} channels, slices and frames", "save it again in Fiji")
    announced = max(int(np.prod(counts)), 1)
    if planes < announced:
        raise InputError(
            f"{name} is cut off or was not written to its end: it announces {announced} planes and holds {planes}",
            "copy it again, or save the planes that it has in Fiji",
        )


def describe_imagej(
    imagej: dict[str, Any], per_pixel: dict[str, float | None], axes: str, shape: tuple[int, ...]
) -> tuple[Voxel, Description]:
    """Voxel size and description.

    Parameters
    ----------
    imagej : dict
        tifffile's `imagej_metadata`.
    per_pixel : dict of str to float
        What the resolution tags say of a pixel in Y and X, in ImageJ's unit.
    axes, shape : str, tuple of int
        Of the image.
    """
    sizes = dict(zip(axes, shape, strict=True))
    unit = str(imagej.get("unit", ""))
    found: dict[str, tuple[object, str | None]] = {
        axis: (per_pixel[axis] if unit else None, str(imagej.get(f"{axis.lower()}unit", unit))) for axis in "YX"
    }
    if "Z" in sizes or "T" in sizes:
        found = {"Z": (imagej.get("spacing"), str(imagej.get("zunit", unit))), **found}
    voxel, notices = voxel_um(found)
    if "T" in sizes and "Z" not in sizes and voxel.z_um:
        notices += (
            f"the file calls its {sizes['T']} planes frames, and says that slices are {voxel.z_um:g} µm apart; "
            "use --axes ZYX if these are slices",
        )
    labels = imagej.get("Labels", ())
    labels = (labels,) if isinstance(labels, str) else tuple(map(str, labels))
    planes = int(np.prod([n for axis, n in sizes.items() if axis in "TCZ"]))
    labels = labels if len(labels) == planes else ()
    origins = {axis: imagej.get(f"{axis.lower()}origin") for axis in "ZYX"}
    return voxel, Description(
        name=str(imagej.get("name", "")),
        text=str(imagej.get("Info", "")),
        channels=_channels(imagej, labels, sizes.get("C", 1)),
        time_step_s=time_s(imagej.get("finterval"), str(imagej.get("tunit", "s"))),
        # ImageJ counts pixels from where its coordinates begin.
        origin_um={
            axis: -at * (voxel[axis] or 0)
            for axis, at in origins.items()
            if isinstance(at, int | float) and voxel[axis]
        },
        labels=labels,
        size_source="ImageJ" if voxel != Voxel() else "",
        notices=notices,
    )


def _channels(imagej: dict[str, Any], labels: tuple[str, ...], count: int) -> tuple[Channel, ...]:
    """From lookup tables, from what zsd wrote, and from labels that are the same in all planes of a channel."""
    tables = imagej.get("LUTs", ())
    tables = [tables] if isinstance(tables, np.ndarray) else list(tables)
    if len(tables) != count or any(np.shape(t) != (3, 256) for t in tables):
        tables = []
    by_channel = [set(labels[c::count]) for c in range(count if count > 1 else 0)]
    names = _names(imagej) or [found.pop() if len(found) == 1 else "" for found in by_channel]
    names = names if len(names) == count else [""] * count
    waves = [number(text) for text in str(imagej.get("emission_nm", "")).split(",")]
    waves = waves if len(waves) == count else [None] * count
    if not tables and not any(names) and not any(waves):
        return ()
    return tuple(
        Channel(name, lut_color(tables[c]), wave, np.asarray(tables[c], np.uint8))
        if tables
        else Channel(name, None, wave)
        for c, (name, wave) in enumerate(zip(names, waves, strict=True))
    )


def _names(imagej: dict[str, Any]) -> list[str]:
    """Of channels, as zsd writes them."""
    try:
        names = json.loads(imagej.get("channel_names", "[]"))
    except (TypeError, ValueError):
        return []
    return list(map(str, names)) if isinstance(names, list) else []


def lut_color(lut: NDArray[np.uint8]) -> str:
    """The colour of the brightest pixels, "RRGGBB"."""
    return "".join(f"{int(value):02X}" for value in lut[:, -1])


def imagej_metadata(image: Image, order: str) -> dict[str, Any]:
    """What tifffile takes for an ImageJ hyperstack of `image`, whose planes are stored in the `order` of its axes."""
    d, voxel = image.description, image.voxel
    metadata: dict[str, Any] = {"axes": order}
    if voxel.y_um:
        metadata["unit"] = "um"
    if voxel.z_um:
        metadata["spacing"] = voxel.z_um
    sizes = dict(zip(image.axes, image.data.shape, strict=True))
    planes = int(np.prod([n for axis, n in sizes.items() if axis in "TCZ"]))
    if len(d.labels) == planes:
        metadata["Labels"] = list(d.labels)
    elif len(d.channels) == sizes.get("C", 1) and any(c.name for c in d.channels):
        metadata["Labels"] = [c.name for c in d.channels] * (planes // len(d.channels))  # what ImageJ shows as names
    if len(d.channels) == sizes.get("C", 1) and any(c.name for c in d.channels):
        metadata["channel_names"] = json.dumps([c.name for c in d.channels])
    if len(d.channels) == sizes.get("C", 1) and all(c.emission_nm for c in d.channels):
        metadata["emission_nm"] = ",".join(f"{c.emission_nm:g}" for c in d.channels)
    if d.name:
        metadata["name"] = d.name
    for axis, at in d.origin_um.items():
        metadata[f"{axis.lower()}origin"] = -at / (voxel[axis] or 1.0)
    tables = [c.lut if c.lut is not None else _lut(c.color) for c in d.channels]
    if tables and len(tables) == sizes.get("C", 1) and any(c.lut is not None or c.color for c in d.channels):
        metadata |= {"LUTs": tables, "mode": "composite" if len(tables) > 1 else "color"}
    more = {"Info": d.whole_text, "finterval": d.time_step_s}
    return {**metadata, **{key: value for key, value in more.items() if value}}


def _lut(color: str | None) -> NDArray[np.uint8]:
    """From black to a colour; to white if it is unknown."""
    brightest = np.array([int((color or "FFFFFF")[i : i + 2], 16) for i in (0, 2, 4)])
    return np.rint(brightest[:, None] * np.arange(256) / 255).astype(np.uint8)
