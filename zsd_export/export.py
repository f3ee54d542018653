"""From a run folder to a package, written only when the network in it computes what was trained."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_export.graph.counts import counts_graph
from zsd_export.graph.precision import quantized
from zsd_export.graph.to_onnx import to_onnx
from zsd_export.measure.halo import halo_of
from zsd_export.measure.loss import loss_db
from zsd_export.measure.memory import bytes_per_voxel
from zsd_export.measure.parity import parity
from zsd_export.package.contents import Contents, linear, tensors_of
from zsd_export.package.credits import ANONYMOUS, Credits, name_after
from zsd_export.package.provenance import camera, channel, scores, trained_on
from zsd_export.package.rdf import task_text
from zsd_export.package.write import Destination, write
from zsd_optics.pictures import middle
from zsd_runtime.errors import InputError
from zsd_runtime.normalize import Linear
from zsd_train.run import Run, load_run

TEST = {2: (256, 256), 3: (16, 96, 96)}  # pixels of the test tensors, for 2 and 3 axes
CHOICES = {"precision": ("fp32", "fp16", "int8"), "input": ("float32", "uint16"), "output": ("float32", "uint16")}


def export(
    run: str | Path,
    package: str | Path,
    *,
    precision: str = "fp32",
    input: str = "float32",  # noqa: A002 (what BioImage.IO and the command line call it)
    output: str = "float32",
    credits: Credits = ANONYMOUS,  # noqa: A002
    format: str = "zoo",  # noqa: A002
    test: Sequence[int] | None = None,
    overwrite: bool = False,
    notice: Callable[[str], None] = lambda text: None,
) -> Path:
    """Write a model package from a run folder.

    Parameters
    ----------
    run : path
        What `zsd train` wrote.
    package : path
        A new folder, or a new file ending in .zip.
    precision : {"fp32", "fp16", "int8"}
        Of weights and arithmetic: fp16 is for GPUs, int8 for CPUs through OpenVINO.
    input, output : {"float32", "uint16"}
        With uint16 as input the graph itself normalises camera counts, and gives counts above the offset: float32,
        or uint16 (rounded, clipped to 0..65535). Otherwise both are normalised numbers, as rdf.yaml says.
    credits : Credits
        Name, authors, licence and tags. The name is "zsd" and the run folder's name if not given.
    format : {"zoo", "deepimagej", "triton"}
        BioImage.IO 0.5, the 0.4.10 that deepImageJ runs, or a model repository of NVIDIA Triton.
    test : sequence of int
        Pixels of the test tensors; by default `TEST`.
    overwrite : bool
        Replace the package that is there.
    notice : callable
        Gets a sentence for everything that the zoo will ask for and that is missing.

    Returns
    -------
    Path
        `package`.

    Raises
    ------
    InputError
        When the run cannot be read, the package exists or cannot be written, or an option is none of the above.
    VerificationError
        When the ONNX differs from torch by more than 1e-4 of the range, or its precision costs too much PSNR (0.1 dB
        for fp16, 0.2 dB for int8); nothing is written then.
    """
    _check_choices(precision=precision, input=input, output=output)
    to = Destination(Path(package), format, overwrite)
    to.check(input)
    trained = load_run(run)
    to.check_frames(trained.config.frames)
    credited = credits.over(Credits(name_after(trained.folder.resolve().name)), notice)
    _check_run(trained, precision, input)
    network, method = trained.network, trained.measured.method
    normalised = ((trained.sample - trained.offset) / trained.scale).astype(np.float32)
    exact = to_onnx(network)
    parity(network, exact, _part(normalised, trained))
    # Measured on the exact graph: where an int8 graph rounds, the faintest trace of a border can change a whole step.
    halo = halo_of(network, exact, normalised)
    onnx, losses = exact, {}
    if precision != "fp32":
        onnx = to_onnx(network, half=True) if precision == "fp16" else quantized(exact, normalised)
        losses = loss_db(trained, normalised, exact, onnx, precision)
    intensities = linear(trained.offset, trained.scale)
    if input == "uint16" and isinstance(intensities.before, Linear):
        onnx = counts_graph(onnx, intensities.before, intensities.after, output)
        intensities = replace(intensities, before=Linear(), after=Linear())
    contents = Contents(
        credits=credited,
        summary=f"Zero-shot {task_text(network.outputs)} ({method} {len(network.axes)}D), trained by zsd on noisy "
        "images alone.",
        origin=f"It was trained by zsd {version('zsd')} on noisy images alone, without clean data, and is meant for "
        "images of the same sample, camera setting and optics.",
        trained_on=trained_on(trained),
        validation=scores(trained, halo, losses),
        kind=network.kind,
        axes=network.axes,
        size_multiple=network.size_multiple,
        tensors=tensors_of(onnx, network.scales, intensities),
        units=intensities.units,
        intensities=intensities.text,
        halo=halo,
        bytes_per_voxel=bytes_per_voxel(onnx, network.scales, network.channels),
        precision=precision,
        precision_loss_db=losses,
        pixel_size_um=trained.pixel_size_um,
        z_step_um=trained.z_step_um,
        camera=None if trained.sim else camera(trained),
        channel=channel(trained),
        channel_number=trained.measured.channel_number,
        method=method,
        sim=trained.sim,
        frames=trained.config.frames,
        provenance=_provenance(trained),
    )
    write(to, contents, onnx, _part(trained.sample, trained, test))
    return to.path


def _check_choices(**chosen: str) -> None:
    for option, value in chosen.items():
        if value not in CHOICES[option]:
            raise InputError(f"{option} {value!r} must be one of {', '.join(CHOICES[option])}", option=option)
    if chosen["output"] == "uint16" and chosen["input"] != "uint16":
        raise InputError("output uint16 needs a graph of camera counts", "set `input` to uint16", option="input")


def _check_run(run: Run, precision: str, input_dtype: str) -> None:
    """Refuse what cannot be exported, and a precision and an input type that the run cannot have."""
    if run.network.channels != run.config.frames:
        raise InputError(
            f"{run.folder}: its network has {run.network.channels} input channels; zsd exports networks of one, or of "
            "the frames of a movie",
            "use the run from Python: zsd_train.load_run",
        )
    sample = run.sample
    if input_dtype == "uint16" and run.sim:
        raise InputError(
            "the run's network takes SIM reconstructions, which have fractions and negative values",
            "export with `input` float32", option="input",
        )  # fmt: skip
    if input_dtype == "uint16" and not np.array_equal(sample, np.clip(np.rint(sample), 0, 65535)):
        raise InputError(
            f"the run's images are not whole counts of 0 to 65535 ({sample.min():g} to {sample.max():g})",
            "export with `input` float32",
            option="input",
        )
    if precision == "int8" and run.network.kind != "unet":
        raise InputError(
            f"int8 is for U-Nets, and the run's network is {run.network.kind}",
            "export with `precision` fp16",
            option="precision",
        )


def _provenance(run: Run) -> dict[str, Any]:
    """The choices of the training, and what was measured."""
    parts = {"training": run.config, "measured": run.measured}
    return {name: part.model_dump(mode="json", exclude_none=True) for name, part in parts.items()}


def _part(image: NDArray[Any], run: Run, size: Sequence[int] | None = None) -> NDArray[Any]:
    """The middle of the sample, on the pooling grid: what is tested."""
    axes = len(run.config.axes)
    channels = image.shape[: image.ndim - axes]
    return middle(image, (*channels, *(size or TEST[axes])), (*(1 for _ in channels), *run.network.size_multiple))
