"""`zsd export` and `zsd compress`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsd_export.options import Authors, Format, Licence, Name, Overwrite, Tags, writing
from zsd_runtime.cli import Quiet, command_line, progress_bar, reporting
from zsd_runtime.errors import InputError

if TYPE_CHECKING:
    from zsd_export.compare import Row

app = command_line()


@app.command()
def export(
    source: Annotated[Path, typer.Argument(help="Folder that `zsd train` wrote; or a package, to write it anew.")],
    package: Annotated[Path, typer.Argument(help="New folder, or new file ending in .zip.")],
    format: Format = "zoo",  # noqa: A002
    name: Name = None,
    author: Authors = None,
    licence: Licence = None,
    tag: Tags = None,
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
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write a model package: ONNX, description, page, cover, test and sample images, measured halo and memory.

    A package written from another has the same graph; its precision, input and output stay.
    """
    with reporting(quiet):
        graph: dict[str, Any] = {"precision": precision, "input": input_type, "output": output_type}
        graph = {option: value for option, value in graph.items() if value is not None}
        how = writing(format, name, author, licence, tag, overwrite, quiet)
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


@app.command()
def compress(
    run: Annotated[Path, typer.Argument(help="Folder that `zsd train` wrote: the teacher.")],
    out: Annotated[Path, typer.Argument(help="New run folder, to be exported like any other.")],
    width: Annotated[
        int | None, typer.Option(help="Prune: the run's own network with so many channels in its first level.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with any key of TrainConfig; [network] says what to make.")
    ] = None,
    image: Annotated[
        list[Path] | None, typer.Option(help="An image that the run was trained on; may be repeated. Else its sample.")
    ] = None,
    clean: Annotated[Path | None, typer.Option(help="The first image without noise, to compare with.")] = None,
    truth: Annotated[Path | None, typer.Option(help="The same without blur, on the grid of the deconvolved.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Time budget; if none is given 4, for volumes 15.")] = None,
    steps: Annotated[int | None, typer.Option(help="Budget in steps instead: repeatable.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, patches and noise.")] = None,
    device: Annotated[str | None, typer.Option(help="To learn on: auto, cpu or cuda.")] = None,
    axes: Annotated[
        str | None, typer.Option(help="Axes of the images, letters of TCZYX, overruling the files.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted one.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Teach a smaller network what a trained one does, and measure what that gains and costs.

    The network is that of the preset compact unless --width or --config says otherwise.
    OUT/compressed.json and compressed.png (teacher | compressed | difference × 10) hold the comparison.
    """
    with reporting(quiet):
        from zsd_export.compress import compress as make
        from zsd_optics.inputs import open_images
        from zsd_runtime.images import read_image
        from zsd_train.config import read_config
        from zsd_train.fit import Progress
        from zsd_train.training import Interrupted

        if (clean or truth) and not image:
            raise InputError("--clean and --truth are of an image: give it with --image")
        given = {"minutes": minutes, "steps": steps, "seed": seed, "device": device}
        choices = (read_config(config) if config else {}) | {k: v for k, v in given.items() if v is not None}
        truths = {n: read_image(p, axes).data for n, p in (("denoised", clean), ("deconvolved", truth)) if p}
        with progress_bar("distilling", quiet) as bar:

            def report(p: Progress) -> None:
                bar(p.fraction, str(p), bool(p.message))

            try:
                rows = make(
                    run, out, width=width, choices=choices, images=open_images(image, axes)[0] if image else [],
                    truths=truths, resume=resume, report=report,
                )  # fmt: skip
            except Interrupted as error:
                print(f"{'ERROR ' * quiet}{error}")
                raise typer.Exit(1) from None
        if as_json:
            print(json.dumps([asdict(row) for row in rows], indent=1))
            return
        if not quiet:
            print(table(rows))
        student = next(row for row in rows if row.name != rows[0].name)
        lost = ", ".join(f"{name} {loss:+.2f} dB" for name, loss in student.lost_db.items())
        print(f"OK {out} is {student.speedup:.1f} times as fast as {run}; lost of PSNR: {lost}")


def table(rows: list["Row"]) -> str:
    """For people: a line for each network and precision."""
    lines = [
        f"{'network':24} {'precision':9} {'parameters':>10} {'ONNX':>9} {'Mpx/s':>7} {'speed':>7}   "
        "dB lost: denoised, deconvolved" + ("; of truth" if rows[0].lost_of_truth_db else "")
    ]
    for row in rows:
        lost = [", ".join(f"{x:+.2f}" for x in db.values()) for db in (row.lost_db, row.lost_of_truth_db) if db]
        lines.append(
            f"{row.name[:24]:24} {row.precision:9} {row.parameters:>10} {row.size_mb:>6.1f} MB "
            f"{row.megapixels_per_s:>7.2f} {row.speedup:>6.2f}×   " + "; ".join(lost)
        )
    return "\n".join(lines)
