"""Nothing half-written: a file appears under its name when it is whole, or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zsd_runtime.errors import InputError


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
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        elif temporary.exists():
            temporary.unlink()


def cannot_write(path: Path, error: OSError) -> InputError:
    """What a failed write means for the person who asked for it."""
    return InputError(
        f"cannot write {path}: {error.strerror or error}: choose another place or free some disk; "
        "nothing was left there"
    )
