"""Whether the model was made for this image, and what the camera did to its pixels."""

import math
from collections.abc import Iterator

import numpy as np

from zsd_export.report.case import Case
from zsd_export.report.judging import judged
from zsd_export.report.parts import Finding, Number, Section
from zsd_runtime.image_statistics import statistics
from zsd_runtime.mismatch import Mismatch, image_mismatches, noise_ratios

COUNTS, SIZES = ("dark level", "noise", "brightness"), ("pixel size", "z step")
NO_CAMERA = "The package does not say what camera its model was trained with: it is of another program, or older."


def fit_section(case: Case) -> Section:
    """Compare the image with what the model was trained on."""
    found = image_mismatches(case.description, case.subject.frame)
    camera = case.description.camera is not None
    sizes = bool(case.description.pixel_size_um and case.subject.voxel.x_um)
    name, trained = case.subject.channel.channel.name, case.description.channel
    unnamed = "The package" if name else "The image's file"
    asked = [
        ("counts", COUNTS, camera, NO_CAMERA),
        ("pixel_size", SIZES, sizes, f"{_who_knows_no_size(case)} does not say its pixel size."),
        ("channel", ("channel",), bool(name and trained), f"{unnamed} does not name its channel."),
        ("more_saturated", ("saturation",), camera, NO_CAMERA),
    ]
    findings = [_finding(check, [m for m in found if m.kind in kinds], known, why_not)
                for check, kinds, known, why_not in asked]  # fmt: skip
    return Section(
        "fit", "Is the model made for this image?",
        "A model knows one kind of sample, one microscope and one camera setting. What can be measured is compared "
        "here. That the sample is another cannot be seen from its counts: look at the pictures, the residual and the "
        "error map for that.",
        tuple(findings), tuple(_numbers(case)),
    )  # fmt: skip


def pixels_section(case: Case) -> Section:
    """Padding, saturation, hot pixels."""
    total = case.counts.size
    counts = [bad.counts() for bad in case.bad]
    share = {kind: 100 * sum(each[kind] for each in counts) / total for kind in counts[0]}
    names = {"padding": share["padding"], "saturated": share["high"], "clipped_low": share["low"],
             "hot": share["hot"] + share["dead"]}  # fmt: skip
    blank = [str(number) for number, bad in enumerate(case.bad) if bad.blank]
    raw = case.subject.counts
    finite = raw[np.isfinite(raw)] if raw.dtype.kind == "f" else raw
    return Section(
        "pixels", "Pixels that are no data",
        "Padding, saturated, cut-off, hot and dead pixels are found by themselves. They measure nothing of the sample.",
        tuple(judged(name, value) for name, value in names.items()),
        (
            Number("lowest", "Lowest value", float(finite.min()), f"{float(finite.min()):.6g} counts"),
            Number("highest", "Highest value", float(finite.max()), f"{float(finite.max()):.6g} counts",
                   f"The file holds {raw.dtype}; a value at the end of its range, or of the camera's, is saturated."),
        ),
        notes=(f"Blank slices: {', '.join(blank[:12])}{', …' * (len(blank) > 12)}.",) if blank else (),
    )  # fmt: skip


def _finding(check: str, found: list[Mismatch], known: bool, why_not: str) -> Finding:
    texts = " ".join(f"{item.text[0].upper()}{item.text[1:]}." for item in found)
    return judged(check, float(len(found)) if known or found else None, says=texts, why_not=why_not)


def _who_knows_no_size(case: Case) -> str:
    return "The package" if not case.description.pixel_size_um else "The image's file"


def _numbers(case: Case) -> Iterator[Number]:
    measured = case.opened.measured
    if known := measured.get("data_sha256"):
        same = known in case.subject.pixels_sha256
        yield Number(
            "trained_on_this_image", "The model was trained on", "this image" if same else "other images",
            "this image" if same else "other images",
            "By checksum. Trained on this image alone, a model has learnt from no other image but the simulations that "
            "it may have started from; trained on others, it restores what it has seen there. Part of a series counts "
            "as another.",
        )  # fmt: skip
    camera = case.description.camera
    if camera is None:
        return
    found = statistics(case.subject.frame.data)
    if math.isfinite(found.dark):
        yield Number(
            "dark_level", "Dark parts, above the model's offset", found.dark - camera.offset,
            f"{found.dark - camera.offset:+.3g} counts",
            f"The darkest parts of the image are at {found.dark:.5g} counts; the model's offset is "
            f"{camera.offset:.5g}.",
        )  # fmt: skip
        bright = (found.bright - camera.offset) / camera.scale
        yield Number(
            "brightness", "Bright parts, relative to the training", bright, f"{bright:.2f} times",
            "1: as bright as the training. From 1/8 to 5 times a model still works.",
        )  # fmt: skip
        for part, ratio, usual in zip(("dark", "middle", "bright"), noise_ratios(camera, found), camera.noise_ratios,
                                      strict=True):  # fmt: skip
            yield Number(
                f"noise_{part}", f"Noise variance in {part} parts, relative to the training", ratio / usual,
                f"{ratio / usual:.2f} times", "1: the noise is that of the training. Two averaged frames have 0.5.",
            )  # fmt: skip
