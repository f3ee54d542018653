"""Movies to train on: each frame between its neighbours in time."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.corrections.corrected import Corrected
from zsd_runtime.errors import InputError
from zsd_runtime.neighbours import check_length, neighbours
from zsd_train.frames import Frame


def frames_of(movies: Sequence[Any], frames: int, spatial: int) -> tuple[list[Any], list[int]]:
    """The frames ([Z,] Y, X) of movies (T, [Z,] Y, X), and how many each movie has.

    Raises
    ------
    InputError
        When an image is no movie, is too short, or shows a frame twice: its copy has the noise of the target.
    """
    found, lengths = [], []
    for number, movie in enumerate(movies):
        movie = np.asanyarray(movie)
        name = "the image" if len(movies) == 1 else f"image {number + 1}"
        if movie.ndim != spatial + 1:
            raise InputError(
                f"{name} of shape {movie.shape} is no movie (T{'ZYX'[-spatial:]}), and `frames` is {frames}",
                "give movies, or set `frames` to 1", option="frames",
            )  # fmt: skip
        check_length(len(movie), frames, name)
        pairs = ((s, t) for t in range(len(movie)) for s in range(max(0, t - frames // 2), t))
        if same := next((pair for pair in pairs if _equal(*(movie[t] for t in pair))), None):
            raise InputError(
                f"frames {same[0]} and {same[1]} of {name} are the same, noise and all: a network would take the noise "
                "for structure",
                "leave one of them out, or set `frames` to 1", option="frames",
            )  # fmt: skip
        found += list(movie)
        lengths.append(len(movie))
    return found, lengths


def _equal(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two frames are the same; blank ones are found elsewhere."""
    return np.array_equal(a, b) and a.min() != a.max()


def in_time(images: list[Frame], lengths: Sequence[int], frames: int) -> list[Frame]:
    """The frames of movies, one movie after the other, each between its neighbours."""
    seen = []
    for last, length in zip(np.cumsum(lengths), lengths, strict=True):
        movie = images[last - length : last]
        for time, frame in enumerate(movie):
            near = [movie[other].image for other in neighbours(time, frames, length)]
            seen.append(replace(frame, image=Neighbourhood(near)))
    return seen


class Neighbourhood:
    """A frame of a movie between its neighbours, (frames, [Z,] Y, X); takes slices like an array.

    Parameters
    ----------
    images : list of array-like
        (1, [Z,] Y, X) each, in their order in time; arrays or `Corrected`.
    """

    def __init__(self, images: list[Any]) -> None:
        self.images = images
        self.shape = (len(images), *images[0].shape[1:])
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, box: tuple[slice, ...]) -> NDArray[Any]:
        return np.concatenate([np.asarray(image[(slice(None), *box[1:])]) for image in self.images[box[0]]])

    def measured(self, box: tuple[slice, ...]) -> NDArray[np.bool_] | None:
        """Of a box, the pixels of the frame itself that are data; None: all of them."""
        own = self.images[len(self) // 2]
        return own.measured((slice(None), *box[1:])) if isinstance(own, Corrected) else None

    def saturated(self, box: tuple[slice, ...]) -> NDArray[np.bool_] | None:
        """Of a box, the saturated pixels of the frame itself; None: none of them."""
        own = self.images[len(self) // 2]
        return own.saturated((slice(None), *box[1:])) if isinstance(own, Corrected) else None
