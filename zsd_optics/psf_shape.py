"""The shape of a PSF, in numbers that tell a point's image from everything else: peaks, tops, edges, far light."""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi

from zsd_optics.psf_measure import NOISELESS, SIGMA_PER_FWHM, Array, fwhm_px, noise, rim, without_background

SECOND_PEAK = 0.1  # of the first; the first ring of Airy has 0.0175, a lobe of coma or along Z more
SADDLE = 0.7  # of the second peak: with more light than this between them, two peaks are one


@dataclass(frozen=True)
class Shape:
    """A PSF, and what all checks need to know of it.

    Parameters
    ----------
    raw : ndarray
        (Y, X) or (Z, Y, X), with its background.
    values : ndarray
        Without.
    smooth : ndarray
        `values`, smoothed by half the width of the PSF.
    width : ndarray
        FWHM for each axis, pixels; infinite where the PSF does not fall to its half.
    noise, smooth_noise : float
        Standard deviation of `values` and `smooth`, where the PSF is dim.
    """

    raw: Array
    values: Array
    smooth: Array
    width: Array
    noise: float
    smooth_noise: float

    @property
    def axes(self) -> str:
        """Their letters."""
        return "ZYX"[-self.raw.ndim :]

    @property
    def peak(self) -> tuple[int, ...]:
        """Position of the maximum."""
        return tuple(int(place) for place in np.unravel_index(np.argmax(self.smooth), self.smooth.shape))

    @property
    def top(self) -> float:
        """The maximum."""
        return float(self.smooth.max())

    def focal(self, array: Array) -> Array:
        """The plane (Y, X) of `array` that the peak is in."""
        return array if array.ndim == 2 else np.asarray(array[self.peak[0]])


def shape_of(raw: Array) -> Shape:
    """Measure a PSF (Y, X) or (Z, Y, X) that has a peak."""
    values = without_background(raw)
    width = fwhm_px(values)
    sigma = np.clip(np.minimum(width, np.asarray(raw.shape) / 4) * SIGMA_PER_FWHM / 2, 0.5, None)
    level = noise(values)
    passed = np.prod(1 / np.sqrt(2 * np.sqrt(np.pi) * sigma))  # of the noise, by the Gaussian
    return Shape(raw, values, ndi.gaussian_filter(values, sigma, mode="nearest"), width, level, float(level * passed))


@dataclass(frozen=True)
class Peak:
    """A peak beside the first one.

    Parameters
    ----------
    height : float
        Share of the first one's.
    position : tuple of int
    sideways, along : float
        Distance from the first one, in its FWHM: in the plane, and along Z.
    """

    height: float
    position: tuple[int, ...]
    sideways: float
    along: float


def second_peak(it: Shape) -> Peak | None:
    """The brightest peak beside the first that exceeds `SECOND_PEAK` and the noise, and is separate from it.

    It must do so also when smoothed by the whole width of the PSF: then photons that happen to come together do not.
    """
    width = np.minimum(it.width, np.asarray(it.raw.shape) / 2)
    matched = ndi.gaussian_filter(it.values, width * SIGMA_PER_FWHM, mode="constant")
    size = [max(3, 2 * round(float(w) / 2) + 1) for w in width]
    highest = it.smooth == ndi.maximum_filter(it.smooth, size, mode="nearest")
    highest &= it.smooth > max(SECOND_PEAK * it.top, 6 * it.smooth_noise)
    highest &= (matched > SECOND_PEAK * matched.max()) | (it.smooth == it.top)
    candidates = np.argwhere(highest)
    order = np.argsort(-it.smooth[highest])
    for place in candidates[order][1:20]:  # the others are dimmer; noise makes many
        height = it.smooth[tuple(place)]
        labels, _ = ndi.label(it.smooth > SADDLE * height)
        if labels[tuple(place)] != labels[it.peak]:
            away = np.abs(place - np.asarray(it.peak)) / width
            along = float(away[0]) if away.size == 3 else 0.0
            return Peak(float(height / it.top), tuple(int(n) for n in place), float(np.hypot(*away[-2:])), along)
    return None


def dark_middle(it: Shape) -> bool:
    """Whether the bright part of the focal plane has a hole that is less than half as bright."""
    plane = ndi.gaussian_filter(it.focal(it.values), 0.5, mode="nearest")
    bright = plane > 0.5 * plane.max()
    return bool((ndi.binary_fill_holes(bright) & ~bright).any())


def clipped(it: Shape) -> bool:
    """Whether the brightest voxels have one value, and are more than their number in a peak that is not cut off.

    Of a Gaussian cut at 95 % of its peak, 7 % of the voxels above half are at the top. Rounding to whole counts makes
    small plateaus, too, and so does a calculated peak that lies exactly between pixels (2 in each axis).
    """
    top = it.raw.max()
    height = top - np.median(it.raw) if it.raw.size else 0.0
    labels, _ = ndi.label(it.raw >= top - 1e-6 * height, np.ones((3,) * it.raw.ndim))
    plateau = int(np.bincount(labels.ravel())[1:].max())
    step = 1.0 if np.all(it.raw == np.rint(it.raw)) else 0.0
    below = (it.raw < top - 1e-6 * height) & (it.raw >= top - max(0.05 * height, step))
    half = int((it.values > 0.5 * it.values.max()).sum())
    symmetric = plateau in {2**k for k in range(it.raw.ndim + 1)} and it.noise < NOISELESS * it.top
    return plateau >= 3 and not symmetric and plateau >= below.sum() and plateau > 0.05 * half


