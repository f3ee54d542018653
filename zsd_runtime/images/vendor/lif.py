"""LIF of Leica's LAS, read by liffile.

The images of a file are series, and so are the tiles, rotations and wavelengths of a scan.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from zsd_runtime.errors import InputError
from zsd_runtime.images.image import Channel, Description, Format, Image
from zsd_runtime.images.units import number, position_um, time_s, voxel_um
from zsd_runtime.images.vendor.library import check_start, library
from zsd_runtime.images.vendor.series import Series, choose

DESCRIPTION = "./Data/Image/ImageDescription"
IDS = {"1": "X", "2": "Y", "3": "Z", "4": "T"}
# Names of liffile's axes that are none of "TCZYXS".
AXES = {
    "λ": "wavelength", "Λ": "excitation", "A": "rotation", "N": "slice", "Q": "time slice", "M": "tile", "L": "loop"
}  # fmt: skip
COLORS = {
    "red": "FF0000", "green": "00FF00", "blue": "0000FF", "cyan": "00FFFF", "magenta": "FF00FF", "yellow": "FFFF00",
    "gray": "FFFFFF", "grey": "FFFFFF", "white": "FFFFFF",
}  # fmt: skip


def _recognises(path: Path) -> bool:
    return path.suffix.lower() == ".lif" and path.is_file()


def _open(path: Path, axes: str | None, series: int | None) -> Image:  # noqa: ARG001
    liffile = library("liffile", path)
    check_start(path, "LIF", b"\x70\0\0\0")
    with liffile.LifFile(path) as file:
        scans = [image for image in file.images if not image.is_flim]
        found = [(scan, one) for scan in scans for one in _series(scan)]
        number, notices = choose(path, [one for _, one in found], series)
        scan, one = found[number]
        if "S" in one.sizes:
            raise InputError(f"{path} is a colour image (RGB)", "split it into channels and give one of them")
        block = scan.memory_block
        if block.offset + block.size > path.stat().st_size:
            raise InputError(f"{path} is cut off: the pixels of {one.name!r} reach past its end", "copy it again")
        if block.size < scan.nbytes:
            raise InputError(
                f"{path} is incomplete: {one.name!r} has {block.size} bytes of {scan.nbytes}",
                "export the part that is complete from LAS",
            )
        data = scan.asarray(out="memmap")
        data = data[tuple(one.place.get(axis, slice(None)) for axis in scan.dims)]
        voxel, origin, step, odd = _sampling(scan)
        described = Description(
            name=one.name, channels=_channels(scan, one.sizes.get("C", 1)), time_step_s=step, origin_um=origin,
            series=tuple(s.name for _, s in found) if len(found) > 1 else (),
            size_source="LIF metadata" if voxel.x_um else "", notices=(*notices, *odd),
        )  # fmt: skip
        return Image(data, "".join(one.sizes), voxel, description=described)  # mapped: the file may be closed


def _series(scan: Any) -> Iterator[Series]:
    sizes = dict(scan.sizes)
    extra = [axis for axis in sizes if axis not in set("TCZYXS")]
    inner = {axis: size for axis, size in sizes.items() if axis not in extra}
    for at in product(*(range(sizes[axis]) for axis in extra)):
        place = dict(zip(extra, at, strict=True))
        name = ", ".join((scan.path, *(f"{AXES.get(axis, axis)} {n}" for axis, n in place.items())))
        yield Series(name, inner, place)


def _sampling(scan: Any) -> tuple[Any, dict[str, float], float | None, tuple[str, ...]]:
    """The voxel size, the origin, the time step and notices. Lengths reach from the first to the last sample."""
    sizes: dict[str, tuple[object, str | None]] = {}
    origin: dict[str, float] = {}
    step = None
    for dimension in scan.xml_element.findall(f"{DESCRIPTION}/Dimensions/DimensionDescription"):
        axis, unit = IDS.get(dimension.get("DimID"), ""), dimension.get("Unit")
        steps, length = int(dimension.get("NumberOfElements")) - 1, number(dimension.get("Length"))
        if steps < 1 or length is None:
            continue
        if axis == "T":
            step = time_s(length / steps, unit)
        elif axis:
            sizes[axis] = (length / steps, unit)
            at = position_um(dimension.get("Origin"), unit)
            if at:  # 0 means that nobody set it
                origin[axis] = at
    voxel, odd = voxel_um(sizes)
    return voxel, origin, step, odd


def _channels(scan: Any, count: int) -> tuple[Channel, ...]:
    found = scan.xml_element.findall(f"{DESCRIPTION}/Channels/ChannelDescription")
    found = sorted(found, key=lambda c: int(c.get("BytesInc", 0)))
    if len(found) != count:
        return ()
    return tuple(Channel(_dye(c), _color(c.get("LUTName", ""))) for c in found)


def _dye(channel: Any) -> str:
    for one in channel.findall("./ChannelProperty"):
        if one.findtext("Key") == "DyeName":
            return (one.findtext("Value") or "").strip()
    return ""


def _color(lut: str) -> str | None:
    return COLORS.get(lut.lower())


LIF = Format("LIF", (".lif",), _recognises, _open)
