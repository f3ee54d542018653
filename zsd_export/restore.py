"""`zsd restore`: from noisy images and a PSF to restored images, in one command."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from math import prod
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from zsd_export.averaging import average_for
from zsd_optics import options as optics
from zsd_runtime.average import check_average
from zsd_runtime.batch import How, check_names, predict_files
from zsd_runtime.channel_models import load_models
from zsd_runtime.corrections.corrected import LINES, Corrections
from zsd_runtime.errors import InputError
from zsd_runtime.files import cannot_write
from zsd_runtime.images import Voxel, create_image, images_in, open_image, stem
from zsd_runtime.images.remote import local
from zsd_runtime.notices import notices
from zsd_runtime.raw_sim import seen_by
from zsd_runtime.sim.microscope import Sim
from zsd_runtime.sizes import sized
from zsd_runtime.terminal import Bar, Quiet, command_line, progress_bar, reporting
from zsd_train import options

MODEL, MODELS, RUN = "model.zip", "models", "run"

app = command_line()


@app.command("restore")
def _restore(
    images: options.Images,
    out: Annotated[Path, typer.Option(help="Folder for the results, the model and the run.")],
    psf: optics.Psfs = None,
    psf_pixel_size: optics.PsfPixelSize = None,
    psf_z_step: optics.PsfZStep = None,
    centre_psf: optics.CentrePsf = False,
    psf_sigma: optics.PsfSigma = None,
    na: optics.Na = None,
    wavelength: optics.Wavelength = None,
    refractive_index: optics.RefractiveIndex = None,
    otf: options.Otf = None,
    sim_parameters: options.SimParameters = None,
    pixel_size: optics.PixelSize = None,
    z_step: optics.ZStep = None,
    minutes: options.Minutes = None,
    steps: options.Steps = None,
    preset: options.Preset = None,
    scheme: options.Scheme = None,
    slices: options.Slices = None,
    frames: options.Frames = None,
    start: options.Start = None,
    config: options.ConfigFile = None,
    seed: options.Seed = None,
    device: options.Device = None,
    devices: options.Devices = None,
    axes: optics.Axes = None,
    series: optics.Series = None,
    channels: options.Channels = None,
    keep_hot_pixels: optics.KeepHotPixels = False,
    remove_lines: optics.RemoveLines = None,
    dark: optics.Dark = None,
    gain_map: optics.GainMap = None,
    average: Annotated[
        int | None,
        typer.Option(
            help="Average the results over flips and turns: 1 (none), 2 (the image and its mirror), 4 (flips) or 8 "
            "(flips and turns). Default: as many as leave PSF and noise as they are, if all images together have up "
            "to 2 megapixels."
        ),
    ] = None,
    resume: options.Resume = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier restoration in --out.")] = False,
    quiet: Quiet = False,
) -> None:
    """Denoise and deconvolve noisy images: train on them, export the model, and restore each image with it.

    OUT then holds <image>_denoised and <image>_deconvolved for every image, model.zip for further images, and the
    training run. Ctrl-C saves the run; --resume continues it. Several channels (--channels) are trained one after the
    other, each for --minutes; a result holds all of them, and the folder models has a model of each.
    """
    with reporting(quiet):
        if average is not None:  # before the images are read
            check_average(average)
        _check_alone(devices)
        described = {
            "psf": psf, "psf_pixel_size": psf_pixel_size, "psf_z_step": psf_z_step, "centre_psf": centre_psf,
            "psf_sigma": psf_sigma, "na": na, "wavelength": wavelength, "refractive_index": refractive_index,
        }  # fmt: skip
        files = images_in(images)
        tasks = options.tasks_of(
            files, described, axes=axes, series=series, channels=channels, pixel_size=pixel_size, z_step=z_step,
            config=config, preset=preset, scheme=scheme, slices=slices, frames=frames, start=start, minutes=minutes,
            steps=steps, seed=seed, device=device, notice=notices(quiet),
            hot_pixels="keep" if keep_hot_pixels else None, remove_lines=remove_lines, dark=dark, gain_map=gain_map,
            sim={"otf": otf, "parameters": sim_parameters}, devices=devices,
        )  # fmt: skip
        model, average = restore(
            files, tasks, out, axes=axes, series=series, typed=Voxel.square(pixel_size, z_step), resume=resume,
            overwrite=overwrite, average=average, progress=lambda title: progress_bar(title, quiet),
        )  # fmt: skip
        averaged = f" --average {average}" if average > 1 else ""
        print(f"OK results are in {out}; restore further images with: zsd predict {model} IMAGE --out {out}{averaged}")


def _check_alone(devices: int | None) -> None:
    """Refuse to be one of several processes: only a training is shared."""
    from zsd_train.processes import processes_for

    if processes_for(devices, None).environment is not None:
        raise InputError("a launcher has started zsd restore several times", "share a training: start zsd train so")


def restore(
    images: list[Path],
    tasks: list[options.Task],
    out: Path,
    *,
    axes: str | None = None,
    series: int | None = None,
    typed: Voxel | None = None,
    resume: bool = False,
    overwrite: bool = False,
    average: int | None = None,
    progress: Callable[[str], AbstractContextManager[Bar]] = lambda title: progress_bar(title, quiet=True),
) -> tuple[Path, int]:
    """Train on images, export the model, and restore the images with it.

    Parameters
    ----------
    images : list of path
        Image files.
    tasks : list of Task
        The training on these images, or one for each of their channels.
    out : path
        Folder for the results, <stem>_denoised and <stem>_deconvolved, for the model and the run.
    axes : str
        Letters of "TCZYX" that replace what the files say.
    series : int
        Which image of a file that holds several, from 0.
    typed : Voxel
        Sizes (µm) that replace what the files say.
    resume : bool
        Continue an interrupted restoration in `out`, from its beginning if nothing was saved.
    overwrite : bool
        Replace an earlier restoration in `out`.
    average : int
        Number of flips and turns that the results are averaged over: 1, 2, 4 or 8; None: `average_for` chooses.
    progress : callable
        Makes a progress bar from a title.

    Returns
    -------
    path
        The model package; a folder with one for each channel if there are several.
    int
        How many flips and turns were averaged.

    Raises
    ------
    InputError
        When `out` holds a restoration, a result would replace an image, or images cannot be trained with.
    Interrupted
        After Ctrl-C in the training, once the run is saved.
    """
    from zsd_train.networks.build import build

    if average is not None:
        check_average(average)
    run, model = out / RUN, out / (MODEL if len(tasks) == 1 else MODELS)
    packages = {run / task.folder: model / f"{task.folder}.zip" if task.folder else model for task in tasks}
    config = tasks[0].config
    check_names(images, build(config.network, config.axes).outputs, out)
    _check_place(images, out, list(packages.values()), resume=resume, overwrite=overwrite)
    started = _begun(run)
    with _set_aside(run, started and not resume):
        runs = options.train_each(tasks, run, progress, resume=resume and started)
    _export(packages, out, progress)
    if overwrite:
        _remove_others(out, list(packages.values()))
    corrections = Corrections(config.hot_pixels == "replace", tasks[0].camera_maps, LINES[config.remove_lines])
    if average is None:
        average = average_for(sum(prod(open_image(path, axes, series).data.shape) for path in images), runs)
    # What the files say was said when they were opened.
    how = How(out, axes, series=series, voxel=typed or Voxel(), corrections=corrections, average=average)
    device = "auto" if config.device == "mps" else config.device  # torch's name; engines have others for Apple machines
    with load_models(list(packages.values()), device) as opened:
        predict_files(opened, images, how, progress)
        if microscope := opened[0].description.sim:
            _write_reconstructions(images, microscope, how)
    return model, average


def _write_reconstructions(images: list[Path], microscope: Sim, how: How) -> None:
    """The reconstructions of raw SIM frames, smooth enough to look at."""
    for path in images:
        image = sized(open_image(path, how.axes, how.series), path, how.voxel)
        seen = seen_by(microscope.smoother(), image, str(path), corrections=how.corrections)
        if seen is not image:
            with create_image(how.out / f"{stem(path)}_sim.tif", seen) as target:
                whole = [slice(0, n) for n in seen.data.shape[-microscope.axes :]]
                for time in np.ndindex(seen.data.shape[: -microscope.axes]):
                    target[(*time, *whole)] = seen.data[(*time, *whole)]


def _remove_others(out: Path, packages: list[Path]) -> None:
    """Remove the models of an earlier restoration, of channels that are no more."""
    for old in (out / MODEL, *(out / MODELS).glob("*.zip")):
        if old not in packages:
            old.unlink(missing_ok=True)
    if (out / MODELS).is_dir() and not any((out / MODELS).iterdir()):
        (out / MODELS).rmdir()


def _begun(run: Path) -> bool:
    """Whether a training has saved something there, or in a folder for a channel."""
    return any((folder / "state.safetensors").exists() for folder in (run, *(run.iterdir() if run.is_dir() else ())))


def _check_place(images: list[Path], out: Path, packages: list[Path], *, resume: bool, overwrite: bool) -> None:
    """Raise `InputError` when something in `out` would be lost, before minutes of training."""
    from zsd_export.package.write import Destination

    run = local(out) / RUN
    inside = [image for image in images if run.resolve() in image.resolve().parents]
    if inside:
        raise InputError(f"{inside[0]} belongs to the run in {run}", "restore the image that it was made from")
    there = (out / MODEL).exists() or (out / MODELS).exists()
    if (_begun(run) or there) and not (overwrite or (resume and _begun(run))):
        raise InputError(
            f"{out} already holds a restoration",
            "choose another `out`, continue it with `resume`, or replace it with `overwrite`",
            option=("out", "resume", "overwrite"),
        )
    for package in packages:
        Destination(package, overwrite=True).check()


def _export(packages: dict[Path, Path], out: Path, progress: Callable[[str], AbstractContextManager[Bar]]) -> None:
    """Write the package of each run."""
    from zsd_export.export import export
    from zsd_export.package.credits import Credits, name_after

    with progress("exporting") as bar:
        for done, (run, package) in enumerate(packages.items()):
            channel = f" {run.name}" if len(packages) > 1 else ""
            bar(done / len(packages), f"exporting: measuring the model{channel}", milestone=True)
            export(run, package, credits=Credits(name_after(out.resolve().name + channel)), overwrite=True)
        bar(1)


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
