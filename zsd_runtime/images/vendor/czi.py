"""CZI of Zeiss's ZEN, read by pylibCZIrw.

Scenes, views, illuminations, phases, rotations and blocks are series. The tiles of a mosaic lie where the stage was;
libCZI does not blend them, and fills what no tile covers with zeros.
"""

import weakref
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError
from zsd_runtime.images.chunked import Chunked
from zsd_runtime.images.image import Channel, Description, Format, Image
from zsd_runtime.images.units import number, time_s, voxel_um
from zsd_runtime.images.vendor.library import check_start, library
from zsd_runtime.images.vendor.planewise import Planewise
from zsd_runtime.images.vendor.series import Series, choose, whole_frames
from zsd_runtime.images.vendor.stage import first_voxel_um

PIXELS = {"Gray8": "u1", "Gray16": "u2", "Gray32Float": "f4"}
EXTRA = {"S": "scene", "V": "view", "I": "illumination", "H": "phase", "R": "rotation", "B": "block"}
MOST = 1_000_000  # frames or slices
LARGEST_CHUNK = 2048  # pixels of Y and X that are read at once
IMAGE = "./Metadata/Information/Image"
Rectangle = tuple[int, int, int, int]  # x, y, width, height


@dataclass(frozen=True)
class Tile:
    """A piece of a plane, at full resolution: its coordinates along all axes but Y and X, and where it lies."""

    at: dict[str, int]
    rectangle: Rectangle
    pixels: str


def _recognises(path: Path) -> bool:
    return path.suffix.lower() == ".czi" and path.is_file()


def _open(path: Path, axes: str | None, series: int | None) -> Image:  # noqa: ARG001
    czi = library("pylibCZIrw.czi", path)
    check_start(path, "CZI", b"ZISRAWFILE")
    reader = czi.CziReader(str(path))
    try:
        image, planes = _image(path, reader, series)
    except BaseException:
        reader.close()
        raise
    weakref.finalize(planes, reader.close)
    return image


def _image(path: Path, reader: Any, wanted: int | None) -> tuple[Image, Planewise]:
    metadata = ElementTree.fromstring(reader.raw_metadata)
    groups: dict[tuple[tuple[str, int], ...], list[Tile]] = defaultdict(list)
    for tile in _tiles(reader):
        groups[tuple((a, tile.at[a]) for a in EXTRA if a in tile.at)].append(tile)
    places = sorted(groups)
    varying = [a for a in EXTRA if len({dict(place).get(a) for place in places}) > 1]
    names = [_name({a: n for a, n in place if a in varying}, metadata) for place in places]
    found = [Series(n, _sizes(groups[place]), dict(place)) for n, place in zip(names, places, strict=True)]
    chosen, notices = choose(path, found, wanted)
    series, tiles = found[chosen], groups[places[chosen]]
    pixels = {tile.at.get("C", 0): tile.pixels for tile in tiles}
    if any(kind.startswith("Bgr") for kind in pixels.values()):
        raise InputError(f"{path} is a colour image (RGB)", "split it into channels and give one of them")
    if unknown := set(pixels.values()) - set(PIXELS):
        raise InputError(f"{path} holds {unknown.pop()} pixels, which zsd does not read", "save it as TIFF from ZEN")
    values = _values(tiles)
    kept, incomplete = whole_frames(path, _present(tiles, values))
    left, top = (min(tile.rectangle[n] for tile in tiles) for n in (0, 1))
    dtype = np.result_type(*(PIXELS[kind] for kind in pixels.values()))

    def read(t: int, c: slice, z: slice, y: slice, x: slice) -> NDArray[Any]:
        box = (left + x.start, top + y.start, x.stop - x.start, y.stop - y.start)
        at = {**series.place, "T": values["T"][kept[t]]}
        stacks = [[{**at, "C": k, "Z": n} for n in values["Z"][z]] for k in values["C"][c]]
        try:
            planes = [
                [reader.read(box, place, place.get("S"), pixel_type=pixels[place["C"]])[..., 0] for place in stack]
                for stack in stacks
            ]
        except MemoryError:  # of a damaged tile that says it has terabytes: a box of pixels is small
            raise OSError("a tile is larger than the memory") from None
        return np.array(planes, dtype)

    chunk = {"Y": LARGEST_CHUNK, "X": LARGEST_CHUNK}
    planes = Planewise({**series.sizes, "T": len(kept)}, dtype, chunk, read)
    scale = {a: metadata.findtext(f"./Metadata/Scaling/Items/Distance[@Id='{a}']/Value") for a in "ZYX"}
    if len(values["Z"]) == 1:
        del scale["Z"]  # what one plane says of it is of the last stack
    voxel, odd = voxel_um({a: (value, "m") for a, value in scale.items() if number(value)})
    interval = metadata.findtext(f"{IMAGE}/Dimensions/T/Positions/Interval/Increment")
    described = Description(
        name=series.name, channels=tuple(_channel(metadata, k, n) for n, k in enumerate(values["C"])),
        time_step_s=time_s(interval, "s") if series.sizes["T"] > 1 else None,
        origin_um=first_voxel_um(_middle_um(metadata, series.place.get("S", 0)), series.sizes, voxel),
        series=tuple(s.name for s in found) if len(found) > 1 else (),
        size_source="CZI metadata" if voxel.x_um else "",
        notices=(*notices, *incomplete, *_mosaic(path, tiles, series.sizes), *odd),
    )  # fmt: skip
    return Image(Chunked(planes), planes.axes, voxel, description=described), planes


