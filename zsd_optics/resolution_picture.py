"""A picture of resolution estimates: correlation over frequency, one panel for each."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from zsd_optics.decorrelation import Decorrelation
from zsd_optics.resolution import RingCorrelation

Array = NDArray[np.float64]
WIDTH, HEIGHT = 460, 320  # of a panel, pixels
MARGIN, TOP, BOTTOM = 56, 64, 76
BLUE, ORANGE, GREY, PALE = (31, 119, 180), (255, 127, 14), (140, 140, 140), (200, 215, 230)
TICKS = (0.1, 0.2, 0.3, 0.4, 0.5)  # cycles a pixel

Result = RingCorrelation | Decorrelation


def resolution_picture(results: Sequence[tuple[str, Result]]) -> NDArray[np.uint8]:
    """Draw the curves of each result, its threshold or maxima, and a line at its resolution.

    Parameters
    ----------
    results : sequence of (str, RingCorrelation or Decorrelation)
        With their titles.

    Returns
    -------
    ndarray
        uint8 RGB (Y, X, 3).
    """
    size = (MARGIN + len(results) * (WIDTH + MARGIN), TOP + HEIGHT + BOTTOM)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    for number, (title, result) in enumerate(results):
        _panel(draw, MARGIN + number * (WIDTH + MARGIN), title, result)
    return np.asarray(canvas)


def _panel(draw: ImageDraw.ImageDraw, left: int, title: str, result: Result) -> None:
    draw.text((left, TOP - 48), title, "black", _font(17))
    draw.text((left, TOP - 24), _size(result.resolution_px, result.pixel_size_um), "black", _font(14))
    for height in (0.0, 0.5, 1.0):
        y = float(_y(height))
        draw.line((left, y, left + WIDTH, y), (230, 230, 230))
        draw.text((left - 6, y), f"{height:g}", "black", _font(13), "rm")
    for tick in TICKS:
        x = left + 2 * tick * WIDTH
        draw.line((x, TOP + HEIGHT, x, TOP + HEIGHT + 5), "black")
        draw.text((x, TOP + HEIGHT + 8), f"{tick:g}", "black", _font(13), "ma")
        period = _size(1 / tick, result.pixel_size_um, short=True)
        draw.text((x, TOP + HEIGHT + 26), period, GREY, _font(13), "ma")
    draw.text((left, TOP + HEIGHT + 48), "cycles per pixel; below, the length of one cycle", GREY, _font(13))
    if isinstance(result, RingCorrelation):
        _line(draw, left, result.frequencies, result.correlation, PALE)
        _line(draw, left, result.frequencies, result.threshold, ORANGE)
        _line(draw, left, result.frequencies, result.smooth, BLUE)
    else:
        for curve in result.curves[:0:-1]:
            _line(draw, left, result.frequencies, curve, PALE)
        _line(draw, left, result.frequencies, result.curves[0], BLUE)
        for frequency, height in result.peaks:
            draw.circle((left + 2 * frequency * WIDTH, float(_y(height))), 3, fill=ORANGE)
    if np.isfinite(result.resolution_px):
        x = left + 2 * WIDTH / result.resolution_px
        draw.line((x, TOP, x, TOP + HEIGHT), GREY)
    draw.rectangle((left, TOP, left + WIDTH, TOP + HEIGHT), outline="black")


def _line(draw: ImageDraw.ImageDraw, left: int, frequencies: Array, curve: Array, colour: tuple[int, ...]) -> None:
    x, y = left + 2 * WIDTH * frequencies, _y(np.clip(curve, -0.1, 1))
    draw.line(np.stack([x, y], axis=1).ravel().tolist(), colour, 2)


def _y(height: float | Array) -> float | Array:
    """From -0.1 to 1."""
    return TOP + HEIGHT * (1 - height) / 1.1


def _size(px: float, pixel_size_um: float | None, *, short: bool = False) -> str:
    if not np.isfinite(px):
        return "no resolution"
    if pixel_size_um is None:
        return f"{px:.3g} px"
    nm = f"{1000 * px * pixel_size_um:.0f} nm"
    return nm if short else f"{px:.3g} px, {nm}"


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
