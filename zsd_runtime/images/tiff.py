"""TIFF, in: OME-TIFF, ImageJ hyperstacks, and what microscopes write."""

import re
import weakref
from contextlib import ExitStack
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError, size_text
from zsd_runtime.images.chunked import Chunked
from zsd_runtime.images.image import Channel, Description, Format, Image
from zsd_runtime.images.imagej import check_imagej, describe_imagej, lut_color
from zsd_runtime.images.ome_files import (
    check_files,
    complaints_of_tifffile,
    foreign_files,
    ome_image,
    open_with_ome,
)
from zsd_runtime.images.ome_xml import Ome, OmeImage
from zsd_runtime.images.samples import with_notices, without_samples
from zsd_runtime.images.series import Found, choose
from zsd_runtime.images.tiff_makers import describe_maker
from zsd_runtime.images.tiff_write import create_tiff
from zsd_runtime.images.views import View

FINEST_PRINT_CM = 2.54 / 5080  # of a pixel that a printer or scanner sets
READ_AT_ONCE = 1 << 30  # bytes of a compressed TIFF; larger ones are decoded where they are sliced
_LOSSY = {"OJPEG", "JPEG", "ALT_JPEG", "JPEG_LOSSY", "JPEG_2000_LOSSY", "WEBP"}
_COLOURS = {"RGB", "YCBCR", "CIELAB", "ICCLAB", "SEPARATED"}


def _open(path: Path, axes: str | None, series: int | None) -> Image:
    with complaints_of_tifffile() as complaints, ExitStack() as files:
        tiff, ome, notices = open_with_ome(path)
        files.callback(tiff.close)
        if not tiff.series:
            raise InputError(f"{path} holds no image", "copy it again")
        found, names, chosen = choose(tiff, series, path)
        described = ome_image(ome, tiff.series, found, path.parent) if ome else None
        notices += chosen
        if ome and described is None and found.series.kind != "mmstack":
            check_files(ome, ome.images, path)
            notices += ("the OME description does not fit the planes of the file, so only the planes are read",)
        for complaint in complaints:
            unread = re.search(r"failed to read '([^']+)'", complaint)
            if unread and (part := path.parent / unread[1]).is_file():
                raise InputError(f"{part}, a part of the image in {path}, is not a readable TIFF", "copy it again")
        _check_planes(path, tiff, found.series, ome, described)
        if described and (foreign := foreign_files([p for p in found.series.pages if p is not None], described)):
            notices += (
                f"{', '.join(foreign[:5])} may be of another acquisition: the UUID in it is not the one in {path.name}",
            )
        data, lazy = _pixels(path, found)
        if any("invalid page offset" in c or "corrupted" in c for c in complaints):
            raise InputError(f"{path} is cut off or damaged: planes are missing", "copy it again")
        if any("OME series expected" in c for c in complaints):
            notices += ("the file has more planes than its OME description; the others are left out",)
        if found.series.kind == "imagej" and len(tiff.pages) * found.series.keyframe.size > prod(data.shape):
            notices += ("the file has more planes than its ImageJ description; the others are left out",)
        if any("Returning subset" in c for c in complaints):
            notices += (
                "Micro-Manager announces more planes than there are: the acquisition was stopped, or files are missing",
            )
        image = _described(Image(data, found.axes, ome=ome is not None), tiff, found, described)
        image = with_notices(replace(image, description=replace(image.description, series=names)), *notices)
        image = _as_meant(image, found.series.keyframe, tiff, path, axes)
        if lazy:
            weakref.finalize(data, files.pop_all().close)  # open for as long as somebody may slice it
    return image


