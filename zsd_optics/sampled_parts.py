"""Parts that stand for images too large to be held in memory.

A training of minutes sees some 10^8 to 10^9 pixels. From more than that, parts are drawn evenly at random over all
images, of two each time the brighter: foreground is favoured without a threshold, as with patches
(`zsd_train.frames`). Each part is read once. Noise, normalisation, background, bad pixels and held-out tiles are those
of the parts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import size_text
from zsd_runtime.images import read_box
from zsd_runtime.memory import release

HELD = 2 << 30  # bytes of images that are read as they are
SAMPLED = 256 << 20  # bytes of the parts: to look for bad pixels in them takes a minute or two on one core
PART = {2: (512, 512), 3: (64, 256, 256)}  # pixels, at least, where the image has as many
PEEK = (1, 64, 64)  # pixels in the middle of a part whose mean says how bright it is

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Unread:
    """An image whose pixels are read where it is sliced.

    Attributes
    ----------
    data : array-like
        ([Z,] Y, X); takes slices with both ends. `parts`, if it has that, is what is decoded at once.
    name : str
        Of its file.
    """

    data: Any
    name: str

    @property
    def nbytes(self) -> int:
        """Of its pixels."""
        return prod(self.data.shape) * int(self.data.dtype.itemsize)

    def read(self, start: Shape, size: Shape) -> NDArray[np.generic]:
        """The pixels of a box."""
        box = tuple(slice(first, first + n) for first, n in zip(start, size, strict=True))
        return np.array(read_box(self.data, box, self.name))

    def whole(self) -> NDArray[np.generic]:
        """All pixels."""
        return self.read((0,) * len(self.data.shape), self.data.shape)

    @property
    def part(self) -> Shape:
        """The size of a part: whole chunks where they are small, so that none is read for a few of its pixels."""
        wanted = PART[len(self.data.shape)]
        chunks = getattr(self.data, "parts", None) or (1,) * len(wanted)
        sizes = (ceil(w / c) * c if c <= 2 * w else w for w, c in zip(wanted, chunks, strict=True))
        return tuple(min(size, n) for size, n in zip(sizes, self.data.shape, strict=True))


def sampled(images: list[Unread], limit: int | None = None) -> tuple[list[NDArray[np.generic]], str]:
    """Parts of images, each read once, and a sentence for people on what was drawn.

    Parameters
    ----------
    images : list of Unread
        Planes or volumes, not both.
    limit : int
        Bytes of all parts; default: `SAMPLED`.
    """
    limit = SAMPLED if limit is None else limit
    rng = np.random.default_rng(0)  # a resumed training draws the same
    shares = np.array([image.nbytes for image in images], float)
    part_bytes = max(prod(image.part) * image.data.dtype.itemsize for image in images)
    counts = _shared_out(max(1, limit // part_bytes), shares, rng)
    parts: list[NDArray[np.generic]] = []
    used = 0
    for image, number in zip(images, counts, strict=True):
        found = list(_brighter(image, number, rng)) if number else []
        parts += found
        used += bool(found)
        release(image.data)
    if not parts:  # all of them blank: whoever looks at it says so
        parts = [images[0].read((0,) * len(images[0].part), images[0].part)]
    seen, of = sum(part.nbytes for part in parts), float(shares.sum())
    return parts, (
        f"{of / 1e9:.3g} GB of pixels are more than is held in memory: {len(parts)} parts of up to "
        f"{size_text(images[0].part)} pixels were drawn from {used} of {len(images)} images, {seen / 1e9:.2g} GB or "
        f"{100 * seen / of:.2g} %; noise, normalisation and training are from these"
    )


def _shared_out(number: int, shares: NDArray[np.float64], rng: np.random.Generator) -> list[int]:
    """How many of a `number` of parts come from each image: by its size, at least one if there are enough."""
    if number < len(shares):
        chosen = set(rng.choice(len(shares), number, replace=False).tolist())
        return [int(i in chosen) for i in range(len(shares))]
    return [max(1, round(number * share)) for share in shares / shares.sum()]


def _brighter(image: Unread, number: int, rng: np.random.Generator) -> Iterator[NDArray[np.generic]]:
    """At most `number` parts, the brighter ones of pairs, without those that hold nothing."""
    size = image.part
    grid = [ceil(n / s) for n, s in zip(image.data.shape, size, strict=True)]
    order = rng.permutation(prod(grid))
    if order.size < 2 * number:  # not enough for a choice
        pairs = [order[i : i + 1] for i in range(order.size)]
    else:
        pairs = [order[i : i + 2] for i in range(0, order.size - 1, 2)]
    for pair in pairs[: 16 * number]:
        starts = [_start(image, np.unravel_index(int(cell), grid)) for cell in pair]
        if len(starts) > 1:
            starts.sort(key=lambda start: _brightness(image, start), reverse=True)
        for start in starts:
            part = image.read(start, size)
            if part.min() != part.max():
                yield part
                number -= 1
                break
        if not number:
            return


def _start(image: Unread, cell: tuple[Any, ...]) -> Shape:
    """The first pixel of a cell of the grid of parts; the last one of each axis ends with the image."""
    return tuple(min(int(i) * s, n - s) for i, s, n in zip(cell, image.part, image.data.shape, strict=True))


def _brightness(image: Unread, start: Shape) -> float:
    """The mean of some pixels in the middle of a part; their first pixel, not their middle, is that of the part."""
    size = tuple(min(p, n) for p, n in zip(PEEK[-len(start) :], image.part, strict=True))
    first = [at + min(n // 2, n - p) for at, n, p in zip(start, image.part, size, strict=True)]
    return float(np.nan_to_num(image.read(tuple(first), size)).mean())
