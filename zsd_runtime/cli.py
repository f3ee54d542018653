"""`zsd predict` and `zsd bench`, and what all verbs share: how errors, progress and the last line are told."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Protocol

import typer

from zsd_runtime.errors import InputError, size_text
from zsd_runtime.images import create_image, image_files, open_image, stem
from zsd_runtime.model import Model, load_model

FORMATS = ("auto", "tiff", "zarr")
AXES_NAMES = {"YX": "rows and columns", "ZYX": "slices", "CYX": "channels", "CZYX": "channels of slices"}
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but a last line, OK … or ERROR ….")]


def command_line() -> typer.Typer:
    """Verbs to come; what all command lines of zsd have in common."""
    app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.callback()(lambda: None)  # without it typer makes a single verb the whole command
    return app


app = command_line()


@contextmanager
def reporting(quiet: bool = False) -> Iterator[None]:
    """Turn what went wrong into one line on stderr and the exit status: 2 the input, 1 anything else."""

    def fail(message: str, status: int) -> typer.Exit:
        if quiet:
            print(f"ERROR {message}")
        else:
            print(f"error: {message}", file=sys.stderr)
        return typer.Exit(status)

    try:
        yield
    except typer.Exit:  # a RuntimeError, too; its message was printed
        raise
    except InputError as error:
        raise fail(error.told(flag), 2) from None
    except KeyboardInterrupt:
        raise fail("interrupted; nothing was left half-written", 1) from None
    except (RuntimeError, MemoryError) as error:
        raise fail(f"{type(error).__name__}: {error}", 1) from None


def flag(option: str) -> str:
    """How the command line writes an option: ``--z-step``."""
    return "--" + option.replace("_", "-")


def numbers(text: str | None, option: str, *, least: int = 1) -> tuple[int, ...] | None:
    """From "512x256" to (512, 256), none of them below `least`."""
    if text is None:
        return None
    try:
        values = tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        values = ()
    if not values or min(values) < least:
        raise InputError(f"{option} {text} must be whole numbers from {least} with x between, for instance 512x512")
    return values


@app.command()
def predict(
    package: Annotated[Path, typer.Argument(help="Model package made by `zsd export`: a folder or a zip.")],
    images: Annotated[
        list[Path],
        typer.Argument(help="TIFF (OME, ImageJ), PNG or OME-Zarr of any size; folders of them; T and C go one by one."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for <stem>_denoised and <stem>_deconvolved.")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or intel (an Intel GPU).")] = "auto",
    engine: Annotated[str, typer.Option(help="auto, onnxruntime, openvino or tensorrt.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto (the package's own), fp32, bf16 (openvino on a CPU), fp16 or int8.")
    ] = "auto",
    tile: Annotated[
        str | None, typer.Option(help="Shape of the tiles, [Zx]YxX, input pixels; chosen from --memory if not given.")
    ] = None,
    memory: Annotated[float | None, typer.Option(help="GB to use; half of what is free if not given.")] = None,
    axes: Annotated[str | None, typer.Option(help="Axes of the images, letters of TCZYX, overruling the file.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, or uint16 (rounded, clipped at 0 and 65535).")] = "float32",
    format: Annotated[str, typer.Option(help="auto (as the image came), tiff or zarr.")] = "auto",  # noqa: A002
    quiet: Quiet = False,
) -> None:
    """Denoise and deconvolve images.

    Results are camera counts above the offset; the deconvolved image has half the pixel size. A stack goes plane by
    plane through a 2D model. A batch finishes what it can and reports each failure. Results of an earlier run are
    replaced.
    """
    with reporting(quiet):
        for option, value, known in (("dtype", dtype, ("float32", "uint16")), ("format", format, FORMATS)):
            if value not in known:
                raise InputError(f"--{option} {value} must be {' or '.join(known)}")
        if memory is not None and not 0 < memory < math.inf:
            raise InputError(f"--memory {memory:g} must be a number of GB above 0")
        how = How(out, axes, numbers(tile, "--tile"), None if memory is None else int(memory * 1e9), dtype, format)
        images = [file for path in images for file in image_files(path)]
        with load_model(package, device, engine=engine, precision=precision) as model:
            check_names(images, [output.name for output in model.description.outputs], out)
            used = f"{model.engine.name}, {model.engine.device}, {model.engine.precision}"
            predict_files(model, images, how, lambda title: progress_bar(title, quiet))
        print(f"OK {len(images)} image{'s' * (len(images) > 1)} restored in {out} ({used})")


@app.command()
def bench(
    package: Annotated[Path, typer.Argument(help="Model package made by `zsd export`: a folder or a zip.")],
    size: Annotated[list[str] | None, typer.Option(help="Image size, [Zx]YxX, pixels; may be repeated.")] = None,
    device: Annotated[str, typer.Option(help="auto (all), cpu, cuda, or intel (an Intel GPU).")] = "auto",
    engine: Annotated[str, typer.Option(help="auto (all), onnxruntime, openvino or tensorrt.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto (all that the package allows), fp32, bf16, fp16, int8.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure how fast a package runs here, with every engine and precision that does.

    Latency of a whole prediction; time to the first result from opening the package; the largest difference from the
    first row of the same size. Let nothing else run meanwhile.
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
            raise InputError(f"nothing of what was asked for runs {package} here")


@dataclass(frozen=True)
class How:
    """How files are predicted: the options of `zsd predict` that are the same for every image."""

    out: Path
    axes: str | None = None
    tile: tuple[int, ...] | None = None
    memory: int | None = None
    dtype: str = "float32"
    format: str = "auto"


def check_names(images: list[Path], outputs: Sequence[str], out: Path) -> None:
    """Results carry the stem of their image's name: they must not overwrite each other, nor an image."""
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
    model: Model, images: list[Path], how: How, progress: Callable[[str], AbstractContextManager["Bar"]]
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
                    bar(0, f"error: {error}", milestone=True)
    if len(images) == 1 and failures:
        raise failures[0]
    if failures:
        serious = next((f for f in failures if not isinstance(f, InputError)), failures[0])
        raise type(serious)(f"{len(failures)} of {len(images)} images failed; one of them: {serious}")


