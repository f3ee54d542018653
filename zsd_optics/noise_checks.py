"""Signs that an image is not what a camera gave, or that its noise is not what the estimate assumes."""

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from zsd_optics.noise_line import SMALLEST_BIN, groups
from zsd_optics.noise_samples import HIGH_PASS, LINE, Frame
from zsd_runtime.errors import InputError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Correlation of neighbouring residuals if the noise is white, -0.8; interpolation changes it by 0.1 or more.
_WHITE = float((LINE[1:] * LINE[:-1]).sum() / (LINE**2).sum())
_WHITE_TOLERANCE = 0.05
_STRUCTURE = 0.4  # of this difference must be in the darker half, too: that is noise
# The high-pass filter with positive weights along one axis: independent noise keeps its variance exactly, structure
# does not; and a filter for lower frequencies along the other.
_POSITIVE, _SECOND = np.abs(LINE), np.array([0.0, -1.0, 2.0, -1.0, 0.0])
_BIAS = 0.09  # of the variance
_WORTH_SAYING, _MUCH = 1e-3, 0.1  # of the pixels


def check_wrapped(image: Array, name: str) -> None:
    """Refuse integers that were subtracted below 0 and came out at the other end of their range.

    The histogram then has both ends and no middle, as no picture has: optics blur every edge.
    """
    for bits in (8, 16, 32):
        end = 2.0**bits
        if not (end / 2 < image.max() < end and image.min() >= 0):
            continue
        high, low = image >= end * 0.98, image < end * 0.1
        middle = ~high & (image >= end * 0.5)
        share = float(high.mean())
        several = len(np.unique(image[high])) > 2  # saturated pixels all have one value
        if several and share > _WORTH_SAYING and low.mean() > 0.01 and middle.sum() < 0.1 * high.sum():
            raise InputError(
                f"{100 * share:.2g} % of the pixels of {name} are above {end * 0.98:.0f} beside pixels near 0: numbers "
                f"below 0 have wrapped around to {end - 1:.0f}",
                "use the raw counts, or convert to 32-bit float before you subtract",
            )
    below = image < 0
    if image.min() < -(2.0**14) and below.mean() > _WORTH_SAYING and not ((image < 0) & (image > -(2.0**12))).any():
        raise InputError(
            f"{100 * float(below.mean()):.2g} % of the pixels of {name} are far below 0 (down to {image.min():.0f}): "
            "numbers above 32767 have wrapped around",
            "save the image as unsigned 16 bit",
        )


def blank(images: list[Array]) -> list[int]:
    """Numbers (from 0) of the images that are constant."""
    return [i for i, image in enumerate(images) if image.min() == image.max()]


def blank_remark(numbers: list[int], images: list[Array]) -> str:
    """What blank images mean for a user."""
    names = ", ".join(str(i + 1) for i in numbers)
    several = len(numbers) > 1
    value = images[numbers[0]].flat[0]
    return (
        f"image{'s' * several} {names} of {len(images)} {'are' if several else 'is'} blank (all pixels {value:g}) and "
        f"{'were' if several else 'was'} left out"
    )


def clipping_remarks(images: list[Array], frames: list[Frame]) -> list[str]:
    """What clipped pixels mean for a user."""
    found = []
    for sign, text in (
        (-1, "clipped at {:g}: the background was subtracted, or the detector's offset is too low: use raw counts"),
        (1, "saturated at {:g}: lower the exposure or the detector's gain"),
    ):
        share, value = _clipped(images, frames, sign)
        if share > _WORTH_SAYING:
            found.append(f"{100 * share:.2g} % of the pixels are " + text.format(value))
    return found


def clipped_level(images: list[Array], frames: list[Frame]) -> float | None:
    """The lowest count if the dark parts are clipped there; it is the best guess of their level."""
    share, value = _clipped(images, frames, -1)
    return value if share > _MUCH else None


