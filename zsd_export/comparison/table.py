"""The scores as a table of Markdown, and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from zsd_export.comparison.scores import Against, Residual
from zsd_export.comparison.subject import Subject

SCHEMA = 1  # of scores.json
PACKAGES = ("zsd", "numpy", "scipy", "scikit-image", "torch", "onnxruntime", "openvino")


@dataclass(frozen=True)
class Row:
    """The scores of one result.

    Attributes
    ----------
    title : str
        What made it.
    output : str
        "noisy" for the image itself.
    deconvolved : bool
    seconds : float or None
        That the method took, with all its results.
    against : Against or None
        None without a truth.
    residual : Residual or None
        None where nothing was taken away, or the PSF is not known.
    """

    title: str
    output: str
    deconvolved: bool = False
    seconds: float | None = None
    against: Against | None = None
    residual: Residual | None = None


def table(rows: Sequence[Row], subject: Subject, failures: dict[str, str]) -> str:
    """All scores, denoised results above deconvolved ones, with what each column means.

    Parameters
    ----------
    rows : sequence of Row
    subject : Subject
    failures : dict
        Why methods failed, by their texts.
    """
    judged = any(row.against for row in rows)
    lines = [f"# {subject.name}", ""]
    for deconvolved in (False, True):
        part = [row for row in rows if row.deconvolved == deconvolved]
        if part:
            lines += [*_part(part, judged), ""]
    lines += _legend(subject, judged)
    if failures:
        lines += ["", "Failed:", "", *(f"- {text}: {why}" for text, why in failures.items())]
    return "\n".join(lines) + "\n"


def _part(rows: Sequence[Row], judged: bool) -> list[str]:
    against = ["SNR, dB", "PSNR, dB", "PSNR fitted, dB", "SSIM", "NRMSE"] if judged else []
    heads = ["method", "output", *against, "residual Y", "residual X", "residual SD", "seconds"]
    lines = [f"| {' | '.join(heads)} |", f"| --- | --- |{' ---: |' * (len(heads) - 2)}"]
    for row in rows:
        a, r = row.against, row.residual
        cells = [row.title, row.output]
        if judged:
            cells += (
                [f"{a.snr:.2f}", f"{a.psnr:.2f}", f"{a.psnr_fitted:.2f}", f"{a.ssim:.3f}", f"{a.nrmse:.4f}"]
                if a
                else [""] * 5
            )
        cells += [f"{r.correlation_y:+.3f}", f"{r.correlation_x:+.3f}", f"{r.deviation:.3f}"] if r else [""] * 3
        cells.append("" if row.seconds is None else f"{row.seconds:.1f}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _legend(subject: Subject, judged: bool) -> list[str]:
    """What the columns mean."""
    lines = []
    if judged:
        ranges = [
            f"{np.ptp(truth):.5g} counts for {name} results"
            for name, truth in (("denoised", subject.truth), ("deconvolved", subject.truth_deconvolved))
            if truth is not None
        ]
        lines += [
            "- SNR: 10 · log10(Σ truth² / Σ (truth − image)²), of the images as they are. Denoised images and their "
            f"truth include the camera offset ({subject.offset:.5g} counts); deconvolved ones do not.",
            f"- PSNR: 10 · log10(range² / mean((truth − image)²)); the range is maximum − minimum of the truth: "
            f"{', '.join(ranges)}.",
            "- PSNR fitted, SSIM, NRMSE: after the best linear fit of the image to the truth.",
        ]
    lines += [
        "- residual Y, X: correlation of what was taken away with the next pixel; 0 if it is white noise.",
        "- residual SD: standard deviation of what was taken away over that of the noise; 1 is right, less means that "
        "noise stayed, more that structure went.",
        "- seconds: of the method with all its results, a training included.",
    ]
    if subject.noise.correlated:
        own = subject.noise.next_pixel
        known = f" ({', '.join(f'{value:.2f} along {axis}' for axis, value in own.items())})" if own else ""
        lines.append(f"- The noise of this image is itself correlated{known}: residuals cannot be white.")
    return lines


def as_json(
    rows: Sequence[Row], subject: Subject, failures: dict[str, str], made_with: dict[str, Any]
) -> dict[str, Any]:
    """The same for programs, with settings and versions.

    Parameters
    ----------
    rows, subject, failures
        As for `table`.
    made_with : dict
        Further facts: files, methods.
    """
    noise = subject.noise
    ranges = {
        name: None if truth is None else float(np.ptp(truth))
        for name, truth in (("denoised", subject.truth), ("deconvolved", subject.truth_deconvolved))
    }
    return {
        "schema": SCHEMA,
        **made_with,
        "offset": subject.offset,
        "noise": {"gain": noise.gain, "read_noise": noise.read_noise, "correlated": noise.correlated},
        "truth_range": ranges,
        "versions": {name: found for name in PACKAGES if (found := _installed(name))},
        "scores": [asdict(row) for row in rows],
        "failed": failures,
    }


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
