"""One judged number in words: how to read it, what each light says of it, and what to do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One judged number. Its thresholds stand under the same name in `zsd_export.report.lights.THRESHOLDS`.

    Attributes
    ----------
    title, unit : str
    reading : str
        How to read the number.
    green, yellow, red : str
        What it means in each state; `yellow` holds for red, too, if that is empty.
    remedy : str
        What to do when it is not green.
    form : str
        How the number is written.
    """

    title: str
    unit: str
    reading: str
    green: str
    yellow: str
    red: str = ""
    remedy: str = ""
    form: str = ".3g"
