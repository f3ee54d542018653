"""The libraries of the extra `vendor`, imported when a file needs one."""

from importlib import import_module
from pathlib import Path
from typing import Any

from zsd_runtime.errors import InputError


def library(module: str, path: Path) -> Any:
    """Import what reads `path`.

    Raises
    ------
    InputError
        When it is not installed, or does not load.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise InputError(f"{path} is read by {package}, which is missing: pip install 'zsd[vendor]'") from None
    except ImportError as error:
        raise InputError(
            f"{path} is read by {package}, which does not load ({error})", "pip install --force-reinstall 'zsd[vendor]'"
        ) from None


def check_start(path: Path, kind: str, *starts: bytes) -> None:
    """Raise `InputError` unless the file begins with one of `starts`."""
    with path.open("rb") as file:
        found = file.read(max(map(len, starts)))
    if not found.startswith(starts):
        raise InputError(
            f"{path} is not a readable {kind}: it does not begin like one",
            "copy it again, or correct its ending if it is of another format",
        )
