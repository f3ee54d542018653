"""`zsd predict` and `zsd bench`."""

import json
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

import typer

from zsd_runtime.errors import InputError, size_text
from zsd_runtime.images import create_image, images_in, open_image, stem
from zsd_runtime.images.ome_zarr import OME_ZARR
from zsd_runtime.model import Model, load_model
from zsd_runtime.terminal import Bar, Quiet, command_line, flag, numbers, progress_bar, reporting

FORMATS = ("auto", "tiff", "zarr")
AXES_NAMES = {"YX": "rows and columns", "ZYX": "slices", "CYX": "channels", "CZYX": "channels of slices"}


app = command_line()


@app.command()
def predict(
    package: Annotated[Path, typer.Argument(help="Model package made by `zsd export`: a folder or a zip.")],
    images: Annotated[
        list[Path],
        typer.Argument(
            help="TIFF (OME, ImageJ), PNG, OME-Zarr, or folders of them; each T and C is restored by itself."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results, <stem>_denoised and <stem>_deconvolved.")],
    device: Annotated[
        str, typer.Option(help="auto (the fastest that works), cpu, cuda, or intel (an Intel GPU).")
    ] = "auto",
    engine: Annotated[str, typer.Option(help="auto, onnxruntime, openvino or tensorrt.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto (the package's own), fp32, bf16 (only openvino on a CPU), fp16 or int8.")
    ] = "auto",
    tile: Annotated[
        str | None,
        typer.Option(help="Shape of the tiles, [Zx]YxX, input pixels; by default as large as --memory allows."),
    ] = None,
    memory: Annotated[float | None, typer.Option(help="Memory to use, GB; by default half of the free memory.")] = None,
    axes: Annotated[
        str | None, typer.Option(help="Axes of the images, letters of TCZYX; by default as the file says.")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="Of the results: float32, or uint16 (rounded, clipped to 0..65535).")
    ] = "float32",
    format: Annotated[str, typer.Option(help="Of the results: auto (as the image), tiff or zarr.")] = "auto",  # noqa: A002
    quiet: Quiet = False,
) -> None:
    """Denoise and deconvolve images.

    Results are camera counts above the offset; the deconvolved image has half the pixel size. A 2D model restores a
    stack plane by plane. Failures are reported; the remaining images are still processed. Results of an earlier run
    are replaced.
    """
    with reporting(quiet):
        for option, value, known in (("dtype", dtype, ("float32", "uint16")), ("format", format, FORMATS)):
            if value not in known:
                raise InputError(f"--{option} {value} must be {' or '.join(known)}")
        if memory is not None and not 0 < memory < math.inf:
            raise InputError(f"--memory {memory:g} must be a number of GB above 0")
        how = How(out, axes, numbers(tile, "--tile"), None if memory is None else int(memory * 1e9), dtype, format)
        images = images_in(images)
        with load_model(package, device, engine=engine, precision=precision) as model:
            check_names(images, [output.name for output in model.description.outputs], out)
            used = f"{model.engine.name}, {model.engine.device}, {model.engine.precision}"
            predict_files(model, images, how, lambda title: progress_bar(title, quiet))
        print(f"OK {len(images)} image{'s' * (len(images) > 1)} restored in {out} ({used})")


@app.command()
def bench(
    package: Annotated[Path, typer.Argument(help="Model package made by `zsd export`: a folder or a zip.")],
    size: Annotated[
        list[str] | None,
        typer.Option(help="Image size, [Zx]YxX, pixels; may be repeated; by default 512x512 and 2048x2048."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto (all), cpu, cuda, or intel (an Intel GPU).")] = "auto",
    engine: Annotated[str, typer.Option(help="auto (all), onnxruntime, openvino or tensorrt.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto (all that the package allows), fp32, bf16, fp16, int8.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure how fast a package runs here, with every engine and precision that works.

    Each row has the time of a whole prediction (median and 99th percentile, ms), the time from opening the package to
    the first result (s), the peak memory (MB), and the largest difference from the first row of the same size, as a
    share of its range. Close other programs meanwhile.
    """
    with reporting():
        from zsd_runtime.bench import Row
        from zsd_runtime.bench import bench as measure

        sizes = [shape for text in size or ["512x512", "2048x2048"] if (shape := numbers(text, "--size"))]
        rows: list[Row] = []
        for row in measure(package, sizes, device, engine, precision):
            if isinstance(row, str):
                print(f"not run: {row}", file=sys.stderr)
                continue
            if not as_json and not rows:
                print(
                    f"{'engine':12} {'device':7} {'precision':9} {'size':>12} {'median':>10} {'p99':>10} {'Mpx/s':>8} "
                    f"{'first':>8} {'memory':>9} {'difference':>11}"
                )
            rows.append(row)
            if not as_json:
                print(
                    f"{row.engine:12} {row.device:7} {row.precision:9} {row.size:>12} {row.median_ms:>7.1f} ms "
                    f"{row.p99_ms:>7.1f} ms {row.megapixels_per_s:>8.2f} {row.first_result_s:>6.2f} s "
                    f"{row.peak_memory_mb:>6.0f} MB {row.difference:>11.1e}",
                    flush=True,
                )
        if as_json:
            print(json.dumps([asdict(row) for row in rows], indent=1))
        if not rows:
            raise InputError(f"no engine that was asked for runs {package} here", "zsd inspect says why")


def _text(error: Exception) -> str:
    return error.message(flag) if isinstance(error, InputError) else str(error)


@dataclass(frozen=True)
class How:
    """The options of `predict` for every image."""

    out: Path
    axes: str | None = None
    tile: tuple[int, ...] | None = None
    memory: int | None = None
    dtype: str = "float32"
    format: str = "auto"


def check_names(images: list[Path], outputs: Sequence[str], out: Path) -> None:
    """Refuse results that would overwrite each other or an image: they carry the stem of their image's name."""
    given = {path.resolve() for path in images}
    for path, label, suffix in product(images, outputs, (".tif", ".zarr")):
        result = out / f"{stem(path)}_{label}{suffix}"
        if result.resolve() in given:
            raise InputError(f"the result of {path} would replace {result}, one of the images: give another --out")
    seen: dict[str, Path] = {}
    for path in images:
        other = seen.setdefault(stem(path).casefold(), path)
        if other is not path:
            raise InputError(
                f"{other} and {path} would both become {stem(path)}_{outputs[0]}.tif",
                "predict them into different folders",
            )


def predict_files(
    model: Model, images: list[Path], how: How, progress: Callable[[str], AbstractContextManager[Bar]]
) -> None:
    """Restore image files. Failures are shown by the bars that `progress` makes; the remaining images still follow.

    Raises
    ------
    InputError, RuntimeError, MemoryError
        When an image failed: its error, or one for all; an `InputError` only if all were the input's fault.
    """
    failures: list[Exception] = []
    for number, path in enumerate(images, 1):
        title = path.name if len(images) == 1 else f"{path.name} ({number} of {len(images)})"
        with progress(title) as bar:
            try:
                _predict_file(model, path, how, bar)
            except (InputError, RuntimeError, MemoryError) as error:
                failures.append(error)
                if len(images) > 1:
                    bar(0, f"error: {_text(error)}", milestone=True)
    if len(images) == 1 and failures:
        raise failures[0]
    if failures:
        serious = next((f for f in failures if not isinstance(f, InputError)), failures[0])
        raise type(serious)(f"{len(failures)} of {len(images)} images failed; one of them: {_text(serious)}")


def _predict_file(model: Model, path: Path, how: How, bar: Bar) -> None:
    image = open_image(path, how.axes)
    d, axes = model.description, model.input_axes
    # A single plane is let through: for a volume model, the model's own error says more.
    if not image.axes.endswith(axes) and (image.axes != "YX" or d.input.channels > 1):
        raise InputError(
            f"{path} has axes {image.axes} and shape {size_text(image.data.shape)}; the model needs {axes}",
            f"say what the axes are with --axes (--axes {axes} if these are {AXES_NAMES[axes]}), or take another model",
        )
    leading = image.axes.removesuffix(axes)
    suffix = ".zarr" if how.format == "zarr" or (how.format == "auto" and OME_ZARR.recognises(path)) else ".tif"
    with ExitStack() as files:
        targets = []
        for output, shape in zip(d.outputs, model.output_shapes(image.data.shape), strict=True):
            name = how.out / f"{stem(path)}_{output.name}{suffix}"
            if output.channels > 1 and "C" in leading:
                raise InputError(
                    f"{path} has several channels, and the model makes {output.channels} of each", "split them"
                )
            result = image.resized(shape, how.dtype, leading + "C" * (output.channels > 1) + d.axes.upper())
            targets.append(files.enter_context(create_image(name, result, output.scale)))
        model.predict_into(
            image.data, targets, tile=how.tile, memory=how.memory,
            report=lambda done, total: bar(done / total), notice=lambda text: bar(0, text, milestone=True),
        )  # fmt: skip