def _check_planes(path: Path, tiff: Any, series: Any, ome: Ome | None, image: OmeImage | None) -> None:
    """Raise `InputError` where planes are missing: tifffile fills them with zeros."""
    if ome and image:
        check_files(ome, (image,), path)
    if tiff.is_imagej and not image:
        check_imagej(tiff.imagej_metadata or {}, _planes_in_file(tiff), str(path))
    pages = list(series.pages)
    there = [p for p in pages if p is not None and p.dataoffsets and any(p.dataoffsets)]
    expected = max(prod(series.get_shape(False)) // max(series.keyframe.size, 1), 1)
    for p in there:
        if p.shape != series.keyframe.shape:
            shape = size_text(series.keyframe.shape)
            raise InputError(
                f"{_file_of(p, path)} has planes of {size_text(p.shape)} pixels, and others of its image have {shape}",
                "copy the right one (this may be of another acquisition)",
            )
    if len(there) < (1 if series.is_truncated else expected) and series.dataoffset is None:
        raise InputError(
            f"{path} announces {expected} planes and holds {len(there)}",
            "copy it again, or save the planes that it has in Fiji",
        )
    for p in there:  # of a multi-file OME-TIFF, in several files
        size = p.parent.filehandle.size
        end = max((o + n for o, n in zip(p.dataoffsets, p.databytecounts, strict=True)), default=0)
        if end > size:
            raise _cut_off(_file_of(p, path), size, end)


def _file_of(page: Any, path: Path) -> Path:
    """The file that a plane of the image at `path` is in."""
    return path.parent / str(page.parent.filehandle.name)


def _cut_off(path: Path, size: int, end: int) -> InputError:
    return InputError(f"{path} is cut off: it has {size} bytes and its pixels reach to {end}", "copy it again")


def _planes_in_file(tiff: Any) -> int:
    """ImageJ writes one directory for all planes when they need more than 4 GB."""
    page = tiff.pages.first
    samples = page.samplesperpixel
    if len(tiff.pages) > 1 or not page.is_contiguous:
        return len(tiff.pages) * samples
    return max((tiff.filehandle.size - page.dataoffsets[0]) * samples // max(page.nbytes, 1), 1)


def _pixels(path: Path, found: Found) -> tuple[Any, bool]:
    """The pixels, and whether the file must stay open for them.

    Uncompressed ones are mapped; compressed ones are decoded at once if they fit, else where they are sliced.
    """
    series = found.series
    lazy = False
    data: Any
    if series.dataoffset is not None and series.keyframe.is_memmappable and series.transform is None:
        holder = series.keyframe.parent.filehandle
        file = Path(holder.path)
        end = series.dataoffset + series.nbytes
        if end > holder.size:
            raise _cut_off(path, holder.size, end)
        dtype = series.dtype.newbyteorder(series.keyframe.parent.byteorder)
        data = np.memmap(file, dtype, "r", series.dataoffset, series.shape)
    elif series.nbytes <= READ_AT_ONCE:
        data = np.asarray(series.asarray(level=0))
    else:
        import zarr  # takes a moment

        data = Chunked(zarr.open_array(series.aszarr(level=0), mode="r"))
        lazy = True
    if not found.at:
        return data, lazy
    if isinstance(data, np.ndarray):
        return data[tuple(found.at.get(axis, slice(None)) for axis in range(data.ndim))], lazy
    return View(data, at=found.at), lazy


def _described(image: Image, tiff: Any, found: Found, ome: OmeImage | None) -> Image:
    """With what the file says of the image."""
    page = found.series.keyframe
    if ome:
        voxel, described = ome.voxel, ome.described
        if voxel.x_um is None and tiff.is_micromanager:
            voxel, described = _merged(described, *describe_maker(tiff, page, {}))
    elif tiff.is_imagej and found.series.kind in ("imagej", "generic", "uniform", "shaped"):
        voxel, described = describe_imagej(tiff.imagej_metadata or {}, _per_pixel(page), image.axes, image.data.shape)
    else:
        voxel, described = describe_maker(tiff, page, _cm_per_pixel(page))
    count = dict(zip(image.axes, image.data.shape, strict=True)).get("C", 1)
    channels = described.channels
    if _name(page.photometric) == "PALETTE" and page.colormap is not None and count == 1 and not channels:
        channels = _palette(page.colormap)
    if len(channels) < count and any(c != Channel() for c in channels):
        channels += (Channel(),) * (count - len(channels))
    if len(channels) != count or all(c.lut is None and c == Channel() for c in channels):
        channels = ()
    return replace(image, voxel=voxel, description=replace(described, channels=channels))


def _merged(described: Description, voxel: Any, other: Description) -> tuple[Any, Description]:
    """The sizes of one description, and the rest of the first."""
    notices = described.notices + other.notices
    return voxel, replace(described, size_source=other.size_source, notices=notices)


def _per_pixel(page: Any) -> dict[str, float | None]:
    """The size of a pixel in the unit of the resolution tags, which are fractions."""
    found: dict[str, float | None] = {}
    for axis in "YX":
        tag = page.tags.get(f"{axis}Resolution")
        value = tag.value if tag is not None else None
        found[axis] = value[1] / value[0] if isinstance(value, tuple) and len(value) == 2 and value[0] else None
    return found


def _cm_per_pixel(page: Any) -> dict[str, float | None]:
    """The size of a pixel, cm; none in inches that a printer or scanner could have: these stand for unknown."""
    tag = page.tags.get("ResolutionUnit")
    unit = int(tag.value) if tag is not None else 2  # TIFF's default
    if unit == 3:
        return _per_pixel(page)
    cm = {axis: size and 2.54 * size for axis, size in _per_pixel(page).items()} if unit == 2 else {}
    return cm if all(size and size < FINEST_PRINT_CM for size in cm.values()) else {}


def _palette(colormap: NDArray[np.uint16]) -> tuple[Channel, ...]:
    lut = (np.asarray(colormap) >> 8).astype(np.uint8)
    return (Channel(color=lut_color(lut), lut=lut),) if lut.shape == (3, 256) else ()


def _as_meant(image: Image, page: Any, tiff: Any, path: Path, axes: str | None) -> Image:
    """Colours, inverted grey and axes without a name, as they are meant; `axes` are those that the user names."""
    if axes is None or len(axes) != image.data.ndim:
        alpha = len(page.extrasamples) == 1 and _name(page.extrasamples[0]) != "UNSPECIFIED"
        image = _without_single_axes(without_samples(image, _name(page.photometric) in _COLOURS, alpha))
    if _name(page.photometric) == "MINISWHITE" and image.data.dtype.kind != "b":  # those are refused elsewhere
        if tiff.is_imagej:
            notice = "the lookup table is inverted in ImageJ; the numbers are used as they are stored"
        elif image.data.dtype.kind == "u" and isinstance(image.data, np.ndarray) and image.data.nbytes <= READ_AT_ONCE:
            largest = (1 << int(page.bitspersample)) - 1
            image = replace(image, data=np.asarray(largest - image.data, image.data.dtype))
            notice = f"white is stored as 0 (MinIsWhite), so values are read as {largest} minus what is stored"
        else:
            raise InputError(
                f"{path} stores white as 0 (MinIsWhite) in {image.data.dtype}", "invert it in Fiji and save it again"
            )
        image = with_notices(image, notice)
    if _name(page.compression) in _LOSSY:
        image = with_notices(
            image, f"the file is compressed with loss ({_name(page.compression)}), which changes noise: use raw data"
        )
    if _name(page.photometric) == "PALETTE" and not (tiff.is_imagej or tiff.is_ome):
        image = with_notices(
            image, "the pixels are numbers of colours in a table (palette); the numbers are taken as brightness"
        )
    return _with_known_axes(image) if axes is None else image


def _without_single_axes(image: Image) -> Image:
    """Without axes of length 1 that have no name."""
    single = {i: 0 for i, a in enumerate(image.axes) if a not in "TCZYXS" and image.data.shape[i] == 1}
    if not single:
        return image
    data = image.data.squeeze(tuple(single)) if isinstance(image.data, np.ndarray) else View(image.data, at=single)
    return replace(image, data=data, axes="".join(a for i, a in enumerate(image.axes) if i not in single))


def _with_known_axes(image: Image) -> Image:
    """With T for axes that have no name for us: repeats of the same kind, as far as one can tell."""
    unknown = [a for a in image.axes if a not in "TCZYXS"]
    axes = "".join(a if a in "TCZYXS" else "T" for a in image.axes)
    image = replace(image, axes=axes)
    if len(unknown) != 1 or axes.count("T") != 1:
        return image
    return with_notices(
        image,
        f"the file does not name its axes; the one with {image.data.shape[axes.index('T')]} planes is taken as T "
        f"(frames); use --axes {axes.replace('T', 'Z')} if these are slices",
    )


def _name(code: Any) -> str:
    """Of a code in a tag; some programs write codes that have none, such as compression 0."""
    return getattr(code, "name", str(code))


TIFF = Format(
    "TIFF",
    (".companion.ome", ".ome.tiff", ".ome.tif", ".ome.btf", ".tiff", ".tif", ".btf", ".tf8", ".tf2", ".stk", ".lsm"),
    Path.is_file, _open, create_tiff,
)  # fmt: skip
