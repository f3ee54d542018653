"""What a report is made of, as plain values: findings with their lights, numbers, pictures, plots, sections."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zsd_export.report.lights import Light, gravest

Array = NDArray[Any]


@dataclass(frozen=True)
class Finding:
    """A number that was judged.

    Attributes
    ----------
    name, title : str
        For programs, and for people.
    value : float or None
        None if it is not known.
    shown : str
        The value as people read it, with its unit.
    light : Light
    sentence : str
        What the value means, in this state.
    reading : str
        How to read such a number.
    remedy : str
        What to do about it; empty if there is nothing to do.
    limits : str
        The thresholds, for people.
    yellow, red : float or None
        The thresholds; None where that state does not exist.
    bad : str
        On which side of the thresholds values are bad: "above", "below", or "beside" the `centre`.
    centre : float
    """

    name: str
    title: str
    value: float | None
    shown: str
    light: Light
    sentence: str
    reading: str
    remedy: str
    limits: str
    yellow: float | None
    red: float | None
    bad: str
    centre: float = 0.0


@dataclass(frozen=True)
class Number:
    """A number, or a fact, that is not judged; `reading` says how to read it."""

    name: str
    title: str
    value: float | str | None
    shown: str
    reading: str = ""


@dataclass(frozen=True)
class Scale:
    """The colour bar of a picture: what its ends mean, and its colours.

    Attributes
    ----------
    low, high : float
        Values at the ends.
    unit : str
    colours : {"grey", "heat", "signed"}
    """

    low: float
    high: float
    unit: str = "counts"
    colours: Literal["grey", "heat", "signed"] = "grey"


@dataclass(frozen=True)
class Picture:
    """A picture that is drawn into the page.

    Attributes
    ----------
    name, title, alt : str
        For programs; above the picture; what is seen, for those who do not see it.
    values : ndarray
        (Y, X).
    scale : Scale
    caption : str
        How to read it.
    group : str
        Pictures of one group stand side by side.
    bar_px : float
        Length of the scale bar in pixels of `values`; 0: none.
    bar : str
        What is written at it: "5 µm".
    frame : tuple of int or None
        A square that is marked: its upper left corner (Y, X) and its side, pixels of `values`.
    """

    name: str
    title: str
    alt: str
    values: Array
    scale: Scale
    caption: str = ""
    group: str = ""
    bar_px: float = 0.0
    bar: str = ""
    frame: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Curve:
    """A line, or points, of a plot.

    Attributes
    ----------
    name : str
        In the legend; empty: not in it.
    x, y : ndarray
        (points,).
    kind : {"line", "dashed", "points", "faint"}
    colour : int
        Which of the plot's colours.
    error : ndarray or None
        Half the length of a bar at each point.
    """

    name: str
    x: Array
    y: Array
    kind: Literal["line", "dashed", "points", "faint"] = "line"
    colour: int = 0
    error: Array | None = None


@dataclass(frozen=True)
class Plot:
    """Curves over common axes, which the page draws.

    Attributes
    ----------
    name, title, alt : str
        As of `Picture`.
    x_name, y_name : str
        With units.
    curves : tuple of Curve
    marks : tuple of (float, str)
        Places on the x axis with what is there.
    caption : str
    """

    name: str
    title: str
    alt: str
    x_name: str
    y_name: str
    curves: tuple[Curve, ...]
    marks: tuple[tuple[float, str], ...] = ()
    caption: str = ""
    y_from: float | None = None
    y_to: float | None = None


@dataclass(frozen=True)
class Item:
    """A line of the checklist: ticked with what is known, or open for the user."""

    text: str
    known: str = ""


@dataclass(frozen=True)
class Section:
    """One question that the report answers.

    Attributes
    ----------
    name, title, intro : str
        For programs; the heading; what the section asks, and what it cannot see.
    findings : tuple of Finding
    numbers : tuple of Number
    pictures : tuple of Picture
    plots : tuple of Plot
    notes : tuple of str
        Sentences.
    items : tuple of Item
        Of the checklist.
    missing : str
        Why nothing is known, and how to give what it needs; empty if something is.
    """

    name: str
    title: str
    intro: str = ""
    findings: tuple[Finding, ...] = ()
    numbers: tuple[Number, ...] = ()
    pictures: tuple[Picture, ...] = ()
    plots: tuple[Plot, ...] = ()
    notes: tuple[str, ...] = ()
    items: tuple[Item, ...] = ()
    missing: str = ""
    judged: bool = field(default=True)

    @property
    def light(self) -> Light | None:
        """The gravest of its findings; grey if none is known; None for sections that judge nothing."""
        return gravest(finding.light for finding in self.findings) if self.judged else None

    def as_json(self) -> dict[str, Any]:
        """For programs: everything but pictures."""
        return {
            "title": self.title,
            "light": self.light,
            "missing": self.missing,
            "checks": {f.name: _finding(f) for f in self.findings},
            "numbers": {n.name: _number(n) for n in self.numbers},
            "curves": {p.name: {c.name or str(i): _curve(c) for i, c in enumerate(p.curves)} for p in self.plots},
            "notes": list(self.notes),
            "items": [{"text": item.text, "known": item.known} for item in self.items],
        }  # fmt: skip


def plain(value: Any) -> Any:
    """A value as JSON can hold it: it knows neither NaN nor infinity."""
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def _finding(f: Finding) -> dict[str, Any]:
    return {
        "title": f.title, "value": plain(f.value), "shown": f.shown, "light": f.light,
        "sentence": f.sentence, "reading": f.reading,
        "remedy": f.remedy, "yellow": plain(f.yellow), "red": plain(f.red), "bad": f.bad, "centre": f.centre,
    }  # fmt: skip


def _number(n: Number) -> dict[str, Any]:
    return {"title": n.title, "value": plain(n.value), "shown": n.shown, "reading": n.reading}


def _curve(curve: Curve) -> dict[str, Any]:
    values = {"x": curve.x, "y": curve.y} | ({} if curve.error is None else {"error": curve.error})
    return {name: [plain(v) for v in np.asarray(each, float).tolist()] for name, each in values.items()}
