"""TIFF, out: OME-TIFF, or ImageJ hyperstacks."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from zsd_runtime.errors import InputError
from zsd_runtime.images.image import Image
from zsd_runtime.images.imagej import imagej_metadata
from zsd_runtime.images.ome_xml import ome_metadata

# What the two kinds hold; NumPy's names.
_IMAGEJ_TYPES = {"uint8", "uint16", "float32"}
_OME_TYPES = {"int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64"}


@contextmanager
def create_tiff(path: Path, image: Image, scale: tuple[int, ...]) -> Iterator[Any]:  # noqa: ARG001
    """A TIFF of the image's shape, axes and description; the array to write into. See `Format.create`."""
    image = replace(image, ome=image.ome or _needs_ome(image))
    if image.ome and image.data.dtype.name not in _OME_TYPES:
        raise InputError(f"a TIFF does not hold {image.data.dtype} for other programs", "convert it to float32")
    target = _Target(path, image)
    try:
        yield target
    finally:
        target.close()


def _needs_ome(image: Image) -> bool:
    """Whether ImageJ's kind cannot hold the image: planes of 4 GB, other numbers, a position without a pixel size."""
    origin = image.description.origin_um
    return (
        prod(image.data.shape[-2:]) * image.data.dtype.itemsize >= 1 << 32
        or image.data.dtype.name not in _IMAGEJ_TYPES
        or any(not image.voxel[axis] for axis in origin)
    )


class _Target:
    """An uncompressed TIFF that is written box by box, with plain writes: a full disk is an error, not a crash."""

    def __init__(self, path: Path, image: Image) -> None:
        self.shape, self.dtype = image.data.shape, image.data.dtype.newbyteorder("<")
        order = image.axes if image.ome else "".join(a for a in "TZCYX" if a in image.axes)  # ImageJ's own
        permutation = [image.axes.index(a) for a in order]
        shape = [self.shape[axis] for axis in permutation]
        self._offset = _empty_tiff(path, image, order, tuple(shape))
        strides = [int(np.prod(shape[axis + 1 :])) * self.dtype.itemsize for axis in range(len(shape))]
        self._strides = [strides[permutation.index(axis)] for axis in range(len(shape))]
        self._file = path.open("r+b", buffering=0)

    def __setitem__(self, box: tuple[int | slice, ...], values: Any) -> None:
        starts = [b.start if isinstance(b, slice) else b for b in box]
        first = self._offset + sum(s * stride for s, stride in zip(starts, self._strides, strict=True))
        lengths = [b.stop - b.start if isinstance(b, slice) else 1 for b in box]
        values = np.ascontiguousarray(values, self.dtype).reshape(lengths)
        # Rows are contiguous in the file; rows of full width are so together.
        together = 2 if lengths[-1] == self.shape[-1] else 1
        for index in np.ndindex(*lengths[:-together]):
            self._file.seek(first + sum(i * stride for i, stride in zip(index, self._strides, strict=False)))
            left = memoryview(values[index]).cast("B")
            while left:  # a write may take less than all, when the disk is nearly full or above 2 GB
                left = left[self._file.write(left) :]

    def close(self) -> None:
        self._file.close()


def _empty_tiff(path: Path, image: Image, order: str, shape: tuple[int, ...]) -> int:
    """Write a TIFF with room for its pixels; the offset of the first pixel."""
    y, x = image.voxel.y_um, image.voxel.x_um
    common: dict[str, Any] = {"shape": shape, "dtype": image.data.dtype.newbyteorder("<"), "returnoffset": True}
    with warnings.catch_warnings():
        # Above 4 GB an ImageJ hyperstack has one directory, "truncated"; ImageJ knows to go on by itself.
        warnings.simplefilter("ignore")
        if image.ome:
            metadata = ome_metadata(image, order)
            written = tifffile.imwrite(path, ome=True, photometric="minisblack", metadata=metadata, **common)
        else:
            metadata = imagej_metadata(image, order)
            resolution = (1 / x, 1 / y) if x and y else None
            written = tifffile.imwrite(path, imagej=True, resolution=resolution, metadata=metadata, **common)
    assert written is not None
    return int(written[0])
