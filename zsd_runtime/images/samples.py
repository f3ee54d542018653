"""Several values a pixel: colours, channels, an alpha channel, or grey written three times."""

from dataclasses import replace

import numpy as np

from zsd_runtime.images.image import Image
from zsd_runtime.images.views import View


def without_samples(image: Image, colour: bool, alpha: bool) -> Image:
    """Read the values of a pixel (axis S) as channels or grey, if they are no colours; each case with a notice.

    Parameters
    ----------
    image : Image
        With an axis S, or without: then it is returned as it is.
    colour : bool
        Whether the file says that they are red, green and blue.
    alpha : bool
        Whether the last of them is opacity.

    Returns
    -------
    Image
        Still with an axis S if it is in colour: 8-bit red, green and blue that differ. Photographs are 8-bit; of 16
        bits are channels that a program merged.
    """
    if "S" not in image.axes:
        return image
    axis = image.axes.index("S")
    count = image.data.shape[axis] - alpha
    notices = image.description.notices
    if alpha:
        notices += ("the alpha channel is left out",)
    if count == 1 or (count == 3 and colour and _all_equal(image, axis)):
        if count == 3:
            notices += ("red, green and blue are the same in all pixels, so the image is read as grey",)
        image = replace(image, data=_take(image.data, axis, 0), axes=image.axes.replace("S", ""))
    elif not (colour and image.data.dtype.itemsize == 1) and "C" not in image.axes:
        of = "red, green and blue" if colour else f"the {count} values of each pixel"
        notices += (f"{of} ({image.data.dtype}) are read as channels",)
        data = image.data[(slice(None),) * axis + (slice(0, count),)] if alpha else image.data
        image = replace(image, data=data, axes=image.axes.replace("S", "C"))
    return replace(image, description=replace(image.description, notices=notices))


def _take(data: object, axis: int, index: int) -> object:
    return data.take(index, axis) if isinstance(data, np.ndarray) else View(data, at={axis: index})


def _all_equal(image: Image, axis: int) -> bool:
    data = image.data
    if not isinstance(data, np.ndarray):
        return False
    first = np.moveaxis(data, axis, 0)
    return all(np.array_equal(first[0], first[i], equal_nan=data.dtype.kind == "f") for i in (1, 2))
