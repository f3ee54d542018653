"""ND2 of Nikon's NIS-Elements, read by nd2.

Positions, and loops of the user's own, are series. nd2 fills frames that an aborted acquisition announced but never
wrote with zeros; here they are left out with a notice.
"""

import warnings
import weakref
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError
from zsd_runtime.images.chunked import Chunked
from zsd_runtime.images.image import Channel, Description, Format, Image
from zsd_runtime.images.units import time_s, voxel_um
from zsd_runtime.images.vendor.library import check_start, library
from zsd_runtime.images.vendor.planewise import Planewise
from zsd_runtime.images.vendor.series import Series, choose, whole_frames
from zsd_runtime.images.vendor.stage import first_voxel_um

STARTS = (b"\xda\xce\xbe\x0a", b"\0\0\0\x0c")  # of today's files, and of those before 2006 (JPEG 2000)
AXES = {"TimeLoop": "T", "NETimeLoop": "T", "ZStackLoop": "Z", "XYPosLoop": "P"}


def _recognises(path: Path) -> bool:
    return path.suffix.lower() == ".nd2" and path.is_file()


def _open(path: Path, axes: str | None, series: int | None) -> Image:  # noqa: ARG001
    nd2 = library("nd2", path)
    check_start(path, "ND2", *STARTS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metadata that are not used here
        file = nd2.ND2File(path)
        try:
            image, planes = _image(path, file, series)
        except BaseException:
            file.close()
            raise
    weakref.finalize(planes, file.close)
    return image


def _image(path: Path, file: Any, wanted: int | None) -> tuple[Image, Planewise]:
    loops = {AXES.get(loop.type, "U"): loop for loop in file.experiment}  # the outermost first
    if len(loops) < len(file.experiment):
        kinds = ", ".join(loop.type for loop in file.experiment)
        raise InputError(f"{path} has several loops of the same kind ({kinds})", "split them in NIS-Elements")
    counts = {axis: int(loop.count) for axis, loop in loops.items()}
    recorded = _recorded(path, file)
    counts, undescribed = _undescribed(path, counts, len(recorded))
    channels, samples = _components(path, file.attributes)
    sizes = {"T": counts.get("T", 1), "C": channels, "Z": counts.get("Z", 1)}
    sizes |= {"Y": file.attributes.heightPx, "X": file.attributes.widthPx} | ({"S": samples} if samples > 1 else {})
    extra = [axis for axis in loops if axis in "PU"]
    places = [dict(zip(extra, at, strict=True)) for at in product(*(range(counts[axis]) for axis in extra))]
    found = [Series(_place_name(place, loops), sizes, place) for place in places]
    number, notices = choose(path, found, wanted)
    if samples > 1:
        raise InputError(f"{path} is a colour image (RGB)", "split it into channels and give one of them")

    def frame(t: int, z: int) -> int:
        at = {**found[number].place, "T": t, "Z": z}
        return int(np.ravel_multi_index([at[axis] for axis in counts], list(counts.values()))) if counts else 0

    present = [[[frame(t, z) in recorded for z in range(sizes["Z"])]] for t in range(sizes["T"])]
    kept, incomplete = whole_frames(path, np.array(present))

    def read(t: int, c: slice, z: slice, y: slice, x: slice) -> NDArray[Any]:
        planes = [_channels_first(file.read_frame(frame(kept[t], k)), sizes) for k in range(z.start, z.stop)]
        return np.stack([plane[c, y, x] for plane in planes], axis=1)  # copies: the file may be closed later

    planes = Planewise({**sizes, "T": len(kept)}, file.dtype, {a: sizes[a] for a in "CYX"}, read)
    described_channels, unreadable = _metadata(path, file)
    volume = described_channels[0].volume if described_channels else None
    known = zip("XYZ", volume.axesCalibration, volume.axesCalibrated, strict=True) if volume else ()
    voxel, odd = voxel_um(
        {axis: (um, "µm") for axis, um, calibrated in known if calibrated and (axis != "Z" or sizes["Z"] > 1)}
    )
    described = Description(
        name=found[number].name, channels=_channels(described_channels, channels),
        time_step_s=_time_step_s(loops["T"]) if "T" in loops and sizes["T"] > 1 else None,
        origin_um=first_voxel_um(_middle_um(found[number].place, loops), sizes, voxel),
        series=tuple(s.name for s in found) if len(found) > 1 else (),
        size_source="ND2 metadata" if voxel.x_um else "",
        notices=(*notices, *undescribed, *incomplete, *unreadable, *odd),
    )  # fmt: skip
    return Image(Chunked(planes), planes.axes, voxel, description=described), planes


def _undescribed(path: Path, counts: dict[str, int], recorded: int) -> tuple[dict[str, int], tuple[str, ...]]:
    """Frames without a loop are a movie, as far as one can tell."""
    if not counts and recorded > 1:
        return {"T": recorded}, (
            f"{path.name} does not say what its {recorded} frames are; they count as frames of time",
        )
    described = prod(counts.values())
    if recorded > described:
        return counts, (f"{path.name} holds {recorded} frames; the {described} that it describes are used",)
    return counts, ()


def _components(path: Path, attributes: Any) -> tuple[int, int]:
    """How many channels a frame has, and samples (of colour) a channel."""
    channels = attributes.channelCount or 1
    samples, rest = divmod(attributes.componentCount, channels)
    if samples in (3, 4):
        return channels, samples
    if rest or (samples > 1 and channels > 1):
        raise InputError(f"{path} has {attributes.componentCount} components in {channels} channels",
                         "save it as TIFF")  # fmt: skip
    return channels * samples, 1


def _channels_first(frame: NDArray[Any], sizes: dict[str, int]) -> NDArray[Any]:
    if frame.shape == (sizes["Y"], sizes["X"], sizes["C"]) != (sizes["C"], sizes["Y"], sizes["X"]):
        return np.moveaxis(frame, -1, 0)
    return frame.reshape(sizes["C"], sizes["Y"], sizes["X"])


def _recorded(path: Path, file: Any) -> set[int]:
    """Numbers of the frames whose pixels are in the file."""
    attributes = file.attributes
    # There is no public way to tell; without the library's map, the count in the metadata has to do.
    offsets: dict[int, int] | None = getattr(file._rdr, "_frame_offsets", None)
    if offsets is None:
        return set(range(attributes.sequenceCount))
    compressed = attributes.compressionType in ("lossless", "lossy")
    length = 1 if compressed else (attributes.widthBytes or 0) * attributes.heightPx
    size = path.stat().st_size
    return {number for number, offset in offsets.items() if offset + length <= size}


def _place_name(place: dict[str, int], loops: dict[str, Any]) -> str:
    names = []
    for axis, number in place.items():
        points = loops[axis].parameters.points if axis == "P" else []
        named = points[number].name if number < len(points) else None
        names.append(named or f"{'position' if axis == 'P' else 'loop'} {number}")
    return ", ".join(names)


def _metadata(path: Path, file: Any) -> tuple[list[Any], tuple[str, ...]]:
    """What the library knows of each channel. Pixels can be read without."""
    try:
        return list(file.metadata.channels or ()), ()
    except Exception as error:  # files that the library does not foresee, in many ways
        return [], (f"{path.name} has no readable pixel size and no readable channel names ({error})",)


def _channels(described: list[Any], count: int) -> tuple[Channel, ...]:
    found = [channel.channel for channel in described]
    if len(found) != count:
        return ()
    return tuple(
        Channel(
            c.name or "", "{:02X}{:02X}{:02X}".format(*c.color[:3]) if any(c.color[:3]) else None, c.emissionLambdaNm
        )
        for c in found
    )


def _time_step_s(loop: Any) -> float | None:
    """The mean over the phases of the movie: as measured if the file knows it, else as planned."""
    phases = getattr(loop.parameters, "periods", None) or [loop.parameters]
    weights = [max(1, getattr(phase, "count", 1)) for phase in phases]
    steps = [time_s((p.periodDiff and p.periodDiff.avg) or p.periodMs, "ms") for p in phases]
    known = [(step, weight) for step, weight in zip(steps, weights, strict=True) if step]
    return sum(step * weight for step, weight in known) / sum(weight for _, weight in known) if known else None


def _middle_um(place: dict[str, int], loops: dict[str, Any]) -> dict[str, float]:
    """Of the field; Z is not recorded with every position."""
    points = loops["P"].parameters.points if "P" in loops else []
    if place.get("P", len(points)) >= len(points):
        return {}
    stage = points[place["P"]].stagePositionUm
    return {"Y": float(stage.y), "X": float(stage.x)}


ND2 = Format("ND2", (".nd2",), _recognises, _open)
