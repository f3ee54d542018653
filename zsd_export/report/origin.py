"""Where the model comes from: its halo, its training, versions and checksums."""

import csv
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from zsd_export.report.case import Case
from zsd_export.report.judging import judged
from zsd_export.report.parts import Array, Curve, Number, Plot, Section
from zsd_runtime.errors import size_text

HERE = ("zsd", "numpy", "scipy", "scikit-image", "onnxruntime", "openvino", "torch")
LAST = 0.25  # share of the steps that is the end of a training


def halo_section(case: Case) -> Section:
    """How much of a tile its border spoils, and what that leaves."""
    description = case.description
    error = description.facts.get("halo_error")
    return Section(
        "halo", "Tiles",
        "Images that do not fit in memory are restored in tiles, which overlap by twice the halo. The halo is measured "
        "on the trained network, not guessed.",
        (judged("halo_error", error if isinstance(error, int | float) else None,
                why_not="The halo is that of the network's convolutions; what is left beyond it was not measured."),),
        (Number("halo_px", "Halo", size_text(description.halo), f"{size_text(description.halo)} pixels",
                "So far from the border of a tile a result depends on what lies beyond."),),
    )  # fmt: skip


def training_section(case: Case) -> Section:
    """How the training went, and why it ended."""
    opened, measured, training = case.opened, case.opened.measured, case.opened.training
    intro = (
        "zsd keeps some tiles of the image from the training. When the error on them turns upwards, the network has "
        "begun to learn noise, and the training ends; the best weights are kept."
    )
    if not measured:
        why = "The package says nothing of its training: it is of another program, or an older version of zsd."
        return Section("training", "Training", intro, (judged("still_falling", None, why_not=why),), missing=why)
    rows = metrics(opened.run.folder) if opened.run else {}
    fall, kept = course(rows)
    without = "Report on the run, or give it with --run: the package does not hold the course of the error."
    if rows:
        without = "No tiles were kept from the training."
    elif measured.get("held_out_error") is None:
        without = "No tiles were kept from the training: nothing shows when it should have ended."
    numbers = [
        Number("stopped", "Why it ended", measured.get("stopped"), _sentence(measured.get("stopped")),
               "“Budget spent”: the time or number of steps that was given. “The held-out error has turned”: it ended "
               "by itself, in time."),
        Number("steps", "Steps", measured.get("steps"), f"{measured.get('steps', 'not said')}, step "
               f"{measured.get('kept_step', '?')} kept"),
    ]  # fmt: skip
    if (seconds := measured.get("seconds")) is not None:
        numbers.append(Number("seconds", "Time", seconds, f"{seconds / 60:.1f} minutes"))
    if (error := measured.get("held_out_error")) is not None:
        numbers.append(Number(
            "held_out_error", "Held-out error of the kept weights", error, f"{error:.4g}",
            "Mean squared, in units of the normalised image; it contains the noise of the pixels it is compared with.",
        ))  # fmt: skip
    scheme = training.get("scheme")
    kind = scheme.get("kind") if isinstance(scheme, dict) else scheme
    settings = (
        f"preset {training.get('preset', '?')}, scheme {kind}, seed {training.get('seed', '?')}, started from "
        + (measured.get("start") or "random weights")
    )
    numbers.append(Number("settings", "Settings", kind, settings))
    if deficit := measured.get("flux_deficit"):
        numbers.append(Number(
            "flux_deficit", "Light that was corrected after the training", max(map(abs, deficit)),
            f"{', '.join(f'{d:.3g}' for d in deficit)} counts a pixel", "Of each output; small against the image is "
            "good.",
        ))  # fmt: skip
    findings = (judged("still_falling", fall, why_not=without), judged("kept_error", kept, why_not=without))
    return Section("training", "Training", intro, findings, tuple(numbers), plots=tuple(_plot(rows)))


def metrics(run: Path) -> dict[str, Array]:
    """The columns of metrics.csv; empty if it is not there or cannot be read."""
    try:
        with (run / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]} if rows else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def course(rows: dict[str, Array]) -> tuple[float | None, float | None]:
    """By how much (%) the best held-out error fell in the last quarter; that of the kept weights over the best one."""
    errors = rows.get("held_out_error", np.zeros(0))
    known = np.isfinite(errors)
    if known.sum() < 4:
        return None, None
    steps, errors = rows["step"][known], errors[known]
    before = errors[steps <= (1 - LAST) * steps[-1]]
    if not before.size or not errors.min() > 0:
        return None, None
    kept = rows["best_held_out_error"][known][-1]
    return 100 * float(max(before.min() - errors.min(), 0) / errors.min()), float(kept / errors.min())


def versions_section(case: Case, command: str, made: str) -> Section:
    """What a reader needs to make the report again."""
    subject, opened, description = case.subject, case.opened, case.description
    facts, engine = description.facts, opened.model.engine
    rows = [
        ("made", "Made", made, ""),
        ("command", "Command", command, "Type it again to get the same report."),
        ("image_sha256", "Image, SHA-256", subject.sha256, "It changes when a single byte of the file does."),
        ("package_sha256", "Package, SHA-256", opened.sha256, ""),
        ("data_sha256", "Training images, SHA-256", opened.measured.get("data_sha256"), "Of their pixels."),
        ("psf_sha256", "PSF of the training, SHA-256", opened.measured.get("psf_sha256"), ""),
        ("model", "Model", description.name, ""),
        ("method", "Method", facts.get("method"), ""),
        ("exported", "Exported", " by zsd ".join(str(facts[k]) for k in ("exported", "zsd_version") if k in facts), ""),
        ("engine", "Engine", f"{engine.name} on {engine.device}, {description.precision}", ""),
        ("trained_with", "Trained with", _listed(opened.measured.get("versions")), ""),
        ("versions", "This report", _listed({name: v for name in HERE if (v := _installed(name))}), ""),
        ("machine", "Machine", f"{platform.system()} {platform.machine()}, Python {platform.python_version()}", ""),
    ]  # fmt: skip
    numbers = tuple(Number(name, title, value, str(value), reading) for name, title, value, reading in rows if value)
    return Section("versions", "Versions and checksums", numbers=numbers, judged=False)


def _plot(rows: dict[str, Array]) -> Iterator[Plot]:
    """The held-out error; without held-out tiles, the error in training, which falls for ever."""
    if len(rows.get("step", ())) < 2:
        return
    held_out = bool(np.isfinite(rows.get("held_out_error", np.full(1, np.nan))).any())
    name, title = ("held_out_error", "held-out error") if held_out else ("denoising", "error in training")
    if name not in rows or not np.isfinite(rows[name]).any():
        return
    best = float(rows["step"][int(np.nanargmin(rows[name]))])
    values = rows[name][np.isfinite(rows[name])]
    yield Plot(
        "training", "Course of the training", f"The {title} over the steps of the training", "step",
        f"{title}, mean squared", (Curve(title, rows["step"], rows[name]),), ((best, "smallest"),) if held_out else (),
        "It should fall and level off. If it still falls at the right end, train longer; if it rises, the network "
        "learnt noise from there on." if held_out else "Without held-out tiles, nothing shows when the network begins "
        "to learn noise.",
        y_to=float(min(values.max(), 3 * np.median(values))),
    )  # fmt: skip


def _sentence(text: str | None) -> str:
    return f"{text[0].upper()}{text[1:]}" if text else "not said"


def _listed(names: dict[str, str] | None) -> str:
    return ", ".join(f"{name} {text}" for name, text in (names or {}).items())


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
