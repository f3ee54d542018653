"""The options of every verb that writes a package, and the verb's answer to them."""

import re
import sys
from typing import Annotated, Any

import typer

from zsd_runtime.terminal import flag

Format = Annotated[
    str,
    typer.Option(
        help="zoo (BioImage.IO 0.5), deepimagej (0.4.10, for deepImageJ in Fiji) or triton (a model repository for an "
        "NVIDIA Triton server)."
    ),
]
Name = Annotated[str | None, typer.Option(help="Name of the model; the source's if not given.")]
Authors = Annotated[
    list[str] | None,
    typer.Option("--author", "--authors", help="'Name; affiliation' of a person who trained it; may be repeated."),
]
Licence = Annotated[
    str | None, typer.Option("--licence", "--license", help="SPDX licence of the weights, for instance CC-BY-4.0.")
]
Tags = Annotated[list[str] | None, typer.Option("--tag", "--tags", help="A tag to find it by; may be repeated.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the package that is there.")]


def writing(
    format: str,  # noqa: A002
    name: str | None,
    authors: list[str] | None,
    licence: str | None,
    tags: list[str] | None,
    overwrite: bool,
    quiet: bool,
) -> dict[str, Any]:
    """These options as `export`, `convert` and `import_keras` take them."""
    from zsd_export.package.credits import Credits

    def notice(text: str) -> None:
        if not quiet:
            print("warning: " + re.sub("`(\\w+)`", lambda option: flag(option[1]), text), file=sys.stderr)

    return {
        "credits": Credits(name, authors or (), licence, tags or ()),
        "format": format, "overwrite": overwrite, "notice": notice,
    }  # fmt: skip
