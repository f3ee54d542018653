"""The files of a Zarr hierarchy, in a folder, in a zip or behind a URL."""

import re
import zipfile
from collections.abc import Iterable
from math import ceil, prod
from pathlib import Path, PurePosixPath
from typing import Any

from zsd_runtime.images.remote import Remote, files_below, root_of

MARKERS = ("zarr.json", ".zgroup", ".zarray")  # a folder with one of these files is Zarr
ZIP = b"PK\3\4"
CHUNK_KEY = re.compile(r"(c[/.])?\d+([/.]\d+)*")


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr group or array."""
    return any((path / name).is_file() for name in MARKERS)


def is_zip(path: Path) -> bool:
    """Whether a file is a zip, by its first bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(ZIP)) == ZIP


def zip_roots(path: Path) -> list[str]:
    """The outermost folders of a zip that are Zarr; "" is its root. None of them if the zip is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [PurePosixPath(name) for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError):
        return []
    folders = {name.parent for name in names if name.name in MARKERS and "__MACOSX" not in name.parts}
    outermost = [folder for folder in folders if not folders & set(folder.parents)]
    return sorted("" if folder == PurePosixPath() else folder.as_posix() for folder in outermost)


def missing_chunks(array: Any) -> str:
    """A notice of chunks that are not stored: by the standard they hold the fill value, or a copy was interrupted."""
    root = root_of(array.store_path.store)
    if isinstance(root, Remote) and not root.lists:
        return ""
    stored = sum(CHUNK_KEY.fullmatch(name) is not None for name in _files(array.store_path))
    outer = getattr(array, "shards", None) or array.chunks
    expected = prod(ceil(n / c) for n, c in zip(array.shape, outer, strict=True))
    if stored >= expected:
        return ""
    return (
        f"{expected - stored} of {expected} chunks of the file are not stored, so they are read as "
        f"{array.fill_value or 0}; copy the file again if it should be whole"
    )


def _files(place: Any) -> Iterable[str]:
    """Names of all files in a folder of a store, relative to it."""
    if (root := root_of(place.store)) is not None:
        return files_below(root / place.path)
    start = f"{place.path}/" if place.path else ""
    with zipfile.ZipFile(place.store.path) as archive:
        return [name.removeprefix(start) for name in archive.namelist() if name.startswith(start)]


def beside(place: Any, name: str) -> str | None:
    """The text of a file beside a folder of a store; None if there is none."""
    try:
        if (root := root_of(place.store)) is not None:
            return ((root / place.path).absolute().parent / name).read_text("utf-8")
        with zipfile.ZipFile(place.store.path) as archive:
            return archive.read((PurePosixPath(place.path).parent / name).as_posix()).decode("utf-8")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None
