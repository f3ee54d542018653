"""Row and column noise: the offset that all pixels of one row or column share, as cameras with many amplifiers add.

The step from one line to the next is the robust mean of the differences of their pixels: structures cover parts of a
line and weigh little, and slow changes of the scene are small from line to line. The sum of the steps is the profile of
the offsets. Two signs tell line noise from structures that fill whole lines (fibres along X, gratings, kymographs):
line noise is *white* across the lines, whereas optics pass nothing at the highest frequencies; and it is in *all*
lines, not in a few.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Plane = NDArray[np.generic]
Mask = NDArray[np.bool_]

_BLOCKS = 128  # means of neighbouring pixels that a line is reduced to: enough for a robust mean, and quick
_CLIP = 1.5  # standard deviations, of a robust mean (Huber 1964)
_BANDS = (0.2, 0.34), (0.34, 0.48)  # cycles a line: the power of white line noise is equal in both
_STEEP = 4  # times more power in the lower band: structures that optics have made smooth
_BEYOND_OPTICS = 0.45  # cycles a line: whatever is here is line noise, also a difference of odd and even lines
_LEAST = 0.1  # of the noise of a pixel: weaker lines are left alone
_FEWEST = 24  # lines, and pixels in a line
_SIGMA = 1.4826  # standard deviation over median absolute deviation
_MOST_OUTLIERS = 0.1  # of the lines
_MEAN_OF_LOWER = 0.440  # of the lower 80 % of squares of normal numbers with a variance of 1
_MEDIAN_OF_SQUARES = 0.4549  # of normal numbers with a variance of 1


def line_offsets(
    plane: Plane, valid: Mask | None = None, axes: str = "YX"
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Offsets (counts) that rows and columns of an image have in common.

    Parameters
    ----------
    plane : ndarray
        (Y, X), counts.
    valid : ndarray of bool
        (Y, X), True where a pixel is data; None if all are.
    axes : str
        "Y": rows only; "X": columns only; "YX": both.

    Returns
    -------
    rows : ndarray
        (Y,), float32, counts to subtract from each row. Their mean is 0; all are 0 without significant row noise.
    columns : ndarray
        (X,), float32, the same for columns.
    """
    known = None if valid is None or valid.all() else valid
    rows = _offsets(plane, known) if "Y" in axes else np.zeros(plane.shape[0])
    columns = _offsets(plane.T, None if known is None else known.T) if "X" in axes else np.zeros(plane.shape[1])
    return rows.astype(np.float32), columns.astype(np.float32)


def remove_lines(plane: Plane, valid: Mask | None = None, axes: str = "YX") -> NDArray[np.float32]:
    """The image (Y, X) as float32 without row and column noise; see `line_offsets`."""
    rows, columns = line_offsets(plane, valid, axes)
    return np.asarray(plane, np.float32) - rows[:, None] - columns


def _offsets(plane: Plane, valid: Mask | None) -> Array:
    """Offsets of the rows of an image."""
    nothing = np.zeros(plane.shape[0])
    if min(plane.shape) < _FEWEST:
        return nothing
    blocks, known = _blocks(plane, valid)
    first = _profile(blocks, known, known)
    others = [_profile(blocks, known, chosen) for chosen in _dark(blocks - first[0][:, None], known)]
    # Structures and the noise of few pixels add to the offsets.
    profile, error = min([first, *others], key=lambda found: float(np.std(found[0])))
    seen = error > 0
    if seen.sum() < _FEWEST:
        return nothing
    variance = float(np.square(error[seen]).mean())
    strength = _strength(profile[seen], variance)
    if strength < _LEAST * float(np.median(error[seen])) * np.sqrt(plane.shape[1] / 2):  # of the noise of a pixel
        return nothing
    kept = np.zeros_like(profile)
    kept[seen] = _wiener(_without_outliers(profile[seen], strength), strength, variance)
    return np.where(seen, kept - kept[seen].mean(), 0)


def _profile(blocks: Array, known: Mask, chosen: Mask) -> tuple[Array, Array]:
    """The sum of the steps from row to row, and the standard error of a row's mean (0: the row is not known)."""
    few = (chosen[1:] & chosen[:-1]).sum(1) < _FEWEST // 2
    used = np.where(few[:, None], known[1:] & known[:-1], chosen[1:] & chosen[:-1])
    steps, error = _steps(blocks, used)
    return np.append(0, np.cumsum(steps)), np.maximum(np.append(0, error), np.append(error, 0))


def _dark(flattened: Array, known: Mask) -> list[Mask]:
    """The darker half of the image without its line noise, and all that is not brighter than the noise of this half."""
    if not known.any():
        return []
    total = np.where(known, flattened, 0)
    for axis in (0, 1):
        total = sum((np.roll(total, shift, axis) for shift in (-2, -1, 1, 2)), total)
    lower, middle = np.quantile(total[known], [0.16, 0.5])
    return [known & (total <= limit) for limit in (middle, middle + 3 * (middle - lower))]


