"""A frame and its results as TIFFs."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.images import Channel, Description, Image, Voxel, write_image

if TYPE_CHECKING:  # the package `live` may use this one, but not the other way round
    from zsd_runtime.live.view import Shown


def write_snapshot(folder: Path, shown: "Shown", now: datetime) -> list[str]:
    """Write the raw frame and every output into a folder, as <date>_<time>_<number>[_<channel>]_<output>.tif.

    Returns
    -------
    list of str
        The names of the files.

    Raises
    ------
    InputError
        When the folder cannot be written to, or the disk is full.
    """
    pixel_size_um = shown.details.get("pixel_size_um")
    size = float(pixel_size_um) if isinstance(pixel_size_um, int | float) and pixel_size_um > 0 else None
    raw = Image(shown.raw, "YX", Voxel.square(size), description=_description(shown))
    start = (now.strftime("%Y%m%d_%H%M%S"), str(shown.number), shown.channel)
    names = []
    for name, image in {"raw": raw, **{n: _result(raw, output) for n, output in shown.outputs.items()}}.items():
        path = _free(folder, "_".join(part for part in (*start, name) if part))
        write_image(path, image)
        names.append(path.name)
    return names


def _description(shown: "Shown") -> Description:
    details = {"frame": shown.number, "channel": shown.channel, "latency_ms": shown.latency_ms, **shown.details}
    text = json.dumps({k: v for k, v in details.items() if v not in (None, "")}, default=str)
    return Description(text=text, channels=(Channel(shown.channel),) if shown.channel else ())


def _result(raw: Image, output: NDArray[np.float32]) -> Image:
    resized = raw.resized(output.shape, "float32")
    return Image(output, "YX", resized.voxel, description=resized.description)


def _free(folder: Path, start: str) -> Path:
    """A name that no file has: the same frame may be kept twice within a second."""
    start = re.sub(r"[^\w-]+", "_", start)
    path, number = folder / f"{start}.tif", 2
    while path.exists():
        path, number = folder / f"{start}_{number}.tif", number + 1
    return path
