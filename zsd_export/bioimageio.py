"""A package of BioImage.IO 0.5: what a consumer must know to run the model, where it comes from, and tests of both."""

import re
import shutil
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import onnx as onnx_module
import yaml
from numpy.typing import NDArray

from zsd_export.to_onnx import OPSET, OUTPUTS
from zsd_export.verify import Halo
from zsd_runtime.engines import run_once
from zsd_runtime.engines.onnxruntime import OnnxRuntime
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.files import written_whole
from zsd_runtime.normalize import Linear, ScaleRange
from zsd_runtime.package import read_package
from zsd_runtime.tiling import round_up
from zsd_train.networks.dual_stage import DualStage
from zsd_train.pictures import GAP, continued, enlarged, montage

COVER_HEIGHT = 256
CITATIONS = [
    {
        "text": "Qiao, C. et al. Zero-shot learning enables instant denoising and super-resolution in optical "
        "fluorescence microscopy. Nature Communications 15, 4180 (2024)",
        "doi": "10.1038/s41467-024-48575-9",
    },
]

Counts = NDArray[Any]  # float32 or uint16


@dataclass(frozen=True)
class Intensities:
    """What is done to counts before the graph, and after it; the `units` of the results; for people, a `text`."""

    before: Linear | ScaleRange
    after: Linear
    units: str
    text: str


# As published: each image by itself.
PER_IMAGE = Intensities(
    ScaleRange(), Linear(), "shares of the image's range, above its minimum",
    "each image from its minimum (0) to its maximum (1), as published; the results are shares of that range",
)  # fmt: skip


def linear(offset: float, scale: float) -> Intensities:
    """One line for every image: the network sees ``(counts - offset) / scale``."""
    return Intensities(
        Linear(1 / scale, -offset / scale), Linear(scale), "camera counts above the offset",
        f"(counts - {offset:.6g}) / {scale:.6g}; the same for every image: movies do not flicker",
    )  # fmt: skip


@dataclass(frozen=True)
class Contents:
    """What a package says of its model.

    origin, validation : paragraphs of the README · summary : a sentence · input_type, output_type : of the tensors;
    uint16 are counts · precision_loss_db : of each output, empty for fp32 · bytes_per_voxel : of memory · provenance :
    what else is known, for machines.
    """

    name: str
    summary: str
    origin: str
    validation: str
    network: DualStage
    intensities: Intensities
    halo: Halo
    bytes_per_voxel: float
    input_type: str = "float32"
    output_type: str = "float32"
    precision: str = "fp32"
    precision_loss_db: dict[str, float] = field(default_factory=dict)
    pixel_size_um: float | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def smallest(self) -> tuple[int, ...]:
        """Input pixels, axis by axis: a tile has something left when its halo is cropped."""
        lengths = zip(self.network.axes, self.halo.pixels, self.network.step, strict=True)
        return tuple(round_up(max(2 * halo + 1, 64 if axis in "yx" else 1), step) for axis, halo, step in lengths)


def check_new(package: Path) -> None:
    """Refuse to write where something is."""
    if package.exists():
        raise InputError(f"{package} exists already: choose another name, or remove it first")


def name_after(stem: str) -> str:
    """A name that the zoo accepts."""
    return f"zsd {re.sub('[^A-Za-z0-9_+() -]+', '-', stem)}"


