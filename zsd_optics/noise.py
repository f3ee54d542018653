"""Estimate the camera's noise from images: variance = gain · signal + constant.

The spatial estimate follows the idea of the noise level function (Foi et al. 2008; Immerkær 1996): the optics pass
almost no structure at the highest frequencies, so a high-pass filter leaves noise. Its variance is compared with the
local mean. Two things keep the line unbiased:

- Pixels are grouped by one local mean, and the signal of a group is measured by *another*, made of other pixels.
  Otherwise the noise of the grouping would flatten the slope (errors in variables).
- The signal is averaged with the squared weights of the high-pass filter, which makes
  ``E[residual²] = gain · E[signal] + constant`` exact for white noise.

Row and column noise, outliers and clipped levels are taken out before. Noise that neighbouring pixels share has hardly
any high frequencies: its covariance is measured first (`zsd_optics.noise_covariance`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zsd_optics import noise_checks as checks
from zsd_optics.noise_covariance import noise_covariance
from zsd_optics.noise_line import SMALLEST_BIN, dark_level, fit_doubtful_line, fit_line, groups, noise_level_function
from zsd_optics.noise_model import NoiseModel, correlated_noise, known_noise
from zsd_optics.noise_samples import (
    Frame,
    Mask,
    Samples,
    concatenated,
    frame,
    noisy,
    spatial_samples,
    temporal_samples,
    unclipped,
)  # fmt: skip
from zsd_runtime.corrections.lines import line_offsets
from zsd_runtime.errors import InputError

__all__ = ["MOST_FRAMES", "NoiseModel", "correlated_noise", "estimate_noise", "known_noise"]

Array = NDArray[np.float64]

_LINES_LEFT = 0.15  # of row and column noise, after its removal
_RARE = 20  # times the mean square of a group
_ALIKE = 0.04  # relative difference of gains
_FEW_PIXELS = 5000
MOST_FRAMES = 16  # used: more cost memory and add little


def estimate_noise(images: list[Array], masks: Sequence[Mask | None] | None = None) -> NoiseModel:
    """Estimate the noise of images.

    If the images repeat one scene (their differences show no structure), the noise is measured in these differences;
    otherwise in the high frequencies of each image.

    Parameters
    ----------
    images : list of ndarray
        Each (Y, X), camera counts, taken with the same camera settings. Integers are converted first.
    masks : list of ndarray of bool
        For each image (Y, X), True where a pixel is data, or None; None if nothing is known. Without a mask, padding
        and outliers are looked for here.

    Raises
    ------
    InputError
        When no image has 32x32 pixels, all are constant, or numbers have wrapped around.
    """
    if max(min(image.shape) for image in images) < 32:
        raise InputError(
            "noise cannot be told from less than 32x32 pixels", "give `offset`, `gain` and `read_noise`",
            option=("offset", "gain", "read_noise"),
        )  # fmt: skip
    images = [image if image.dtype.kind == "f" else image.astype(np.float64) for image in images]  # squares overflow
    blank = checks.blank(images)
    kept = [i for i in range(len(images)) if i not in blank]
    if not kept:
        raise InputError("the image has no noise to measure (constant, or saturated almost everywhere)")
    remarks = [checks.blank_remark(blank, images)] if blank else []
    seen = [images[i] for i in kept]
    data = [None if masks is None else masks[i] for i in kept]
    used = _spread(len(seen))
    for i in used:
        checks.check_wrapped(seen[i], f"image {kept[i] + 1}" if len(images) > 1 else "the image")
    prepared = {i: _prepared(seen[i], data[i]) for i in {*used, *range(min(len(seen), MOST_FRAMES))}}
    few = [prepared[i][0] for i in used]
    rows, columns = np.sqrt(np.mean([prepared[i][1] for i in used], axis=0)).tolist()
    remarks += checks.clipping_remarks([seen[i] for i in used], few)
    repeats = [prepared[i][0] for i in range(min(len(seen), MOST_FRAMES))]
    correlated = checks.correlated_axes(few)
    covariance = noise_covariance(few, repeats) if correlated else None
    candidates = covariance.samples if covariance else temporal_samples(repeats)
    temporal = covariance.temporal if covariance else bool(candidates)
    doubt = _LINES_LEFT * float(np.hypot(rows, columns))
    model = _best([_model(s, doubt) for s in candidates or [concatenated([spatial_samples(f) for f in few])]])
    if model.gain == 0 and sum(int(part.usable.sum()) for part in few) < _FEW_PIXELS:
        remarks.append(f"{model.message}: use more or larger images, or give `offset`, `gain` and `read_noise`")
    offset = checks.clipped_level([seen[i] for i in used], few)
    if not correlated:
        remarks += checks.quantised_remark(seen[used[0]], model.read_noise, model.gain)
    return NoiseModel(
        model.gain, model.constant, model.floor, model.offset if offset is None else offset, model.gain_error,
        model.constant_error, model.offset_error, model.message, correlated=correlated,
        correlation=covariance.correlation if covariance else None, phases=covariance.phases if covariance else None,
        row_noise=rows, column_noise=columns, remarks=tuple(remarks),
        undersampled=not temporal and checks.undersampled(few, "Y" * (not rows) + "X" * (not columns)),
        fixed_pattern=checks.fixed_pattern(repeats, (model.gain, model.constant)) if temporal else 0.0,
    )  # fmt: skip


def _spread(count: int) -> list[int]:
    return [int(i) for i in np.linspace(0, count - 1, min(count, MOST_FRAMES)).round()]


def _prepared(image: Array, data: Mask | None) -> tuple[Frame, list[float]]:
    """The image without its line noise, and the variances of rows and columns."""
    valid = noisy(image)
    rows, columns = (part.astype(np.float64) for part in line_offsets(image, valid if data is None else valid & data))
    lines = (rows, columns) if rows.any() or columns.any() else None
    return frame(image, valid, data, lines), [
        float(part[part != 0].var()) if part.any() else 0.0 for part in (rows, columns)
    ]


def _best(models: list[NoiseModel]) -> NoiseModel:
    """The first unless it says little; the second may be flattened by a fixed pattern."""
    known = models[0].gain > 0 and models[0].gain_error < 0.06 * models[0].gain
    return models[0] if known else models[-1]


def _model(samples: Samples, doubt: float) -> NoiseModel:
    """The noise line of samples whose signal is known to within `doubt` counts."""
    if samples.residual.size < 2 * SMALLEST_BIN or not samples.residual.any():
        raise InputError("the image has no noise to measure (constant, or saturated almost everywhere)")
    offset, offset_error = dark_level(samples.signal, samples.group, doubt)
    clear = unclipped(samples)
    # Rare large residuals (a cosmic ray, a weak hot pixel) are left out, unless they are what the gain comes from: a
    # group that holds dark and bright pixels has them, too.
    inside = groups(clear.group)
    functions = [noise_level_function(clear.signal, clear.residual, inside, largest) for largest in (_RARE, np.inf)]
    lines = [fit_line(*function) for function in functions]
    if not doubt and abs(lines[0][0] - lines[1][0]) <= _ALIKE * abs(lines[1][0]):
        (x, variance, error), (gain, constant, covariance) = functions[0], lines[0]
    else:
        x, variance, error = functions[1]
        gain, constant, covariance = fit_doubtful_line(x, variance, error, doubt)
    floor = max(0.5 * float(variance.min()), 1e-6 * float(variance.max()))
    gain_error, constant_error = (float(np.sqrt(v)) for v in np.diag(covariance))
    if gain < 3 * gain_error:
        weights = 1 / error**2
        constant = float((variance * weights).sum() / weights.sum())
        few = samples.residual.size < _FEW_PIXELS
        reason = f"{samples.residual.size} usable pixels are too few" if few else "read noise dominates"
        return NoiseModel(
            0.0, constant, constant, offset, gain_error, float(weights.sum() ** -0.5), offset_error,
            f"the gain cannot be estimated (slope {gain:.3g} ± {gain_error:.3g}): {reason}; constant noise is assumed",
        )  # fmt: skip
    return NoiseModel(gain, constant, floor, offset, gain_error, constant_error, offset_error, samples.message)
