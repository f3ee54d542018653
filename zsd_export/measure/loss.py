"""What a graph of reduced precision costs in PSNR."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zsd_export.measure.parity import VerificationError
from zsd_optics.noise_covariance import correlated
from zsd_runtime.engines import run_once
from zsd_runtime.engines.onnxruntime import OnnxRuntime
from zsd_train.forward import light_path
from zsd_train.run import Run

LARGEST_LOSS_DB = {"fp16": 0.1, "int8": 0.2}  # of PSNR, for each output
REMEDY = {"fp16": "export with precision fp32", "int8": "export with precision fp16"}
ACQUISITIONS = 2  # simulated to measure a loss

Array = NDArray[np.float32]


def loss_db(run: Run, image: Array, exact: bytes, reduced: bytes, precision: str) -> dict[str, float]:
    """`psnr_lost` with one graph of reduced precision.

    Raises
    ------
    VerificationError
        When an output loses more than its precision may cost.
    """
    (losses,) = psnr_lost(run, image, exact, [reduced])
    for name, loss in losses.items():
        if not loss <= LARGEST_LOSS_DB[precision]:
            raise VerificationError(
                f"{precision} costs {loss:.2f} dB of {name}'s PSNR, at most {LARGEST_LOSS_DB[precision]:g} dB is "
                f"allowed: nothing was written; {REMEDY[precision]}"
            )
    return losses


def psnr_lost(run: Run, image: Array, exact: bytes, reduced: Sequence[bytes]) -> list[dict[str, float]]:
    """PSNR (dB) that each output loses with each graph of `reduced` in place of `exact`.

    A run holds no clean truth. The outputs of `exact` serve as one: the deconvolved image is blurred by the PSF,
    averaged onto the raw grid and given the noise of the camera. All graphs restore these simulated acquisitions, and
    their mean squared errors are compared.

    Parameters
    ----------
    run : Run
        Its PSF and its camera are used.
    image : ndarray
        ([C,] [Z,] Y, X), normalised; of a movie, the middle frame is given noise.
    exact, reduced : bytes, sequence of bytes
        Graphs.

    Returns
    -------
    list of dict
        For each graph of `reduced` a loss for each output; negative where PSNR rises.
    """
    names = run.network.outputs
    image = image.reshape(run.network.channels, *image.shape[-len(run.network.axes) :])
    shape, own = image.shape[1:], len(image) // 2
    (restored, *_) = _restored(run, exact, [image[None]])
    truth = dict(zip(names, restored, strict=True))
    if "deconvolved" in truth:  # what the camera sees, and a denoised image shows, is its blur
        psf = torch.tensor(run.psf, dtype=torch.float32)
        forward = light_path(psf, shape, (0,) * len(shape), run.network.grid_factor, symmetries=1)
        truth["denoised"] = forward(torch.from_numpy(truth["deconvolved"]), torch.tensor([0])).numpy()
    seen: NDArray[Any] = truth["denoised"]
    noise = run.measured.noise
    sigma = np.sqrt(noise.variance(seen * run.scale + run.offset)) / run.scale
    rng = np.random.default_rng(0)
    noisy = [image[None].copy() for _ in range(ACQUISITIONS)]
    for batch in noisy:
        batch[:, own] = (seen + sigma * correlated(rng.normal(size=sigma.shape), noise.correlation))[:, 0]

    def errors(graph: bytes) -> NDArray[np.float64]:
        pairs = [zip(outputs, (truth[name] for name in names), strict=True) for outputs in _restored(run, graph, noisy)]
        squares = np.sum([[np.mean((a - b) ** 2, dtype=float) for a, b in pair] for pair in pairs], axis=0)
        return np.maximum(squares, 1e-30)  # a network that gives the same for every image has none

    before = errors(exact)
    decibels = [(10 * np.log10(errors(graph) / before)).round(4).tolist() for graph in reduced]
    return [dict(zip(names, losses, strict=True)) for losses in decibels]


def _restored(run: Run, graph: bytes, batches: list[Array]) -> list[list[Array]]:
    engine = OnnxRuntime(graph)
    outputs = [run_once(engine, batch, run.network.scales) for batch in batches]
    engine.close()
    return outputs
