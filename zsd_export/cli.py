"""`zsd export`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from zsd_runtime.cli import Quiet, command_line, told
from zsd_runtime.errors import InputError

app = command_line()


@app.command()
def export(
    source: Annotated[Path, typer.Argument(help="Folder that `zsd train` wrote; or a package, to write it anew.")],
    package: Annotated[Path, typer.Argument(help="New folder, or new file ending in .zip.")],
    format: Annotated[  # noqa: A002
        str, typer.Option(help="zoo (BioImage.IO 0.5) or deepimagej (0.4.10, for deepImageJ in Fiji).")
    ] = "zoo",
    name: Annotated[str | None, typer.Option(help="Name of the model; the source's if not given.")] = None,
    author: Annotated[
        list[str] | None, typer.Option(help="'Name; affiliation' of who trained it; may be repeated.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", "--license", help="Of the weights, SPDX, for instance CC-BY-4.0.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag to be found by; may be repeated.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32 (if not given), fp16 (for GPUs) or int8 (for CPUs, with OpenVINO); refused if PSNR suffers.",
        ),
    ] = None,
    input_type: Annotated[
        str | None,
        typer.Option("--input", help="float32 (if not given: normalised outside of the graph) or uint16 (counts)."),
    ] = None,
    output_type: Annotated[
        str | None,
        typer.Option("--output", help="float32 (if not given) or, with --input uint16, uint16 (rounded, clipped)."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the package that is there.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write a model package: ONNX, description, page, cover, test and sample images, measured halo and memory.

    A package written from another has the same graph; its precision, input and output stay.
    """
    with told(quiet):
        graph: dict[str, Any] = {
            option: value
            for option, value in (("precision", precision), ("input", input_type), ("output", output_type))
            if value is not None
        }
        how: dict[str, Any] = {
            "format": format, "name": name, "authors": author or (), "licence": licence, "tags": tag or (),
            "overwrite": overwrite, "notice": (lambda text: None) if quiet else _warn,
        }  # fmt: skip
        if (source / "config.toml").exists() or not (source.is_file() or (source / "rdf.yaml").exists()):
            from zsd_export.export import export as write

            write(source, package, **graph, **how)
            print(f"OK {package} written; its network agrees with the trained one")
            return
        if graph:
            options = ", ".join(f"--{option}" for option in graph)
            raise InputError(f"{source} is a package, whose graph stays as it is: leave {options} out, or give its run")
        from zsd_export.convert import convert

        convert(source, package, **how)
        print(f"OK {package} written, with the graph of {source}")


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)
