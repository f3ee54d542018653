"""Which width of a network holds a frame rate here: measured, before anything is trained.

Speed does not depend on what a network has learnt, so untrained networks are timed as they would run: in the graph and
the precision of a package, with the same engine, frame by frame.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from zsd_export.graph.precision import quantized
from zsd_export.graph.to_onnx import to_onnx
from zsd_export.measure.halo import halo_of
from zsd_export.measure.memory import bytes_per_voxel
from zsd_export.package.contents import linear, tensors_of
from zsd_optics.pictures import middle
from zsd_runtime.bench import synthetic
from zsd_runtime.engine_choice import PRECISIONS, open_engine
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.fitting import SHARE_OF_FREE_MEMORY
from zsd_runtime.memory import free_memory
from zsd_runtime.model import Model
from zsd_runtime.pace import pace_of
from zsd_runtime.package import ModelDescription
from zsd_train.config import NetworkChoice
from zsd_train.networks.network import Network
from zsd_train.networks.prune import student
from zsd_train.run import Run

CALIBRATION = {2: (128, 128), 3: (8, 64, 64)}  # pixels that int8 looks at: its scales do not matter for the speed
CLOSE = 0.95  # of the wanted rate: measurements differ by as much from one to the next
STEP = 2  # between widths: networks of odd widths are hardly faster


@dataclass(frozen=True)
class FrameRate:
    """A frame rate that a network shall hold on this machine.

    Attributes
    ----------
    fps : float
        Frames (volumes, of a 3D network) a second.
    size : tuple of int or None
        Of a frame, ([Z,] Y, X), pixels. None: of the run's first image.
    engine : str
        As for `load_model`.
    precision : {"fp32", "bf16", "fp16", "int8"}
        That the network will run in. The package is exported with it; bf16 is fp32 until it runs.
    """

    fps: float
    size: tuple[int, ...] | None = None
    engine: str = "auto"
    precision: str = "fp32"

    @property
    def packaged(self) -> str:
        """The precision of the package."""
        return "fp32" if self.precision == "bf16" else self.precision


@dataclass(frozen=True)
class Speed:
    """What was measured of a network: frames a second, at the median latency, and what ran it."""

    frames_per_s: float
    engine: str


def checked(rate: FrameRate, teacher: Run) -> FrameRate:
    """The rate with its size filled in.

    Raises
    ------
    InputError
        When a value is out of range, or the run cannot be timed so.
    """
    axes = teacher.config.axes
    if not 0 < rate.fps < math.inf:
        raise InputError(f"`fps` {rate.fps:g} must be a number above 0", option="fps")
    if rate.precision not in PRECISIONS:
        raise InputError(f"precision {rate.precision!r} must be one of {', '.join(PRECISIONS)}", option="precision")
    if rate.precision == "int8" and teacher.network.kind != "unet":
        raise InputError(
            f"int8 is for U-Nets, and the run's network is {teacher.network.kind}",
            "choose `precision` fp16",
            option="precision",
        )
    if teacher.network.channels > 1 or teacher.sim:
        raise InputError(
            f"`fps` times networks that take a camera's images as they are, and that of {teacher.folder} takes others",
            "choose a `width`",
            option=("fps", "width"),
        )
    size = rate.size or tuple(teacher.measured.images[0][-len(axes) :])
    if len(size) != len(axes):
        raise InputError(f"`size` {size_text(size)} must have {len(axes)} numbers, for {axes.upper()}", option="size")
    return replace(rate, size=size)


def widest(widths: Sequence[int], frames_per_s: Callable[[int], float], wanted: float) -> int | None:
    """The widest of `widths`, which ascend, that reaches the wanted rate, by bisection; None if the first does not.

    Wider networks are taken to be slower.
    """
    low, high = 0, len(widths)  # widths[:low] are fast enough, widths[high:] are not
    while low < high:
        probe = (low + high) // 2
        if frames_per_s(widths[probe]) >= wanted:
            low = probe + 1
        else:
            high = probe
    return widths[low - 1] if low else None


def width_for(
    teacher: Run,
    rate: FrameRate,
    network_of: Callable[[int], NetworkChoice],
    notice: Callable[[str], None] = lambda text: None,
) -> tuple[int, dict[int, Speed]]:
    """Find the widest student that holds a rate.

    Parameters
    ----------
    teacher : Run
    rate : FrameRate
        As `checked` gives it.
    network_of : callable
        Gives the student's network of a width.
    notice : callable
        Gets a sentence for each network that was measured.

    Returns
    -------
    int
        The width.
    dict
        What was measured, by width.

    Raises
    ------
    InputError
        When the teacher itself holds the rate, or even the narrowest student does not.
    """
    speeds: dict[int, Speed] = {}
    where = f"at {size_text(rate.size or ())}"

    def measured(width: int, network: Network) -> float:
        speeds[width] = speed = speed_of(network, teacher, rate)
        notice(f"width {width}: {speed.frames_per_s:.1f} frames/s {where} ({speed.engine})")
        return speed.frames_per_s

    def timed(width: int) -> float:
        return measured(width, student(network_of(width), teacher.network, teacher.psf))

    theirs = teacher.config.network.width
    if (reached := measured(theirs, teacher.network)) >= rate.fps:
        exported = "" if rate.packaged == "fp32" else f" with `precision` {rate.packaged}"
        raise InputError(
            f"the network of {teacher.folder} holds {rate.fps:g} frames/s as it is: {reached:.1f} {where} "
            f"({speeds[theirs].engine}); nothing was trained",
            f"export it{exported}, or choose a higher `fps`",
            option=("fps", "precision"),
        )
    width = widest(range(2, theirs, STEP), timed, CLOSE * rate.fps)
    if width is None:
        seen = ", ".join(f"width {w} {speeds[w].frames_per_s:.1f}" for w in sorted(speeds))
        int8 = ", `precision` int8 (on CPUs)" if rate.precision != "int8" and teacher.network.kind == "unet" else ""
        raise InputError(
            f"no width holds {rate.fps:g} frames/s {where} ({speeds[theirs].engine}); measured, frames/s: {seen}",
            f"choose a smaller `size`, a lower `fps`{int8}, another `engine`, or a machine with a GPU",
            option=("fps", "size", "precision", "engine"),
        )
    return width, speeds


def speed_of(network: Network, teacher: Run, rate: FrameRate) -> Speed:
    """Time a network as its package would run, with the teacher's normalisation, for a few seconds."""
    size = rate.size or ()
    exact, axes = to_onnx(network), network.axes
    graph, normalised = exact, ((teacher.sample - teacher.offset) / teacher.scale).astype(np.float32)
    if rate.packaged == "fp16":
        graph = to_onnx(network, half=True)
    elif rate.packaged == "int8":
        graph = quantized(exact, middle(normalised, CALIBRATION[len(axes)], network.size_multiple))
    memory = bytes_per_voxel(graph, network.scales)
    description = ModelDescription(
        "timed", axes, network.size_multiple, (0,) * len(axes),
        *tensors_of(graph, network.scales, linear(teacher.offset, teacher.scale)), graph, rate.packaged,
        bytes_per_voxel=memory,
    )  # fmt: skip
    engine = open_engine(description, engine=rate.engine, precision="bf16" if rate.precision == "bf16" else "auto")
    if memory * prod(size) > free_memory(engine.device) * SHARE_OF_FREE_MEMORY / 2:  # tiles, which overlap by halos
        description = replace(description, halo=halo_of(network, exact, normalised).pixels)
    with Model(description, engine) as model:
        pace = pace_of(model, synthetic(description, size))
        return Speed(1e3 / pace.median_ms, f"{engine.name} {engine.device} {engine.precision}")


def record(run: Run, teacher: Run, rate: FrameRate, searched: dict[int, Speed]) -> dict[str, Any]:
    """Time a finished student; what its run and its package say of the rate.

    Returns
    -------
    dict
        The wanted and the measured rate, what was measured, and what was measured before, by width.
    """
    speed = speed_of(run.network, teacher, rate)
    return {
        "fps": rate.fps, "frames_per_s": round(speed.frames_per_s, 2), "size": size_text(rate.size or ()),
        "engine": speed.engine, "precision": rate.precision, "width": run.config.network.width,
        "searched": {str(width): round(s.frames_per_s, 2) for width, s in sorted(searched.items())},
    }  # fmt: skip
