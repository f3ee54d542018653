"""Small plots in a widget: lines and points over an axis, drawn with Qt, so that no plotting library is needed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import floor, isfinite, log10, nan
from typing import Any

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPixmap

WIDTH, HEIGHT = 330, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 22, 34
GREY = "#8a8f98"  # legible on napari's dark and light themes
COLOURS = ("#26a69a", "#ff9800", "#5c9ded")


@dataclass(frozen=True)
class Curve:
    """A curve, or points with error bars.

    Attributes
    ----------
    name : str
    x, y : sequence of float
    error : sequence of float
        Half the length of the bars; points are drawn in place of a line where it is given.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    error: Sequence[float] = ()


def plot(curves: Sequence[Curve], x_label: str, y_label: str, *, log: bool = False) -> Any:
    """Draw curves as a QPixmap.

    Parameters
    ----------
    curves : sequence of Curve
    x_label, y_label : str
        With units.
    log : bool
        Of y.
    """
    if log:
        curves = [replace(c, y=[log10(v) if v > 0 else nan for v in c.y]) for c in curves]
    pixmap = QPixmap(WIDTH, HEIGHT)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    font = painter.font()
    font.setPixelSize(11)
    painter.setFont(font)
    xs = [float(v) for c in curves for v in c.x]
    ys = [float(v) for c in curves for v in c.y if isfinite(v)]
    if xs and ys:
        x_range, y_range = _range(xs), _range(ys)
        _axes(painter, x_range, y_range, log)
        for number, curve in enumerate(curves):
            _draw(painter, curve, COLOURS[number % len(COLOURS)], x_range, y_range)
    _labels(painter, [c.name for c in curves], x_label, y_label)
    painter.end()
    return pixmap


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or abs(high) or 1.0
    return low - room, high + room


def _place(x: float, y: float, x_range: tuple[float, float], y_range: tuple[float, float]) -> Any:
    across = (x - x_range[0]) / (x_range[1] - x_range[0])
    up = (y - y_range[0]) / (y_range[1] - y_range[0])
    return QPointF(LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM))


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two others, at most `most` of them."""
    rough = (high - low) / most
    decade = 10.0 ** floor(log10(rough))
    step = next(m * decade for m in (1, 2, 5, 10) if m * decade >= rough)
    first = floor(low / step) + 1
    return [n * step for n in range(first, floor(high / step) + 1)]


def _axes(painter: Any, x_range: tuple[float, float], y_range: tuple[float, float], log: bool) -> None:
    painter.setPen(QPen(QColor(GREY), 1))
    painter.drawRect(QRectF(LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM))
    for value in ticks(*x_range):
        at = _place(value, y_range[0], x_range, y_range)
        painter.drawLine(at, QPointF(at.x(), at.y() - 4))
        painter.drawText(QRectF(at.x() - 30, at.y() + 2, 60, 14), Qt.AlignmentFlag.AlignCenter, f"{value:g}")
    for value in ticks(*y_range):
        at = _place(x_range[0], value, x_range, y_range)
        painter.drawLine(at, QPointF(at.x() + 4, at.y()))
        flags = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        painter.drawText(QRectF(0, at.y() - 7, LEFT - 5, 14), flags, f"{10**value:.2g}" if log else f"{value:.4g}")


def _draw(painter: Any, curve: Curve, colour: str, x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
    painter.setPen(QPen(QColor(colour), 1.6))
    places = [
        (_place(x, y, x_range, y_range), n)
        for n, (x, y) in enumerate(zip(curve.x, curve.y, strict=True)) if isfinite(y)
    ]  # fmt: skip
    if len(curve.error):
        painter.setBrush(QColor(colour))
        painter.setClipRect(QRectF(LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM))
        for at, n in places:
            half = curve.error[n] / (y_range[1] - y_range[0]) * (HEIGHT - TOP - BOTTOM)
            painter.drawLine(QPointF(at.x(), at.y() - half), QPointF(at.x(), at.y() + half))
            painter.drawEllipse(at, 2, 2)
        painter.setClipping(False)
        return
    for (a, _), (b, _) in pairwise(places):
        painter.drawLine(a, b)


def _labels(painter: Any, names: Sequence[str], x_label: str, y_label: str) -> None:
    painter.setPen(QColor(GREY))
    painter.drawText(QRectF(LEFT, HEIGHT - 17, WIDTH - LEFT - RIGHT, 15), Qt.AlignmentFlag.AlignCenter, x_label)
    painter.drawText(QRectF(2, 3, WIDTH, 15), Qt.AlignmentFlag.AlignLeft, y_label)
    x = WIDTH - RIGHT
    for number, name in reversed(list(enumerate(names))):
        width = painter.fontMetrics().horizontalAdvance(name)
        x -= width
        painter.setPen(QColor(COLOURS[number % len(COLOURS)]))
        painter.drawText(QRectF(x, 3, width + 2, 15), Qt.AlignmentFlag.AlignLeft, name)
        x -= 12
