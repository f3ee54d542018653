"""What can be said of an image file, or of a folder of them, as plain values: for programs, and for a page to print."""

import re
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.archive import RDF_NAMES
from zsd_runtime.channels import channels_of
from zsd_runtime.corrections.bad_pixels import find_bad_pixels, measure_spread
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.images import Image, image_files, open_image, read_box
from zsd_runtime.images.files import FORMATS
from zsd_runtime.memory import release
from zsd_runtime.notices import with_flags
from zsd_runtime.terminal import flag

PLANES = 16  # that stand for an image
LARGEST = 1 << 26  # pixels of a plane that are read: of a larger one, its middle
MOST_SERIES = 64  # whose shapes are looked up
LOOK_HERE = re.compile(r"; see zsd info .*$| \(zsd info .* shows what is in it\)")
SIZE = re.compile(r"\d+x\d+")

Facts = dict[str, Any]


def facts_of(path: Path, axes: str | None = None, series: int | None = None) -> Facts:
    """What zsd sees in an image file, or in a folder of images.

    Parameters
    ----------
    path : path
    axes : str
        Letters of "TCZYX" that replace what the file says.
    series : int
        Which image of a file that holds several, from 0.

    Returns
    -------
    dict
        Of values that JSON can hold; lengths in µm, times in s. Of a folder: its "images".

    Raises
    ------
    InputError
        When it is no image.
    """
    _check_kind(path)
    if path.exists() and image_files(path) != [path]:
        return _folder(path, axes, series)
    image, series = _opened(path, axes, series)
    d = image.description
    facts: Facts = {
        "file": str(path),
        **_outline(path, image),
        "size_source": d.size_source or None,
        "time_step_s": d.time_step_s,
        "origin_um": d.origin_um,
        "name": d.name,
        "channels": _channels(image),
        "series": _series(path, image, series),
        "notices": [with_flags(sentence) for sentence in d.notices],
    }
    planes, part = _sample(image)
    pixels, blank = _pixels(planes)
    part["blank"] = [number for number, empty in zip(part.pop("numbers"), blank, strict=True) if empty]
    return facts | {"sampled": part, "intensities": _intensities(planes), "pixels": pixels}


def _opened(path: Path, axes: str | None, series: int | None) -> tuple[Image, int | None]:
    """The image, and its number if that is known: the first of several when readers want one to be chosen."""
    try:
        return open_image(path, axes, series), series
    except InputError as error:
        refused = without_info(error)
    if series is None:
        try:
            first = open_image(path, axes, 0)
        except InputError:  # there are not several
            raise refused from None
        if first.description.series:
            notices = (*first.description.notices, str(refused))
            return replace(first, description=replace(first.description, notices=notices)), 0
    raise refused


def without_info(error: InputError) -> InputError:
    """The error without its last words, if they send a user to this page."""
    return InputError(
        re.sub(r"(; see zsd info .*| \(zsd info .* shows what is in it\))$", "", str(error)), option=error.options
    )


def _check_kind(path: Path) -> None:
    """Refuse what is a model or a run, and name the verb that is for it."""
    if path.name in RDF_NAMES or any((path / name).is_file() for name in RDF_NAMES) or _is_zipped_package(path):
        raise InputError(f"{path} is a model package", f"see zsd inspect {path}")
    if (path / "config.toml").is_file() and (path / "metrics.csv").is_file():
        raise InputError(f"{path} is a training run", "make a package of it with zsd export, or give one of its images")


def _is_zipped_package(path: Path) -> bool:
    if path.suffix.lower() != ".zip" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return bool(set(RDF_NAMES) & set(archive.namelist()))


def _folder(path: Path, axes: str | None, series: int | None) -> Facts:
    """Its images, each in a few words; what else is in it is counted."""
    images, used = [], image_files(path)
    for file in used:
        try:
            image = open_image(file, axes, series)
            facts = (
                {"file": str(file)}
                | _outline(file, image)
                | {"notices": [with_flags(text) for text in image.description.notices]}
            )
        except InputError as error:
            facts = {"file": str(file), "error": without_info(error).message(flag)}
        images.append(facts)
    others = {p for p in path.iterdir() if not p.name.startswith(".")} - set(used)
    return {"folder": str(path), "images": images, "other_files": sorted(p.name for p in others)}


