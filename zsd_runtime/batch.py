"""Restore image files one after the other: every image finds its models, and its results their files."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from zsd_runtime.average import average_text
from zsd_runtime.channel_models import assigned
from zsd_runtime.channels import Chosen, channel_view, only
from zsd_runtime.corrections.corrected import Corrected, Corrections
from zsd_runtime.errors import InputError, see_info, size_text
from zsd_runtime.images import Image, Voxel, create_image, open_image, stem
from zsd_runtime.images.ome_zarr import OME_ZARR
from zsd_runtime.images.remote import Remote
from zsd_runtime.mismatch import Mismatch, image_mismatches
from zsd_runtime.model import CORRECTIONS, Model
from zsd_runtime.neighbours import time_axis
from zsd_runtime.notices import Notice, file_notices, no_notice
from zsd_runtime.raw_sim import seen_by, with_patterns
from zsd_runtime.sizes import sized
from zsd_runtime.summary import Restored
from zsd_runtime.terminal import Bar, flag
from zsd_runtime.uncertainty import SUFFIX

FORMATS = ("auto", "tiff", "zarr")
AXES_NAMES = {"YX": "rows and columns", "ZYX": "slices", "CYX": "channels", "CZYX": "channels of slices"}


@dataclass(frozen=True)
class How:
    """The options of `predict` for every image.

    Attributes
    ----------
    out : Path
        Folder for the results, or a `Remote`.
    axes, tile, memory, dtype, format, series, channel
        As the command line takes them; `memory` in bytes.
    voxel : Voxel
        Sizes that are typed; they replace what the files say.
    notice : callable
        Gets a sentence for everything that a user should know of the files.
    corrections : Corrections
        What images are freed of before the network.
    average : int
        Number of symmetries that predictions are the mean of; see `Model.predict_into`.
    sim_parameters : path or None
        The patterns of raw SIM frames, in place of those that the model was trained with.
    """

    out: Path
    axes: str | None = None
    tile: tuple[int, ...] | None = None
    memory: int | None = None
    dtype: str = "float32"
    format: str = "auto"
    series: int | None = None
    channel: str | None = None
    voxel: Voxel = field(default_factory=Voxel)
    notice: Notice = no_notice
    corrections: Corrections = CORRECTIONS
    average: int = 1
    sim_parameters: Path | None = None


def check_names(images: list[Path], outputs: Sequence[str], out: Path) -> None:
    """Refuse results that would overwrite each other or an image: they carry the stem of their image's name."""
    given = {path.resolve() for path in images}
    for path, label, suffix in product(images, outputs, (".tif", ".zarr")):
        result = out / f"{stem(path)}_{label}{suffix}"
        if result.resolve() in given:
            raise InputError(f"the result of {path} would replace {result}, one of the images: give another --out")
    seen: dict[str, Path] = {}
    for path in images:
        other = seen.setdefault(stem(path).casefold(), path)
        if other is path:
            continue
        if other.resolve() == path.resolve():
            raise InputError(f"{path} is given twice", "give it once, by itself or by its folder")
        raise InputError(
            f"{other} and {path} would both become {stem(path)}_{outputs[0]}.tif",
            "predict them into different folders",
        )


def predict_files(
    models: Sequence[Model],
    images: list[Path],
    how: How,
    progress: Callable[[str], AbstractContextManager[Bar]],
    done: Callable[[Restored], None] = lambda restored: None,
) -> None:
    """Restore image files. Failures are shown by the bars that `progress` makes; the remaining images still follow.

    Parameters
    ----------
    models : sequence of Model
        One for all channels, or one for each.
    images : list of path
    how : How
    progress : callable
        Makes a progress bar from a title.
    done : callable
        Gets what became of each image.

    Raises
    ------
    InputError, RuntimeError, MemoryError
        When an image failed: its error, or one for all; an `InputError` only if all were the input's fault.
    """
    failures: list[Exception] = []
    found: list[tuple[Path, tuple[str, ...]]] = []
    for number, path in enumerate(images, 1):
        title = path.name if len(images) == 1 else f"{path.name} ({number} of {len(images)})"
        with progress(title) as bar:
            try:
                image = open_image(path, how.axes, how.series)
                found.append((path, image.description.notices))
                done(_predict_file(models, path, image, how, bar))
            except (InputError, RuntimeError, MemoryError) as failure:
                error = _named(failure, path)
                failures.append(error)
                done(Restored(path, error=_text(error)))
                if len(images) > 1:
                    bar(0, f"error: {_text(error)}", milestone=True)
    file_notices(found, how.notice)
    if len(images) == 1 and failures:
        raise failures[0]
    if failures:
        serious = next((f for f in failures if not isinstance(f, InputError)), failures[0])
        raise type(serious)(f"{len(failures)} of {len(images)} images failed; one of them: {_text(serious)}")


def _named(error: Exception, path: Path) -> Exception:
    """The error of an image, with its name."""
    if isinstance(error, InputError) and path.name not in str(error):
        return InputError(f"{path}: {error}", option=error.options)
    return error


def _text(error: Exception) -> str:
    return error.message(flag) if isinstance(error, InputError) else str(error)


@dataclass(frozen=True)
class Work:
    """Which models restore what of an image, and what its results are.

    Attributes
    ----------
    path : Path
    image : Image
        The channels that are restored.
    how : How
    jobs : tuple of (Model, list of Chosen)
        Each model, and the channels that it restores.
    kept : list of Chosen
        All of these channels, in their order.
    results : tuple of (Path, Image, tuple of int)
        For each output its file, its shape, dtype and description, and how much finer it is than the image.
    warnings : tuple of Mismatch
    """

    path: Path
    image: Image
    how: How
    jobs: tuple[tuple[Model, list[Chosen]], ...]
    kept: list[Chosen]
    results: tuple[tuple[Path, Image, tuple[int, ...]], ...]
    warnings: tuple[Mismatch, ...]

    def arrays_of(self, channels: list[Chosen], targets: Sequence[Any]) -> list[Any]:
        """The source and the targets of a model that restores some of the channels."""
        leading = self.image.axes.removesuffix(self.jobs[0][0].input_axes)
        return _parts([self.image.data, *targets], leading, self.kept, channels)


