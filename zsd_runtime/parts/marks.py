"""Done marks: what a region wrote, so that another process can tell that it is there and whole."""

import json
import os
import socket
import zlib
from collections.abc import Iterable
from pathlib import Path

from zsd_runtime.images.remote import Remote, write_at_once

BLOCK = 1 << 22  # bytes
FOLDER = "done"


def mark(folder: Path, results: Path, region: int, files: Iterable[str], seconds: float) -> None:
    """Write the mark of a region, with the size and the checksum of each file in `results` that it wrote."""
    written = {name: list(_size_and_checksum(results / name)) for name in sorted(files)}
    facts = {"files": written, "seconds": round(seconds, 3), "host": socket.gethostname(), "process": os.getpid()}
    write_at_once(_path(folder, region), json.dumps(facts).encode(), f"{socket.gethostname()}.{os.getpid()}")


def is_done(folder: Path, results: Path, region: int, *, checksums: bool = False) -> bool:
    """Whether a region has a mark and all files of it; with `checksums`, these are read.

    Objects of a bucket are not read: their server knows their checksums.
    """
    try:
        files = json.loads(_path(folder, region).read_text())["files"]
        return all(
            _size_and_checksum(results / name) == (size, checksum) if checksums else _size(results / name) == size
            for name, (size, checksum) in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _path(folder: Path, region: int) -> Path:
    return folder / FOLDER / f"{region}.json"


def _size(path: Path) -> int:
    return path.size() if isinstance(path, Remote) else path.stat().st_size


def _size_and_checksum(path: Path) -> tuple[int, int | str]:
    if isinstance(path, Remote):
        return path.size(), path.version()
    size, checksum = 0, 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            size, checksum = size + len(block), zlib.crc32(block, checksum)
    return size, checksum
