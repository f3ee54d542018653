"""A picture of a PSF: sections on a logarithmic scale, profiles, and its FWHM in nm."""

from collections.abc import Sequence
from textwrap import wrap

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from zsd_optics.psf_faults import Fault
from zsd_optics.psf_measure import fwhm_px, lines_through_peak, without_background
from zsd_runtime.errors import InputError
from zsd_runtime.terminal import flag

Array = NDArray[np.float64]
SIDE, MARGIN, TOP = 320, 56, 88  # of a panel, between panels, above them; pixels of the picture
LEFT = [MARGIN + i * (SIDE + MARGIN) for i in range(3)]
LINE = 20  # height of a line of text
RED = (200, 0, 0)
DECADES = 3  # of intensity that the sections show
FWHM_RULE = "FWHM: on lines through the maximum, where a cubic spline crosses one half"
COLOURS = {"Z": (44, 160, 44), "Y": (255, 127, 14), "X": (31, 119, 180)}


def fwhm_nm(psf: NDArray[np.generic], voxel_um: tuple[float, ...]) -> dict[str, float]:
    """FWHM of a PSF (Y, X) or (Z, Y, X) above its background (the median of its faces), nm, by axis letter."""
    widths = fwhm_px(without_background(psf)) * (*voxel_um, voxel_um[-1])
    return {axis: 1000 * float(um) for axis, um in zip("ZYX"[-psf.ndim :], widths, strict=True)}


def fwhm_text(psf: NDArray[np.generic], voxel_um: tuple[float, ...]) -> str:
    """`fwhm_nm` in words."""
    widths = fwhm_nm(psf, voxel_um).items()
    return "FWHM " + ", ".join(f"{axis} {nm:.0f} nm" if np.isfinite(nm) else f"{axis} unknown" for axis, nm in widths)


def psf_picture(
    psf: NDArray[np.generic], voxel_um: tuple[float, ...], title: str, faults: Sequence[Fault] = ()
) -> NDArray[np.uint8]:
    """Draw XY, XZ and profiles through the maximum of a PSF, all sections at one scale; its faults in red.

    Parameters
    ----------
    psf : ndarray
        (Y, X) or (Z, Y, X), any real dtype; its background is subtracted.
    voxel_um : tuple of float
        (pixel size,) or (z step, pixel size), µm.
    title : str
        Written above.
    faults : sequence of Fault
        Written below; those at one place are marked in XY.

    Returns
    -------
    ndarray
        uint8 RGB (Y, X, 3).

    Raises
    ------
    InputError
        When it has no peak.
    """
    clean = without_background(psf)
    if not clean.max() > 0:
        raise InputError(f"{title} has no peak above its background", "give a PSF")
    clean /= clean.max()
    lines = dict(zip("ZYX"[-psf.ndim :], lines_through_peak(clean), strict=True))
    steps = dict(zip(lines, (*voxel_um, voxel_um[-1]), strict=True))
    sections = {"XY": clean}
    if psf.ndim == 3:
        sections = {"XY": clean[lines["Z"][1]], "XZ": clean[:, lines["Y"][1]]}
    extent = max(line.size * steps[axis] for axis, (line, _) in lines.items())
    widest = max((nm / 1000 for nm in fwhm_nm(psf, voxel_um).values() if np.isfinite(nm)), default=extent / 2)

    width = MARGIN + (len(sections) + 1) * (SIDE + MARGIN)
    told = [line for fault in faults for line in wrap(fault.error("It").message(flag), (width - 2 * MARGIN) // 6)]
    canvas = Image.new("RGB", (width, TOP + SIDE + 80 + LINE * len(told)), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, 16), title, "black", _font(18))
    draw.text((MARGIN, TOP + SIDE + 44), f"{fwhm_text(psf, voxel_um)}   ({FWHM_RULE})", "black", _font(14))
    for left, (name, section) in zip(LEFT, sections.items(), strict=False):
        draw.text((left, TOP - 22), f"{name}, {DECADES} decades", "black", _font(14))
        draw.rectangle((left, TOP, left + SIDE, TOP + SIDE), "dimgrey")
        panel = _panel(section, (steps[name[1]], steps[name[0]]), SIDE / extent)
        canvas.paste(panel, (left + (SIDE - panel.width) // 2, TOP + (SIDE - panel.height) // 2))
    for fault in faults:
        if fault.position is not None:
            _mark(draw, clean.shape, fault.position, steps["X"] * SIDE / extent)
    draw.text((MARGIN, TOP + SIDE + 72), "\n".join(told), RED, _font(14), spacing=LINE - 14)
    _scale_bar(draw, extent)
    _profiles(draw, LEFT[len(sections)], lines, steps, min(2 * widest, extent / 2))
    return np.asarray(canvas)


def _panel(section: Array, steps_um: tuple[float, float], px_per_um: float) -> Image.Image:
    height, width = (max(1, round(n * um * px_per_um)) for n, um in zip(section.shape, steps_um, strict=True))
    grey = 1 + np.log10(np.clip(section, 10.0**-DECADES, 1)) / DECADES
    return Image.fromarray((255 * grey).round().astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)


def _mark(draw: ImageDraw.ImageDraw, shape: tuple[int, ...], position: tuple[int, ...], px: float) -> None:
    """A circle in the first panel, XY, around a voxel; a voxel has `px` pixels of the picture."""
    (height, width), (y, x) = shape[-2:], position[-2:]
    middle = (LEFT[0] + SIDE / 2 + (x + 0.5 - width / 2) * px, TOP + SIDE / 2 + (y + 0.5 - height / 2) * px)
    draw.circle(middle, max(14, 2 * px), outline=RED, width=2)


def _scale_bar(draw: ImageDraw.ImageDraw, extent_um: float) -> None:
    """A bar of a round length, a tenth to a third of the first panel."""
    decade = 10 ** np.floor(np.log10(extent_um / 3))
    length = max(m * decade for m in (1, 2, 5) if m * decade <= extent_um / 3)
    x, y = MARGIN + 10, TOP + SIDE - 12
    draw.rectangle((x, y, x + round(SIDE * length / extent_um), y + 4), "white")
    draw.text((x, y - 20), f"{1000 * length:.0f} nm", "white", _font(14))


def _profiles(
    draw: ImageDraw.ImageDraw, left: int, lines: dict[str, tuple[Array, int]], steps: dict[str, float], reach_um: float
) -> None:
    """Intensity over the distance from the maximum, one colour for each axis, with a line at one half."""
    draw.text((left, TOP - 22), "profiles through the maximum", "black", _font(14))
    draw.rectangle((left, TOP, left + SIDE, TOP + SIDE), outline="black")
    draw.line((left, TOP + SIDE // 2, left + SIDE, TOP + SIDE // 2), (200, 200, 200))
    for place, mark in ((0, -reach_um), (SIDE // 2, 0), (SIDE, reach_um)):
        draw.text((left + place, TOP + SIDE + 4), f"{1000 * mark:.0f} nm", "black", _font(14), "ma")
    for row, (axis, (line, peak)) in enumerate(lines.items()):
        um = (np.arange(line.size) - peak) * steps[axis]
        near = np.abs(um) <= reach_um
        x, y = left + SIDE / 2 * (1 + um[near] / reach_um), TOP + SIDE * (1 - np.clip(line[near], 0, 1))
        draw.line(np.stack([x, y], axis=1).ravel().tolist(), COLOURS[axis], 2)
        draw.text((left + SIDE - 20, TOP + 6 + 18 * row), axis, COLOURS[axis], _font(15))


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
