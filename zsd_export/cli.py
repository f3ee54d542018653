"""`zsd export` and `zsd compress`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsd_export.options import Authors, Format, Licence, Name, Overwrite, Tags, writing
from zsd_optics.options import Axes
from zsd_runtime.errors import InputError
from zsd_runtime.terminal import Quiet, command_line, numbers, progress_bar, reporting
from zsd_runtime.zoo import package_path
from zsd_train.options import Device, Minutes, Resume, Seed, Steps

if TYPE_CHECKING:
    from zsd_export.compare import Row

SHORT = 0.95  # of the wanted frame rate: below it, the finished network is too slow

app = command_line()


@app.command()
def export(
    source: Annotated[
        Path,
        typer.Argument(help="Folder that `zsd train` wrote, also of several channels; or a package, also zoo:NAME."),
    ],
    package: Annotated[
        Path, typer.Argument(help="New folder, or new file ending in .zip; of several channels, a folder for them.")
    ],
    format: Format = "zoo",  # noqa: A002
    name: Name = None,
    author: Authors = None,
    licence: Licence = None,
    tag: Tags = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32 (default), fp16 (for GPUs) or int8 (for CPUs, with OpenVINO); refused if PSNR suffers.",
        ),
    ] = None,
    input_type: Annotated[
        str | None,
        typer.Option("--input", help="float32 (default: normalised outside the graph) or uint16 (camera counts)."),
    ] = None,
    output_type: Annotated[
        str | None,
        typer.Option("--output", help="float32 (default) or, with --input uint16, uint16 (rounded, clipped)."),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write a model package: ONNX, description, page, cover, test and sample images, measured halo and memory.

    A package written from another keeps its graph, with its precision, input and output.
    """
    with reporting(quiet):
        graph: dict[str, Any] = {"precision": precision, "input": input_type, "output": output_type}
        graph = {option: value for option, value in graph.items() if value is not None}
        how = writing(format, name, author, licence, tag, overwrite, quiet)
        source = package_path(source)
        if (source / "config.toml").exists() or not (source.is_file() or (source / "rdf.yaml").exists()):
            from zsd_export.channels import packages_of
            from zsd_export.export import export as write

            for run, to in packages_of(source, package, overwrite=overwrite).items():
                write(run, to, **graph, **how)
                print(f"OK {to} written; its network agrees with the trained one")
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
    out: Annotated[Path, typer.Argument(help="New run folder; export it like any other.")],
    width: Annotated[
        int | None, typer.Option(help="Prune: the run's own network with this number of channels in its first level.")
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            help="Instead of --width: the largest width that restores this many frames a second on this machine; "
            "networks of several widths are timed first."
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="With --fps: size of a frame, [Zx]YxX, pixels; by default that of the run's image."),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="With --fps: auto (default), onnxruntime, openvino, tensorrt or coreml.")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="With --fps: fp32 (default), bf16 (only openvino on a CPU), fp16 (GPUs) or int8 (CPUs)."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file with any key of TrainConfig; [network] is the smaller one."),
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(help="A training image of the run; may be repeated. Default: the run's sample."),
    ] = None,
    clean: Annotated[Path | None, typer.Option(help="The first image without noise, to compare with.")] = None,
    truth: Annotated[Path | None, typer.Option(help="The same also without blur, on the deconvolved grid.")] = None,
    minutes: Minutes = None,
    steps: Steps = None,
    seed: Seed = None,
    device: Device = None,
    axes: Axes = None,
    resume: Resume = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Teach a smaller network to do the same as a trained one, and measure gains and losses.

    The smaller network is that of the preset compact, unless --width, --fps or --config describes another.
    OUT/compressed.json and compressed.png (teacher | compressed | difference × 10) hold the comparison.
    """
    with reporting(quiet):
        from zsd_export.compress import compress as make
        from zsd_export.frame_rate import FrameRate
        from zsd_optics.inputs import open_images
        from zsd_runtime.images import images_in, read_image
        from zsd_train.config import read_config

        if (clean or truth) and not image:
            raise InputError("--clean and --truth belong to an image: give it with --image")
        timing: dict[str, Any] = {"size": numbers(size, "--size"), "engine": engine, "precision": precision}
        timing = {name: value for name, value in timing.items() if value is not None}
        if timing and fps is None:
            raise InputError(f"--{next(iter(timing))} belongs to a frame rate: give it with --fps")
        given = {"minutes": minutes, "steps": steps, "seed": seed, "device": device}
        choices = (read_config(config) if config else {}) | {k: v for k, v in given.items() if v is not None}
        truths = {n: read_image(p, axes).data for n, p in (("denoised", clean), ("deconvolved", truth)) if p}
        with progress_bar("distilling", quiet) as bar:

            def said(text: str) -> None:
                bar(0, text, milestone=True)

            rows = make(
                run, out, width=width, rate=None if fps is None else FrameRate(fps, **timing), choices=choices,
                images=open_images(images_in(image), axes).arrays(notice=said) if image else [],
                truths=truths, resume=resume, report=lambda p: bar(p.fraction, str(p), bool(p.message)),
                notice=said,
            )  # fmt: skip
        if as_json:
            print(json.dumps([asdict(row) for row in rows], indent=1))
            return
        if not quiet:
            print(table(rows))
        if fps is not None:
            print(rate_line(out, rows))
            return
        student = next(row for row in rows if row.name != rows[0].name)
        lost = ", ".join(f"{name} {loss:+.2f} dB" for name, loss in student.lost_db.items())
        print(f"OK {out} is {student.speedup:.1f} times as fast as {run}; lost of PSNR: {lost}")


def rate_line(out: Path, rows: list["Row"]) -> str:
    """The last line of `zsd compress --fps`."""
    rate = json.loads((out / "compressed.json").read_text("utf-8"))["frame_rate"]
    packaged = "fp32" if rate["precision"] == "bf16" else rate["precision"]
    student = next(row for row in rows if row.name != rows[0].name and row.precision == packaged)
    lost = ", ".join(f"{name} {loss:+.2f} dB" for name, loss in student.lost_db.items())
    slow = ": slower than wanted, is the machine busy?" if rate["frames_per_s"] < SHORT * rate["fps"] else ""
    export = "" if packaged == "fp32" else f"; export it with --precision {packaged}"
    return (
        f"OK {out} has width {rate['width']} and restores {rate['frames_per_s']:.1f} frames/s of {rate['size']} "
        f"({rate['engine']}; {rate['fps']:g} wanted{slow}); lost of PSNR: {lost}{export}"
    )


def table(rows: list["Row"]) -> str:
    """A line for each network and precision."""
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
