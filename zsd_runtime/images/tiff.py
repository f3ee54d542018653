"""TIFF, OME-TIFF and ImageJ hyperstacks, in and out."""

import logging
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from zsd_runtime.errors import InputError
from zsd_runtime.images.chunked import Chunked
from zsd_runtime.images.image import UM, Channel, Description, Format, Image, Voxel

READ_AT_ONCE = 1 << 30  # bytes of a compressed TIFF; larger ones are decoded where they are sliced


@contextmanager
def _create(path: Path, image: Image, scale: tuple[int, ...]) -> Iterator[Any]:  # noqa: ARG001
    if not image.ome and prod(image.data.shape[-2:]) * image.data.dtype.itemsize >= 1 << 32:
        image = replace(image, ome=True)  # ImageJ's kind has no planes of 4 GB
    target = _Target(path, image)
    try:
        yield target
    finally:
        target.close()


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
    z, y, x = image.voxel.z_um, image.voxel.y_um, image.voxel.x_um
    common: dict[str, Any] = {"shape": shape, "dtype": image.data.dtype.newbyteorder("<"), "returnoffset": True}
    with warnings.catch_warnings():
        # Above 4 GB an ImageJ hyperstack has one directory, "truncated"; ImageJ knows to go on by itself.
        warnings.simplefilter("ignore")
        if image.ome:
            units = {"PhysicalSizeYUnit": "µm", "PhysicalSizeXUnit": "µm"}
            sizes = {"PhysicalSizeY": y, "PhysicalSizeX": x, **units} if y else {}
            depth = {"PhysicalSizeZ": z, "PhysicalSizeZUnit": "µm"} if z else {}
            metadata = {**_ome_metadata(image), "axes": order, **sizes, **depth}
            written = tifffile.imwrite(path, ome=True, photometric="minisblack", metadata=metadata, **common)
        else:
            metadata = {**_imagej_metadata(image), "axes": order}
            if y:
                metadata["unit"] = "um"
            if z:
                metadata["spacing"] = z
            resolution = (1 / x, 1 / y) if x and y else None
            written = tifffile.imwrite(path, imagej=True, resolution=resolution, metadata=metadata, **common)
    assert written is not None
    return int(written[0])


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What tifffile logs: some damage it reports nowhere else, and a truncated stack reads as fewer planes."""
    messages: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger, collect = logging.getLogger("tifffile"), Collect(logging.WARNING)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(collect)
    try:
        yield messages
    finally:
        logger.removeHandler(collect)
        logger.propagate = propagate


def _open(path: Path, axes: str | None, series_number: int | None) -> Image:  # noqa: ARG001
    with _complaints() as complaints, tifffile.TiffFile(path) as tiff:
        if not tiff.series:
            raise InputError(f"{path} holds no image")
        series = tiff.series[0]
        alike = sum(s.shape == series.shape and s.dtype == series.dtype for s in tiff.series)
        if alike > 1:
            raise InputError(f"{path} holds {alike} images (positions?) in one file: save each as a file of its own")
        page = series.keyframe
        pages = [p for p in series.pages if p is not None]
        for p in pages:  # of a multi-file OME-TIFF, in several files
            size = p.parent.filehandle.size
            end = max((o + n for o, n in zip(p.dataoffsets, p.databytecounts, strict=True)), default=0)
            if end > size:
                raise InputError(f"{path} is cut off: it has {size} bytes and its pixels reach to {end}: copy it again")
        data = _pixels(path, series)
        if any("invalid page offset" in c or "corrupted" in c for c in complaints):
            raise InputError(f"{path} is cut off or damaged: planes are missing: copy it again")
        # tifffile calls axes it has no name for I, Q or others: repeats of the same kind, as far as one can tell.
        axes = "".join(a if a in "TCZYXS" else "T" for a in series.axes)
        if tiff.ome_metadata:
            return _with_ome(Image(data, axes, ome=True), tiff.ome_metadata)
        imagej = tiff.imagej_metadata or {}
        if (imagej.get("c0"), imagej.get("c1")) == (-32768, 1):
            raise InputError(
                f"{path} holds ImageJ's signed 16-bit numbers, which are stored 32768 too high: convert it in ImageJ "
                "(Image > Type > 32-bit) and save it again"
            )
        return _with_resolution(Image(data, axes), page, imagej)


def _pixels(path: Path, series: Any) -> Any:
    """Uncompressed pixels are mapped; compressed ones are decoded at once if they fit, else where they are sliced."""
    if series.dataoffset is not None and series.keyframe.is_memmappable:
        return tifffile.memmap(path, series=0, mode="r")
    if series.nbytes <= READ_AT_ONCE:
        return np.asarray(series.asarray())
    import zarr  # takes a moment

    store = tifffile.imread(path, aszarr=True, series=0, level=0)
    chunked = Chunked(zarr.open_array(store, mode="r"))
    weakref.finalize(chunked, store.close)  # the file is open for as long as somebody may slice it
    return chunked


def _with_resolution(image: Image, page: Any, imagej: dict[str, Any]) -> Image:
    def per_pixel(tag: str) -> float | None:
        value = page.tags.get(tag)
        return value.value[1] / value.value[0] if value is not None and value.value[0] else None

    unit = str(imagej.get("unit", "")).lower()
    if not imagej and page.tags.get("ResolutionUnit") is not None and int(page.tags["ResolutionUnit"].value) == 3:
        unit = "cm"  # inches are what programs write that do not know the pixel size
    y, x = per_pixel("YResolution"), per_pixel("XResolution")
    um, spacing = UM.get(unit), imagej.get("spacing")
    voxel = Voxel(
        float(spacing) * um if spacing and um else None, *((y * um, x * um) if y and x and um else (None, None))
    )
    described = Description(text=str(imagej.get("Info", "")), time_step_s=imagej.get("finterval"))
    return replace(image, voxel=voxel, description=described)


def _with_ome(image: Image, xml: str) -> Image:
    # tifffile's own parser gives {'OME': {'Image': {'Pixels': {'PhysicalSizeX': …}}}}, lists where there are several.
    tree = tifffile.xml2dict(xml).get("OME", {})
    if "Image" not in tree:  # the description is in a companion file
        return image
    first = tree["Image"][0] if isinstance(tree["Image"], list) else tree["Image"]
    pixels = first["Pixels"]

    def um(axis: str) -> float | None:
        value = pixels.get(f"PhysicalSize{axis}")
        factor = UM.get(str(pixels.get(f"PhysicalSize{axis}Unit", "µm")).lower())
        return float(value) * factor if value and factor else None

    y, x = um("Y"), um("X")
    channels = pixels.get("Channel")
    channels = channels if isinstance(channels, list) else [channels] if channels else []
    names = [c.get("Name") for c in channels]
    described = Description(
        name=str(first.get("Name", "")), text=str(first.get("Description", "")),
        channels=tuple(map(Channel, names)) if "C" in image.axes and names and all(names) else (),
        time_step_s=pixels.get("TimeIncrement"),
    )  # fmt: skip
    voxel = Voxel(um("Z"), *((y, x) if y and x else (None, None)))
    return replace(image, voxel=voxel, description=described)


def _imagej_metadata(image: Image) -> dict[str, Any]:
    """What tifffile takes for an ImageJ hyperstack."""
    d = image.description
    return {k: v for k, v in {"Info": d.text, "finterval": d.time_step_s}.items() if v}


def _ome_metadata(image: Image) -> dict[str, Any]:
    """What tifffile takes for an OME-TIFF."""
    d = image.description
    metadata: dict[str, Any] = {
        "Name": d.name, "Description": d.text, "TimeIncrement": d.time_step_s,
        "Channel": {"Name": [c.name for c in d.channels]} if d.channels else None,
    }  # fmt: skip
    return {k: v for k, v in metadata.items() if v}


TIFF = Format("TIFF", (".ome.tiff", ".ome.tif", ".tiff", ".tif"), Path.is_file, _open, _create)
