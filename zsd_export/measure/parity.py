"""A graph must compute what the trained network computes; otherwise no package is written."""

import numpy as np
import torch
from numpy.typing import NDArray

from zsd_runtime.engines import relative_difference, run_once
from zsd_runtime.engines.onnxruntime import OnnxRuntime
from zsd_train.networks.network import Network

LARGEST_DIFFERENCE = 1e-4  # between ONNX Runtime and torch, as a share of the range

Array = NDArray[np.float32]


class VerificationError(RuntimeError):
    """The exported network does not compute what the trained one does."""


def parity(network: Network, onnx: bytes, image: Array) -> list[Array]:
    """Run a graph and compare its outputs with torch's.

    Parameters
    ----------
    network : Network
    onnx : bytes
        The network's graph.
    image : ndarray
        ([C,] [Z,] Y, X), normalised.

    Returns
    -------
    list of ndarray
        The graph's outputs, (1, C, [Z,] Y, X).

    Raises
    ------
    VerificationError
        When they differ by more than 1e-4 of the output's range.
    """
    batch = image.reshape(1, network.channels, *image.shape[-len(network.axes) :])
    with torch.inference_mode():
        expected = [t.numpy() for t in network(torch.from_numpy(batch))]
    engine = OnnxRuntime(onnx)
    actual = run_once(engine, batch, network.scales)
    engine.close()
    for name, a, b in zip(engine.output_names, actual, expected, strict=True):
        difference = relative_difference(a, b)
        if not difference <= LARGEST_DIFFERENCE:
            raise VerificationError(
                f"{name}: ONNX Runtime differs from torch by {difference:.2g} of the range "
                f"(at most {LARGEST_DIFFERENCE:g} is allowed): nothing was written; please report this"
            )
    return actual