def _outline(path: Path, image: Image) -> Facts:
    """Format, axes and sizes."""
    voxel = image.voxel
    return {
        "format": next((known.name for known in FORMATS if known.recognises(path)), "") + " (OME)" * image.ome,
        "file_bytes": _bytes(path),
        "axes": image.axes,
        "shape": [int(n) for n in image.data.shape],
        "dtype": image.data.dtype.name,
        "pixel_bytes": int(np.prod(image.data.shape, dtype=np.int64)) * image.data.dtype.itemsize,
        "pixel_size_um": [voxel.y_um, voxel.x_um] if voxel.y_um or voxel.x_um else None,
        "z_step_um": voxel.z_um,
    }


def _bytes(path: Path) -> int:
    """Of a file, of all files in a folder, or of those that a pattern such as ``img_z*.tif`` stands for."""
    files = path.rglob("*") if path.is_dir() else [path] if path.exists() else path.parent.glob(path.name)
    return sum(file.stat().st_size for file in files if file.is_file())


def _channels(image: Image) -> list[Facts]:
    return [
        {
            "number": chosen.number,
            "name": chosen.channel.name or None,
            "color": chosen.channel.color,
            "emission_nm": chosen.channel.emission_nm,
            "lut": chosen.channel.lut is not None,
        }
        for chosen in channels_of(image)
    ]


def _series(path: Path, image: Image, series: int | None) -> list[Facts]:
    """All images of a file that holds several: name, shape, and whether it is the one that the rest describes."""
    found: list[Facts] = []
    for number, name in enumerate(image.description.series):
        facts: Facts = {"number": number, "name": name or None}
        if number < MOST_SERIES and not SIZE.search(name):  # a name with a shape says enough, and opening takes time
            try:
                other = open_image(path, None, number)
                facts |= {"axes": other.axes, "shape": [int(n) for n in other.data.shape]}
            except InputError as error:
                facts["error"] = without_info(error).message(flag)
        found.append(facts)
    text = f"{image.axes} {size_text(image.data.shape)}"
    alike = [f for f in found if f.get("shape") == list(image.data.shape) or text in (f["name"] or "")]
    if len(alike) > 1:
        alike = [f for f in alike if f["name"] == image.description.name]
    for facts in found:
        facts["shown"] = facts["number"] == series if series is not None else alike == [facts]
    return found


def _sample(image: Image) -> tuple[list[NDArray[Any]], Facts]:
    """At most `PLANES` planes, spread over all of the image, and what part of it they are."""
    shape = image.data.shape
    indices = list(np.ndindex(shape[:-2])) if np.prod(shape[:-2]) < 1 << 20 else [(0,) * len(shape[:-2])]
    places = np.unique(np.linspace(0, len(indices) - 1, PLANES).round().astype(int))
    height, width = (min(n, int(LARGEST**0.5)) if shape[-1] * shape[-2] > LARGEST else n for n in shape[-2:])
    box = tuple(slice((n - k) // 2, (n - k) // 2 + k) for n, k in zip(shape[-2:], (height, width), strict=True))
    planes = []
    for place in places:
        planes.append(np.array(read_box(image.data, (*indices[place], *box))))
        release(image.data)
    numbers = [int(place) + 1 for place in places]
    return planes, {
        "planes": len(planes), "of_planes": int(np.prod(shape[:-2])), "plane_shape": [height, width],
        "numbers": numbers,
    }  # fmt: skip


def _intensities(planes: list[NDArray[Any]]) -> Facts:
    """Of finite pixels: range, median and percentile; the shares at 0 and at the largest number of an integer type."""
    values = np.stack(planes)
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values.ravel()
    full = int(np.iinfo(values.dtype).max) if values.dtype.kind in "ui" else None
    facts: Facts = {"not_finite": 1 - finite.size / values.size}
    if finite.size:
        quantiles = np.percentile(finite, [0, 50, 99.9, 100], method="lower")
        names = ("minimum", "median", "percentile_99_9", "maximum")
        facts |= {name: value.item() for name, value in zip(names, quantiles, strict=True)}
        facts["at_0"] = float(np.mean(finite == 0))
        facts["at_full_scale"] = None if full is None else float(np.mean(finite == full))
    return facts | {"full_scale": full}


def _pixels(planes: list[NDArray[Any]]) -> tuple[dict[str, int], list[bool]]:
    """How many of the sampled pixels are no data, by kind; and which planes are blank."""
    spread = measure_spread(planes)
    found = [find_bad_pixels(plane, spread) for plane in planes]
    counts = sum((Counter(bad.counts()) for bad in found if not bad.blank), Counter[str]())
    return {kind: count for kind, count in counts.items() if count}, [bad.blank for bad in found]
