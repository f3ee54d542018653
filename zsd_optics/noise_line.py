"""The noise line: groups of pixels with their signal and variance, and the straight line through them."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SMALLEST_BIN = 200
_BINS = 40


def dark_level(signal: Array, group: Array, doubt: float = 0.0) -> tuple[float, float]:
    """Mean signal of the pixels whose surroundings are the darkest 1 %, and its standard error.

    With a `doubt` about the level of each pixel (counts), brighter ones count, too.
    """
    dark = signal[group <= np.quantile(group, 0.01) + 4 * doubt]
    return float(dark.mean()), float(dark.std() / np.sqrt(max(dark.size / 8, 1)))


def groups(group: Array) -> list[NDArray[np.int64]]:
    """Numbers of the pixels in each of the groups of similar surroundings, from dark to bright."""
    order = np.argsort(group)
    # Half of the groups hold equal numbers of pixels, the other half equal steps of brightness: the few bright pixels
    # contain most of the information about the gain.
    by_count = np.linspace(0, order.size, _BINS // 2 + 1).astype(int)
    levels = np.linspace(group[order[0]], group[order[-1]], _BINS // 2 + 1)
    edges = np.unique(np.concatenate([by_count, np.searchsorted(group[order], levels[1:-1])]))
    kept = [0]
    for edge in edges[1:]:
        if edge - kept[-1] >= SMALLEST_BIN:
            kept.append(int(edge))
    kept[-1] = order.size
    return [order[start:stop] for start, stop in pairwise(kept)]


def noise_level_function(
    signal: Array, residual: Array, inside: list[NDArray[np.int64]], largest: float = np.inf
) -> tuple[Array, Array, Array]:
    """(mean signal, noise variance, its standard error) of groups of pixels with similar surroundings.

    Squares of residuals above `largest` times their mean are left out.
    """
    rows = []
    for part in inside:
        squares = residual[part] ** 2
        if np.isfinite(largest):
            squares = squares[squares <= largest * squares.mean()]
        # Neighbouring residuals are correlated: about 1 in 4 is independent.
        rows.append((signal[part].mean(), squares.mean(), squares.std() / np.sqrt(squares.size / 4)))
    x, variance, error = np.array(rows).T
    return x, variance, np.maximum(error, 1e-3 * variance.max() / np.sqrt(residual.size))


def fit_doubtful_line(x: Array, variance: Array, error: Array, doubt: float) -> tuple[float, float, Array]:
    """`fit_line` with errors as large as the line itself predicts, and for a signal known to within `doubt` counts.

    The measured error of a group is small where its variance came out small, by chance: it would pull the line down.
    """
    relative, smallest = error / np.where(variance > 0, variance, error), error.min()
    gain, constant, covariance = fit_line(x, variance, np.hypot(error, doubt * np.median(variance) / np.ptp(x)))
    for _ in range(5):
        predicted = np.maximum(relative * np.maximum(gain * x + constant, 0), smallest)
        gain, constant, covariance = fit_line(x, variance, np.hypot(predicted, doubt * gain))
    return gain, constant, covariance


def fit_line(x: Array, variance: Array, error: Array) -> tuple[float, float, Array]:
    """Weighted straight line; groups far from it (structure that passed the filter) lose weight."""
    if len(x) < 2 or np.ptp(x) <= 1e-9 * np.abs(x).max():  # one level has no slope
        flat = float(np.average(variance, weights=1 / error**2))
        slope = flat / max(float(np.abs(x).max()), 1e-9)  # anything up to here would do
        return 0.0, flat, np.diag([slope**2 + 1e-300, float((1 / error**2).sum() ** -1)])
    design = np.stack([x, np.ones_like(x)], axis=1)
    weights = 1 / error**2
    robust = np.ones_like(x)
    for _ in range(10):
        normal = design.T @ (design * (weights * robust)[:, None])
        gain, constant = np.linalg.solve(normal, design.T @ (weights * robust * variance))
        pull = (variance - gain * x - constant) / np.maximum(error, 0.02 * variance)
        robust = np.minimum(1, 2.5 / np.maximum(np.abs(pull), 1e-9))
    misfit = max(1.0, float((robust * pull**2).sum() / max(len(x) - 2, 1)))
    return float(gain), float(constant), np.asarray(np.linalg.inv(normal) * misfit, np.float64)
