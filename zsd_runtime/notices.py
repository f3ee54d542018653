"""Notices: sentences that a user should read, on stderr, each of them once."""

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from zsd_runtime.terminal import flag

Notice = Callable[[str], None]


def no_notice(text: str) -> None:
    """Say nothing."""


def notices(quiet: bool) -> Notice:
    """A function that prints a sentence, unless it has done so before or is `quiet`."""
    printed: set[str] = set()

    def notice(text: str) -> None:
        if not quiet and text not in printed:
            printed.add(text)
            print(f"notice: {with_flags(text)}", file=sys.stderr)

    return notice


def with_flags(text: str) -> str:
    """A sentence whose options in backticks are written as the command line takes them."""
    return re.sub("`(\\w+)`", lambda option: flag(option[1]), text)


def file_notices(found: Iterable[tuple[Path, Iterable[str]]], notice: Notice) -> None:
    """Say what files have to say; a sentence that several of them share is said once.

    Parameters
    ----------
    found : iterable of (path, sentences)
        `Description.notices` of each file.
    notice : callable
        Gets a sentence.
    """
    files: dict[str, list[Path]] = {}
    for path, sentences in found:
        for sentence in sentences:
            files.setdefault(sentence, []).append(path)
    for sentence, paths in files.items():
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        named = any(str(path) in sentence or path.name in sentence for path in paths)
        notice(sentence if named and not more else f"{paths[0]}{more}: {sentence}")