def _clipped(images: list[Array], frames: list[Frame], sign: int) -> tuple[float, float]:
    """The share of clipped pixels, and their count."""
    found = [image[part.clipped == sign] for image, part in zip(images, frames, strict=True)]
    number = sum(part.size for part in found)
    value = float(np.median(np.concatenate(found))) if number else 0.0
    return number / sum(image.size for image in images), value


def quantised_remark(image: Array, noise: float, gain: float) -> list[str]:
    """What steps of grey values larger than the noise (counts, standard deviation) and a photon mean for a user."""
    step = float(np.diff(np.unique(image)).min())
    if noise >= 0.5 * step or gain >= 0.7 * step:
        return []
    return [
        f"the noise of the darkest parts ({noise:.2g}) is smaller than the step of the grey values ({step:.2g}): save "
        "images with more bits"
    ]


def correlated_axes(frames: list[Frame]) -> str:
    """Axes along which the high frequencies of all images together differ from those of white noise.

    If the darker halves of the images differ much less, structure is the reason.
    """
    excess = _not_white(frames, dark=False)
    if max(map(abs, excess)) <= _WHITE_TOLERANCE:
        return ""
    in_the_dark = _not_white(frames, dark=True)
    return "".join(
        name
        for name, all_over, dark in zip("YX", excess, in_the_dark, strict=True)
        if abs(all_over) > _WHITE_TOLERANCE and abs(dark) > max(_STRUCTURE * abs(all_over), _WHITE_TOLERANCE / 2)
    )


def _not_white(frames: list[Frame], *, dark: bool) -> list[float]:
    """For Y and X, how far the correlation of neighbouring residuals is from that of white noise."""
    parts = [_whitened(part, dark) for part in frames]
    power = np.concatenate([residual[usable] for residual, usable in parts])
    found = []
    for axis in (0, 1):
        products = np.concatenate([(r * np.roll(r, 1, axis))[u & np.roll(u, 1, axis)] for r, u in parts])
        found.append(float(products.mean() / np.square(power).mean() - _WHITE) if products.size else 0.0)
    return found


def _whitened(part: Frame, dark: bool) -> tuple[Array, Mask]:
    """High frequencies over their local strength, so that dark and bright parts count alike; and the usable pixels."""
    residual = ndi.convolve(part.counts, HIGH_PASS, mode="reflect")
    local = np.clip(ndi.uniform_filter(residual**2, 15), 0, None)
    usable = part.usable
    if dark and usable.any():
        level = ndi.uniform_filter(part.counts, 9)
        usable = usable & (level <= np.median(level[usable]))
    return residual / (np.sqrt(local) + 1e-9), usable


