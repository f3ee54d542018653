"""OME-Zarr, as a folder or a zip: 0.1 to 0.6 in, 0.5 out (`ome_zarr_write`)."""

import os
import re
import warnings
import weakref
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import ceil, prod
from pathlib import Path, PurePosixPath
from typing import Any

from zsd_runtime.errors import InputError
from zsd_runtime.images import ome_zarr_metadata as metadata
from zsd_runtime.images.chunked import Chunked
from zsd_runtime.images.image import Description, Format, Image
from zsd_runtime.images.ome_zarr_series import Member, chosen
from zsd_runtime.images.ome_zarr_write import create

MARKERS = ("zarr.json", ".zgroup", ".zarray")  # a folder with one of these files is Zarr
CHUNK_KEY = re.compile(r"(c[/.])?\d+([/.]\d+)*")
ABOVE = 3  # folders above a level in which its image is searched: image.zarr/scale0/image


def _open(path: Path, axes: str | None, series: int | None) -> Image:
    """The finest level of an image, or a bare array; not read yet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr's, of foreign files in the folder
        if path.is_file():
            return _open_zip(path, axes, series)
        node = _node(path, path, "")
        if _is_array(node):
            return _level(path, node, axes)
        return _image(path, *chosen(path, node, series), axes)


def _open_zip(path: Path, axes: str | None, series: int | None) -> Image:
    from zarr.storage import ZipStore

    store = ZipStore(path, mode="r")
    try:
        roots = _zip_roots(path)
        if len(roots) != 1:
            raise InputError(f"{path} holds {len(roots)} Zarr folders {roots[:8]} instead of one", "unpack it")
        node = _node(path, store, roots[0])
        image = _array(path, node, axes) if _is_array(node) else _image(path, *chosen(path, node, series), axes)
    except BaseException:
        store.close()
        raise
    weakref.finalize(image.data, store.close)  # the file is open for as long as somebody may slice it
    return image


def _node(path: Path, store: Any, inner: str) -> Any:
    import zarr  # takes a moment

    try:
        return zarr.open(store, path=inner, mode="r", use_consolidated=False)
    except Exception as error:  # many kinds, from many layers; all mean the same to the user
        raise InputError(f"{path} is not readable as Zarr ({error})", "copy it again") from None


def _is_array(node: Any) -> bool:
    return hasattr(node, "chunks")


def _level(path: Path, array: Any, axes: str | None) -> Image:
    """An array by its path: if it is a level of an image, with what the image says of it."""
    full = path.absolute()
    for above in list(full.parents)[:ABOVE]:
        if not _recognises(above):
            continue
        group = _node(above, above, "")
        multiscales = [] if _is_array(group) else metadata.as_list(metadata.ome(dict(group.attrs)).get("multiscales"))
        for index, multiscale in enumerate(multiscales):
            for number, dataset in enumerate(metadata.as_list(metadata.as_dict(multiscale).get("datasets"))):
                if str(metadata.as_dict(dataset).get("path")).strip("/") == full.relative_to(above).as_posix():
                    notice = (f"{path} is level {number} of {above.name}, smaller than the image",) if number else ()
                    return _image(path, Member("", group, index), (), notice, axes, dataset)
    return _array(path, array, axes)


def _array(path: Path, array: Any, axes: str | None) -> Image:
    """An array that no image describes."""
    names = _dimension_names(array)
    named = "".join(metadata.axis_of(name).letter for name in names or [])
    if axes is None and (len(named) != array.ndim or not {"Y", "X"} <= set(named)):
        called = f" and axes {names}" if names else ""
        raise InputError(
            f"{path} is a bare Zarr array of shape {array.shape}{called}", "name its axes with `axes`", option="axes"
        )
    return Image(Chunked(array), axes or named, description=Description(notices=_missing(array)))


def _dimension_names(array: Any) -> list[str] | None:
    """As Zarr 3 stores them, or xarray in Zarr 2."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    return [str(name) for name in names] if isinstance(names, list | tuple) else None