def _tiles(reader: Any) -> Iterable[Tile]:
    """Of full resolution; a pyramid has smaller ones."""
    found: list[Tile] = []

    def collect(_: int, block: Any) -> bool:
        logical, stored = block.logicalRect, block.physicalSize
        if (logical.w, logical.h) == (stored.w, stored.h):
            at = {axis: int(n) for axis, n in block.coordinate.to_dict().items()}
            found.append(Tile(at, (logical.x, logical.y, logical.w, logical.h), block.pixelType.name))
        return True

    reader.enumerate_subblocks(collect)
    return found


def _values(tiles: list[Tile]) -> dict[str, list[int]]:
    """Coordinates along T, C and Z. Frames and slices follow each other; of the channels, some may be cut out."""
    found = {a: sorted({tile.at.get(a, 0) for tile in tiles}) for a in "TCZ"}
    if any(found[a][-1] - found[a][0] >= MOST for a in "TZ"):
        raise ValueError("the numbers of its frames or slices make no sense")
    return {a: n if a == "C" else list(range(n[0], n[-1] + 1)) for a, n in found.items()}


def _sizes(tiles: list[Tile]) -> dict[str, int]:
    sizes = {a: len(values) for a, values in _values(tiles).items()}
    for n, axis in enumerate("XY"):
        ends = [tile.rectangle[n] + tile.rectangle[n + 2] for tile in tiles]
        sizes[axis] = max(ends) - min(tile.rectangle[n] for tile in tiles)
    sizes = {a: sizes[a] for a in "TCZYX"}
    return sizes | ({"S": 3} if any(tile.pixels.startswith("Bgr") for tile in tiles) else {})


def _present(tiles: list[Tile], values: dict[str, list[int]]) -> NDArray[np.bool_]:
    """Which planes have as many pixels as the fullest; (T, C, Z)."""
    planes: dict[tuple[int, ...], set[Rectangle]] = defaultdict(set)
    for tile in tiles:
        planes[tuple(tile.at.get(a, 0) for a in "TCZ")].add(tile.rectangle)
    areas = {rectangles: _covered(rectangles) for rectangles in {frozenset(plane) for plane in planes.values()}}
    area = np.zeros([len(values[a]) for a in "TCZ"], int)
    for at, rectangles in planes.items():
        area[tuple(values[a].index(n) for a, n in zip("TCZ", at, strict=True))] = areas[frozenset(rectangles)]
    return area == area.max()


def _mosaic(path: Path, tiles: list[Tile], sizes: dict[str, int]) -> tuple[str, ...]:
    """A notice when tiles overlap or leave gaps."""
    first = {t.rectangle for t in tiles if all(t.at.get(a, 0) == tiles[0].at.get(a, 0) for a in "TCZ")}
    covered, total = _covered(first), sizes["Y"] * sizes["X"]
    if covered == total == sum(width * height for _, _, width, height in first):
        return ()
    gaps = f"; {100 * (1 - covered / total):.2g} % of the pixels lie in none of them and are 0" * (covered < total)
    return (f"{path.name} is a mosaic of {len(first)} tiles that lie where the stage was, not blended{gaps}",)


def _covered(rectangles: Iterable[Rectangle]) -> int:
    """The number of pixels in at least one rectangle."""
    boxes = np.array(list(rectangles))
    starts, ends = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    xs, ys = (np.unique([starts[:, axis], ends[:, axis]]) for axis in (0, 1))
    covered = np.zeros((len(xs) - 1, len(ys) - 1), bool)
    for start, end in zip(starts, ends, strict=True):
        columns, rows = (np.searchsorted(edges, (start[n], end[n])) for n, edges in enumerate((xs, ys)))
        covered[slice(*columns), slice(*rows)] = True
    return int((covered * np.diff(xs)[:, None] * np.diff(ys)).sum())


def _name(place: dict[str, int], metadata: ElementTree.Element) -> str:
    scene = metadata.find(f"{IMAGE}/Dimensions/S/Scenes/Scene[@Index='{place.get('S')}']")
    name = scene.get("Name") if scene is not None else None
    return ", ".join(name if a == "S" and name else f"{EXTRA[a]} {n}" for a, n in place.items())


def _middle_um(metadata: ElementTree.Element, scene: int) -> dict[str, float]:
    text = metadata.findtext(f"{IMAGE}/Dimensions/S/Scenes/Scene[@Index='{scene}']/CenterPosition") or ""
    at = [number(part) for part in text.split(",")]
    return {a: um for a, um in zip("XY", at, strict=False) if um is not None}


def _channel(metadata: ElementTree.Element, value: int, position: int) -> Channel:
    def first(texts: Iterable[str | None]) -> str:
        return next((text.strip() for text in texts if text and text.strip()), "")

    places = (f"{IMAGE}/Dimensions/Channels", "./Metadata/DisplaySetting/Channels")
    listed = [metadata.findall(f"{place}/Channel") for place in places]
    described = [
        next((c for c in channels if c.get("Id") == f"Channel:{value}"), channels[position])
        for channels in listed
        if position < len(channels)
    ]
    name = first(text for c in described for text in (c.get("Name"), c.findtext("ShortName"), c.findtext("DyeName")))
    color = first(c.findtext("Color") for c in described)
    emission = number(first(c.findtext("EmissionWavelength") for c in described))
    return Channel(
        "" if name == f"C:{value}" else name,  # pylibCZIrw's word for a channel without a name
        color[-6:].upper() if len(color) in (7, 9) and color[0] == "#" else None,
        emission if emission and emission > 0 else None,
    )


CZI = Format("CZI", (".czi",), _recognises, _open)
