"""Whether a result agrees with its image: the error map, the residual, and counts in against counts out."""

from collections.abc import Iterator

import numpy as np

from zsd_export.report.case import DECONVOLVED, DENOISED, Case
from zsd_export.report.drawing import scale_bar
from zsd_export.report.judging import judged, sided
from zsd_export.report.parts import Array, Curve, Finding, Number, Picture, Plot, Scale, Section
from zsd_optics.error_map import ErrorMap, error_map, error_significance
from zsd_optics.imaging import Mask, reblurred, within_reach
from zsd_optics.linearity import Linearity, linearity
from zsd_optics.residuals import Residuals, residuals
from zsd_runtime.errors import InputError
from zsd_runtime.terminal import flag

ERROR_INTRO = (
    "The result is blurred again by the PSF and compared with the raw image, as SQUIRREL does (Culley et al. 2018). "
    "What it cannot see: detail that the blur hides. Two lines in place of one, or a point in place of haze, blur to "
    "the same image and go unnoticed. Where the map is dark the result agrees with the image; that does not prove it."
)
RESIDUAL_INTRO = (
    "The residual is the raw image minus the denoised one, in standard deviations of the noise. It should be noise and "
    "nothing else: white, with a standard deviation of 1, and 0 on average at every brightness. A network that learnt "
    "from this very image follows its noise a little, so slightly negative correlations are usual."
)
LINEAR_INTRO = (
    "Mean counts of blocks of the image before and after. The points should lie on the diagonal: then twice the light "
    "in is twice the light out, and intensities can be compared. What happens within a block is not seen."
)
FLAT = "The slope cannot be judged: even the largest blocks are noisy, which flattens it."
STRUCTURE, STAYED = "Structure went with the noise.", "Some of the noise stayed."
CLASS_PIXELS = 200  # fewer say little of a bias


def compared(case: Case) -> tuple[str, Array | None, str]:
    """The output that is blurred again, its PSF, and why the deconvolved one cannot be; the denoised needs none."""
    if DECONVOLVED in case.outputs and case.psf.kernel is not None:
        return DECONVOLVED, case.psf.kernel, ""
    why = case.psf.missing if DECONVOLVED in case.outputs else ""
    return (DENOISED if DENOISED in case.outputs else ""), None, why


def _known(case: Case, name: str, kernel: Array | None) -> Mask:
    """Pixels that can be compared: those that measure the sample, and whose light comes from within the image."""
    if kernel is None:
        return case.usable
    return case.usable & within_reach(case.counts.shape, kernel, case.factor(name))


def error_section(case: Case) -> Section:
    """RSE, RSP, and where the result contradicts the image beyond noise."""
    title = "Error map"
    name, kernel, why_not = compared(case)
    if not name:
        return Section("error_map", title, ERROR_INTRO, (judged("rsp", None, why_not=why_not),), missing=why_not)
    try:
        known = _known(case, name, kernel)
        found = error_map(
            case.outputs[name], case.counts, kernel, sigma_px=None if kernel is not None else 0.0, mask=known
        )
    except InputError as error:
        why = f"{error.message(flag)}."
        return Section("error_map", title, ERROR_INTRO, (judged("rsp", None, why_not=why),), missing=why)
    variance, unknown = (
        _noise_variance(case, known),
        "The noise of the image is not known, so nothing says how large they may be.",
    )
    numbers = [
        Number("compared", "Compared with the raw image", name, f"the {name} image", why_not),
        Number("rse_counts", "RSE", found.rse, f"{found.rse:.4g} counts", "Root of the mean squared difference. The "
               "noise of the raw image is part of it: compare results of one image only."),
        Number("rsp_plain", "RSP", found.rsp, f"{found.rsp:.4f}", "Correlation of the raw image with the result "
               "blurred again; 1 is equal. Noise alone makes it less."),
        Number("fit_slope", "Slope and intercept of the fit", found.slope, f"{found.slope:.3f}, {found.intercept:.4g} "
               "counts", "1, and the camera offset, if intensities are kept."),
    ]  # fmt: skip
    findings = [
        judged("rsp", None if variance is None else found.rsp / _best_rsp(case, variance, known), why_not=unknown),
        judged("rse", None if variance is None else found.rse / variance**0.5, why_not=unknown),
    ]
    pictures = [_map_picture(case, found)]
    if case.noise is not None:
        expected = reblurred(case.outputs[name], case.counts.shape, kernel, offset=case.offset)
        seen = error_significance(expected, case.counts, case.noise, mask=known)
        findings.append(judged("contradiction", seen.deviation))
        findings.append(judged("contradicted", 100 * seen.beyond))
        numbers.append(Number("largest_contradiction", "Largest contradiction", seen.largest, f"{seen.largest:+.1f} "
                              "standard errors", "Above 0 the result shows more light than there was."))  # fmt: skip
        pictures.append(_picture(
            case, "significance", "Too much or too little light", case.plane(seen.map), Scale(-6, 6, "standard errors",
            "signed"), "Red: the result has more light than the image supports; blue: less. White and pale speckle is "
            "chance; shapes of your structures are not.", "error", "Local difference of the result blurred again and "
            "the raw image, in standard errors of the noise",
        ))  # fmt: skip
    notes = (f"The denoised image is compared, which needs no blur. {why_not}",) if why_not else ()
    return Section("error_map", title, ERROR_INTRO, tuple(findings), tuple(numbers), tuple(pictures), notes=notes)


