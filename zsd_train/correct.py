"""Images without their bad pixels, before anything is learnt from them."""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.corrections.bad_pixels import lasting_hot_pixels
from zsd_runtime.corrections.camera_maps import CameraMaps
from zsd_runtime.corrections.corrected import LINES, Corrected, Corrections, notice
from zsd_runtime.corrections.hot_pixels import SHARE
from zsd_runtime.errors import InputError
from zsd_train.config import TrainConfig

MOST = 16  # frames that hot pixels are looked for in together
UNDERSAMPLED = 0.2  # a PSF leaves less of a point's height in its neighbours: points look like hot pixels


@dataclass(frozen=True)
class Found:
    """What was wrong with the images.

    Attributes
    ----------
    counts : dict
        Number of pixels by kind (`BadPixels`), of all images.
    blank : list of int
        Numbers, from 0, of images that hold nothing; they are left out.
    notice : str
        The same for people; empty if nothing was wrong.
    """

    counts: dict[str, int] = field(default_factory=dict)
    blank: list[int] = field(default_factory=list)
    notice: str = ""


def correct(
    images: list[NDArray[Any]], psf: NDArray[np.float64], config: TrainConfig, maps: CameraMaps | None = None
) -> tuple[list[Any], Found]:
    """Find what is no data in images (C, [Z,] Y, X), and correct it.

    Returns
    -------
    list of array-like
        The images as they are where nothing is wrong, `Corrected` elsewhere; blank ones are left out.
    Found

    Raises
    ------
    InputError
        When all images are blank, or maps do not fit.
    """
    corrections = Corrections(config.hot_pixels == "replace", maps, LINES[config.remove_lines])
    share = _neighbour_share(psf, config.network.grid_factor)
    lasting = None
    if psf.ndim == 2 and len({image.shape for image in images}) == 1 and corrections.hot_pixels:
        # The frames of a movie are images of their own: together they show what lasts.
        few = np.unique(np.linspace(0, len(images) - 1, MOST).round().astype(int))
        lasting = lasting_hot_pixels([images[i][0] for i in few], neighbour_share=share)
    looked_at = [
        Corrected(
            image, corrections, volumes=psf.ndim == 3, neighbour_share=share,
            lasting=lasting, name="the image" if len(images) == 1 else f"image {number}",
        )
        for number, image in enumerate(images, 1)
    ]  # fmt: skip
    empty = [len(image.blank) == math.prod(image.shape[:-2]) for image in looked_at]
    if all(empty):
        raise InputError(
            "an image is constant" if len(images) == 1 else f"all {len(images)} images are constant",
            "leave it out: there is nothing to learn from",
        )
    kept = [image for image, blank in zip(looked_at, empty, strict=True) if not blank]
    counts = sum((image.counts for image in kept), Counter[str]())
    numbers = [number for number, blank in enumerate(empty) if blank]
    slices = sorted({index[-1] + 1 for image in kept for index in image.blank})
    said = [_blank_images(numbers) if numbers else "", notice(counts, sum(math.prod(i.shape) for i in kept), slices)]
    found = Found({kind: n for kind, n in counts.items() if n}, numbers, "; ".join(filter(None, said)))
    return [image if image.changed else image.source for image in kept], found


def _blank_images(numbers: list[int]) -> str:
    listed = ", ".join(str(number + 1) for number in numbers[:8]) + ", …" * (len(numbers) > 8)
    return f"image{'s' * (len(numbers) > 1)} {listed} {'are' if len(numbers) > 1 else 'is'} blank: left out"


def _neighbour_share(psf: NDArray[np.float64], grid_factor: int) -> float:
    """What the PSF leaves of a point's height in the four neighbours of its pixel, at least; as a threshold.

    Points of a PSF that is narrower than a pixel cannot be told from hot pixels: then there are none.
    """
    plane = psf if psf.ndim == 2 else psf[len(psf) // 2]
    middle = len(plane) // 2
    # A point in the middle of a raw pixel, which is `grid_factor` fine pixels wide.
    half = grid_factor // 2
    first = plane[middle - half : middle - half + grid_factor + (grid_factor % 2 == 0)].sum(axis=0)
    columns = [first[middle - half + k * grid_factor : middle + half + 1 + k * grid_factor].sum() for k in (-1, 0, 1)]
    share = (columns[0] + columns[2]) / 2 / max(float(columns[1]), 1e-12)
    return SHARE if share > UNDERSAMPLED else 0.0
