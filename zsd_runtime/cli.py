"""`zsd predict`, and what all verbs share: how errors, progress and the last line are told."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
import typer
from numpy.typing import NDArray

from zsd_runtime.errors import InputError
from zsd_runtime.images import Image, read_image, stem, write_image
from zsd_runtime.model import Model, load_model

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but a last line, OK … or ERROR ….")]


@app.callback()
def _verbs() -> None:
    """A callback keeps typer from making a single verb the whole command."""


@contextmanager
def told(quiet: bool = False) -> Iterator[None]:
    """Turn what went wrong into one line on stderr and the exit status: 2 the input, 1 anything else."""

    def fail(message: str, status: int) -> typer.Exit:
        if quiet:
            print(f"ERROR {message}")
        else:
            print(f"error: {message}", file=sys.stderr)
        return typer.Exit(status)

    try:
        yield
    except InputError as error:
        raise fail(str(error), 2) from None
    except KeyboardInterrupt:
        raise fail("interrupted; nothing was left half-written", 1) from None
    except (RuntimeError, MemoryError) as error:
        raise fail(f"{type(error).__name__}: {error}", 1) from None


def numbers(text: str | None, option: str) -> tuple[int, ...] | None:
    """From "512x256" to (512, 256)."""
    if text is None:
        return None
    try:
        values = tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        values = ()
    if not values or min(values) < 1:
        raise InputError(f"{option} {text} must be whole numbers above 0 with x between them, for instance 512x512")
    return values


def as_dtype(image: Image, dtype: str) -> Image:
    """float32 as it is; uint16 rounded and clipped to 0..65535."""
    if dtype == "float32":
        return image
    counts = np.clip(np.rint(image.data), 0, 65535).astype(np.uint16)
    return Image(counts, image.axes, image.pixel_size_um, image.z_step_um, image.ome, image.metadata)


@app.command()
def predict(
    package: Annotated[Path, typer.Argument(help="Model package made by `zsd export`: a folder or a zip.")],
    images: Annotated[list[Path], typer.Argument(help="TIFF (OME, ImageJ) or PNG; T and C planes go one by one.")],
    out: Annotated[Path, typer.Option(help="Folder for <stem>_denoised.tif and <stem>_deconvolved.tif.")],
    device: Annotated[str, typer.Option(help="auto or cpu.")] = "auto",
    tile: Annotated[
        str | None, typer.Option(help="Shape of the tiles, YxX, input pixels; chosen if not given.")
    ] = None,
    axes: Annotated[str | None, typer.Option(help="Axes of the images, letters of TCZYX, overruling the file.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, or uint16 (rounded, clipped at 0 and 65535).")] = "float32",
    quiet: Quiet = False,
) -> None:
    """Denoise and deconvolve images.

    Results are camera counts above the offset; the deconvolved image has half the pixel size. A batch finishes what
    it can and reports each failure.
    """
    with told(quiet):
        if dtype not in ("float32", "uint16"):
            raise InputError(f"--dtype {dtype} must be float32 or uint16")
        shape = numbers(tile, "--tile")
        _check_names(images)
        failures: list[Exception] = []
        with load_model(package, device) as model:
            for path in images:
                try:
                    results = _predict_file(model, path, axes, shape, quiet)
                    for label, image in zip(("denoised", "deconvolved"), results, strict=True):
                        write_image(out / f"{stem(path)}_{label}.tif", as_dtype(image, dtype))
                except (InputError, RuntimeError, MemoryError) as error:
                    failures.append(error)
                    if len(images) > 1 and not quiet:
                        print(f"error: {error}", file=sys.stderr)
        if len(images) == 1 and failures:
            raise failures[0]
        if failures:
            serious = next((f for f in failures if not isinstance(f, InputError)), failures[0])
            raise type(serious)(f"{len(failures)} of {len(images)} images failed; one of them: {serious}")
        print(f"OK {len(images)} image{'s' * (len(images) > 1)} restored in {out}")


def _check_names(images: list[Path]) -> None:
    """Results carry the stem of their image's name: two images of one name would overwrite each other."""
    seen: dict[str, Path] = {}
    for path in images:
        other = seen.setdefault(stem(path).casefold(), path)
        if other is not path:
            raise InputError(
                f"{other} and {path} would both become {stem(path)}_denoised.tif: predict them into different folders"
            )


def _predict_file(model: Model, path: Path, axes: str | None, tile: tuple[int, ...] | None, quiet: bool) -> list[Image]:
    image = read_image(path, axes)
    spatial = model.description.axes.upper()
    count = len(image.planes(spatial))
    done = 0

    with progress_bar(path.name, quiet) as bar:

        def one(plane: NDArray[np.generic]) -> tuple[NDArray[np.float32], ...]:
            nonlocal done
            result = model.predict(plane, tile=tile, report=lambda n, total: bar((done + n / total) / count))
            done += 1
            return result.denoised, result.deconvolved

        return image.map(spatial, one)


class Bar(Protocol):
    """Tell how far it is: share done (0..1), what to say, and whether that deserves a line of its own."""

    def __call__(self, share: float, text: str = "", milestone: bool = False) -> None:
        """Show it."""


@contextmanager
def progress_bar(title: str, quiet: bool) -> Iterator[Bar]:
    """A bar with ETA on a terminal, the milestones as plain lines otherwise, nothing if `quiet`."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:

        def lines(share: float, text: str = "", milestone: bool = False) -> None:  # noqa: ARG001
            if milestone and not quiet:
                print(text, file=sys.stderr)

        yield lines
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=1.0, note="")

        def drawn(share: float, text: str = "", milestone: bool = False) -> None:  # noqa: ARG001
            progress.update(task, completed=share, note=text)

        yield drawn
