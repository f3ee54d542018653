"""`zsd predict` and `zsd bench`."""

import json
import math
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsd_runtime.average import average_text, check_average
from zsd_runtime.batch import FORMATS, How, check_names, predict_files
from zsd_runtime.channel_models import load_models, packages_in
from zsd_runtime.corrections.corrected import corrections_of
from zsd_runtime.errors import InputError
from zsd_runtime.images import Voxel, images_in
from zsd_runtime.images.remote import check_reachable, located
from zsd_runtime.model import Model
from zsd_runtime.notices import notices
from zsd_runtime.options import Average, Axes, Dark, GainMap, KeepHotPixels, PixelSize, RemoveLines, Series, ZStep
from zsd_runtime.summary import Restored, warning_lines
from zsd_runtime.summary import as_json as summary
from zsd_runtime.terminal import Bar, Quiet, command_line, numbers, progress_bar, reporting
from zsd_runtime.uncertainty import REPEATS

if TYPE_CHECKING:
    from zsd_runtime.bench import LiveRow, Row

app = command_line()


@app.command()
def predict(
    package: Annotated[
        Path,
        typer.Argument(
            help="Model package made by `zsd export`: a folder or a zip; a folder of packages, one a channel; or "
            "zoo:NAME, a model that came with zsd (zsd zoo list)."
        ),
    ],
    images: Annotated[
        list[Path],
        typer.Argument(
            help="TIFF (OME, ImageJ), PNG, OME-Zarr (also s3:// and https://), or folders of them; each T and C is "
            "restored by itself."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the results, <stem>_denoised and <stem>_deconvolved; or its URL, s3://….")
    ],
    device: Annotated[
        str, typer.Option(help="auto (the fastest that works), cpu, cuda, intel (an Intel GPU) or apple.")
    ] = "auto",
    engine: Annotated[str, typer.Option(help="auto, onnxruntime, openvino, tensorrt or coreml.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto (the package's own), fp32, bf16 (only openvino on a CPU), fp16 or int8.")
    ] = "auto",
    tile: Annotated[
        str | None,
        typer.Option(help="Shape of the tiles, [Zx]YxX, input pixels; by default as large as --memory allows."),
    ] = None,
    memory: Annotated[float | None, typer.Option(help="Memory to use, GB; by default half of the free memory.")] = None,
    axes: Axes = None,
    series: Series = None,
    channel: Annotated[
        str | None,
        typer.Option(
            help="Channels to restore: all, or names or numbers with commas between; by default the one that the "
            "package was trained on, or all."
        ),
    ] = None,
    pixel_size: PixelSize = None,
    z_step: ZStep = None,
    dtype: Annotated[
        str, typer.Option(help="Of the results: float32, or uint16 (rounded, clipped to 0..65535).")
    ] = "float32",
    format: Annotated[str, typer.Option(help="Of the results: auto (as the image), tiff or zarr.")] = "auto",  # noqa: A002
    keep_hot_pixels: KeepHotPixels = False,
    remove_lines: RemoveLines = None,
    dark: Dark = None,
    gain_map: GainMap = None,
    average: Average = 1,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            help="Also write <stem>_<output>_uncertainty, float32: for each pixel the half-width, counts, of an "
            "interval that holds the truth of about 68 % of the pixels with light. It takes "
            f"{1 + REPEATS} times as long.",
        ),
    ] = False,
    sim_parameters: Annotated[
        Path | None,
        typer.Option(
            help="Of raw SIM frames: parameters.json of `zsd sim reconstruct`, in place of the stripes that the model "
            "was trained with."
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            help="i/N: this process restores a part of every image, as one of N tasks of a job array; results are "
            "OME-Zarr. finish: only complete what the parts did. See docs/cluster.md."
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Address of a dask scheduler, whose workers restore the images; or local:N for N processes here. "
            "Results are OME-Zarr; --memory is that of a worker."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON: results, warnings and bad pixels of each image.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Denoise and deconvolve images.

    Results are camera counts above the offset; the deconvolved image has half the pixel size. A 2D model restores a
    stack plane by plane. Failures are reported; the remaining images are still processed. Results of an earlier run
    are replaced. The last lines warn of images that are of another kind than those that the model was trained on.
    """
    with reporting(quiet and not as_json):  # JSON stands alone in the output
        for option, value, known in (("dtype", dtype, ("float32", "uint16")), ("format", format, FORMATS)):
            if value not in known:
                raise InputError(f"--{option} {value} must be {' or '.join(known)}")
        if memory is not None and not 0 < memory < math.inf:
            raise InputError(f"--memory {memory:g} must be a number of GB above 0")
        check_average(average)
        if uncertainty and (part is not None or cluster is not None):
            raise InputError(
                "--uncertainty is not made by several processes yet", "leave it out, or predict in one process",
                option="uncertainty",
            )  # fmt: skip
        if as_json and (part is not None or cluster is not None):
            raise InputError("--json is not written by several processes yet", "leave it out", option="json")
        out = located(out)
        check_reachable(out)
        how = How(
            out, axes, numbers(tile, "--tile"), None if memory is None else int(memory * 1e9), dtype, format, series,
            channel, Voxel.square(pixel_size, z_step), notices(quiet),
            corrections_of(
                keep_hot_pixels=keep_hot_pixels, remove_lines=remove_lines, dark=dark, gain_map=gain_map
            ),
            average, sim_parameters,
        )  # fmt: skip
        averaged = (average_text(average),) if average > 1 else ()
        images = images_in(images)
        with load_models(
            packages_in(package), device, engine=engine, precision=precision, uncertainty=REPEATS * uncertainty
        ) as models:
            model = models[0]
            check_names(images, [output.name for output in model.description.outputs], out)
            used = ", ".join((model.engine.name, model.engine.device, model.engine.precision, *averaged))
            if part is not None or cluster is not None:
                bars = lambda title: progress_bar(title, quiet)  # noqa: E731
                print(
                    f"OK {shared_work(models, packages_in(package), device, images, how, part, cluster, bars)} ({used})"
                )
                return
            batch: list[Restored] = []
            started = time.monotonic()
            try:
                predict_files(models, images, how, lambda title: progress_bar(title, quiet), batch.append)
            finally:
                warned = warning_lines(batch)
                if not quiet:
                    print("".join(f"warning: {line}\n" for line in warned), end="", file=sys.stderr)
                if as_json:
                    print(json.dumps(summary(batch, model, time.monotonic() - started, average), ensure_ascii=False))
        if not as_json:
            told = f"; {len(warned)} warning{'s' * (len(warned) > 1)}" + ": run without --quiet" * quiet
            print(f"OK {len(images)} image{'s' * (len(images) > 1)} restored in {out} ({used}){told * bool(warned)}")


def shared_work(
    models: list[Model],
    packages: list[Path],
    device: str,
    images: list[Path],
    how: How,
    part: str | None,
    cluster: str | None,
    bars: Callable[[str], AbstractContextManager[Bar]],
) -> str:
    """Restore images together with other processes; a line on what was done."""
    if part is not None and cluster is not None:
        raise InputError("--part and --cluster are two ways to share the work", "give one of them")
    if part is not None:
        from zsd_runtime.parts.run import predict_parts

        return predict_parts(models, images, how, part, bars)
    from zsd_runtime.cluster import connected, predict_on_cluster

    assert cluster is not None
    with connected(cluster) as client:
        return predict_on_cluster(client, models, packages, device, images, how, bars)


@app.command()
def bench(
    package: Annotated[
        Path, typer.Argument(help="Model package made by `zsd export`: a folder or a zip; or zoo:NAME.")
    ],
    size: Annotated[
        list[str] | None,
        typer.Option(help="Image size, [Zx]YxX, pixels; may be repeated; by default 512x512 and 2048x2048."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto (all), cpu, cuda, intel (an Intel GPU) or apple.")] = "auto",
    engine: Annotated[str, typer.Option(help="auto (all), onnxruntime, openvino, tensorrt or coreml.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto (all that the package allows), fp32, bf16, fp16, int8.")
    ] = "auto",
    live: Annotated[
        bool,
        typer.Option("--live", help="One frame after the other, as from a camera: frames/s and latency."),
    ] = False,
    seconds: Annotated[float, typer.Option(help="Of measuring, for each row.")] = 3.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure how fast a package runs here, with every engine and precision that works.

    Each row has the time of a whole prediction (median and 99th percentile, ms), the time from opening the package to
    the first result (s), the peak memory (MB), and the largest difference from the first row of the same size, as a
    share of its range. Close other programs meanwhile.

    With --live, each frame comes when the results of the last one are there. A row has the frames per second, and the
    latency from a frame in memory to its results in memory (median and 99th percentile, ms).
    """
    with reporting():
        from zsd_runtime.bench import bench as measure
        from zsd_runtime.bench import bench_live as measure_live

        if not 0 < seconds < math.inf:
            raise InputError(f"--seconds {seconds:g} must be a number above 0")
        sizes = [shape for text in size or ["512x512", "2048x2048"] if (shape := numbers(text, "--size"))]
        rows: list[Row | LiveRow] = []
        for row in (measure_live if live else measure)(package, sizes, device, engine, precision, seconds):
            if isinstance(row, str):
                print(f"not run: {row}", file=sys.stderr)
                continue
            if not as_json:
                print(*([] if rows else [HEADER_LIVE if live else HEADER]), line(row), sep="\n", flush=True)
            rows.append(row)
        if as_json:
            print(json.dumps([asdict(row) for row in rows], indent=1))
        if not rows:
            raise InputError(f"no engine that was asked for runs {package} here", "zsd inspect says why")


HEADER = (
    f"{'engine':12} {'device':7} {'precision':9} {'size':>12} {'median':>10} {'p99':>10} {'Mpx/s':>8} "
    f"{'first':>8} {'memory':>9} {'difference':>11}"
)
HEADER_LIVE = (
    f"{'engine':12} {'device':7} {'precision':9} {'size':>12} {'median':>10} {'p99':>10} {'frames/s':>9} {'frames':>7}"
)


def line(row: "Row | LiveRow") -> str:
    """A row of `zsd bench`, below one of the headers."""
    from zsd_runtime.bench import LiveRow

    start = (
        f"{row.engine:12} {row.device:7} {row.precision:9} {row.size:>12} "
        f"{row.median_ms:>7.1f} ms {row.p99_ms:>7.1f} ms "
    )
    if isinstance(row, LiveRow):
        return f"{start}{row.frames_per_s:>9.2f} {row.frames:>7}"
    return (
        f"{start}{row.megapixels_per_s:>8.2f} {row.first_result_s:>6.2f} s {row.peak_memory_mb:>6.0f} MB "
        f"{row.difference:>11.1e}"
    )
