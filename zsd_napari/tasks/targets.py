"""What a prediction writes into: the viewer's memory, through the pipe, or an OME-Zarr on the disk."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_napari.source import Result, Source
from zsd_napari.worker import Link
from zsd_runtime.errors import InputError
from zsd_runtime.images import Image, create_image, stem

MOST_BYTES = 16 << 20  # of a message
SPARE_BYTES = 1 << 30  # of the disk that stay free


class Sent:
    """An array in the viewer: what is assigned is sent there."""

    def __init__(self, link: Link, output: str, image: Image) -> None:
        self.shape, self.dtype = tuple(image.data.shape), image.data.dtype
        self._link, self._output = link, output

    def __setitem__(self, box: tuple[int | slice, ...], values: NDArray[Any]) -> None:
        starts = [b.start if isinstance(b, slice) else int(b) for b in box]
        lengths = [b.stop - b.start if isinstance(b, slice) else 1 for b in box]
        block = np.asarray(values).reshape(lengths)
        for part in _parts(lengths, block.itemsize):
            place = tuple(slice(a + p.start, a + p.stop) for a, p in zip(starts, part, strict=True))
            self._link.send("part", self._output, place, np.ascontiguousarray(block[part]))


def _parts(lengths: Sequence[int], itemsize: int) -> Iterator[tuple[slice, ...]]:
    """Boxes of at most `MOST_BYTES` that make up a block, cut along its first axes."""
    whole = tuple(slice(0, n) for n in lengths)
    for axis, n in enumerate(lengths):
        inner = itemsize * prod(lengths[axis + 1 :])
        if itemsize * prod(lengths[axis:]) <= MOST_BYTES:
            cut = axis
            break
        if inner <= MOST_BYTES:
            step = max(1, MOST_BYTES // inner)
            for outer in product(*(range(m) for m in lengths[:axis])):
                for start in range(0, n, step):
                    yield (
                        *(slice(i, i + 1) for i in outer), slice(start, min(n, start + step)), *whole[axis + 1 :],
                    )  # fmt: skip
            return
    for outer in product(*(range(m) for m in lengths[:cut])):
        yield (*(slice(i, i + 1) for i in outer), *whole[cut:])


@contextmanager
def targets(
    link: Link, source: Source, results: Sequence[tuple[Path, Image, tuple[int, ...]]], outputs: Sequence[str],
    folder: Path | None,
) -> Iterator[list[Any]]:  # fmt: skip
    """Something to write each output into; the viewer is told what comes.

    Parameters
    ----------
    link : Link
    source : Source
    results : sequence of (path, Image, tuple of int)
        As `zsd_runtime.batch.Work` describes them.
    outputs : sequence of str
    folder : path or None
        For OME-Zarr; None: results are sent.
    """
    images = [image for _, image, _ in results]
    if folder is None:
        link.send("results", [_result(name, image, None) for name, image in zip(outputs, images, strict=True)])
        yield [Sent(link, name, image) for name, image in zip(outputs, images, strict=True)]
        return
    _check_space(images, folder)
    paths = [free_name(folder, f"{stem(source.path)}_{name}") for name in outputs]
    with ExitStack() as files:
        yield [
            files.enter_context(create_image(path, image, scale))
            for path, (_, image, scale) in zip(paths, results, strict=True)
        ]
    link.send(
        "results",
        [_result(name, image, path) for name, image, path in zip(outputs, images, paths, strict=True)],
    )


def free_name(folder: Path, name: str) -> Path:
    """A path for an OME-Zarr that is not there yet: earlier results stay."""
    numbers = ("", *(f"-{n}" for n in range(2, 10_000)))
    return next(path for n in numbers if not (path := folder / f"{name}{n}.zarr").exists())


def _result(output: str, image: Image, path: Path | None) -> Result:
    return Result(output, tuple(image.data.shape), image.data.dtype.name, image.axes, path)


def _check_space(images: Sequence[Image], folder: Path) -> None:
    """Refuse what does not fit on the disk, before minutes of work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror})", "choose another `out`", option="out"
        ) from None
    needed = sum(prod(image.data.shape) * image.data.dtype.itemsize for image in images)
    if needed + SPARE_BYTES > free:
        raise InputError(
            f"the results take up to {needed / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB free",
            "choose another `out`, or crop the layer", option="out",
        )  # fmt: skip
