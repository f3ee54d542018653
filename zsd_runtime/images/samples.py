"""Several values a pixel: colours, channels, an alpha channel, or grey written three times."""

from dataclasses import replace

import numpy as np

from zsd_runtime.images.image import Image
from zsd_runtime.images.views import View


def with_notices(image: Image, *notices: str) -> Image:
    """With more notices; none is said twice."""
    described = image.description
    return replace(image, description=replace(described, notices=tuple(dict.fromkeys((*described.notices, *notices)))))


def without_samples(image: Image, colour: bool, alpha: bool) -> Image:
    """Read the values of a pixel (axis S) as channels or grey, if they are no colours; each case with a notice.

    Parameters
    ----------
    image : Image
        With an axis S, or without: then it is returned as it is.
    colour : bool
        Whether the file says that they are red, green and blue.
    alpha : bool
        Whether the file says that the last of them is opacity.

    Returns
    -------
    Image
        Still with an axis S if it is in colour: 8-bit red, green and blue that differ. Photographs are 8-bit; of 16
        bits are channels that a program merged.
    """
    if "S" not in image.axes:
        return image
    axis = image.axes.index("S")
    alpha = alpha and _is_constant(image.data, axis)
    count = image.data.shape[axis] - alpha
    notices = image.description.notices
    if alpha:
        notices += ("the alpha channel is left out",)
    if count == 1 or (count == 3 and colour and _all_equal(image, axis)):
        if count == 3:
            notices += ("red, green and blue are the same in all pixels, so the image is read as grey",)
        image = replace(image, data=_take(image.data, axis, 0), axes=image.axes.replace("S", ""))
    elif not (colour and image.data.dtype.itemsize == 1) and "C" not in image.axes:
        of = "red, green and blue" if colour and count == 3 else f"the {count} values of each pixel"
        slices = f"; use --axes {image.axes.replace('S', 'Z')} if they are slices" if "Z" not in image.axes else ""
        notices += (f"{of} ({image.data.dtype}) are read as channels{slices}",)
        data = image.data[(slice(None),) * axis + (slice(0, count),)] if alpha else image.data
        image = replace(image, data=data, axes=image.axes.replace("S", "C"))
    return replace(image, description=replace(image.description, notices=notices))


def _take(data: object, axis: int, index: int) -> object:
    return data.take(index, axis) if isinstance(data, np.ndarray) else View(data, at={axis: index})


def _is_constant(data: object, axis: int) -> bool:
    """Whether the last of the values is the same everywhere: programs call a fourth channel opacity, too."""
    if not isinstance(data, np.ndarray):
        return False
    last = data.take(-1, axis)
    return bool(last.min() == last.max())


def _all_equal(image: Image, axis: int) -> bool:
    data = image.data
    if not isinstance(data, np.ndarray):
        return False
    red, green, blue = np.moveaxis(data, axis, 0)[:3]
    return all(np.array_equal(red, other, equal_nan=data.dtype.kind == "f") for other in (green, blue)) and (
        red.min() != red.max()  # of a black picture nobody knows
    )
