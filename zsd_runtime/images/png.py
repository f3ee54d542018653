"""PNG, in."""

from pathlib import Path

import numpy as np

from zsd_runtime.images.image import Format, Image


def _open(path: Path, axes: str | None, series: int | None) -> Image:  # noqa: ARG001
    import imageio.v3 as iio

    data = np.asarray(iio.imread(path, plugin="pillow"))
    return Image(data, "YX" if data.ndim == 2 else "YXS")


def _recognises(path: Path) -> bool:
    return path.suffix.lower() == ".png" and path.is_file()


PNG = Format("PNG", (".png",), _recognises, _open)
