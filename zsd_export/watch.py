"""`zsd watch`: restore what a microscope writes to a folder; if there is no model yet, train it on the first image."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from zsd_optics import options as optics
from zsd_runtime.average import check_average
from zsd_runtime.batch import FORMATS, How
from zsd_runtime.channel_models import load_models, packages_in
from zsd_runtime.corrections.corrected import corrections_of
from zsd_runtime.errors import InputError, Interrupted
from zsd_runtime.images import Voxel
from zsd_runtime.notices import notices
from zsd_runtime.options import Average
from zsd_runtime.summary import Restored
from zsd_runtime.terminal import Quiet, command_line, progress_bar, reporting
from zsd_runtime.watch.marks import Marks, alone
from zsd_runtime.watch.run import Tally, check_places, fingerprint, follow, looks_of, restorer
from zsd_runtime.watch.watch import Watch
from zsd_train import options

RUN = "run"

app = command_line()


@app.command()
def watch(
    package: Annotated[
        Path,
        typer.Argument(help="Model package, as for zsd predict; with --train-first, a zip that need not exist yet."),
    ],
    folder: Annotated[Path, typer.Argument(help="Folder that the microscope writes to. Folders in it are left alone.")],
    out: Annotated[Path, typer.Option(help="Folder for the results, and for marks of what is done (.zsd-watch).")],
    once: Annotated[bool, typer.Option("--once", help="Restore what is there, and end.")] = False,
    settle: Annotated[
        float,
        typer.Option(help="Seconds without a change until a file is finished; OME-Zarr: five times as long."),
    ] = 3.0,
    poll: Annotated[float, typer.Option(help="Seconds between two looks at the folder.")] = 1.0,
    train_first: Annotated[
        bool, typer.Option("--train-first", help="If PACKAGE does not exist, train it on the first finished image.")
    ] = False,
    psf: optics.Psfs = None,
    psf_pixel_size: optics.PsfPixelSize = None,
    psf_z_step: optics.PsfZStep = None,
    psf_sigma: optics.PsfSigma = None,
    na: optics.Na = None,
    wavelength: optics.Wavelength = None,
    refractive_index: optics.RefractiveIndex = None,
    minutes: options.Minutes = None,
    steps: options.Steps = None,
    scheme: options.Scheme = None,
    config: options.ConfigFile = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, intel or apple.")] = "auto",
    engine: Annotated[str, typer.Option(help="auto, onnxruntime, openvino, tensorrt or coreml.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto (the package's own), fp32, bf16, fp16 or int8.")] = "auto",
    memory: Annotated[float | None, typer.Option(help="Memory to use, GB; by default half of the free memory.")] = None,
    axes: optics.Axes = None,
    series: optics.Series = None,
    channel: Annotated[str | None, typer.Option(help="Channels to restore, as for zsd predict.")] = None,
    pixel_size: optics.PixelSize = None,
    z_step: optics.ZStep = None,
    dtype: Annotated[str, typer.Option(help="Of the results: float32, or uint16.")] = "float32",
    format: Annotated[str, typer.Option(help="Of the results: auto (as the image), tiff or zarr.")] = "auto",  # noqa: A002
    keep_hot_pixels: optics.KeepHotPixels = False,
    remove_lines: optics.RemoveLines = None,
    dark: optics.Dark = None,
    gain_map: optics.GainMap = None,
    average: Average = 1,
    quiet: Quiet = False,
) -> None:
    """Restore each image in a folder once, when it is finished, until Ctrl-C.

    A file is finished when it did not change for --settle seconds and opens. Start the same command again after an
    interruption: what is done stays done. Bad files are reported, and tried again when they change.
    """
    with reporting(quiet):
        looks = looks_of(settle, poll)
        check_places(folder, out)
        check_average(average)
        for option, value, known in (("dtype", dtype, ("float32", "uint16")), ("format", format, FORMATS)):
            if value not in known:
                raise InputError(f"--{option} {value} must be {' or '.join(known)}")
        if memory is not None and not 0 < memory < float("inf"):
            raise InputError(f"--memory {memory:g} must be a number of GB above 0")
        tally = Tally(quiet)
        how = How(
            out, axes, None, None if memory is None else int(memory * 1e9), dtype, format, series, channel,
            Voxel.square(pixel_size, z_step), notices(quiet),
            corrections_of(keep_hot_pixels=keep_hot_pixels, remove_lines=remove_lines, dark=dark, gain_map=gain_map),
            average,
        )  # fmt: skip
        training: dict[str, Any] = {
            "axes": axes, "series": series, "channels": channel, "pixel_size": pixel_size, "z_step": z_step,
            "config": config, "scheme": scheme, "minutes": minutes, "steps": steps, "notice": how.notice,
            "device": device if device in ("cpu", "cuda") else None,
            "hot_pixels": "keep" if keep_hot_pixels else None, "remove_lines": remove_lines, "dark": dark,
            "gain_map": gain_map,
        }  # fmt: skip
        described = {
            "psf": psf, "psf_pixel_size": psf_pixel_size, "psf_z_step": psf_z_step, "psf_sigma": psf_sigma, "na": na,
            "wavelength": wavelength, "refractive_index": refractive_index,
        }  # fmt: skip
        if not train_first and (any(described.values()) or minutes or steps or scheme or config):
            raise InputError("options of a training were given without --train-first", "give it, or leave them out")
        if train_first and not package.exists():
            _check_training(package, described, scheme, config)
        with alone(out) as marks:
            try:
                if train_first and not package.exists():
                    _train_first(package, folder, out, looks, poll, tally, once, described, training)
                with load_models(packages_in(package), device, engine=engine, precision=precision) as models:
                    done = Marks(marks, fingerprint(models))
                    tally.say(f"watching {folder}; Ctrl-C ends")
                    restore = restorer(models, how, quiet)
                    watching = Watch(folder, restore, done, looks, axes=axes, series=series, once=once)
                    follow(watching, poll, tally, once=once)
            except KeyboardInterrupt:  # the usual end; what was under way is done at the next start
                pass
        _end(tally, out)


def _end(tally: Tally, out: Path) -> None:
    """The last line; an error if images failed."""
    restored = f"{tally.restored} image{'s' * (tally.restored != 1)} restored in {out}"
    if tally.failed:
        raise InputError(f"{tally.failed} image{'s' * (tally.failed > 1)} failed; {restored}")
    print(f"OK {restored}")


def _check_training(package: Path, psf: dict[str, Any], scheme: str | None, config: Path | None) -> None:
    """Refuse what would only fail when the first image is there.

    Raises
    ------
    InputError
    """
    if package.suffix != ".zip":
        raise InputError(f"{package} does not exist", "with --train-first, give the name of a new zip")
    files = [Path(text.partition("=")[2] or text) for text in psf["psf"] or []]
    missing = next((path for path in [*files, *filter(None, [config])] if not path.exists()), None)
    if missing:
        raise InputError(f"{missing} does not exist", "see --psf and --config")
    if not any(psf.values()) and scheme != "noise2void" and not config:
        raise InputError("--train-first needs a PSF", "give --psf, --na or --psf-sigma; or --scheme noise2void")


def _train_first(
    package: Path,
    folder: Path,
    out: Path,
    looks: int,
    poll: float,
    tally: Tally,
    once: bool,
    psf: dict[str, Any],
    training: dict[str, Any],
) -> None:
    """Wait for the first finished image that can be trained on; train, and export the package.

    Raises
    ------
    InputError
        When there is none (`once`), or the package could not be written.
    """
    tally.say(f"waiting for the first finished image in {folder}, to train {package} on it")
    train = _trainer(package, out / RUN, psf, training, tally)
    follow(
        Watch(folder, train, Marks(None), looks, axes=training["axes"], series=training["series"], once=once), poll,
        Tally(tally.quiet, "trained on"), enough=lambda outcome: not outcome.error, once=once,
    )  # fmt: skip
    if not package.exists():
        raise InputError(f"{folder} has no image that can be trained on", "wait for one: leave --once out")


def _trainer(
    package: Path, run: Path, psf: dict[str, Any], training: dict[str, Any], tally: Tally
) -> Callable[[Path], Restored]:
    """A function that trains on an image and exports the package; an interrupted training goes on."""

    def train(path: Path) -> Restored:
        from zsd_export.export import export
        from zsd_export.package.credits import Credits, name_after

        tasks = options.tasks_of([path], psf, **training)
        if len(tasks) > 1:
            raise InputError(f"{path} has {len(tasks)} channels", "choose one: `channel`", option="channel")
        try:
            options.train_each(
                tasks, run, lambda title: progress_bar(f"{title} on {path.name}", tally.quiet),
                resume=(run / "state.safetensors").exists(),
            )  # fmt: skip
        except Interrupted as stopped:
            tally.say(f"{stopped}: start the same command again to go on")
            raise KeyboardInterrupt from None
        with progress_bar("exporting", tally.quiet) as bar:
            export(run, package, credits=Credits(name_after(package.stem)))
            bar(1)
        return Restored(path, (package,))

    return train
