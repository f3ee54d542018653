"""Estimate the camera's noise from images: variance = gain · signal + constant.

The spatial estimate follows the idea of the noise level function (Foi et al. 2008; Immerkær 1996): the optics pass
almost no structure at the highest frequencies, so a high-pass filter leaves noise. Its variance is compared with the
local mean. Two things keep the line unbiased:

- Pixels are grouped by one local mean, and the signal of a group is measured by *another*, made of other pixels.
  Otherwise the noise of the grouping would flatten the slope (errors in variables).
- The signal is averaged with the squared weights of the high-pass filter, which makes
  ``E[residual²] = gain · E[signal] + constant`` exact for white noise.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from zsd_runtime.errors import InputError

Array = NDArray[np.float64]

# Fourth difference in Y and in X: it passes only the corner of the spectrum, which lies outside a microscope's OTF.
_LINE = np.array([1.0, -4.0, 6.0, -4.0, 1.0])
_HIGH_PASS = np.outer(_LINE, _LINE) / (_LINE**2).sum()  # unit norm: white noise keeps its variance
_SIGNAL = _HIGH_PASS**2
# A square ring around the high-pass filter's window, sharing no pixel with it.
_RING = np.pad(np.zeros((5, 5)), 2, constant_values=1 / 56)
# Correlation of neighbouring residuals if the noise is white, -0.8; interpolation changes it by 0.1 or more.
_WHITE = float((_LINE[1:] * _LINE[:-1]).sum() / (_LINE**2).sum())
_WHITE_TOLERANCE = 0.05
MOST_FRAMES = 16  # used: more cost memory and add little
_BINS = 40
_SMALLEST_BIN = 200


@dataclass(frozen=True)
class NoiseModel:
    """variance(counts) = max(gain · counts + constant, floor), with one standard error each.

    Parameters
    ----------
    gain : float
        Counts per photo-electron; 0 if the images do not show it.
    constant : float
        Variance at 0 counts, counts².
    floor : float
        Variance of the darkest pixels, counts².
    offset : float
        Level of the darkest pixels, counts: the camera offset if part of the image is dark, otherwise offset and
        background together.
    gain_error, constant_error, offset_error : float
        One standard error each.
    message : str
        How it was estimated.
    correlated : str
        Axes ("Y", "X") along which neighbouring pixels share noise, as in interpolated, deskewed or compressed
        images. Recorruption cannot remove such noise.
    """

    gain: float
    constant: float
    floor: float
    offset: float
    gain_error: float = 0.0
    constant_error: float = 0.0
    offset_error: float = 0.0
    message: str = ""
    correlated: str = ""

    @property
    def read_noise(self) -> float:
        """Standard deviation (counts) at the offset."""
        return float(np.sqrt(self.variance(self.offset)))

    def variance(self, counts: Array | float) -> Array:
        """Noise variance (counts²) of a noise-free image of `counts`, any shape."""
        return np.maximum(self.gain * np.asarray(counts, np.float64) + self.constant, self.floor)


def known_noise(offset: float, gain: float, read_noise: float) -> NoiseModel:
    """The model of a camera with known values.

    Parameters
    ----------
    offset : float
        Camera offset, counts.
    gain : float
        Counts per photo-electron.
    read_noise : float
        Standard deviation, counts.
    """
    if not gain > 0:
        raise InputError(
            f"gain {gain} must be above 0 counts per electron", "see the camera's data sheet", option="gain"
        )
    if read_noise < 0:
        raise InputError(f"read noise {read_noise} must be 0 or above (counts)", option="read_noise")
    floor = max(read_noise**2, 1e-6 * gain)
    return NoiseModel(gain, read_noise**2 - gain * offset, floor, offset, message="given by the user")


def correlated_noise(axes: str) -> str:
    """What correlated noise means for a user."""
    return (
        f"the noise is correlated along {' and '.join(axes)}: the image was interpolated, deskewed, registered or "
        "compressed; such noise will not be removed: use the image as the camera gave it"
    )


def estimate_noise(images: list[Array]) -> NoiseModel:
    """Estimate the noise of images.

    If the images repeat one scene (their differences show no structure), the noise is measured in these differences;
    otherwise in the high frequencies of each image.

    Parameters
    ----------
    images : list of ndarray
        Each (Y, X), camera counts, taken with the same camera settings.

    Raises
    ------
    InputError
        When no image has 32x32 pixels, or all are constant.
    """
    if max(min(image.shape) for image in images) < 32:
        raise InputError(
            "noise cannot be told from less than 32x32 pixels", "give `offset`, `gain` and `read_noise`",
            option=("offset", "gain", "read_noise"),
        )  # fmt: skip
    few = [images[i] for i in np.linspace(0, len(images) - 1, min(len(images), MOST_FRAMES)).round().astype(int)]
    samples = _temporal_samples(images) or _concatenated([_spatial_samples(image) for image in few])
    signal, group, residual = samples.signal, samples.group, samples.residual
    if residual.size < 2 * _SMALLEST_BIN or not residual.any():
        raise InputError("the image has no noise to measure (constant, or saturated almost everywhere)")
    offset, offset_error = _dark_level(signal, group)
    x, variance, error = _noise_level_function(signal, group, residual)
    gain, constant, covariance = _fit_line(x, variance, error)
    floor = max(0.5 * float(variance.min()), 1e-6 * float(variance.max()))
    gain_error, constant_error = (float(np.sqrt(v)) for v in np.diag(covariance))
    if gain < 3 * gain_error:
        weights = 1 / error**2
        constant = float((variance * weights).sum() / weights.sum())
        return NoiseModel(
            0.0, constant, constant, offset, gain_error, float(weights.sum() ** -0.5), offset_error,
            f"the gain cannot be estimated (slope {gain:.3g} ± {gain_error:.3g}): read noise dominates, constant noise "
            "is assumed",
            _correlated_axes(few),
        )  # fmt: skip
    return NoiseModel(
        gain, constant, floor, offset, gain_error, constant_error, offset_error, samples.message,
        _correlated_axes(few),
    )  # fmt: skip


def planes(images: list[NDArray[np.generic]], most: int = 16) -> list[NDArray[np.float64]]:
    """Planes (Y, X) of images: each image itself, or at most `most` planes of a volume, with the brightest one."""
    return [plane for image in images for plane in _planes(image, most)]


def _planes(image: NDArray[np.generic], most: int) -> Iterator[NDArray[np.float64]]:
    if image.ndim == 2:
        yield np.asarray(image, np.float64)
        return
    spread = np.linspace(0, len(image) - 1, min(len(image), most)).round().astype(int).tolist()
    brightest = max(range(len(image)), key=lambda z: float(image[z, ::4, ::4].mean()))
    for z in sorted({*spread, brightest}):
        yield np.asarray(image[z], np.float64)


@dataclass(frozen=True)
class _Samples:
    """For each usable pixel: the local signal, another local mean to group by, and the residual, pure noise."""

    signal: Array
    group: Array
    residual: Array
    message: str


def _usable(image: Array) -> NDArray[np.bool_]:
    """Pixels whose windows contain neither the border nor values clipped at the ends of the range."""
    clipped = np.zeros(image.shape, bool)
    values, counts = np.unique(image, return_counts=True)
    for end, neighbour in ((0, 1), (-1, -2)):
        # Many pixels at the end of the range; without clipping they become fewer towards it.
        if len(values) > 2 and counts[end] > max(10, 1e-4 * image.size, 2 * counts[neighbour]):
            clipped |= image == values[end]
    if clipped.mean() > 0.25:  # clipped almost everywhere (an 8-bit black): the darkest groups are dropped later
        clipped &= image == image.max()
    # Constant squares contain no noise: the padding of a deskewed or registered image.
    flat = ndi.maximum_filter(image, 5) == ndi.minimum_filter(image, 5)
    usable = ~ndi.binary_dilation(clipped, iterations=1) & ~ndi.binary_dilation(flat, iterations=5)
    usable[:4], usable[-4:], usable[:, :4], usable[:, -4:] = False, False, False, False
    return usable


def _spatial_samples(image: Array) -> _Samples:
    usable = _usable(image)
    signal, group, residual = (ndi.convolve(image, k, mode="reflect")[usable] for k in (_SIGNAL, _RING, _HIGH_PASS))
    return _Samples(signal, group, residual, "from the high spatial frequencies")


def _correlated_axes(images: list[Array]) -> str:
    """Axes along which the high frequencies of all images together differ from those of white noise."""
    parts = [_whitened(image) for image in images]
    power = np.concatenate([residual[usable] for residual, usable in parts])
    found = ""
    for axis, name in enumerate("YX"):
        products = np.concatenate([(r * np.roll(r, 1, axis))[u & np.roll(u, 1, axis)] for r, u in parts])
        if products.size and abs(products.mean() / np.square(power).mean() - _WHITE) > _WHITE_TOLERANCE:
            found += name
    return found


def _whitened(image: Array) -> tuple[Array, NDArray[np.bool_]]:
    """High frequencies over their local strength, so that dark and bright parts count alike; and the usable pixels."""
    residual = ndi.convolve(image, _HIGH_PASS, mode="reflect")
    local = np.clip(ndi.uniform_filter(residual**2, 15), 0, None)
    return residual / (np.sqrt(local) + 1e-9), _usable(image)


def _temporal_samples(images: list[Array]) -> _Samples | None:
    """Half-differences of neighbouring frames, if they are white: nothing moved and nothing bleached."""
    if len(images) < 2 or len({image.shape for image in images}) > 1:
        return None
    frames = images[:MOST_FRAMES]
    total = np.sum(frames, axis=0)
    parts = []
    for first, second in pairwise(frames):
        difference = (first - second) / np.sqrt(2)
        difference -= difference.mean()
        smooth = ndi.uniform_filter(difference, 9)
        if smooth.var() > 1.5 * difference.var() / 81:
            return None
        mean = (first + second) / 2
        others = (total - first - second) / (len(frames) - 2) if len(frames) > 2 else None
        group = ndi.convolve(mean, _RING, mode="reflect") if others is None else others
        usable = _usable(mean)
        parts.append(_Samples(mean[usable], group[usable], difference[usable], "from repeats of one scene"))
    return _concatenated(parts)


def _concatenated(parts: list[_Samples]) -> _Samples:
    return _Samples(
        np.concatenate([p.signal for p in parts]),
        np.concatenate([p.group for p in parts]),
        np.concatenate([p.residual for p in parts]),
        parts[0].message,
    )


def _dark_level(signal: Array, group: Array) -> tuple[float, float]:
    """Mean signal of the pixels whose surroundings are the darkest 1 %, and its standard error."""
    dark = signal[group <= np.quantile(group, 0.01)]
    return float(dark.mean()), float(dark.std() / np.sqrt(max(dark.size / 8, 1)))


def _noise_level_function(signal: Array, group: Array, residual: Array) -> tuple[Array, Array, Array]:
    """(mean signal, noise variance, its standard error) of groups of pixels with similar surroundings."""
    order = np.argsort(group)
    # Half of the groups hold equal numbers of pixels, the other half equal steps of brightness: the few bright pixels
    # contain most of the information about the gain.
    by_count = np.linspace(0, order.size, _BINS // 2 + 1).astype(int)
    levels = np.linspace(group[order[0]], group[order[-1]], _BINS // 2 + 1)
    edges = np.unique(np.concatenate([by_count, np.searchsorted(group[order], levels[1:-1])]))
    kept = [0]
    for edge in edges[1:]:
        if edge - kept[-1] >= _SMALLEST_BIN:
            kept.append(int(edge))
    kept[-1] = order.size
    rows = []
    for start, stop in pairwise(kept):
        inside = order[start:stop]
        squares = residual[inside] ** 2
        squares = squares[squares <= 20 * squares.mean()]  # a hot pixel, a cosmic ray
        # Neighbouring residuals are correlated: about 1 in 4 is independent.
        rows.append((signal[inside].mean(), squares.mean(), squares.std() / np.sqrt(squares.size / 4)))
    x, variance, error = np.array(rows).T
    return x, variance, np.maximum(error, 1e-3 * variance.max() / np.sqrt(order.size))


def _fit_line(x: Array, variance: Array, error: Array) -> tuple[float, float, Array]:
    """Weighted straight line; groups far from it (structure that passed the filter) lose weight."""
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
