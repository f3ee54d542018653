"""`zsd live`."""

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from zsd_runtime.channel_models import packages_in, read_packages
from zsd_runtime.corrections.corrected import corrections_of
from zsd_runtime.errors import InputError
from zsd_runtime.live import run
from zsd_runtime.live.live import QUEUE_BYTES, Live
from zsd_runtime.live.micromanager import check_channels, microscope
from zsd_runtime.live.plan import read_sequence
from zsd_runtime.live.recorder import Recorder
from zsd_runtime.notices import notices
from zsd_runtime.options import KeepHotPixels
from zsd_runtime.terminal import Quiet, command_line, progress_bar, reporting

app = command_line()

QUEUE_MB = QUEUE_BYTES / 1e6


@app.command()
def live(
    package: Annotated[
        Path,
        typer.Argument(
            help="Model package made by `zsd export`: a folder or a zip; zoo:NAME, a model that came with zsd; or a "
            "folder of packages, one a channel."
        ),
    ],
    config: Annotated[
        Path | None, typer.Option(help="Micro-Manager configuration (.cfg); default: the demo camera.")
    ] = None,
    mda: Annotated[
        Path | None,
        typer.Option(help="Sequence to acquire, of useq-schema (YAML); default: the camera's continuous stream."),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="With --mda: new folder for the raw frames and the restored ones.")
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option(
            help="With --mda: channels to restore, all, or names or numbers with commas between; by default the one "
            "that the package was trained on, or all."
        ),
    ] = None,
    every: Annotated[
        int, typer.Option(min=0, help="With --save: keep the results of each n-th point in time; 0 keeps none.")
    ] = 1,
    queue: Annotated[
        float, typer.Option(min=0, help="With --save: memory for frames that wait to be restored for the files, MB.")
    ] = QUEUE_MB,
    format: Annotated[str, typer.Option(help="Of the files: zarr (OME-Zarr) or tiff (OME-TIFF).")] = "zarr",  # noqa: A002
    dtype: Annotated[
        str, typer.Option(help="Of the results: float32, or uint16 (rounded, clipped to 0..65535).")
    ] = "float32",
    frames: Annotated[
        int | None, typer.Option(min=1, help="Stop the continuous stream after this many frames.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop the continuous stream after this time, s.")] = None,
    exposure: Annotated[float | None, typer.Option(help="Exposure of the continuous stream, ms.")] = None,
    page: Annotated[bool, typer.Option("--page", help="Show raw and restored frames in a web page.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page; default: one that is free.")] = 0,
    isolate: Annotated[
        bool, typer.Option("--isolate", help="Run the engine in a process of its own, which is replaced if it fails.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto (the fastest that works), cpu, cuda, intel or apple.")] = "auto",
    engine: Annotated[str, typer.Option(help="auto, onnxruntime, openvino, tensorrt or coreml.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto (the package's own), fp32, bf16, fp16 or int8.")] = "auto",
    keep_hot_pixels: KeepHotPixels = False,
    quiet: Quiet = False,
) -> None:
    """Restore images while a microscope makes them.

    The camera never waits for the model: raw frames are written first, the newest frame is restored, and frames that
    the model has no time for are counted. Ctrl-C stops; what was acquired stays. The exit status is not 0 when a raw
    frame is missing or an image could not be restored.
    """
    with reporting(quiet):
        _check_values(format, dtype, seconds=seconds, exposure=exposure, queue=queue)
        _check_sources(mda, save, channel, frames, seconds, exposure)
        packages = read_packages(packages_in(package))
        packages[0][1].check_single_frames("zsd live")
        plan = read_sequence(mda) if mda is not None else None
        volumes = len(packages[0][1].axes) == 3
        with ExitStack() as opened:
            core = opened.enter_context(microscope(config))
            if exposure is not None:
                core.setExposure(exposure)
            restored: Mapping[str, Path] | Path
            if plan is not None and mda is not None:
                check_channels(core, plan)
                restored = run.channels_of_sequence(plan, packages, mda, channel, notices(quiet))
            else:
                restored = run.channel_of_stream(core, packages)
            recorder = None
            if plan is not None and save is not None and every and isinstance(restored, Mapping):
                files = run.files_of(
                    core, plan, packages, restored, save, every=every, format=format, dtype=dtype
                )  # fmt: skip
                recorder = Recorder(files)
            corrections = corrections_of(keep_hot_pixels=keep_hot_pixels)
            how = {"device": device, "engine": engine, "precision": precision}
            restorer = opened.enter_context(closing(run.open_restorer(restored, corrections, isolate, **how)))
            bar = opened.enter_context(progress_bar("live", quiet))
            beside = opened.enter_context(Live(restorer, sink=recorder, queue_bytes=int(queue * 1e6)))
            if page:
                opened.enter_context(_page(beside, port, save, packages[0][1].name))
            channels = tuple(restored) if isinstance(restored, Mapping) else ("",)
            run.warm_up(core, beside, plan if volumes else None, channels, bar)
            first = run.first_frames(core, beside, packages, restored, bar)
            if plan is None or save is None:
                last_line = run.stream(core, beside, frames, seconds, bar, first)
            else:
                raw = save / run.RAW[format]
                last_line = run.record(core, plan, beside, recorder, save, raw, volumes, bar, first)
        print(last_line)


def _check_values(format: str, dtype: str, **above_0: float | None) -> None:  # noqa: A002
    for option, value, known in (("dtype", dtype, ("float32", "uint16")), ("format", format, tuple(run.RAW))):
        if value not in known:
            raise InputError(f"--{option} {value} must be {' or '.join(known)}")
    for option, number in above_0.items():
        if number is not None and not 0 < number < math.inf:
            raise InputError(f"--{option} {number:g} must be above 0")


def _check_sources(
    mda: Path | None, save: Path | None, channel: str | None, frames: int | None, seconds: float | None,
    exposure: float | None,
) -> None:  # fmt: skip
    """Refuse options of a sequence without one, and of the continuous stream with one."""
    if mda is None:
        if save is not None:
            raise InputError("--save needs --mda: the continuous stream is only shown", "give a sequence")
        if channel is not None:
            raise InputError("--channel needs --mda: the stream has the channel that is set", "give a sequence")
        return
    if save is None:
        raise InputError("--mda needs --save, a folder for the raw frames")
    if frames is not None or seconds is not None or exposure is not None:
        raise InputError("--frames, --seconds and --exposure are for the continuous stream", "the sequence has its own")
    if save.exists() and (not save.is_dir() or any(save.iterdir())):
        raise InputError(f"{save} is there already", "give --save a new folder: nothing is overwritten")


@contextmanager
def _page(view: Live, port: int, folder: Path | None, title: str) -> Iterator[None]:
    """The live page, with its address on stderr."""
    name = "zsd_runtime.serve.page"
    try:
        serve_view = import_module(name).serve_view
    except ModuleNotFoundError as error:
        if not name.startswith(error.name or "?"):
            raise
        raise InputError("--page: this version of zsd has no live page", "leave --page out") from None
    with serve_view(view, port=port, snapshots=(folder or Path()) / "snapshots", title=title) as server:
        print(f"page: {server.url}", file=sys.stderr, flush=True)
        yield
