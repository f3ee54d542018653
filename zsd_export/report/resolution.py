"""How fine a detail the image shows before and after."""

from collections.abc import Iterator

import numpy as np

from zsd_export.report.case import DECONVOLVED, DENOISED, Case
from zsd_export.report.judging import judged
from zsd_export.report.parts import Array, Curve, Number, Plot, Section
from zsd_export.report.uncertainty import Judged
from zsd_optics.decorrelation import Decorrelation, decorrelation_analysis
from zsd_optics.split_checks import SplitChecks
from zsd_runtime.errors import InputError

INTRO = (
    "Resolution is the finest period of which an image says anything beyond noise. It depends on light as much as on "
    "optics. Fourier ring correlation (FRC) compares two halves of the raw image's photo-electrons, frequency by "
    "frequency. A restored image has no independent noise, so its own FRC would say nothing; decorrelation analysis "
    "looks at its spectrum alone, and counts detail that is invented, too."
)
COLOURS = {"raw": 0, DENOISED: 2, DECONVOLVED: 3}
NAMES = {"raw": "raw", DENOISED: "denoised", DECONVOLVED: "deconvolved"}


def resolution_section(case: Case, unseen: Judged) -> Section:
    """FRC of the raw image, decorrelation of all."""
    found = {name: _decorrelation(image) for name, image in _planes(case).items()}
    numbers = [_frc_number(case)]
    for name, result in found.items():
        if result is None:
            continue
        factor = _factor(name, case)
        numbers.append(Number(
            f"decorrelation_{name}_px", f"Decorrelation, {NAMES[name]}", result.resolution_px / factor,
            _shown(result.resolution_px / factor, case.subject.voxel.x_um, result.reason),
            "Up to where the spectrum has structure. Compare before and after; take it with care for images with "
            "little light, and for results: it cannot tell true detail from invented detail.",
        ))  # fmt: skip
    checks = unseen.checks
    if checks is not None:
        numbers += _unseen_numbers(checks, case)
    kept = None if checks is None else _kept(checks)
    why_not = unseen.why_not or "The raw image has no resolution: noise hides the structure."
    finding = judged("resolution_kept", kept, why_not=why_not)
    drawn = (_frc_plot(case), _unseen_plot(checks, case) if checks else None)
    plots = tuple(plot for plot in drawn if plot)
    return Section("resolution", "Resolution", INTRO, (finding,), tuple(numbers), plots=plots)


def _kept(checks: SplitChecks) -> float | None:
    """Finest detail of the denoised image over that of the raw one, both by unseen photons."""
    raw, denoised = (checks.resolution[name].resolution_px for name in ("raw", DENOISED))
    if not np.isfinite(raw):  # finer than the pixels, or none at all
        return None
    return denoised / raw if np.isfinite(denoised) else (1.0 if np.isinf(denoised) else None)


def _unseen_numbers(checks: SplitChecks, case: Case) -> Iterator[Number]:
    um = case.subject.voxel.x_um
    for name, curve in checks.reproduced.items():
        px = curve.resolution_px / case.factor(name)
        yield Number(
            f"estimated_{name}_px", f"Estimated resolution, {NAMES.get(name, name)}", px, _shown(px, um, curve.reason),
            "The finest period that the network finds again when its own result is recorded anew; of the denoised "
            "image never finer than the optics pass. On simulations the agreement with the truth ends there. It says "
            "that detail is stable; whether it is in the sample, only the next lines say.",
        )  # fmt: skip
    for name, curve in checks.resolution.items():
        yield Number(
            f"confirmed_{name}_px", f"Confirmed by unseen photons, {NAMES.get(name, name)}", curve.resolution_px,
            _shown(curve.resolution_px, um, curve.reason), "The finest period at which the image agrees with photons "
            "that the network never saw. What a network invents does not agree with them; finer detail may be right, "
            "but the photons are too few to confirm it.",
        )  # fmt: skip


def _unseen_plot(checks: SplitChecks, case: Case) -> Plot | None:
    unit, per = _frequency(case)
    curves = [
        Curve(NAMES.get(name, name), curve.frequencies * per, curve.smooth, colour=COLOURS.get(name, 4))
        for name, curve in checks.resolution.items()
    ]
    if not curves:
        return None
    any_curve = checks.resolution["raw"]
    curves.append(Curve("threshold", any_curve.frequencies * per, any_curve.threshold, "dashed", 1))
    return Plot(
        "unseen", "Agreement with photons that the network never saw",
        "Correlation with the sample over spatial frequency, of raw, denoised and deconvolved image", unit,
        "correlation with the sample", tuple(curves), caption="Higher is better, at every frequency. The curves of the "
        "results should lie above that of the raw image and cross the threshold no earlier. Far right, where the raw "
        "image shows nothing, the curves cannot tell.", y_from=-0.1, y_to=1.05,
    )  # fmt: skip


def _planes(case: Case) -> dict[str, Array]:
    """The plane of each image with the most contrast in the denoised one; results have no such noise."""
    guide = case.outputs.get(DENOISED, case.counts)
    images = {"raw": case.counts, **case.outputs}
    if guide.ndim == 2:
        return images
    best = int(guide.var(axis=(1, 2), dtype=np.float64).argmax())
    return {name: image[best] for name, image in images.items()}


def _decorrelation(plane: Array) -> Decorrelation | None:
    try:
        return decorrelation_analysis(plane)
    except InputError:
        return None


def _factor(name: str, case: Case) -> int:
    return 1 if name == "raw" else case.factor(name)


def _shown(px: float, pixel_um: float | None, reason: str) -> str:
    if not np.isfinite(px):
        return f"none ({reason})" if reason else "none"
    return f"{px:.3g} raw pixels" + (f", {1000 * px * pixel_um:.0f} nm" if pixel_um else "")


def _frc_number(case: Case) -> Number:
    name, title = "frc_raw_px", "FRC, raw image"
    reading = (
        "The finest period at which two halves of the image's photons still agree (correlation above 1/7), as two "
        "whole exposures would. Smaller is finer."
    )
    if case.frc is None:
        return Number(name, title, None, f"none ({case.no_frc})", reading)
    px = case.frc.resolution_px
    return Number(name, title, px, _shown(px, case.subject.voxel.x_um, case.frc.reason), reading)


def _frc_plot(case: Case) -> Plot | None:
    frc = case.frc
    if frc is None:
        return None
    unit, per = _frequency(case)
    marks = ((per / frc.resolution_px, _shown(frc.resolution_px, case.subject.voxel.x_um, "")),)
    return Plot(
        "frc", "Fourier ring correlation of the raw image",
        "Correlation of two halves of the photons over spatial frequency, with the threshold of 1/7",
        unit, "correlation", (
            Curve("", frc.frequencies * per, frc.correlation, "faint", 0),
            Curve("raw image", frc.frequencies * per, frc.smooth, "line", 0),
            Curve("threshold", frc.frequencies * per, frc.threshold, "dashed", 1),
        ),
        marks if np.isfinite(frc.resolution_px) else (), "At the left coarse structure, at the right fine detail. The "
        "curve should be near 1 at the left and fall to 0: beyond its crossing with the threshold there is only noise.",
        y_from=-0.1, y_to=1.05,
    )  # fmt: skip


def _frequency(case: Case) -> tuple[str, float]:
    """Name of the frequency axis, and its units over cycles a raw pixel."""
    um = case.subject.voxel.x_um
    return ("cycles per µm", 1 / um) if um else ("cycles per raw pixel", 1.0)
