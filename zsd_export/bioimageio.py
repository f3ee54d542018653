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
    """What `description` writes down. Lengths in input pixels; offset and scale as in `zsd_train.Run`."""

    name: str
    step: int
    upsample: int
    offset: float
    scale: float
    halo: Halo
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
            "zsd": {
                **({"pixel_size_um": c.pixel_size_um} if c.pixel_size_um else {}),
                "halo": c.halo.pixels,
                "halo_error": c.halo.error,
                **c.provenance,
            }
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
        "data": {"type": "float32"},
        "test_tensor": {"source": "test_noisy.npy"},
        "preprocessing": [
            {"id": "scale_linear", "kwargs": {"gain": 1 / c.scale, "offset": -c.offset / c.scale}},
        ],
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
        "data": {"type": "float32"},
        "test_tensor": {"source": f"test_{name}.npy"},
        "postprocessing": [{"id": "scale_linear", "kwargs": {"gain": c.scale, "offset": 0.0}}],
    }


def _readme(c: Contents) -> str:
    size = f"{c.pixel_size_um * 1000:.4g} nm" if c.pixel_size_um else "not known"
    return f"""# {c.name}

A dual-stage network (ZS-DeconvNet 2D): `denoised` on the image's own grid, `deconvolved` on a grid {c.upsample} times
as fine, both in camera counts above the offset. It was trained by zsd {c.provenance["zsd_version"]} on noisy images
alone, without clean data, and is meant for images of the same sample, camera setting and optics.

- Pixel size of the training images: {size}
- Intensities: (counts - {c.offset:.6g}) / {c.scale:.6g}; the same for every image: movies do not flicker
- Sizes must be multiples of {c.step} (zsd pads by itself)
- Halo: {c.halo.pixels} input pixels; beyond it a tile's border changes at most {c.halo.error:.1e} of the range

Run it: `zsd predict PACKAGE IMAGE --out DIR`.

# Validation

Held-out mean squared error of the training: {c.provenance["measured"].get("held_out_error", "none")}
(normalised units, against recorrupted noisy targets, so it does not fall to zero).
"""
