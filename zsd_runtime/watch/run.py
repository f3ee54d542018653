"""Run a watch: the places that it takes, the loop, and what it says."""

import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from pathlib import Path

from zsd_runtime.batch import How, predict_files
from zsd_runtime.errors import InputError
from zsd_runtime.model import Model
from zsd_runtime.summary import Restored, warning_lines
from zsd_runtime.terminal import progress_bar
from zsd_runtime.watch.watch import Restore, Watch

FEWEST_LOOKS = 2  # a file is opened at the last two


@dataclass
class Tally:
    """What a watch has done, and how it says so.

    Attributes
    ----------
    quiet : bool
    verb : str
        What happens to images.
    restored : int
        Number of images.
    """

    quiet: bool = False
    verb: str = "restored"
    restored: int = 0

    def __post_init__(self) -> None:
        self._failing: set[Path] = set()

    @property
    def failed(self) -> int:
        """Images that failed and were not restored later."""
        return len(self._failing)

    def __call__(self, outcome: Restored) -> None:
        """Count an image, and print a line of it."""
        if outcome.error:
            self._failing.add(outcome.image)
            self.say(f"error: {outcome.error}")
            return
        self._failing.discard(outcome.image)
        self.restored += 1
        self.say(f"{self.verb} {outcome.image.name}: {', '.join(path.name for path in outcome.results)}")
        for line in warning_lines([outcome]):
            self.say(f"warning: {line}")

    def say(self, text: str) -> None:
        """Print a line, unless the watch is quiet."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)


def check_places(folder: Path, out: Path) -> None:
    """Refuse a folder that is none, and results among the images that are watched.

    Raises
    ------
    InputError
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {what}", "give the folder that the microscope writes to")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file", "give a folder")
    if out.resolve() == folder.resolve():
        raise InputError(
            f"--out {out} is the folder that is watched: results would be restored again", f"give {folder / 'restored'}"
        )


def looks_of(settle: float, poll: float) -> int:
    """Over how many looks, `poll` seconds apart, a file must stay the same to be `settle` seconds unchanged.

    Raises
    ------
    InputError
    """
    for option, value in (("poll", poll), ("settle", settle)):
        if not (isfinite(value) and value > 0):
            raise InputError(f"--{option} {value:g} must be a number of seconds above 0")
    return max(FEWEST_LOOKS, ceil(settle / poll))


def restorer(models: Sequence[Model], how: How, quiet: bool) -> Restore:
    """A function that restores an image file with open models; see `predict_files`."""

    def restore(path: Path) -> Restored:
        outcomes: list[Restored] = []
        predict_files(models, [path], how, lambda title: progress_bar(title, quiet), outcomes.append)
        return outcomes[0]

    return restore


def fingerprint(models: Sequence[Model]) -> str:
    """Which models restore: images that others have restored are restored again."""
    digest = hashlib.sha256()
    for model in models:
        digest.update(hashlib.sha256(model.description.weights).digest())
    return digest.hexdigest()


def follow(
    watch: Watch,
    poll: float,
    tally: Tally,
    enough: Callable[[Restored], bool] = lambda outcome: False,
    sleep: Callable[[float], None] = time.sleep,
    *,
    once: bool = False,
) -> None:
    """Look until nothing is left (`once`), an outcome is `enough`, or Ctrl-C.

    A folder that cannot be read, such as a share that is away, is waited for.

    Raises
    ------
    InputError
        When the folder cannot be read and is to be looked at once.
    """
    away = False
    while True:
        try:
            for outcome in watch.look():
                tally(outcome)
                if enough(outcome):
                    return
            away = False
        except OSError as error:
            if once:
                raise InputError(f"{watch.folder} cannot be read: {error.strerror}") from None
            if not away:
                tally.say(f"error: {watch.folder} cannot be read ({error.strerror}); waiting for it")
            away = True
        if once and not watch.waiting:
            return
        sleep(poll)
