"""Open and create image files of any known format."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from zsd_runtime.errors import InputError
from zsd_runtime.files import written_whole
from zsd_runtime.images.image import Image, check_array, check_shape
from zsd_runtime.images.ome_zarr import OME_ZARR
from zsd_runtime.images.png import PNG
from zsd_runtime.images.tiff import TIFF
from zsd_runtime.images.vendor import VENDOR

FORMATS = (OME_ZARR, PNG, *VENDOR, TIFF)  # the first that recognises a file opens it
SUFFIXES = sorted((suffix for known in FORMATS for suffix in known.suffixes), key=len, reverse=True)


def image_files(path: Path) -> list[Path]:
    """The images in a folder, by name; a path that is an image itself stands for itself.

    Raises
    ------
    InputError
        When the folder has no images.
    """
    if not path.is_dir() or path.suffix == ".zarr" or any(known.recognises(path) for known in FORMATS):
        return [path]
    files = sorted(p for p in path.iterdir() if p.name.lower().endswith(tuple(SUFFIXES)))
    files = [p for p in files if not p.name.startswith(".")]  # macOS's shadows, and temporary files
    if not files:
        raise InputError(f"{path} is a folder without images", "give a folder of TIFF, PNG or OME-Zarr")
    return files


def open_image(path: str | Path, axes: str | None = None, series: int | None = None) -> Image:
    """Open an image file, if possible without reading its pixels: `data` takes slices.

    Parameters
    ----------
    path : path
        TIFF (also OME-TIFF and ImageJ hyperstacks), PNG, or a Zarr folder.
    axes : str
        Letters of "TCZYX" that overrule the axes in the file.
    series : int
        Which image of a file that holds several, from 0; the largest when not given.

    Raises
    ------
    InputError
        When the file is missing, not an image, cut off, in colour, or holds values that are not real numbers.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist", "give a TIFF or PNG file, or a Zarr folder")
    format = next((f for f in FORMATS if f.recognises(path)), None)  # noqa: A001
    if format is None:
        raise InputError(f"{path} is a folder" + " that is not Zarr" * (path.suffix == ".zarr"))
    try:
        image = format.open(path, axes, series)
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # decoders fail in many ways on damaged files; all mean the same to the user
        raise InputError(
            f"{path} is not a readable {format.name} ({error})", "copy it again, or save it as TIFF"
        ) from None
    if axes is not None:
        image = replace(image, axes=_checked_axes(axes, image.data.shape, path))
    elif len(set(image.axes)) < len(image.axes):
        raise InputError(
            f"{path} does not name its axes, of shape {image.data.shape}", "name them with `axes`", option="axes"
        )
    elif "S" in image.axes:
        raise InputError(f"{path} is a colour image (RGB)", "split it into channels and give one of them")
    image = _yx_last(image, path)
    check_shape(image.data, str(path))
    return image


def read_image(path: str | Path, axes: str | None = None, series: int | None = None) -> Image:
    """As `open_image`, with all pixels in memory and checked."""
    image = open_image(path, axes, series)
    if not isinstance(image.data, np.ndarray) or isinstance(image.data, np.memmap):
        image = replace(image, data=np.array(image.data[tuple(slice(0, n) for n in image.data.shape)]))
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
    with written_whole(path) as temporary, format.create(temporary, image, scale) as target:
        yield target


def stem(path: Path) -> str:
    """File name without .tif, .ome.tif and the like."""
    suffix = next((s for s in SUFFIXES if path.name.lower().endswith(s)), path.suffix)
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


def _yx_last(image: Image, path: Path) -> Image:
    """Bring Z, Y, X to the end, in that order; the rest keeps its own."""
    if not {"Y", "X"} <= set(image.axes):
        raise InputError(
            f"{path} has axes {image.axes}; an image has Y and X", "name the axes with `axes`", option="axes"
        )
    order = [a for a in image.axes if a not in "ZYX"] + [a for a in "ZYX" if a in image.axes]
    if order == list(image.axes):
        return image
    if not isinstance(image.data, np.ndarray):
        raise InputError(
            f"{path} is stored in the order {image.axes}, and is too large to reorder",
            f"save it in the order {''.join(order)}",
        )
    data = np.transpose(image.data, [image.axes.index(a) for a in order])
    return replace(image, data=data, axes="".join(order))
