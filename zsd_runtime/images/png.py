"""PNG, in."""

from pathlib import Path

import numpy as np

from zsd_runtime.images.image import Format, Image
from zsd_runtime.images.samples import without_samples


def _open(path: Path, axes: str | None, series: int | None) -> Image:  # noqa: ARG001
    import imageio.v3 as iio

    with path.open("rb") as file:
        if file.read(4) != b"\x89PNG":  # Pillow reads others, too, and says nothing
            raise ValueError("not a PNG file")
    data = np.asarray(iio.imread(path, plugin="pillow"))
    image = Image(data, "YX" if data.ndim == 2 else "YXS")
    if axes is not None or data.ndim == 2:
        return image
    return without_samples(image, colour=data.shape[2] > 2, alpha=data.shape[2] in (2, 4))


def _recognises(path: Path) -> bool:
    return path.suffix.lower() == ".png" and path.is_file()


PNG = Format("PNG", (".png",), _recognises, _open)
