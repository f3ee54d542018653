"""Run methods on one image, score what they make, and write results, table, scores and picture."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np

from zsd_export.comparison.methods import Method
from zsd_export.comparison.picture import Detail, Panel, picture
from zsd_export.comparison.restoring import DECONVOLVED, DENOISED, Restored, Result, kernel_of, restore
from zsd_export.comparison.scores import against, residual
from zsd_export.comparison.subject import Array, Subject
from zsd_export.comparison.table import Row, as_json, table
from zsd_runtime.errors import InputError
from zsd_runtime.files import written_whole
from zsd_runtime.images import Image, write_image
from zsd_runtime.notices import Notice, no_notice
from zsd_runtime.terminal import Bar, flag, progress_bar

TABLE, SCORES, PICTURE = "table.md", "scores.json", "comparison.png"


def compare_methods(
    methods: Sequence[Method],
    subject: Subject,
    out: Path,
    *,
    detail: Detail,
    trainings: dict[str, Any] | None = None,
    made_with: dict[str, Any] | None = None,
    notice: Notice = no_notice,
    progress: Callable[[str], AbstractContextManager[Bar]] = lambda title: progress_bar(title, quiet=True),
) -> tuple[list[Row], dict[str, Exception]]:
    """Restore an image with several methods, and compare what they make.

    Parameters
    ----------
    methods : sequence of Method
    subject : Subject
    out : path
        Folder for <name>_<method>.tif, table.md, scores.json and comparison.png. Each appears when it is whole.
    detail : Detail
        What the picture shows.
    trainings : dict
        Keys of `TrainConfig` for all trainings.
    made_with : dict
        Further facts for scores.json.
    notice : callable
        Gets a sentence for everything that a user should know.
    progress : callable
        Makes a progress bar from a title.

    Returns
    -------
    rows : list of Row
        The noisy image first, then each result.
    failures : dict
        The error of each method that failed, by its text; the others still ran.

    Raises
    ------
    InputError
        When no method succeeded; no table is written then.
    """
    rows, panels = _beginning(subject)
    failures: dict[str, Exception] = {}
    made: list[Restored] = []
    earlier = _files_of(out / SCORES)
    for number, method in enumerate(methods, 1):
        title = f"{method.title} ({number} of {len(methods)})"
        with progress(title) as bar:
            bar(0, title, milestone=True)
            try:
                restored = restore(method, subject, out, trainings or {}, notice, bar)
                scored = [(result, _row(restored, result, subject)) for result in restored.results]
                for result in restored.results:
                    write_image(out / f"{file_name(subject, method, result)}.tif", _file(result, subject))
            except (InputError, RuntimeError, MemoryError) as error:
                failures[method.text] = error
                bar(0, f"error: {method.text}: {_text(error)}", milestone=True)
                continue
            made.append(restored)
            for result, row in scored:
                rows.append(row)
                panels[result.deconvolved].append(Panel(result.image, _title(restored, result), _score(row)))
            bar(1)
    if not made:
        first, why = next(iter(failures.items()))
        raise InputError(f"{len(failures)} of {len(failures)} methods failed; {first}: {_text(why)}", option="methods")
    texts = {text: _text(error) for text, error in failures.items()}
    facts = (made_with or {}) | {"methods": [_facts(restored, subject) for restored in made]}
    _write(out / TABLE, table(rows, subject, texts))
    _write(out / SCORES, json.dumps(_finite(as_json(rows, subject, texts, facts)), indent=1, allow_nan=False) + "\n")
    groups = [(DENOISED, panels[False]), (DECONVOLVED, panels[True])]
    shown = [(head, found) for head, found in groups if any(panel.title != "truth" for panel in found)]
    drawn = picture(shown, subject.noisy, detail, subject.image.voxel.x_um)
    with written_whole(out / PICTURE) as temporary:
        iio.imwrite(temporary, drawn, extension=".png")
    for old in earlier - _files_of(out / SCORES):
        (out / old).unlink(missing_ok=True)
    return rows, failures


def _finite(value: Any) -> Any:
    """JSON knows neither NaN nor infinity: None."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def file_name(subject: Subject, method: Method, result: Result) -> str:
    """Of a result, without its ending."""
    return f"{subject.name}_{method.name}" + ("" if result.output == DENOISED else f"_{result.output}")


def _files_of(scores: Path) -> set[str]:
    """The results that an earlier comparison lists: names within its folder."""
    try:
        listed = [name for method in json.loads(scores.read_text("utf-8"))["methods"] for name in method["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {name for name in listed if isinstance(name, str) and Path(name).name == name}


def _beginning(subject: Subject) -> tuple[list[Row], dict[bool, list[Panel]]]:
    """The noisy image and the truths, which stand first."""
    scored = against(subject.noisy, subject.truth) if subject.truth is not None else None
    rows = [Row("noisy", "noisy", against=scored)]
    panels: dict[bool, list[Panel]] = {False: [Panel(subject.noisy, "noisy", _score(rows[0]))], True: []}
    if subject.truth is not None:
        panels[False].append(Panel(subject.truth, "truth"))
    if subject.truth_deconvolved is not None:
        panels[True].append(Panel(subject.truth_deconvolved, "truth"))
    return rows, panels


def _row(restored: Restored, result: Result, subject: Subject) -> Row:
    truth = subject.truth_deconvolved if result.deconvolved else subject.truth
    kernel: Array | None = None
    if result.deconvolved:
        kernel = kernel_of(subject, result.image.shape[0] // subject.image.data.shape[0], no_notice)
    return Row(
        restored.method.title, result.output, result.deconvolved, round(restored.seconds, 3),
        None if truth is None else against(result.image, truth), residual(result, subject, kernel),
    )  # fmt: skip


def _title(restored: Restored, result: Result) -> str:
    """Under a panel; the group says whether it is denoised or deconvolved."""
    usual = result.output in (DENOISED, DECONVOLVED)
    return restored.method.title if usual else f"{restored.method.title}: {result.output}"


def _score(row: Row) -> str:
    """The line under the name of a panel."""
    if row.against:
        return f"SNR {row.against.snr:.1f} dB, PSNR {row.against.psnr:.1f} dB"
    if row.residual:
        r = row.residual
        return f"residual {r.correlation_y:+.2f} Y, {r.correlation_x:+.2f} X, SD {r.deviation:.2f}"
    return ""


def _file(result: Result, subject: Subject) -> Image:
    """As it is written: with pixel sizes, float32."""
    resized = subject.image.resized(result.image.shape, "float32")
    return replace(resized, data=np.ascontiguousarray(result.image, np.float32))


def _facts(restored: Restored, subject: Subject) -> dict[str, Any]:
    method = restored.method
    files = [f"{file_name(subject, method, result)}.tif" for result in restored.results]
    files += [f"{subject.name}_{method.name}.zip"] * (method.kind == "training")
    return {
        "text": method.text, "kind": method.kind, "what": method.what, "settings": method.settings,
        "seconds": round(restored.seconds, 3), "files": files,
    }  # fmt: skip


def _text(error: Exception) -> str:
    return error.message(flag) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def _write(path: Path, text: str) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(text, "utf-8")
