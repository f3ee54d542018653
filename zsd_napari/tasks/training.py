"""Train on a layer, show how it goes, and restore the layer with what was learnt."""

import json
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from zsd_export.averaging import average_for
from zsd_export.export import export
from zsd_export.package.credits import Credits, name_after
from zsd_napari.source import Source
from zsd_napari.tasks.predicting import restore_layer
from zsd_napari.wish import Wish
from zsd_napari.worker import Link, Remote
from zsd_runtime.average import average_text
from zsd_runtime.errors import InputError, Interrupted
from zsd_runtime.model import load_model
from zsd_train.config import TrainConfig, make_config, read_config
from zsd_train.fit import Preview, Progress
from zsd_train.run import Run
from zsd_train.training import train

MOST_BYTES, MOST_IMAGES = 256 << 20, 16  # of a layer that a network learns from: more take time and teach little
SMALLEST = 32  # pixels
MODEL = "model.zip"


def config_of(wish: Wish, axes: str) -> TrainConfig:
    """The choices as the training takes them."""
    values: dict[str, Any] = {"axes": axes} | (read_config(wish.settings) if wish.settings else {})
    if wish.minutes is not None:
        values = {k: v for k, v in values.items() if k != "steps"} | {"minutes": wish.minutes}
    chosen = {"scheme": wish.scheme, "preset": wish.preset}
    config = make_config(**(values | {k: v for k, v in chosen.items() if v is not None}))
    if config.scheme.kind.startswith("sim"):
        raise InputError(
            "raw frames of structured illumination are trained on by the command zsd train",
            "use it, then open the package in the widget Predict", option="scheme",
        )  # fmt: skip
    return config


def train_on(
    link: Link, source: Source, spatial: str, wish: Wish, folder: Path, results: Path | None, *, resume: bool = False
) -> dict[str, Any]:
    """Train on a layer until the time is over or the person stops it; restore the layer with the result so far.

    Parameters
    ----------
    link : Link
    source : Source
        Of one channel.
    spatial : {"YX", "ZYX"}
        What one image is.
    wish : Wish
    folder : path
        For the run, and for model.zip.
    results : path or None
        Folder for OME-Zarr; None: results are sent.
    resume : bool
        Continue the run: `Wish.minutes` are added to the time that it has had.

    Returns
    -------
    dict
        `package`, `steps` and `stopped`, whether the person stopped it.
    """
    axes, run, package = spatial.lower(), folder / "run", folder / MODEL
    link.progress(0.0, "reading the layer")
    config = config_of(wish, axes)
    _check_sizes(source, spatial)
    images, corner = _images(link, source, spatial)
    kernel = None
    if config.scheme.needs_psf or wish.psf is not None:
        if wish.psf is None:
            raise InputError(f"scheme {config.scheme.kind} needs a PSF", "describe it", option="psf")
        kernel = wish.psf.kernel(axes, source.voxel, config.network.grid_factor, link.notice)
    if resume:
        config = _with_more_time(config, run)

    def report(progress: Progress) -> None:
        # As plain values: unpickling one of zsd_train's classes would import torch in the viewer.
        link.send("training", asdict(progress) | {"seconds_left": progress.seconds_left})
        if progress.message.startswith("warning") or "replaced" in progress.message:
            link.notice(progress.message.removeprefix("warning: "))

    def preview(made: Preview) -> None:
        start = tuple(a + b for a, b in zip(corner, made.start, strict=True))
        link.send("preview", asdict(made) | {"start": start})

    link.progress(0.0, "measuring the noise")
    stopped = False
    begin = {
        "pixel_size_um": source.voxel.x_um, "z_step_um": source.voxel.z_um,
        "psf_source": wish.psf.to_dict() if wish.psf else None,
        "channel": source.channels[0] if len(source.channels) == 1 else None,
    }  # fmt: skip
    try:
        done = _train(
            images, kernel, config, run, **begin, resume=resume, report=report, stop=link.stopped.is_set,
            preview=preview,
        )  # fmt: skip
    except Interrupted:
        if link.alone.is_set():
            raise
        stopped = True
        # A budget that is spent already: the best weights so far are finished as those of a whole training are.
        spent = config.model_copy(update={"minutes": None, "steps": max(1, _spent(run)["step"])})
        done = _train(images, kernel, spent, run, **begin, resume=True)
    link.stopped.clear()  # it was for the training
    link.progress(0.0, "measuring the model")
    named = Credits(name_after(f"zsd {source.path.stem}"))
    export(run, package, credits=named, overwrite=True)
    link.check()
    with load_model(package) as model:
        average = average_for(prod(source.shape), [done])
        if average > 1:
            link.notice(f"the result is the {average_text(average)}; Predict, too, can average")
        restore_layer(link, source, model, results, average)
        return {"package": package, "steps": done.measured.steps, "stopped": stopped}


