"""OME-Zarr, as a folder or a zip: 0.1 to 0.6 in, 0.5 out (`ome_zarr_write`)."""

import json
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from zsd_runtime.errors import InputError
from zsd_runtime.images import ome_zarr_metadata as metadata
from zsd_runtime.images.chunked import Chunked
from zsd_runtime.images.image import Channel, Description, Format, Image, Voxel
from zsd_runtime.images.ome_xml import OmeImage, parse_ome
from zsd_runtime.images.ome_zarr_metadata import Axis, as_dict, as_list
from zsd_runtime.images.ome_zarr_series import Member, chosen
from zsd_runtime.images.ome_zarr_store import beside, is_zarr, is_zip, missing_chunks, zip_roots
from zsd_runtime.images.ome_zarr_write import create
from zsd_runtime.images.remote import root_of, zarr_place
from zsd_runtime.images.views import View

ABOVE = 3  # folders above a level in which its image is searched: image.zarr/scale0/image


def _open(path: Path, axes: str | None, series: int | None) -> Image:
    """The finest level of an image, or a bare array; not read yet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr's, of foreign files in the folder
        node = _node(path, path, "")
        if not _is_array(node):
            return _image(path, *chosen(path, node, series), axes)
        if series:
            raise InputError(f"{path} is one array; there is no `series` {series}", option="series")
        return _level(path, node, axes)


def _open_zip(path: Path, axes: str | None, series: int | None) -> Image:
    from zarr.storage import ZipStore

    roots = zip_roots(path)
    if len(roots) != 1:
        found = f"holds {len(roots)} Zarr folders {roots[:8]}" if roots else "is a damaged zip, or holds no Zarr folder"
        raise InputError(f"{path} {found}", "unpack it and give one of them" if roots else "copy it again")
    store = ZipStore(path, mode="r")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
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
        place = zarr_place(store, read_only=True) if isinstance(store, Path) else store
        return zarr.open(place, path=inner, mode="r", use_consolidated=False)
    except InputError:
        raise
    except Exception as error:  # many kinds, from many layers; all mean the same to the user
        raise InputError(f"{path} is not readable as Zarr ({error})", "copy it again") from None


def _is_array(node: Any) -> bool:
    return hasattr(node, "chunks")


def _level(path: Path, array: Any, axes: str | None) -> Image:
    """An array by its path: if it is a level of an image, with what the image says of it."""
    full = path.absolute()
    for above in list(full.parents)[:ABOVE]:
        group = _node(above, above, "") if is_zarr(above) else None
        multiscales = as_list(metadata.ome(dict(group.attrs)).get("multiscales")) if group is not None else []
        for index, multiscale in enumerate(multiscales):
            for number, dataset in enumerate(as_list(as_dict(multiscale).get("datasets"))):
                if str(as_dict(dataset).get("path")).strip("/") == full.relative_to(above).as_posix():
                    notices = (f"{path} is level {number} of {above.name}: not its full resolution",) * (number > 0)
                    return _image(path, Member("", group, index), (), notices, axes, dataset)
    return _array(path, array, axes)


def _array(path: Path, array: Any, typed: str | None) -> Image:
    """An array that no image describes."""
    names = _dimension_names(array)
    named = "".join(metadata.axis_of(name).letter for name in names or [])
    if typed is None and (len(named) != array.ndim or not {"Y", "X"} <= set(named)):
        called = f" and axes {names}" if names else ""
        raise InputError(
            f"{path} is a bare Zarr array of shape {array.shape}{called}", "name its axes with `axes`", option="axes"
        )
    return Image(Chunked(array), typed or named, description=Description(notices=_missing(array)))


def _dimension_names(array: Any) -> list[str] | None:
    """As Zarr 3 stores them, or xarray in Zarr 2."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    return [str(name) for name in names] if isinstance(names, list | tuple) else None


def _missing(array: Any) -> tuple[str, ...]:
    return (notice,) if (notice := missing_chunks(array)) else ()


def _image(
    path: Path,
    member: Member,
    series: tuple[str, ...],
    notices: tuple[str, ...],
    typed: str | None,
    level: dict[str, Any] | None = None,
) -> Image:
    """The finest level of a member, or the given one. `typed` axes overrule those of the file."""
    multiscale = member.multiscale()
    dataset, array = _finest(path, member.group, multiscale) if level is None else (level, member.group[level["path"]])
    axes = _axes(path, multiscale, array, typed)
    known = [number for number, axis in enumerate(axes) if axis.letter or typed is not None]
    data: Any = Chunked(array)
    if len(known) < len(axes):
        data = View(data, known, {number: 0 for number in range(len(axes)) if number not in known})
    place = metadata.placed(multiscale, dataset, array.ndim).along(known)
    axes = [axes[number] for number in known]
    letters = typed or "".join(axis.letter for axis in axes)
    channels = dict(zip(letters.upper(), data.shape, strict=False)).get("C", 1)
    voxel, description = metadata.described(multiscale, member.attributes().get("omero"), axes, place, channels)
    notices += _missing(array) + description.notices
    image = Image(data, letters, voxel, description=replace(description, series=series, notices=notices))
    return _with_ome(image, _ome_image(member), channels)


