"""rdf.yaml of BioImage.IO 0.5: what a consumer must know to run the model, and where it comes from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx as onnx_module
import yaml

from zsd_export.to_onnx import OPSET
from zsd_export.verify import Halo

CITATIONS = [
    {
        "text": "Qiao, C. et al. Zero-shot learning enables instant denoising and super-resolution in optical "
        "fluorescence microscopy. Nature Communications 15, 4180 (2024)",
        "doi": "10.1038/s41467-024-48575-9",
    },
]


@dataclass(frozen=True)
class Contents:
    """What `description` writes down. Lengths in input pixels; offset and scale as in `zsd_train.Run`.

    input_type, output_type : of the tensors; counts are normalised outside of the graph if the input is float32,
    inside if it is uint16 · test_peak : the brightest value that all test outputs reach, counts ·
    precision_loss_db : of each output, empty for fp32 · bytes_per_voxel : of memory.
    """

    name: str
    step: int
    upsample: int
    offset: float
    scale: float
    halo: Halo
    input_type: str
    output_type: str
    test_peak: float
    precision: str
    precision_loss_db: dict[str, float]
    bytes_per_voxel: float
    pixel_size_um: float | None
    provenance: dict[str, Any]


def description(contents: Contents, folder: Path) -> None:
    """Write rdf.yaml and README.md into `folder`, beside the files that they name."""
    c = contents
    rdf = {
        "type": "model",
        "format_version": "0.5.4",
        "name": c.name,
        "description": "Zero-shot denoising and deconvolution (ZS-DeconvNet 2D), trained by zsd on noisy images alone.",
        "authors": [{"name": "zsd user"}],
        "license": "CC-BY-4.0",
        "cite": CITATIONS,
        "tags": ["fluorescence-light-microscopy", "2d", "denoising", "deconvolution", "unet", "pytorch"],
        "documentation": "README.md",
        "covers": ["cover.png"],
        "inputs": [_input(c)],
        "outputs": [_output("denoised", 1, c), _output("deconvolved", c.upsample, c)],
        "weights": {"onnx": {"source": "model.onnx", "opset_version": OPSET}},
        "config": {
            "bioimageio": {"reproducibility_tolerance": [_tolerance(c)]},
            "zsd": {
                **({"pixel_size_um": c.pixel_size_um} if c.pixel_size_um else {}),
                "halo": c.halo.pixels,
                "halo_error": c.halo.error,
                "precision": c.precision,
                **({"precision_loss_db": c.precision_loss_db} if c.precision_loss_db else {}),
                "bytes_per_voxel": c.bytes_per_voxel,
                **c.provenance,
            },
        },
    }
    (folder / "rdf.yaml").write_text(yaml.safe_dump(rdf, sort_keys=False, allow_unicode=True), "utf-8")
    (folder / "README.md").write_text(_readme(c), "utf-8")
    onnx_module.checker.check_model(str(folder / "model.onnx"))


def _axes(size: Any) -> list[dict[str, Any]]:
    return [
        {"type": "batch"},
        {"type": "channel", "channel_names": ["intensity"]},
        *({"type": "space", "id": name, **size(name)} for name in ("y", "x")),
    ]


def _input(c: Contents) -> dict[str, Any]:
    smallest = max(64, 2 * c.halo.pixels + 1)  # a tile has something left when its halo is cropped
    size = {"size": {"min": -(-smallest // c.step) * c.step, "step": c.step}}
    return {
        "id": "noisy",
        "description": "camera counts, offset included",
        "axes": _axes(lambda name: size),
        "data": {"type": c.input_type},
        "test_tensor": {"source": "test_noisy.npy"},
        "preprocessing": _linear(1 / c.scale, -c.offset / c.scale, c),
    }


def _output(name: str, factor: int, c: Contents) -> dict[str, Any]:
    def size(axis: str) -> dict[str, Any]:
        return {
            "size": {"tensor_id": "noisy", "axis_id": axis, "offset": 0},
            "scale": 1 / factor,
            "halo": c.halo.pixels * factor,
        }

    return {
        "id": name,
        "description": "camera counts above the offset" + (", on a finer grid" if factor > 1 else ""),
        "axes": _axes(size),
        "data": {"type": c.output_type},
        "test_tensor": {"source": f"test_{name}.npy"},
        "postprocessing": _linear(c.scale, 0.0, c),
    }


def _linear(gain: float, offset: float, c: Contents) -> list[dict[str, Any]]:
    """gain · x + offset, unless the graph computes it itself."""
    return [{"id": "scale_linear", "kwargs": {"gain": gain, "offset": offset}}] if c.input_type == "float32" else []


def _tolerance(c: Contents) -> dict[str, float]:
    """How far other engines may be from the test tensors, since they round elsewhere; BioImage.IO allows up to 1 %."""
    share = {"fp32": 1e-3, "fp16": 3e-3, "int8": 9e-3}[c.precision]
    return {"relative_tolerance": share, "absolute_tolerance": share * c.test_peak}


def _readme(c: Contents) -> str:
    size = f"{c.pixel_size_um * 1000:.4g} nm" if c.pixel_size_um else "not known"
    losses = ", ".join(f"{name} {loss:.2f} dB" for name, loss in c.precision_loss_db.items())
    cost = f"; PSNR lost on simulated acquisitions: {losses}" if losses else ""
    return f"""# {c.name}

A dual-stage network (ZS-DeconvNet 2D): `denoised` on the image's own grid, `deconvolved` on a grid {c.upsample} times
as fine, both in camera counts above the offset. It was trained by zsd {c.provenance["zsd_version"]} on noisy images
alone, without clean data, and is meant for images of the same sample, camera setting and optics.

- Pixel size of the training images: {size}
- Intensities: (counts - {c.offset:.6g}) / {c.scale:.6g}; the same for every image: movies do not flicker
- Tensors: {c.input_type} in, {c.output_type} out, {"camera counts" if c.input_type == "uint16" else "normalised"}
- Precision: {c.precision}{cost}
- Sizes must be multiples of {c.step} (zsd pads by itself)
- Halo: {c.halo.pixels} input pixels; beyond it a tile's border changes at most {c.halo.error:.1e} of the range (fp32)

Run it: `zsd predict PACKAGE IMAGE --out DIR`.

# Validation

Held-out mean squared error of the training: {c.provenance["measured"].get("held_out_error", "none")}
(normalised units, against recorrupted noisy targets, so it does not fall to zero).
"""
