"""What is done, in a small file for each image: written after success, whole or not at all, and kept over restarts."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from zsd_runtime.errors import InputError
from zsd_runtime.files import cannot_write, written_whole
from zsd_runtime.watch.ready import State

MARKS = ".zsd-watch"  # the folder of the marks, among the results
LOCK = "lock"


@dataclass
class Marks:
    """The images that are done.

    Attributes
    ----------
    folder : Path or None
        Of the marks; None: they are kept in memory only.
    model : str
        Which model restored them. Marks of another model do not count.
    """

    folder: Path | None
    model: str = ""
    _done: dict[str, State] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.folder is None:
            return
        for path in sorted(self.folder.glob("*.json")):
            try:
                mark = json.loads(path.read_text("utf-8"))
                if mark["model"] == self.model:
                    self._done[str(mark["image"])] = State(**mark["state"])
            except (OSError, ValueError, KeyError, TypeError):  # a damaged mark is none: the image is restored again
                continue

    def __contains__(self, image: tuple[str, State]) -> bool:
        """Whether an image is done as it is now."""
        name, state = image
        return self._done.get(name) == state

    @property
    def names(self) -> list[str]:
        """Of the images that are done."""
        return list(self._done)

    def add(self, name: str, state: State, results: list[str]) -> None:
        """Mark an image as done.

        Raises
        ------
        InputError
            When the mark cannot be written.
        """
        if self.folder is not None:
            mark = {"image": name, "state": asdict(state), "results": results, "model": self.model}
            with written_whole(self.folder / f"{name}.json") as temporary:
                temporary.write_text(json.dumps(mark, indent=1) + "\n", "utf-8")
        self._done[name] = state


@contextmanager
def alone(out: Path) -> Iterator[Path]:
    """Keep other watches from writing to the same folder; the folder for marks. The lock goes with the process.

    Raises
    ------
    InputError
        When another one works there, or nothing can be written there.
    """
    folder = out / MARKS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+")
    except OSError as error:
        raise cannot_write(out, error) from None
    with file:
        if not _locked(file):
            raise InputError(f"another zsd watch writes to {out}", "end it first, or give another --out")
        _clear_after(file, (out, folder))
        yield folder


def _clear_after(file: IO[str], folders: tuple[Path, ...]) -> None:
    """Remove what the process that had the lock before left half-written when it was killed; note this process."""
    file.seek(0)
    before = file.read().strip()
    if before.isdecimal():
        for path in (path for folder in folders for path in folder.glob(f".*.{before}.tmp")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()


def _locked(file: IO[str]) -> bool:
    """Lock a file until it is closed; False if somebody else has."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # Windows has this one for "locked"; some network shares know no locks
        return os.name != "nt" or error.errno not in (13, 36)
    return True
