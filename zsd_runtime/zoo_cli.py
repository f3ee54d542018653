"""`zsd zoo list | show | get`; `make`, which needs torch, is in `zsd_export.zoo.cli`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from zsd_runtime.errors import InputError
from zsd_runtime.terminal import Quiet, command_line, reporting
from zsd_runtime.zoo import CARD, copy, entries, entry_of

app = command_line()
verbs = typer.Typer(
    no_args_is_help=True,
    help="Models that come with zsd. `zoo:NAME` stands for one wherever a PACKAGE is asked for, without `get`.",
)
app.add_typer(verbs, name="zoo")

Name = Annotated[str, typer.Argument(help="Name of a model, as `zsd zoo list` shows it.")]


@verbs.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the models that come with zsd."""
    with reporting():
        rows = [
            {
                "name": entry.name, "kind": entry.kind, "axes": entry.axes.upper(), "title": entry.title,
                "megabytes": round(entry.path(entry.content).stat().st_size / 1e6, 1),
            }
            for entry in entries().values()
        ]  # fmt: skip
        if as_json:
            print(json.dumps(rows, indent=1))
            return
        width = max(len(str(row["name"])) for row in rows)
        for kind, text in (
            ("model", "models, for zsd predict zoo:NAME"),
            ("start", "starting weights: zsd train begins with them"),
        ):
            print(f"{text}:")
            for row in rows:
                if row["kind"] == kind:
                    print(f"  {row['name']:<{width}}  {row['axes']:<3}  {row['megabytes']} MB  {row['title']}")
        print("zsd zoo show NAME says what a model is for, and what not")


@verbs.command()
def show(name: Name) -> None:
    """Print the card of a model: what it is for, what not, what it has seen, and how well it restores."""
    with reporting():
        print(entry_of(name).path(CARD).read_text("utf-8"), end="")


@verbs.command()
def get(
    name: Name,
    out: Annotated[Path, typer.Argument(help="New file: .zip for a model, .safetensors for starting weights.")],
    quiet: Quiet = False,
) -> None:
    """Copy the package of a model, for other programs (BioImage.IO, Fiji). zsd itself needs no copy."""
    with reporting(quiet):
        copy(entry_of(name), out)
        print(f"OK {out} written")


@verbs.command("make")
def make() -> None:
    """Make a model again from its recipe, and compare its scores with the recorded ones."""
    with reporting():  # only listed here: `zsd.py` gives this verb to `zsd_export.zoo.cli`
        raise InputError("zsd zoo make needs torch", "pip install 'zsd[export]'")
