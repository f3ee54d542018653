"""Samples of noise: for each usable pixel of an image its signal, a mean of its surroundings, and a residual.

The spatial residual is what a high-pass filter leaves; the temporal one is the difference of two frames.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from zsd_optics.noise_line import SMALLEST_BIN, fit_line, groups

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Fourth difference in Y and in X: it passes only the corner of the spectrum, which lies outside a microscope's OTF.
LINE = np.array([1.0, -4.0, 6.0, -4.0, 1.0])
HIGH_PASS = np.outer(LINE, LINE) / (LINE**2).sum()  # unit norm: white noise keeps its variance
# A square ring around the high-pass filter's window, sharing no pixel with it.
_RING = np.pad(np.zeros((5, 5)), 2, constant_values=1 / 56)
_BORDER = 4  # pixels that the ring reaches
_CLIPPED = 0.05  # of the pixels of a group: the others are truncated, too
_LIKE_PHOTONS = 1.4  # variance over mean; 1.5 to 2 for noise of 2 counts that was clipped
_SMALL_HOLE = 10  # pixels
_QUANTILE, _OF_SQUARES = 0.65, 0.873  # of the squares of normal numbers with a variance of 1
_CONTINUED = 10  # a PSF as narrow as 0.5 pixels (sigma) gives a neighbour 1/7 of its peak
_ENOUGH = 200_000  # pixels for a rough estimate
_MOST_OUTLIERS = 0.03  # of the pixels; more are the noise itself


@dataclass(frozen=True)
class Frame:
    """An image as the estimate uses it.

    Parameters
    ----------
    counts : ndarray
        (Y, X), without row and column noise; outliers are replaced by their surroundings.
    kept : ndarray
        The same with the outliers.
    usable : ndarray of bool
        (Y, X), pixels whose windows contain nothing but data.
    clipped : ndarray of int8
        (Y, X), -1 at pixels clipped at the lowest, 1 at the highest count, otherwise 0.
    """

    counts: Array
    kept: Array
    usable: Mask
    clipped: NDArray[np.int8]


@dataclass(frozen=True)
class Samples:
    """For each usable pixel: the local signal, another local mean to group by, the residual, and `clipped` as above."""

    signal: Array
    group: Array
    residual: Array
    clipped: NDArray[np.int8]
    message: str

    def part(self, chosen: Mask) -> "Samples":
        """Some of them."""
        return Samples(
            self.signal[chosen], self.group[chosen], self.residual[chosen], self.clipped[chosen], self.message
        )


def frame(image: Array, valid: Mask, data: Mask | None, lines: tuple[Array, Array] | None) -> Frame:
    """Prepare an image (Y, X).

    `valid` comes from `noisy`; `data` is True where a pixel is data, if that is known; `lines` are the offsets of rows
    and columns.
    """
    clipped = clipped_pixels(image)
    counts = image if lines is None else image - lines[0][:, None] - lines[1]
    strange = outliers(counts, valid)
    if strange.any():  # they made the noise look larger
        strange |= outliers(np.where(strange, _surroundings(counts, valid & ~strange), counts), valid)
    clipped[strange] = 0
    missing = strange if data is None else strange | (~data & (clipped == 0))
    usable, kept = np.ones(image.shape, bool), counts
    if missing.any():
        counts = np.where(missing, _surroundings(counts, valid & ~missing), counts)
        usable = ~ndi.maximum_filter(missing, 5)
        kept = kept if data is None else np.where(data | (clipped != 0), kept, counts)
    if not valid.all():
        usable &= ~ndi.binary_dilation(~valid, iterations=3)
    usable[:_BORDER], usable[-_BORDER:], usable[:, :_BORDER], usable[:, -_BORDER:] = False, False, False, False
    return Frame(counts, kept, usable, clipped)


def noisy(image: Array) -> Mask:
    """False in padding and in constant squares of 5x5 pixels, which contain no noise unless they count photons."""
    padded = padding(image)
    flat = ndi.maximum_filter(image, 5) == ndi.minimum_filter(image, 5)
    lowest = flat & (image == image.min()) & ~padded
    if lowest.mean() > 0.01 and _counts_photons(image, np.unique(image)):
        flat &= ~lowest
    return ~((ndi.binary_dilation(flat, iterations=2) if flat.any() else flat) | padded)


def clipped_pixels(image: Array) -> NDArray[np.int8]:
    """-1 at pixels clipped at the lowest count, 1 at the highest, otherwise 0.

    Padding is not clipped, nor are the zeros of a photon counter.
    """
    found = np.zeros(image.shape, np.int8)
    inside = ~padding(image)
    values, counts = np.unique(image[inside], return_counts=True)
    for end, neighbour, sign in ((0, 1, -1), (-1, -2, 1)):
        # Many pixels at the end of the range; without clipping they become fewer towards it.
        times = 1.3 if len(values) > 2 and counts[end] > 1e-2 * image.size else 2
        if len(values) > 2 and counts[end] > max(10, 1e-4 * image.size, times * counts[neighbour]):
            found[(image == values[end]) & inside] = sign
    if (found < 0).any() and _counts_photons(image, values):
        found[found < 0] = 0
    return found


def padding(image: Array) -> Mask:
    """Solid areas of the lowest or the highest count at the border; clipped noise leaves them full of small holes."""
    found = np.zeros(image.shape, bool)
    for value in (image.min(), image.max()):
        labels, _ = ndi.label(image == value)
        sizes, boxes = np.bincount(labels.ravel()), ndi.find_objects(labels)
        rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        for label in rim[(rim > 0) & (sizes[rim] >= 0.5 * min(image.shape))]:
            box = boxes[label - 1]
            area = labels[box] == label
            holes = np.bincount(ndi.label(~area)[0].ravel())[1:]
            if holes[holes < _SMALL_HOLE].sum() < 1e-4 * area.sum():
                found[box] |= area
    return found


def _counts_photons(image: Array, values: Array) -> bool:
    """Whether the variance of neighbouring pixels equals their mean where it is dark, as of numbers of photons."""
    if len(values) < 3:
        return len(values) == 2
    photons = (image - values[0]) / float(np.diff(values).min())
    level = ndi.uniform_filter(photons, 5)[1:]
    # Along Y, as detectors of scanning microscopes smooth along X.
    mean, variance = (photons[1:] + photons[:-1]) / 2, np.square(np.diff(photons, axis=0)) / 2
    for low, high in ((0.1, 0.3), (0.3, 1.0), (0.03, 0.1)):
        part = (level > low) & (level < high)
        if part.sum() >= SMALLEST_BIN and mean[part].any():
            return float(variance[part].mean() / mean[part].mean()) < _LIKE_PHOTONS
    return False


def _surroundings(counts: Array, data: Mask) -> Array:
    """Mean of the data within 4 pixels; the median of all data where there is none."""
    share = ndi.uniform_filter(data.astype(np.float64), 9)
    total = ndi.uniform_filter(np.where(data, counts, 0), 9)
    typical = float(np.median(counts[data])) if data.any() else 0.0
    return np.where(share > 1e-3, total / np.maximum(share, 1e-3), typical)


def outliers(counts: Array, valid: Mask) -> Mask:
    """Pixels far outside the noise of their level that do not continue in their neighbours: hot, dead, cosmic rays.

    The noise of a level comes from quantiles, so that few outliers do not matter. Photons are rare events in dark
    parts, so that ten times the gain is allowed beside six standard deviations.
    """
    nothing = np.zeros(counts.shape, bool)
    inside = valid.copy()
    inside[:2], inside[-2:], inside[:, :2], inside[:, -2:] = False, False, False, False
    if inside.sum() < 2 * SMALLEST_BIN:
        return nothing
    middle = _level(counts)
    excess = counts - middle
    sigma, gain = _robust_noise(counts, middle, inside)
    rare = np.abs(excess[inside])
    step = float(np.median(rare[rare > 0])) if rare.any() else 0.0  # where most pixels count nothing, one photon
    allowed = np.maximum(6 * sigma + 10 * gain, 6 * step)
    rows, columns = np.nonzero(valid & (np.abs(excess) > allowed))
    if not 0 < rows.size < 4 * _MOST_OUTLIERS * counts.size:
        return nothing
    padded = np.pad(counts, 2, mode="symmetric")
    around = np.stack([padded[rows + y, columns + x] for y in range(5) for x in range(5)])
    ordered = np.sort(around, axis=0)
    sign = np.sign(around[12] - ordered[12])
    # Beyond four fifths of its surroundings: edges have more bright pixels, a hot column does not.
    height = np.where(sign > 0, around[12] - ordered[19], ordered[5] - around[12])
    beside = (around[[7, 11, 13, 17]] - ordered[12]) * sign
    continued = np.sort(beside, axis=0)[1] - sigma[rows, columns]  # a PSF reaches at least three of four neighbours
    far = height > allowed[rows, columns] + _CONTINUED * np.maximum(continued, 0)
    found = nothing.copy()
    found[rows[far], columns[far]] = True
    return found if found.mean() < _MOST_OUTLIERS else nothing


def _level(counts: Array) -> Array:
    """Mean of eight pixels at a distance of 2, without the highest and the lowest."""
    padded = np.pad(counts, 2, mode="symmetric")
    rows, columns = counts.shape
    places = [(y, x) for y in (0, 2, 4) for x in (0, 2, 4) if (y, x) != (2, 2)]
    parts = [padded[y : y + rows, x : x + columns] for y, x in places]
    total, low, high = parts[0].copy(), parts[0].copy(), parts[0].copy()
    for part in parts[1:]:
        total += part
        np.minimum(low, part, out=low)
        np.maximum(high, part, out=high)
    level: Array = (total - low - high) / 6
    return level


def _robust_noise(counts: Array, level: Array, inside: Mask) -> tuple[Array, float]:
    """Standard deviation of the noise of each pixel, and the gain, both roughly."""
    residual = ndi.convolve1d(ndi.convolve1d(counts, LINE, 0), LINE, 1)[inside] / (LINE**2).sum()
    some = slice(None, None, max(residual.size // _ENOUGH, 1))
    known, squares = level[inside][some], np.square(residual[some])
    x, variance = np.array(
        [(known[part].mean(), np.quantile(squares[part], _QUANTILE) / _OF_SQUARES) for part in groups(known)]
    ).T
    order = np.argsort(x)
    x, variance = x[order], variance[order]
    if not variance.any():
        return np.zeros_like(level), 0.0
    gain = fit_line(x, variance, 0.1 * variance + 1e-3 * float(variance.max()))[0]
    return np.sqrt(np.interp(level, x, variance)), max(gain, 0.0)


def spatial_samples(part: Frame, high_pass: Array = HIGH_PASS) -> Samples:
    """The high frequencies of an image."""
    signal, group, residual = (
        ndi.convolve(part.counts, k, mode="reflect")[part.usable] for k in (high_pass**2, _RING, high_pass)
    )
    return Samples(signal, group, residual, part.clipped[part.usable], "from the high spatial frequencies")


def temporal_samples(frames: list[Frame], of_means: float = 1 / 81) -> list[Samples]:
    """Half-differences of neighbouring frames, if they are white: nothing moved and nothing bleached; or nothing.

    The first are grouped by a ring of the other frames, around the pixel; the second by the same pixel of the other
    frames. The second show more, but only if no pixel keeps an offset that its variance does not follow.

    `of_means` is the variance of the noise of means over 9x9 pixels, beside that of a pixel.
    """
    if len(frames) < 2 or len({part.counts.shape for part in frames}) > 1:
        return []
    total = np.sum([part.counts for part in frames], axis=0)
    by_ring, by_pixel = [], []
    for first, second in pairwise(frames):
        usable = first.usable & second.usable
        difference = np.where(usable, first.kept - second.kept, 0) / np.sqrt(2)
        difference -= difference.mean()
        smooth = ndi.uniform_filter(difference, 9)
        if smooth.var() > 1.5 * difference.var() * of_means:
            return []
        mean = (first.counts + second.counts) / 2
        others = (total - first.counts - second.counts) / (len(frames) - 2) if len(frames) > 2 else None
        ring = ndi.convolve(mean if others is None else others, _RING, mode="reflect")[usable]
        clipped = np.where(first.clipped, first.clipped, second.clipped)[usable]
        rest = mean[usable], difference[usable], clipped
        by_ring.append(Samples(rest[0], ring, *rest[1:], "from repeats of one scene"))
        if others is not None:
            by_pixel.append(Samples(rest[0], others[usable], *rest[1:], "from repeats of one scene"))
    return [concatenated(parts) for parts in (by_ring, by_pixel) if parts]


def concatenated(parts: list[Samples]) -> Samples:
    """The samples of several images."""
    return Samples(
        np.concatenate([p.signal for p in parts]),
        np.concatenate([p.group for p in parts]),
        np.concatenate([p.residual for p in parts]),
        np.concatenate([p.clipped for p in parts]),
        parts[0].message,
    )


def unclipped(samples: Samples) -> Samples:
    """Without the levels at which pixels are clipped.

    Whole levels are left out, not pixels: those that are not clipped would be the weaker noise of their level.
    """
    if not samples.clipped.any():
        return samples
    inside = groups(samples.group)
    low, high = -np.inf, np.inf
    for part in inside:
        if (samples.clipped[part] < 0).mean() > _CLIPPED:
            low = float(samples.group[part].max())
    for part in reversed(inside):
        if (samples.clipped[part] > 0).mean() > _CLIPPED:
            high = float(samples.group[part].min())
    chosen = (samples.group > low) & (samples.group < high)
    return samples.part(chosen) if chosen.sum() >= 4 * SMALLEST_BIN else samples
