"""NumPy arrays, in."""

from pathlib import Path

import numpy as np

from zsd_runtime.errors import InputError
from zsd_runtime.images.image import Format, Image


def _open(path: Path, axes: str | None, series: int | None) -> Image:  # noqa: ARG001
    data = np.load(path, mmap_mode="r", allow_pickle=False)
    if axes is None and data.ndim != 2:
        raise InputError(
            f"{path} is an array of shape {data.shape}, which has no names for its axes", "name them with `axes`",
            option="axes",
        )  # fmt: skip
    return Image(data, axes or "YX")


def _recognises(path: Path) -> bool:
    return path.suffix.lower() == ".npy" and path.is_file()


NPY = Format("NumPy array", (".npy",), _recognises, _open)