def write(package: Path, contents: Contents, onnx: bytes, test: Counts) -> None:
    """Write a package, a new folder or a new file ending in .zip.

    Parameters
    ----------
    package : path
    contents : Contents
    onnx : bytes
        The graph.
    test : ndarray
        ([Z,] Y, X) counts, on the pooling grid, whose results the package keeps for others to compare with; continued
        by reflection where it is smaller than the smallest input.

    Raises
    ------
    InputError
        When the place cannot be written to.
    """
    test = continued(test, [max(n, least) for n, least in zip(test.shape, contents.smallest, strict=True)])
    outputs = _predicted(onnx, test, contents)
    with written_whole(package) as temporary:
        folder = temporary.with_suffix(".folder") if package.suffix == ".zip" else temporary
        folder.mkdir(parents=True)
        try:
            (folder / "model.onnx").write_bytes(onnx)
            np.save(folder / "test_noisy.npy", test[None, None].astype(contents.input_type))
            for label, values in zip(OUTPUTS, outputs, strict=True):
                np.save(folder / f"test_{label}.npy", values)
            iio.imwrite(folder / "cover.png", _cover(test, outputs), extension=".png")
            _describe(contents, outputs, folder)
            read_package(folder)  # what was written is what the runtime understands
            if folder is not temporary:
                with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
                    for file in sorted(folder.iterdir()):
                        archive.write(file, file.name)
        finally:
            if folder is not temporary:
                shutil.rmtree(folder, ignore_errors=True)


def _predicted(onnx: bytes, test: Counts, c: Contents) -> list[Counts]:
    """What a consumer of the package gets for an image, as it does it."""
    engine = OnnxRuntime(onnx)
    line = c.intensities.before.fit([test])
    outputs = run_once(engine, line(test)[None, None], c.network.scales)
    engine.close()
    return [c.intensities.after(values).astype(values.dtype) for values in outputs]


def _cover(noisy: Counts, outputs: list[Counts]) -> NDArray[np.uint8]:
    """noisy | denoised | deconvolved, of a stack its middle slice, at the 2:1 that BioImage.IO asks of a cover."""
    noisy, denoised, deconvolved = (_plane(image) for image in (noisy, *outputs))
    k = deconvolved.shape[-1] // denoised.shape[-1]
    panels = [enlarged(noisy, k), enlarged(denoised, k), deconvolved]
    height = min(COVER_HEIGHT, panels[0].shape[0])
    width = (2 * height - 2 * GAP) // 3
    return montage([panel[:height, :width] for panel in panels])