def _blocks(plane: Plane, valid: Mask | None) -> tuple[Array, Mask]:
    """Means of neighbouring pixels of each row (rows, blocks), and where they are known."""
    rows, width = plane.shape
    size = max(1, width // _BLOCKS)
    inside = plane[:, : width // size * size].reshape(rows, -1, size)
    if valid is None:
        blocks = inside.mean(2, dtype=np.float64)
        return blocks, np.ones(blocks.shape, bool)
    known = valid[:, : inside.shape[1] * size].reshape(inside.shape)
    share = known.sum(2)
    return np.where(known, inside, 0).sum(2, dtype=np.float64) / np.maximum(share, 1), share > size / 2


def _steps(blocks: Array, used: Mask) -> tuple[Array, Array]:
    """Robust means of the differences of neighbouring rows, and the standard error of the mean of one row.

    Both are 0 where too few blocks are known.
    """
    differences = np.where(used, blocks[1:] - blocks[:-1], np.nan)
    pairs = used.sum(1)
    pairs[pairs < _FEWEST // 2] = 0
    middle = _median(differences)
    differences -= middle[:, None]
    scatter = _SIGMA * _median(np.abs(differences))
    typical = float(np.median(scatter[pairs > 0])) if pairs.any() else 0.0
    reach = _CLIP * np.maximum(scatter, typical)[:, None]
    for _ in range(2):
        clipped = np.clip(differences, -reach, reach)
        inside = np.maximum((np.abs(differences) < reach).sum(1), 1)
        shift = np.where(pairs > 0, np.nansum(clipped, axis=1) / inside, 0)
        middle += shift
        differences -= shift[:, None]
    error = np.where(pairs > 0, scatter / np.sqrt(2 * np.maximum(pairs, 1)), 0)
    return np.where(pairs > 0, middle, 0), error


def _median(values: Array) -> Array:
    """Median of each row without its NaN; NaN if it has nothing else."""
    ordered = np.sort(values, axis=1)  # NaN last
    known = values.shape[1] - np.isnan(ordered).sum(1)
    index = np.arange(len(values))
    low, high = np.maximum(known - 1, 0) // 2, np.minimum(known // 2, values.shape[1] - 1)
    middle: Array = (ordered[index, low] + ordered[index, high]) / 2
    return middle


def _spectrum(profile: Array) -> tuple[Array, NDArray[np.complex128]]:
    """Frequencies (cycles a line) and amplitudes of the mirrored profile; white noise keeps its variance."""
    mirrored = np.concatenate([profile, profile[::-1]])
    return np.fft.rfftfreq(mirrored.size).astype(np.float64), np.fft.rfft(mirrored, norm="ortho")


def _strength(profile: Array, variance: float) -> float:
    """Standard deviation (counts) of the line noise, 0 if not significant beside the `variance` of a line's mean."""
    second = np.diff(profile, 2) / np.sqrt(6)
    everywhere = float(np.median(np.square(second))) / _MEDIAN_OF_SQUARES
    frequency, amplitude = _spectrum(_without_outliers(profile, np.sqrt(max(everywhere, variance))))
    power = np.square(np.abs(amplitude))
    lower, upper = (_white_level(power[(frequency >= low) & (frequency < high)]) for low, high in _BANDS)
    doubt = 1 + 10 / np.sqrt(0.28 * profile.size)
    white = min((lower + upper) / 2, 1.5 * upper, everywhere)
    found = white - variance if min(upper, everywhere) > doubt * variance and lower < _STEEP * upper else 0.0
    signs = np.where(np.arange(second.size) % 2, -1, 1)
    alternating = float(np.median(second * signs)) * np.sqrt(6) / 4
    if alternating**2 > 30 * max(variance, white) / second.size:
        found += alternating**2
    return float(np.sqrt(max(found, 0)))


def _white_level(power: Array) -> float:
    """Mean power of white noise, from the lower 80 % of the frequencies: a grating adds to few."""
    return float(np.sort(power)[: max(power.size * 4 // 5, 1)].mean()) / _MEAN_OF_LOWER


def _without_outliers(profile: Array, strength: float) -> Array:
    """A line far from its neighbours shows a structure along it, which says nothing about its offset."""
    around = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(profile, 10, mode="reflect"), 21), axis=1)
    far = np.abs(profile - around) > 4.5 * strength
    return np.where(far, around, profile) if far.mean() < _MOST_OUTLIERS else profile


def _wiener(profile: Array, strength: float, variance: float) -> Array:
    """Weaken the frequencies that hold more than white line noise: there, the image varies itself."""
    frequency, amplitude = _spectrum(profile)
    power, width = np.square(np.abs(amplitude)), 9
    power[0] = power[1]
    around = np.convolve(np.pad(power, width // 2, mode="reflect"), np.full(width, 1 / width), "valid")
    expected = strength**2 + variance
    share = np.minimum(1, 2.5 * expected / np.maximum(around, expected))
    share[frequency > _BEYOND_OPTICS] = 1
    share *= strength**2 / expected
    share[0] = 0
    return np.fft.irfft(amplitude * share, 2 * profile.size, norm="ortho")[: profile.size]
