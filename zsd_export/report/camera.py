"""The noise of the image beside the noise that the model was trained with."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from zsd_export.report.case import Case
from zsd_export.report.judging import judged
from zsd_export.report.parts import Curve, Number, Plot, Section
from zsd_optics.noise import NoiseModel
from zsd_runtime.image_statistics import statistics
from zsd_runtime.notices import with_flags

INTRO = (
    "A camera's noise grows with light along a straight line: variance = gain · counts + constant. zsd measures the "
    "line in the image itself, and the network was trained with that of the training."
)


def noise_section(case: Case) -> Section:
    """The noise line with its fit, and whatever makes noise difficult."""
    noise = case.noise
    if noise is None:
        why = f"The noise of this image cannot be measured: {case.no_noise}."
        return Section("noise", "Noise", INTRO, (judged("gain_ratio", None, why_not=why),), missing=why)
    trained = _trained(case)
    shared = max((abs(value) for value in noise.next_pixel.values()), default=1.0 if noise.correlated else 0.0)
    lines = float(np.hypot(noise.row_noise, noise.column_noise))
    findings = (
        judged("gain_ratio", *_ratio(noise, trained)),
        judged("shared_noise", shared),
        judged("line_noise", lines / noise.read_noise if noise.read_noise > 0 else None),
    )
    notes = [f"{text[0].upper()}{text[1:]}." for text in map(with_flags, noise.warnings)]
    if any("--" in note for note in notes):
        notes.append("Options are those of `zsd train`.")
    if noise.message:
        notes.insert(0, f"How it was measured: {noise.message}.")
    return Section("noise", "Noise", INTRO, findings, tuple(_numbers(noise, trained)), plots=(_plot(case, trained),),
                   notes=tuple(notes))  # fmt: skip


def _trained(case: Case) -> dict[str, Any] | None:
    """Gain, constant and floor of the training; None if nothing is known."""
    camera, measured = case.description.camera, case.opened.measured.get("noise")
    if isinstance(measured, dict):
        return measured
    return None if camera is None else {"gain": camera.gain, "constant": camera.constant, "floor": camera.floor}


def _ratio(noise: NoiseModel, trained: dict[str, Any] | None) -> tuple[float | None]:
    gain = trained.get("gain", 0) if trained else 0
    if not gain > 0 or not noise.gain > 0:
        return (None,)
    # As far as the errors of both let one see: a ratio within two of them is 1.
    error = 2 * float(np.hypot(noise.gain_error, trained.get("gain_error", 0) if trained else 0))
    near = min(max(gain, noise.gain - error), noise.gain + error)
    return (max(near / gain, gain / near) if noise.gain > error else None,)


def _numbers(noise: NoiseModel, trained: dict[str, Any] | None) -> Iterator[Number]:
    of = f" The training had {trained['gain']:.4g}." if trained else ""
    yield Number(
        "gain", "Gain", noise.gain, f"{noise.gain:.4g} ± {noise.gain_error:.2g} counts per photo-electron",
        f"The slope of the line. 0: the image does not show it.{of}",
    )  # fmt: skip
    yield Number(
        "offset", "Offset", noise.offset, f"{noise.offset:.5g} ± {noise.offset_error:.2g} counts",
        "Level of the darkest pixels: that of the camera if part of the image is dark, otherwise with background.",
    )  # fmt: skip
    yield Number(
        "read_noise", "Read noise", noise.read_noise, f"{noise.read_noise:.3g} counts",
        "Standard deviation of the noise where there is no light.",
    )  # fmt: skip


def _plot(case: Case, trained: dict[str, Any] | None) -> Plot:
    """Variance over brightness: groups of pixels, the line of this image, the line of the training."""
    noise = case.noise
    assert noise is not None
    found = statistics(case.subject.counts)
    levels, variances, errors = (np.array(values, float) for values in (found.levels, found.variances, found.errors))
    low, high = (levels.min(), levels.max()) if levels.size else (noise.offset, noise.offset + 1)
    x = np.linspace(low - 0.05 * (high - low), high + 0.05 * (high - low), 60)
    curves = [Curve("this image, measured line", x, noise.variance(x), colour=0)]
    if trained:
        line = np.maximum(trained["gain"] * x + trained["constant"], trained.get("floor", 0.0))
        curves.append(Curve("the training's line", x, line, "dashed", 1))
    if levels.size:
        curves.append(Curve("this image, groups of pixels", levels, variances, "points", 0, 2 * errors))
    return Plot(
        "noise_line", "Noise line", "Variance of the noise over brightness, with the lines of the image and the "
        "training",
        "brightness, counts", "variance of the noise, counts²", tuple(curves), y_from=0.0,
        caption="The points should lie on the lines, and the lines on each other. Points above the line at the bright "
        "end are fine structure that looks like noise. Bars are two standard errors.",
    )  # fmt: skip