def residual_section(case: Case) -> Section:
    """Whiteness, size and bias of what was taken away."""
    title, why = "What was taken away", ""
    if case.noise is None:
        why = f"The noise of this image cannot be measured: {case.no_noise}."
    elif DENOISED not in case.outputs:
        why = "The model gives no denoised image."
    if why or case.noise is None:
        return Section("residual", title, RESIDUAL_INTRO, (judged("residual_next", None, why_not=why),), missing=why)
    expected = case.outputs[DENOISED].astype(np.float64) + case.offset
    try:
        found = residuals(expected, case.counts, case.noise, mask=case.usable)
    except InputError as error:
        why = f"{error.message(flag)}."
        return Section("residual", title, RESIDUAL_INTRO, (judged("residual_next", None, why_not=why),), missing=why)
    own = case.noise.next_pixel
    next_y, next_x = found.correlation_y - own.get("Y", 0.0), found.correlation_x - own.get("X", 0.0)
    biased = max((abs(c.mean) for c in found.by_brightness if c.pixels >= CLASS_PIXELS), default=None)
    findings = (
        sided("residual_next", max((next_y, next_x), key=abs), STRUCTURE, STAYED),
        sided("residual_deviation", found.deviation, STRUCTURE, STAYED),
        judged("residual_bias", biased), _deconvolved_residual(case),
    )  # fmt: skip
    at = f"{found.largest_at[0]:+d} in Y, {found.largest_at[1]:+d} in X"
    numbers = (
        Number("correlation_y", "Next pixel along Y", found.correlation_y, f"{found.correlation_y:+.3f}"),
        Number("correlation_x", "Next pixel along X", found.correlation_x, f"{found.correlation_x:+.3f}"),
        Number("largest_correlation", "Largest correlation at any distance", found.largest,
               f"{found.largest:+.3f}, at {at} pixels", f"{found.significance:.1f} standard errors of white noise. "
               "Large images make tiny correlations significant."),
    )  # fmt: skip
    return Section(
        "residual",
        title,
        RESIDUAL_INTRO,
        findings,
        numbers,
        tuple(_residual_pictures(case, found)),
        (_bias_plot(found),),
    )


def _deconvolved_residual(case: Case) -> Finding:
    """The same of the deconvolved image, blurred again: a PSF that is too wide leaves structure in it."""
    name, kernel, why_not = compared(case)
    if kernel is None or case.noise is None:
        return judged("residual_deconvolved", None, why_not=why_not or "The model gives no deconvolved image.")
    try:
        expected = reblurred(case.outputs[name], case.counts.shape, kernel, offset=case.offset)
        found = residuals(expected, case.counts, case.noise, mask=_known(case, name, kernel))
    except InputError as error:
        return judged("residual_deconvolved", None, why_not=f"{error.message(flag)}.")
    own = case.noise.next_pixel
    next_y, next_x = found.correlation_y - own.get("Y", 0.0), found.correlation_x - own.get("X", 0.0)
    return sided("residual_deconvolved", max((next_y, next_x), key=abs), STRUCTURE, STAYED)


def linearity_section(case: Case) -> Section:
    """Slope, curvature and flux of each output."""
    title, why = "Intensities", f"The noise of this image cannot be measured: {case.no_noise}."
    found: dict[str, Linearity] = {}
    if case.noise is not None:
        for name, image in case.outputs.items():
            try:
                found[name] = linearity(image, case.counts, case.noise, offset=case.offset, mask=case.usable)
            except InputError as error:
                why = f"{error.message(flag)}."
    if not found:
        return Section("linearity", title, LINEAR_INTRO, (judged("slope", None, why_not=why),), missing=why)
    first = found[DENOISED] if DENOISED in found else next(iter(found.values()))
    sharp = found.get(DECONVOLVED, first)
    findings = (
        judged("slope", None if first.noisy else _within(first.slope, first.slope_error, 1.0), why_not=FLAT),
        judged("bend", 100 * abs(_within(first.bend, abs(first.bend / (first.curvature_significance or 1)), 0.0))),
        judged("flux", _within(first.flux, first.flux_error, 1.0)),
        judged("flux_deconvolved", _within(sharp.flux, sharp.flux_error, 1.0) if DECONVOLVED in found else None,
               why_not="The model gives no deconvolved image."),
    )  # fmt: skip
    numbers = []
    for name, line in found.items():
        numbers += [
            Number(f"slope_{name}", f"Slope, {name}", line.slope, f"{line.slope:.3f} ± {line.slope_error:.3f}",
                   "Blocks of a deconvolved image scatter more: light moves across their "
                   "borders." * (name != DENOISED)),
            Number(f"intercept_{name}", f"Intercept, {name}", line.intercept,
                   f"{line.intercept:+.3g} ± {line.intercept_error:.2g} counts", "0 if dark stays dark."),
            Number(f"flux_{name}", f"Light out over light in, {name}", line.flux,
                   f"{line.flux:.4f} ± {line.flux_error:.4f}"),
        ]  # fmt: skip
    notes = (FLAT,) if first.noisy else ()
    return Section("linearity", title, LINEAR_INTRO, findings, tuple(numbers), plots=(_line_plot(found),), notes=notes)


