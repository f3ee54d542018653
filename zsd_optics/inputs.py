"""Noisy images, as training and noise estimation take them from files: all of one kind, plane by plane or volumes."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from zsd_runtime.errors import InputError
from zsd_runtime.images import Image, Voxel, check_array, open_image

Axes = Annotated[str | None, typer.Option(help="Axes of the images, letters of TCZYX, overruling the files.")]


def open_images(paths: list[Path], axes: str | None) -> tuple[list[NDArray[np.generic]], Voxel]:
    """All planes (Y, X), or volumes (Z, Y, X) where there are slices, of all files; mapped where it can be."""
    images = [open_image(path, axes) for path in paths]
    depths = {image.data.shape[image.axes.index("Z")] if "Z" in image.axes else 1 for image in images}
    if 1 in depths and len(depths) > 1:
        raise InputError(f"{_names(paths)} are planes and volumes: train on one kind, or say with --axes what they are")
    spatial = "YX" if depths == {1} else "ZYX"
    for path, image in zip(paths, images, strict=True):
        if "C" in image.axes and (channels := image.data.shape[image.axes.index("C")]) > 1:
            raise InputError(f"{path} has {channels} channels: a model is for one channel; split them")
    voxels = {
        Voxel.square(image.voxel.pixel_size_um(str(path)), image.voxel.z_um)
        for path, image in zip(paths, images, strict=True)
    }
    if len(voxels) > 1:
        raise InputError(f"the images have different voxel sizes ({voxels}, µm): train a model for each")
    arrays = [array for image in images for array in _arrays(image, spatial)]
    for array in arrays:
        check_array(array, _names(paths))
    return arrays, voxels.pop()


def _arrays(image: Image, spatial: str) -> list[NDArray[np.generic]]:
    """The arrays over `spatial` axes; other axes before them, and a Z of 1, are gone through."""
    if not isinstance(image.data, np.ndarray):  # decoded chunk by chunk: patches want them all, again and again
        image = replace(image, data=image.data[tuple(slice(0, n) for n in image.data.shape)])
    return [array.reshape(array.shape[-len(spatial) :]) for array in image.planes(spatial)]


def _names(paths: list[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def agreed(given: float | None, found: float | None, option: str, name: str) -> float | None:
    """The size that is given, or found in the file; an error if they differ."""
    if given is not None and given <= 0:
        raise InputError(f"{option} {given:g} must be above 0 µm")
    if given and found and abs(given / found - 1) > 0.01:
        raise InputError(f"{name} says {found:g} µm, {option} says {given:g}: correct the wrong one")
    return given or found
