"""Done marks: what a region wrote, so that another process can tell that it is there and whole."""

import json
import os
import socket
import zlib
from collections.abc import Iterable
from pathlib import Path

BLOCK = 1 << 22  # bytes
FOLDER = "done"


def mark(folder: Path, region: int, files: Iterable[str], seconds: float) -> None:
    """Write the mark of a region, with the size and the checksum of each file that it wrote."""
    written = {name: list(_size_and_checksum(folder / name)) for name in sorted(files)}
    facts = {"files": written, "seconds": round(seconds, 3), "host": socket.gethostname(), "process": os.getpid()}
    path = _path(folder, region)
    temporary = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(facts))
    temporary.replace(path)


def is_done(folder: Path, region: int, *, checksums: bool = False) -> bool:
    """Whether a region has a mark and all files of it; with `checksums`, these are read."""
    try:
        files = json.loads(_path(folder, region).read_text())["files"]
        return all(
            _size_and_checksum(folder / name) == (size, checksum)
            if checksums
            else (folder / name).stat().st_size == size
            for name, (size, checksum) in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _path(folder: Path, region: int) -> Path:
    return folder / FOLDER / f"{region}.json"


def _size_and_checksum(path: Path) -> tuple[int, int]:
    size, checksum = 0, 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            size, checksum = size + len(block), zlib.crc32(block, checksum)
    return size, checksum
