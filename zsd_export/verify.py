"""What a package promises, measured before it is written: parity with torch, and the halo with its error."""

from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from numpy.typing import NDArray

from zsd_optics.pictures import continued
from zsd_runtime.engines import relative_difference, run_once
from zsd_runtime.engines.onnxruntime import OnnxRuntime
from zsd_runtime.tiling import round_up
from zsd_train.networks.dual_stage import Network

LARGEST_DIFFERENCE = 1e-4  # of the range, between ONNX Runtime and torch
HALO_ERROR = 1e-4  # of the range, that tiles may leave at the rim of their cores; on other images up to ten times that
# What a halo is measured on, by the number of axes: those that tiles are cut along together, and the size of the image.
# Along them it is more than the deepest field of the networks; a volume that is so along all three fits in no memory.
HALO_IMAGES: dict[int, list[tuple[tuple[int, ...], tuple[int, ...]]]] = {
    2: [((0, 1), (768, 768))],
    3: [((0,), (128, 48, 48)), ((1,), (4, 768, 96)), ((2,), (4, 96, 768))],
}

Array = NDArray[np.float32]


class VerificationError(RuntimeError):
    """The exported network does not compute what the trained one does."""


@dataclass(frozen=True)
class Halo:
    """`pixels` (input) that a tile's border spoils, axis by axis, and the largest `error` further inside.

    The error is a share of the range; None where the halo is that of the convolutions alone, and the outputs depend on
    the whole tile.
    """

    pixels: tuple[int, ...]
    error: float | None


def parity(network: Network, onnx: bytes, image: Array) -> list[Array]:
    """Outputs of the ONNX for a normalised `image` ([z,] y, x), checked against torch.

    Raises
    ------
    VerificationError
        When they differ by more than 1e-4 of the output's range.
    """
    batch = image[None, None]
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


def halo_of(network: Network, onnx: bytes, image: Array) -> Halo:
    """How far a tile's border reaches into the outputs: measured, unless it reaches everywhere."""
    return (
        Halo(network.halo, None) if network.halo else measure_halo(onnx, image, network.size_multiple, network.scales)
    )


def measure_halo(onnx: bytes, image: Array, size_multiple: tuple[int, ...], scales: list[tuple[int, ...]]) -> Halo:
    """Find how far a tile's border reaches into the outputs; of volumes, along each axis by itself.

    The outputs of a whole image, the normalised `image` ([z,] y, x) continued by reflection, are compared with those
    of a tile cut from its middle, by the distance from the tile's border. The halo is the smallest
    multiple of `size_multiple` beyond which no output differs by more than 1e-4 of its range: every tile of any
    tiling is such a cut.
    """
    engine = OnnxRuntime(onnx)
    pixels, errors = [0] * image.ndim, []
    for axes, shape in HALO_IMAGES[image.ndim]:
        large = continued(image, [round_up(n, s) for n, s in zip(shape, size_multiple, strict=True)])
        reach, error = _reach(engine, large, axes, size_multiple[axes[0]], scales)
        for axis in axes:
            pixels[axis] = reach
        errors.append(error)
    engine.close()
    return Halo(tuple(pixels), max(errors))


def _reach(
    engine: OnnxRuntime, image: Array, axes: tuple[int, ...], step: int, scales: list[tuple[int, ...]]
) -> tuple[int, float]:
    """The halo along `axes`, and the error that it leaves."""
    whole = run_once(engine, image[None, None], scales)
    # Two cuts with other surroundings; they start on the pooling grid, as all tiles do.
    profiles = []
    for share in (0.25, 0.125):
        start = [round(n * share / step) * step if i in axes else 0 for i, n in enumerate(image.shape)]
        tile = run_once(engine, image[_inside(start, image.shape, (1,) * image.ndim)][None, None], scales)
        for full, part, scale in zip(whole, tile, scales, strict=True):
            cut = full[0, 0][_inside(start, image.shape, scale)]
            error = np.abs(part[0, 0] - cut) / max(float(np.ptp(full)), 1e-12)
            profiles.append(_largest_by_depth(error, axes, scale))
    depth = min(map(len, profiles))
    # The largest error at this depth or deeper, over all outputs and cuts.
    worst = np.maximum.accumulate(np.max([p[:depth] for p in profiles], axis=0)[::-1])[::-1]
    pixels = next((p for p in range(step, depth, step) if worst[p] <= HALO_ERROR), (depth - 1) // step * step)
    return pixels, float(worst[pixels])


def _inside(start: list[int], shape: tuple[int, ...], scale: tuple[int, ...]) -> tuple[slice, ...]:
    """An image of `shape` without `start` input pixels on each side, on a grid `scale` times as fine."""
    return tuple(slice(a * k, (n - a) * k) for a, n, k in zip(start, shape, scale, strict=True))


def _largest_by_depth(error: Array, axes: tuple[int, ...], scale: tuple[int, ...]) -> Array:
    """Largest value at each distance (input pixels) along `axes` from the border of `error` (`scale` as fine)."""
    lines = [np.minimum(np.arange(n), np.arange(n)[::-1]) // scale[i] for i, n in enumerate(error.shape) if i in axes]
    depth = reduce(np.minimum.outer, lines)
    largest = error.max(axis=tuple(i for i in range(error.ndim) if i not in axes))
    result = np.zeros(int(depth.max()) + 1, error.dtype)
    np.maximum.at(result, depth.ravel(), largest.ravel())
    return result
