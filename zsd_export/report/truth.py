"""How near the results are to a truth, if there is one."""

import numpy as np

from zsd_export.report.case import DECONVOLVED, DENOISED, Case
from zsd_export.report.judging import judged
from zsd_export.report.parts import Array, Number, Section
from zsd_optics.metrics import best_gaussian, evaluate, psnr
from zsd_optics.pictures import middle
from zsd_runtime.errors import InputError

SCORED = {2: (1024, 1024), 3: (16, 256, 256)}  # that the filters are tried on: two widths of many
INTRO = "The truth is the image without noise (denoised) or also without blur (deconvolved)."
NONE = "No truth is given. Give one with --truth and --truth-deconvolved: a mean of many exposures, or a simulation."
PSNR = "Peak signal-to-noise ratio after the best linear fit: 6 dB more is half the error. The range is the truth's."
SSIM = "Structural similarity: 1 is equal."


def truth_section(case: Case) -> Section:
    """Scores against the truths, and how many of their pixels lie within the uncertainty."""
    truth, fine = case.subject.truth, case.subject.truth_deconvolved
    title = "Against the truth"
    if truth is None and fine is None:
        return Section("truth", title, INTRO, (judged("gain_over_raw", None, why_not=NONE),), missing=NONE)
    numbers: list[Number] = []
    findings = []
    if truth is not None and DENOISED in case.outputs:
        raw, denoised = evaluate(case.counts, truth), evaluate(case.outputs[DENOISED], truth)
        part = [middle(np.asarray(a), SCORED[truth.ndim], 1) for a in (case.counts, case.outputs[DENOISED], truth)]
        sigma, filtered = best_gaussian(part[0], part[2])
        ahead = evaluate(part[1], part[2]).psnr - filtered.psnr
        findings += [judged("gain_over_raw", denoised.psnr - raw.psnr), judged("gain_over_gaussian", ahead)]
        unfitted = psnr(case.outputs[DENOISED] + case.offset, truth)
        numbers += [
            Number("psnr_raw", "PSNR, raw", raw.psnr, f"{raw.psnr:.2f} dB", PSNR),
            Number("psnr_gaussian", "PSNR, best Gaussian filter", filtered.psnr,
                   f"{filtered.psnr:.2f} dB (σ {'x'.join(f'{s:.1f}' for s in sigma)} pixels)",
                   "Its width is chosen by the truth, which nobody has in practice: the best that such a filter can "
                   "do."),
            Number("psnr_denoised", "PSNR, denoised", denoised.psnr, f"{denoised.psnr:.2f} dB", PSNR),
            Number("psnr_denoised_unfitted", "PSNR, denoised, without a fit", unfitted, f"{unfitted:.2f} dB",
                   "The same with the counts as they are; much less than the fitted one means a wrong scale or "
                   "offset."),
            Number("ssim_denoised", "SSIM, denoised", denoised.ssim, f"{denoised.ssim:.3f} (raw {raw.ssim:.3f})", SSIM),
            Number("nrmse_denoised", "NRMSE, denoised", denoised.nrmse, f"{denoised.nrmse:.4f} (raw {raw.nrmse:.4f})",
                   "Root of the mean squared error, as a share of the truth's range."),
        ]  # fmt: skip
    if fine is not None and DECONVOLVED in case.outputs:
        numbers += _fine_scores(case.outputs[DECONVOLVED], fine)
    covered = coverage(case)
    why_not = "No uncertainty was calculated, or there is no truth on its grid."
    findings.append(judged("coverage", covered.get(DENOISED, covered.get(DECONVOLVED)), why_not=why_not))
    numbers += [
        Number(
            f"coverage_{name}", f"Truth within the uncertainty, {name}", share, f"{share:.1f} %", "68 % is declared."
        )
        for name, share in covered.items()
    ]
    return Section("truth", title, INTRO, tuple(findings), tuple(numbers))


def coverage(case: Case) -> dict[str, float]:
    """Share (%) of the truth's pixels with light that lie within the uncertainty, by output."""
    truths = {DENOISED: case.subject.truth, DECONVOLVED: case.subject.truth_deconvolved}
    found = {}
    for name, truth in truths.items():
        half = case.uncertainty.get(name)
        if truth is None or half is None or truth.shape != half.shape or not case.lit.any():
            continue
        above = truth - case.offset if name == DENOISED else truth
        factor = half.shape[-1] // case.lit.shape[-1]
        lit = case.lit.repeat(factor, -2).repeat(factor, -1)
        found[name] = 100 * float(np.mean(np.abs(case.outputs[name] - above)[lit] <= half[lit]))
    return found


def _fine_scores(image: Array, truth: Array) -> list[Number]:
    try:
        scores = evaluate(_on_grid(image, truth.shape), truth)
    except InputError:
        return []
    return [
        Number("psnr_deconvolved", "PSNR, deconvolved", scores.psnr, f"{scores.psnr:.2f} dB", PSNR),
        Number("ssim_deconvolved", "SSIM, deconvolved", scores.ssim, f"{scores.ssim:.3f}", SSIM),
        Number("nrmse_deconvolved", "NRMSE, deconvolved", scores.nrmse, f"{scores.nrmse:.4f}"),
    ]


def _on_grid(image: Array, shape: tuple[int, ...]) -> Array:
    """The image on the grid of its truth; of volumes slice by slice."""
    from zsd_export.comparison.scores import on_grid

    if image.shape == shape:
        return image
    return on_grid(image, shape) if image.ndim == 2 else np.stack([on_grid(plane, shape[1:]) for plane in image])
