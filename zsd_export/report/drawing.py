"""Pictures as PNG inside the page: grey levels, heat, and signed colours, with their colour bars."""

import base64
import io
from math import floor, log10

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

from zsd_export.report.parts import Array, Picture, Scale
from zsd_optics.pictures import binned

WIDEST = 640  # pixels of a picture in the page: wider ones are averaged
NARROWEST = 256  # narrower ones are enlarged, so that browsers need not smooth them
FRAME = (255, 196, 0)  # as in `zsd compare`
# Anchors of the colours, evenly spaced. Heat rises in lightness throughout; signed colours are light at 0.
COLOURS = {
    "grey": ((0, 0, 0), (255, 255, 255)),
    "heat": ((4, 5, 22), (66, 15, 109), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)),
    "signed": ((33, 82, 156), (120, 170, 215), (245, 245, 245), (226, 148, 112), (158, 36, 44)),
}


def data_uri(picture: Picture) -> str:
    """The picture as the page holds it, with its scale bar."""
    values = fitting(picture.values)
    ratio = values.shape[1] / picture.values.shape[1]
    painted = painted_in(values, picture.scale)
    if picture.frame:
        painted = _with_frame(painted, [round(n * ratio) for n in picture.frame])
    if picture.bar_px:
        painted = _with_bar(painted, round(picture.bar_px * ratio))
    return _uri(painted)


def bar_uri(scale: Scale) -> str:
    """The colours of a scale, from low to high, as a picture of one row."""
    ramp = np.linspace(scale.low, scale.high, 128)[None]
    return _uri(painted_in(ramp, scale))


def painted_in(values: Array, scale: Scale) -> NDArray[np.uint8]:
    """(Y, X) as uint8, (Y, X, 3) if it has colours; what is no number is mid-grey."""
    share = np.clip((values - scale.low) / max(scale.high - scale.low, 1e-12), 0, 1)
    missing = ~np.isfinite(share)
    levels = (np.where(missing, 0, share) * 255).round().astype(np.uint8)
    if scale.colours == "grey":
        return np.where(missing, 128, levels).astype(np.uint8)
    anchors = np.array(COLOURS[scale.colours], float)
    places = np.linspace(0, len(anchors) - 1, 256)
    table = np.stack([np.interp(places, np.arange(len(anchors)), anchors[:, c]) for c in range(3)], 1)
    painted = table.round().astype(np.uint8)[levels]
    painted[missing] = 128
    return painted


def fitting(values: Array) -> Array:
    """Averaged to `WIDEST`, or enlarged to about `NARROWEST`, pixels a side."""
    largest = max(values.shape)
    if largest > WIDEST:
        factor = -(-largest // WIDEST)
        y, x = (n // factor * factor for n in values.shape)
        return binned(values[: max(y, factor), : max(x, factor)], factor) if min(y, x) else values[:, ::factor]
    factor = max(1, NARROWEST // largest)
    return values.repeat(factor, 0).repeat(factor, 1)


def scale_bar(width: int, pixel_um: float | None) -> tuple[float, str]:
    """Length in pixels and text of a bar of 1, 2 or 5 · 10ⁿ µm, at most a third of a picture; (0, "") without."""
    if not pixel_um or pixel_um <= 0:
        return 0.0, ""
    most = width * pixel_um / 3
    power = 10.0 ** floor(log10(most))
    bar = max(step * power for step in (1, 2, 5) if step * power <= most)
    return bar / pixel_um, f"{bar:g} µm" if bar >= 1 else f"{1000 * bar:g} nm"


def _with_bar(painted: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
    """With a white bar that has a black rim, in the lower right corner."""
    height, width = painted.shape[:2]
    thick, gap = max(3, width // 85), max(6, width // 40)
    right, bottom = width - gap, height - gap
    if length < 2 or length > width - 2 * gap or height < 4 * gap:
        return painted
    painted = painted.copy()
    painted[bottom - thick - 1 : bottom + 1, right - length - 1 : right + 1] = 0
    painted[bottom - thick : bottom, right - length : right] = 255
    return painted


def _with_frame(painted: NDArray[np.uint8], box: list[int]) -> NDArray[np.uint8]:
    """With a yellow square: its upper left corner (Y, X) and its side."""
    coloured = painted if painted.ndim == 3 else painted[..., None].repeat(3, 2)
    coloured, (y, x, side), thick = coloured.copy(), box, max(1, painted.shape[1] // 200)
    inside = coloured[y : y + side, x : x + side].copy()
    coloured[max(y - thick, 0) : y + side + thick, max(x - thick, 0) : x + side + thick] = FRAME
    coloured[y : y + side, x : x + side] = inside
    return coloured


def _uri(painted: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    iio.imwrite(buffer, painted, extension=".png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
