"""Plots as SVG inside the page: they are sharp on every screen and take the colours of the page."""

from collections.abc import Callable
from html import escape
from math import floor, isfinite, log10

import numpy as np

from zsd_export.report.parts import Array, Curve, Plot

WIDTH, HEIGHT = 460, 280  # of the drawing; the page scales it
RIGHT, TOP, BOTTOM = 14, 30, 46
LETTER = 9.2  # width of a letter, also of the larger ones on a phone
MOST_POINTS = 240  # of a curve

Placing = Callable[[float, float], tuple[float, float]]


def svg(plot: Plot) -> str:
    """A plot with axes, legend and marks. Colours are classes of the page's style: c0, c1, …"""
    x_range, y_range = _ranges(plot)
    left = 16 + LETTER * max((len(_short(value)) for value in ticks(*y_range)), default=2)

    def place(x: float, y: float) -> tuple[float, float]:
        (x0, x1), (y0, y1) = x_range, y_range
        across, up = (x - x0) / (x1 - x0), (min(max(y, y0), y1) - y0) / (y1 - y0)
        return left + across * (WIDTH - left - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [_axes(plot, x_range, y_range, place, left)]
    for at, text in plot.marks:
        if x_range[0] <= at <= x_range[1]:
            x, _ = place(at, y_range[0])
            anchor = "end" if x > WIDTH * 0.6 else "start"
            shift = -4 if anchor == "end" else 4
            parts.append(
                f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
                f'<text class="note" x="{x + shift:.1f}" y="{TOP + 12}" text-anchor="{anchor}">{escape(text)}</text>'
            )
    parts += [_curve(curve, place, x_range) for curve in plot.curves]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(plot.alt, quote=True)}">'
        f"<title>{escape(plot.title)}</title>{''.join(parts)}</svg>"
    )


def legend(plot: Plot) -> str:
    """The names of the curves beside their lines, as HTML."""
    named = [curve for curve in plot.curves if curve.name]
    if len(named) < 2:
        return ""
    return '<ul class="legend">' + "".join(
        f'<li><svg viewBox="0 0 26 10" aria-hidden="true">{_sample(curve)}</svg>{escape(curve.name)}</li>'
        for curve in named
    ) + "</ul>"  # fmt: skip


def _sample(curve: Curve) -> str:
    if curve.kind == "points":
        return f'<circle class="p{curve.colour}" cx="13" cy="5" r="3.4"/>'
    return f'<line class="c{curve.colour} {curve.kind}" x1="1" x2="25" y1="5" y2="5"/>'


def _curve(curve: Curve, place: Placing, x_range: tuple[float, float]) -> str:
    x, y = (np.asarray(values, float) for values in (curve.x, curve.y))
    inside = np.isfinite(x) & np.isfinite(y) & (x >= x_range[0]) & (x <= x_range[1])
    error = None if curve.error is None else np.asarray(curve.error, float)[inside]
    x, y = x[inside], y[inside]
    if x.size > MOST_POINTS:
        kept = np.unique(np.linspace(0, x.size - 1, MOST_POINTS).round().astype(int))
        x, y, error = x[kept], y[kept], None if error is None else error[kept]
    points = [place(float(a), float(b)) for a, b in zip(x, y, strict=True)]
    if curve.kind == "points":
        bars = ""
        if error is not None:
            ends = [(place(a, b - e), place(a, b + e)) for a, b, e in zip(x, y, error, strict=True) if e > 0]
            bars = "".join(
                f'<line class="c{curve.colour} thin" x1="{p[0]:.1f}" y1="{p[1]:.1f}" x2="{q[0]:.1f}" y2="{q[1]:.1f}"/>'
                for p, q in ends
            )
        radius = 3.2 if x.size < 60 else 2
        return bars + "".join(
            f'<circle class="p{curve.colour}" cx="{a:.1f}" cy="{b:.1f}" r="{radius}"/>' for a, b in points
        )
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    return f'<polyline class="c{curve.colour} {curve.kind}" points="{path}"/>'


def _axes(plot: Plot, x_range: tuple[float, float], y_range: tuple[float, float], place: Placing, left: float) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in ticks(*y_range):
        _, y = place(x_range[0], value)
        parts.append(f'<line class="grid" x1="{left:.1f}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 7:.1f}" y="{y + 4:.1f}" text-anchor="end">{_short(value)}</text>')
    for value in ticks(*x_range):
        x, _ = place(value, y_range[0])
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{_short(value)}</text>')
    parts.append(f'<path class="axis" d="M{left:.1f},{TOP} V{bottom} H{right}"/>')
    parts.append(
        f'<text class="name" x="{(left + right) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">'
        f"{escape(plot.x_name)}</text>"
    )
    parts.append(f'<text class="name" x="2" y="16">{escape(plot.y_name)}</text>')
    return "".join(parts)


def _ranges(plot: Plot) -> tuple[tuple[float, float], tuple[float, float]]:
    xs = _finite([curve.x for curve in plot.curves])
    ys = _finite([curve.y for curve in plot.curves])
    x0, x1 = float(xs.min()), float(xs.max())
    y0 = float(ys.min()) if plot.y_from is None else plot.y_from
    y1 = float(ys.max()) if plot.y_to is None else plot.y_to
    margin = 0.05 * (y1 - y0 or abs(y1) or 1.0)
    low = y0 if plot.y_from is not None else y0 - margin
    high = y1 if plot.y_to is not None else y1 + margin
    return (x0, x1 if x1 > x0 else x0 + 1), (low, high if high > low else low + 1)


def _finite(values: list[Array]) -> Array:
    together = np.concatenate([np.asarray(each, float).ravel() for each in values]) if values else np.zeros(1)
    together = together[np.isfinite(together)]
    return together if together.size else np.zeros(1)


def ticks(low: float, high: float) -> list[float]:
    """About five round numbers within a range."""
    if not (isfinite(low) and isfinite(high) and high > low):
        return []
    rough = (high - low) / 4.5
    power = 10.0 ** floor(log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.95)
    first = np.ceil(low / step - 1e-9) * step
    return [float(round(v / step) * step) for v in np.arange(first, high + step * 1e-6, step)]


def _short(value: float) -> str:
    if value and abs(value) < 1e-3:
        return f"{value:.0e}"
    return f"{value:.10g}" if abs(value) < 1e5 else f"{value:.0e}"
