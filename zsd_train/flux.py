"""The last biases of a trained network, set so that its results hold the light that the images hold."""

from collections.abc import Callable, Iterator
from itertools import groupby, product
from math import prod
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zsd_runtime.tiling import EDGE, round_up
from zsd_train.frames import Frame, Shape
from zsd_train.networks.dual_stage import LEAKY, DualStage, Restored
from zsd_train.state import with_weights

WINDOW: dict[int, Shape] = {2: (256, 256), 3: (32, 96, 96)}
WINDOWS = {2: 16, 3: 8}  # at most
PASSES = 2  # the second output sees the first one's new bias; and below zero an output gives way less


@torch.no_grad()
def keep_flux(
    network: DualStage, weights: dict[str, Tensor], frames: list[Frame], offset: float, scale: float
) -> list[float]:
    """Set the last bias of both stages in `weights` so that the outputs' mean is that of the images.

    There least squares would end: what the data term grows by with a bias is the mean of its residual. A training stops
    earlier, sees bright patches more often, and in the second stage pulls up what is below zero. The mean is taken over
    windows spread over the images.

    Returns
    -------
    list of float
        The light that the denoised and the deconvolved image lacked, counts a pixel.
    """
    windows = list(_windows(frames, network.size_multiple))
    lacked = []
    for _ in range(PASSES):
        missing, slopes = _means(with_weights(network, weights), windows, network, offset, scale)
        for name, more, slope in zip(("to_denoised.bias", "to_deconvolved.bias"), missing, slopes, strict=True):
            weights[name] += more / slope
        lacked.append([float(more) * scale for more in missing])
    return lacked[0]


def _means(
    restore: Callable[[Tensor], Restored],
    windows: list[tuple[Frame, Shape, Shape]],
    network: DualStage,
    offset: float,
    scale: float,
) -> NDArray[np.float64]:
    """For each output what its mean lacks, and the slope of the last activation: by how much it follows its bias."""
    sums, pixels = np.zeros((2, 2)), 0
    for size, places in _together(windows):
        noisy = np.stack([_with_border(frame, start, size, network.size_multiple) for frame, start in places])
        scaled = torch.tensor((noisy[:, None] - offset) / scale, dtype=torch.float32)
        light = float(_inside(scaled, size, (1,) * len(size)).mean())
        restored = restore(scaled.to(next(network.parameters()).device))
        covered = len(places) * prod(size)
        for i, (image, factor) in enumerate(zip(restored, network.scales, strict=True)):
            values = _inside(image, size, factor)
            slope = torch.where(values > 0, 1.0, LEAKY).mean()
            sums[:, i] += covered * np.array([light - float(values.mean()), float(slope)])
        pixels += covered
    return sums / pixels


def _together(windows: list[tuple[Frame, Shape, Shape]]) -> Iterator[tuple[Shape, list[tuple[Frame, Shape]]]]:
    """Windows of one size two by two, which for volumes takes little longer than one (benchmarks/volume_step.py)."""
    for size, same in groupby(sorted(windows, key=itemgetter(2)), key=itemgetter(2)):
        places = [(frame, start) for frame, start, _ in same]
        for i in range(0, len(places), 2):
            yield size, places[i : i + 2]


def _windows(frames: list[Frame], step: tuple[int, ...]) -> Iterator[tuple[Frame, Shape, Shape]]:
    """Windows (frame, first pixel, size), at most WINDOWS, taken evenly at random from those that cover the images."""
    places = []
    for frame in frames:
        shape = frame.image.shape
        size = tuple(min(n, side) for n, side in zip(shape, WINDOW[len(shape)], strict=True))
        lines = [[min(i * m, n - m) for i in range(-(-n // m))] for n, m in zip(shape, size, strict=True)]
        places += [(frame, start, size) for start in product(*lines)]
    chosen = np.random.default_rng(0).permutation(len(places))[: WINDOWS[len(step)]]
    return (places[i] for i in sorted(chosen))


def _with_border(frame: Frame, start: Shape, size: Shape, step: tuple[int, ...]) -> NDArray[np.float64]:
    """Counts of a window and EDGE pixels around it, and what else makes its sides multiples of `step`."""
    whole = tuple(round_up(n + 2 * EDGE, s) for n, s in zip(size, step, strict=True))
    return frame.window(tuple(first - EDGE for first in start), whole)


def _inside(image: Tensor, size: Shape, factor: Shape) -> Tensor:
    """The window without its border, in an image `factor` times as fine."""
    box: Any = (..., *(slice(f * EDGE, f * (EDGE + n)) for f, n in zip(factor, size, strict=True)))
    return image[box]
