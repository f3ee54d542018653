"""Calibration maps of a camera: offset and gain of each pixel, as sCMOS cameras need them (Huang et al. 2013)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError, size_text
from zsd_runtime.images import open_image, read_box


@dataclass(frozen=True)
class CameraMaps:
    """What differs from pixel to pixel; corrected images have its mean everywhere.

    Attributes
    ----------
    offset : ndarray
        (Y, X), float32, counts in the dark.
    gain : ndarray or None
        (Y, X), float32, counts per photo-electron, or in any other unit.
    """

    offset: NDArray[np.float32]
    gain: NDArray[np.float32] | None = None

    def __call__(self, values: NDArray[Any], box: tuple[slice, slice]) -> NDArray[np.float32]:
        """Values (…, Y, X) of a `box` as a camera whose pixels are all alike would give them."""
        counts = values.astype(np.float32) - self.offset[box]
        if self.gain is not None:
            counts *= self.gain.mean() / self.gain[box]
        return counts + self.offset.mean()

    def check(self, shape: tuple[int, ...], name: str) -> None:
        """Raise `InputError` unless the maps are of the size of the planes of an image of `shape`."""
        if self.offset.shape != tuple(shape[-2:]):
            raise InputError(
                f"{name} has planes of {size_text(shape[-2:])} pixels, `dark` {size_text(self.offset.shape)}",
                "give the part of the map that the image was taken with",
                option="dark",
            )


def maps_of(dark: Path | None, gain_map: Path | None) -> CameraMaps | None:
    """The maps in files, if they are given; see `read_camera_maps`."""
    if dark is None and gain_map is not None:
        raise InputError("`gain_map` needs the offset of each pixel, too", "give `dark`", option=("gain_map", "dark"))
    return None if dark is None else read_camera_maps(dark, gain_map)


def read_camera_maps(dark: Path, gain: Path | None = None) -> CameraMaps:
    """Read calibration maps.

    Parameters
    ----------
    dark : path
        One plane, the offset of each pixel; or dark frames along any axis, whose mean is taken.
    gain : path
        One plane.

    Raises
    ------
    InputError
        When a map is no plane of finite numbers, the two differ in size, or a gain is not above 0.
    """
    offset = _mean_plane(dark, "dark")
    if gain is None:
        return CameraMaps(offset)
    gains = _mean_plane(gain, "gain_map")
    if gains.shape != offset.shape:
        raise InputError(
            f"{gain} has {size_text(gains.shape)} pixels and {dark} {size_text(offset.shape)}",
            "give maps of one camera and one region",
            option="gain_map",
        )
    if not (gains > 0).all():
        raise InputError(
            f"{gain} holds {int((gains <= 0).sum())} gains that are not above 0",
            "repair them, for instance by a median",
            option="gain_map",
        )
    return CameraMaps(offset, gains)


def _mean_plane(path: Path, option: str) -> NDArray[np.float32]:
    image = open_image(path)
    leading = image.data.shape[:-2]
    whole = tuple(slice(0, n) for n in image.data.shape[-2:])
    total = np.zeros(image.data.shape[-2:])
    for index in np.ndindex(leading):
        total += read_box(image.data, (*index, *whole))
    mean = (total / max(1, int(np.prod(leading)))).astype(np.float32)
    if not np.isfinite(mean).all():
        raise InputError(f"{path} holds NaN or infinity", "repair it, for instance by a median", option=option)
    return mean
