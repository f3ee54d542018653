"""How dark, bright and noisy an image is, measured on a sample of its pixels."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from zsd_runtime.images.image import read_box

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MOST_PLANES = 16
MOST_PIXELS = 1 << 21  # of all planes together: under a second of work, however large the image is
BLOCK = 256  # pixels along a side; a plane with too many pixels is sampled in blocks

_RIM = 6  # pixels along the border of a block: windows reach over them
_SPREAD = 4  # pixels from a hot one that it still changes: of the fourth differences, and of the window around them
_GROUPS = (0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99, 1)  # shares of the pixels, from dark to bright
_SMALLEST_GROUP = 50
_DARK = 0.01  # share of the pixels that show the dark level
_MAD = 1.4826  # standard deviation of normal noise over its median absolute value
_HOT = 7  # standard deviations
_LARGEST = 1e38  # a count, as in float32; its fourth power is a number, too
_SATURATED = 1e-3  # share of the pixels


@dataclass(frozen=True)
class Statistics:
    """What the pixels of an image say of its camera, in the image's own units.

    Padding (constant squares), NaN and hot pixels take no part in levels and noise.

    Attributes
    ----------
    dtype : str
        Of the image.
    lowest, highest : float
        Of all finite values; NaN if there are none.
    dark : float
        Mean level of the darkest parts; NaN if the image is too small or constant.
    bright : float
        99.5th percentile of the image averaged over 5x5 pixels, of the brightest plane, as a training measures its
        scale.
    brightest : float
        The maximum of the same.
    levels, variances, errors : tuple of float
        Of groups of pixels, from dark to bright: mean, variance of the noise, and its standard error.
    saturated : float
        Share of the pixels that have the highest value, if neighbours share it too often for chance and hot pixels.
    """

    dtype: str
    lowest: float = math.nan
    highest: float = math.nan
    dark: float = math.nan
    bright: float = math.nan
    brightest: float = math.nan
    levels: tuple[float, ...] = ()
    variances: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()
    saturated: float = 0.0


@dataclass(frozen=True)
class _Samples:
    """Of each usable pixel: its level, that of the pixels around it, and its high frequencies, which are noise."""

    level: Array
    around: Array
    residual: Array


def statistics(data: Any, indices: Iterable[tuple[int, ...]] | None = None) -> Statistics:
    """Measure an image.

    Parameters
    ----------
    data : array-like
        ``(…, Y, X)``: an array, or anything with `shape`, `dtype` and slices.
    indices : iterable of tuple of int
        Of the planes that are measured; at most 16 of them are. All planes if not given.

    Returns
    -------
    Statistics

    Raises
    ------
    InputError
        When a plane cannot be read.
    """
    planes = list(np.ndindex(data.shape[:-2]) if indices is None else indices)
    spread = np.linspace(0, len(planes) - 1, min(len(planes), MOST_PLANES)).round().astype(int)
    most = MOST_PIXELS // len(spread)
    dtype = np.dtype(data.dtype).name
    blocks: list[Array] = []
    samples = []
    for plane in (planes[i] for i in spread):
        of_plane = [_values(read_box(data, (*plane, *box))) for box in _boxes(data.shape[-2:], most)]
        parts = [_samples(block) for block in of_plane if min(block.shape) > 2 * _RIM]
        if parts and (joined := _joined(parts)).level.size >= 2 * _SMALLEST_GROUP:
            samples.append(joined)
        blocks += of_plane
    finite = [block[np.isfinite(block)] for block in blocks]
    if not any(values.size for values in finite):
        return Statistics(dtype)
    lowest = min(float(values.min()) for values in finite if values.size)
    highest = max(float(values.max()) for values in finite if values.size)
    if not samples:
        return Statistics(dtype, lowest, highest)
    pooled = _joined(samples)
    groups = _groups(pooled.around)
    variances, errors = zip(*(_variance(pooled.residual[group]) for group in groups), strict=True)
    return Statistics(
        dtype, lowest, highest,
        dark=float(np.median([_dark(plane) for plane in samples])),
        bright=max(float(np.percentile(plane.level, 99.5)) for plane in samples),
        brightest=float(pooled.level.max()),
        levels=tuple(float(pooled.level[group].mean()) for group in groups),
        variances=variances,
        errors=errors,
        saturated=_saturated(blocks, highest),
    )  # fmt: skip


def _values(block: NDArray[Any]) -> Array:
    """As float64, NaN for what is no count."""
    values = block.astype(np.float64)
    values[~(np.abs(values) < _LARGEST)] = np.nan
    return values


def _boxes(shape: Sequence[int], most: int) -> Iterator[tuple[slice, slice]]:
    """The whole plane, or blocks spread evenly over it that have at most about `most` pixels."""
    if shape[0] * shape[1] <= most:
        yield slice(0, shape[0]), slice(0, shape[1])
        return
    blocks = max(1, most // BLOCK**2)
    rows = min(max(1, round(math.sqrt(blocks * shape[0] / shape[1]))), blocks, -(-shape[0] // BLOCK))
    columns = min(max(1, blocks // rows), -(-shape[1] // BLOCK))
    starts = [
        np.linspace(0, max(n - BLOCK, 0), count).round().astype(int).tolist()
        for n, count in zip(shape, (rows, columns), strict=True)
    ]
    for y in starts[0]:
        for x in starts[1]:
            yield slice(y, min(y + BLOCK, shape[0])), slice(x, min(x + BLOCK, shape[1]))


def _samples(block: Array) -> _Samples:
    """Samples of a block (Y, X) without padding, NaN and hot pixels.

    Noise is what the fourth difference in Y and in X leaves, as in `zsd_optics.noise`: it passes only the corner of the
    spectrum, which lies outside a microscope's OTF, and nothing of what the pixels of a row or a column share. Pixels
    are grouped by the level of others, so that the noise of the grouping does not become a level.
    """
    missing = ~np.isfinite(block)
    block = np.where(missing, 0.0, block)
    # Constants of a float image differ by what sums leave of its largest values.
    centre = block.mean()
    small = _window_sums(block - centre, 5)
    around = (_window_sums(block - centre, 9) - small[2:-2, 2:-2])[2:-2, 2:-2] / (81 - 25) + centre
    level = small[4:-4, 4:-4] / 25 + centre
    residual = np.diff(np.diff(block, 4, axis=0), 4, axis=1)[4:-4, 4:-4] / 70  # white noise keeps its variance
    constant = _extremes(block, np.max) == _extremes(block, np.min)
    empty = constant | (_window_sums(missing.astype(np.float64), 5) > 0)
    usable = _window_sums(empty.astype(np.float64), 9) == 0
    hot = _hot(around, residual, usable)
    if hot.any():
        reached = _window_sums(np.pad(hot, _SPREAD).astype(np.float64), 2 * _SPREAD + 1) > 0
        usable &= ~reached
    return _Samples(level[usable], around[usable], residual[usable])


def _hot(around: Array, residual: Array, usable: Mask) -> Mask:
    """Pixels that stand out of the noise of those that are as bright."""
    hot = np.zeros(usable.shape, bool)
    found = np.zeros(int(usable.sum()), bool)
    sizes = np.abs(residual[usable])
    for group in _groups(around[usable]):
        found[group] = sizes[group] > _HOT * max(_MAD * float(np.median(sizes[group])), 1e-12)
    hot[usable] = found
    return hot


def _joined(parts: list[_Samples]) -> _Samples:
    return _Samples(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("level", "around", "residual")))


def _groups(around: Array) -> list[NDArray[np.intp]]:
    """Indices of pixels in groups from dark to bright."""
    order = np.argsort(around)
    edges = [round(share * order.size) for share in _GROUPS]
    return [order[start:stop] for start, stop in pairwise(edges) if stop - start >= _SMALLEST_GROUP]


def _dark(samples: _Samples) -> float:
    return float(samples.level[samples.around <= np.quantile(samples.around, _DARK)].mean())


def _variance(residual: Array) -> tuple[float, float]:
    """The mean square and its standard error. Unlike a median, it is right for pixels that are not equally bright."""
    squares = residual**2
    squares = squares[squares <= 20 * squares.mean()]
    # Neighbouring residuals are correlated: about 1 in 4 is independent, as in `zsd_optics.noise`.
    return float(squares.mean()), float(squares.std() / math.sqrt(squares.size / 4))


def _saturated(blocks: list[Array], highest: float) -> float:
    """Share of the pixels that have the highest value in pairs: hot pixels stand alone."""
    at_top = [block == highest for block in blocks]
    pairs = sum(int((top[:, 1:] & top[:, :-1]).sum()) for top in at_top)
    share = sum(int(top.sum()) for top in at_top) / sum(block.size for block in blocks)
    return share if pairs > max(10, _SATURATED * sum(block.size for block in blocks)) else 0.0


def _window_sums(values: Array, side: int) -> Array:
    """Sums over all windows of side x side pixels that lie inside."""
    for axis in (0, 1):
        values = sliding_window_view(values, side, axis).sum(-1)
    return values


def _extremes(values: Array, of: Any) -> Array:
    """The maximum or minimum of all windows of 5x5 pixels that lie inside."""
    for axis in (0, 1):
        values = of(sliding_window_view(values, 5, axis), axis=-1)
    return values
