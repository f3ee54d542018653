"""How far a result may be from the sample: the spread of restorations, and an error that unseen photons measure."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from zsd_export.report.case import DECONVOLVED, DENOISED, Case
from zsd_export.report.judging import judged
from zsd_export.report.parts import Curve, Number, Plot, Section
from zsd_optics.pictures import middle
from zsd_optics.split_checks import SplitChecks, split_checks
from zsd_runtime.errors import InputError
from zsd_runtime.terminal import flag

CHECKED = {2: (512, 512), 3: (16, 128, 128)}  # pixels that are restored 13 times, for planes and volumes
BRIGHT = 0.25  # of the brightest parts (99.5 %): a pixel with more light is bright, however few there are
INTRO = (
    "The map is the half-width of an interval that holds the truth of about 68 % of the pixels with light: the "
    "denoised image is recorded again by the camera, restored again, flipped or turned, and compared. The error is "
    "measured by splitting the photons of the image: one half is restored, the other, which the network never saw, "
    "judges it. Neither sees what a network does every time alike, and what the optics hide."
)


@dataclass(frozen=True)
class Judged:
    """What unseen photons say, or why they say nothing."""

    checks: SplitChecks | None = None
    why_not: str = ""


def by_unseen_photons(case: Case) -> Judged:
    """Restore halves of the image's photons, and judge them by the others; on the middle of large images."""
    if case.noise is None:
        return Judged(why_not=f"The noise of this image cannot be measured: {case.no_noise}.")
    if DENOISED not in case.outputs:
        return Judged(why_not="The model gives no denoised image.")
    part = middle(case.counts, CHECKED[case.counts.ndim], case.description.size_multiple)
    if min(part.shape) == 0:
        return Judged(why_not="The image is too small to split its photons.")
    psf = case.psf.kernel if DECONVOLVED in case.outputs else None
    try:
        return Judged(split_checks(case.restored_again, part, case.noise, case.offset, psf=psf, **case.sizes))
    except InputError as error:
        return Judged(why_not=f"{error.message(flag)[0].upper()}{error.message(flag)[1:]}.")


def uncertainty_section(case: Case, unseen: Judged) -> Section:
    """The spread of restorations, and the error by unseen photons beside that of a filter."""
    checks = unseen.checks
    ratio = None if checks is None else over_gaussian(checks)
    findings = [
        judged("error_over_gaussian", ratio, why_not=unseen.why_not),
        judged("uncertain", _uncertain(case), why_not=case.no_uncertainty),
    ]
    return Section(
        "uncertainty", "Uncertainty and error", INTRO, tuple(findings), tuple(_numbers(case, checks)),
        plots=tuple(_plots(case)),
    )  # fmt: skip


def over_gaussian(checks: SplitChecks) -> float | None:
    """Error of the network over that of the filter, as root mean squares; None if both are too small to be measured.

    Most of the standard error is that of the gain, which both errors share: it cannot make the network better or worse
    than the filter. It is added to both where the network is worse, so that the ratio is the least that is certain.
    """
    error, filtered, doubt = checks.error, checks.gaussian_error, checks.error_se
    if error <= filtered and filtered > 0:
        return float(np.sqrt(max(error, 0) / filtered))
    return float(np.sqrt((error + doubt) / (filtered + doubt))) if filtered + doubt > 0 else None


def _uncertain(case: Case) -> float | None:
    half = case.uncertainty.get(DENOISED)
    if half is None:
        return None
    light = case.outputs[DENOISED]
    bright = (light > max(BRIGHT * np.percentile(light[case.usable], 99.5), 0)) & case.usable
    return 100 * float(np.mean(half[bright] > 0.5 * light[bright])) if bright.any() else None


def _numbers(case: Case, checks: SplitChecks | None) -> Iterator[Number]:
    if checks is not None:
        error, noise = (float(np.sqrt(max(value, 0))) for value in (checks.error, checks.noise))
        filtered = float(np.sqrt(max(checks.gaussian_error, 0)))
        sigma = "x".join(f"{s:g}" for s in checks.gaussian_sigma_px)
        half = "Of half of the light: the result of the whole image is better."
        yield Number("error_counts", "Estimated error, denoised", error, f"{error:.3g} counts", half)
        yield Number("error_gaussian_counts", "Estimated error, best Gaussian filter", filtered,
                     f"{filtered:.3g} counts (σ {sigma} pixels)", half)  # fmt: skip
        yield Number("error_noise_counts", "Noise, without any filter", noise, f"{noise:.3g} counts", half)
        low, high = checks.gain_db_range
        yield Number("gain_db", "Gain over the best Gaussian filter", checks.gain_db,
                     f"{checks.gain_db:+.1f} dB ({low:+.1f} to {high:+.1f})", "6 dB is half the error.")  # fmt: skip
    for name, half_width in case.uncertainty.items():
        factor = half_width.shape[-1] // case.lit.shape[-1]
        lit = case.lit.repeat(factor, -2).repeat(factor, -1)
        typical = float(np.median(half_width[lit] if lit.any() else half_width))
        yield Number(f"uncertainty_{name}_counts", f"Uncertainty, {name}, median", typical, f"± {typical:.3g} counts",
                     "Of pixels with light; half of them are more certain.")  # fmt: skip


def _plots(case: Case) -> Iterator[Plot]:
    """Uncertainty over brightness."""
    half = case.uncertainty.get(DENOISED)
    if half is None:
        return
    light = case.outputs[DENOISED]
    edges = np.unique(np.quantile(light, np.linspace(0, 1, 25)))
    if edges.size < 4:
        return
    number = np.clip(np.searchsorted(edges, light, side="right") - 1, 0, edges.size - 2)
    groups = [number == n for n in range(edges.size - 1)]
    level = np.array([light[g].mean() if g.any() else np.nan for g in groups])
    spread = np.array([np.median(half[g]) if g.any() else np.nan for g in groups])
    curves = [Curve("uncertainty of the denoised image", level, spread, "line", 0)]
    if case.noise is not None:
        noise = np.sqrt(case.noise.variance(level + case.offset))
        curves.append(Curve("noise of the raw image", level, noise, "dashed", 1))
    yield Plot(
        "uncertainty_by_brightness", "Uncertainty by brightness",
        "Uncertainty of the denoised image and noise of the raw image over brightness", "brightness, counts above the "
        "offset",
        "counts", tuple(curves), y_from=0.0, caption="How much smaller the uncertainty is than the noise is what the "
        "network gains from the surroundings of a pixel.",
    )  # fmt: skip
