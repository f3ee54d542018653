"""The model zoo that comes with zsd: which models there are, and their files.

They are in the installed package `model_zoo`: index.toml, and a folder each with model.zip (starting weights have
weights.safetensors in its place), recipe.toml and card.md.
"""

import atexit
import difflib
import shutil
import tomllib
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

from zsd_runtime.errors import InputError
from zsd_runtime.files import written_whole

PREFIX = "zoo:"
PACKAGE, WEIGHTS, CARD, RECIPE = "model.zip", "weights.safetensors", "card.md", "recipe.toml"
SCHEMA = 1  # of index.toml


@dataclass(frozen=True)
class Entry:
    """A model of the zoo.

    Attributes
    ----------
    name : str
        Of its folder; ``zoo:NAME`` stands for its package.
    kind : {"model", "start"}
        A model restores images; starting weights are where a training begins.
    title : str
    axes : {"yx", "zyx"}
    """

    name: str
    kind: Literal["model", "start"]
    title: str
    axes: str

    @property
    def content(self) -> str:
        """The name of its file."""
        return PACKAGE if self.kind == "model" else WEIGHTS

    def path(self, name: str) -> Path:
        """One of its files."""
        return _folder() / self.name / name


@cache
def entries() -> dict[str, Entry]:
    """All models of the zoo, by name."""
    index = tomllib.loads((_folder() / "index.toml").read_text("utf-8"))
    if index.pop("schema", None) != SCHEMA:
        raise InputError("the model zoo is that of another version of zsd", "install zsd again")
    return {name: Entry(name, **values) for name, values in index.items()}


def entry_of(name: str) -> Entry:
    """A model by its name, with or without ``zoo:``.

    Raises
    ------
    InputError
        When there is none of that name.
    """
    name = name.removeprefix(PREFIX)
    if name in entries():
        return entries()[name]
    near = difflib.get_close_matches(name, entries(), 1, 0.4)
    remedy = f"did you mean {near[0]}? " if near else ""
    raise InputError(f"the model zoo has no {name!r}", f"{remedy}zsd zoo list shows all")


def package_path(package: str | Path) -> Path:
    """The path of a package: of ``zoo:NAME``, the one that came with zsd; any other path stands for itself.

    Raises
    ------
    InputError
        When the zoo has no model of that name, or only starting weights.
    """
    if not str(package).startswith(PREFIX):
        return Path(package)
    entry = entry_of(str(package))
    if entry.kind != "model":
        alike = [e.name for e in entries().values() if e.kind == "model" and e.axes == entry.axes]
        raise InputError(
            f"zoo:{entry.name} is no model, but weights that a training starts from",
            "train on your image, which starts from them" + (f", or take zoo:{alike[0]}" if alike else ""),
        )
    return entry.path(PACKAGE)


def copy(entry: Entry, to: Path) -> None:
    """Copy the package of a model, or starting weights, to a new file, whole or not at all.

    Raises
    ------
    InputError
        When the file exists, has another ending, or cannot be written.
    """
    suffix = Path(entry.content).suffix
    if to.suffix != suffix:
        raise InputError(f"{to} must end in {suffix}", f"for instance {entry.name}{suffix}")
    if to.exists() or to.is_symlink():
        raise InputError(f"{to} exists already", "choose another name")
    with written_whole(to) as temporary:
        shutil.copyfile(entry.path(entry.content), temporary)


@cache
def _folder() -> Path:
    """Where the zoo is; from a zip of Python code, which is rare, it is unpacked for as long as this process lives."""
    unpacked = ExitStack()
    atexit.register(unpacked.close)
    return unpacked.enter_context(as_file(files("model_zoo")))