def _image(
    path: Path,
    member: Member,
    series: tuple[str, ...],
    notices: tuple[str, ...],
    typed: str | None,
    level: dict[str, Any] | None = None,
) -> Image:
    """The finest level of a member, or the given one. `typed` axes overrule those of the file, one by one."""
    multiscale, described = member.multiscale(), metadata.ome(dict(member.group.attrs))
    dataset, array = _finest(path, member.group, multiscale) if level is None else (level, member.group[level["path"]])
    try:
        axes = metadata.axes_of(multiscale, array.ndim, _dimension_names(array))
    except InputError as error:
        if typed is None:
            raise InputError(f"{path} {error}", option=error.options) from None
        axes = [metadata.Axis("", "")] * array.ndim
    data: Any = Chunked(array)
    place = metadata.placed(multiscale, dataset, array.ndim)
    notices += place.notices + _missing(array)
    if typed is not None and len(typed) == array.ndim:
        axes = [replace(axis, letter=letter) for axis, letter in zip(axes, typed.upper(), strict=True)]
    elif typed is None and (strange := [number for number, axis in enumerate(axes) if not axis.letter]):
        _check_strange(path, axes, array.shape)
        order = [number for number in range(array.ndim) if number not in strange]
        data, axes, place = data.transpose(order), [axes[number] for number in order], place.along(order)
    letters = typed or "".join(axis.letter for axis in axes)
    voxel, unclear_size = metadata.voxel_of(axes, place)
    time_step, unclear_time = metadata.time_step_of(axes, place)
    count = dict(zip(letters.upper(), data.shape, strict=False)).get("C", 1)
    channels, unclear_channels = metadata.channels_of(described.get("omero"), count)
    name = multiscale.get("name")
    return Image(
        data, letters, voxel,
        description=Description(
            name=name if isinstance(name, str) else "",
            channels=channels, time_step_s=time_step, origin_um=metadata.origin_of(axes, place), series=series,
            size_source="OME-Zarr" if voxel.x_um or voxel.z_um else "",
            notices=notices + unclear_size + unclear_time + unclear_channels,
        ),
    )  # fmt: skip


def _check_strange(path: Path, axes: list[metadata.Axis], shape: tuple[int, ...]) -> None:
    """Axes that zsd does not know are left out if they have length 1."""
    for axis, length in zip(axes, shape, strict=True):
        if not axis.letter and length > 1:
            raise InputError(
                f"{path} has axes {[axis.name for axis in axes]} of lengths {shape}; zsd reads T, C, Z, Y and X",
                "name the axes with `axes`", option="axes",
            )  # fmt: skip


def _finest(path: Path, group: Any, multiscale: Any) -> tuple[Any, Any]:
    """The dataset with the most pixels, by the standard the first, and its array."""
    levels: list[tuple[Any, Any]] = []
    datasets = metadata.as_list(multiscale.get("datasets"))
    for number, dataset in enumerate(datasets):
        name = metadata.as_dict(dataset).get("path")
        try:
            array = group[name] if isinstance(name, str) and name else None
        except Exception:  # many kinds, from many layers: missing, damaged or outside of the image
            array = None
        if _is_array(array):
            levels.append((dataset, array))
        elif not number:
            raise InputError(f"{path} does not hold the array {name!r:.60} of its description", "copy it again")
    if not levels:
        raise InputError(f"{path}: the list of datasets is missing or malformed in its description", "write it again")
    return max(levels, key=lambda level: prod(level[1].shape))


def _missing(array: Any) -> tuple[str, ...]:
    """A notice of chunks that are not stored: by the standard they hold the fill value, or a copy was interrupted."""
    store, inner = array.store_path.store, array.store_path.path
    if (root := getattr(store, "root", None)) is not None:
        stored = _files(Path(root) / inner)
    else:
        start = f"{inner}/" if inner else ""
        stored = (n.removeprefix(start) for n in zipfile.ZipFile(store.path).namelist() if n.startswith(start))
    count = sum(CHUNK_KEY.fullmatch(name) is not None for name in stored)
    outer = getattr(array, "shards", None) or array.chunks
    expected = prod(ceil(n / c) for n, c in zip(array.shape, outer, strict=True))
    if count >= expected:
        return ()
    return (
        f"{expected - count} of {expected} chunks are not stored: they are read as {array.fill_value or 0}. If the "
        "image should be whole there, copy it again",
    )


def _files(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        relative = Path(parent).relative_to(folder).as_posix()
        yield from (name if relative == "." else f"{relative}/{name}" for name in names)


def _recognises(path: Path) -> bool:
    return any((path / name).is_file() for name in MARKERS)


def _recognises_zip(path: Path) -> bool:
    """A zip, whatever its name, with Zarr's metadata in its root or in a folder. Model packages have none."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return False
    return bool(_zip_roots(path)) or path.name.lower().endswith(OME_ZARR.suffixes + ZIPPED_OME_ZARR.suffixes)


def _zip_roots(path: Path) -> list[str]:
    """The outermost folders of a zip that are Zarr; "" is its root."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return []
    folders = {PurePosixPath(name).parent for name in names if PurePosixPath(name).name in MARKERS}
    folders = {folder for folder in folders if "__MACOSX" not in folder.parts}
    outermost = [folder for folder in folders if not folders & set(folder.parents)]
    return sorted("" if folder == PurePosixPath() else folder.as_posix() for folder in outermost)


@contextmanager
def _create_zip(path: Path, image: Image, scale: tuple[int, ...]) -> Iterator[Any]:  # noqa: ARG001
    raise InputError("zsd writes OME-Zarr as a folder, not as a zip", "end the name in .ome.zarr")
    yield


OME_ZARR = Format("Zarr", (".ome.zarr", ".zarr"), _recognises, _open, create)
ZIPPED_OME_ZARR = Format(
    "zipped Zarr", (".ome.zarr.zip", ".zarr.zip", ".ozx"), _recognises_zip, _open, _create_zip
)  # fmt: skip
