"""`zsd compare`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from zsd_optics import options as optics
from zsd_runtime.errors import InputError
from zsd_runtime.terminal import Quiet, command_line, progress_bar, reporting
from zsd_train.options import Device, Gain, Minutes, Offset, ReadNoise, Seed, Steps

app = command_line()


@app.command("compare")
def _compare(
    image: Annotated[Path, typer.Argument(help="One noisy plane; of a movie or a stack, with --frame.")],
    out: Annotated[
        Path, typer.Option(help="Folder for the results, table.md, scores.json, comparison.png and trained models.")
    ],
    methods: Annotated[
        list[str] | None,
        typer.Option(
            help="Filters with settings (gaussian:sigma=1.5), trainings (zsd, or a scheme of zsd train), and packages "
            "(model.zip, zoo:NAME), with commas between; may be repeated. Default: box,gaussian,median,nlm, and with a "
            "PSF also richardson-lucy,wiener,zsd."
        ),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="The image without noise, on its own grid, in camera counts with the offset.")
    ] = None,
    truth_deconvolved: Annotated[
        Path | None,
        typer.Option(help="Also without blur, on the image's grid or a finer one, in counts above the offset."),
    ] = None,
    detail: Annotated[
        str | None,
        typer.Option(
            help="What the picture shows: Y,X,SIZE, a square's upper left corner and side, raw pixels; default: the "
            "96 x 96 with most bright structure."
        ),
    ] = None,
    frame: Annotated[int | None, typer.Option(help="Which plane of a movie or a stack, from 0.")] = None,
    minutes: Minutes = None,
    steps: Steps = None,
    seed: Seed = None,
    device: Device = None,
    offset: Offset = None,
    gain: Gain = None,
    read_noise: ReadNoise = None,
    psf: optics.Psf = None,
    psf_pixel_size: optics.PsfPixelSize = None,
    psf_z_step: optics.PsfZStep = None,
    centre_psf: optics.CentrePsf = False,
    psf_sigma: optics.PsfSigma = None,
    na: optics.Na = None,
    wavelength: optics.Wavelength = None,
    refractive_index: optics.RefractiveIndex = None,
    pixel_size: optics.PixelSize = None,
    axes: optics.Axes = None,
    series: optics.Series = None,
    channels: optics.Channels = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier comparison in --out.")] = False,
    quiet: Quiet = False,
) -> None:
    """Restore one image with filters, trainings and packages, and compare what they make of it.

    OUT then holds <image>_<method>.tif of each (and _deconvolved), a table of scores, scores.json, and a picture with
    the same detail of all. With --truth the scores say how near each result is to it; without, only whether what was
    taken away looks like noise. If a method fails, the others still run, and the exit status is not 0.
    """
    with reporting(quiet):
        from zsd_export.comparison.methods import methods_from
        from zsd_export.comparison.picture import detail_from
        from zsd_export.comparison.side_by_side import SCORES, TABLE, compare_methods
        from zsd_export.comparison.subject import Subject, check_truths, read_plane, read_truth
        from zsd_optics.filter_kinds import noise_of
        from zsd_optics.psf_options import psf_sources_of
        from zsd_runtime.images import Voxel, stem
        from zsd_runtime.notices import notices

        described: dict[str, Any] = {
            "psf": psf and [psf], "psf_pixel_size": psf_pixel_size, "psf_z_step": psf_z_step, "centre_psf": centre_psf,
            "psf_sigma": psf_sigma, "na": na, "wavelength": wavelength, "refractive_index": refractive_index,
        }  # fmt: skip
        psf_given = any(described.values())
        chosen = methods_from(methods, psf_given)
        if (out / SCORES).exists() and not overwrite:
            raise InputError(
                f"{out} already holds a comparison", "choose another `out`, or replace it with `overwrite`",
                option=("out", "overwrite"),
            )  # fmt: skip
        notice = notices(quiet)
        plane, channel = read_plane(
            image, frame, axes=axes, series=series, channels=channels, typed=Voxel.square(pixel_size), notice=notice
        )
        truths = {"truth": truth, "truth_deconvolved": truth_deconvolved}
        compared = {
            name: read_truth(path, frame, name, axes=axes, channels=channels) for name, path in truths.items() if path
        }
        check_truths(plane.data, compared.get("truth"), compared.get("truth_deconvolved"))
        given = {"offset": offset, "gain": gain, "read_noise": read_noise}
        camera = {option: value for option, value in given.items() if value is not None}
        source = psf_sources_of([channel], **described, notice=notice)[0] if psf_given else None
        noise = noise_of({} if set(camera) <= {"offset"} else camera, plane)
        subject = Subject(stem(image), plane, noise, camera, source, channel, **compared)
        shown = detail_from(detail, compared.get("truth", plane.data))
        trainings = {"minutes": minutes, "steps": steps, "seed": seed, "device": device}
        rows, failures = compare_methods(
            chosen, subject, out, detail=shown, notice=notice, progress=lambda title: progress_bar(title, quiet),
            trainings={option: value for option, value in trainings.items() if value is not None},
            made_with={"image": str(image), "frame": frame, **{n: path and str(path) for n, path in truths.items()}},
        )  # fmt: skip
        if not quiet:
            print((out / TABLE).read_text("utf-8"))
        if failures:
            text, error = next(iter(failures.items()))
            message = f"{len(failures)} of {len(chosen)} methods failed; {text}: {error}"
            serious = not all(isinstance(failure, InputError) for failure in failures.values())
            raise RuntimeError(message) if serious else InputError(message, option=getattr(error, "options", ()))
        print(f"OK {len(rows) - 1} results of {len(chosen)} methods are compared in {out}")
