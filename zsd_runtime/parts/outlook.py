"""`zsd plan`: what restoring a large image on many machines takes, before anything is done."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from zsd_runtime.corrections.corrected import TOGETHER
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.fitting import BYTES_PER_VOXEL, SHARE_OF_FREE_MEMORY, chunk_grid, shard_grid
from zsd_runtime.images import Image, open_image
from zsd_runtime.images.ome_zarr_shards import layout_of
from zsd_runtime.memory import free_memory
from zsd_runtime.model import Model, load_model
from zsd_runtime.options import Series
from zsd_runtime.parts.job import regional_tile
from zsd_runtime.regions import longest_row_of, max_and_sum_of_tiles
from zsd_runtime.terminal import command_line, numbers, reporting
from zsd_runtime.tiling import round_up

SIZE = re.compile(r"\d+(x\d+)+", re.IGNORECASE)
RUNS = 3  # of a tile, after a first one
SECONDS = 20.0  # in which these end
MEASURED = 200_000  # pixels of a tile that is measured
LOOKING = 55  # bytes for each pixel of a plane in which bad pixels and padding are looked for, beside what is read

app = command_line()


@dataclass(frozen=True)
class Outlook:
    """What a job takes.

    Attributes
    ----------
    tile : tuple of int
        Input pixels.
    tiles, computed : int
        Tiles of the image, and tiles that all regions compute: those along their edges are computed twice.
    regions : int
    most_tiles : int
        Of one region.
    files : int
        Shards of the finest levels.
    result_bytes : int
        Of the finest levels, before compression; coarser ones add up to a third.
    memory : int
        Bytes of a worker.
    """

    tile: tuple[int, ...]
    tiles: int
    computed: int
    regions: int
    most_tiles: int
    files: int
    result_bytes: int
    memory: int

    def seconds(self, workers: int, tile_s: float) -> float:
        """Time of the slowest of so many workers."""
        return ceil(self.regions / workers) * self.most_tiles * tile_s


def outlook(model: Model, shape: Sequence[int], workers: int, memory: int, tile: tuple[int, ...] | None) -> Outlook:
    """What restoring an image of `shape` takes; nothing is computed.

    Raises
    ------
    InputError
        When the model does not take such an image, or the tile is too small.
    """
    d, axes = model.description, len(model.description.axes)
    names = ("TCZYX" if axes == 3 else "TCYX")[-len(shape) :]
    targets: list[Any] = [
        layout_of(Image(np.broadcast_to(np.float32(0), out), names), output.scale)
        for out, output in zip(model.output_shapes(shape), d.outputs, strict=True)
    ]
    tile = tile or regional_tile(model, tuple(shape), targets, workers, memory)
    plan = model.plan(shape[-axes:], tile, chunk_grid(d, targets))
    boxes = model.regions(shape, targets, tile, workers, memory=memory)
    leading = len(shape) - len(model.input_axes)
    most, computed = max_and_sum_of_tiles(plan, boxes, leading)
    grid = shard_grid(d, targets)
    row = longest_row_of(boxes, leading, grid)
    fine = 4 * sum(output.channels * prod(output.scale) for output in d.outputs)
    strip = row / grid[leading] * plan.overlap[0]
    return Outlook(
        plan.tile, prod(shape[:leading]) * len(plan), computed, len(boxes), most,
        sum(prod(ceil(n / s) for n, s in zip(t.shape, t.shards, strict=True)) for t in targets),
        sum(4 * prod(t.shape) for t in targets),
        int(max(
            (d.bytes_per_voxel or BYTES_PER_VOXEL) * prod(plan.tile) + fine * (row + strip),
            LOOKING * prod(shape[-2:]) + min(TOGETHER, 4 * prod(shape)),
        )),
    )  # fmt: skip


def tile_seconds(model: Model, tile: tuple[int, ...]) -> float:
    """How long a tile takes here, from an image in memory to results in memory; of a large one, by a smaller one."""
    d = model.description
    smaller = (MEASURED / prod(tile)) ** (1 / len(tile))
    size = tile
    if smaller < 1:
        size = tuple(round_up(max(int(n * smaller), 2), m) for n, m in zip(tile, d.size_multiple, strict=True))
    channels = (d.input.channels,) if d.input.channels > 1 else ()
    image = np.random.default_rng(0).poisson(100, (*channels, *size)).astype(np.uint16)
    plan = model.plan(size, tuple(2 * n + 2 * h for n, h in zip(size, d.halo, strict=True)))  # as one tile
    session = model.session(plan.tile)
    targets = [np.empty(output.shape((), size), np.float32) for output in d.outputs]
    times: list[float] = []
    while len(times) < RUNS + 1 and sum(times) < SECONDS:
        started = time.perf_counter()
        session.run(image, targets, plan)
        times.append(time.perf_counter() - started)
    return float(np.median(times[1:] or times)) * prod(tile) / prod(plan.tile)


@app.command("plan")
def plan_command(
    volume: Annotated[
        str,
        typer.Argument(help="An image file, also s3:// and https://, or a size, [Tx][Cx][Zx]YxX, as 2000x40000x40000."),
    ],
    package: Annotated[Path, typer.Argument(help="Model package made by `zsd export`: a folder or a zip.")],
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the work.")] = 1,
    memory: Annotated[
        float | None, typer.Option(help="Memory of a worker, GB; by default half of what is free here.")
    ] = None,
    tile: Annotated[str | None, typer.Option(help="Shape of the tiles, [Zx]YxX, input pixels.")] = None,
    series: Series = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, intel or apple: what the speed is measured on.")
    ] = "auto",
    engine: Annotated[str, typer.Option(help="auto, onnxruntime, openvino, tensorrt or coreml.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16, fp16 or int8.")] = "auto",
) -> None:
    """Say what restoring an image on a cluster takes: tiles, regions, memory and hours. No image is restored.

    The hours are those of this machine: one tile is measured. Reading and writing files is not counted.
    """
    with reporting():
        if memory is not None and not memory > 0:
            raise InputError(f"--memory {memory:g} must be a number of GB above 0")
        with load_model(package, device, engine=engine, precision=precision) as model:
            shape, itemsize = _shape(volume, model, series)
            free = int(memory * 1e9) if memory else int(free_memory(model.engine.device) * SHARE_OF_FREE_MEMORY)
            found = outlook(model, shape, workers, free, numbers(tile, "--tile"))
            seconds, pools_all = tile_seconds(model, found.tile), model.pools_all
            used = ", ".join((model.engine.name, model.engine.device, model.engine.precision))
        hours = found.seconds(workers, seconds) / 3600
        twice = 100 * (found.computed / found.tiles - 1)
        print(f"image    {size_text(shape)}, {prod(shape) * itemsize / 1e9:.4g} GB")
        print(f"results  {found.result_bytes / 1e9:.4g} GB before compression, {found.files} files; then the pyramid")
        print(f"tiles    {found.tiles} of {size_text(found.tile)}; {seconds:.3g} s each here ({used})")
        print(
            f"regions  {found.regions}, of at most {found.most_tiles} tiles; {twice:.0f} % of tiles are computed twice"
        )
        print(f"memory   {found.memory / 1e9:.2g} GB for each worker, beside 0.3 GB of the program")
        print(f"OK {hours:.3g} hours with {workers} worker{'s' * (workers > 1)} as fast as this machine")
        if found.regions < workers:
            print(f"notice: only {found.regions} of {workers} workers get work; smaller --tile make more regions")
        if pools_all:
            print(
                "notice: the network averages over whole tiles, so that its results depend on them: give all runs the "
                f"same --tile, such as {size_text(found.tile)}"
            )


def _shape(volume: str, model: Model, series: int | None) -> tuple[tuple[int, ...], int]:
    """Of an image file, or as it is typed; and the bytes of a pixel."""
    if series is not None or Path(volume).exists() or not SIZE.fullmatch(volume):
        data = open_image(Path(volume), series=series).data
        return tuple(data.shape), data.dtype.itemsize
    shape = numbers(volume, "VOLUME") or ()
    if not len(model.input_axes) <= len(shape) <= len(model.description.axes) + 2:
        raise InputError(f"{volume} has {len(shape)} lengths; the model takes {model.input_axes}, with T and C before")
    return shape, 2