def work_of(models: Sequence[Model], path: Path, image: Image, how: How) -> Work:
    """Find out what is to be done; only as many pixels are read as comparing the image with the training needs.

    Raises
    ------
    InputError
        When no model restores the image.
    """
    model = models[0]  # several are alike in what this needs
    if sim := model.description.sim:
        sim = with_patterns(sim, how.sim_parameters) if how.sim_parameters else sim
        image = sized(image, path, how.voxel, how.notice)
        image = seen_by(sim, image, str(path), how.notice, how.corrections)
        # What was typed and corrected was of the raw frames; ripples of a reconstruction are no hot pixels.
        how = replace(how, voxel=Voxel(), corrections=replace(how.corrections, hot_pixels=False, lines=""))
    elif how.sim_parameters:
        raise InputError(
            "the model is not one of structured illumination", "leave `sim_parameters` out", option="sim_parameters"
        )
    d, axes = model.description, model.input_axes
    # A single plane is let through: for a volume model, the model's own error says more.
    if not image.axes.endswith(axes) and (image.axes != "YX" or d.channels > 1):
        raise InputError(
            f"{path} has axes {image.axes} and shape {size_text(image.data.shape)}; the model needs {axes}",
            f"say what the axes are with --axes (--axes {axes} if these are {AXES_NAMES[axes]}), or take another "
            f"model; {see_info(path)}",
        )
    if d.frames > 1:
        time_axis(image.axes, image.data.shape, axes, d.frames, str(path))
    each = assigned([m.description for m in models], image, path, how.channel, how.notice)
    jobs = tuple((m, channels) for m, channels in zip(models, each, strict=True) if channels)
    kept = sorted((c for _, channels in jobs for c in channels), key=lambda c: c.number)
    _check_z_step(image, path, how)
    image = sized(image, path, how.voxel, how.notice)
    warnings: dict[Mismatch, None] = {}
    for m, channels in jobs:
        warnings |= dict.fromkeys(image_mismatches(m.description, only(image, channels)))
    image = only(image, kept)
    leading = image.axes.removesuffix(axes)
    zarr = isinstance(how.out, Remote) or OME_ZARR.recognises(path) if how.format == "auto" else how.format == "zarr"
    suffix = ".zarr" if zarr else ".tif"
    results = []
    for output, shape in zip(d.outputs, model.output_shapes(image.data.shape), strict=True):
        if output.channels > 1 and "C" in leading:
            raise InputError(
                f"{path} has several channels, and the model makes {output.channels} of each", "split them"
            )
        dtype = "float32" if output.name.endswith(SUFFIX) else how.dtype  # half-widths are often below one count
        result = image.resized(shape, dtype, leading + "C" * (output.channels > 1) + d.axes.upper())
        result = replace(result, description=replace(result.description, processing=average_text(how.average)))
        results.append((how.out / f"{stem(path)}_{output.name}{suffix}", result, output.scale))
    return Work(path, image, how, jobs, kept, tuple(results), tuple(warnings))


def _predict_file(models: Sequence[Model], path: Path, image: Image, how: How, bar: Bar) -> Restored:
    work = work_of(models, path, image, how)
    how, jobs = work.how, work.jobs
    bad_pixels: Counter[str] = Counter()
    with ExitStack() as files:
        targets = [files.enter_context(create_image(*result)) for result in work.results]
        for number, (m, channels) in enumerate(jobs):
            source, *sinks = work.arrays_of(channels, targets)

            def report(done: int, total: int, number: int = number) -> None:
                bar((number + done / total) / len(jobs))

            axes = len(m.description.axes)
            if how.tile is not None:
                m.plan(source.shape[-axes:], how.tile, average=how.average)  # before all pixels are looked at
            corrected = Corrected(source, how.corrections, volumes=axes == 3, name=str(path))
            if found := corrected.notice():
                bar(number / len(jobs), f"{path.name}: {found}", milestone=True)
            bad_pixels += Counter({kind: count for kind, count in corrected.counts.items() if count})
            m.predict_into(
                corrected, sinks, tile=how.tile, memory=how.memory, average=how.average, report=report,
                notice=lambda text: bar(0, text, milestone=True), axes=work.image.axes,
            )  # fmt: skip
    return Restored(path, tuple(name for name, _, _ in work.results), work.warnings, dict(bad_pixels))


def _check_z_step(image: Image, path: Path, how: How) -> None:
    """Raise `InputError` where a z step is typed for frames: they may be slices."""
    frames = dict(zip(image.axes, image.data.shape, strict=True)).get("T", 1)
    if how.voxel.z_um is not None and frames > 1 and "Z" not in image.axes and how.axes is None:
        raise InputError(
            f"{path} has {frames} frames (axes {image.axes}), but `z_step` {how.voxel.z_um:g} is for volumes",
            f"say `axes` {image.axes.replace('T', 'Z')} if these are slices, or leave `z_step` out",
            option=("z_step", "axes"),
        )


def _parts(arrays: list[Any], leading: str, kept: list[Chosen], channels: list[Chosen]) -> list[Any]:
    """Of each array, the `channels` among those that are `kept` in it."""
    if len(channels) == len(kept):
        return arrays
    numbers = [c.number for c in kept]
    return [channel_view(array, leading.index("C"), [numbers.index(c.number) for c in channels]) for array in arrays]
