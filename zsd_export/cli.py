"""`zsd export`."""

from pathlib import Path
from typing import Annotated

import typer

from zsd_runtime.cli import Quiet, command_line, told

app = command_line()


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder that `zsd train` wrote.")],
    package: Annotated[Path, typer.Argument(help="New folder, or new file ending in .zip.")],
    name: Annotated[str | None, typer.Option(help="Name of the model; the run's if not given.")] = None,
    precision: Annotated[
        str, typer.Option(help="fp32, fp16 (for GPUs) or int8 (for CPUs, with OpenVINO); refused if PSNR suffers.")
    ] = "fp32",
    input_type: Annotated[
        str, typer.Option("--input", help="float32 (normalised outside of the graph) or uint16 (camera counts).")
    ] = "float32",
    output_type: Annotated[
        str, typer.Option("--output", help="float32 or, with --input uint16, uint16 (rounded, clipped).")
    ] = "float32",
    quiet: Quiet = False,
) -> None:
    """Write a model package: ONNX, BioImage.IO 0.5 description, test tensors, measured halo and memory."""
    with told(quiet):
        from zsd_export.export import export as write

        write(run, package, name=name, precision=precision, input=input_type, output=output_type)
        print(f"OK {package} written; its network agrees with the trained one")
