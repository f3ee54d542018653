"""The one exception for what a person can mend."""


class InputError(ValueError):
    """The user's input is at fault.

    The message names the value, what was expected, and the remedy; the command line prints it after
    ``error:`` and exits with status 2.
    """
