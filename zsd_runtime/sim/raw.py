"""Raw SIM files as what a model takes: their reconstructions, made where they are read."""

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError
from zsd_runtime.images import Image, read_box
from zsd_runtime.notices import Notice, no_notice
from zsd_runtime.sim.layout import Layout, layout_of
from zsd_runtime.sim.microscope import FACTOR, Sim
from zsd_runtime.sim.reconstruction import reconstruct

SAME_SIZE = 0.05  # of pixel sizes


class Reconstructed:
    """Reconstructions of the acquisitions in a file, (T, [Z,] 2Y, 2X) or without T; the last one is kept.

    Parameters
    ----------
    data : array-like
        (…, Y, X), raw planes.
    layout : Layout
    sim : Sim
    """

    def __init__(self, data: Any, layout: Layout, sim: Sim) -> None:
        self._data, self._layout, self._sim = data, layout, sim
        depth = () if layout.slices is None else (layout.slices,)
        image = (*depth, *(FACTOR * n for n in data.shape[-2:]))
        times = prod(data.shape[:-2]) // layout.planes
        self._movie = times > 1
        self.shape: tuple[int, ...] = (times, *image) if self._movie else image
        self.dtype, self.ndim = np.dtype(np.float32), len(self.shape)
        self._kept: tuple[int, NDArray[np.float32]] | None = None

    def __getitem__(self, box: Any) -> NDArray[np.float32]:
        box = box if isinstance(box, tuple) else (box,)
        if not self._movie:
            return self.acquisition(0)[box]  # type: ignore[no-any-return]
        first, rest = (box[0], box[1:]) if box and box[0] is not Ellipsis else (slice(None), box)
        if isinstance(first, int | np.integer):
            return self.acquisition(int(first))[rest]  # type: ignore[no-any-return]
        return np.stack([self.acquisition(time)[rest] for time in range(*first.indices(self.shape[0]))])

    def acquisition(self, time: int) -> NDArray[np.float32]:
        """The reconstruction of one time point."""
        if self._kept is None or self._kept[0] != time:
            lengths = self._data.shape[:-2]
            first = time * self._layout.planes
            indices = [np.unravel_index(first + n, lengths) for n in range(self._layout.planes)]
            planes = np.stack([read_box(self._data, tuple(map(int, index))) for index in indices])
            frames = self._layout.arranged(planes, self._sim.parameters.order)
            self._kept = time, reconstruct(frames, self._sim)
        return self._kept[1]


def seen_by(sim: Sim, image: Image, name: str, notice: Notice = no_notice) -> Image:
    """What a model takes of a file: the reconstruction of raw frames; a reconstruction as it is.

    Raises
    ------
    InputError
        When the file is neither.
    """
    p = sim.parameters
    number = prod(image.data.shape[:-2])
    size = image.voxel.pixel_size_um(name)
    raw = number % p.frames == 0 if size is None else abs(size / p.pixel_size_um - 1) < SAME_SIZE
    if not raw:
        return image
    if number % p.frames:
        raise InputError(
            f"{name} has {number} planes of the pixel size of raw frames, no multiple of the {p.frames} that the "
            "model's patterns have",
            "give the raw frames of whole acquisitions, or reconstructions",
        )
    layout = layout_of(image, name, p.directions, p.phases, None if sim.axes == 3 else 1)
    if (layout.slices is not None) != (sim.axes == 3):
        raise InputError(
            f"{name} holds {'volumes' if layout.slices else 'planes'}, and the model is for "
            f"{'volumes' if sim.axes == 3 else 'planes'}",
            "take a model of this kind of acquisition",
        )
    data = Reconstructed(image.data, layout, sim)
    notice(f"{name}: reconstructed from its raw frames by the model's patterns")
    axes = "T" * (data.ndim - sim.axes) + "ZYX"[-sim.axes :]
    return replace(image.resized(data.shape, "float32", axes), data=data)
