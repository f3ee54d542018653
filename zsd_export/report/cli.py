"""`zsd report`."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from zsd_optics import options as optics
from zsd_runtime.errors import InputError
from zsd_runtime.files import written_whole
from zsd_runtime.images import Voxel
from zsd_runtime.notices import notices
from zsd_runtime.terminal import Quiet, command_line, progress_bar, reporting

app = command_line()


@app.command("report")
def _report(
    package: Annotated[
        Path, typer.Argument(metavar="RUN|PACKAGE", help="A model package, or the folder of a training run.")
    ],
    image: Annotated[Path, typer.Argument(help="The noisy image: a plane or a volume; of a movie, with --frame.")],
    out: Annotated[Path, typer.Option(help="The page, ending in .html; its numbers come beside it, as .json.")],
    truth: Annotated[
        Path | None, typer.Option(help="The image without noise, on its own grid, in camera counts with the offset.")
    ] = None,
    truth_deconvolved: Annotated[
        Path | None,
        typer.Option(help="Also without blur, on the image's grid or a finer one, in counts above the offset."),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Of a package: the training run that it comes from, for its PSF and its course.")
    ] = None,
    frame: Annotated[
        int | None, typer.Option(help="Which plane, or volume, of a file that holds several, from 0.")
    ] = None,
    uncertainty: Annotated[
        int, typer.Option(help="How often the image is recorded and restored again; 0: not at all.")
    ] = 8,
    psf: optics.Psf = None,
    psf_pixel_size: optics.PsfPixelSize = None,
    psf_z_step: optics.PsfZStep = None,
    centre_psf: optics.CentrePsf = False,
    psf_sigma: optics.PsfSigma = None,
    na: optics.Na = None,
    wavelength: optics.Wavelength = None,
    refractive_index: optics.RefractiveIndex = None,
    pixel_size: optics.PixelSize = None,
    z_step: optics.ZStep = None,
    axes: optics.Axes = None,
    series: optics.Series = None,
    channels: optics.Channels = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier report.")] = False,
    quiet: Quiet = False,
) -> None:
    """Judge what a model makes of an image: one page with pictures, numbers, traffic lights and how to read them.

    It needs no truth. The page opens offline; if the model was not made for the image, that stands first. The PSF comes
    from the run, or from the options; without one, what needs it is left out.
    """
    with reporting(quiet):
        described: dict[str, Any] = {
            "psf": psf and [psf], "psf_pixel_size": psf_pixel_size, "psf_z_step": psf_z_step, "centre_psf": centre_psf,
            "psf_sigma": psf_sigma, "na": na, "wavelength": wavelength, "refractive_index": refractive_index,
        }  # fmt: skip
        given = any(value is not None and value is not False for value in described.values())
        numbers = _checked(out, overwrite=overwrite)
        if uncertainty < 0 or uncertainty == 1:
            raise InputError(f"`uncertainty` {uncertainty} must be 0 or from 2 on", option="uncertainty")

        from zsd_export.report.page import html
        from zsd_export.report.report import judge
        from zsd_export.report.subject import Subject
        from zsd_optics.psf_options import psf_sources_of

        notice = notices(quiet)

        def source(subject: Subject) -> Any:
            return psf_sources_of([subject.channel], **described, notice=notice)[0]

        with progress_bar("reporting", quiet) as bar:
            report = judge(
                package, image, truth=truth, truth_deconvolved=truth_deconvolved, psf=source if given else None,
                run=run, frame=frame, axes=axes, series=series, channels=channels,
                voxel=Voxel.square(pixel_size, z_step), uncertainty=uncertainty,
                command=shlex.join(["zsd", *sys.argv[1:]]), notice=notice,
                progress=lambda share, text: bar(share, text, milestone=bool(text)),
            )  # fmt: skip
        page, facts = html(report), json.dumps(report.as_json(), indent=1, allow_nan=False) + "\n"
        with written_whole(out) as first, written_whole(numbers) as second:
            first.write_text(page, "utf-8")
            second.write_text(facts, "utf-8")
        counts = ", ".join(f"{n} {light}" for light, n in report.as_json()["counts"].items() if n)
        print(f"OK {out} says {report.light} ({counts})")


def _checked(out: Path, *, overwrite: bool) -> Path:
    """Where the numbers go; an `InputError` if either file must not be written."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"`out` {out} must end in .html", "for instance report.html", option="out")
    numbers = out.with_suffix(".json")
    for path in (out, numbers):
        if path.is_dir():
            raise InputError(f"{path} is a folder", "choose another `out`", option="out")
        if path.exists() and not overwrite:
            raise InputError(
                f"{path} already exists", "choose another `out`, or replace it with `overwrite`",
                option=("out", "overwrite"),
            )  # fmt: skip
    return numbers
