"""From a trained network to a smaller one that does the same, and what that gains and costs.

The smaller network is a run folder of its own, which `zsd export` takes like any other. `zsd_train.schemes.distill`
says how it learns.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np

from zsd_export.compare import Image, Row, compare, picture
from zsd_export.frame_rate import FrameRate, Speed, checked, record, width_for
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.files import written_whole
from zsd_train.checks import check_teacher_sees_one_frame
from zsd_train.config import NetworkConfig, TrainConfig, make_config, preset_of
from zsd_train.fit import Progress
from zsd_train.networks.build import build, parameter_count
from zsd_train.networks.prune import prunes
from zsd_train.run import Run, check_unused, load_run, write_config
from zsd_train.training import train

EMPTY = 0.05  # of the contrast of the teacher's image: a student that gives less has learnt nothing


def compress(
    run: str | Path,
    out: str | Path,
    *,
    width: int | None = None,
    rate: FrameRate | None = None,
    choices: dict[str, Any] | None = None,
    images: Sequence[Image] = (),
    truths: dict[str, Image] | None = None,
    resume: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
    notice: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """Distil a trained network into a smaller one, and compare the two in all precisions.

    Parameters
    ----------
    run : path
        The teacher: what `zsd train` wrote.
    out : path
        A new run folder; compressed.json and compressed.png in it show gains and losses.
    width : int
        Prune: the teacher's own network with this number of channels in the first level, and fewer in proportion in
        all others. Without it, the network of `choices`, or of the preset compact.
    rate : FrameRate
        Instead of `width`: prune to the largest width that holds this frame rate here. Networks of several widths are
        timed first, and the finished one at the end; compressed.json and the package say what was measured.
    choices : dict
        Keys of `TrainConfig`: network, minutes, steps, …
    images : sequence of ndarray
        ([Z,] Y, X), camera counts: the teacher's training images, or more of their kind. Without them, the run's sample
        is used: the middle of its first image, at most 512 × 512 (32 × 256 × 256).
    truths : dict
        "denoised": the first image without noise; "deconvolved": also without blur, on the fine grid.
    resume : bool
        Go on with an interrupted `out`.
    report : callable
        Gets the distillation's `Progress`.
    notice : callable
        Gets a sentence for each width that was timed.

    Returns
    -------
    list of Row
        Teacher and student in every precision.

    Raises
    ------
    InputError
        When the run cannot be read, the network is not smaller, or images or truths do not fit; when no width holds
        the rate, or the teacher does.
    Interrupted
        After Ctrl-C while it learns, once everything is saved.
    """
    teacher, choices, searched = load_run(run), choices or {}, dict[int, Speed]()
    check_teacher_sees_one_frame(teacher)
    images = list(images) or [teacher.sample]
    _check_truths(truths or {}, images[0], teacher)
    if rate:
        if width is not None:
            raise InputError(
                f"`width` {width} and `fps` {rate.fps:g} both choose a network",
                "leave one out",
                option=("fps", "width"),
            )
        rate = checked(rate, teacher)
        if not resume:
            check_unused(Path(out))
            student_config(teacher, 2, choices)  # what is wrong with the choices is said before minutes of timing
            width, searched = width_for(
                teacher, rate, lambda tried: student_config(teacher, tried, choices).network, notice
            )
    config = student_config(teacher, width, choices)
    if not resume:  # otherwise the first choice counts
        _check_smaller(config, teacher)
    student = train(
        images, teacher.psf, config, out, pixel_size_um=teacher.pixel_size_um, z_step_um=teacher.z_step_um,
        channel=teacher.measured.channel, channel_number=teacher.measured.channel_number, teacher=teacher,
        resume=resume, report=report,
    )  # fmt: skip
    names = [teacher.folder.resolve().name, student.folder.resolve().name]
    rows, restored = compare(dict(zip(names, (teacher, student), strict=True)), images[0], truths or {})
    for output, image in restored[names[1], "fp32"].items():
        if np.std(image) < EMPTY * np.std(restored[names[0], "fp32"][output]):
            notice(f"warning: the {output} image of {names[1]} is empty: train longer, or choose a wider network")
    pruned = prunes(student.network, teacher.network)
    provenance: dict[str, Any] = {
        "teacher": names[0], "teacher_parameters": parameter_count(teacher.network), "images_given": len(images),
        "started_from": "the teacher's strongest filters" if pruned else "random weights",
        "rows": [asdict(row) for row in rows],
    }  # fmt: skip
    if rate:
        provenance["frame_rate"] = record(student, teacher, rate, searched)
    write_config(student.folder, student.config, student.measured.model_copy(update={"compressed": provenance}))
    with written_whole(student.folder / "compressed.json") as temporary:
        temporary.write_text(json.dumps(provenance, indent=1) + "\n", "utf-8")
    compared = [restored[row.name, row.precision] for row in rows if row.name == names[1] and row.precision != "fp16"]
    with written_whole(student.folder / "compressed.png") as temporary:
        iio.imwrite(temporary, picture(restored[names[0], "fp32"], compared), extension=".png")
    return rows


def student_config(teacher: Run, width: int | None, choices: dict[str, Any]) -> TrainConfig:
    """The student's network, and how it learns."""
    axes, theirs = teacher.config.axes, teacher.config.network
    preset = preset_of(choices.get("preset", "compact"), axes, teacher.config.scheme)
    defaults: dict[str, Any] = {
        "axes": axes, "scheme": {"kind": "distill"},
        "network": preset["network"].model_copy(update={"grid_factor": theirs.grid_factor}),
        "patch": min(preset["patch"], teacher.config.patch),
        "slices": min(preset.get("slices", 1), teacher.config.slices),
    }  # fmt: skip
    if width is not None:
        if "network" in choices:
            raise InputError(
                f"`width` {width} and [network] in the configuration both choose a network",
                "leave one out",
                option="width",
            )
        head = max(1, round(theirs.head * width / theirs.width))
        defaults["network"] = theirs.model_dump() | {"width": width, "head": head}
    if isinstance(network := choices.get("network"), dict) and isinstance(theirs, NetworkConfig):
        alike: dict[str, Any] = {"upsampling": theirs.upsampling}  # so that it can be pruned
        if network.get("stages", theirs.stages) == theirs.stages:
            alike["coarse"] = theirs.coarse
        choices = choices | {"network": alike | network}
    return make_config(**(defaults | choices))


def _check_smaller(config: TrainConfig, teacher: Run) -> None:
    ours, theirs = parameter_count(build(config.network, teacher.config.axes)), parameter_count(teacher.network)
    if ours >= theirs:
        raise InputError(
            f"the network would have {ours} parameters, that of {teacher.folder} has {theirs}",
            f"choose a smaller one, for instance with `width` {max(2, teacher.config.network.width // 2)}",
            option="width",
        )


def _check_truths(truths: dict[str, Image], image: Image, teacher: Run) -> None:
    for name, scale in zip(teacher.network.outputs, teacher.network.scales, strict=True):
        expected = tuple(n * k for n, k in zip(image.shape, scale, strict=False))  # an image of other axes fails later
        if name in truths and truths[name].shape != expected:
            raise InputError(
                f"the truth of {name} is {size_text(truths[name].shape)}; for the first image, "
                f"{size_text(image.shape)}, it must be {size_text(expected)}",
                "give it uncropped, on that grid",
            )
