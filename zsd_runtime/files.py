"""Write files that appear under their name when they are whole, or not at all."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zsd_runtime.errors import InputError

RETRIES = 20


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write a file or a folder to; rename it when the block succeeds.

    Raises
    ------
    InputError
        When the place cannot be written to or the disk is full. Nothing is left behind on any error.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if path.is_dir() and temporary.is_dir():  # a folder is not replaced in one move
            path.rename(old := path.with_name(f".{path.name}.{os.getpid()}.old"))
            try:
                temporary.rename(path)
            except OSError:
                old.rename(path)
                raise
            shutil.rmtree(old)
        else:
            temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    """Remove a file or folder. Again and again: after a failure, Zarr's other threads may still write chunks there."""
    for _ in range(RETRIES):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
            time.sleep(0.05)
        elif path.exists():
            path.unlink()
        else:
            return


def cannot_write(path: Path, error: OSError) -> InputError:
    """The error for a failed write."""
    return InputError(
        f"cannot write {path}: {error.strerror or error}",
        "choose another place or free some disk; nothing was left there",
    )
