"""Everything that the sections of a report look at: the model, the image, what the model makes of it, noise, PSF."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_export.report.kernel import Psf
from zsd_export.report.opened import Opened
from zsd_export.report.subject import Subject
from zsd_optics.noise import MOST_FRAMES, NoiseModel, estimate_noise
from zsd_optics.resolution import RingCorrelation, single_image_correlation
from zsd_runtime.corrections.bad_pixels import BadPixels, find_bad_pixels, measure_spread
from zsd_runtime.corrections.corrected import Corrections
from zsd_runtime.errors import InputError
from zsd_runtime.model import CORRECTIONS, Model, load_model
from zsd_runtime.normalize import Linear
from zsd_runtime.package import ModelDescription
from zsd_runtime.terminal import flag
from zsd_runtime.uncertainty import SUFFIX

Array = NDArray[Any]
DENOISED, DECONVOLVED = "denoised", "deconvolved"
LIGHT = 0.05  # of the scale of the training: pixels with less in the denoised image are dark


@dataclass(frozen=True)
class Case:
    """A model, an image, and what the one makes of the other.

    Attributes
    ----------
    opened : Opened
    subject : Subject
    counts : ndarray
        ([Z,] Y, X) float64, camera counts with the offset; hot pixels replaced.
    outputs : dict of ndarray
        By name, counts above the offset; those that the report looks at.
    offset : float
        Counts that the model takes off.
    bad : list of BadPixels
        Of each plane.
    noise : NoiseModel or None
        Of this image.
    no_noise : str
        Why there is none.
    psf : Psf
    frc : RingCorrelation or None
        Of the raw image alone.
    no_frc : str
        Why there is none.
    uncertainty : dict of ndarray
        Half of the 68 % interval, counts, by output.
    no_uncertainty : str
        Why there is none.
    """

    opened: Opened
    subject: Subject
    counts: NDArray[np.float64]
    outputs: dict[str, Array]
    offset: float
    bad: list[BadPixels]
    noise: NoiseModel | None
    no_noise: str
    psf: Psf
    frc: RingCorrelation | None = None
    no_frc: str = ""
    uncertainty: dict[str, Array] = field(default_factory=dict)
    no_uncertainty: str = ""

    @property
    def description(self) -> ModelDescription:
        """Of the model."""
        return self.opened.description

    @property
    def signal(self) -> NDArray[np.float64]:
        """The raw image, counts above the offset."""
        return self.counts - self.offset

    @property
    def usable(self) -> NDArray[np.bool_]:
        """([Z,] Y, X): pixels that measure the sample."""
        planes = [
            np.ones(self.counts.shape[-2:], bool) if bad.unmeasured is None else ~bad.unmeasured for bad in self.bad
        ]
        return np.stack(planes) if self.counts.ndim == 3 else planes[0]

    @property
    def lit(self) -> NDArray[np.bool_]:
        """([Z,] Y, X): usable pixels with light, for which an uncertainty is declared."""
        light = self.outputs.get(DENOISED, self.signal)
        camera = self.description.camera
        scale = camera.scale if camera else float(np.percentile(light, 99.5))
        return np.asarray(self.usable & (light > LIGHT * scale))

    @property
    def sizes(self) -> dict[str, Any]:
        """Pixel size and z step, µm, as the resolution takes them."""
        voxel = self.subject.voxel
        return {"pixel_size_um": voxel.x_um, "z_step_um": voxel.z_um if self.counts.ndim == 3 and voxel.x_um else None}

    @property
    def psf_factor(self) -> int:
        """How much finer the grid of the PSF is than the image's, in Y and X."""
        return self.factor(DECONVOLVED) if DECONVOLVED in self.outputs else 1

    def factor(self, output: str) -> int:
        """How much finer an output is than the image, in Y and X."""
        return int(self.outputs[output].shape[-1] // self.counts.shape[-1])

    def restored_again(self, image: Array) -> dict[str, Array]:
        """What the model makes of another image of this camera, counts above the offset."""
        return restored(self.opened.model, image, corrections=None)[0]

    def plane(self, volume: Array) -> Array:
        """The middle slice of a volume; a plane as it is."""
        return volume if volume.ndim == 2 else volume[len(volume) // 2]


def restored(
    model: Model, counts: Array, corrections: Corrections | None = CORRECTIONS
) -> tuple[dict[str, Array], float]:
    """What a model makes of an image, counts above the offset, and the offset.

    Raises
    ------
    InputError
        When the model gives no image that a report can look at.
    """
    description = model.description
    line = _line(description, counts)
    prediction = model.predict(counts, corrections=corrections)
    found = {name: image for name, image in prediction.items() if name in (DENOISED, DECONVOLVED)}
    if not found and len(prediction) == 1:  # of another program
        (image,) = prediction.values()
        same = image.shape == counts.shape
        found = {DENOISED if same else DECONVOLVED: image}
    if not found or any(image.ndim != counts.ndim for image in found.values()):
        raise InputError(
            f"the model gives {', '.join(prediction)}, and a report is on denoised and deconvolved images",
            "give a model that zsd trained or imported",
        )
    return {name: _blanked(image, line) for name, image in found.items()}, -line.intercept / line.slope


def uncertainty_of(package: Path, counts: Array, repeats: int) -> tuple[dict[str, Array], str]:
    """Half of the 68 % interval of each output, counts; or why there is none.

    Parameters
    ----------
    package : path
    counts : ndarray
        ([Z,] Y, X), camera counts.
    repeats : int
        How often the image is recorded and restored again; 0: not at all.
    """
    if repeats == 0:
        return {}, "No uncertainty was asked for: give --uncertainty 8."
    try:
        with load_model(package, uncertainty=repeats) as model:
            prediction = model.predict(counts)
    except InputError as error:
        text = error.message(flag)
        return {}, f"{text[0].upper()}{text[1:]}."
    suffixed = {name: name + SUFFIX for name in (DENOISED, DECONVOLVED)}
    return {name: np.nan_to_num(prediction[key]) for name, key in suffixed.items() if key in prediction}, ""


def bad_pixels(counts: Array) -> list[BadPixels]:
    """Of each plane."""
    planes = counts if counts.ndim == 3 else counts[None]
    spread = measure_spread(planes[:: -(-len(planes) // MOST_FRAMES)])
    return [find_bad_pixels(plane, spread) for plane in planes]


def noise_of(counts: NDArray[np.float64], bad: list[BadPixels]) -> tuple[NoiseModel | None, str]:
    """The noise of an image, or why it cannot be measured."""
    planes = list(counts if counts.ndim == 3 else counts[None])
    step = -(-len(planes) // MOST_FRAMES)
    masks = [None if b.unmeasured is None else ~b.unmeasured for b in bad]
    chosen = [i for i in range(0, len(planes), step) if not bad[i].blank]
    try:
        return estimate_noise([planes[i] for i in chosen], [masks[i] for i in chosen]), ""
    except InputError as error:
        return None, error.what  # the remedy names options of a training, which this command does not have
    except (ValueError, IndexError):  # nothing is left of it
        return None, "the image has no noise to measure"


def correlation_of(
    counts: NDArray[np.float64], noise: NoiseModel | None, sizes: dict[str, Any]
) -> tuple[RingCorrelation | None, str]:
    """The FRC of the raw image, or why it has none."""
    if noise is None:
        return None, "its noise cannot be measured"
    try:
        found = single_image_correlation(counts, noise, splits=3, **sizes)
    except InputError as error:
        return None, error.message(flag)
    return found, found.reason


def _line(description: ModelDescription, counts: Array) -> Linear:
    """From camera counts to the numbers of a result that changes nothing."""
    if description.camera:
        return Linear(1.0, -description.camera.offset)
    line = description.input.processing.fit([np.nan_to_num(counts)]).then(description.outputs[0].processing)  # type: ignore[arg-type]
    return line if line.slope > 0 else Linear()


def _blanked(image: Array, line: Linear) -> Array:
    """As counts above the offset; what is no number, as in padding, is 0."""
    values = np.nan_to_num(np.asarray(image, np.float32))
    return values if line.slope == 1 else values / np.float32(line.slope)
