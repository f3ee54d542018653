"""Open and create image files of any known format."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from zsd_runtime.errors import InputError
from zsd_runtime.files import written_whole
from zsd_runtime.images.image import Format, Image, check_array, check_shape, read_box
from zsd_runtime.images.ndtiff import NDTIFF
from zsd_runtime.images.npy import NPY
from zsd_runtime.images.ome_files import files_of_one_image
from zsd_runtime.images.ome_zarr import OME_ZARR, ZIPPED_OME_ZARR
from zsd_runtime.images.png import PNG
from zsd_runtime.images.remote import Remote, located, written_in_place
from zsd_runtime.images.sequences import SLICES, find_slices, one_plane_each, stem_of_pattern
from zsd_runtime.images.tiff import TIFF
from zsd_runtime.images.unreadable import RAW_FORMATS, known_unreadable, real_content
from zsd_runtime.images.vendor import VENDOR
from zsd_runtime.images.views import View

# the first that recognises a file opens it
FORMATS = (OME_ZARR, ZIPPED_OME_ZARR, NDTIFF, SLICES, PNG, NPY, *VENDOR, TIFF)
SUFFIXES = sorted((suffix for known in FORMATS for suffix in known.suffixes), key=len, reverse=True)


def image_files(path: Path) -> list[Path]:
    """The images in a folder, by name; a path that is an image itself stands for itself.

    An image in several files is listed once: an OME-TIFF by the first of its files, slices in a file each by a pattern
    such as ``img_z*.tif``, which `open_image` takes. Links to a file that is listed are left out. Raw data that zsd
    does not read are listed, so that opening them says what to do.

    Raises
    ------
    InputError
        When the folder has no images.
    """
    path = located(path)
    if (
        isinstance(path, Remote)
        or not path.is_dir()
        or path.suffix == ".zarr"
        or any(known.recognises(path) for known in FORMATS)
    ):
        return [path]
    listed = sorted(p for p in path.iterdir() if is_image_name(p))
    files = _without_repeats(listed)
    for found in find_slices(files):
        if one_plane_each(found):
            members = set(found.files.values())
            files = sorted([p for p in files if p not in members] + [path / found.pattern])
    if not files:
        inside = sorted(p.name for p in path.iterdir() if p.is_dir() and any(is_image_name(q) for q in p.iterdir()))
        remedy = f"give one of its folders, such as {inside[0]}" if inside else "give a folder of TIFF, PNG or OME-Zarr"
        raise InputError(f"{path} is a folder without images", remedy)
    return files


def is_image_name(path: Path) -> bool:
    """Whether a file is called like an image, or is a folder of NDTiff; nothing is opened."""
    if NDTIFF.recognises(path):
        return True
    name = path.name.lower()
    if name.startswith(".") or name.endswith(".companion.ome"):  # macOS's shadows, temporary files; parts of images
        return False
    return name.endswith((*SUFFIXES, *RAW_FORMATS))


def images_in(paths: Iterable[Path]) -> list[Path]:
    """The images in files and folders, in their order, each once; see `image_files`. A path given twice stays so."""
    return _without_repeats([file for path in paths for file in image_files(path)])


def _without_repeats(files: list[Path]) -> list[Path]:
    """Each image once: no links to files that are listed, and one file of an OME-TIFF in several."""
    kept: set[Path] = set()
    seen: set[Path] = set()
    for path in sorted(files, key=lambda file: file.is_symlink()):  # the files themselves first
        if path.resolve() not in seen:
            seen |= {path.resolve(), *(other.resolve() for other in files_of_one_image(path))}
            kept.add(path)
    return [path for path in files if path in kept]


def open_image(path: str | Path, axes: str | None = None, series: int | None = None) -> Image:
    """Open an image file, if possible without reading its pixels: `data` takes slices.

    Parameters
    ----------
    path : path
        TIFF (also OME-TIFF, ImageJ hyperstacks, MetaMorph STK and Zeiss LSM), PNG, NumPy's .npy, a Zarr folder, a
        folder of NDTiff, or slices in a file each: their folder, or a pattern such as ``img_z*.tif``. Or the URL of
        an OME-Zarr, such as s3://bucket/cell.zarr.
    axes : str
        Letters of "TCZYX" that overrule the axes in the file.
    series : int
        Which image of a file that holds several, from 0; the largest when not given.

    Raises
    ------
    InputError
        When the file is missing, not an image, cut off, in colour, or holds values that are not real numbers.
    """
    path = located(path)
    format = _remote_format(path) if isinstance(path, Remote) else _format(path)  # noqa: A001
    try:
        image = format.open(path, axes, series)
    except InputError as error:
        raise _pointing_to_info(error, path) from None
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # decoders fail in many ways on damaged files; all mean the same to the user
        raise _unreadable(path, format.name, error) from None
    try:
        if axes is not None:
            image = _with_typed_axes(image, _checked_axes(axes, image.data.shape, path))
        elif len(set(image.axes)) < len(image.axes):
            raise InputError(
                f"{path} does not name its axes, of shape {image.data.shape}", "name them with `axes`", option="axes"
            )
        elif "S" in image.axes:
            slices = f", or name its axes with `axes` {image.axes.replace('S', 'Z')} if they are slices"
            remedy = "split it into channels and give one of them" + slices * (image.axes[-1] != "S")
            raise InputError(f"{path} is a colour image (RGB)", remedy, option="axes")
        image = _yx_last(image, path)
        check_shape(image.data, str(path))
    except InputError as error:
        raise _pointing_to_info(error, path) from None
    return image


def _format(path: Path) -> Format:
    """The format of a file or folder; an error if there is none."""
    known = next((f for f in FORMATS if f.recognises(path)), None)
    if known not in (None, TIFF):
        return known
    if not path.exists():
        if path.is_symlink():
            raise InputError(f"{path} is a link to {path.readlink()}, which does not exist", "copy the file itself")
        raise InputError(f"{path} does not exist", "give a TIFF or PNG file, or a Zarr folder")
    if unreadable := known_unreadable(path):
        raise InputError(f"{path} is {unreadable[0]}, which zsd does not read", unreadable[1])
    if known is None:
        if path.suffix == ".zarr":
            hidden = "copy it again, with its hidden files (.zgroup, .zarray, .zattrs)"
            raise InputError(f"{path} is a folder that is not Zarr", hidden)
        raise InputError(f"{path} is a folder", "give one of its files")
    return known


def _remote_format(path: Remote) -> Format:
    """OME-Zarr, if there is one at this URL."""
    try:
        if OME_ZARR.recognises(path):
            return OME_ZARR
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror or error})",
            "check the address and the credentials, which zsd takes from the environment, such as AWS_ENDPOINT_URL",
        ) from None
    raise InputError(
        f"{path} is not OME-Zarr, does not exist or may not be read", "check the address; copy other files here"
    )


def _pointing_to_info(error: InputError, path: Path) -> InputError:
    return InputError(f"{error} (zsd info {path} shows what is in it)", option=error.options)


def _unreadable(path: Path, name: str, error: Exception) -> InputError:
    """The error for what a reader did not expect: what the file is, if that is known."""
    if path.is_file() and name not in {known.name for known in VENDOR} and (content := real_content(path)):
        if content[0].endswith(name):
            return InputError(f"{path} is not a readable {name}: it is cut off or damaged ({error})", "copy it again")
        return InputError(f"{path} is not a readable {name}: it is {content[0]}", content[1])
    if "not a TIFF file" in str(error):
        return InputError(f"{path} is not a readable TIFF, nor another format that zsd knows", "save it as TIFF")
    if "imagecodecs" in str(error) or "COMPRESSION" in str(error):
        return InputError(f"{path} is compressed in a way that zsd cannot read ({error})", "save it uncompressed")
    return InputError(f"{path} is not a readable {name} ({error})", "copy it again, or save it as TIFF")


def read_image(path: str | Path, axes: str | None = None, series: int | None = None) -> Image:
    """As `open_image`, with all pixels in memory and checked."""
    image = open_image(path, axes, series)
    if not isinstance(image.data, np.ndarray) or isinstance(image.data, np.memmap):
        try:
            data = np.array(read_box(image.data, tuple(slice(0, n) for n in image.data.shape), str(path)))
        except MemoryError:
            size = prod(image.data.shape) * image.data.dtype.itemsize / 1e9
            raise InputError(f"{path} needs {size:.0f} GB of memory", "crop it, or give a part of it") from None
        image = replace(image, data=data)
    check_array(image.data, str(path))
    return image


def write_image(path: Path, image: Image) -> None:
    """Write a file that appears whole or not at all; see `create_image`."""
    with create_image(path, image) as target:
        target[tuple(slice(0, n) for n in image.data.shape)] = image.data


@contextmanager
def create_image(path: Path, image: Image, scale: tuple[int, ...] = ()) -> Iterator[Any]:
    """Make a file for an image, given by its shape, dtype and description; what to assign the pixels to.

    The file appears under its name when the block succeeds, or not at all. OME-Zarr if the name ends in .zarr, with
    chunks for an image `scale` times finer than its raw one; else OME-TIFF if `image.ome`; else an ImageJ hyperstack,
    which holds uint8, uint16 and float32.
    """
    format = next((f for f in FORMATS if f.create and path.name.lower().endswith(f.suffixes)), TIFF)  # noqa: A001
    if path.is_dir() and not format.recognises(path):
        raise InputError(f"{path} is a folder that is not {format.name}: it is left alone", "choose another name")
    if path.is_file() and format is OME_ZARR:
        raise InputError(f"{path} is a file; a folder goes there", "remove it, or choose another name")
    assert format.create is not None
    if isinstance(path, Remote) and format is not OME_ZARR:
        raise InputError(f"{path}: only OME-Zarr is written to a URL", "give `format` zarr", option="format")
    writing = written_in_place(path) if isinstance(path, Remote) else written_whole(path)
    with writing as temporary, format.create(temporary, image, scale) as target:
        yield target


def stem(path: Path) -> str:
    """File name without .tif, .ome.tif and the like."""
    if "*" in path.name:
        return stem_of_pattern(path.name)
    known = next((s for s in SUFFIXES if path.name.lower().endswith(s)), None)
    suffix = known if known is not None else "" if path.is_dir() else path.suffix
    return path.name[: len(path.name) - len(suffix)]


def _checked_axes(axes: str, shape: tuple[int, ...], path: Path) -> str:
    axes = axes.upper()
    if set(axes) - set("TCZYX") or len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes):
        raise InputError(f"`axes` {axes} must be different letters of TCZYX, Y and X among them", option="axes")
    if len(axes) != len(shape):
        raise InputError(
            f"`axes` {axes} names {len(axes)} axes; {path} has shape {shape}, {len(shape)} axes", option="axes"
        )
    return axes


def _with_typed_axes(image: Image, axes: str) -> Image:
    """With other axes; labels of planes are lost where that brings the planes into another order."""
    outer = [a for a in axes if a in "TZC"]
    described = image.description
    if described.labels and outer != sorted(outer, key="TZC".index):
        described = replace(described, labels=())
    return replace(image, axes=axes, description=described)


def _yx_last(image: Image, path: Path) -> Image:
    """Bring Z, Y, X to the end, in that order; the rest keeps its own."""
    if not {"Y", "X"} <= set(image.axes):
        raise InputError(
            f"{path} has axes {image.axes}; an image has Y and X", "name the axes with `axes`", option="axes"
        )
    order = [a for a in image.axes if a not in "ZYX"] + [a for a in "ZYX" if a in image.axes]
    if order == list(image.axes):
        return image
    old, new = image.data, [image.axes.index(a) for a in order]
    data = np.transpose(old, new) if isinstance(old, np.ndarray) else View(old, new)
    return replace(image, data=data, axes="".join(order))
