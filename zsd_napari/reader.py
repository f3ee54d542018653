"""A reader for model packages: the sample image that a package holds, and what its model makes of it, as layers."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from zsd_runtime.archive import read_member
from zsd_runtime.package import ModelDescription, read_package

Layer = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[Layer]] | None:
    """A function that reads packages; None for other zips."""
    if isinstance(path, list) or not path.endswith(".zip"):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return None
    return read if names & {"rdf.yaml", "bioimageio.yaml"} else None


def read(path: str | list[str]) -> list[Layer]:
    """The test images of a package: its input, and its outputs on their finer grid."""
    path = path[0] if isinstance(path, list) else path
    description = read_package(path)
    tensors = [(description.test_tensor, description.input.name, (1,) * len(description.axes))]
    outputs = zip(_outputs(description), description.outputs, strict=True)
    tensors += [(file, output.name, output.scale) for file, output in outputs]
    layers = []
    for file, name, scale in tensors:
        pixels = np.load(io.BytesIO(read_member(path, file)), allow_pickle=False)
        image = pixels.reshape(pixels.shape[-len(scale) - 1 :]) if pixels.ndim > len(scale) else pixels
        image = image[0] if image.ndim > len(scale) and len(image) == 1 else image
        layers.append((image, _look(description, Path(path).stem, name, scale, image), "image"))
    return layers


def _outputs(description: ModelDescription) -> list[str]:
    rdf = description.rdf
    if "test_outputs" in rdf:
        return [str(file) for file in rdf["test_outputs"]]
    return [str(tensor["test_tensor"]["source"]) for tensor in rdf["outputs"]]


def _look(description: ModelDescription, stem: str, name: str, scale: tuple[int, ...], image: Any) -> dict[str, Any]:
    pixel, z_step = description.pixel_size_um, description.z_step_um
    sizes = [z_step, pixel, pixel][-len(scale) :]
    known = all(sizes)
    step = [float(s) if known and s else 1.0 for s in sizes]
    low, high = np.percentile(image, (1, 99.9))
    extra = image.ndim - len(scale)
    return {
        "name": f"{stem} {name}",
        "scale": [1.0] * extra + [s / k for s, k in zip(step, scale, strict=True)],
        "translate": [0.0] * extra + [s * (1 / k - 1) / 2 for s, k in zip(step, scale, strict=True)],
        "units": ["pixel"] * extra + ["um" if known else "pixel"] * len(scale),
        "axis_labels": [*"c" * extra, *description.axes],
        "contrast_limits": (float(low), max(float(high), float(low) + 1e-6)),
        "metadata": {"zsd": {"package": stem, "tensor": name}},
    }
