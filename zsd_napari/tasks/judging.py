"""A report on what a model makes of a layer."""

import json
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from zsd_export.report.lights import WORDS
from zsd_export.report.page import html
from zsd_export.report.report import REPEATS, judge
from zsd_napari.psf import Psf, PsfLayer
from zsd_napari.source import Source
from zsd_napari.worker import Link, Remote
from zsd_runtime.files import written_whole
from zsd_runtime.package import read_package


def report_on(
    link: Link, source: Source, package: str, run: Path | None, psf: Psf | None, steps: tuple[int, ...], folder: Path
) -> dict[str, Any]:
    """Write the page of a report on the image that the viewer shows.

    Parameters
    ----------
    link : Link
    source : Source
        Of one channel.
    package : str
    run : path or None
        The training that the package comes from.
    psf : Psf or None
    steps : tuple of int
        Where the viewer's sliders stand, one an axis of the layer.
    folder : path
        For report.html and report.json.

    Returns
    -------
    dict
        `page` (a path), `light`, its `word`, and `rows`: title, light and word of each section that judges something.
    """
    spatial = read_package(package).axes
    leading = source.shape[: len(source.shape) - len(spatial)]
    frame = int(np.ravel_multi_index(steps[: len(leading)], leading)) if prod(leading) > 1 else None
    image = source.image(Remote(link, source.shape, source.dtype))

    given: Any = psf
    if isinstance(psf, PsfLayer):
        given = psf.kernel(spatial, source.voxel, 2)
    report = judge(
        package, image, run=run, frame=frame, psf=given, uncertainty=REPEATS, progress=link.progress,
        notice=link.notice,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "report.html"
    with written_whole(page) as temporary:
        temporary.write_text(html(report), "utf-8")
    with written_whole(page.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(report.as_json(), indent=1, allow_nan=False) + "\n", "utf-8")
    sections = [section for section in report.sections if section.light is not None]
    rows = [(section.title, str(section.light), WORDS[section.light]) for section in sections if section.light]
    return {"page": page, "light": str(report.light), "word": WORDS[report.light], "rows": rows}
