"""The PSF of a report: what is wrong with it, whether it fits the image, and how it looks."""

from collections.abc import Iterator

import numpy as np

from zsd_export.report.case import Case
from zsd_export.report.drawing import scale_bar
from zsd_export.report.judging import judged
from zsd_export.report.kernel import fault_text
from zsd_export.report.parts import Array, Curve, Number, Picture, Plot, Scale, Section
from zsd_optics.psf_measure import fwhm_px, lines_through_peak

TITLE = "Point spread function"
INTRO = (
    "The deconvolved image is as good as the PSF. A PSF that is too wide makes rings and dark rims, one that is too "
    "narrow leaves blur. The denoised image hardly depends on it."
)
DECADES = 3
ANGLES = 16


def psf_section(case: Case) -> Section:
    """Judgement, fit to the image, sections and profiles."""
    psf = case.psf
    refused = sum(fault.refuse for fault in psf.faults)
    if psf.kernel is None and not psf.faults:
        finding = judged("psf_refused", None, why_not=psf.missing)
        return Section("psf", TITLE, INTRO, (finding,), missing=psf.missing)
    other = None if psf.other is None else float(psf.other)
    findings = [
        judged("psf_refused", float(refused)), judged("psf_faults", float(len(psf.faults))),
        judged("psf_other", other, why_not="The package knows only a checksum of its PSF, or none: this one may be it, "
               "made in another way."),
    ]  # fmt: skip
    if psf.kernel is None:
        return Section("psf", TITLE, INTRO, tuple(findings), notes=tuple(map(fault_text, psf.faults)))
    findings.append(judged("psf_transfer", transfer(case), why_not=_no_transfer(case)))
    return Section(
        "psf", TITLE, INTRO, tuple(findings), tuple(_numbers(case)), tuple(_pictures(case)), (_profiles(case),),
        notes=tuple(map(fault_text, psf.faults)),
    )  # fmt: skip


def transfer(case: Case) -> float | None:
    """The contrast (0 to 1) that PSF and pixels leave of the finest detail of the raw image; mean over directions.

    Of volumes, of detail in the focal plane.
    """
    kernel, frc = case.psf.kernel, case.frc
    if kernel is None or frc is None or not np.isfinite(frc.resolution_px):
        return None
    factor = case.psf_factor
    plane = kernel if kernel.ndim == 2 else kernel.sum(0)
    y, x = (np.arange(n) - n // 2 for n in plane.shape)
    frequency = 1 / frc.resolution_px / factor  # cycles a fine pixel
    angles = np.pi * np.arange(ANGLES) / ANGLES
    values = []
    for ky, kx in frequency * np.stack([np.sin(angles), np.cos(angles)], 1):
        wave = np.exp(-2j * np.pi * ky * y)[:, None] * np.exp(-2j * np.pi * kx * x)
        binning = np.sinc(ky * factor) * np.sinc(kx * factor) / (np.sinc(ky) * np.sinc(kx))
        values.append(abs(np.sum(plane * wave)) * abs(binning))
    return float(np.mean(values) / plane.sum())


def _no_transfer(case: Case) -> str:
    return f"The raw image has no resolution to compare with: {case.no_frc or 'noise hides the structure'}."


def _numbers(case: Case) -> Iterator[Number]:
    psf, voxel = case.psf, case.subject.voxel
    assert psf.kernel is not None
    yield Number("origin", "Where it comes from", psf.origin, psf.origin)
    widths = fwhm_px(np.asarray(psf.kernel, float))
    lateral, factor = float(np.mean(widths[-2:])), case.psf_factor
    nm = f", {1000 * lateral * voxel.x_um / factor:.0f} nm" if voxel.x_um else ""
    yield Number(
        "fwhm_px", "Width (FWHM) in Y and X", lateral / factor, f"{lateral / factor:.3g} raw pixels{nm}",
        "How wide a point appears. Widefield makes 0.51 λ/NA, confocal down to 0.37 λ/NA.",
    )  # fmt: skip
    if psf.optics:
        limit = psf.optics.wavelength_nm / 2 / psf.optics.na
        yield Number("limit_nm", "Limit of the optics, λ / (2 NA)", limit, f"{limit:.0f} nm",
                     "Finer periods do not pass the objective.")  # fmt: skip
    if psf.kernel.ndim == 3:
        nm = f", {1000 * float(widths[0]) * voxel.z_um:.0f} nm" if voxel.z_um else ""
        yield Number("fwhm_z_px", "Depth (FWHM) in Z", float(widths[0]), f"{widths[0]:.3g} slices{nm}")


def _pictures(case: Case) -> Iterator[Picture]:
    kernel, voxel, factor = case.psf.kernel, case.subject.voxel, case.psf_factor
    assert kernel is not None
    peak = float(kernel.max())
    z, y = (int(n) for n in np.unravel_index(int(kernel.argmax()), kernel.shape)[:2]) if kernel.ndim == 3 else (0, 0)
    sections = {"XY": kernel} if kernel.ndim == 2 else {"XY": kernel[z], "XZ": kernel[:, y]}
    for name, section in sections.items():
        seen = _logarithmic(section, peak)
        if name == "XZ" and voxel.z_um and voxel.x_um:
            seen = seen.repeat(max(1, round(voxel.z_um * factor / voxel.x_um)), 0)
        length, text = scale_bar(seen.shape[1], voxel.x_um / factor if voxel.x_um else None)
        yield Picture(
            f"psf_{name.lower()}", f"PSF, {name}", f"{name} section of the PSF, on a logarithmic scale", seen,
            Scale(-DECADES, 0, "of the peak, log₁₀", "heat"),
            "A spot that is round in XY, dark towards the borders.", "psf", length, text,
        )  # fmt: skip


def _logarithmic(section: Array, peak: float) -> Array:
    return np.log10(np.clip(section / peak, 10.0**-DECADES, 1))  # type: ignore[no-any-return]


def _profiles(case: Case) -> Plot:
    kernel, factor, voxel = case.psf.kernel, case.psf_factor, case.subject.voxel
    assert kernel is not None
    lines = dict(zip("ZYX"[-kernel.ndim :], lines_through_peak(np.asarray(kernel, float)), strict=True))
    steps = {"Z": voxel.z_um, "Y": voxel.y_um and voxel.y_um / factor, "X": voxel.x_um and voxel.x_um / factor}
    known = all(steps[axis] for axis in lines)
    curves = []
    for number, (axis, (values, middle)) in enumerate(reversed(lines.items())):
        step = 1000 * (steps[axis] or 0.0) if known else 1 / factor
        along = (np.arange(values.size) - middle) * step
        curves.append(Curve(axis, along, values / values.max(), colour=number))
    return Plot(
        "psf_profiles", "Profiles through the peak", "Profiles of the PSF through its peak along each axis",
        "distance, nm" if known else "distance, raw pixels", "share of the peak", tuple(curves), y_from=0.0, y_to=1.05,
    )  # fmt: skip
