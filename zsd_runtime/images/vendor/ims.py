"""IMS of Imaris, HDF5, read by h5py at full resolution.

The arrays in the file are padded with zeros to whole chunks; the size of the image is in attributes.
"""

import weakref
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError
from zsd_runtime.images.chunked import Chunked
from zsd_runtime.images.image import Channel, Description, Format, Image, Voxel
from zsd_runtime.images.units import number, position_um, voxel_um
from zsd_runtime.images.vendor.library import check_start, library
from zsd_runtime.images.vendor.planewise import Planewise
from zsd_runtime.images.vendor.series import whole_frames

ROWS = {"X": "0", "Y": "1", "Z": "2"}  # of ExtMin and ExtMax
MOST = 1_000_000  # frames or channels


def _recognises(path: Path) -> bool:
    return path.suffix.lower() == ".ims" and path.is_file()


def _open(path: Path, axes: str | None, series: int | None) -> Image:  # noqa: ARG001
    h5py = library("h5py", path)
    check_start(path, "IMS", b"\x89HDF\r\n\x1a\n")
    if series:
        raise InputError(f"`series` {series} does not exist: {path} holds one image", option="series")
    file = h5py.File(path, "r", locking=False)
    try:
        image, planes = _image(path, file)
    except BaseException:
        file.close()
        raise
    weakref.finalize(planes, file.close)
    return image


def _image(path: Path, file: Any) -> tuple[Image, Planewise]:
    level = file.get("DataSet/ResolutionLevel 0")
    if level is None:
        raise InputError(f"{path} is HDF5, but not of Imaris: it has no DataSet/ResolutionLevel 0",
                         "save it as TIFF")  # fmt: skip
    frames = {n: level[f"TimePoint {n}"] for n in _numbers(level, "TimePoint ")}
    numbers = {c for frame in frames.values() for c in _numbers(frame, "Channel ")}
    numbers |= set(_numbers(file.get("DataSetInfo", ()), "Channel "))
    if not frames or not numbers:
        raise InputError(f"{path} holds no image")
    if max(*frames, *numbers) > MOST:
        raise InputError(f"{path} is damaged: it numbers a frame or channel {max(*frames, *numbers)}", "copy it again")
    groups = {(t, c): frame[f"Channel {c}"] for t, frame in frames.items() for c in _numbers(frame, "Channel ")}
    info = file.get("DataSetInfo/Image")
    first = next(iter(groups.values()))
    sizes = {"T": max(frames) + 1, "C": max(numbers) + 1, **_sizes(path, first, info)}
    present = np.array([[[_written(groups.get((t, c)))] for c in range(sizes["C"])] for t in range(sizes["T"])])
    kept, incomplete = whole_frames(path, np.broadcast_to(present, (*present.shape[:2], sizes["Z"])))
    holes = _holes([groups[t, c]["Data"] for t in kept for c in range(sizes["C"])])
    if holes:
        incomplete = (*incomplete, f"{path.name} is incomplete: {holes} blocks were never written and count as 0")

    def read(t: int, c: slice, z: slice, y: slice, x: slice) -> NDArray[Any]:
        return np.stack([groups[kept[t], k]["Data"][z, y, x] for k in range(c.start, c.stop)])

    for (t, c), group in groups.items():
        if any(n < sizes[a] for a, n in zip("ZYX", group["Data"].shape, strict=True)):
            raise InputError(f"{path} is damaged: frame {t} of channel {c} is smaller than the image", "copy it again")
    dtype = np.result_type(*(group["Data"].dtype for group in groups.values()))
    chunk = dict(zip("ZYX", first["Data"].chunks or (1, sizes["Y"], sizes["X"]), strict=True))
    planes = Planewise({**sizes, "T": len(kept)}, dtype, chunk, read)
    voxel, origin, odd = _geometry(info, sizes)
    described = Description(
        name=_text(info, "Name"), text=_text(info, "Description"),
        channels=tuple(_channel(file.get(f"DataSetInfo/Channel {c}")) for c in range(sizes["C"])),
        time_step_s=_time_step_s(file.get("DataSetInfo/TimeInfo"), sizes["T"]), origin_um=origin,
        size_source="IMS metadata" if voxel.x_um else "", notices=(*incomplete, *odd),
    )  # fmt: skip
    return Image(Chunked(planes), planes.axes, voxel, description=described), planes


def _numbers(group: Any, prefix: str) -> list[int]:
    return [int(name[len(prefix) :]) for name in group if name.startswith(prefix) and name[len(prefix) :].isdecimal()]


def _sizes(path: Path, channel: Any, info: Any) -> dict[str, int]:
    """Of the image without the padding."""
    sizes = {}
    for axis in "ZYX":
        size = number(_text(channel, f"ImageSize{axis}")) or number(_text(info, axis))
        if size is None or size < 1:
            raise InputError(f"{path} does not say how large its image is along {axis}", "save it again in Imaris")
        sizes[axis] = int(size)
    return sizes


def _written(channel: Any) -> bool:
    return channel is not None and "Data" in channel and channel["Data"].id.get_storage_size() > 0


def _holes(arrays: list[Any]) -> int:
    """How many chunks were never written; HDF5 fills them with zeros."""
    chunked = [a for a in arrays if a.chunks]
    return sum(
        int(np.prod([-(-n // c) for n, c in zip(a.shape, a.chunks, strict=True)])) - a.id.get_num_chunks()
        for a in chunked
    )


def _text(group: Any, name: str) -> str:
    """An attribute: Imaris writes text and numbers as arrays of single characters."""
    value = group.attrs.get(name) if group is not None else None
    if value is None:
        return ""
    if isinstance(value, np.ndarray) and value.dtype.kind == "S":
        value = value.tobytes()
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0] if value.size else ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.replace("\0", "").strip()


def _geometry(info: Any, sizes: dict[str, int]) -> tuple[Voxel, dict[str, float], tuple[str, ...]]:
    """The voxel size, the position of the first voxel's centre, notices."""
    unit = _text(info, "Unit") or "um"
    steps: dict[str, tuple[object, str | None]] = {}
    origin = {}
    for axis, row in ROWS.items():
        low, high = number(_text(info, f"ExtMin{row}")), number(_text(info, f"ExtMax{row}"))
        if low is None or high is None or low == high or (axis == "Z" and sizes["Z"] == 1):
            continue
        step = (high - low) / sizes[axis]
        steps[axis] = (step, unit)
        at = position_um(low + step / 2, unit)
        if at is not None and low:  # 0 means that nobody set it
            origin[axis] = at
    voxel, odd = voxel_um(steps)
    return voxel, origin, odd


def _channel(group: Any) -> Channel:
    rgb = [number(part) for part in _text(group, "Color").split()]
    known = [max(0, min(255, round(part * 255))) for part in rgb if part is not None]
    emission = number(_text(group, "LSMEmissionWavelength"))
    return Channel(
        _text(group, "Name"), "{:02X}{:02X}{:02X}".format(*known) if len(known) == 3 else None,
        emission if emission and emission > 1 else None,
    )  # fmt: skip


def _time_step_s(info: Any, frames: int) -> float | None:
    """The mean interval between the first and the last frame that have a date."""
    times = {}
    for n in range(frames):
        text = _text(info, f"TimePoint{n + 1}")
        try:
            times[n] = datetime.fromisoformat(text)
        except ValueError:
            continue
    if len(times) < 2:
        return None
    first, last = min(times), max(times)
    seconds = (times[last] - times[first]).total_seconds() / (last - first)
    return seconds if seconds > 0 else None


IMS = Format("IMS", (".ims",), _recognises, _open)
