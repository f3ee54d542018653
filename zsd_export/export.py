"""From a run folder to a package, written only when the network in it computes what was trained."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from zsd_export.bioimageio import check_place, write
from zsd_export.contents import Contents, linear
from zsd_export.counts import counts_graph
from zsd_export.describe import check_consumer
from zsd_export.memory import bytes_per_voxel
from zsd_export.precision import loss_db, quantized
from zsd_export.provenance import scores, trained_on
from zsd_export.to_onnx import to_onnx
from zsd_export.verify import halo_of, parity
from zsd_export.zoo import check_name, credits_of, name_after
from zsd_optics.pictures import middle
from zsd_runtime.errors import InputError
from zsd_runtime.normalize import Linear
from zsd_train.run import load_run

TEST = {2: (256, 256), 3: (16, 96, 96)}  # pixels of the test tensors


def export(
    run: str | Path,
    package: str | Path,
    *,
    name: str | None = None,
    precision: str = "fp32",
    input: str = "float32",  # noqa: A002 (what BioImage.IO and the command line call it)
    output: str = "float32",
    format: str = "zoo",  # noqa: A002
    authors: Sequence[str] = (),
    licence: str | None = None,
    tags: Sequence[str] = (),
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
    name : str
        Of the model; "zsd" and the run folder's name if not given.
    precision : {"fp32", "fp16", "int8"}
        Of weights and arithmetic: fp16 is for GPUs, int8 for CPUs through OpenVINO.
    input, output : {"float32", "uint16"}
        With uint16 as input the graph itself normalises camera counts, and gives counts above the offset: float32,
        or uint16 (rounded, clipped to 0..65535). Else both are normalised numbers, as rdf.yaml says.
    format : {"zoo", "deepimagej"}
        BioImage.IO 0.5, or the 0.4.10 that deepImageJ runs.
    authors : sequence of str
        "Name; affiliation" or "Name", of whoever trained it.
    licence : str
        SPDX identifier of the weights' licence.
    tags : sequence of str
        Beside those that every package has.
    overwrite : bool
        Replace the package that is there.
    notice : callable
        Told, in a sentence each, what the zoo will ask for that is missing.

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
    _check_choice("precision", precision, ("fp32", "fp16", "int8"))
    _check_choice("input", input, ("float32", "uint16"))
    _check_choice("output", output, ("float32", "uint16"))
    if output == "uint16" and input != "uint16":
        raise InputError("output uint16 needs a graph of camera counts: add --input uint16")
    check_consumer(format, input)
    package = Path(package)
    check_place(package, overwrite)
    trained = load_run(run)
    name = check_name(name or name_after(trained.folder.resolve().name))
    credited, licence = credits_of(authors, licence, notice)
    if input == "uint16" and not np.array_equal(trained.sample, np.clip(np.rint(trained.sample), 0, 65535)):
        raise InputError(
            f"the run's images are not whole counts of 0 to 65535 ({trained.sample.min():g} to "
            f"{trained.sample.max():g}): export with --input float32"
        )
    network = trained.network
    if precision == "int8" and network.kind != "unet":
        raise InputError(f"int8 is for U-Nets, and the run's network is {network.kind}: export with --precision fp16")
    normalised = ((trained.sample - trained.offset) / trained.scale).astype(np.float32)
    exact = to_onnx(network)
    parity(network, exact, middle(normalised, TEST[normalised.ndim], network.size_multiple))
    # Of the exact graph: where an int8 graph rounds, the faintest trace of a border can turn a whole step.
    halo = halo_of(network, exact, normalised)
    onnx, losses = exact, {}
    if precision != "fp32":
        onnx = to_onnx(network, half=True) if precision == "fp16" else quantized(exact, normalised)
        losses = loss_db(trained, normalised, exact, onnx, precision)
    intensities = linear(trained.offset, trained.scale)
    if input == "uint16":
        onnx = counts_graph(onnx, trained.offset, trained.scale, output)
        intensities = replace(intensities, before=Linear(), after=Linear())
    contents = Contents(
        name=name,
        summary=f"Zero-shot denoising and deconvolution (ZS-DeconvNet {len(network.axes)}D), trained by zsd on noisy "
        "images alone.",
        origin=f"It was trained by zsd {version('zsd')} on noisy images alone, without clean data, and is meant for "
        "images of the same sample, camera setting and optics.",
        trained_on=trained_on(trained),
        validation=scores(trained, halo, losses),
        kind=network.kind,
        axes=network.axes,
        size_multiple=network.size_multiple,
        scales=network.scales,
        intensities=intensities,
        halo=halo,
        bytes_per_voxel=bytes_per_voxel(onnx, network.scales),
        input_dtype=input,
        output_dtype=output,
        precision=precision,
        precision_loss_db=losses,
        pixel_size_um=trained.pixel_size_um,
        z_step_um=trained.z_step_um,
        authors=credited,
        licence=licence,
        tags=tuple(tags),
        provenance={
            "training": trained.config.model_dump(mode="json", exclude_none=True),
            "measured": trained.measured.model_dump(mode="json", exclude_none=True),
        },
    )
    test = middle(trained.sample, TEST[normalised.ndim], network.size_multiple).astype(input)
    write(package, contents, onnx, test, format, overwrite)
    return package


def _check_choice(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{option} {value!r} must be one of {', '.join(allowed)}")
