"""The pictures that come first: raw, denoised, deconvolved; a detail of each; sections of volumes; the uncertainty."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from zsd_export.comparison.picture import DETAIL, Detail, liveliest
from zsd_export.report.case import DECONVOLVED, DENOISED, Case
from zsd_export.report.drawing import scale_bar
from zsd_export.report.parts import Array, Picture, Scale, Section
from zsd_optics.pictures import grey_levels

NAMES = {"raw": "Raw", DENOISED: "Denoised", DECONVOLVED: "Deconvolved", "truth": "Truth"}
WHOLE, CLOSE, DEEP, SURE = "whole", "detail", "sections", "uncertain"  # groups
HEADS = {
    WHOLE: "The whole image", CLOSE: "A detail, enlarged", DEEP: "XZ sections", SURE: "How certain it is",
    "error": "Where the result disagrees with the image", "residual": "The residual", "psf": "Sections",
}  # fmt: skip


def pictures_section(case: Case) -> Section:
    """Everything that is looked at before numbers are read."""
    images = {"raw": case.signal, **case.outputs}
    if case.subject.truth is not None:
        images["truth"] = case.subject.truth - case.offset
    planes = {name: _seen(case, image) for name, image in images.items()}
    levels = _levels(planes)
    detail = _detail(planes)
    shown = list(_wholes(case, planes, levels, detail))
    if detail is not None:
        shown += _details(case, planes, levels, detail)
    if case.counts.ndim == 3:
        shown += _sections(case, images, levels)
    shown += _uncertain(case, detail)
    intro = "Counts above the camera offset. Raw and denoised image have the same grey levels if they are alike."
    if case.counts.ndim == 3:
        intro += " Of the volume, the middle slice."
    if case.subject.cut:
        intro += f" The image is large: {case.subject.what} are looked at, here and in all numbers."
    return Section("pictures", "Pictures", intro, pictures=tuple(shown), judged=False)


def _seen(case: Case, image: Array) -> Array:
    """The plane that is shown; padding, where nothing was recorded, is no number."""
    plane = np.array(case.plane(image), np.float64)
    padding = case.bad[len(case.bad) // 2 if len(case.bad) > 1 else 0].padding
    if padding is not None and not padding.all():
        factor = plane.shape[-1] // padding.shape[-1]
        plane[padding.repeat(factor, 0).repeat(factor, 1)] = np.nan
    return plane


def _levels(planes: dict[str, Array]) -> dict[str, tuple[float, float]]:
    """Black and white: those of the denoised image for all that is as bright, so that they can be compared."""
    own = {name: grey_levels(plane[np.isfinite(plane)]) for name, plane in planes.items()}
    low, high = own.get("truth", own.get(DENOISED, own["raw"]))
    same = {name: low <= np.nanmedian(plane) <= high or name == DENOISED for name, plane in planes.items()}
    return {name: (low, high) if same[name] and name != DECONVOLVED else own[name] for name in planes}


def _detail(planes: dict[str, Array]) -> Detail | None:
    """The liveliest square; None for images that are hardly larger."""
    guide = planes.get(DENOISED, planes["raw"])
    guide = np.where(np.isfinite(guide), guide, np.nanmedian(guide))
    side = min(DETAIL, *guide.shape)
    return liveliest(guide, side) if max(guide.shape) >= 1.5 * side else None


def _wholes(
    case: Case, planes: dict[str, Array], levels: dict[str, tuple[float, float]], detail: Detail | None
) -> Iterator[Picture]:
    for name, plane in planes.items():
        drawn = _picture(case, f"whole_{name}", NAMES[name], plane, Scale(*levels[name]), WHOLE, f"{NAMES[name]} image")
        if detail is not None:
            factor = plane.shape[-1] // case.counts.shape[-1]
            drawn = replace(drawn, frame=(factor * detail.y, factor * detail.x, factor * detail.side))
        yield drawn


def _details(
    case: Case, planes: dict[str, Array], levels: dict[str, tuple[float, float]], detail: Detail
) -> Iterator[Picture]:
    for name, plane in planes.items():
        yield _picture(
            case, f"detail_{name}", NAMES[name], detail.of(plane, planes["raw"]), Scale(*levels[name]), CLOSE,
            f"Detail of the {NAMES[name].lower()} image",
        )  # fmt: skip


def _sections(case: Case, images: dict[str, Array], levels: dict[str, tuple[float, float]]) -> Iterator[Picture]:
    """XZ through the row with most structure; slices as thick as they are."""
    guide = images.get(DENOISED, images["raw"])
    row = int(guide.var(axis=(0, 2), dtype=np.float64).argmax())
    voxel = case.subject.voxel
    for name, image in images.items():
        factor = image.shape[-1] // case.counts.shape[-1]
        section = np.asarray(image[:, row * factor], np.float64)
        thick = factor * (voxel.z_um / voxel.x_um if voxel.z_um and voxel.x_um else 1.0)
        yield _picture(
            case, f"xz_{name}", f"{NAMES[name]}, "
            "XZ", section.repeat(max(1, round(thick)), 0), Scale(*levels[name]), DEEP,
            f"XZ section of the {NAMES[name].lower()} volume",
        )  # fmt: skip


def _uncertain(case: Case, detail: Detail | None) -> Iterator[Picture]:
    """The uncertainty of each output, and of the detail."""
    raw = case.plane(case.counts)
    for name, half in case.uncertainty.items():
        plane = _seen(case, half)
        scale = Scale(0, float(np.nanpercentile(plane, 99.7)) or 1.0, "counts", "heat")
        caption = "Half-width of the 68 % interval. Bright: other photons of the same scene would give another value."
        title = f"Uncertainty, {NAMES[name].lower()}"
        yield _picture(
            case, f"uncertainty_{name}", title, plane, scale, SURE, f"Uncertainty of the {name} image", caption
        )
        if detail is not None and name == DECONVOLVED:
            yield _picture(
                case, f"uncertainty_{name}_detail", f"{title}, detail", detail.of(plane, raw), scale, SURE,
                f"Uncertainty of the detail of the {name} image",
            )  # fmt: skip


def _picture(
    case: Case, name: str, title: str, plane: Array, scale: Scale, group: str, alt: str, caption: str = ""
) -> Picture:
    wide = case.counts.shape[-1]
    um = case.subject.voxel.x_um
    factor = max(1, round(plane.shape[-1] / wide)) if not name.startswith("detail") else 1
    if "detail" in name:
        factor = case.outputs[DECONVOLVED].shape[-1] // wide if DECONVOLVED in name else 1
    length, text = scale_bar(plane.shape[-1], um / factor if um else None)
    return Picture(name, title, alt, plane, scale, caption, group, length, text)