def _plane(image: Counts) -> Counts:
    planes = image.reshape(-1, *image.shape[-2:])
    return planes[len(planes) // 2]


def _describe(c: Contents, outputs: list[Counts], folder: Path) -> None:
    """Write rdf.yaml and README.md into `folder`, beside the files that they name."""
    rdf = {
        "type": "model",
        "format_version": "0.5.4",
        "name": c.name,
        "description": c.summary,
        "authors": [{"name": "zsd user"}],
        "license": "CC-BY-4.0",
        "cite": CITATIONS,
        "tags": [
            "fluorescence-light-microscopy", _dimensions(c).lower(), "denoising", "deconvolution", c.network.kind,
            "pytorch",
        ],
        "documentation": "README.md",
        "covers": ["cover.png"],
        "inputs": [_input(c)],
        "outputs": [_output(*named, c) for named in zip(OUTPUTS, c.network.scales, strict=True)],
        "weights": {"onnx": {"source": "model.onnx", "opset_version": OPSET}},
        "config": {
            "bioimageio": {"reproducibility_tolerance": [_tolerance(c, outputs)]},
            "zsd": {
                **({"pixel_size_um": c.pixel_size_um} if c.pixel_size_um else {}),
                "halo": list(c.halo.pixels),
                **({} if c.halo.error is None else {"halo_error": c.halo.error}),
                "precision": c.precision,
                **({"precision_loss_db": c.precision_loss_db} if c.precision_loss_db else {}),
                "bytes_per_voxel": c.bytes_per_voxel,
                "zsd_version": version("zsd"),
                "exported": datetime.now(UTC).date().isoformat(),
                **c.provenance,
            },
        },
    }  # fmt: skip
    (folder / "rdf.yaml").write_text(yaml.safe_dump(rdf, sort_keys=False, allow_unicode=True), "utf-8")
    (folder / "README.md").write_text(_readme(c), "utf-8")
    onnx_module.checker.check_model(str(folder / "model.onnx"))


def _axes(sizes: list[dict[str, Any]], axes: str) -> list[dict[str, Any]]:
    return [
        {"type": "batch"},
        {"type": "channel", "channel_names": ["intensity"]},
        *({"type": "space", "id": name, **size} for name, size in zip(axes, sizes, strict=True)),
    ]


def _input(c: Contents) -> dict[str, Any]:
    sizes = [{"size": {"min": n, "step": step}} for n, step in zip(c.smallest, c.network.step, strict=True)]
    return {
        "id": "noisy",
        "description": "camera counts, offset included",
        "axes": _axes(sizes, c.network.axes),
        "data": {"type": c.input_type},
        "test_tensor": {"source": "test_noisy.npy"},
        "preprocessing": _operations(c.intensities.before, c.network.axes),
    }


def _output(name: str, scale: tuple[int, ...], c: Contents) -> dict[str, Any]:
    sizes = [
        {"size": {"tensor_id": "noisy", "axis_id": axis, "offset": 0}, "scale": 1 / factor, "halo": halo * factor}
        for axis, factor, halo in zip(c.network.axes, scale, c.halo.pixels, strict=True)
    ]
    return {
        "id": name,
        "description": c.intensities.units + (", on a finer grid" if max(scale) > 1 else ""),
        "axes": _axes(sizes, c.network.axes),
        "data": {"type": c.output_type},
        "test_tensor": {"source": f"test_{name}.npy"},
        "postprocessing": _operations(c.intensities.after, c.network.axes),
    }


def _operations(line: Linear | ScaleRange, axes: str) -> list[dict[str, Any]]:
    if isinstance(line, ScaleRange):
        limits = {"min_percentile": line.low, "max_percentile": line.high, "eps": line.eps}
        return [{"id": "scale_range", "kwargs": {"axes": ["channel", *axes], **limits}}]
    if line == Linear():
        return []
    return [{"id": "scale_linear", "kwargs": {"gain": line.gain, "offset": line.offset}}]


def _tolerance(c: Contents, outputs: list[Counts]) -> dict[str, float]:
    """How far other engines may be from the test tensors, since they round elsewhere; BioImage.IO allows up to 1 %."""
    share = {"fp32": 1e-3, "fp16": 3e-3, "int8": 9e-3}[c.precision]
    peak = max(0.0, min(float(values.max()) for values in outputs))  # that all outputs reach
    return {"relative_tolerance": share, "absolute_tolerance": share * peak}


def _readme(c: Contents) -> str:
    size = f"{c.pixel_size_um * 1000:.4g} nm" if c.pixel_size_um else "not known"
    losses = ", ".join(f"{name} {loss:.2f} dB" for name, loss in c.precision_loss_db.items())
    cost = f"; PSNR lost on simulated acquisitions: {losses}" if losses else ""
    halo = (
        f"beyond it a tile's border changes at most {c.halo.error:.1e} of the range (fp32)"
        if c.halo.error is not None
        else "as far as the convolutions see. Channel attention takes its mean over the whole tile: results depend, "
        "slowly, on the tiles"
    )
    return f"""# {c.name}

A dual-stage network (ZS-DeconvNet {_dimensions(c)}): `denoised` on the image's own grid, `deconvolved` on a grid
{c.network.upsample} times as fine in Y and X, both in {c.intensities.units}. {c.origin}

- Pixel size of the training images: {size}
- Intensities: {c.intensities.text}
- Tensors: {c.input_type} in, {c.output_type} out, {"camera counts" if c.input_type == "uint16" else "normalised"}
- Precision: {c.precision}{cost}
- Sizes must be multiples of {size_text(c.network.step)} (zsd pads by itself)
- Halo: {size_text(c.halo.pixels)} input pixels; {halo}

Run it: `zsd predict PACKAGE IMAGE --out DIR`.

# Validation

{c.validation}
"""


def _dimensions(c: Contents) -> str:
    return f"{len(c.network.axes)}D"
