"""One frame of one channel of an image file, read where it is sliced."""

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.channels import Chosen, channels_of, choose, named, only
from zsd_runtime.errors import InputError, see_info
from zsd_runtime.images import Description, Image

Array = NDArray[Any]


def image_of(array: Array, axes: str | None, spatial: str) -> Image:
    """An array as an image, with the axes that are said, or those that the model takes."""
    letters = (axes or spatial).upper()
    if array.ndim != len(letters):
        raise InputError(
            f"the image has shape {array.shape}, and the model takes {spatial}", "give `axes`, a letter an axis",
            option="axes",
        )  # fmt: skip
    return Image(array, letters)


def one_channel(image: Image, channels: str | None, name: str) -> tuple[Image, Chosen]:
    """The image with one channel and no axis for it, and which channel that is."""
    found = channels_of(image)
    if channels is not None:
        found = choose(channels, found, "channels", name)
    if len(found) > 1:
        raise InputError(
            f"{name} has {len(found)} channels, {named(found)}, and a report is on one", "choose it with `channels`",
            option="channels",
        )  # fmt: skip
    image = only(image, found)
    if "C" in image.axes:
        at = image.axes.index("C")
        image = replace(image, data=_Fixed(image.data, {at: 0}), axes=image.axes.replace("C", ""))
    kept = Description(image.description.name, channels=(found[0].channel,) if found[0].channel.name else ())
    return replace(image, description=kept), found[0]


def one_frame(image: Image, spatial: str, frame: int | None, name: str) -> tuple[Image, int | None]:
    """The frame over the `spatial` axes, and its number in a file that holds several."""
    if spatial == "ZYX" and ("Z" not in image.axes or image.data.shape[image.axes.index("Z")] == 1):
        raise InputError(
            f"{name} has axes {image.axes} and no slices, and the model restores volumes",
            f"give a stack, or say with `axes` what its planes are; {see_info(Path(name))}", option="axes",
        )  # fmt: skip
    leading = image.axes[: len(image.axes) - len(spatial)]
    if image.axes[len(leading) :] != spatial:
        raise InputError(f"{name} has axes {image.axes}, and the model takes {spatial}", "give `axes`", option="axes")
    lengths = image.data.shape[: len(leading)]
    frames = prod(lengths)
    kind = "planes" if spatial == "YX" else "volumes"
    if frame is None and frames > 1:
        raise InputError(
            f"{name} has {frames} {kind} (axes {image.axes}), and a report is on one",
            f"choose it with `frame`, 0 to {frames - 1}; {see_info(Path(name))}", option="frame",
        )  # fmt: skip
    if frame is not None and not 0 <= frame < frames:
        raise InputError(f"`frame` {frame} must be 0 to {frames - 1}: {name} has {frames} {kind}", option="frame")
    index = [int(i) for i in np.unravel_index(frame or 0, lengths)] if lengths else []
    data = _Fixed(image.data, dict(enumerate(index))) if index else image.data
    return replace(image, data=data, axes=spatial), frame if frames > 1 else None


class _Fixed:
    """An array or a file at fixed places along some of its axes; read where it is sliced."""

    def __init__(self, data: Any, fixed: dict[int, int]) -> None:
        self._data, self._fixed = data, fixed
        self.shape = tuple(n for axis, n in enumerate(data.shape) if axis not in fixed)
        self.dtype, self.ndim = np.dtype(data.dtype), len(self.shape)

    def __getitem__(self, box: Any) -> Array:
        given = iter((*(box if isinstance(box, tuple) else (box,)), *[slice(None)] * self.ndim))
        count = len(self._data.shape)
        return np.asarray(self._data[tuple(self._fixed[i] if i in self._fixed else next(given) for i in range(count))])
