"""Raw frames that lie in a folder, one in each file."""

import re
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np

from zsd_optics.sim.described import DIRECTIONS, SimOptions
from zsd_runtime.errors import InputError
from zsd_runtime.images import Image, image_files, images_in, open_image, read_image
from zsd_runtime.notices import Notice
from zsd_runtime.sim.layout import PHASES


def raw_files(paths: Sequence[Path], options: SimOptions) -> list[Path]:
    """The files to reconstruct in files and folders; a folder of single frames stands for itself."""
    folders = [path for path in paths if single_frames(path, options)]
    if not folders:
        return images_in(paths)
    return [file for path in paths for file in ([path] if path in folders else images_in([path]))]


def open_raw(path: Path, options: SimOptions, notice: Notice) -> Image:
    """Open a raw file, or a folder of single frames as (T, Y, X) in the order of their names.

    Raises
    ------
    InputError
        As of `open_image`.
    """
    files = single_frames(path, options)
    if not files:
        return open_image(path, options.axes, options.series)
    notice(
        f"{path}: {len(files)} files of one frame each are taken together, by their names from {files[0].name} to "
        f"{files[-1].name}"
    )
    images = [read_image(file, options.axes) for file in files]
    data = np.stack([np.asarray(image.data).reshape(image.data.shape[-2:]) for image in images])
    described = replace(images[0].description, labels=(), series=())
    return replace(images[0], data=data, axes="TYX", description=described)


def single_frames(folder: Path, options: SimOptions) -> list[Path]:
    """The files of a folder, 2 before 10, if they are one frame each, alike, and as many as acquisitions have.

    Empty if not, and for folders that are an image by themselves.
    """
    if not folder.is_dir():
        return []
    try:
        files = sorted(image_files(folder), key=_natural)
    except InputError:  # no images: opening it says so
        return []
    directions = options.directions or DIRECTIONS
    fits = any(len(files) % (directions * p) == 0 for p in ((options.phases,) if options.phases else PHASES))
    return files if fits and _single_and_alike(files) else []


def _single_and_alike(files: list[Path]) -> bool:
    kinds = set()
    for file in files:
        try:
            image = open_image(file)
        except InputError:  # reconstructing it by itself says what is wrong with it
            return False
        kinds.add((image.data.shape[-2:], image.data.dtype))
        if prod(image.data.shape[:-2]) != 1 or len(kinds) > 1:
            return False
    return True


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name.lower())]
