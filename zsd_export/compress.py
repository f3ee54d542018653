"""From a trained network to a smaller one that does the same, and what that gains and costs.

The smaller network is a run folder of its own, which `zsd export` takes like any other. How it learns is in
`zsd_train.schemes.distill`.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

from zsd_export.contents import linear
from zsd_export.precision import psnr_lost, quantized
from zsd_export.to_onnx import OUTPUTS, to_onnx
from zsd_optics.metrics import evaluate
from zsd_optics.pictures import enlarged, grey_levels, middle, montage
from zsd_runtime.engines.select import open_engine
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.files import written_whole
from zsd_runtime.model import Model, Prediction
from zsd_runtime.package import ModelDescription, Output
from zsd_train.config import PRESETS, TrainConfig, make_config
from zsd_train.fit import Progress
from zsd_train.networks.build import build, parameter_count
from zsd_train.networks.prune import prunes
from zsd_train.run import Run, load_run, write_config
from zsd_train.schemes.distill import CHOICES
from zsd_train.training import train

VIEW = {2: (512, 512), 3: (16, 128, 128)}  # raw pixels that are compared and timed
DETAIL = {2: (128, 128), 3: (1, 96, 96)}  # … and shown
CONTRAST = 10  # of the differences in the picture
ROUNDS = 5  # of timing, in which all take turns, so that a machine that drifts does so for all

Image = NDArray[Any]


@dataclass(frozen=True)
class Row:
    """One network in one precision, beside the teacher in fp32.

    size_mb : of the ONNX file · megapixels_per_s : through the engine that `auto` takes · speedup : over the teacher,
    of the same minutes · lost_db : PSNR that each output loses on simulated acquisitions (`psnr_lost`), below 0 where
    it gains · lost_of_truth_db : the same against a truth, where there is one.
    """

    name: str
    precision: str
    parameters: int
    size_mb: float
    engine: str
    megapixels_per_s: float
    speedup: float
    lost_db: dict[str, float]
    lost_of_truth_db: dict[str, float] = field(default_factory=dict)


def compress(
    run: str | Path,
    out: str | Path,
    *,
    width: int | None = None,
    choices: dict[str, Any] | None = None,
    images: Sequence[Image] = (),
    truths: dict[str, Image] | None = None,
    resume: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
) -> list[Row]:
    """Distil a trained network into a smaller one, and compare the two in all precisions.

    Parameters
    ----------
    run : path
        The teacher: what `zsd train` wrote.
    out : path
        A new run folder; compressed.json and compressed.png in it say what was gained and lost.
    width : int
        Prune: the teacher's own network with so many channels in the first level, and fewer in proportion in all
        others. Without it, the network of `choices`, or of the preset compact.
    choices : dict
        Keys of `TrainConfig`: network, minutes, steps, …
    images : sequence of ndarray
        ([Z,] Y, X), camera counts: those that the teacher was trained on, or more of their kind. Without them the
        sample that the run keeps, the middle of its first image, at most 512 × 512 (32 × 256 × 256).
    truths : dict
        "denoised": what the first image is without noise, "deconvolved": and without blur, on the fine grid.
    resume : bool
        Go on with an interrupted `out`.
    report : callable
        Told of the distillation's `Progress`.

    Raises
    ------
    InputError
        When the run cannot be read, the network is not smaller, or images or truths do not fit.
    Interrupted
        After Ctrl-C while it learns, once everything is saved.
    """
    teacher = load_run(run)
    config = student_config(teacher, width, choices or {})
    if not resume:  # with it, what was chosen at first counts
        _check_smaller(config, teacher)
    images = list(images) or [teacher.sample]
    _check_truths(truths or {}, images[0], teacher)
    student = train(
        images, teacher.psf, config, out, pixel_size_um=teacher.pixel_size_um, z_step_um=teacher.z_step_um,
        teacher=teacher, resume=resume, report=report,
    )  # fmt: skip
    names = [teacher.folder.resolve().name, student.folder.resolve().name]
    rows, restored = compare(dict(zip(names, (teacher, student), strict=True)), images[0], truths or {})
    pruned = prunes(student.network, teacher.network)
    provenance = {
        "teacher": names[0], "teacher_parameters": parameter_count(teacher.network), "images_given": len(images),
        "started_from": "the teacher's strongest filters" if pruned else "random weights",
        "rows": [asdict(row) for row in rows],
    }  # fmt: skip
    write_config(student.folder, student.config, student.measured.model_copy(update={"compressed": provenance}))
    with written_whole(student.folder / "compressed.json") as temporary:
        temporary.write_text(json.dumps(provenance, indent=1) + "\n", "utf-8")
    shown = [restored[row.name, row.precision] for row in rows if row.name == names[1] and row.precision != "fp16"]
    with written_whole(student.folder / "compressed.png") as temporary:
        iio.imwrite(temporary, picture(restored[names[0], "fp32"], shown), extension=".png")
    return rows


def student_config(teacher: Run, width: int | None, choices: dict[str, Any]) -> TrainConfig:
    """What the student is, and how it learns."""
    axes, theirs = teacher.config.axes, teacher.config.network
    preset = PRESETS[choices.get("preset", "compact"), axes]
    defaults: dict[str, Any] = {
        "axes": axes, "patch": min(preset["patch"], teacher.config.patch),
        "slices": min(preset.get("slices", 1), teacher.config.slices),
    }  # fmt: skip
    if width is not None:
        if "network" in choices:
            raise InputError(f"--width {width} and [network] in the configuration both say what to make: leave one out")
        head = max(1, round(theirs.head * width / theirs.width))
        defaults["network"] = theirs.model_dump() | {"width": width, "head": head}
    return make_config(**(defaults | CHOICES | choices))


def _check_smaller(config: TrainConfig, teacher: Run) -> None:
    ours, theirs = parameter_count(build(config.network, teacher.config.axes)), parameter_count(teacher.network)
    if ours >= theirs:
        raise InputError(
            f"the network would have {ours} parameters, that of {teacher.folder} has {theirs}: choose a smaller one, "
            f"for instance with --width {max(2, teacher.config.network.width // 2)}"
        )


def compare(
    runs: dict[str, Run], image: Image, truths: dict[str, Image]
) -> tuple[list[Row], dict[tuple[str, str], Prediction]]:
    """Every run of the same axes in every precision beside the first of them, the teacher, on the middle of an image.

    Returns the rows, and what each (name, precision) makes of the image.
    """
    teacher = next(iter(runs.values()))
    step = tuple(max(steps) for steps in zip(*(run.network.size_multiple for run in runs.values()), strict=True))
    view = middle(image, VIEW[image.ndim], step)
    normalised = ((view - teacher.offset) / teacher.scale).astype(np.float32)
    graphs = {
        (name, precision): graph
        for name, run in runs.items()
        for precision, graph in _graphs(run, normalised).items()
    }  # fmt: skip
    models = {key: _open(teacher, key[1], graph) for key, graph in graphs.items()}
    seconds, restored = _timed(models, view)
    engines = {key: f"{model.engine.name} {model.engine.device}" for key, model in models.items()}
    for model in models.values():
        model.engine.close()
    first = next(iter(graphs))
    parts = {name: _same_part(truth, image, view) for name, truth in truths.items()}
    psnr = {key: {name: evaluate(getattr(p, name), t).psnr for name, t in parts.items()} for key, p in restored.items()}
    lost = dict(zip(graphs, psnr_lost(teacher, normalised, graphs[first], [*graphs.values()]), strict=True))
    rows = [
        Row(
            *key, parameter_count(runs[key[0]].network), len(graph) / 1e6, engines[key],
            view.size / seconds[key] / 1e6, seconds[first] / seconds[key],
            lost[key],
            {name: round(psnr[first][name] - psnr[key][name], 4) for name in parts},
        )
        for key, graph in graphs.items()
    ]  # fmt: skip
    return rows, restored


def picture(teacher: Prediction, students: Sequence[Prediction]) -> NDArray[np.uint8]:
    """Teacher | for each student: what it gives | the difference, ten times as strong around mid-grey.

    Denoised above, deconvolved below; of volumes the middle slice. One scale of grey levels a row.
    """
    k = teacher.deconvolved.shape[-1] // teacher.denoised.shape[-1]
    rows = []
    for name, factor in (("denoised", 1), ("deconvolved", k)):
        theirs, *ours = (_detail(getattr(p, name), factor) for p in (teacher, *students))
        low, high = grey_levels(theirs)
        panels = [theirs]
        for image in ours:
            panels += [image, (low + high) / 2 + CONTRAST / 2 * (image - theirs)]
        rows.append(montage([enlarged(panel, k // factor) for panel in panels], (low, high)))
    return np.vstack([rows[0], np.full((4, rows[0].shape[1]), 255, np.uint8), rows[1]])


def _graphs(run: Run, normalised: NDArray[np.float32]) -> dict[str, bytes]:
    exact = to_onnx(run.network)
    graphs = {"fp32": exact, "fp16": to_onnx(run.network, half=True)}
    return graphs | ({"int8": quantized(exact, normalised)} if run.network.kind == "unet" else {})


def _open(teacher: Run, precision: str, graph: bytes) -> Model:
    """As a package would be opened, but for the halo, which a single tile does without."""
    network, intensities = teacher.network, linear(teacher.offset, teacher.scale)
    outputs = tuple(Output(n, s, intensities.after) for n, s in zip(OUTPUTS, network.scales, strict=True))
    description = ModelDescription(
        "compared", network.axes, network.size_multiple, (0,) * len(network.axes), intensities.before, outputs,
        teacher.pixel_size_um, precision, None, graph,
    )  # fmt: skip
    return Model(description, open_engine(description))


def _timed(models: dict[Any, Model], image: Image) -> tuple[dict[Any, float], dict[Any, Prediction]]:
    """Median seconds of a prediction, and its result; the first round is warm-up."""
    times: dict[Any, list[float]] = {key: [] for key in models}
    results = {}
    for _ in range(1 + ROUNDS):
        for key, model in models.items():
            started = time.perf_counter()
            results[key] = model.predict(image, memory=1 << 50)  # one tile
            times[key].append(time.perf_counter() - started)
    return {key: float(np.median(seconds[1:])) for key, seconds in times.items()}, results


def _check_truths(truths: dict[str, Image], image: Image, teacher: Run) -> None:
    for name, scale in zip(OUTPUTS, teacher.network.scales, strict=True):
        expected = tuple(n * k for n, k in zip(image.shape, scale, strict=False))  # an image of other axes fails later
        if name in truths and truths[name].shape != expected:
            raise InputError(
                f"the truth of {name} is {size_text(truths[name].shape)}; for the first image, "
                f"{size_text(image.shape)}, it must be {size_text(expected)}: give it uncropped, on that grid"
            )


def _same_part(truth: Image, image: Image, view: Image) -> Image:
    """Of a truth, which may be finer than the image, the part that `view`, the image's middle, shows."""
    lengths = zip(truth.shape, image.shape, view.shape, strict=True)
    return truth[tuple(slice((n - m) // 2 * (t // n), ((n - m) // 2 + m) * (t // n)) for t, n, m in lengths)]


def _detail(image: Image, factor: int) -> Image:
    """The middle, (Y, X), on its own grid."""
    side = [n * (factor if i >= image.ndim - 2 else 1) for i, n in enumerate(DETAIL[image.ndim])]
    cut = middle(image, tuple(side), 1)
    return cut if cut.ndim == 2 else cut[0]
