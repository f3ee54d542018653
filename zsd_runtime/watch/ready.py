"""When a file is finished: nothing changed over several looks, and it opens, twice with the same shape.

No event of an operating system says that a file is finished: a network share sends none for what another computer
writes, and a file that is closed may be opened again for the next page. A TIFF that grows page by page opens as a
valid, shorter stack. So the folder is looked at again and again. Times are only compared with each other: the clock of
a share may be wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsd_runtime.errors import InputError
from zsd_runtime.images import is_image_name
from zsd_runtime.terminal import flag

FOLDER_LOOKS = 5  # times as many for a folder (OME-Zarr, NDTiff): its parts come one by one, and none says "the last"


@dataclass(frozen=True)
class State:
    """What a look tells of a file without opening it; of a folder, of all files in it.

    Attributes
    ----------
    size : int
        Bytes.
    modified_ns : int
        The time of the last change, by the clock of the file's computer.
    files : int
        0: it is a file itself.
    """

    size: int
    modified_ns: int
    files: int = 0


def state_of(path: Path) -> State | None:
    """The state of a file or folder; None when it is gone."""
    try:
        status = path.stat()
        if not path.is_dir():
            return State(status.st_size, status.st_mtime_ns)
        inside = [status, *(found.stat() for found in path.rglob("*"))]
    except OSError:  # removed meanwhile
        return None
    return State(sum(s.st_size for s in inside), max(s.st_mtime_ns for s in inside), len(inside))


def images_there(folder: Path) -> dict[str, State]:
    """Every image of a folder by its name, finished or not; the oldest first, by name where that does not decide.

    Raises
    ------
    OSError
        When the folder cannot be read.
    """
    names = [path.name for path in folder.iterdir() if is_image_name(path)]
    found = {name: state for name in names if (state := state_of(folder / name)) is not None}
    return dict(sorted(found.items(), key=lambda item: (item[1].modified_ns, item[0])))


@dataclass
class _Watched:
    """A file between two looks."""

    state: State
    unchanged: int = 0  # looks since the last change
    shape: Any = None  # when it was last opened; None before


class Readiness:
    """Tells which files are finished, from look to look.

    Parameters
    ----------
    looks : int
        Over how many looks, after the first, a file must stay the same.
    shape_of : callable
        From a file's name to anything that is equal as long as the file has the same planes. Raises `InputError` when
        the file does not open.
    """

    def __init__(self, looks: int, shape_of: Callable[[str], Any]) -> None:
        self.looks, self._shape_of = looks, shape_of
        self._watched: dict[str, _Watched] = {}

    def finished(self, there: dict[str, State]) -> dict[str, str]:
        """Look again.

        Parameters
        ----------
        there : dict of str to State
            The files that are waited for, in their order. What is not among them is forgotten.

        Returns
        -------
        dict of str to str
            Files that have stopped changing, in the same order: "" for one that is finished, or why it does not open.
        """
        self._watched = {name: self._watched[name] for name in there if name in self._watched}
        return {name: why for name, state in there.items() if (why := self._verdict(name, state)) is not None}

    def _verdict(self, name: str, state: State) -> str | None:
        """Empty if a file is finished, a sentence if it does not open, None if it is too early to say."""
        watched = self._watched.get(name)
        if watched is None or watched.state != state:
            self._watched[name] = _Watched(state)
            return None
        watched.unchanged += 1
        looks = self.looks * (FOLDER_LOOKS if state.files else 1)
        if watched.unchanged < looks - 1:
            return None
        before, watched.shape = watched.shape, None
        try:
            watched.shape = self._shape_of(name)
        except InputError as error:
            return error.message(flag) if watched.unchanged >= looks else None
        return "" if watched.shape == before else None
