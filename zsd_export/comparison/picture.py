"""The picture of a comparison: the same detail of every result, with names and scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import Any

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from zsd_optics.pictures import grey_levels
from zsd_runtime.errors import InputError, size_text

PANEL = 384  # pixels: about the side of a panel
DETAIL = 96  # raw pixels of the side of the detail, by default
LEAST_DETAIL = 16
ZOOM = 3  # of the inset, over the panel
INSET = 0.42  # side of the inset, of the panel's
GAP, MARGIN = 14, 20
COLUMNS = 5  # at most
TITLE, SCORE, HEAD = 21, 18, 26  # sizes of letters, pixels
FRAME = (255, 196, 0)

Array = NDArray[Any]


@dataclass(frozen=True)
class Panel:
    """One image, which may be finer than the raw one by a whole number, with its name and a line of scores."""

    image: Array
    title: str
    score: str = ""


@dataclass(frozen=True)
class Detail:
    """A square of the raw image: its upper left corner and its side, pixels."""

    y: int
    x: int
    side: int

    def of(self, image: Array, raw: Array) -> Array:
        """This part of an image that may be finer than the `raw` one."""
        factor = image.shape[0] // raw.shape[0]
        return image[tuple(slice(factor * n, factor * (n + self.side)) for n in (self.y, self.x))]


def detail_from(text: str | None, image: Array) -> Detail:
    """The detail that is typed, "Y,X,SIZE", or the square of the image (Y, X) with most bright structure.

    Raises
    ------
    InputError
        When it is not three whole numbers, or does not lie in the image.
    """
    if text is None:
        return liveliest(image, min(DETAIL, *image.shape))
    try:
        y, x, side = (int(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"`detail` {text} must be Y,X,SIZE", "three whole numbers, raw pixels, for instance 100,200,96",
            option="detail",
        ) from None  # fmt: skip
    inside = min(y, x) >= 0 and y + side <= image.shape[0] and x + side <= image.shape[1]
    if side < LEAST_DETAIL or not inside:
        raise InputError(
            f"`detail` {text} must be a square of {LEAST_DETAIL} pixels or more inside the image of "
            f"{size_text(image.shape)}", "Y and X are its upper left corner", option="detail",
        )  # fmt: skip
    return Detail(y, x, side)


def liveliest(image: Array, side: int) -> Detail:
    """The square of this side with the largest variance: the bright one that has structure, not just haze."""
    smooth = ndi.gaussian_filter(image.astype(np.float64), 1)  # noise has a variance, too
    mean, squares = (ndi.uniform_filter(values, side, mode="nearest") for values in (smooth, smooth**2))
    first = side // 2
    inside = tuple(slice(first, first + n - side + 1) for n in image.shape)
    inside = (squares - mean**2)[inside]
    y, x = np.unravel_index(int(inside.argmax()), inside.shape)
    return Detail(int(y), int(x), side)


def picture(
    groups: Sequence[tuple[str, Sequence[Panel]]], raw: Array, detail: Detail, pixel_size_um: float | None
) -> NDArray[np.uint8]:
    """Groups of panels, one below the other; all panels of a group have the same grey levels.

    Parameters
    ----------
    groups : sequence of (str, panels)
        A heading, and its panels. A panel that is called truth gives the grey levels.
    raw : ndarray
        (Y, X), the image that was restored; it says what a raw pixel is.
    detail : Detail
    pixel_size_um : float
        Along X, of a raw pixel, for the scale bar; None: no bar.

    Returns
    -------
    ndarray
        uint8 (rows, columns, 3).
    """
    side = max(1, round(PANEL / detail.side / 2)) * 2 * detail.side
    columns = min(COLUMNS, max(len(panels) for _, panels in groups))
    columns = max(-(-len(panels) // -(-len(panels) // columns)) for _, panels in groups)  # rows of equal length
    row_height = side + GAP + TITLE + SCORE + 3 * GAP // 2
    heights = [HEAD + GAP + -(-len(panels) // columns) * row_height for _, panels in groups]
    width = 2 * MARGIN + columns * side + (columns - 1) * GAP
    sheet = Pillow.new("RGB", (width, sum(heights) + 2 * MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    top = MARGIN
    inner = _inner(groups[0][1], raw, detail)
    for (head, panels), height in zip(groups, heights, strict=True):
        draw.text((MARGIN, top), head, "black", font=ImageFont.load_default(size=HEAD))
        levels = _levels(panels, raw, detail)
        for number, panel in enumerate(panels):
            row, column = divmod(number, columns)
            place = (MARGIN + column * (side + GAP), top + HEAD + GAP + row * row_height)
            sheet.paste(_drawn(panel, raw, detail, inner, levels, side), place)
            if number == 0 and pixel_size_um:
                right = inner.x + inner.side / 2 > detail.side / 2  # the inset is then at the left
                _scale_bar(draw, place, side, pixel_size_um * detail.side, right=right)
            below = place[1] + side + GAP // 2
            draw.text((place[0], below), **_fitting(panel.title, TITLE, side))
            draw.text((place[0], below + TITLE + GAP // 2), **_fitting(panel.score, SCORE, side))
        top += height
    return np.asarray(sheet)


def _levels(panels: Sequence[Panel], raw: Array, detail: Detail) -> tuple[float, float]:
    """Black and white: those of the truth if there is one, else of the smoothest panel."""
    parts = [detail.of(panel.image, raw) for panel in panels]
    truths = [part for panel, part in zip(panels, parts, strict=True) if panel.title == "truth"]
    if truths:
        return grey_levels(truths[0])
    return min((grey_levels(part) for part in parts), key=lambda levels: levels[1] - levels[0])


def _inner(panels: Sequence[Panel], raw: Array, detail: Detail) -> Detail:
    """What the inset shows: the surroundings of the brightest point of the detail."""
    best = next((panel.image for panel in panels if panel.title == "truth"), raw)
    side = max(4, round(INSET * detail.side / ZOOM))
    smooth = ndi.gaussian_filter(detail.of(best, raw).astype(np.float64), 2)
    middle = np.unravel_index(int(smooth.argmax()), smooth.shape)
    y, x = (int(np.clip(n - side // 2, 0, detail.side - side)) for n in middle)
    return Detail(y, x, side)


def _drawn(
    panel: Panel, raw: Array, detail: Detail, inner: Detail, levels: tuple[float, float], side: int
) -> Pillow.Image:
    """The detail with its inset in the corner that is farthest from what it shows; the other side is the bar's."""
    low, high = levels
    part = detail.of(panel.image, raw)
    grey = (np.clip((part - low) / max(high - low, 1e-9), 0, 1) * 255).round().astype(np.uint8)
    whole = Pillow.fromarray(grey).resize((side, side), Pillow.Resampling.NEAREST).convert("RGB")
    factor, scale = len(part) // detail.side, side / detail.side
    box = [round(n * scale) for n in (inner.x, inner.y, inner.x + inner.side, inner.y + inner.side)]
    zoomed = grey[tuple(slice(factor * n, factor * (n + inner.side)) for n in (inner.y, inner.x))]
    length = round(inner.side * scale * ZOOM)
    inset = Pillow.fromarray(zoomed).resize((length, length), Pillow.Resampling.NEAREST).convert("RGB")
    left, above = (0 if box[axis] + box[axis + 2] > side else side - length for axis in (0, 1))
    draw = ImageDraw.Draw(whole)
    whole.paste(inset, (left, above))
    draw.rectangle((left, above, left + length - 1, above + length - 1), outline=FRAME, width=2)
    draw.rectangle(tuple(box), outline=FRAME, width=2)
    return whole


