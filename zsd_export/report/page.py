"""The page: one HTML file that opens offline, on a phone and on paper, without a script."""

from collections.abc import Iterable
from html import escape
from itertools import groupby
from math import floor, log10
from pathlib import Path

from zsd_export.report.curves import legend, svg
from zsd_export.report.drawing import bar_uri, data_uri
from zsd_export.report.lights import GRAVEST, WORDS, Light
from zsd_export.report.parts import Finding, Number, Picture, Plot, Section
from zsd_export.report.pictures import HEADS
from zsd_export.report.report import Report
from zsd_export.report.symbols import SYMBOLS
from zsd_runtime.errors import size_text

STATIC = Path(__file__).parent / "static"
MEANING = {
    Light.GREEN: "nothing was found that speaks against the result",
    Light.YELLOW: "read the sentence, and look at the pictures, before you rely on it",
    Light.RED: "this makes the result, or a part of it, wrong",
    Light.GREY: "it could not be measured; the section says why, and what it needs",
}
VERDICT = {
    Light.GREEN: "Nothing was found that speaks against this result.",
    Light.YELLOW: "Look closer before you rely on this result.",
    Light.RED: "Do not trust this result as it is.",
    Light.GREY: "Nothing is known of this result.",
}


def html(report: Report) -> str:
    """The whole page."""
    style = (STATIC / "report.css").read_text("utf-8")
    sections = {section.name: section for section in report.sections}
    first = (
        [sections["pictures"], sections["fit"]]
        if report.made_for_another == ()
        else [sections["fit"], sections["pictures"]]
    )
    rest = [section for section in report.sections if section not in first]
    body = "".join(map(_section, [*first, *rest]))
    name = escape(Path(report.image).name)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<title>{name} – zsd report</title>\n'
        f"<style>\n{style}</style>\n</head>\n<body>\n{SYMBOLS}\n{_header(report)}\n<main>\n{_alarm(report)}"
        f"{_summary(report)}{body}</main>\n"
        f"<footer><p>Made by zsd report, {escape(report.made)}. The numbers are in the JSON file beside this page.</p>"
        f"</footer>\n</body>\n</html>\n"
    )


def _header(report: Report) -> str:
    facts = report.facts
    size = [facts["looked_at"]]
    if facts["pixel_size_um"]:
        size.append(f"{1000 * facts['pixel_size_um']:.4g} nm a pixel")
    if facts["z_step_um"] and len(facts["part"]) == 3:
        size.append(f"slices {1000 * facts['z_step_um']:.4g} nm apart")
    if facts["frame"] is not None:
        size.append(f"frame {facts['frame']} of {size_text(facts['shape'])} ({facts['axes']})")
    notes = "".join(f"<p class=note>{escape(text)}</p>" for text in report.notices)
    _, _, model = report.title.rpartition(" by ")
    return (
        f'<header><p class="kind">zsd report</p><h1>{escape(Path(report.image).name)}</h1>'
        f'<p class="about">restored by <b>{escape(model)}</b> · {escape(", ".join(size))} · {escape(report.made)}</p>'
        f"{notes}</header>"
    )


def _alarm(report: Report) -> str:
    """If the model was not made for this image, that comes before everything else."""
    found = report.made_for_another
    if not found:
        return ""
    items = "".join(f"<li>{badge(f.light)}<p>{escape(f.sentence)}</p></li>" for f in found)
    return (
        f'<section class="alarm" id="alarm"><h2>This model was not made for this image</h2>'
        f"<p>Results may look plausible and be wrong. All that follows is to be read with this in mind.</p>"
        f"<ul>{items}</ul></section>\n"
    )


def _summary(report: Report) -> str:
    counts = {light: len(report.findings(light)) for light in GRAVEST}
    told = ", ".join(f"{n} × {WORDS[light]}" for light, n in counts.items() if n)
    attention = "".join(map(_attention, report.sections))
    chips = "".join(
        f'<li><a href="#{section.name}">{badge(section.light)}<span>{escape(section.title)}</span>'
        f'<span class="word {section.light}">{WORDS[section.light]}</span></a></li>'
        for section in report.sections
        if section.light is not None
    )
    key = "".join(f"<li>{badge(light)}<span><b>{WORDS[light]}</b>: {MEANING[light]}</span></li>" for light in WORDS)
    return (
        f'<section class="summary" id="summary"><h2>Summary</h2><p class="verdict">{badge(report.light)}'
        f"<span><b>{VERDICT[report.light]}</b> {told}.</span></p>"
        + (f'<ul class="attention">{attention}</ul>' if attention else "")
        + f'<ul class="chips">{chips}</ul>'
        f'<details class="key"><summary>What the lights mean</summary><ul>{key}</ul>'
        f"<p>A light is a threshold on a number; each section states it. No light, not even all of them, proves that a "
        f"result is right: what a network does "
        f"every time alike, and what the optics hide, stays unseen.</p></details></section>\n"
    )


def _attention(section: Section) -> str:
    """A line with everything of a section that is not green, the gravest first."""
    found = [f for light in (Light.RED, Light.YELLOW) for f in section.findings if f.light == light]
    if not found:
        return ""
    listed = "; ".join(f'{escape(f.title)} <span class="number">{escape(f.shown)}</span>' for f in found)
    title = escape(section.title.rstrip("?"))
    return f'<li>{badge(found[0].light)}<a href="#{section.name}"><b>{title}:</b> {listed}</a></li>'


