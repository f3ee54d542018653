"""`zsd info`: what zsd sees in a file."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from zsd_runtime.errors import InputError
from zsd_runtime.facts import facts_of, without_info
from zsd_runtime.facts_page import page
from zsd_runtime.options import Axes, Series
from zsd_runtime.terminal import command_line, flag, reporting

app = command_line()


@app.command()
def info(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Image files, or folders of them.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: an object, or a list of several FILEs.")] = False,
    axes: Axes = None,
    series: Series = None,
) -> None:
    """Show what zsd sees in a file.

    That is axes, sizes and where they come from, channels, series, intensities, pixels that are no data, and everything
    that zsd chose or could not read. Large files are quick: at most 16 planes are read.
    """
    with reporting():
        found: list[dict[str, Any]] = []
        failures: list[str] = []
        for file in files:
            try:
                facts = facts_of(file, axes, series)
            except InputError as error:
                plain = without_info(error)
                if len(files) == 1:
                    raise plain from None
                failures.append(plain.message(flag))
                facts = {"file": str(file), "error": failures[-1]}
            found.append(facts)
            if not as_json:
                print(page(facts) + "\n" * (len(files) > 1))
        if as_json:
            print(json.dumps(found[0] if len(files) == 1 else found, indent=1, ensure_ascii=False))
        if failures:
            raise InputError(f"{len(failures)} of {len(files)} files cannot be read; one of them: {failures[0]}")
