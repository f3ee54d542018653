"""OME-Zarr: 0.4 and 0.5 in, 0.5 out."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zsd_runtime.errors import InputError
from zsd_runtime.images.chunked import Chunked
from zsd_runtime.images.image import Description, Format, Image, Voxel
from zsd_runtime.images.units import length_um

CHUNK = {"Z": 8, "Y": 256, "X": 256}  # voxels on the raw grid; a finer output has as many times larger chunks
AXIS_TYPES = {"T": "time", "C": "channel"}


def _open(path: Path, axes: str | None, series: int | None) -> Image:  # noqa: ARG001
    """The finest level of an OME-Zarr image, or a bare array of the given `axes`; not read yet."""
    import zarr  # takes a moment

    try:
        node = zarr.open(path, mode="r")
    except Exception as error:  # many kinds, from many layers; all mean the same to the user
        raise InputError(f"{path} is not readable as Zarr ({error}): copy it again") from None
    if isinstance(node, zarr.Array):
        if axes is None:
            raise InputError(
                f"{path} is a bare Zarr array of shape {node.shape}", "name its axes with `axes`", option="axes"
            )
        return Image(Chunked(node), axes)
    attributes: Any = dict(node.attrs)
    attributes = attributes.get("ome", attributes)  # 0.5 nests what 0.4 did not
    if not attributes.get("multiscales"):
        raise InputError(
            f"{path} is a Zarr group without OME-Zarr's multiscales (it holds {sorted(node.keys())[:8]})",
            "give the image inside it",
        )
    image = attributes["multiscales"][0]
    try:
        named = [axis["name"].upper() for axis in image["axes"]]
        array = node[image["datasets"][0]["path"]]
        transforms = image["datasets"][0].get("coordinateTransformations", [])
        scale = next((t["scale"] for t in transforms if t["type"] == "scale"), [1.0] * len(named))
        units = [str(axis.get("unit", "")) for axis in image["axes"]]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(
            f"{path}: {error} is missing or malformed in its OME-Zarr description", "write it again"
        ) from None
    if not isinstance(array, zarr.Array) or len(named) != array.ndim or set(named) - set("TCZYX"):
        raise InputError(f"{path} has axes {named} for {array}; zsd reads arrays with T, C, Z, Y and X")
    size = {a: um for a, s, u in zip(named, scale, units, strict=True) if (um := length_um(s, u))}
    return Image(
        Chunked(array),
        axes or "".join(named),
        Voxel(size.get("Z"), *((size["Y"], size["X"]) if {"Y", "X"} <= set(size) else (None, None))),
        description=Description(name=str(image.get("name") or "")),
    )


@contextmanager
def _create(path: Path, image: Image, scale: tuple[int, ...]) -> Iterator[Any]:
    """An empty OME-Zarr 0.5 of the image's shape, axes and pixel sizes; the array to write into.

    `scale` is how many times finer than the raw grid the last axes are: chunks are that much larger.
    """
    import zarr
    from zarr.codecs import BloscCodec

    # By default Zarr starts more threads than there are cores, and takes the cores from the network.
    if zarr.config.get("threading.max_workers") is None:
        zarr.config.set({"threading.max_workers": max(1, (os.cpu_count() or 1) - 1)})
    finer = (1,) * (len(image.axes) - len(scale)) + tuple(scale)
    chunks = tuple(min(CHUNK.get(a, 1) * k, n) for a, k, n in zip(image.axes, finer, image.data.shape, strict=True))
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {
                "name": image.description.name or path.stem,
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
    yield group.create_array(
        "0", shape=image.data.shape, chunks=chunks, dtype=image.data.dtype, dimension_names=list(image.axes.lower()),
        compressors=BloscCodec(cname="lz4", clevel=1, shuffle="shuffle"),
    )  # fmt: skip


def _axis(name: str, known: bool) -> dict[str, str]:
    unit = {"unit": "micrometer"} if known else {}
    return {"name": name.lower(), "type": AXIS_TYPES.get(name, "space"), **unit}


def _recognises(path: Path) -> bool:
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


OME_ZARR = Format("Zarr", (".ome.zarr", ".zarr"), _recognises, _open, _create)
