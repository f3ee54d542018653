"""`zsd restore`: from noisy images and a PSF to restored images, in one command."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from zsd_optics import options as optics
from zsd_optics.psf_source import psf_source_of
from zsd_runtime.cli import How, check_names, predict_files
from zsd_runtime.errors import InputError
from zsd_runtime.files import cannot_write
from zsd_runtime.images import image_files
from zsd_runtime.model import load_model
from zsd_runtime.terminal import Bar, Quiet, command_line, progress_bar, reporting
from zsd_train import options

MODEL, RUN = "model.zip", "run"

app = command_line()


@app.command("restore")
def _restore(
    images: options.Images,
    out: Annotated[Path, typer.Option(help="Folder for the results, the model and the run.")],
    psf: optics.Psf = None,
    psf_pixel_size: optics.PsfPixelSize = None,
    psf_z_step: optics.PsfZStep = None,
    centre_psf: optics.CentrePsf = False,
    psf_sigma: optics.PsfSigma = None,
    na: optics.Na = None,
    wavelength: optics.Wavelength = None,
    refractive_index: optics.RefractiveIndex = 1.515,
    pixel_size: optics.PixelSize = None,
    z_step: optics.ZStep = None,
    minutes: options.Minutes = None,
    steps: options.Steps = None,
    preset: options.Preset = None,
    scheme: options.Scheme = None,
    config: options.ConfigFile = None,
    seed: options.Seed = None,
    device: options.Device = None,
    axes: optics.Axes = None,
    resume: options.Resume = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier restoration in --out.")] = False,
    quiet: Quiet = False,
) -> None:
    """Denoise and deconvolve noisy images: train on them, export the model, and restore each image with it.

    OUT then holds <image>_denoised and <image>_deconvolved for every image, model.zip for further images, and the
    training run. Ctrl-C saves the run; --resume continues it.
    """
    with reporting(quiet):
        source = psf_source_of(
            psf=psf, psf_pixel_size=psf_pixel_size, psf_z_step=psf_z_step, centre_psf=centre_psf, psf_sigma=psf_sigma,
            na=na, wavelength=wavelength, refractive_index=refractive_index,
        )  # fmt: skip
        files = [file for path in images for file in image_files(path)]
        task = options.task_of(
            files, source, axes=axes, pixel_size=pixel_size, z_step=z_step, config=config, preset=preset,
            scheme=scheme, minutes=minutes, steps=steps, seed=seed, device=device,
        )  # fmt: skip
        model = restore(
            files, task, out, axes=axes, resume=resume, overwrite=overwrite,
            progress=lambda title: progress_bar(title, quiet),
        )  # fmt: skip
        print(f"OK results are in {out}; restore further images with: zsd predict {model} IMAGE --out {out}")


def restore(
    images: list[Path],
    task: options.Task,
    out: Path,
    *,
    axes: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[str], AbstractContextManager[Bar]] = lambda title: progress_bar(title, quiet=True),
) -> Path:
    """Train on images, export the model, and restore the images with it.

    Parameters
    ----------
    images : list of path
        Image files.
    task : Task
        The training on these images.
    out : path
        Folder for the results, <stem>_denoised and <stem>_deconvolved, for the model and the run.
    axes : str
        Letters of "TCZYX" that replace what the files say.
    resume : bool
        Continue an interrupted restoration in `out`, from its beginning if nothing was saved.
    overwrite : bool
        Replace an earlier restoration in `out`.
    progress : callable
        Makes a progress bar from a title.

    Returns
    -------
    path
        The model package.

    Raises
    ------
    InputError
        When `out` holds a restoration, a result would replace an image, or images cannot be trained with.
    Interrupted
        After Ctrl-C in the training, once the run is saved.
    """
    from zsd_export.export import export
    from zsd_export.package.credits import Credits, name_after
    from zsd_export.package.write import Destination
    from zsd_train.networks.build import build

    run, model = out / RUN, out / MODEL
    check_names(images, build(task.config.network, task.config.axes).outputs, out)
    started = (run / "state.safetensors").exists()
    inside = [image for image in images if run.resolve() in image.resolve().parents]
    if inside:
        raise InputError(f"{inside[0]} belongs to the run in {run}", "restore the image that it was made from")
    if (started or model.exists()) and not (overwrite or (resume and started)):
        raise InputError(
            f"{out} already holds a restoration",
            "choose another `out`, continue it with `resume`, or replace it with `overwrite`",
            option=("out", "resume", "overwrite"),
        )
    Destination(model, overwrite=True).check()  # before minutes of training
    with _set_aside(run, started and not resume), progress("training") as bar:
        task.train(run, bar, resume=resume and started)
    with progress("exporting") as bar:
        bar(0, "exporting: measuring the model", milestone=True)
        export(run, model, credits=Credits(name_after(out.resolve().name)), overwrite=True)
        bar(1)
    with load_model(model, task.config.device) as opened:
        predict_files(opened, images, How(out, axes), progress)
    return model


@contextmanager
def _set_aside(run: Path, replaced: bool) -> Iterator[None]:
    """Keep a run that is to be `replaced` until its successor has begun: it comes back if that is refused."""
    old = run.with_name(f".{run.name}.old")
    if replaced:
        try:
            run.rename(old)
        except OSError as error:
            raise cannot_write(run, error) from error
    try:
        yield
    except BaseException:
        if replaced and not run.exists():
            old.rename(run)
        raise
    finally:
        if run.exists():
            shutil.rmtree(old, ignore_errors=True)