def undersampled(frames: list[Frame], axes: str) -> bool:
    """Whether structure reaches the frequencies at which the noise is measured.

    `axes` are those along which the image has high frequencies of its own: without row ("Y") or column noise ("X").

    Filters with the weights of the high-pass filter and other signs see independent noise alike, whatever its
    distribution, but more structure. From two bands of frequencies follows the width of the PSF as if it were Gaussian,
    and from it the share of the structure in the estimate. What the darker half shows, too, is correlated noise.
    """
    powers = [_powers(_middle(part), axes) for part in frames[:: max(len(frames) // 4, 1)]] if axes else []
    level, corner, axial, lower = np.concatenate(powers, axis=1) if powers else np.zeros((4, 0))
    usual = 0.0
    for low, high in ((0.0, 0.5), (0.8, 0.95), (0.95, 0.99), (0.99, 1.0)):
        edges = np.quantile(level, [low, high]) if level.size else (0, 0)
        part = (level >= edges[0]) & (level <= edges[1])
        if part.sum() < SMALLEST_BIN:
            continue
        noise, difference = float(corner[part].mean()), (axial - corner)[part]
        if not low:
            usual = max(float(difference.mean()) / noise, 0)
        excess = float(difference.mean()) - 2 * usual * noise
        error = float(difference.std()) / np.sqrt(part.sum() / 9)
        if excess <= max(4 * error, 0.5 * noise):
            continue
        if excess * _leak((float(lower[part].mean()) - noise) / float(difference.mean())) > _BIAS * noise:
            return True
    return False


def _middle(part: Frame, most: int = 1024) -> Frame:
    """The middle of an image: large ones hold more than enough pixels."""
    inside = tuple(slice(max(n - most, 0) // 2, max(n - most, 0) // 2 + most) for n in part.counts.shape)
    return Frame(part.counts[inside], part.kept[inside], part.usable[inside], part.clipped[inside])


def _powers(part: Frame, axes: str) -> Array:
    """Local level and squares of the three filters' outputs, at usable pixels that have noise: (4, pixels)."""

    def power(*pairs: tuple[Array, Array]) -> Array:
        filtered = [
            ndi.convolve1d(ndi.convolve1d(part.counts, y, 0), x, 1)[part.usable] / np.sqrt((y**2).sum() * (x**2).sum())
            for y, x in pairs
        ]
        return np.mean(np.square(filtered), axis=0)

    def along(line: Array) -> list[tuple[Array, Array]]:
        return [(_POSITIVE, line) if axis == "X" else (line, _POSITIVE) for axis in axes]

    level = ndi.uniform_filter(part.counts, 5)[part.usable]
    found = np.stack([level, power((LINE, LINE)), power(*along(LINE)), power(*along(_SECOND))])
    return found[:, found[1] + found[2] > 0]


def _leak(slope: float) -> float:
    """Of the power that structure adds along an axis, the share that it adds to the high-pass filter, too.

    `slope` is what it adds at lower frequencies, over what it adds along the axis: it tells the width of the PSF.
    """
    sigma = np.arange(0.3, 1.6, 0.02)[:, None, None]
    frequency = np.fft.fftfreq(32)
    passed = np.exp(-4 * (np.pi * sigma) ** 2 * (frequency[:, None] ** 2 + frequency**2))
    high, both, low = (np.abs(np.fft.fft(line, 32)) ** 2 / (line**2).sum() for line in (LINE, _POSITIVE, _SECOND))
    corner, axis, lower = ((np.outer(y, x) * passed).mean((1, 2)) for y, x in ((high, high), (both, high), (both, low)))
    slopes = (lower - corner) / (axis - corner)
    if slope < slopes[0]:
        return 0.0  # no PSF has this spectrum
    return float((corner / (axis - corner))[np.argmin(np.abs(slopes - slope))])


def fixed_pattern(frames: list[Frame], variance: tuple[float, float]) -> float:
    """Standard deviation (counts) of what stays from repeat to repeat beside the smooth scene; 0 if not significant.

    Parameters
    ----------
    frames : list of Frame
        Repeats of one scene.
    variance : tuple of float
        Gain and constant of a single frame's noise line.
    """
    usable = np.logical_and.reduce([part.usable for part in frames])
    mean = np.mean([part.counts for part in frames], axis=0)
    residual = ndi.convolve(mean, HIGH_PASS, mode="reflect")[usable]
    level = ndi.convolve(mean, HIGH_PASS**2, mode="reflect")[usable]
    if residual.size < 4 * SMALLEST_BIN:
        return 0.0
    excess, error = [], []
    for inside in groups(ndi.uniform_filter(mean, 9)[usable]):
        squares = np.square(residual[inside])
        expected = max(variance[0] * float(level[inside].mean()) + variance[1], 0) / len(frames)
        excess.append(float(squares.mean()) - expected)
        error.append(float(squares.std()) / np.sqrt(squares.size / 4) + 0.1 * expected)
    dark = slice(0, max(len(excess) // 2, 1))  # bright parts hold structure
    found, doubt = float(np.median(excess[dark])), float(np.median(error[dark]))
    return float(np.sqrt(found)) if found > 4 * doubt / np.sqrt(len(excess[dark])) else 0.0
