"""Put the plugin into a folder of Fiji or ImageJ, and tell it which `zsd` to call."""

import shutil
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from zsd_runtime.errors import InputError
from zsd_runtime.files import written_whole

JAR = "zsd_.jar"  # ImageJ treats a jar as a plugin only if its name has an underscore
# Read by Command.java. Without an underscore: ImageJ would take it for a macro.
COMMAND_FILE = "zsd-command.txt"
# What an ImageJ or a Fiji has beside its folder `plugins`: the program, its libraries, or its macros.
MARKS = ("ij.jar", "jars", "ImageJ*", "imagej*", "fiji*", "Fiji*", "macros")
EXPECTED = "a folder with `plugins` and with ij.jar, ImageJ-… or fiji in it"
REMEDY = "give the folder that Fiji or ImageJ is started from, such as Fiji.app"


@dataclass(frozen=True)
class Installed:
    """Where the plugin is now.

    Attributes
    ----------
    jar : Path
        The plugin.
    command : Path or None
        The `zsd` that it calls; None: the one on the PATH.
    replaced : bool
        Whether an earlier plugin was there.
    """

    jar: Path
    command: Path | None
    replaced: bool


def install(folder: Path) -> Installed:
    """Copy the plugin into an ImageJ, over an earlier one, and note the path of this Python's `zsd`.

    Parameters
    ----------
    folder : Path
        The folder of Fiji or ImageJ, or its folder `plugins`.

    Raises
    ------
    InputError
        When the folder is no ImageJ, has the plugin twice, or cannot be written to. Each file is written whole or not
        at all.
    """
    plugins = imagej_folder(folder) / "plugins"
    present = sorted(plugins.rglob(JAR))
    if len(present) > 1:
        where = ", ".join(map(str, present))
        raise InputError(f"the plugin is there {len(present)} times, expected once: {where}", "remove all but one")
    jar = present[0] if present else plugins / JAR
    command = own_command()
    # First the note: it does no harm without the plugin, but the plugin may not find its command without the note.
    if command:
        _write(plugins / COMMAND_FILE, f"{command}\n".encode())
    _write(jar, files("zsd_runtime.fiji").joinpath(JAR).read_bytes())
    return Installed(jar, command, bool(present))


def imagej_folder(folder: Path) -> Path:
    """The folder of an ImageJ: the one that is given, or the one that has it as its `plugins`.

    Raises
    ------
    InputError
        When it is none.
    """
    folder = folder.expanduser().absolute()
    if not folder.exists():
        raise InputError(f"{folder} does not exist, expected {EXPECTED}", REMEDY)
    if not folder.is_dir():
        raise InputError(f"{folder} is a file, expected {EXPECTED}", REMEDY)
    for home in (folder, folder.parent):
        if (home == folder or folder.name == "plugins") and (home / "plugins").is_dir() and any(_marks(home)):
            return home
    raise InputError(f"{folder} is no Fiji or ImageJ, expected {EXPECTED}", REMEDY)


def _marks(home: Path) -> Iterator[Path]:
    return (path for mark in MARKS for path in home.glob(mark))


def own_command() -> Path | None:
    """The `zsd` that is running, else the one that was installed with this Python."""
    running = Path(sys.argv[0])
    if running.stem == "zsd":
        found = shutil.which(running.name, path=str(running.absolute().parent))
        if found:
            return Path(found).absolute()
    beside = shutil.which("zsd", path=sysconfig.get_path("scripts"))
    return Path(beside).absolute() if beside else None


def _write(path: Path, content: bytes) -> None:
    try:
        with written_whole(path) as temporary:
            temporary.write_bytes(content)
    except InputError as error:
        if isinstance(error.__cause__, PermissionError):
            raise InputError(
                f"no permission to write {path}",
                "close ImageJ, and run this as somebody who may write there, or use an ImageJ in your home folder",
            ) from error
        raise
