"""A filter over an image file of any size: whole planes are read and written, a few at a time."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_optics.filters import Filter
from zsd_runtime.images import Image, as_dtype, check_array, read_box
from zsd_runtime.memory import release

PLANES = 8  # read and written at once: a Zarr chunk is as deep
SAMPLE = 16  # planes that stand for an image

Array = NDArray[Any]
Box = tuple[int | slice, ...]


def apply(image: Image, target: Any, method: Filter, report: Callable[[float], None]) -> None:
    """Write the filtered `image` into `target`.

    Parameters
    ----------
    image : Image
        Opened; ends with Z, Y, X if the filter needs volumes.
    target : file
        What `create_image` gives; its dtype is that of the result (rounded and clipped if an integer).
    method : Filter
        Memory grows with the number of slices only if its reach is None.
    report : callable
        Takes the share that is done, 0 to 1.

    Raises
    ------
    InputError
        When the file is damaged or holds values that are not finite.
    """
    shape = image.data.shape
    fine = tuple(slice(0, method.grid_factor * n) for n in shape[-2:])
    boxes = list(_boxes(shape, shape[-3] if method.reach is None and method.volumes else PLANES))
    for done, box in enumerate(boxes, start=1):
        if method.volumes:
            written = as_dtype(_slices(image, box, method), target.dtype)
        else:
            planes = _read(image, box)
            written = np.empty((*planes.shape[:-2], *(s.stop for s in fine)), target.dtype)
            for index in np.ndindex(planes.shape[:-2]):  # one at a time: their float32 would take twice the memory
                written[index] = as_dtype(method.function(planes[index]), target.dtype)
        target[(*box[:-2], *fine)] = written
        release(image.data)
        report(done / len(boxes))


def sample_planes(image: Image) -> Iterator[Array]:
    """At most `SAMPLE` planes, spread over all of an image."""
    indices = list(np.ndindex(image.data.shape[:-2]))
    plane = tuple(slice(0, n) for n in image.data.shape[-2:])
    for place in np.unique(np.linspace(0, len(indices) - 1, SAMPLE).round().astype(int)):
        yield np.array(_read(image, (*indices[place], *plane)))
        release(image.data)


def _slices(image: Image, box: Box, method: Filter) -> Array:
    """The filtered slices of `box`, from these and the neighbours that they depend on."""
    z, depth = box[-3], image.data.shape[-3]
    assert isinstance(z, slice)
    reach = depth if method.reach is None else method.reach
    low, high = max(z.start - reach, 0), min(z.stop + reach, depth)
    around = _read(image, (*box[:-3], slice(low, high), *box[-2:]))
    return method.function(around)[z.start - low : z.stop - low]


def _boxes(shape: tuple[int, ...], depth: int) -> Iterator[Box]:
    """Whole planes, `depth` at a time."""
    plane = tuple(slice(0, n) for n in shape[-2:])
    if len(shape) == 2:
        yield plane
        return
    for index in np.ndindex(shape[:-3]):
        for first in range(0, shape[-3], depth):
            yield (*index, slice(first, min(first + depth, shape[-3])), *plane)


def _read(image: Image, box: Box) -> Array:
    values = read_box(image.data, box)
    check_array(values, "the image")
    return values
