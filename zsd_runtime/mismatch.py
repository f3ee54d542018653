"""Whether an image is of the kind that a model was trained on.

A model learns one camera setting: results for images of another are wrong and look plausible. Images of the same camera
lie on its noise line, whatever they show; a field of view without background, a shorter exposure or a bleached frame
is no mismatch.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from zsd_runtime.camera import Camera, Ratios
from zsd_runtime.image_statistics import Statistics, statistics
from zsd_runtime.images.image import Image, Voxel
from zsd_runtime.package import ModelDescription

# Of the brightness in the training (docs/decisions/other-images.md). Beyond the upper one, a Gaussian filter
# is better than a model; below the lower one, results lose light.
BRIGHTEST, DIMMEST = 5.0, 1 / 8
NOISE = (1 / 1.5, 1.5)  # variance, relative to the training: two averaged frames have 0.5
NEGLIGIBLE = 0.1  # of the scale: levels are equal
CERTAIN = 4  # standard errors
SIZES = 1.05  # ratio of pixel sizes that a PSF does not notice
NOISE_NEGLIGIBLE = 0.03  # of the scale: light of which the noise would explain the difference
# Of `Statistics`, without the darkest and the brightest percent: dark, middle and bright parts.
GROUPS = (slice(1, 4), slice(4, -2), slice(-2, -1))
REMEDY = "use the raw counts of the camera, or train a model on this image"


@dataclass(frozen=True)
class Mismatch:
    """One reason why results may be wrong.

    Attributes
    ----------
    kind : str
        "dark level", "noise", "brightness", "saturation", "pixel size", "z step" or "channel".
    text : str
        A sentence with the values, what was expected, and the remedy.
    """

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


def image_mismatches(model: ModelDescription, image: Image) -> list[Mismatch]:
    """Compare an image file, each of its channels by itself, with what a model was trained on.

    Raises
    ------
    InputError
        When its pixels cannot be read.
    """
    leading = image.axes[:-2]
    names = [channel.name for channel in image.description.channels]
    if "C" not in leading or model.channels > 1:
        found = statistics(image.data) if model.camera else Statistics(str(image.data.dtype))
        return mismatches(model, found, image.voxel, names[0] if len(names) == 1 else "")
    result: dict[Mismatch, None] = {}  # what is the same for all channels is said once
    axis = leading.index("C")
    for channel in range(count := image.data.shape[axis]):
        indices = (index for index in np.ndindex(image.data.shape[:-2]) if index[axis] == channel)
        found = statistics(image.data, indices) if model.camera else Statistics(str(image.data.dtype))
        name = names[channel] if len(names) == count else ""
        for item in mismatches(model, found, image.voxel, name):
            per_channel = count > 1 and item.kind not in ("pixel size", "z step", "channel")
            text = f"channel {name or channel}: {item.text}" if per_channel else item.text
            result[Mismatch(item.kind, text)] = None
    return list(result)


def mismatches(
    model: ModelDescription, image: Statistics, voxel: Voxel | None = None, channel: str = ""
) -> list[Mismatch]:
    """Compare an image with what a model was trained on.

    Parameters
    ----------
    model : ModelDescription
    image : Statistics
        From `statistics`.
    voxel : Voxel, optional
        Of the image, as far as it is known.
    channel : str
        Name of the image's channel, if it is known.

    Returns
    -------
    list of Mismatch
        Empty if nothing speaks against the model. What a package or an image does not say is not compared.
    """
    found = _sizes(model, voxel or Voxel())
    if channel and model.channel and channel.strip().casefold() != model.channel.strip().casefold():
        text = f"channel {channel!r} is not the model's, which was trained on {model.channel!r}: train one for each"
        found.append(Mismatch("channel", text))
    if model.camera is not None:
        if image.saturated > 2 * model.camera.saturated:
            found.append(Mismatch("saturation", _saturation(image)))
        found += _counts(model.camera, image)
    return found


def noise_ratios(camera: Camera, image: Statistics) -> Ratios:
    """How many times the noise of the camera's line an image shows, in dark, middle and bright parts; 1 if unknown."""
    ends = _noise(replace(camera, noise_ratios=(1.0, 1.0, 1.0)), image)
    dark, middle, bright = (part.variance / part.line if part and part.variance else 1.0 for part in ends)
    return dark, middle, bright


def _sizes(model: ModelDescription, voxel: Voxel) -> list[Mismatch]:
    found: list[Mismatch] = []
    sizes = [("pixel size", model.pixel_size_um, um) for um in (voxel.y_um, voxel.x_um)]
    if len(model.axes) == 3:
        sizes.append(("z step", model.z_step_um, voxel.z_um))
    for kind, trained, size in sizes:
        known = trained is not None and trained > 0 and size is not None and size > 0
        if known and not 1 / SIZES < size / trained < SIZES and kind not in [item.kind for item in found]:  # type: ignore[operator]
            text = (
                f"its {kind} is {size:.4g} µm, and the model was trained at {trained:.4g} µm: correct it if the file "
                "is wrong, otherwise train a model on images of this size"
            )
            found.append(Mismatch(kind, text))
    return found


def _saturation(image: Statistics) -> str:
    return (
        f"{100 * image.saturated:.2g} % of the pixels are saturated at {image.highest:.6g} counts: what was brighter "
        "is lost, and results are too dim there: expose shorter"
    )


