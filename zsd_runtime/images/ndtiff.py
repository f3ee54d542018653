"""Micro-Manager's NDTiff: a folder of TIFFs with an index."""

from dataclasses import replace
from pathlib import Path

from zsd_runtime.errors import InputError
from zsd_runtime.images.image import Format, Image
from zsd_runtime.images.tiff import TIFF

INDEX = "NDTiff.index"


def _open(path: Path, axes: str | None, series: int | None) -> Image:
    first = next((p for p in sorted(path.glob("*.tif")) if not p.name.startswith(".")), None)
    if first is None:
        raise InputError(f"{path} has an {INDEX} and no TIFF files", "copy all of its files")
    image = TIFF.open(first, axes, series)
    described = image.description
    return replace(image, description=replace(described, name=described.name or path.name))


def _recognises(path: Path) -> bool:
    return (path / INDEX).is_file()


NDTIFF = Format("NDTiff", (), _recognises, _open)
