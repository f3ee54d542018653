"""What both formats of a description say in the same words."""

from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from zsd_export.graph.to_onnx import OPSET
from zsd_export.package.contents import Contents
from zsd_export.package.credits import CITATIONS
from zsd_runtime.package import SCHEMA
from zsd_runtime.sim.files import OTF
from zsd_runtime.tensors import OutputSpec

INPUT_TEXT = "camera counts, offset included"
SIM_INPUT_TEXT = "a SIM reconstruction, counts above the offset"
TASKS = {"denoising": "denoised", "deconvolution": "deconvolved"}  # by the output that shows it
WEIGHTS = {"onnx": {"source": "model.onnx", "opset_version": OPSET}}

Rdf = dict[str, Any]


def task_text(outputs: tuple[str, ...]) -> str:
    """What a network with these outputs is for, in words."""
    return " and ".join(task for task, output in TASKS.items() if output in outputs)


def head(c: Contents, format_version: str) -> Rdf:
    """What the model is called, and where to read more."""
    return {
        "type": "model",
        "format_version": format_version,
        "name": c.credits.name,
        "description": c.summary,
        "cite": [dict(citation) for citation in CITATIONS[c.method]],
        "documentation": "README.md",
        "covers": ["cover.png"],
    }


def tags(c: Contents) -> list[str]:
    """Words by which a zoo finds the model."""
    names = [output.name for output in c.outputs]
    tasks = [task for task, output in TASKS.items() if output in names]
    own = ["fluorescence-light-microscopy", c.dimensions.lower(), *tasks, c.kind, "pytorch"]
    return [*own, *(tag for tag in c.credits.tags if tag not in own)]


def input_text(c: Contents) -> str:
    """What the numbers of the input are."""
    movie = f"; {c.frames} frames of a movie, to restore the middle one" if c.frames > 1 else ""
    return (SIM_INPUT_TEXT if c.sim else INPUT_TEXT) + movie


def attachments(c: Contents) -> list[str]:
    """Files beside those that the formats ask for."""
    return [OTF] if c.sim else []


def output_text(c: Contents, output: OutputSpec) -> str:
    """Units and grid of an output."""
    return c.units + (", on a finer grid" if max(output.scale) > 1 else "")


def facts(c: Contents) -> Rdf:
    """What the formats have no field for; unknown values are left out."""
    known = {
        "schema": SCHEMA if c.frames > 1 else 2,  # an older zsd takes no frames for channels
        "kind": c.kind,
        "method": c.method,
        "origin": c.origin,
        "trained_on": c.trained_on,
        "validation": c.validation,
        "units": c.units,
        "intensities": c.intensities,
        "pixel_size_um": c.pixel_size_um,
        "z_step_um": c.z_step_um,
        "camera": c.camera.facts if c.camera else None,
        "channel": c.channel,
        "sim": {"parameters": c.sim.parameters.as_dict(), "otf": OTF} if c.sim else None,
        "channel_number": c.channel_number,
        "frames": c.frames if c.frames > 1 else None,
        "halo": list(c.halo.pixels),
        "halo_error": c.halo.error,
        "zero_margin": list(c.zero_margin) if c.zero_margin is not None else None,
        "precision": c.precision,
        "precision_loss_db": c.precision_loss_db or None,
        "bytes_per_voxel": c.bytes_per_voxel,
        "zsd_version": version("zsd"),
        "exported": datetime.now(UTC).date().isoformat(),
        "provenance": c.provenance,
    }
    return {name: value for name, value in known.items() if value is not None}
