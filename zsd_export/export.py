"""From a run folder to a package, written only when the network in it computes what was trained."""

import re
import shutil
import zipfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

from zsd_export.bioimageio import Contents, description
from zsd_export.counts import counts_graph
from zsd_export.memory import bytes_per_voxel
from zsd_export.precision import loss_db, quantized
from zsd_export.to_onnx import to_onnx
from zsd_export.verify import measure_halo, parity, scales_of
from zsd_runtime.engines import run_once
from zsd_runtime.engines.onnxruntime import OnnxRuntime
from zsd_runtime.errors import InputError
from zsd_runtime.files import written_whole
from zsd_runtime.package import read_package
from zsd_runtime.tiling import reflected
from zsd_train.pictures import GAP, enlarged, middle, montage
from zsd_train.train import Run, load_run

TEST_SIDE = 256  # pixels of the test tensors
COVER_HEIGHT = 256
HALO_SIDE = 768  # pixels of the image that the halo is measured on: more than the deepest field of the networks

Counts = NDArray[Any]  # float32 or uint16


def export(
    run: str | Path,
    package: str | Path,
    *,
    name: str | None = None,
    precision: str = "fp32",
    input: str = "float32",  # noqa: A002 (what BioImage.IO and the command line call it)
    output: str = "float32",
) -> Path:
    """Write a model package (BioImage.IO 0.5) from a run folder.

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
    package = Path(package)
    if package.exists():
        raise InputError(f"{package} exists already: choose another name, or remove it first")
    trained = load_run(run)
    if input == "uint16" and not np.array_equal(trained.sample, np.clip(np.rint(trained.sample), 0, 65535)):
        raise InputError(
            f"the run's images are not whole counts of 0 to 65535 ({trained.sample.min():g} to "
            f"{trained.sample.max():g}): export with --input float32"
        )
    step, upsample = trained.network.step, trained.network.upsample
    normalised = ((trained.sample - trained.offset) / trained.scale).astype(np.float32)
    exact = to_onnx(trained.network)
    parity(trained.network, exact, middle(normalised, TEST_SIDE, step))
    # Of the exact graph: where an int8 graph rounds, the faintest trace of a border can turn a whole step.
    side = reflected(np.arange(HALO_SIDE), min(normalised.shape))
    halo = measure_halo(exact, normalised[np.ix_(side, side)], step, upsample)
    onnx, losses = exact, {}
    if precision != "fp32":
        onnx = to_onnx(trained.network, half=True) if precision == "fp16" else quantized(exact, normalised)
        losses = loss_db(trained, normalised, exact, onnx, precision)
    if input == "uint16":
        onnx = counts_graph(onnx, trained.offset, trained.scale, output)
    test = middle(trained.sample, TEST_SIDE, step).astype(input)
    outputs = _predicted(onnx, test, trained)
    contents = Contents(
        name=name or f"zsd {re.sub('[^A-Za-z0-9_+() -]+', '-', trained.folder.resolve().name)}",
        step=step,
        upsample=upsample,
        offset=trained.offset,
        scale=trained.scale,
        halo=halo,
        input_type=input,
        output_type=output,
        test_peak=max(0.0, min(float(values.max()) for values in outputs)),
        precision=precision,
        precision_loss_db=losses,
        bytes_per_voxel=bytes_per_voxel(onnx, upsample),
        pixel_size_um=trained.pixel_size_um,
        provenance={
            "zsd_version": version("zsd"),
            "exported": datetime.now(UTC).date().isoformat(),
            "training": trained.config.model_dump(mode="json", exclude_none=True),
            "measured": trained.measured,
        },
    )
    with written_whole(package) as temporary:
        folder = temporary.with_suffix(".folder") if package.suffix == ".zip" else temporary
        folder.mkdir(parents=True)
        try:
            (folder / "model.onnx").write_bytes(onnx)
            np.save(folder / "test_noisy.npy", test[None, None])
            for label, values in zip(("denoised", "deconvolved"), outputs, strict=True):
                np.save(folder / f"test_{label}.npy", values)
            iio.imwrite(folder / "cover.png", _cover(test, outputs), extension=".png")
            description(contents, folder)
            read_package(folder)  # what was written is what the runtime understands
            if folder is not temporary:
                with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
                    for file in sorted(folder.iterdir()):
                        archive.write(file, file.name)
        finally:
            if folder is not temporary:
                shutil.rmtree(folder, ignore_errors=True)
    return package


def _check_choice(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{option} {value!r} must be one of {', '.join(allowed)}")


def _predicted(onnx: bytes, counts: Counts, run: Run) -> list[Counts]:
    """What a consumer of the package gets for a tile (y, x) of camera counts: as it does it, normalised outside."""
    engine = OnnxRuntime(onnx)
    inside = engine.input_dtype == np.uint16
    source = counts if inside else (counts - run.offset) / run.scale
    outputs = run_once(engine, source[None, None], scales_of(run.network.upsample))
    engine.close()
    return outputs if inside else [values * np.float32(run.scale) for values in outputs]


def _cover(noisy: Counts, outputs: list[Counts]) -> NDArray[np.uint8]:
    """noisy | denoised | deconvolved at the 2:1 that BioImage.IO asks of a cover."""
    k = outputs[1].shape[-1] // outputs[0].shape[-1]
    panels = [enlarged(noisy, k), enlarged(outputs[0][0, 0], k), outputs[1][0, 0]]
    height = min(COVER_HEIGHT, panels[0].shape[0])
    width = (2 * height - 2 * GAP) // 3
    return montage([panel[:height, :width] for panel in panels])