def _within(value: float, error: float, ideal: float) -> float:
    """The value that is nearest to the ideal within two standard errors: what is certain of a deviation."""
    reach = 2 * error if np.isfinite(error) else 0.0
    return float(np.clip(ideal, value - reach, value + reach))


def _noise_variance(case: Case, known: Mask) -> float | None:
    """Mean variance of the noise, counts²."""
    if case.noise is None:
        return None
    level = case.outputs[DENOISED] + case.offset if DENOISED in case.outputs else case.counts
    return float(np.mean(case.noise.variance(np.asarray(level, np.float64))[known]))


def _best_rsp(case: Case, variance: float, known: Mask) -> float:
    """The correlation of a perfect result with the raw image: √(structure / (structure + noise))."""
    whole = float(case.counts[known].var())
    return float(np.sqrt(max(whole - variance, 1e-3 * whole) / whole))


def _map_picture(case: Case, found: ErrorMap) -> Picture:
    shown = case.plane(found.map)
    high = float(np.nanpercentile(shown, 99.7))
    return _picture(
        case, "error_map", "Error map", shown, Scale(0, high or 1.0, "counts", "heat"),
        "Difference between the raw image and the result blurred again. Noise makes an even grain, stronger where it "
        "is bright; shapes of structures are errors.", "error", "Map of the difference between the raw image and the "
        "result blurred again",
    )  # fmt: skip


def _picture(
    case: Case, name: str, title: str, shown: Array, scale: Scale, caption: str, group: str, alt: str
) -> Picture:
    length, text = scale_bar(shown.shape[1], case.subject.voxel.x_um)
    return Picture(name, title, alt, shown, scale, caption, group, length, text)


def _residual_pictures(case: Case, found: Residuals) -> Iterator[Picture]:
    yield _picture(
        case, "residual", "Residual", case.plane(found.map), Scale(-4, 4, "standard deviations", "signed"),
        "It should look like noise everywhere. Outlines of your structures mean that they were changed.", "residual",
        "The raw image minus the denoised one, in standard deviations of the noise",
    )  # fmt: skip
    around = found.autocorrelation.copy()
    middle = around.shape[0] // 2
    around[middle, middle] = np.nan
    yield Picture(
        "autocorrelation", "Autocorrelation of the residual",
        "Correlation of the residual with the pixels around, up to 8 pixels away", around,
        Scale(-0.1, 0.1, "correlation", "signed"),
        "Each square is a distance in Y and X, the grey one in the middle is the pixel itself. All others should be "
        "nearly white. A blue ring: some noise stayed. Red: structure was taken away.", "residual",
    )  # fmt: skip


def _bias_plot(found: Residuals) -> Plot:
    classes = found.by_brightness
    level, mean, error, deviation = (
        np.array([getattr(c, name) for c in classes], float) for name in ("level", "mean", "error", "deviation")
    )
    return Plot(
        "bias", "Residual by brightness", "Mean and deviation of the residual in groups of equally bright pixels",
        "brightness of the result, counts", "standard deviations of the noise", (
            Curve("mean (ideal 0)", level, mean, "points", 0, 2 * error),
            Curve("standard deviation (ideal 1)", level, deviation, "points", 1),
        ), caption="Means above 0: the result is too dark there; below 0: too bright. Bars are two standard errors.",
        y_from=min(-0.5, float(mean.min(initial=0)) - 0.1), y_to=max(1.5, float(deviation.max(initial=0)) + 0.1),
    )  # fmt: skip


def _line_plot(found: dict[str, Linearity]) -> Plot:
    curves = [Curve(name, line.x, line.y, "points", colour) for colour, (name, line) in enumerate(found.items())]
    ends = np.array([min(c.x.min() for c in curves), max(c.x.max() for c in curves)])
    return Plot(
        "linearity", "Counts out against counts in", "Mean counts of blocks of the results against those of the raw "
        "image",
        "raw image, counts above the offset", "result, counts above the offset",
        (Curve("equal", ends, ends, "dashed", 2), *reversed(curves)),
        caption="Each point is a block of the image. Points along the dashed line: intensities are kept.",
    )  # fmt: skip
