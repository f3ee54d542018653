"""What a request asks for: the query of its address, with the names that the command line has."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsd_runtime.average import check_average
from zsd_runtime.batch import How
from zsd_runtime.errors import InputError
from zsd_runtime.images import Voxel
from zsd_runtime.notices import Notice

NAME = re.compile(r'[^\\/:*?"<>|\x00-\x1f.][^\\/:*?"<>|\x00-\x1f]{0,199}')  # one file's, on every system
KNOWN = ("name", "output", "axes", "series", "channel", "pixel_size", "z_step", "dtype", "average")


@dataclass(frozen=True)
class Wanted:
    """A request.

    Attributes
    ----------
    name : str
        Of the image: results are called after it, and its ending may say what it is.
    output : str or None
        The one output to send back; all of them, in a zip, when None.
    axes, series, channel, pixel_size, z_step, dtype, average
        As for ``zsd predict``.
    """

    name: str = "image.tif"
    output: str | None = None
    axes: str | None = None
    series: int | None = None
    channel: str | None = None
    pixel_size: float | None = None
    z_step: float | None = None
    dtype: str = "float32"
    average: int = 1

    def how(self, out: Path, memory: int | None, notice: Notice) -> How:
        """The same, as `predict_files` takes it."""
        return How(
            out, self.axes, memory=memory, dtype=self.dtype, format="tiff", series=self.series, channel=self.channel,
            voxel=Voxel.square(self.pixel_size, self.z_step), notice=notice, average=self.average,
        )  # fmt: skip


def wanted_of(query: Mapping[str, str], outputs: list[str]) -> Wanted:
    """Read the query of a request.

    Parameters
    ----------
    query : mapping
    outputs : list of str
        What the model makes.

    Raises
    ------
    InputError
        When a name is unknown, or a value is not what it must be.
    """
    unknown = [name for name in query if name not in KNOWN]
    if unknown:
        raise InputError(f"there is no option {unknown[0]!r}", f"the options are {', '.join(KNOWN)}")
    values: dict[str, Any] = dict(query)
    for name, kind in (("series", int), ("average", int), ("pixel_size", float), ("z_step", float)):
        if name in values:
            values[name] = _number(name, values[name], kind)
    wanted = Wanted(**values)
    if not NAME.fullmatch(wanted.name):
        raise InputError(f"name {wanted.name!r} must be a file's name, without folders", "for instance cell.tif")
    if wanted.output not in (None, *outputs):
        raise InputError(f"the model has no output {wanted.output!r}", f"its outputs are {', '.join(outputs)}")
    if wanted.dtype not in ("float32", "uint16"):
        raise InputError(f"dtype {wanted.dtype!r} must be float32 or uint16")
    check_average(wanted.average)
    return wanted


def _number(name: str, text: str, kind: type[int] | type[float]) -> int | float:
    try:
        number = kind(text)
    except ValueError:
        number = -1
    if not 0 <= number < float("inf"):
        raise InputError(f"{name} {text!r} must be a {'whole ' if kind is int else ''}number, 0 or above")
    return number
