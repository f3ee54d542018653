"""Image files as the physics needs them: images of one kind with their voxel size, PSFs with theirs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError
from zsd_runtime.images import Image, Voxel, check_array, open_image, read_image


def open_images(paths: list[Path], axes: str | None) -> tuple[list[NDArray[np.generic]], Voxel]:
    """Open noisy images of one kind.

    Parameters
    ----------
    paths : list of path
        Image files.
    axes : str
        Letters of "TCZYX" that replace what the files say, or None.

    Returns
    -------
    list of ndarray
        All planes (Y, X), or all volumes (Z, Y, X) if the images have slices; memory-mapped where possible.
    Voxel
        The voxel size that the files agree on.

    Raises
    ------
    InputError
        When planes and volumes, or different voxel sizes, are mixed, or an image has several channels.
    """
    images = [open_image(path, axes) for path in paths]
    depths = {image.data.shape[image.axes.index("Z")] if "Z" in image.axes else 1 for image in images}
    if 1 in depths and len(depths) > 1:
        raise InputError(
            f"{_names(paths)} are planes and volumes", "train on one kind, or say with `axes` what they are",
            option="axes",
        )  # fmt: skip
    spatial = "YX" if depths == {1} else "ZYX"
    for path, image in zip(paths, images, strict=True):
        if "C" in image.axes and (channels := image.data.shape[image.axes.index("C")]) > 1:
            raise InputError(f"{path} has {channels} channels: a model is for one channel", "split the channels")
    voxels = {
        Voxel.square(image.voxel.pixel_size_um(str(path)), image.voxel.z_um)
        for path, image in zip(paths, images, strict=True)
    }
    if len(voxels) > 1:
        raise InputError(f"the images have different voxel sizes ({voxels}, µm)", "train a model for each")
    arrays = [array for image in images for array in _arrays(image, spatial)]
    for array in arrays:
        check_array(array, _names(paths))
    return arrays, voxels.pop()


def read_sized(
    path: Path, given: Voxel, prefix: str = "", *, needs_z_step: bool = True
) -> tuple[NDArray[np.generic], tuple[float, ...]]:
    """Read one plane or one volume with its voxel size, for example a PSF.

    Parameters
    ----------
    path : path
        Image file.
    given : Voxel
        Sizes (µm) for a file that does not say them.
    prefix : str
        What the names of the options for these sizes begin with, for example "psf_".
    needs_z_step : bool
        Whether a volume must have a z step.

    Returns
    -------
    ndarray
        (Y, X) or (Z, Y, X).
    tuple of float
        (pixel size,), or (z step, pixel size) of a volume if `needs_z_step`; µm.

    Raises
    ------
    InputError
        When the image has other axes, or a size is unknown or contradicts `given`.
    """
    image = read_image(path)
    if image.axes not in ("YX", "ZYX", "TYX"):
        raise InputError(f"{path} has axes {image.axes}", "give one plane (YX) or one volume (ZYX)")
    data = image.data[0] if len(image.data) == 1 and image.data.ndim == 3 else image.data

    def size(option: str, given_um: float | None, found_um: float | None) -> float:
        return required(agreed(given_um, found_um, option, str(path)), option, str(path))

    pixel_size = size(f"{prefix}pixel_size", given.x_um, image.voxel.pixel_size_um(str(path)))
    if data.ndim == 2 or not needs_z_step:
        return data, (pixel_size,)
    return data, (size(f"{prefix}z_step", given.z_um, image.voxel.z_um), pixel_size)


def agreed(given: float | None, found: float | None, option: str, name: str) -> float | None:
    """The size (µm) that is given or found in the file `name`; an error if they differ by more than 1 %."""
    if given is not None and given <= 0:
        raise InputError(f"`{option}` {given:g} must be above 0 µm", option=option)
    if given and found and abs(given / found - 1) > 0.01:
        difference = f"{name} says {found:g} µm, `{option}` says {given:g}"
        raise InputError(difference, "correct the wrong one", option=option)
    return given or found


def required(um: float | None, option: str, name: str, otherwise: str = "") -> float:
    """A size (µm); an error if it is unknown, which says how to give it, or what to do `otherwise`."""
    if um is None:
        size = "z step" if option.endswith("z_step") else "pixel size"
        remedy = f"give it with `{option}` (µm){otherwise}"
        raise InputError(f"{name} does not say its {size}", remedy, option=(option, "psf_sigma"))
    return um


def lengths(text: str, option: str) -> tuple[float, ...]:
    """From "1.2", for Y and X, to (1.2,); from "1.5x1.1", for Z and for Y and X, to (1.5, 1.1)."""
    try:
        values = tuple(float(part) for part in text.lower().split("x"))
    except ValueError:
        values = ()
    if len(values) not in (1, 2):
        expected = "a number, for instance 1.2, or two with an x between, ZxYX, for instance 1.5x1.1"
        raise InputError(f"`{option}` {text} must be {expected}", option=option)
    return values


def _arrays(image: Image, spatial: str) -> list[NDArray[np.generic]]:
    """The arrays over the `spatial` axes; a Z of length 1 is dropped."""
    if not isinstance(image.data, np.ndarray):  # chunks are decoded on reading, and training reads all of them often
        image = replace(image, data=image.data[tuple(slice(0, n) for n in image.data.shape)])
    return [array.reshape(array.shape[-len(spatial) :]) for array in image.planes(spatial)]


def _names(paths: list[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
