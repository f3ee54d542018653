"""One training at a time writes into a run folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from zsd_runtime.errors import InputError

LOCK = ".training.lock"  # in the run folder; it stays, and the system frees it when a process ends or is killed


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a run folder, which is made if it is not there.

    Raises
    ------
    InputError
        When another training holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.resolve() / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"a training writes into {folder} already",
            "choose another `out`, give `devices` if the processes belong together, or stop that training",
            option=("out", "devices"),
        ) from None
    try:
        yield
    finally:
        lock.release()
