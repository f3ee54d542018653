"""Movies for networks that see a frame between its neighbours in time."""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError
from zsd_runtime.images import read_box
from zsd_runtime.memory import release

HELD = 128 << 20  # bytes of what was read last: each frame is a neighbour of others


def check_length(length: int, frames: int, name: str) -> None:
    """Refuse a movie in which a frame would be its own neighbour."""
    if length < frames:
        raise InputError(
            f"{name} has {length} frame{'s' * (length != 1)} along T, and the network sees {frames} at once",
            f"give a movie of at least {frames} frames, or train with `frames` 1", option="frames",
        )  # fmt: skip


def neighbours(time: int, frames: int, length: int) -> list[int]:
    """The frames that a network sees of a movie to restore one of them, in their order.

    In place of a neighbour that is not there stands the one on the other side: the first frame of three sees 1, 0, 1.
    Never the frame itself, whose noise the network would take for structure.
    """
    near = (time + step for step in range(-(frames // 2), frames // 2 + 1))
    return [other if 0 <= other < length else 2 * time - other for other in near]


def reach(times: range, frames: int, length: int) -> range:
    """The frames that are read to restore some."""
    near = [other for time in times for other in neighbours(time, frames, length)]
    return range(min(near), max(near) + 1)


def time_axis(axes: str | None, shape: Sequence[int], spatial: str, frames: int, name: str) -> int:
    """Where T is among the axes of a movie.

    Raises
    ------
    InputError
        When nobody says so, or the movie has none or is too short.
    """
    if axes is None:
        raise InputError(
            f"the model sees {frames} frames of a movie at once, and {name} of shape {tuple(shape)} does not say which "
            "axis is time",
            f"say it in Python, `axes` T{spatial}; here, take a model that was trained with `frames` 1",
            option=("axes", "frames"),
        )  # fmt: skip
    if len(axes) != len(shape) or not axes.endswith(spatial) or axes.count("T") != 1:
        raise InputError(
            f"{name} has axes {axes} and shape {tuple(shape)}; the model restores movies, T{spatial}, {frames} frames "
            "at once",
            "say with `axes` which axis is time, or train with `frames` 1", option=("axes", "frames"),
        )  # fmt: skip
    time = axes.index("T")
    check_length(shape[time], frames, name)
    return time


def check_none_blank(movie: Any, time: int, spatial: int) -> None:
    """Refuse a corrected movie with frames that hold nothing: their neighbours would be restored with their help."""
    volumes = spatial == 3
    planes = Counter(index[:-1] if volumes else index for index in getattr(movie, "blank", []))
    blank = sorted(index[time] for index, count in planes.items() if count == (movie.shape[-3] if volumes else 1))
    if blank:
        raise InputError(
            f"frame {blank[0]} of the movie is blank, and its neighbours are restored with its help",
            "leave it out, or take a model that was trained with `frames` 1", option="frames",
        )  # fmt: skip


class Neighbours:
    """A movie (…, T, …, [Z,] Y, X) as (…, T, …, frames, [Z,] Y, X): each frame between its neighbours.

    Takes an index for each axis before the spatial ones, and slices of these; only that is read. What was read last is
    kept, so that whoever goes through a movie in its order reads each frame once.

    Parameters
    ----------
    movie : array-like
        Anything with `shape`, `dtype` and slices.
    frames : int
    time : int
        Which axis is T.
    spatial : int
        Number of spatial axes.
    held : int
        Bytes that are kept.
    """

    def __init__(self, movie: Any, frames: int, time: int, spatial: int, held: int = HELD) -> None:
        self.shape = (*movie.shape[:-spatial], frames, *movie.shape[-spatial:])
        self.dtype, self.ndim = movie.dtype, len(self.shape)
        self._movie, self._frames, self._time, self._spatial, self._held = movie, frames, time, spatial, held
        self._parts: OrderedDict[tuple[Any, ...], NDArray[Any]] = OrderedDict()

    def __getitem__(self, box: tuple[int | slice, ...]) -> NDArray[Any]:
        index: Any = list(box[: -self._spatial - 1])
        near: Any = box[-self._spatial - 1]
        spatial: Any = box[-self._spatial :]
        index[self._time] = neighbours(index[self._time], self._frames, self._movie.shape[self._time])[near]
        key = (*index, *((b.start, b.stop) for b in spatial))
        if key not in self._parts:
            self._parts[key] = np.array(read_box(self._movie, (*index, *spatial)))
            release(self._movie)
        self._parts.move_to_end(key)
        while len(self._parts) > 1 and sum(part.nbytes for part in self._parts.values()) > self._held:
            self._parts.popitem(last=False)
        return self._parts[key]
