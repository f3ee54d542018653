"""What `zsd predict` says of a batch at its end: for people, and as JSON for programs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zsd_runtime.mismatch import Mismatch
from zsd_runtime.model import Model

MOST_LINES = 5  # for one kind of mismatch
MOST_NAMES = 3


@dataclass(frozen=True)
class Restored:
    """What became of an image.

    Attributes
    ----------
    image : Path
    results : tuple of Path
        In the order of the model's outputs; empty after an error.
    warnings : tuple of Mismatch
        Why the results may be wrong.
    bad_pixels : dict of str to int
        Numbers of pixels that are no data, by kind.
    error : str
        Why there is no result.
    """

    image: Path
    results: tuple[Path, ...] = ()
    warnings: tuple[Mismatch, ...] = ()
    bad_pixels: dict[str, int] = field(default_factory=dict)
    error: str = ""


def warning_lines(batch: Sequence[Restored]) -> list[str]:
    """A line for each warning, with the names of its images; at most a few lines of one kind."""
    images: dict[Mismatch, list[str]] = {}
    for restored in batch:
        for mismatch in restored.warnings:
            images.setdefault(mismatch, []).append(restored.image.name)
    lines = []
    for kind in dict.fromkeys(mismatch.kind for mismatch in images):
        alike = [(mismatch.text, names) for mismatch, names in images.items() if mismatch.kind == kind]
        lines += [f"{_listed(names)}: {text}" for text, names in alike[:MOST_LINES]]
        rest = sum(len(names) for _, names in alike[MOST_LINES:])
        if rest:
            lines.append(f"{rest} more with another {kind} than in the model's training; --json lists them")
    return lines


def _listed(names: list[str]) -> str:
    rest = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def as_json(batch: Sequence[Restored], model: Model, seconds: float, average: int = 1) -> dict[str, Any]:
    """The same, and how it was computed, in JSON's types."""
    return {
        "images": [
            {
                "image": str(restored.image),
                "results": [str(path) for path in restored.results],
                "warnings": [{"kind": mismatch.kind, "text": mismatch.text} for mismatch in restored.warnings],
                "bad_pixels": restored.bad_pixels,
                "error": restored.error or None,
            }
            for restored in batch
        ],
        "engine": model.engine.name,
        "device": model.engine.device,
        "precision": model.engine.precision,
        "average": average,
        "seconds": round(seconds, 3),
    }
