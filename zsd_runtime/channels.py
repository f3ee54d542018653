"""The channels of an image: their names, which of them a person means, and an image of some of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError
from zsd_runtime.images import Image
from zsd_runtime.images.image import Channel


@dataclass(frozen=True)
class Chosen:
    """A channel of an image, and its number from 0."""

    number: int
    channel: Channel = field(default_factory=Channel)

    @property
    def name(self) -> str:
        """Its name in the file; "channel" and its number when it has none."""
        return self.channel.name or f"channel{self.number}"

    def is_called(self, text: str) -> bool:
        """Whether a person means it: by its name, whatever the case, or by its number."""
        return text.casefold() == self.name.casefold() or text == str(self.number)


def channels_of(image: Image) -> list[Chosen]:
    """All channels of an image; one when it has no axis for them."""
    count = image.data.shape[image.axes.index("C")] if "C" in image.axes else 1
    described = image.description.channels
    return [
        Chosen(n, channel) for n, channel in enumerate(described if len(described) == count else [Channel()] * count)
    ]


def named(channels: Sequence[Chosen]) -> str:
    """For messages: "GFP (0), RFP (1)"."""
    return ", ".join(f"{chosen.name} ({chosen.number})" for chosen in channels)


def choose(text: str, channels: Sequence[Chosen], option: str, name: str) -> list[Chosen]:
    """The channels that a person lists.

    Parameters
    ----------
    text : str
        "all", or names or numbers with commas between: "GFP,RFP", "0,2".
    channels : sequence of Chosen
        Those of the image.
    option, name : str
        The option that holds `text`, and the image, for messages.

    Raises
    ------
    InputError
        When a channel is not there, is listed twice, or shares its name with another.
    """
    if text.strip().casefold() == "all" and not any(c.channel.name.casefold() == "all" for c in channels):
        return list(channels)
    found = []
    whole = [c for c in channels if c.name.casefold() == text.strip().casefold()]  # it may hold a comma
    for part in [text.strip()] if whole else map(str.strip, text.split(",")):
        called = [c for c in channels if c.name.casefold() == part.casefold()]
        called = called or [c for c in channels if part == str(c.number)]
        if len(called) != 1:
            what = f"{name} has {'no channel' if not called else f'{len(called)} channels called'} {part!r}"
            remedy = f"its channels are {named(channels)}" + ": give a number" * bool(called)
            raise InputError(what, remedy, option=option)
        found += called
    if len({c.number for c in found}) < len(found):
        raise InputError(f"`{option}` {text} names a channel twice", "name each once", option=option)
    return found


def matched(names: Sequence[str], channels: Sequence[Chosen]) -> list[Chosen] | None:
    """The channels with these names, in the order of `names`, whatever the case; None unless each is there once."""
    by_name = [[c for c in channels if c.name.casefold() == name.casefold()] for name in names]
    return [found[0] for found in by_name] if all(len(found) == 1 for found in by_name) else None


def only(image: Image, channels: Sequence[Chosen]) -> Image:
    """The image with some of its channels, in their order; nothing is read. Without the axis it stays as it is."""
    if "C" not in image.axes:
        return image
    axis, described = image.axes.index("C"), image.description
    count, numbers = image.data.shape[axis], [chosen.number for chosen in channels]
    if numbers == list(range(count)):
        return image
    kept = tuple(chosen.channel for chosen in channels) if described.channels else ()
    labels = described.labels  # C is the fastest
    if len(labels) % count == 0:
        labels = tuple(labels[first + n] for first in range(0, len(labels), count) for n in numbers)
    return replace(
        image, data=channel_view(image.data, axis, numbers),
        description=replace(described, channels=kept, labels=labels),
    )  # fmt: skip


def channel_view(data: Any, axis: int, numbers: Sequence[int]) -> Any:
    """Some indices of an axis of an array or a file, to read from and to write to."""
    first, last = numbers[0], numbers[-1]
    if isinstance(data, np.ndarray) and list(numbers) == list(range(first, last + 1)):
        return data[(slice(None),) * axis + (slice(first, last + 1),)]  # of a mapped file still one
    return _View(data, axis, list(numbers))


class _View:
    """Indices of an axis of what takes integers and slices with both ends."""

    def __init__(self, data: Any, axis: int, numbers: list[int]) -> None:
        self.shape = (*data.shape[:axis], len(numbers), *data.shape[axis + 1 :])
        self.dtype, self.ndim, self.chunks = data.dtype, len(self.shape), getattr(data, "chunks", None)
        self.shards, self.parts = getattr(data, "shards", None), getattr(data, "parts", None)
        self._data, self._axis, self._numbers = data, axis, numbers

    def __getitem__(self, box: tuple[int | slice, ...]) -> NDArray[Any]:
        index, at = box[self._axis], self._axis
        if not isinstance(index, slice):
            return np.asarray(self._data[(*box[:at], self._numbers[index], *box[at + 1 :])])
        parts = [np.asarray(self._data[(*box[:at], number, *box[at + 1 :])]) for number in self._numbers[index]]
        return np.stack(parts, sum(isinstance(b, slice) for b in box[:at]))

    def __setitem__(self, box: tuple[int | slice, ...], values: Any) -> None:
        index, at = box[self._axis], self._axis
        if not isinstance(index, slice):
            self._data[(*box[:at], self._numbers[index], *box[at + 1 :])] = values
            return
        for value, number in zip(
            np.moveaxis(values, sum(isinstance(b, slice) for b in box[:at]), 0), self._numbers[index], strict=True
        ):
            self._data[(*box[:at], number, *box[at + 1 :])] = value


def file_names(channels: Sequence[Chosen]) -> list[str]:
    """A name for a file or folder of each channel: letters, digits, - and _, none of them twice."""
    names: list[str] = []
    for chosen in channels:
        name = re.sub(r"[^\w-]+", "_", chosen.name).strip("_") or f"channel{chosen.number}"
        while name.casefold() in (used.casefold() for used in names):
            name += f"_{chosen.number}"
        names.append(name)
    return names
