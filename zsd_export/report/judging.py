"""From a value to a finding: its light, by the thresholds, and what that means."""

from math import isfinite, isnan

from zsd_export.report.checks import CHECKS
from zsd_export.report.lights import ANY, THRESHOLDS, Light
from zsd_export.report.parts import Finding


def sided(name: str, value: float, above: str, below: str) -> Finding:
    """A value that is bad on both sides of its ideal, with a sentence for the side that it is on."""
    side = above if value > THRESHOLDS[name].centre else below
    return judged(name, value, says="" if THRESHOLDS[name].light(value) == Light.GREEN else side)


def judged(name: str, value: float | None, *, says: str = "", why_not: str = "") -> Finding:
    """A value by its thresholds.

    Parameters
    ----------
    name : str
        Of the check.
    value : float or None
        In the check's unit; None if it is not known.
    says : str
        What was found here, after the sentence of the state.
    why_not : str
        Why the value is not known.
    """
    check, threshold = CHECKS[name], THRESHOLDS[name]
    value = None if value is None or isnan(value) else float(value)
    light = threshold.light(value)
    sentence = {
        Light.GREEN: check.green, Light.YELLOW: check.yellow, Light.RED: check.red or check.yellow,
        Light.GREY: why_not or "It is not known.",
    }[light]  # fmt: skip
    alarming = light in (Light.YELLOW, Light.RED)
    shown = "–" if value is None else f"{value:{check.form}}" + (f" {check.unit}" if check.unit else "")
    if value is not None and threshold.yellow == ANY and threshold.bad == "above":  # it counts
        shown = "none" if value == 0 else f"{shown} found"
    return Finding(
        name, check.title, value, shown, light, f"{sentence} {says}".strip(), check.reading,
        check.remedy if alarming else "", threshold.text(check.unit),
        threshold.yellow if isfinite(threshold.yellow) else None, threshold.red if isfinite(threshold.red) else None,
        threshold.bad, threshold.centre,
    )  # fmt: skip