def _train(*arguments: Any, **options: Any) -> Run:
    """`train`; what a run does not go on with is said in the words of the widget."""
    try:
        return train(*arguments, **options)
    except InputError as error:
        if options["resume"] and "was trained" in str(error):
            raise InputError(
                "the layer or its PSF is not the one that the network was trained on",
                "choose both as they were, or press Start to train a new network", option="layer",
            ) from None  # fmt: skip
        raise


def _check_sizes(source: Source, spatial: str) -> None:
    if not source.axes.endswith(spatial):
        raise InputError(f"{source.name} has axes {source.axes}, which do not end in {spatial}", option="axes")
    if min(source.shape[-2:]) < SMALLEST:
        raise InputError(
            f"{source.name} has {source.shape[-2]}x{source.shape[-1]} pixels; training needs at least "
            f"{SMALLEST}x{SMALLEST}",
            "choose a larger layer", option="layer",
        )  # fmt: skip


def _images(link: Link, source: Source, spatial: str) -> tuple[list[NDArray[np.generic]], tuple[int, ...]]:
    """Some images of the layer, evenly spread, or the middle of a large one; and the first pixel of the first."""
    leading = source.shape[: len(source.shape) - len(spatial)]
    shape = source.shape[len(leading) :]
    itemsize = np.dtype(source.dtype).itemsize
    box = _middle(shape, itemsize)
    size = itemsize * prod(b.stop - b.start for b in box)
    count = prod(leading)
    used = min(count, MOST_IMAGES, max(1, MOST_BYTES // size))
    if used < count:
        link.notice(f"{used} of the {count} images are trained on, evenly spread; all are restored")
    if any(b.stop - b.start < n for b, n in zip(box, shape, strict=True)):
        link.notice("the middle of the image is trained on; all of it is restored")
    remote = Remote(link, source.shape, source.dtype, len(spatial))
    return remote.spread(used, box), tuple(b.start for b in box)


def _middle(shape: tuple[int, ...], itemsize: int) -> tuple[slice, ...]:
    """The middle of an image, in at most `MOST_BYTES`."""
    sizes = list(shape)
    while itemsize * prod(sizes) > MOST_BYTES:
        longest = max(range(len(sizes)), key=lambda axis: sizes[axis])
        sizes[longest] = sizes[longest] * 9 // 10
    return tuple(slice((n - m) // 2, (n - m) // 2 + m) for n, m in zip(shape, sizes, strict=True))


def _with_more_time(config: TrainConfig, run: Path) -> TrainConfig:
    """The time, or the steps, that a run has had and those that are to come."""
    from zsd_train.defaults import DEFAULTS

    spent = _spent(run)
    if config.steps:
        return config.model_copy(update={"steps": config.steps + spent["step"]})
    minutes = config.minutes or DEFAULTS[config.axes].minutes
    return config.model_copy(update={"minutes": minutes + spent["seconds"] / 60})


def _spent(run: Path) -> dict[str, Any]:
    """Steps and seconds of a run so far."""
    if not (run / "state.safetensors").exists():
        raise InputError("nothing was trained yet", "start the training")
    with safe_open(run / "state.safetensors", "pt") as file:  # type: ignore[no-untyped-call]
        numbers: dict[str, Any] = json.loads(file.metadata()["numbers"])
        return numbers