def _axes(path: Path, multiscale: Any, array: Any, typed: str | None) -> list[Axis]:
    """Of an array of an image. Those that zsd does not know have length 1, unless axes are typed."""
    try:
        axes = metadata.axes_of(multiscale, array.ndim, _dimension_names(array))
    except InputError as error:
        if typed is None:
            raise InputError(f"{path} {error}", option=error.options) from None
        axes = [Axis("", "")] * array.ndim
    if typed is not None:
        letters = typed.upper().ljust(array.ndim)[: array.ndim]  # `open_image` refuses another number
        return [replace(axis, letter=letter) for axis, letter in zip(axes, letters, strict=True)]
    if any(not axis.letter and length > 1 for axis, length in zip(axes, array.shape, strict=True)):
        raise InputError(
            f"{path} has axes {[axis.name for axis in axes]} of lengths {array.shape}; zsd reads T, C, Z, Y and X",
            "name the axes with `axes`", option="axes",
        )  # fmt: skip
    return axes


def _finest(path: Path, group: Any, multiscale: Any) -> tuple[Any, Any]:
    """The dataset with the most pixels, by the standard the first, and its array."""
    levels: list[tuple[Any, Any]] = []
    for number, dataset in enumerate(as_list(multiscale.get("datasets"))):
        name = as_dict(dataset).get("path")
        try:
            array = group[name] if isinstance(name, str) and name else None
        except Exception:  # many kinds, from many layers: missing, damaged or outside of the image
            array = None
        if _is_array(array):
            levels.append((dataset, array))
        elif not number:
            raise InputError(f"{path} does not hold the array {name!s:.60} of its description", "copy it again")
    if not levels:
        raise InputError(f"{path}: the list of datasets is missing or malformed in its description", "write it again")
    return max(levels, key=lambda level: prod(level[1].shape))


def _ome_image(member: Member) -> OmeImage | None:
    """What the OME-XML of bioformats2raw says of a member; None if there is none."""
    place = member.group.store_path
    name = (place.path or str(root_of(place.store) or "")).rpartition("/")[2]
    xml = beside(place, "OME/METADATA.ome.xml")
    if xml is None:
        return None
    listing: Any = None
    for file, key in (("OME/zarr.json", "attributes"), ("OME/.zattrs", None)):
        try:
            found = as_dict(json.loads(beside(place, file) or "null"))
        except ValueError:
            continue
        listing = listing or metadata.ome(as_dict(found.get(key)) if key else found).get("series")
    names = as_list(listing)
    try:
        images = parse_ome(xml).images
    except ElementTree.ParseError:
        return None
    number = names.index(name) if name in names else int(name) if name.isdecimal() else -1
    return images[number] if 0 <= number < len(images) else None


def _with_ome(image: Image, found: OmeImage | None, channels: int) -> Image:
    """What OME-XML knows beside the JSON."""
    if found is None:
        return image
    d, xml = image.description, found.described
    voxel = Voxel(*(image.voxel[a] or found.voxel[a] for a in "ZYX"))
    theirs = xml.channels if len(xml.channels) == channels else ()
    merged = [
        Channel(c.name or x.name, c.color or x.color, c.emission_nm or x.emission_nm)
        for c, x in zip(d.channels or (Channel(),) * len(theirs), theirs, strict=True)
    ]
    described = replace(
        d, name=d.name or xml.name, text=xml.text, channels=tuple(merged) or d.channels,
        time_step_s=d.time_step_s or xml.time_step_s, origin_um=d.origin_um or xml.origin_um,
        size_source=d.size_source or ("OME-XML" if voxel != Voxel() else ""),
    )  # fmt: skip
    return replace(image, voxel=voxel, description=described)


def _recognises_zip(path: Path) -> bool:
    """A zip, whatever its name, with Zarr's metadata in its root or in a folder. Model packages have none."""
    endings = OME_ZARR.suffixes + ZIPPED_OME_ZARR.suffixes
    return is_zip(path) and (bool(zip_roots(path)) or path.name.lower().endswith(endings))


@contextmanager
def _create_zip(path: Path, image: Image, scale: tuple[int, ...]) -> Iterator[Any]:  # noqa: ARG001
    raise InputError("zsd writes OME-Zarr as a folder, not as a zip", "end the name in .ome.zarr")
    yield


OME_ZARR = Format("Zarr", (".ome.zarr", ".zarr"), is_zarr, _open, create)
ZIPPED_OME_ZARR = Format("zipped Zarr", (".ome.zarr.zip", ".zarr.zip", ".ozx"), _recognises_zip, _open_zip, _create_zip)
