"""OME-Zarr (0.4 and 0.5) in, OME-Zarr 0.5 out, and reading any chunked array piece by piece."""

import os
from collections import OrderedDict
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from zsd_runtime.errors import InputError
from zsd_runtime.images import UM, Image, Voxel

CACHE = 256 << 20  # bytes of decoded chunks: the neighbouring tiles of a row read the same ones
CHUNK = {"Z": 8, "Y": 256, "X": 256}  # voxels on the raw grid; a finer output has as many times larger chunks
AXIS_TYPES = {"T": "time", "C": "channel"}


class Chunked:
    """A chunked array, read through the chunks that were decoded last. Takes integers and slices with both ends."""

    def __init__(self, array: zarr.Array[Any], cache: int = CACHE) -> None:
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        self._array = array
        self._chunk: tuple[int, ...] = array.chunks
        self._room = max(1, cache // (int(np.prod(self._chunk)) * array.dtype.itemsize))
        self._decoded: OrderedDict[tuple[int, ...], NDArray[Any]] = OrderedDict()

    def __getitem__(self, box: tuple[int | slice, ...]) -> NDArray[Any]:
        ranges = [(b.start, b.stop) if isinstance(b, slice) else (b, b + 1) for b in box]
        result = np.empty([high - low for low, high in ranges], self.dtype)
        touched = [range(low // c, ceil(high / c)) for (low, high), c in zip(ranges, self._chunk, strict=True)]
        for index in product(*touched):
            starts = [i * c for i, c in zip(index, self._chunk, strict=True)]
            ends = [min(s + c, n) for s, c, n in zip(starts, self._chunk, self.shape, strict=True)]
            shared = [(max(low, s), min(high, e)) for (low, high), s, e in zip(ranges, starts, ends, strict=True)]
            there = tuple(slice(a - low, b - low) for (a, b), (low, _) in zip(shared, ranges, strict=True))
            here = tuple(slice(a - s, b - s) for (a, b), s in zip(shared, starts, strict=True))
            result[there] = self._decode(index, starts, ends)[here]
        return result[tuple(slice(None) if isinstance(b, slice) else 0 for b in box)]

    def _decode(self, index: tuple[int, ...], starts: list[int], ends: list[int]) -> NDArray[Any]:
        if index in self._decoded:
            self._decoded.move_to_end(index)
        else:
            chunk = self._array[tuple(map(slice, starts, ends))]
            self._decoded[index] = np.asarray(chunk)
            if len(self._decoded) > self._room:
                self._decoded.popitem(last=False)
        return self._decoded[index]


def open_zarr(path: Path, axes: str | None) -> Image:
    """The finest level of an OME-Zarr image, or a bare array whose `axes` are told; not read yet.

    Raises
    ------
    InputError
        When it is not Zarr, or says nothing, or something else than expected, of its axes.
    """
    try:
        node = zarr.open(path, mode="r")
    except Exception as error:  # many kinds, from many layers; all mean the same to the user
        raise InputError(f"{path} is not readable as Zarr ({error}): copy it again") from None
    if isinstance(node, zarr.Array):
        if axes is None:
            raise InputError(f"{path} is a bare Zarr array of shape {node.shape}: say what its axes are with --axes")
        return Image(Chunked(node), axes)
    attributes: Any = dict(node.attrs)
    attributes = attributes.get("ome", attributes)  # 0.5 nests what 0.4 did not
    if not attributes.get("multiscales"):
        raise InputError(
            f"{path} is a Zarr group without OME-Zarr's multiscales (it holds {sorted(node.keys())[:8]}): "
            "give the image inside it"
        )
    image = attributes["multiscales"][0]
    try:
        named = [axis["name"].upper() for axis in image["axes"]]
        array = node[image["datasets"][0]["path"]]
        transforms = image["datasets"][0].get("coordinateTransformations", [])
        scale = next((t["scale"] for t in transforms if t["type"] == "scale"), [1.0] * len(named))
        units = [str(axis.get("unit", "")) for axis in image["axes"]]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"{path}: its OME-Zarr description lacks or garbles {error}: write it again") from None
    if not isinstance(array, zarr.Array) or len(named) != array.ndim or set(named) - set("TCZYX"):
        raise InputError(f"{path} has axes {named} for {array}; zsd reads arrays with T, C, Z, Y and X")
    size = {a: s * UM[_short(u)] for a, s, u in zip(named, scale, units, strict=True) if _short(u) in UM}
    return Image(
        Chunked(array),
        axes or "".join(named),
        Voxel(size.get("Z"), *((size["Y"], size["X"]) if {"Y", "X"} <= set(size) else (None, None))),
        metadata={"Name": str(image["name"])} if image.get("name") else {},
    )


def create_zarr(path: Path, image: Image, scale: tuple[int, ...]) -> zarr.Array[Any]:
    """An empty OME-Zarr 0.5 of the image's shape, axes and pixel sizes; the array to write into.

    `scale` says how much finer it is than the raw grid, an axis each, from the last: chunks are that much larger.
    """
    # Its pool of threads would have more than there are cores, and take them from the network.
    if zarr.config.get("threading.max_workers") is None:
        zarr.config.set({"threading.max_workers": max(1, (os.cpu_count() or 1) - 1)})
    finer = (1,) * (len(image.axes) - len(scale)) + tuple(scale)
    chunks = tuple(min(CHUNK.get(a, 1) * k, n) for a, k, n in zip(image.axes, finer, image.data.shape, strict=True))
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {
                "name": image.metadata.get("Name", path.stem),
                "axes": [_axis(a, bool(image.voxel[a])) for a in image.axes],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [
                            {"type": "scale", "scale": [float(image.voxel[a] or 1.0) for a in image.axes]}
                        ],
                    }
                ],
            }
        ],
    }
    return group.create_array(
        "0", shape=image.data.shape, chunks=chunks, dtype=image.data.dtype, dimension_names=list(image.axes.lower()),
        compressors=BloscCodec(cname="lz4", clevel=1, shuffle="shuffle"),
    )  # fmt: skip


def _axis(name: str, known: bool) -> dict[str, str]:
    unit = {"unit": "micrometer"} if known else {}
    return {"name": name.lower(), "type": AXIS_TYPES.get(name, "space"), **unit}


def _short(unit: str) -> str:
    return {"micrometer": "um", "nanometer": "nm", "millimeter": "mm", "meter": "m"}.get(unit, unit)
