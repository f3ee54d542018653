"""A small file by which programs of the same user find a running server: the Fiji plugin reads it.

Lines ``key=value``: schema, address, token, pid, and the resolved path of the package. Only the user may read it, as it
holds the token.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs
import psutil

from zsd_runtime.files import cannot_write

SCHEMA = 1
ENDING = ".server"


def servers_folder() -> Path:
    """Where the files are: in the user's cache."""
    return platformdirs.user_cache_path("zsd", appauthor=False) / "servers"


@contextmanager
def beacon(address: str, token: str, package: Path) -> Iterator[Path]:
    """Keep the file of a server; files that killed servers left are removed.

    Parameters
    ----------
    address : str
        ``http://127.0.0.1:4711``
    token : str
    package : path

    Raises
    ------
    InputError
        When it cannot be written.
    """
    folder = servers_folder()
    path = folder / f"{address.rpartition(':')[2]}{ENDING}"
    values = {"schema": SCHEMA, "address": address, "token": token, "pid": os.getpid(), "package": package.resolve()}
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_dead(folder)
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            file.writelines(f"{key}={value}\n" for key, value in values.items())
        new.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from None
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _remove_dead(folder: Path) -> None:
    for path in folder.glob(f"*{ENDING}"):
        with suppress(OSError, KeyError, ValueError):
            if not psutil.pid_exists(int(read_beacon(path)["pid"])):
                path.unlink()


def read_beacon(path: Path) -> dict[str, str]:
    """What a file says."""
    lines = path.read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)