def _counts(camera: Camera, image: Statistics) -> list[Mismatch]:
    """What levels and noise say. One cause has one sentence: after a wrong dark level the rest follows from it."""
    dark = image.dark if math.isfinite(image.dark) else image.highest  # too small, or constant
    tolerance = max(NEGLIGIBLE * camera.scale, math.sqrt(camera.variance(camera.offset)))
    least = max(camera.least_level, camera.offset - camera.scale)
    if dark < least - tolerance:
        return [Mismatch("dark level", _too_dark(camera, image, dark, least))]
    shift = _offset_shift(camera, image)
    if shift is not None:
        text = (
            f"the darkest parts are at {dark:.4g} counts, and their noise says that the camera's offset is about "
            f"{shift:.3g} counts above that of the model's camera (the model's offset is {camera.offset:.4g}): the "
            f"image comes from another camera or was rescaled: {REMEDY}"
        )
        return [Mismatch("dark level", text)]
    return [*_noise_mismatch(camera, image), *_brightness(camera, image)]


def _too_dark(camera: Camera, image: Statistics, dark: float, least: float) -> str:
    dtype = camera.dtype or ""
    read, spread = math.sqrt(camera.variance(camera.offset)), image.highest - image.lowest
    noise = math.sqrt(image.variances[0]) if image.variances else math.nan  # of the darkest parts
    if spread <= 2 and camera.scale > 2:
        cause = f"the image was rescaled to {_short(image.lowest)}..{_short(image.highest)}"
    elif image.dtype in ("uint8", "int8") and dtype not in ("uint8", "int8"):
        cause = "the image was converted to 8 bit"
    elif image.highest - camera.offset > 10 * BRIGHTEST * camera.scale:
        cause = "the image was stretched, or the background was subtracted without room for negative numbers"
    elif NOISE[0] < (noise / read) ** 2 < NOISE[1] * 2:
        cause = "the background was subtracted"
    else:
        cause = "the background was subtracted, the image was rescaled, or it comes from another camera"
    return (
        f"the darkest parts are at {_short(dark)} counts; the model's offset is {camera.offset:.4g}, and the camera "
        f"that it was trained with gives no less than {least:.4g}: {cause}: {REMEDY}"
    )


@dataclass(frozen=True)
class _Part:
    """The noise of an image at one brightness, and what the camera's line says there."""

    level: float
    variance: float
    error: float
    line: float
    usual: float

    @property
    def expected(self) -> float:
        """Of what the line says, and what images of the training have there: the nearest."""
        return min(max(self.variance, min(self.line, self.usual)), max(self.line, self.usual))

    def differs(self, camera: Camera) -> bool:
        """Whether it is another noise for certain, and not for a little light."""
        difference = abs(self.variance - self.expected)
        error = self.error * max(1.0, self.expected / max(self.variance, 1e-12))  # of as many pixels with that noise
        least = max(NOISE_NEGLIGIBLE * camera.gain * camera.scale, CERTAIN * error)
        return not NOISE[0] < self.variance / self.expected < NOISE[1] and difference > least


def _noise(camera: Camera, image: Statistics) -> list[_Part | None]:
    """Of dark, middle and bright parts: the group of the middle ratio."""
    parts: list[_Part | None] = []
    for groups, usual in zip(GROUPS, camera.noise_ratios, strict=True):
        rows = zip(image.levels[groups], image.variances[groups], image.errors[groups], strict=True)
        found = [_Part(*row, camera.variance(row[0]), usual * camera.variance(row[0])) for row in rows]
        found.sort(key=lambda part: part.variance / part.line)
        parts.append(found[len(found) // 2] if found else None)
    return parts


def _offset_shift(camera: Camera, image: Statistics) -> float | None:
    """How far above the camera's line the noise of an image lies on the same line; None if it does not."""
    dark, _, bright = _noise(camera, image)
    if not camera.gain or dark is None or bright is None or not dark.differs(camera):
        return None
    # What the line gives at the dark parts' noise is as far from their level as the offsets are from each other.
    shift = dark.level - (dark.variance * dark.line / dark.usual - camera.constant) / camera.gain
    shifted = camera.variance(bright.level - shift) * bright.usual / bright.line
    if min(shift, bright.level - dark.level) < NEGLIGIBLE * camera.scale:
        return None
    return shift if NOISE[0] < bright.variance / shifted < NOISE[1] else None


def _noise_mismatch(camera: Camera, image: Statistics) -> list[Mismatch]:
    parts = _noise(camera, image)
    if not camera.gain or image.saturated:  # it is unknown how noise grows with light, or it does not
        parts = parts[:1]
    found = [part for part in parts if part is not None and part.differs(camera)]
    if not found:
        return []
    part = max(found, key=lambda part: abs(math.log(max(part.variance, 1e-12) / part.expected)))
    if part.variance < part.expected:
        cause = "frames were averaged, the image was filtered, resampled or compressed, or the camera's gain is another"
    else:
        cause = "the camera's gain is another, frames were summed, or the image was rescaled or sharpened"
    text = (
        f"its noise at {part.level:.4g} counts is {math.sqrt(part.variance):.3g} counts, and the model was trained on "
        f"{math.sqrt(part.expected):.3g}: {cause}: {REMEDY}"
    )
    return [Mismatch("noise", text)]


def _brightness(camera: Camera, image: Statistics) -> list[Mismatch]:
    bright, brightest = ((level - camera.offset) / camera.scale for level in (image.bright, image.brightest))
    usual = f"the {camera.scale:.4g} counts above the offset {camera.offset:.4g} that the model was trained on"
    if bright > BRIGHTEST:
        text = f"its bright parts, at {_short(image.bright)} counts, have {bright:.3g} times {usual}"
    elif brightest < DIMMEST:
        share = f"only 1/{1 / brightest:.0f} of" if brightest > 1e-3 else "nothing of"
        text = f"its brightest parts, at {_short(image.brightest)} counts, have {share} {usual}"
    else:
        return []
    remedy = REMEDY if image.highest - image.lowest <= 2 else "train a model on images of this brightness"
    return [Mismatch("brightness", f"{text}: {remedy}")]


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.4g}"
