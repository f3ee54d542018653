"""Options of every verb that writes a package."""

import sys
from collections.abc import Callable
from typing import Annotated

import typer

Format = Annotated[str, typer.Option(help="zoo (BioImage.IO 0.5) or deepimagej (0.4.10, for deepImageJ in Fiji).")]
Name = Annotated[str | None, typer.Option(help="Name of the model; the source's if not given.")]
Authors = Annotated[list[str] | None, typer.Option(help="'Name; affiliation' of who trained it; may be repeated.")]
Licence = Annotated[
    str | None, typer.Option("--licence", "--license", help="Of the weights, SPDX, for instance CC-BY-4.0.")
]
Tags = Annotated[list[str] | None, typer.Option(help="A tag to be found by; may be repeated.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the package that is there.")]


def warn(quiet: bool) -> Callable[[str], None]:
    """What tells a person of what is missing; nothing if `quiet`."""
    return lambda text: None if quiet else print(f"warning: {text}", file=sys.stderr)