def _scale_bar(draw: ImageDraw.ImageDraw, place: tuple[int, int], side: int, side_um: float, *, right: bool) -> None:
    """A bar of 1, 2 or 5 · 10ⁿ µm, at most a third of the panel, in its lower left or right corner."""
    most = side_um / 3
    power = 10.0 ** floor(log10(most))
    bar_um = max(step * power for step in (1, 2, 5) if step * power <= most)
    length = round(side * bar_um / side_um)
    x, y = place[0] + (side - length - 12 if right else 12), place[1] + side - 16
    draw.rectangle((x, y, x + length, y + 5), fill="white", outline="black")
    font, text = ImageFont.load_default(size=SCORE), f"{bar_um:g} um"
    above = y - SCORE - 8
    draw.text((x, above), text, "white", font=font, stroke_width=1, stroke_fill="black")
    # Pillow's own font has no µ: it is an u whose left stem goes on below the line.
    left = x + font.getlength(text[:-2]) + font.getbbox("u")[0]
    bottom = above + font.getbbox("u")[3]
    draw.rectangle((left - 1, bottom - 2, left + 2, bottom + 4), fill="white", outline="black")
    draw.rectangle((left, bottom - 4, left + 1, bottom + 3), fill="white")


def _fitting(text: str, size: int, width: int) -> dict[str, Any]:
    """The text in letters of `size`, or in smaller ones that fit into `width`; cut if these would be unreadable."""
    while True:
        font = ImageFont.load_default(size=size)
        if font.getlength(text) <= width:
            break
        if size > 13:
            size -= 1
        else:
            text = text.removesuffix("…")[:-1] + "…"
    return {"text": text, "fill": "black", "font": font}
