"""Planes that stand for images, and which of their pixels are data."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.corrections.corrected import Corrected

MOST = 16  # planes of a volume, beside the brightest

Looked = tuple[NDArray[np.float64], NDArray[np.bool_] | None]  # a plane, and where it is data; None: everywhere


def measured_planes(images: list[Any]) -> list[Looked]:
    """Each image that is a plane, and at most `MOST` planes of each volume, with the brightest one.

    Parameters
    ----------
    images : list of ndarray or Corrected
        (C, Y, X), or volumes (C, Z, Y, X).
    """
    return [found for image in images for place in _places(image) if (found := _look(image, place)) is not None]


def data_of(plane: Looked) -> NDArray[np.float64]:
    """The pixels of a plane that are data, in any shape."""
    counts, measured = plane
    return counts if measured is None else counts[measured]


def _places(image: Any) -> list[tuple[int, ...]]:
    channels = range(image.shape[0])
    if image.ndim == 3:
        return [(channel,) for channel in channels]
    depth = image.shape[1]
    spread = np.linspace(0, depth - 1, min(depth, MOST)).round().astype(int).tolist()
    brightest = (max(range(depth), key=lambda z: float(image[c, z, ::4, ::4].mean())) for c in channels)
    return [
        (channel, z) for channel, bright in zip(channels, brightest, strict=True) for z in sorted({*spread, bright})
    ]


def _look(image: Any, place: tuple[int, ...]) -> Looked | None:
    """None for a plane without any data."""
    measured = image.measured(place) if isinstance(image, Corrected) else None
    return None if measured is not None and not measured.any() else (np.asarray(image[place], np.float64), measured)
