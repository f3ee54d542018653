"""The last biases of a trained network, set so that its results hold the light that the images hold."""

from collections.abc import Callable, Iterator
from itertools import groupby, product
from math import prod
from operator import itemgetter
from typing import Any

import numpy as np
import scipy.ndimage as ndi
import torch
from numpy.typing import NDArray
from torch import Tensor

from zsd_runtime.tiling import EDGE, round_up
from zsd_train.defaults import Shape, defaults_for
from zsd_train.frames import Frame
from zsd_train.networks.network import Network
from zsd_train.schemes import Scheme
from zsd_train.state import with_weights

AROUND = 5  # pixels: the square that says how many are saturated at a place
PASSES = 2  # the second output sees the first one's new bias; and below zero an output gives way less


@torch.no_grad()
def keep_flux(
    network: Network, weights: dict[str, Tensor], frames: list[Frame], scheme: Scheme, offset: float, scale: float
) -> list[float]:
    """Set the last bias of each stage in `weights` so that the outputs' mean is that of the images.

    Least squares would end there: the derivative of the data term by a bias is the mean of its residual. A training
    stops earlier, sees bright patches more often, and its second stage is pulled up where it is negative. The mean is
    taken over windows spread over the images.

    Returns
    -------
    list of float
        The flux deficit of each output before that, counts a pixel.
    """
    windows = list(_windows(frames, network.size_multiple))
    deficits = []
    for _ in range(PASSES):
        missing, slopes = _means(with_weights(network, weights), windows, network, scheme, offset, scale)
        for output, more, slope in zip(network.outputs, missing, slopes, strict=True):
            if output in network.last_convolutions:
                weights[f"to_{output}.bias"] += more / slope
        deficits.append([float(more) * scale for more in missing])
    return deficits[0]


def _means(
    restore: Callable[[Tensor], Any],
    windows: list[tuple[Frame, Shape, Shape]],
    network: Network,
    scheme: Scheme,
    offset: float,
    scale: float,
) -> NDArray[np.float64]:
    """For each output how much its mean lacks, and the mean slope of its last activation, which scales the bias."""
    sums, pixels = np.zeros((2, len(network.outputs))), 0
    for size, places in _together(windows):
        noisy = np.stack(
            [scheme.view(_with_border(frame, start, size, network.size_multiple)) for frame, start in places]
        )
        measured = torch.tensor(np.stack([_known(frame, start, size) for frame, start in places]))[:, None]
        scaled = torch.tensor((noisy - offset) / scale, dtype=torch.float32)
        # Of a frame between its neighbours in time, its own light.
        own = scaled[:, scaled.shape[1] // 2, None] if scheme.sees_neighbours else scaled.mean(1, keepdim=True)
        light = float(_inside(own, size, (1,) * len(size))[measured].sum())
        restored = restore(scaled.to(next(network.parameters()).device))
        for i, (image, factor) in enumerate(zip(restored, network.scales, strict=True)):
            values = _inside(image, size, factor).cpu()[_finer(measured, factor)]
            slope = torch.where(values > 0, 1.0, network.slope).sum()
            sums[:, i] += np.array([light - float(values.sum()) / prod(factor), float(slope) / prod(factor)])
        pixels += int(measured.sum())
    return sums / pixels


def _known(frame: Frame, start: Shape, size: Shape) -> NDArray[np.bool_]:
    """Of a window, the pixels whose light is known on average.

    Where noise alone saturates some pixels, all of them count: the others are the weaker noise of their place. Where
    most are saturated, none does.
    """
    saturated = frame.saturated(start, size)
    around = (*(1,) * (saturated.ndim - 2), AROUND, AROUND)
    mostly = ndi.uniform_filter(saturated.astype(np.float32), around) > 0.5
    return np.asarray((frame.measured(start, size) | saturated) & ~mostly)


def _finer(mask: Tensor, factor: Shape) -> Tensor:
    """A mask (N, 1, …) on a grid that is finer by a factor along each of its last axes."""
    for axis, n in enumerate(factor, start=2):
        mask = mask.repeat_interleave(n, dim=axis)
    return mask


def _together(windows: list[tuple[Frame, Shape, Shape]]) -> Iterator[tuple[Shape, list[tuple[Frame, Shape]]]]:
    """Windows of one size two by two: for volumes that takes little longer than one (benchmarks/volume_step.py)."""
    for size, same in groupby(sorted(windows, key=itemgetter(2)), key=itemgetter(2)):
        places = [(frame, start) for frame, start, _ in same]
        for i in range(0, len(places), 2):
            yield size, places[i : i + 2]


def _windows(frames: list[Frame], size_multiple: tuple[int, ...]) -> Iterator[tuple[Frame, Shape, Shape]]:
    """Windows (frame, first pixel, size), a limited number, taken evenly at random from those that cover the images."""
    places = []
    for frame in frames:
        shape = frame.shape
        size = tuple(min(n, side) for n, side in zip(shape, defaults_for(len(shape)).flux_window, strict=True))
        lines = [[min(i * m, n - m) for i in range(-(-n // m))] for n, m in zip(shape, size, strict=True)]
        places += [(frame, start, size) for start in product(*lines)]
    chosen = np.random.default_rng(0).permutation(len(places))[: defaults_for(len(size_multiple)).flux_windows]
    return (places[i] for i in sorted(chosen))


def _with_border(frame: Frame, start: Shape, size: Shape, size_multiple: tuple[int, ...]) -> NDArray[np.float64]:
    """Counts of a window and EDGE pixels around it, and what else makes its sides multiples of `size_multiple`."""
    whole = tuple(round_up(n + 2 * EDGE, s) for n, s in zip(size, size_multiple, strict=True))
    return frame.window(tuple(first - EDGE for first in start), whole)


def _inside(image: Tensor, size: Shape, factor: Shape) -> Tensor:
    """The window without its border, in an image `factor` times as fine."""
    box: Any = (..., *(slice(f * EDGE, f * (EDGE + n)) for f, n in zip(factor, size, strict=True)))
    return image[box]
