"""Networks side by side: speed, size, PSNR lost, and a picture of their differences."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_export.graph.precision import quantized
from zsd_export.graph.to_onnx import to_onnx
from zsd_export.measure.loss import psnr_lost
from zsd_export.package.contents import linear, tensors_of
from zsd_optics.metrics import evaluate
from zsd_optics.pictures import GAP, enlarged, grey_levels, middle, montage
from zsd_runtime.engine_choice import open_engine
from zsd_runtime.model import Model
from zsd_runtime.package import ModelDescription
from zsd_runtime.session import Prediction
from zsd_train.networks.build import parameter_count
from zsd_train.run import Run

VIEW = {2: (512, 512), 3: (16, 128, 128)}  # raw pixels that are compared and timed, for 2 and 3 axes
DETAIL = {2: (128, 128), 3: (1, 96, 96)}  # raw pixels that the picture shows
CONTRAST = 10  # of the differences in the picture
ROUNDS = 5  # of timing; all models take turns, so that a drifting machine affects them alike

Image = NDArray[Any]


@dataclass(frozen=True)
class Row:
    """One network in one precision, beside the teacher in fp32.

    Parameters
    ----------
    name, precision : str
    parameters : int
    size_mb : float
        Of the ONNX file.
    engine : str
        The one that `auto` chooses.
    megapixels_per_s : float
    speedup : float
        Over the teacher, timed in the same minutes.
    lost_db : dict
        PSNR that each output loses on simulated acquisitions (`psnr_lost`); negative where it gains.
    lost_of_truth_db : dict
        The same against a truth, if there is one.
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


def compare(
    runs: dict[str, Run], image: Image, truths: dict[str, Image]
) -> tuple[list[Row], dict[tuple[str, str], Prediction]]:
    """Compare runs with the first of them, the teacher, in every precision, on the middle of an image.

    Parameters
    ----------
    runs : dict
        Runs of the same axes, by name.
    image : ndarray
        ([Z,] Y, X), camera counts.
    truths : dict
        As for `zsd_export.compress.compress`.

    Returns
    -------
    rows : list of Row
    restored : dict
        The results of each (name, precision).
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
    psnr = {key: {name: evaluate(p[name], t).psnr for name, t in parts.items()} for key, p in restored.items()}
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
    """Teacher | for each student: its result | the difference, ten times as strong around mid-grey.

    The denoised images are above the deconvolved; each row has one scale of grey levels. Volumes show their middle
    slice.
    """
    coarse, fine = (limit(image.shape[-1] for image in teacher.values()) for limit in (min, max))
    rows = []
    for name, image in teacher.items():
        theirs, *ours = (_detail(p[name], image.shape[-1] // coarse) for p in (teacher, *students))
        low, high = grey_levels(theirs)
        panels = [theirs]
        for other in ours:
            panels += [other, (low + high) / 2 + CONTRAST / 2 * (other - theirs)]
        rows.append(montage([enlarged(panel, fine // image.shape[-1]) for panel in panels], (low, high)))
    gap = np.full((GAP, rows[0].shape[1]), 255, np.uint8)
    return np.vstack([part for row in rows for part in (gap, row)][1:])


def _graphs(run: Run, normalised: NDArray[np.float32]) -> dict[str, bytes]:
    exact = to_onnx(run.network)
    graphs = {"fp32": exact, "fp16": to_onnx(run.network, half=True)}
    return graphs | ({"int8": quantized(exact, normalised)} if run.network.kind == "unet" else {})


def _open(teacher: Run, precision: str, graph: bytes) -> Model:
    """A model as from a package, but without a halo, which a single tile does not need."""
    network, intensities = teacher.network, linear(teacher.offset, teacher.scale)
    description = ModelDescription(
        "compared", network.axes, network.size_multiple, (0,) * len(network.axes),
        *tensors_of(graph, network.scales, intensities), graph, precision,
    )  # fmt: skip
    return Model(description, open_engine(description))


def _timed(models: dict[Any, Model], image: Image) -> tuple[dict[Any, float], dict[Any, Prediction]]:
    """Median seconds of a prediction, and its result; the first round warms up."""
    times: dict[Any, list[float]] = {key: [] for key in models}
    results = {}
    for _ in range(1 + ROUNDS):
        for key, model in models.items():
            started = time.perf_counter()
            results[key] = model.predict(image, memory=1 << 50)  # one tile
            times[key].append(time.perf_counter() - started)
    return {key: float(np.median(seconds[1:])) for key, seconds in times.items()}, results


def _same_part(truth: Image, image: Image, view: Image) -> Image:
    """The part of a truth, which may be finer than the image, that `view`, the image's middle, shows."""
    lengths = zip(truth.shape, image.shape, view.shape, strict=True)
    return truth[tuple(slice((n - m) // 2 * (t // n), ((n - m) // 2 + m) * (t // n)) for t, n, m in lengths)]


def _detail(image: Image, factor: int) -> Image:
    """The middle, (Y, X), on its own grid."""
    side = [n * (factor if i >= image.ndim - 2 else 1) for i, n in enumerate(DETAIL[image.ndim])]
    cut = middle(image, tuple(side), 1)
    return cut if cut.ndim == 2 else cut[0]
