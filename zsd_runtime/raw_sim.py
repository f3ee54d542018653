"""Raw SIM files as what a model takes: their reconstructions, made where they are read."""

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.corrections.corrected import Corrected, Corrections
from zsd_runtime.errors import InputError
from zsd_runtime.images import Image
from zsd_runtime.notices import Notice, no_notice
from zsd_runtime.sim.layout import Layout, check_saturation, layout_of
from zsd_runtime.sim.microscope import FACTOR, Sim
from zsd_runtime.sim.moved import stripes_moved
from zsd_runtime.sim.parameters import SimParameters
from zsd_runtime.sim.reconstruction import reconstruct

SAME_SIZE = 0.05  # of pixel sizes
CORRECTIONS = Corrections()
REMEDY = "give `sim_parameters` of this image, which `zsd sim reconstruct` writes, or train again"


class Reconstructed:
    """Reconstructions of the acquisitions in a file, (T, [Z,] 2Y, 2X) or without T; the last one is kept.

    Parameters
    ----------
    data : array-like
        (…, Y, X), raw planes.
    layout : Layout
    sim : Sim
    name : str
        For errors.
    notice : callable
        Gets a sentence for what makes a reconstruction wrong.
    """

    def __init__(
        self, data: Any, layout: Layout, sim: Sim, name: str = "the image", notice: Notice = no_notice
    ) -> None:
        self._data, self._layout, self._sim, self._name, self._notice = data, layout, sim, name, notice
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
        """The reconstruction of one time point.

        Raises
        ------
        InputError
            When its frames are saturated.
        """
        if self._kept is None or self._kept[0] != time:
            lengths = self._data.shape[:-2]
            first = time * self._layout.planes
            indices = [np.unravel_index(first + n, lengths) for n in range(self._layout.planes)]
            planes = np.stack([np.asarray(self._data[tuple(map(int, index))]) for index in indices])
            frames = self._layout.arranged(planes, self._sim.parameters.order)
            name = f"{self._name}, time point {time}" if self._movie else self._name
            for remark in (check_saturation(planes, name), stripes_moved(frames, self._sim, remedy=REMEDY)):
                if remark:
                    self._notice(f"{name}: {remark}")
            self._kept = time, reconstruct(frames, self._sim)
        return self._kept[1]


def seen_by(
    sim: Sim,
    image: Image,
    name: str,
    notice: Notice = no_notice,
    corrections: Corrections | None = CORRECTIONS,
) -> Image:
    """What a model takes of a file: the reconstruction of raw frames; a reconstruction as it is.

    Parameters
    ----------
    sim : Sim
    image : Image
        With the pixel size that is used.
    name : str
        For errors.
    notice : callable
        Gets a sentence for what was done, and for what makes results wrong.
    corrections : Corrections or None
        What raw frames are freed of.

    Raises
    ------
    InputError
        When the file is neither.
    """
    p, number = sim.parameters, prod(image.data.shape[:-2])
    if not _is_raw(sim, image, name):
        notice(
            f"{name}: taken for a reconstruction; the model was trained on those with w = {p.wiener:.3g}, "
            "and restores raw frames best"
        )
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
    planes: Any = image.data
    if corrections is not None:
        if corrections.maps is not None:
            raise InputError(
                "calibration maps of the camera are not used for raw SIM frames",
                "correct the frames by them before", option=("dark", "gain_map"),
            )  # fmt: skip
        planes = Corrected(image.data, corrections, name=name)
        if found := planes.notice():
            notice(f"{name}: {found}")
    data = Reconstructed(planes, layout, sim, name, notice)
    notice(f"{name}: reconstructed from its raw frames by the model's patterns")
    axes = "T" * (data.ndim - sim.axes) + "ZYX"[-sim.axes :]
    finer = {"Y": float(FACTOR), "X": float(FACTOR)}
    voxel = replace(image.voxel, z_um=image.voxel.z_um if sim.axes == 3 else None)
    described = image.description.resized(finer, image.voxel)
    origin = {axis: at for axis, at in described.origin_um.items() if axis in axes}
    described = replace(described, labels=(), notices=(), origin_um=origin)
    return replace(image, data=data, axes=axes, voxel=voxel.finer(finer), description=described)


def _is_raw(sim: Sim, image: Image, name: str) -> bool:
    """By its pixel size; an image whose planes cannot be raw frames needs none."""
    raw, fine = sim.parameters.pixel_size_um, sim.fine_voxel_um[-1]
    size = image.voxel.pixel_size_um(name)
    if size is None and prod(image.data.shape[:-2]) % sim.parameters.frames:
        return False
    for known, answer in ((raw, True), (fine, False)):
        if size is not None and abs(size / known - 1) < SAME_SIZE:
            return answer
    raise InputError(
        f"{name} has {'no pixel size' if size is None else f'pixels of {size * 1000:.4g} nm'}; this model takes raw "
        f"frames of {raw * 1000:.4g} nm and reconstructions of {fine * 1000:.4g} nm",
        "give the right `pixel_size` (µm), or take a model for this pixel size", option="pixel_size",
    )  # fmt: skip


def with_patterns(sim: Sim, path: Path) -> Sim:
    """The microscope of a model with the patterns of another acquisition.

    Raises
    ------
    InputError
        When they are of another kind of acquisition.
    """
    own, given = sim.parameters, SimParameters.load(path)
    kinds = [(p.directions, p.phases, p.z_step_um is None) for p in (own, given)]
    if kinds[0] != kinds[1] or abs(given.pixel_size_um / own.pixel_size_um - 1) > SAME_SIZE:
        raise InputError(
            f"{path} has {given.directions} directions of {given.phases} phases, pixels of "
            f"{given.pixel_size_um * 1000:.4g} nm; the model has {own.directions} of {own.phases}, "
            f"{own.pixel_size_um * 1000:.4g} nm",
            "give the parameters of an acquisition like those of the training", option="sim_parameters",
        )  # fmt: skip
    return replace(sim, parameters=replace(given, wiener=own.wiener, smooth_wiener=own.smooth_wiener, notch=own.notch))
