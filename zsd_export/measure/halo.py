"""How far the border of a tile reaches into the outputs, and the error that it leaves further inside."""

from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from zsd_optics.pictures import continued
from zsd_runtime.engines import run_once
from zsd_runtime.engines.onnxruntime import OnnxRuntime
from zsd_runtime.tiling import round_up
from zsd_train.networks.network import Network

# Largest error at the rim of a tile's core, as a share of the range; on other images it may be ten times that.
HALO_ERROR = 1e-4
# For 2 and 3 axes: the axes along which tiles are cut together, and the size of the image, which along these axes
# exceeds the deepest field of the networks. A volume as large along all three axes would not fit in memory.
HALO_IMAGES: dict[int, list[tuple[tuple[int, ...], tuple[int, ...]]]] = {
    2: [((0, 1), (768, 768))],
    3: [((0,), (128, 48, 48)), ((1,), (4, 768, 96)), ((2,), (4, 96, 768))],
}

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Halo:
    """How much of a tile its border spoils.

    Parameters
    ----------
    pixels : tuple of int
        Input pixels, for each axis.
    error : float or None
        Largest error further inside, as a share of the range. None: the halo is that of the convolutions alone, and
        the outputs depend on the whole tile.
    """

    pixels: tuple[int, ...]
    error: float | None


def halo_of(network: Network, onnx: bytes, image: Array) -> Halo:
    """Measure the halo, unless the outputs depend on the whole tile: the network then states it."""
    if network.halo:
        return Halo(network.halo, None)
    return measure_halo(onnx, image, network.size_multiple, network.scales)


def measure_halo(onnx: bytes, image: Array, size_multiple: tuple[int, ...], scales: list[tuple[int, ...]]) -> Halo:
    """Measure how far the border of a tile reaches into the outputs; in volumes, along each axis separately.

    The outputs of a whole image are compared with those of a tile cut from its middle. The halo is the smallest
    multiple of `size_multiple` beyond which no output differs by more than 1e-4 of its range. Every tile is such a cut.

    Parameters
    ----------
    onnx : bytes
    image : ndarray
        ([C,] [Z,] Y, X), normalised; continued by reflection where it is too small.
    size_multiple : tuple of int
        Tile sizes are multiples of it, for each axis.
    scales : list of tuple of int
        How much finer than the input each output is, for each axis.
    """
    engine = OnnxRuntime(onnx)
    dimensions = len(size_multiple)
    image = image.reshape(-1, *image.shape[-dimensions:])
    pixels, errors = [0] * dimensions, []
    for axes, shape in HALO_IMAGES[dimensions]:
        large = continued(image, [len(image), *(round_up(n, s) for n, s in zip(shape, size_multiple, strict=True))])
        reach, error = _reach(engine, large, axes, size_multiple[axes[0]], scales)
        for axis in axes:
            pixels[axis] = reach
        errors.append(error)
    engine.close()
    return Halo(tuple(pixels), max(errors))


def _reach(
    engine: OnnxRuntime, image: Array, axes: tuple[int, ...], step: int, scales: list[tuple[int, ...]]
) -> tuple[int, float]:
    """The halo of an image (C, [Z,] Y, X) along `axes`, and the error that it leaves."""
    whole, shape = run_once(engine, image[None], scales), image.shape[1:]
    # Two cuts with different surroundings; both start on the pooling grid, as all tiles do.
    profiles = []
    for share in (0.25, 0.125):
        start = [round(n * share / step) * step if i in axes else 0 for i, n in enumerate(shape)]
        tile = run_once(engine, image[(slice(None), *_inside(start, shape, (1,) * len(shape)))][None], scales)
        for full, part, scale in zip(whole, tile, scales, strict=True):
            cut = full[0, 0][_inside(start, shape, scale)]
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
