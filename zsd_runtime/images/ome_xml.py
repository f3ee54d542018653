"""OME-XML: what it says of the images of an OME-TIFF, and what is written of an image."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from zsd_runtime.images.image import Channel, Description, Image, Voxel
from zsd_runtime.images.units import length_um, number, position_s, position_um, time_s, voxel_um

EVEN = 0.1  # frames that are this evenly spaced, as a share, have one time step
UM = "µm"


@dataclass(frozen=True)
class OmeImage:
    """One Image of an OME-XML.

    Attributes
    ----------
    sizes : dict of str to int
        By axis of "TCZYX".
    files : dict of str to str
        Names of the files with its planes, and their UUIDs; none if all planes are in the file that was opened.
    voxel : Voxel
    described : Description
    """

    sizes: dict[str, int]
    files: dict[str, str]
    voxel: Voxel = field(default_factory=Voxel)
    described: Description = field(default_factory=Description)

    @property
    def size(self) -> int:
        """Number of pixels."""
        return prod(self.sizes.values())


@dataclass(frozen=True)
class Ome:
    """An OME-XML.

    Attributes
    ----------
    uuid : str
        Of the file that it stands in; empty if it does not say.
    companion : str
        Name of the file that has the description instead (BinaryOnly); empty if it is here.
    images : tuple of OmeImage
    """

    uuid: str
    companion: str
    images: tuple[OmeImage, ...]

    def missing(self, folder: Path, images: tuple[OmeImage, ...] | None = None) -> list[str]:
        """Names of files that are not there, of all images or of some."""
        names = {n: u for image in (self.images if images is None else images) for n, u in image.files.items()}
        return [n for n, u in names.items() if not (folder / n).exists() and not (u and u == self.uuid)]

    @property
    def has_folders(self) -> bool:
        """Whether it names files with their folders."""
        return any(_last(name) != name for image in self.images for name in image.files)


def parse_ome(xml: str) -> Ome:
    """What an OME-XML says.

    Raises
    ------
    ElementTree.ParseError
        When it is not XML.
    """
    root = _root(xml)
    companion = next((e.get("MetadataFile", "") for e in _children(root, "BinaryOnly")), "")
    return Ome(root.get("UUID", ""), companion, tuple(map(_image, _children(root, "Image"))))


def without_files(xml: str) -> str:
    """An OME-XML whose planes are in the file that it stands in, whatever it was called when it was written."""
    root = _root(xml)
    for data in root.iter():
        if _is(data, "TiffData"):
            for uuid in list(_children(data, "UUID")):
                data.remove(uuid)
    return ElementTree.tostring(root, encoding="unicode")


def without_folders(xml: str) -> str:
    """An OME-XML that names its files without the folders of the computer that wrote it."""
    root = _root(xml)
    for uuid in root.iter():
        if _is(uuid, "UUID") and uuid.get("FileName"):
            uuid.set("FileName", _last(uuid.get("FileName", "")))
    return ElementTree.tostring(root, encoding="unicode")


def _last(name: str) -> str:
    """The name of a file, from its path on any system."""
    return name.replace("\\", "/").rpartition("/")[2]


def _root(xml: str) -> ElementTree.Element:
    return ElementTree.fromstring(xml.strip().strip("\0").strip())


def _is(element: ElementTree.Element, tag: str) -> bool:
    return element.tag.rpartition("}")[2] == tag  # any version of the schema, and none


def _children(element: ElementTree.Element, tag: str) -> Iterator[ElementTree.Element]:
    return (child for child in element if _is(child, tag))


def _image(element: ElementTree.Element) -> OmeImage:
    pixels = next(_children(element, "Pixels"), None)
    text = next((e.text or "" for e in _children(element, "Description")), "")
    name = element.get("Name", "")
    if pixels is None:
        return OmeImage({}, {}, described=Description(name, text))
    sizes = {axis: _integer(pixels.get(f"Size{axis}", "1")) for axis in "TCZYX"}
    files = {
        uuid.get("FileName", ""): uuid.text or ""
        for data in _children(pixels, "TiffData")
        for uuid in _children(data, "UUID")
        if uuid.get("FileName")
    }
    voxel, notices = voxel_um(
        {
            axis: (pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", UM))
            for axis in ("ZYX" if sizes["Z"] > 1 or sizes["T"] > 1 else "YX")
        }
    )
    increment = time_s(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"))
    time_step, times = (increment, ()) if increment else _time_step(pixels)
    origin, positions = _origin(element, pixels)
    described = Description(
        name,
        text,
        tuple(_channel(e) for e in _children(pixels, "Channel")),
        time_step,
        origin,
        size_source="OME-XML" if voxel != Voxel() else "",
        notices=(*notices, *times, *positions),
    )
    return OmeImage(sizes, files, voxel, described)


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0  # tifffile refuses it with its own words


def _channel(element: ElementTree.Element) -> Channel:
    um = length_um(element.get("EmissionWavelength"), element.get("EmissionWavelengthUnit", "nm"))
    try:
        color = f"{int(element.get('Color', '')) & 0xFFFFFFFF:08X}"[:6]  # a signed number: red, green, blue, opacity
    except ValueError:
        color = None
    return Channel(element.get("Name", ""), color, um and float(f"{um * 1e3:.12g}"))


def _time_step(pixels: ElementTree.Element) -> tuple[float | None, tuple[str, ...]]:
    """From when the planes of the first channel and slice were taken; unknown, with a notice, if it varies."""
    planes = [p for p in _children(pixels, "Plane") if p.get("TheC", "0") == p.get("TheZ", "0") == "0"]
    taken = {_integer(p.get("TheT", "0")): position_s(p.get("DeltaT"), p.get("DeltaTUnit", "s")) for p in planes}
    times = [taken[frame] for frame in sorted(taken)]
    known = [s for s in times if s is not None]
    if len(known) < 2 or len(known) < len(times):
        return None, ()
    mean = (known[-1] - known[0]) / (len(known) - 1)
    steps = [b - a for a, b in pairwise(known)]
    if mean <= 0:
        return None, ()
    if max(abs(step - mean) for step in steps) > EVEN * mean:
        return None, (f"frames are {min(steps):.4g} to {max(steps):.4g} s apart, so the time step counts as unknown",)
    return float(f"{mean:.6g}"), ()


def _origin(image: ElementTree.Element, pixels: ElementTree.Element) -> tuple[dict[str, float], tuple[str, ...]]:
    """Where the stage was for the first plane, or the label of the stage if no plane says; and notices."""
    planes = _children(pixels, "Plane")
    first = next((p for p in planes if all(p.get(f"The{axis}", "0") == "0" for axis in "ZCT")), None)
    found = {}
    if first is not None:
        found = {a: position_um(first.get(f"Position{a}"), first.get(f"Position{a}Unit")) for a in "ZYX"}
    stage = next(_children(image, "StageLabel"), None)
    if stage is not None and not any(um is not None for um in found.values()):
        found = {a: position_um(stage.get(a), stage.get(f"{a}Unit")) for a in "ZYX"}
    origin = {a: um for a, um in found.items() if um is not None}
    bare = [v for a in "XYZ" if first is not None and number(v := first.get(f"Position{a}"))]
    if origin or not bare:
        return origin, ()
    return {}, (
        f"the position {' x '.join(map(str, bare))} of the file has no unit of length, so it counts as unknown",
    )


def ome_metadata(image: Image, order: str) -> dict[str, Any]:
    """What tifffile takes for an OME-TIFF of `image`, whose planes are stored in the `order` of its axes."""
    d, voxel = image.description, image.voxel
    metadata: dict[str, Any] = {"axes": order, "Name": d.name, "Description": d.whole_text}
    for axis in "ZYX":
        if voxel[axis]:
            metadata |= {f"PhysicalSize{axis}": voxel[axis], f"PhysicalSize{axis}Unit": UM}
    if d.time_step_s:
        metadata |= {"TimeIncrement": d.time_step_s, "TimeIncrementUnit": "s"}
    sizes = dict(zip(image.axes, image.data.shape, strict=True))
    if d.channels and len(d.channels) == sizes.get("C", 1):
        metadata["Channel"] = [_channel_metadata(c) for c in d.channels]
    if d.origin_um:
        metadata["Plane"] = _positions(d.origin_um, voxel, order, sizes)
    return {key: value for key, value in metadata.items() if value or key == "Name"}  # else it is called "Image0"


def _channel_metadata(channel: Channel) -> dict[str, Any]:
    metadata: dict[str, Any] = {"Name": channel.name} if channel.name else {}
    if channel.color:
        metadata["Color"] = _signed(channel.color)
    if channel.emission_nm:
        metadata |= {"EmissionWavelength": channel.emission_nm, "EmissionWavelengthUnit": "nm"}
    return metadata


def _signed(color: str) -> int:
    number = int(color + "FF", 16)
    return number - (1 << 32) if number >= 1 << 31 else number


def _positions(origin: dict[str, float], voxel: Voxel, order: str, sizes: dict[str, int]) -> dict[str, list[Any]]:
    """The position of each plane, in the order in which they are stored."""
    outer = [(axis, sizes[axis]) for axis in order if axis not in "YX"]
    count = prod(n for _, n in outer)
    inner = prod(n for axis, n in outer[[a for a, _ in outer].index("Z") + 1 :]) if "Z" in sizes else count
    planes: dict[str, list[Any]] = {}
    for axis, um in origin.items():
        step = (voxel.z_um or 0.0) if axis == "Z" else 0.0
        planes[f"Position{axis}"] = [um + step * (i // inner % sizes.get("Z", 1)) for i in range(count)]
        planes[f"Position{axis}Unit"] = [UM] * count
    return planes