def sharpness(it: Shape) -> float:
    """The brightest of the four neighbours of the brightest voxel, in its plane, as a share of it."""
    plane = np.pad(it.focal(it.values), 1)
    y, x = np.unravel_index(np.argmax(plane), plane.shape)
    return float(max(plane[y - 1, x], plane[y + 1, x], plane[y, x - 1], plane[y, x + 1]) / plane[y, x])


def flatness(it: Shape) -> float:
    """Area above 90 % of the peak over that above 50 %, in the focal plane: 0.15 for Gauss and Airy, 0.36 cut at 80 %.

    0 for a peak of so few pixels that their number says nothing.
    """
    plane = ndi.gaussian_filter(it.focal(it.values), 0.7, mode="nearest")
    half = (plane > 0.5 * plane.max()).sum()
    return float((plane > 0.9 * plane.max()).sum() / half) if half >= 25 else 0.0


def edges(it: Shape) -> dict[str, tuple[float, str]]:
    """How bright the PSF is where its array ends: for each axis the share of the peak, and at which end.

    0 where that is noise. In Z on the axis, because the light of a widefield PSF is spread out, but never gone, in its
    last slices. In Y and X in the focal plane: the edge next to the peak, less the ends of this edge, so that no
    background counts.
    """
    plane, (y, x) = it.focal(it.smooth), it.peak[-2:]
    ends = {
        "Y": (_above_its_ends(plane[0], x), _above_its_ends(plane[-1], x)),
        "X": (_above_its_ends(plane[:, 0], y), _above_its_ends(plane[:, -1], y)),
    }
    if it.raw.ndim == 3:
        ends["Z"] = (float(it.smooth[0, y, x]), float(it.smooth[-1, y, x]))
    return {
        axis: (max(both) / it.top if max(both) > 6 * it.smooth_noise else 0.0, "last" if both[1] > both[0] else "first")
        for axis, both in ends.items()
    }


def _above_its_ends(line: Array, place: int) -> float:
    return float(line[place] - (line[0] + line[-1]) / 2)


def step_at_border(it: Shape) -> float:
    """If the array has a border of one value: how far that is from the values beside it, as a share of the peak.

    A crop with its background, padded with zeros, stands on a pedestal.
    """
    border = it.raw.flat[0]
    filled = it.raw != border
    inside = []
    for axis in range(it.raw.ndim):
        places = np.flatnonzero(filled.any(axis=tuple(a for a in range(it.raw.ndim) if a != axis)))
        inside.append(slice(places[0], places[-1] + 1))
    inner = it.raw[tuple(inside)]
    if any(full == kept for full, kept in zip(it.raw.shape, inner.shape, strict=True)):
        return 0.0
    level = float(np.median(rim(inner)))
    return abs(level - float(border)) / max(float(inner.max()) - level, 1e-300)


def odd_line(it: Shape) -> tuple[str, int, bool] | None:
    """A row, column or slice that is brighter or darker than both its neighbours all along: axis, index, brighter.

    Without an offset a dead line is dark only where it crosses the PSF: there, as a whole, it is below a fifth of both.
    """
    reach = np.ceil(np.minimum(it.width, np.asarray(it.raw.shape))).astype(int)
    core = tuple(slice(max(0, place - r), place + r + 1) for place, r in zip(it.peak, reach, strict=True))
    for number, axis in enumerate(it.axes):
        lines = np.moveaxis(it.values, number, 0).reshape(it.raw.shape[number], -1)
        if min(lines.shape) < 7:
            continue
        step = lines[1:-1] - (lines[:-2] + lines[2:]) / 2
        threshold = max(0.1 * it.top, 2 * it.noise)
        above, below = np.quantile(step, 0.1, axis=1), -np.quantile(step, 0.9, axis=1)
        through = it.values[tuple(slice(None) if a == number else s for a, s in enumerate(core))]
        total = through.sum(axis=tuple(a for a in range(it.raw.ndim) if a != number))
        beside = np.minimum(total[:-2], total[2:])
        error = 6 * it.noise * np.sqrt(through.size / total.size)
        gap = (total[1:-1] < 0.2 * beside) & (beside > max(0.2 * total.max(), 2 * error))
        most = int(np.argmax(np.where(gap, np.inf, np.maximum(above, below))))  # its neighbours are odd, too
        if gap[most] or max(above[most], below[most]) > threshold:
            return axis, most + 1, bool(not gap[most] and above[most] > below[most])
    return None


def far_light(it: Shape, reach: float = 2.5) -> float:
    """Share of the focal plane's light that is further from the peak than `reach` FWHM, as far as it exceeds the noise.

    0.07 for Airy. 0 if the array does not reach so far.
    """
    plane = it.focal(it.values)
    y, x = it.peak[-2:]
    distance = np.hypot(*np.ogrid[-y : plane.shape[0] - y, -x : plane.shape[1] - x]).round().astype(int)
    inside = min(y, x, plane.shape[0] - 1 - y, plane.shape[1] - 1 - x)
    radius = reach * it.width[-2:].max()
    if not radius < inside:
        return 0.0
    count = np.bincount(distance.ravel())[: inside + 1]
    light = np.bincount(distance.ravel(), plane.ravel())[: inside + 1]
    faint = light < 5 * it.noise * np.sqrt(count)
    light = light[: int(np.argmax(faint)) if faint.any() else None]
    return float(light[int(radius) + 1 :].sum() / light.sum()) if light.size else 0.0
