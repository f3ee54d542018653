"""Look at a folder again and again, and restore each image once, when it is finished."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from zsd_runtime.errors import InputError
from zsd_runtime.images import open_image, stem
from zsd_runtime.images.ome_files import files_of_one_image
from zsd_runtime.summary import Restored
from zsd_runtime.terminal import flag
from zsd_runtime.watch.marks import Marks
from zsd_runtime.watch.ready import Readiness, State, images_there, state_of

FIRST_RETRY, LAST_RETRY = 16, 1024  # looks until a failed image that does not change is tried again; doubled each time

Restore = Callable[[Path], Restored]


@dataclass(frozen=True)
class _Failure:
    """Why an image as it was could not be restored, and at which look it is tried again."""

    state: State
    error: str
    retry_at: int
    wait: int


class Watch:
    """A folder whose images are restored when they are finished.

    Parameters
    ----------
    folder : path
        Its own images; those in folders inside it are left alone.
    restore : callable
        Restores an image; raises an exception when it cannot.
    marks : Marks
        What is done.
    looks : int
        Over how many looks, after the first, a file must stay the same.
    axes, series : optional
        As for `open_image`.
    once : bool
        Only the images that are there at the first look, and each tried once.
    """

    def __init__(
        self,
        folder: Path,
        restore: Restore,
        marks: Marks,
        looks: int,
        *,
        axes: str | None = None,
        series: int | None = None,
        once: bool = False,
    ) -> None:
        self.folder, self._restore, self._marks, self._once = folder, restore, marks, once
        self._axes, self._series = axes, series
        self._readiness = Readiness(looks, self._shape_of)
        self._failed: dict[str, _Failure] = {}
        self._parts: dict[str, State] = {}  # of an image in several files, all but the first
        self._looks = 0
        self._first: set[str] | None = None
        self.waiting: list[str] = []
        self._stems = {stem(Path(name)).casefold(): name for name in marks.names}

    def look(self) -> Iterator[Restored]:
        """Look once, and restore what is finished, in the order in which it was; what became of each image.

        `waiting` then has what is not finished.

        Raises
        ------
        OSError
            When the folder cannot be read.
        """
        self._looks += 1
        there = images_there(self.folder)
        if self._first is None:
            self._first = set(there)
        todo = {name: state for name, state in there.items() if self._is_new(name, state)}
        self.waiting = list(todo)
        for name, error in self._readiness.finished(todo).items():
            self.waiting.remove(name)
            outcome = self._failure(name, todo[name], error) if error else self._restored(name, todo[name])
            if outcome is not None:
                yield outcome

    def _is_new(self, name: str, state: State) -> bool:
        if self._once and name not in (self._first or ()):
            return False
        failure = self._failed.get(name)
        if failure and failure.state == state and (self._once or self._looks < failure.retry_at):
            return False
        return (name, state) not in self._marks and self._parts.get(name) != state

    def _restored(self, name: str, state: State) -> Restored | None:
        """What became of an image; None if it is part of another, or turns out to be unfinished."""
        path = self.folder / name
        if self._is_part(path):
            self._parts[name] = state
            return None
        if state_of(path) != state:  # it changed while others were restored
            self.waiting.append(name)
            return None
        other = self._stems.setdefault(stem(path).casefold(), name)
        if other != name:
            return self._failure(
                name, state, f"{other} and {name} would both become {stem(path)}_…: rename one of them"
            )
        try:
            outcome = self._restore(path)
            if state_of(path) != state:
                self.waiting.append(name)
                return Restored(
                    path, error=f"{name} changed while it was restored: it is restored again when it is done"
                )
            self._marks.add(name, state, [result.name for result in outcome.results])
        except InputError as error:
            return self._failure(name, state, error.message(flag))
        except Exception as error:  # whatever it is, the next images must not wait for somebody to come
            return self._failure(name, state, f"{type(error).__name__}: {error}")
        self._failed.pop(name, None)
        return outcome

    def _failure(self, name: str, state: State, error: str) -> Restored | None:
        """Remember that an image failed; None if that was said before.

        It is tried again when it changes, and now and then: the disk may have been full, or a share away.
        """
        before = self._failed.get(name)
        wait = min(2 * before.wait, LAST_RETRY) if before and before.state == state else FIRST_RETRY
        self._failed[name] = _Failure(state, error, self._looks + wait, wait)
        key = stem(Path(name)).casefold()
        if (
            self._stems.get(key) == name and name not in self._marks.names
        ):  # it has no results that another could replace
            del self._stems[key]
        said = before is not None and (before.state, before.error) == (state, error)
        return None if said else Restored(self.folder / name, error=error if name in error else f"{name}: {error}")

    def _shape_of(self, name: str) -> tuple[object, ...]:
        image = open_image(self.folder / name, self._axes, self._series)
        return image.axes, tuple(image.data.shape), image.description.series

    def _is_part(self, path: Path) -> bool:
        """Whether another file, of an OME-TIFF in several, stands for the image."""
        others = [other for other in files_of_one_image(path) if other.exists()] if path.is_file() else []
        return path in others and path != min(others)
