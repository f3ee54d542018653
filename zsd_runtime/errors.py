"""The one exception for what a person can mend, and how its messages write sizes."""

from collections.abc import Iterable


class InputError(ValueError):
    """The user's input is at fault.

    The message names the value, what was expected, and the remedy; the command line prints it after
    ``error:`` and exits with status 2.
    """


def size_text(shape: Iterable[int]) -> str:
    """(512, 256) as "512x256", as people give it."""
    return "x".join(map(str, shape))