def _predict_file(model: Model, path: Path, how: How, bar: "Bar") -> None:
    image = open_image(path, how.axes)
    d, axes = model.description, model.input_axes
    # A single plane is let through: for a volume model, the model's own error says more.
    if not image.axes.endswith(axes) and (image.axes != "YX" or d.input.channels > 1):
        raise InputError(
            f"{path} has axes {image.axes} and shape {size_text(image.data.shape)}; the model needs {axes}",
            f"say what the axes are with --axes (--axes {axes} if these are {AXES_NAMES[axes]}), or take another model",
        )
    leading = image.axes.removesuffix(axes)
    suffix = ".zarr" if how.format == "zarr" or (how.format == "auto" and path.is_dir()) else ".tif"
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


class Bar(Protocol):
    """Tell how far it is: share done (0..1), what to say, and whether that deserves a line of its own."""

    def __call__(self, share: float, text: str = "", milestone: bool = False) -> None:
        """Show it."""


@contextmanager
def progress_bar(title: str, quiet: bool) -> Iterator[Bar]:
    """A bar with ETA on a terminal, plain lines otherwise, nothing if `quiet`.

    The lines are milestones and, where there is no text to tell, `title 12 %`: the end, and before it one a second at
    most. Programs that start zsd read them.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        told_at = time.monotonic()

        def lines(share: float, text: str = "", milestone: bool = False) -> None:
            nonlocal told_at
            now = time.monotonic()
            if quiet or (text and not milestone) or (not text and share < 1 and now - told_at < 1):
                return
            print(text or f"{title} {100 * share:.0f} %", file=sys.stderr)
            told_at = now

        yield lines
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=1.0, note="")

        def drawn(share: float, text: str = "", milestone: bool = False) -> None:  # noqa: ARG001
            progress.update(task, completed=share, note=text)

        yield drawn
