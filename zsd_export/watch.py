"""`zsd watch --train-first`: if there is no model yet, train it on the first finished image of the folder."""

from pathlib import Path
from typing import Annotated, Any

import typer

from zsd_optics import options as optics
from zsd_runtime.batch import How
from zsd_runtime.corrections.corrected import corrections_of
from zsd_runtime.errors import InputError, Interrupted
from zsd_runtime.images import Voxel
from zsd_runtime.notices import notices
from zsd_runtime.options import Average
from zsd_runtime.summary import Restored
from zsd_runtime.terminal import Quiet, command_line, progress_bar, reporting
from zsd_runtime.watch import options as watching_options
from zsd_runtime.watch.marks import Marks
from zsd_runtime.watch.options import Watching, watching
from zsd_runtime.watch.run import Tally
from zsd_runtime.watch.watch import Restore
from zsd_runtime.zoo import package_path
from zsd_train import options

RUN = "run"

app = command_line()


@app.command()
def watch(
    package: Annotated[Path, typer.Argument(help="Zip of the model; if it does not exist, it is trained and written.")],
    folder: watching_options.Folder,
    out: watching_options.Out,
    train_first: Annotated[bool, typer.Option("--train-first", help="Train on the first finished image.")] = False,  # noqa: ARG001
    once: watching_options.Once = False,
    settle: watching_options.Settle = 3.0,
    poll: watching_options.Poll = 1.0,
    psf: optics.Psfs = None,
    psf_pixel_size: optics.PsfPixelSize = None,
    psf_z_step: optics.PsfZStep = None,
    centre_psf: optics.CentrePsf = False,
    psf_sigma: optics.PsfSigma = None,
    na: optics.Na = None,
    wavelength: optics.Wavelength = None,
    refractive_index: optics.RefractiveIndex = None,
    minutes: options.Minutes = None,
    steps: options.Steps = None,
    preset: options.Preset = None,
    scheme: options.Scheme = None,
    start: options.Start = None,
    config: options.ConfigFile = None,
    seed: options.Seed = None,
    device: watching_options.Device = "auto",
    engine: watching_options.Engine = "auto",
    precision: watching_options.Precision = "auto",
    memory: watching_options.Memory = None,
    axes: optics.Axes = None,
    series: optics.Series = None,
    channel: Annotated[str | None, typer.Option(help="The channel to train on and to restore, of several.")] = None,
    pixel_size: optics.PixelSize = None,
    z_step: optics.ZStep = None,
    dtype: watching_options.Dtype = "float32",
    file_format: watching_options.FileFormat = "auto",
    keep_hot_pixels: optics.KeepHotPixels = False,
    remove_lines: optics.RemoveLines = None,
    dark: optics.Dark = None,
    gain_map: optics.GainMap = None,
    average: Average = 1,
    quiet: Quiet = False,
) -> None:
    """Restore each image in a folder once, when it is finished, until Ctrl-C; first train on the first of them.

    If PACKAGE exists, nothing is trained, so the same command can be started again; an interrupted training goes on.
    The run is kept in OUT/run. An image that cannot be trained on is reported, and the next one is taken.
    """
    with reporting(quiet):
        how = How(
            out, axes, None, None if memory is None else int(memory * 1e9), dtype, file_format, series, channel,
            Voxel.square(pixel_size, z_step), notices(quiet),
            corrections_of(keep_hot_pixels=keep_hot_pixels, remove_lines=remove_lines, dark=dark, gain_map=gain_map),
            average,
        )  # fmt: skip
        described = {
            "psf": psf, "psf_pixel_size": psf_pixel_size, "psf_z_step": psf_z_step, "centre_psf": centre_psf,
            "psf_sigma": psf_sigma, "na": na, "wavelength": wavelength, "refractive_index": refractive_index,
        }  # fmt: skip
        training: dict[str, Any] = {
            "axes": axes, "series": series, "channels": channel, "pixel_size": pixel_size, "z_step": z_step,
            "config": config, "preset": preset, "scheme": scheme, "start": start, "minutes": minutes, "steps": steps,
            "seed": seed, "device": device if device in ("cpu", "cuda") else None, "notice": how.notice,
            "hot_pixels": "keep" if keep_hot_pixels else None, "remove_lines": remove_lines, "dark": dark,
            "gain_map": gain_map,
        }  # fmt: skip
        package = package_path(package)
        if not package.exists():
            _check_training(package, described, scheme, config)
        with watching(folder, how, memory=memory, settle=settle, poll=poll, once=once, quiet=quiet) as work:
            if not package.exists():
                _train_first(package, work, described, training)
            work.run(package, device, engine, precision)


def _check_training(package: Path, psf: dict[str, Any], scheme: str | None, config: Path | None) -> None:
    """Refuse what would otherwise only fail when the first image is there.

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


def _train_first(package: Path, work: Watching, psf: dict[str, Any], training: dict[str, Any]) -> None:
    """Wait for the first finished image that can be trained on; train, and write the package.

    Raises
    ------
    InputError
        When there is none and none is waited for.
    """
    quiet = work.tally.quiet
    work.tally.say(f"waiting for the first finished image in {work.folder}, to train {package} on it")
    train = _trainer(package, work.how.out / RUN, psf, training, quiet)
    work.follow(train, Marks(None), Tally(quiet, "trained on"), first=True)
    if not package.exists():
        raise InputError(f"{work.folder} has no image that can be trained on", "wait for one: leave --once out")


def _trainer(package: Path, run: Path, psf: dict[str, Any], training: dict[str, Any], quiet: bool) -> Restore:
    """A function that trains on an image and writes the package; an interrupted training goes on."""

    def train(path: Path) -> Restored:
        from zsd_export.export import export
        from zsd_export.package.credits import Credits, name_after

        tasks = options.tasks_of([path], psf, **training)
        if len(tasks) > 1:
            raise InputError(f"{path} has {len(tasks)} channels", "choose one: `channel`", option="channel")
        begun = (run / "state.safetensors").exists()
        try:
            options.train_each(tasks, run, lambda title: progress_bar(f"{title} on {path.name}", quiet), resume=begun)
        except Interrupted as stopped:
            if not quiet:
                print(f"{stopped}: start the same command again to go on")
            raise KeyboardInterrupt from None
        with progress_bar("exporting", quiet) as bar:
            export(run, package, credits=Credits(name_after(package.stem)))
            bar(1)
        return Restored(path, (package,))

    return train
