"""From a network with somebody else's weights to a package: what is measured, and what the package says of them."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from zsd_export.graph.to_onnx import to_onnx
from zsd_export.measure.halo import halo_of
from zsd_export.measure.memory import bytes_per_voxel
from zsd_export.measure.parity import LARGEST_DIFFERENCE, parity
from zsd_export.package.contents import Contents, Intensities, tensors_of
from zsd_export.package.credits import Credited
from zsd_export.package.rdf import task_text
from zsd_export.package.write import Destination, write
from zsd_runtime.tiling import round_up
from zsd_train.networks.network import Network

SIDES = {"yx": (256, 256), "zyx": (16, 64, 64)}  # of the image that everything is measured on, about


@dataclass(frozen=True)
class Foreign:
    """A network with weights that another program trained.

    Parameters
    ----------
    network : Network
        With these weights, in evaluation mode.
    weights : Path
        Their file.
    framework : str
        That wrote the file: Keras or PyTorch.
    method : str
        A key of `zsd_export.package.credits.CITATIONS`.
    zero_margin, pixel_size_um
        As of `Contents`.
    provenance : dict
        What else is known, for machines.
    """

    network: Network
    weights: Path
    framework: str
    method: str
    zero_margin: tuple[int, ...] | None = None
    pixel_size_um: float | None = None
    provenance: dict[str, Any] | None = None


def write_imported(
    to: Destination,
    foreign: Foreign,
    credited: Credited,
    intensities: Intensities,
    image: NDArray[Any],
    normalised: NDArray[np.float32],
) -> None:
    """Measure a network on an image, and write its package.

    Parameters
    ----------
    to : Destination
    foreign : Foreign
    credited : Credited
    intensities : Intensities
    image, normalised : ndarray
        ([Z,] Y, X), of `scene`: counts, and as the network sees them.

    Raises
    ------
    VerificationError
        When the ONNX differs from torch; nothing is written then.
    """
    network, name = foreign.network, foreign.weights.name
    onnx = to_onnx(network)
    parity(network, onnx, normalised)
    halo = halo_of(network, onnx, normalised)
    zeros = foreign.zero_margin
    sha256 = hashlib.sha256(foreign.weights.read_bytes()).hexdigest()
    own = foreign.framework.lower()
    contents = Contents(
        credits=credited,
        summary=f"Zero-shot {task_text(network.outputs)} ({foreign.method} {len(network.axes)}D), imported from "
        f"{foreign.framework}.",
        origin=f"Its weights were imported from {name}; their licence is for whoever trained them to say.",
        trained_on={"Weights": f"{name}, sha256 {sha256}", "Images": "not known here"},
        validation={
            "Quality": "how good the weights are is not known here: compare with a truth by `zsd evaluate`",
            "ONNX Runtime and torch": f"agree to {LARGEST_DIFFERENCE:g} of the range",
        },
        kind=network.kind,
        axes=network.axes,
        size_multiple=network.size_multiple,
        tensors=tensors_of(onnx, network.scales, intensities),
        units=intensities.units,
        intensities=intensities.text,
        halo=replace(halo, pixels=tuple(map(max, halo.pixels, zeros or halo.pixels))),  # tiles contain the whole margin
        bytes_per_voxel=bytes_per_voxel(onnx, network.scales),
        pixel_size_um=foreign.pixel_size_um,
        zero_margin=zeros,
        method=foreign.method,
        provenance={f"{own}_weights": name, f"{own}_sha256": sha256, **(foreign.provenance or {})},
    )
    write(to, contents, onnx, image)


def scene(network: Network) -> NDArray[np.uint16]:
    """Blurred points of light under shot noise, in counts: an image that the network can restore."""
    shape = [round_up(n, step) for n, step in zip(SIDES[network.axes], network.size_multiple, strict=True)]
    rng = np.random.default_rng(0)
    light = ndi.gaussian_filter((rng.random(shape) < 0.01).astype(np.float32), 1.5)
    return (rng.poisson(50 * light / light.max()) + 100).astype(np.uint16)
