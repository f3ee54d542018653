"""A sequence of useq-schema: the frames that it will make, and the files that they belong to."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zsd_runtime.engines import EngineMissing
from zsd_runtime.errors import InputError
from zsd_runtime.images import Channel, Description, Image, Voxel

if TYPE_CHECKING:
    from useq import MDAEvent, MDASequence

INSTALL = "pip install 'zsd[live]'"

Stack = tuple[Any, ...]


def extra_missing(error: ImportError) -> EngineMissing:
    """The error for a library of the extra `live` that is not installed."""
    return EngineMissing(f"{error.name} is not installed, which talks to the microscope", INSTALL)


@dataclass(frozen=True)
class Planned:
    """A sequence, and the frames that it will make.

    Attributes
    ----------
    sequence : useq.MDASequence
    frames : int
    sizes : dict of str to int
        Lengths of the axes that are used, by their keys, such as "t", "p", "c", "z".
    channels : tuple of str
        In the order of their index; ``("",)`` without channels.
    stacks : dict
        Slices of each stack, by its channel and index.
    slowest_to_fastest : str
        Keys of the axes in the order of the acquisition.
    """

    sequence: "MDASequence"
    frames: int
    sizes: dict[str, int]
    channels: tuple[str, ...]
    stacks: dict[Stack, int]
    slowest_to_fastest: str


def read_sequence(path: Path) -> Planned:
    """A sequence of useq-schema (YAML or JSON).

    Raises
    ------
    InputError
        When the file is missing, is no sequence, or makes no frames.
    """
    try:
        from useq import MDASequence
    except ImportError as error:
        raise extra_missing(error) from None
    try:
        sequence = MDASequence.from_file(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})", "give a sequence (YAML)", option="mda") from None
    except Exception as error:  # YAML's and pydantic's errors, and whatever useq raises
        raise InputError(
            f"{path} is not a sequence of useq-schema ({_reason(error)})", "see its documentation"
        ) from None
    return planned(sequence)


def _reason(error: Exception) -> str:
    """What is wrong, in one line; pydantic lists every way in which a value could have been right."""
    if errors := getattr(error, "errors", None):
        first = errors()[0]
        return f"{first['loc'][0] if first['loc'] else 'it'}: {first['msg']}"
    return " ".join(str(error).split())


def planned(sequence: "MDASequence") -> Planned:
    """Count what a sequence will make; see `read_sequence`."""
    stacks: Counter[Stack] = Counter()
    for event in sequence:
        if getattr(event.action, "type", "acquire_image") == "acquire_image":
            stacks[stack_of(event)] += 1
    if not stacks:
        raise InputError("the sequence makes no frames", "give it a time plan, a z plan, channels or positions")
    sizes = {str(getattr(axis, "value", axis)): n for axis, n in sequence.sizes.items() if n}
    channels = tuple(channel.config for channel in sequence.channels) or ("",)
    order = "".join(str(getattr(axis, "value", axis)) for axis in sequence.axis_order)
    return Planned(sequence, sum(stacks.values()), sizes, channels, dict(stacks), order)


def check_stacks(plan: Planned, channels: tuple[str, ...]) -> None:
    """Refuse sequences whose stacks cannot be restored as they are acquired.

    Raises
    ------
    InputError
        When a restored channel has single slices, or time passes faster than z.
    """
    flat = next((key for key, slices in plan.stacks.items() if slices < 2 and key[0] in channels), None)
    if flat is not None:
        where = f" in channel {flat[0]}" if flat[0] else ""
        raise InputError(
            f"the sequence has no z{where}; this model restores volumes", "add a z_plan, or take a 2D model"
        )
    faster = [axis for axis in "tpg" if plan.slowest_to_fastest.find(axis) > plan.slowest_to_fastest.find("z")]
    if any(plan.sizes.get(axis, 1) > 1 for axis in faster):
        raise InputError(
            f"the sequence takes z slower than {', '.join(faster)} (axis_order {plan.slowest_to_fastest!r}): no stack "
            "is complete before the end",
            "put z behind them in axis_order",
        )


def raw_image(
    plan: Planned, shape: tuple[int, int], dtype: str, pixel_size_um: float | None, channels: tuple[str, ...], *,
    every: int = 1,
) -> Image:  # fmt: skip
    """What the camera will make at one position, without pixels, with what is known of it.

    Parameters
    ----------
    plan : Planned
    shape, dtype
        Of the frames.
    pixel_size_um : float or None
    channels : tuple of str
        That are restored.
    every : int
        Each n-th point in time is kept.
    """
    lengths = plan.sizes | {"c": len(channels), "t": -(-plan.sizes.get("t", 1) // every)}
    axes = "".join(a for a in "TCZ" if plan.sizes.get(a.lower(), 0))
    z_step = getattr(plan.sequence.z_plan, "step", None)
    interval = getattr(plan.sequence.time_plan, "interval", None)
    seconds = interval.total_seconds() * every if interval else None
    voxel = Voxel.square(pixel_size_um, float(z_step) if z_step else None)
    named = tuple(Channel(name) for name in channels) if plan.sizes.get("c", 0) else ()
    pixels = np.broadcast_to(np.zeros((), dtype), (*(lengths[a.lower()] for a in axes), *shape))
    description = Description(channels=named, time_step_s=seconds or None)
    return Image(pixels, axes + "YX", voxel, ome=True, description=description)


def index_of(event: "MDAEvent") -> dict[str, int]:
    """Its place in the acquisition, by the keys of the axes."""
    return {str(getattr(axis, "value", axis)): int(n) for axis, n in event.index.items()}


def channel_of(event: "MDAEvent") -> str:
    """The name of its channel, or ""."""
    return event.channel.config if event.channel else ""


def stack_of(event: "MDAEvent") -> Stack:
    """What the slices of one stack have in common."""
    index = index_of(event)
    index.pop("z", None)
    return (channel_of(event), *sorted(index.items()))
