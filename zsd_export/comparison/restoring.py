"""Run one method on the image of a comparison."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_export.comparison.methods import Method, training_choices
from zsd_export.comparison.subject import Subject
from zsd_optics.filter_kinds import CAMERA, KINDS, deconvolution, deconvolves, denoiser
from zsd_runtime.errors import InputError, Interrupted
from zsd_runtime.model import Model, load_model
from zsd_runtime.notices import Notice, no_notice
from zsd_runtime.package import ModelDescription
from zsd_runtime.terminal import Bar

DENOISED, DECONVOLVED = "denoised", "deconvolved"
FINER = 2  # the grid of Richardson-Lucy, as of zsd's networks


@dataclass(frozen=True)
class Result:
    """One image that a method made.

    Attributes
    ----------
    output : str
        "denoised", "deconvolved", or what else a package gives.
    image : ndarray
        float32: (Y, X), camera counts with the offset, or (kY, kX), counts above the offset if deconvolved.
    deconvolved : bool
        Whether it is free of blur.
    """

    output: str
    image: NDArray[np.float32]
    deconvolved: bool


@dataclass(frozen=True)
class Restored:
    """What a method made: its results, and how long it took (a training included), s."""

    method: Method
    results: list[Result]
    seconds: float


def restore(
    method: Method, subject: Subject, folder: Path, trainings: dict[str, Any], notice: Notice, bar: Bar
) -> Restored:
    """Restore the image with one method.

    Parameters
    ----------
    method : Method
    subject : Subject
    folder : path
        Where a training keeps its model, <name>_<method>.zip.
    trainings : dict
        Keys of `TrainConfig` for all trainings: minutes, steps, seed, device.
    notice : callable
        Gets a sentence for everything that a user should know.
    bar : callable
        Shows the progress of a training.

    Raises
    ------
    InputError
        When the method does not fit the image, or a package cannot be read.
    """
    started = time.perf_counter()
    make: Callable[[], list[Result]] = {
        "filter": lambda: [_filtered(method, subject, notice)],
        "package": lambda: _predicted(Path(method.what), method.settings, subject, "auto"),
        "training": lambda: _trained(method, subject, folder, trainings, bar),
    }[method.kind]
    return Restored(method, make(), time.perf_counter() - started)


def _filtered(method: Method, subject: Subject, notice: Notice) -> Result:
    if not deconvolves(method.what):
        camera = subject.camera if set(CAMERA) <= set(subject.camera) else {}
        known = {key: value for key, value in camera.items() if key in KINDS[method.what]}
        known = {} if "sigma_color" in method.settings else known
        made = denoiser(method.what, known | method.settings, subject.image, notice)
        if made.volumes:
            raise InputError("one plane is compared, and a setting has a number for Z", "give one number, for Y and X")
        return Result(DENOISED, made.function(subject.image.data), deconvolved=False)
    settings = ({"grid_factor": FINER} if "grid_factor" in KINDS[method.what] else {}) | method.settings
    kernel = kernel_of(subject, settings.get("grid_factor", 1), notice)
    assert kernel is not None
    made = deconvolution(method.what, settings, kernel, subject.offset)
    return Result(DECONVOLVED, made.function(subject.image.data), deconvolved=True)


def kernel_of(subject: Subject, grid_factor: int, notice: Notice) -> NDArray[np.float64] | None:
    """The PSF (Y, X) on a grid that is finer than the image's; None if there is none."""
    if subject.psf is None:
        return None
    return subject.psf.kernel("yx", subject.image.voxel, grid_factor, notice)


def _predicted(package: Path, settings: dict[str, Any], subject: Subject, device: str) -> list[Result]:
    with load_model(package, device) as model:
        return _outputs(model, settings, subject)


def _outputs(model: Model, settings: dict[str, Any], subject: Subject) -> list[Result]:
    model.description.check_single_frames("a comparison")
    offset = removed_offset(model.description, subject.image.data)
    results = []
    for name, image in model.predict(subject.image.data, **settings).items():
        if image.ndim != 2:
            raise InputError(
                f"the output {name} has shape {image.shape}, and planes are compared", "give another model"
            )
        sharp = name == DECONVOLVED or image.shape != subject.image.data.shape
        results.append(Result(name, image if sharp else image + np.float32(offset), sharp))
    return results


def removed_offset(description: ModelDescription, image: NDArray[Any]) -> float:
    """The counts that a model takes off an image and does not give back: zsd's own, the camera offset.

    The network gives what it is given, only better: a result is the image through the lines before and after it.
    """
    if description.camera:
        return description.camera.offset
    before, after = description.input.processing.fit([image]), description.outputs[0].processing
    return -before.then(after).intercept


def _trained(
    method: Method, subject: Subject, folder: Path, trainings: dict[str, Any], bar: Bar
) -> list[Result]:  # fmt: skip
    """Train on the image alone, keep the model, and restore the image with it."""
    from zsd_export.export import export
    from zsd_export.package.credits import Credits, name_after
    from zsd_train.config import make_config
    from zsd_train.options import Task

    config = make_config(**training_choices(method, trainings | subject.camera))
    source = subject.psf if config.scheme.needs_psf else None
    kernel = kernel_of(subject, config.network.grid_factor, no_notice) if source else None
    task = Task([subject.image.data], subject.image.voxel, source, kernel, config, subject.channel)
    package = folder / f"{subject.name}_{method.name}.zip"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".training-", dir=folder) as place:
        try:
            task.train(Path(place) / "run", bar)
        except Interrupted:  # the run is no place to go on from: its folder goes
            raise KeyboardInterrupt from None
        title = name_after(f"{subject.name} {method.what}")
        export(Path(place) / "run", package, credits=Credits(title), overwrite=True)
    device = "auto" if config.device == "mps" else config.device
    return _predicted(package, {}, subject, device)