def _section(section: Section) -> str:
    light = section.light
    head = f"<h2>{escape(section.title)}</h2>"
    if light is not None:
        word = f'<span class="word {light}">{WORDS[light]}</span>'
        head = f"<h2>{badge(light)}<span>{escape(section.title)} {word}</span></h2>"
    intro = f'<p class="intro">{escape(section.intro)}</p>' if section.intro else ""
    judged = "".join(map(_finding, section.findings))
    notes = "".join(f'<p class="note">{escape(text)}</p>' for text in section.notes)
    text = "".join((
        f'<div class="findings">{judged}</div>' if judged else "",
        _numbers(section.numbers), f'<div class="notes">{notes}</div>' if notes else "", _items(section),
    ))  # fmt: skip
    shown = _pictures(section.pictures) + "".join(map(_plot, section.plots))
    if text and shown:
        inside = f'<div class="body"><div class="text">{text}</div><div class="beside">{shown}</div></div>'
    else:
        inside = f'<div class="alone">{text}{shown}</div>'
    return f'<section id="{section.name}">{head}{intro}{inside}</section>\n'


def _finding(f: Finding) -> str:
    remedy = f'<p class="remedy"><b>What to do:</b> {escape(f.remedy)}</p>' if f.remedy else ""
    value = "" if f.value is None else f'<span class="value">{escape(f.shown)}</span>'
    return (
        f'<article class="finding {f.light}" data-check="{f.name}">'
        f"<h3>{badge(f.light)}<span>{escape(f.title)}</span>{value}</h3>"
        f'<p class="says"><span class="word {f.light}">{WORDS[f.light]}</span> {escape(f.sentence)}</p>{remedy}'
        f'<p class="reading">{escape(f.reading)} <i>{escape(f.limits)}.</i></p></article>'
    )


def _numbers(numbers: Iterable[Number]) -> str:
    """A row for each; how to read it is said once for neighbours that are read alike."""
    rows, before = [], ""
    for n in numbers:
        reading = f'<span class="reading">{escape(n.reading)}</span>' if n.reading and n.reading != before else ""
        rows.append(f"<div><dt>{escape(n.title)}</dt><dd>{escape(n.shown)}{reading}</dd></div>")
        before = n.reading
    return f'<dl class="numbers">{"".join(rows)}</dl>' if rows else ""


def _items(section: Section) -> str:
    lines = "".join(
        f'<li class="{"known" if item.known else "open"}"><span class="box">'
        f'{"<b>✓</b>" if item.known else ""}<span class="hidden">{"known:" if item.known else "for you:"}</span></span>'
        f"<span>{escape(item.text)}" + (f'<span class="reading">{escape(item.known)}</span>' if item.known else "")
        + "</span></li>"
        for item in section.items
    )  # fmt: skip
    return f'<ul class="checklist">{lines}</ul>' if lines else ""


def _pictures(pictures: Iterable[Picture]) -> str:
    return "".join(_group(name, list(group)) for name, group in groupby(pictures, lambda picture: picture.group))


def _group(name: str, pictures: list[Picture]) -> str:
    head = f"<h3>{escape(HEADS[name])}</h3>" if name in HEADS else ""
    return f'{head}<div class="pictures {name}">{"".join(map(_picture, pictures))}</div>'


def _picture(picture: Picture) -> str:
    scale = picture.scale
    bar = f' <span class="scale">bar: {escape(picture.bar)}</span>' if picture.bar_px else ""
    caption = f'<span class="reading">{escape(picture.caption)}</span>' if picture.caption else ""
    low, high = (_short(value, scale.high - scale.low) for value in (scale.low, scale.high))
    return (
        f'<figure><img class="shown" src="{data_uri(picture)}" alt="{escape(picture.alt, quote=True)}">'
        f'<div class="bar"><span>{low}</span><img src="{bar_uri(scale)}" alt="colours from {low} to {high} '
        f'{escape(scale.unit, quote=True)}"><span>{high} {escape(scale.unit)}</span></div>'
        f"<figcaption><b>{escape(picture.title)}</b>{bar}{caption}</figcaption></figure>"
    )


def _plot(plot: Plot) -> str:
    caption = f'<span class="reading">{escape(plot.caption)}</span>' if plot.caption else ""
    return (
        f'<figure class="plot"><figcaption><b>{escape(plot.title)}</b></figcaption>'
        f"{svg(plot)}{legend(plot)}{caption}</figure>"
    )


def badge(light: Light | None) -> str:
    """The sign of a light: a shape of its own, so that it says the same without colour."""
    return f'<svg class="badge {light}" aria-hidden="true"><use href="#light-{light}"/></svg>' if light else ""


def _short(value: float, span: float) -> str:
    """As exact as a hundredth of the span."""
    digits = max(0, 2 - floor(log10(span))) if span > 0 else 0
    text = f"{round(value, digits):.{max(digits - 1, 0)}f}" if digits else f"{value:.0f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text.replace("-", "−")
