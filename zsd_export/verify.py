"""What a package promises, measured before it is written: parity with torch, and the halo with its error."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from zsd_runtime.engines import run_once
from zsd_runtime.engines.onnxruntime import OnnxRuntime
from zsd_train.networks.dual_stage import DualStageUNet

LARGEST_DIFFERENCE = 1e-4  # of the range, between ONNX Runtime and torch
HALO_ERROR = 3e-4  # of the range, that tiles may leave at the rim of their cores

Array = NDArray[np.float32]


class VerificationError(RuntimeError):
    """The exported network does not compute what the trained one does."""


@dataclass(frozen=True)
class Halo:
    """`pixels` (input) that a tile's border spoils, and the largest `error` (share of the range) further inside."""

    pixels: int
    error: float


def parity(network: DualStageUNet, onnx: bytes, image: Array) -> list[Array]:
    """Outputs of the ONNX for a normalised `image` (y, x), checked against torch.

    Raises
    ------
    VerificationError
        When they differ by more than 1e-4 of the output's range.
    """
    batch = image[None, None]
    with torch.inference_mode():
        expected = [t.numpy() for t in network(torch.from_numpy(batch))]
    engine = OnnxRuntime(onnx)
    actual = run_once(engine, batch, scales_of(network.upsample))
    engine.close()
    for name, a, b in zip(engine.output_names, actual, expected, strict=True):
        difference = relative_difference(a, b)
        if not difference <= LARGEST_DIFFERENCE:
            raise VerificationError(
                f"{name}: ONNX Runtime differs from torch by {difference:.2g} of the range "
                f"(at most {LARGEST_DIFFERENCE:g} is allowed): nothing was written; please report this"
            )
    return actual


def measure_halo(onnx: bytes, image: Array, step: int, upsample: int) -> Halo:
    """Find how far a tile's border reaches into its outputs.

    The outputs of the whole `image` (normalised, y, x) are compared with those of a tile cut from its middle, by the
    distance from the tile's border. The halo is the smallest multiple of `step` beyond which no output differs by
    more than 3e-4 of its range: every tile of any tiling is such a cut.
    """
    engine = OnnxRuntime(onnx)
    whole = run_once(engine, image[None, None], scales_of(upsample))
    height, width = image.shape
    # Two cuts with other surroundings; they start on the pooling grid, as all tiles do.
    profiles = []
    for share in (0.25, 0.125):
        y, x = (round(n * share / step) * step for n in image.shape)
        inner = (slice(y, height - y), slice(x, width - x))
        tile = run_once(engine, image[inner][None, None], scales_of(upsample))
        for full, part in zip(whole, tile, strict=True):
            k = full.shape[-1] // width
            cut = full[0, 0][y * k : (height - y) * k, x * k : (width - x) * k]
            profiles.append(_largest_by_depth(np.abs(part[0, 0] - cut) / max(float(np.ptp(full)), 1e-12), k))
    engine.close()
    depth = min(map(len, profiles))
    # The largest error at this depth or deeper, over all outputs and cuts.
    worst = np.maximum.accumulate(np.max([p[:depth] for p in profiles], axis=0)[::-1])[::-1]
    pixels = next((p for p in range(0, depth, step) if worst[p] <= HALO_ERROR), (depth - 1) // step * step)
    return Halo(pixels, float(worst[pixels]))


def scales_of(upsample: int) -> list[tuple[int, ...]]:
    """How much finer each output is than the input, as `run_once` takes it."""
    return [(1, 1), (upsample, upsample)]


def relative_difference(a: Array, b: Array) -> float:
    """Largest absolute difference as a share of b's range."""
    return float(np.abs(a - b).max() / max(float(np.ptp(b)), 1e-12))


def _largest_by_depth(error: Array, scale: int) -> Array:
    """Largest value at each distance (input pixels) from the border of `error`, sampled `scale` times as fine."""
    y, x = (np.minimum(np.arange(n), np.arange(n)[::-1]) // scale for n in error.shape)
    depth = np.minimum(y[:, None], x[None, :])
    result = np.zeros(int(depth.max()) + 1, error.dtype)
    np.maximum.at(result, depth.ravel(), error.ravel())
    return result
