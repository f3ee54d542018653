"""OME-Zarr 0.5, out: the image as it is assigned, then a pyramid of coarser levels for viewers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.images.image import Image, as_dtype
from zsd_runtime.images.remote import zarr_place

CHUNK = {"Z": 8, "Y": 256, "X": 256}  # voxels on the raw grid; a finer output has as many times larger chunks
COARSEST = 256  # pixels; a plane of a viewer's overview
FLATTEST = 1.5  # slices that are further apart than this many pixels are not averaged
ORDER = "TCZYX"  # of axes, by the standard
AXIS_TYPES = {"T": "time", "C": "channel"}
WHITE = "FFFFFF"


@contextmanager
def create(path: Any, image: Image, scale: tuple[int, ...]) -> Iterator[Any]:
    """An empty OME-Zarr of the image's shape, axes and description; the array to write into.

    `scale` is how many times finer than the raw grid the last axes are: chunks are that much larger. The pyramid
    follows when the block succeeds.
    """
    import zarr

    few_threads()
    finer = dict(zip(image.axes[::-1], scale[::-1], strict=False))
    axes = "".join(a for a in ORDER if a in image.axes)
    length = dict(zip(image.axes, image.data.shape, strict=True))
    group = zarr.open_group(zarr_place(path), mode="w", zarr_format=3)
    shape = tuple(length[a] for a in axes)
    chunk = CHUNK if len(scale) != 2 else CHUNK | {"Z": 1}  # results of planes come one by one
    chunks = tuple(min(chunk.get(a, 1) * finer.get(a, 1), length[a]) for a in axes)
    finest = make_array(group, 0, axes, shape, chunks, image.data.dtype)
    image = with_known_channels(image)
    yield finest if axes == image.axes else _Target(finest, [axes.index(a) for a in image.axes])
    shrunk = [dict.fromkeys(axes, 1)]
    array, window = finest, None
    while factors := factors_of(array.shape, axes, image, shrunk[-1]):
        array, window = _coarser(group, len(shrunk), array, axes, factors)
        shrunk.append({a: shrunk[-1][a] * factors[a] for a in axes})
    if image.description.channels and window is None:
        window = window_of(finest, axes)
    group.attrs["ome"] = metadata(image, axes, shrunk, window)


def with_known_channels(image: Image) -> Image:
    """The image; without a description of its channels if that is of another number of channels."""
    if len(image.description.channels) != dict(zip(image.axes, image.data.shape, strict=True)).get("C", 1):
        return replace(image, description=replace(image.description, channels=()))
    return image


class _Target:
    """An array to write into, with its axes in another order."""

    def __init__(self, array: Any, order: list[int]) -> None:
        self._array, self._order = array, order
        self.shape = tuple(array.shape[axis] for axis in order)
        self.chunks = tuple(array.chunks[axis] for axis in order)
        self.dtype = array.dtype

    def __setitem__(self, box: tuple[int | slice, ...], values: Any) -> None:
        slices = [b if isinstance(b, slice) else slice(b, b + 1) for b in box]
        back = np.argsort(self._order)
        block = np.reshape(values, [b.stop - b.start for b in slices]).transpose(back)
        self._array[tuple(slices[axis] for axis in back)] = block


def few_threads() -> None:
    """Leave the cores to the network: by default Zarr starts more threads than there are."""
    import zarr

    if zarr.config.get("threading.max_workers") is None:
        zarr.config.set({"threading.max_workers": max(1, (os.cpu_count() or 1) - 1)})


def make_array(
    group: Any,
    level: int,
    axes: str,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: Any,
    shards: tuple[int, ...] | None = None,
) -> Any:
    """A level of an image, empty."""
    from zarr.codecs import BloscCodec

    return group.create_array(
        str(level), shape=shape, chunks=chunks, shards=shards, dtype=dtype, dimension_names=list(axes.lower()),
        compressors=BloscCodec(cname="lz4", clevel=1, shuffle="shuffle"),
        fill_value=np.nan if np.dtype(dtype).kind == "f" else 0,  # nobody takes what was not written for dark
        config={"write_empty_chunks": True},  # so that chunks which a copy has lost can be told from black ones
    )  # fmt: skip


def factors_of(shape: tuple[int, ...], axes: str, image: Image, shrunk: dict[str, int]) -> dict[str, int]:
    """By how much the next level is coarser along each axis; empty when a level of this shape is the last."""
    length = dict(zip(axes, shape, strict=True))
    if max(length["Y"], length["X"]) <= COARSEST:
        return {}
    factors = {a: 2 if a in "YX" and length[a] > 1 else 1 for a in axes}
    z, y = image.voxel.z_um, image.voxel.y_um
    if length.get("Z", 1) > 1 and z and y and z * shrunk["Z"] <= FLATTEST * y * shrunk["Y"]:
        factors["Z"] = 2
    return factors


def _coarser(group: Any, level: int, finer: Any, axes: str, factors: dict[str, int]) -> tuple[Any, NDArray[Any]]:
    """Write the next level, chunk by chunk; and the least and the largest value of each channel."""
    factor = tuple(factors[a] for a in axes)
    shape = tuple(n // k for n, k in zip(finer.shape, factor, strict=True))  # an odd last pixel is left out
    chunks = tuple(min(CHUNK.get(a, 1), n) for a, n in zip(axes, shape, strict=True))
    coarser = make_array(group, level, axes, shape, chunks, finer.dtype)
    window = _no_window(axes, shape)
    for starts in product(*(range(0, n, c) for n, c in zip(shape, chunks, strict=True))):
        ends = [min(start + c, n) for start, c, n in zip(starts, chunks, shape, strict=True)]
        box = tuple(map(slice, starts, ends))
        source = tuple(slice(b.start * k, b.stop * k) for b, k in zip(box, factor, strict=True))
        values = as_dtype(averaged(finer[source], factor), finer.dtype)
        coarser[box] = values
        _widen(window, values, axes, starts)
    return coarser, window


def averaged(values: NDArray[Any], factor: tuple[int, ...]) -> NDArray[Any]:
    """The mean over blocks of `factor` pixels, in float32 where that is exact enough."""
    dtype = np.float32 if values.dtype.itemsize <= 2 or values.dtype == np.float32 else np.float64
    total: NDArray[Any] = values.astype(dtype)
    for axis, k in enumerate(factor):
        if k > 1:  # sums of slices: several times faster than a mean over short axes
            parts = [total[(slice(None),) * axis + (slice(i, None, k),)] for i in range(k)]
            total = np.add(*parts) if k == 2 else sum(parts[1:], start=parts[0])
    return total * dtype(1 / np.prod(factor))


def _no_window(axes: str, shape: tuple[int, ...]) -> NDArray[Any]:
    channels = shape[axes.index("C")] if "C" in axes else 1
    return np.array([[np.inf, -np.inf]] * channels)


def _widen(window: NDArray[Any], values: NDArray[Any], axes: str, starts: tuple[int, ...]) -> None:
    """So that it spans the finite `values`, which are of one channel: chunks are one channel deep."""
    row = window[starts[axes.index("C")] if "C" in axes else 0]
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if finite.size:
        row[:] = min(row[0], finite.min()), max(row[1], finite.max())


def window_of(array: Any, axes: str) -> NDArray[Any]:
    """The least and the largest value of each channel of a small image, chunk by chunk."""
    window = _no_window(axes, array.shape)
    for starts in product(*(range(0, n, c) for n, c in zip(array.shape, array.chunks, strict=True))):
        box = tuple(slice(s, s + c) for s, c in zip(starts, array.chunks, strict=True))
        _widen(window, array[box], axes, starts)
    return window


def metadata(image: Image, axes: str, shrunk: list[dict[str, int]], window: Any) -> dict[str, Any]:
    """The description of an image whose levels are coarser by the factors `shrunk`."""
    description = image.description
    unit = {"T": "second" if description.time_step_s else None}
    unit |= {a: "micrometer" if image.voxel[a] else None for a in "ZYX"}
    multiscale: dict[str, Any] = {
        "axes": [
            {"name": a.lower(), "type": AXIS_TYPES.get(a, "space")} | ({"unit": unit[a]} if unit.get(a) else {})
            for a in axes
        ],
        "datasets": [
            {"path": str(level), "coordinateTransformations": _transforms(image, axes, factors)}
            for level, factors in enumerate(shrunk)
        ],
    }
    if description.name:
        multiscale["name"] = description.name
    if len(shrunk) > 1:
        multiscale["type"] = "mean"
    if description.processing:
        multiscale["metadata"] = {"description": f"zsd: {description.processing}"}
    metadata: dict[str, Any] = {"version": "0.5", "multiscales": [multiscale]}
    if description.channels:
        metadata["omero"] = _omero(image, window)
    return metadata


def _transforms(image: Image, axes: str, factors: dict[str, int]) -> list[dict[str, Any]]:
    """Of a level that is coarser by these factors. The mean of a block lies in the block's centre."""
    size = {a: float(image.voxel[a] or 1.0) for a in axes} | {"T": float(image.description.time_step_s or 1.0)}
    origin = image.description.origin_um
    scale = {"type": "scale", "scale": [size[a] * factors[a] for a in axes]}
    if not origin and set(factors.values()) == {1}:
        return [scale]
    centre = [origin.get(a, 0.0) + (factors[a] - 1) / 2 * size[a] for a in axes]
    return [scale, {"type": "translation", "translation": centre}]


def _omero(image: Image, window: NDArray[Any]) -> dict[str, Any]:
    """Names and colours; by the standard each channel has a colour and a window."""
    dtype = image.data.dtype
    channels = []
    for channel, (low, high) in zip(image.description.channels, window.tolist(), strict=True):
        if not low < high:  # constant, or not a single number; a viewer divides by the span
            low, high = (low, low + 1.0) if low == high else (0.0, 1.0)
        least, most = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype.kind in "ui" else (low, high)
        span = {"min": float(least), "max": float(most), "start": float(low), "end": float(high)}
        emission = {"emissionWave": channel.emission_nm} if channel.emission_nm else {}
        channels.append(
            {"label": channel.name, "color": channel.color or WHITE, "active": True, "window": span} | emission
        )
    return {"channels": channels}
