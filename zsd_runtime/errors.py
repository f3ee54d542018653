"""What a person can mend or has stopped, as exceptions that know no front end; how messages write sizes."""

import shlex
from collections.abc import Callable, Iterable
from pathlib import Path


class InputError(ValueError):
    """The user's input is at fault.

    Parameters
    ----------
    what : str
        The value, and what was expected.
    remedy : str
        What to do about it. Both may name options of a function in backticks: ``set `slices` to 8``.
    option : str or tuple of str
        The options that the message names. Each front end writes them in its own way (`message`): the command line as
        ``--slices``, Python as the argument's name.
    """

    def __init__(self, what: str, remedy: str = "", *, option: str | tuple[str, ...] = ()) -> None:
        super().__init__(f"{what}: {remedy}" if remedy else what)
        self.what = what
        self.options = (option,) if isinstance(option, str) else option

    def message(self, name: Callable[[str], str]) -> str:
        """The message, with each option as `name` writes it."""
        text = str(self)
        for option in self.options:
            text = text.replace(f"`{option}`", name(option))
        return text


class Interrupted(Exception):
    """Somebody stopped long work. The message says where it was saved; it can be resumed."""


def size_text(shape: Iterable[int]) -> str:
    """(512, 256) as "512x256", as people give it."""
    return "x".join(map(str, shape))


def see_info(*paths: Path) -> str:
    """Where to look, for remedies of what is wrong with a file's content."""
    return f"see zsd info {shlex.join(map(str, dict.fromkeys(paths[:2])))}"
