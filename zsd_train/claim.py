"""One training at a time writes into a run folder."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from zsd_runtime.errors import InputError
from zsd_runtime.images.remote import create_exclusively

LOCK = "training.lock"  # in the run folder: host and process of the training that writes into it

_held: set[Path] = set()  # of this process


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a run folder, which is made if it is not there. What a process of this machine held when it died is free.

    Raises
    ------
    InputError
        When another training holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / LOCK).resolve()
    try:
        create_exclusively(lock, _own())
    except FileExistsError:
        _take_over(lock)
    _held.add(lock)
    try:
        yield
    finally:
        _held.discard(lock)
        if _read(lock) == _own():
            lock.unlink(missing_ok=True)


def _own() -> str:
    return f"{socket.gethostname()} {os.getpid()}"


def _take_over(lock: Path) -> None:
    """Replace the lock of a process that died. Of several that try, the one that creates a second file does so."""
    owner = _read(lock)
    turn = lock.with_name(f"{lock.name}.next")
    try:
        if not _died(owner, lock):
            raise FileExistsError
        create_exclusively(turn, _own())
    except FileExistsError:
        host, _, process = owner.partition(" ")
        by = f"process {process} on {host}" if process else "another process"
        raise InputError(
            f"a training writes into {lock.parent} already ({by})",
            f"choose another `out`, give `devices` if the processes belong together, or remove {lock} if that training "
            "has ended",
            option=("out", "devices"),
        ) from None
    try:
        if _read(lock) != owner:  # another one was faster
            raise InputError(f"a training begins in {lock.parent} at this moment", "choose another `out`", option="out")
        lock.write_text(_own())
    finally:
        turn.unlink()


def _read(lock: Path) -> str:
    """Host and process of a lock; nothing while it is written or removed."""
    try:
        return lock.read_text()
    except FileNotFoundError:
        return ""


def _died(owner: str, lock: Path) -> bool:
    """Whether the owner was a process of this machine that is no more. In containers, a new one may have its number."""
    host, _, process = owner.partition(" ")
    if host != socket.gethostname() or not process.isdigit():
        return False
    return lock not in _held if int(process) == os.getpid() else not psutil.pid_exists(int(process))
