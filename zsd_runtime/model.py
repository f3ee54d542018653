"""A model that predicts: package + engine + tiles."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import lcm, prod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.engines import Array, Engine, OutOfMemory
from zsd_runtime.engines.cache import engines_folder
from zsd_runtime.engines.select import open_engine
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.images import as_dtype, check_array, check_shape, read_box
from zsd_runtime.memory import free_memory, release
from zsd_runtime.normalize import Linear
from zsd_runtime.package import ModelDescription, read_package
from zsd_runtime.stream import stream
from zsd_runtime.tiling import LONGEST_OVERLAP, Blend, Plan, Tile, choose_tile, plan, round_up

BYTES_PER_VOXEL = 5000  # of a package that does not say: more than the published widths take
IN_FLIGHT = 2  # batches, and sets of outputs, under way at once
SHARE_OF_FREE_MEMORY = 0.5
# What stands in a graph that depends on the whole of its tile: tiles then differ, whatever their halo.
GLOBAL_POOLING = b"GlobalAveragePool"

Report = Callable[[int, int], None]
Index = tuple[int, ...]


@dataclass(frozen=True)
class Prediction:
    """float32, camera counts above the offset. `denoised` is on the image's grid, `deconvolved` on the fine one."""

    denoised: NDArray[np.float32]
    deconvolved: NDArray[np.float32]


class Model:
    """An open model; a context manager. Use `load_model`."""

    def __init__(self, description: ModelDescription, engine: Engine) -> None:
        if engine.output_names != [output.name for output in description.outputs]:
            raise InputError(
                f"the network's outputs are {engine.output_names}, the package describes "
                f"{[output.name for output in description.outputs]}: export the model again"
            )
        self.description = description
        self.engine = engine
        # Tiles fade into each other: over half a halo, which is enough where the halo hides all that differs.
        whole = GLOBAL_POOLING in description.weights
        self.overlap = [LONGEST_OVERLAP if whole else min(h // 2, LONGEST_OVERLAP) for h in description.halo]
        self._chosen: dict[tuple[Any, ...], tuple[int, ...]] = {}
        self._prepared: tuple[int, ...] | None = None
        self._batches: list[Array] = []
        self._outputs: list[list[Array]] = []

    def predict(
        self,
        image: NDArray[np.generic],
        *,
        tile: Sequence[int] | None = None,
        memory: int | None = None,
        report: Report = lambda done, total: None,
    ) -> Prediction:
        """Denoise and deconvolve one image.

        Parameters
        ----------
        image : ndarray
            (Y, X), or (Z, Y, X) for a 3D model; camera counts, any real dtype, any size.
        tile, memory, report
            As for `predict_into`.

        Raises
        ------
        InputError
            When the array is not an image that the model takes (to a 3D model a single slice is none), or a tile is
            smaller than twice the halo.
        """
        check_array(image, "the image")
        d = self.description
        if image.ndim > len(d.axes):
            each = "plane" if len(d.axes) == 2 else "volume"
            raise InputError(
                f"the image has shape {image.shape}; this model takes {d.axes.upper()}: give each {each} by itself"
            )
        results = [np.empty(shape, np.float32) for shape in self.output_shapes(image.shape)]
        self.predict_into(image, results, tile=tile, memory=memory, report=report)
        return Prediction(*results)

    def predict_into(
        self,
        source: Any,
        targets: Sequence[Any],
        *,
        tile: Sequence[int] | None = None,
        memory: int | None = None,
        report: Report = lambda done, total: None,
        notice: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Denoise and deconvolve images larger than memory.

        Parameters
        ----------
        source : array-like
            (…, Y, X), or (…, Z, Y, X) for a 3D model: a memory-mapped file, a Zarr array, anything with `shape`,
            `dtype` and slices. Leading axes are images of their own.
        targets : sequence of array-like
            One an output, of `output_shapes`; float32, or an integer type: rounded and clipped then. Each pixel is
            written once, in whole chunks where `targets` have `chunks` and tiles are large enough.
        tile : sequence of int
            Shape of the tiles, input pixels; chosen from `memory` when not given. The result is the same up to what
            the halo was measured to leave.
        memory : int
            Bytes that the prediction may take; half of what is free when not given.
        report : callable
            Told (tiles done, tiles in all).
        notice : callable
            Told in a sentence when tiles had to be made smaller because a device ran out of memory.

        Raises
        ------
        InputError
            When the source is not what the model takes, holds NaN or infinite values, or a tile is too small.
        OutOfMemory
            When not even the smallest tile fits.
        """
        d = self.description
        check_shape(source, "the source")
        leading, shape = tuple(source.shape[: -len(d.axes)]), tuple(source.shape[-len(d.axes) :])
        for target, expected in zip(targets, self.output_shapes(source.shape), strict=True):
            if tuple(target.shape) != expected:
                raise InputError(f"a target has shape {target.shape}; for an image of {source.shape} it is {expected}")
        if tile is not None and len(tile) != len(d.axes):
            raise InputError(f"tile {size_text(tile)} must have {len(d.axes)} numbers, for {d.axes.upper()}")
        grid = self._grid(targets)
        # Chosen once: the first run takes memory that it keeps, and another tile would have to be prepared.
        key = (shape, grid, memory)
        chosen = tile is None
        if tile is None:
            tile = self._chosen.get(key) or self._tile(*key)
        while True:
            planned = self.plan(shape, tile, grid)
            try:
                self._run(source, leading, targets, planned, report)
                if chosen:
                    self._chosen[key] = planned.tile
                return
            except OutOfMemory as error:
                tile = self.plan(shape, self._smaller(planned, error), grid).tile
                notice(f"{error}: going on with tiles of {size_text(tile)}")

    def plan(self, shape: Sequence[int], tile: Sequence[int], grid: Sequence[int] | None = None) -> Plan:
        """Tiles for an image of `shape`; see `zsd_runtime.tiling.plan`."""
        d = self.description
        return plan(shape, tile, d.halo, d.size_multiple, self.overlap, grid, d.zero_margin)

    def output_shapes(self, shape: Sequence[int]) -> list[tuple[int, ...]]:
        """Shapes of the outputs for an image, or a stack, of `shape`.

        Raises
        ------
        InputError
            When it is a single slice and the model is one of volumes.
        """
        axes = len(self.description.axes)
        if axes == 3 and (len(shape) < 3 or shape[-3] == 1):
            raise InputError(
                f"an image of {size_text(shape)} is a single slice; this model restores volumes (ZYX), where a slice "
                "has neighbours: give the whole stack, or take a 2D model"
            )
        return [(*shape[:-axes], *_scaled(shape[-axes:], output.scale)) for output in self.description.outputs]

    def _run(self, source: Any, leading: Index, targets: Sequence[Any], planned: Plan, report: Report) -> None:
        d = self.description
        self._prepare(planned.tile)
        jobs = ((index, tile) for index in np.ndindex(leading) for tile in planned)
        total = prod(leading) * len(planned)
        blends = [Blend(planned, output.scale) for output in d.outputs]
        lines: dict[Index, Linear] = {}
        done = 0

        def read(job: tuple[Index, Tile], batch: Array) -> None:
            index, tile = job
            image = _Part(source, index)
            if index not in lines:
                lines[index] = d.preprocessing.fit(_blocks(image, planned))
            values = tile.read(image)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                where = tile.position(np.argwhere(~np.isfinite(values))[0])
                at = ", ".join(f"{axis} {n}" for axis, n in zip(d.axes.upper(), where, strict=True))
                raise InputError(f"the image has a NaN or infinite pixel at {at}: repair it, for instance by a median")
            if batch.dtype != np.float32 and values.dtype != batch.dtype:
                values = as_dtype(values.astype(np.float64), batch.dtype)
            lines[index](values, out=batch[0, 0])
            if d.zero_margin is not None:
                tile.blank(batch[0, 0])
            release(source)

        def write(job: tuple[Index, Tile], outputs: list[Array]) -> None:
            nonlocal done
            index, tile = job
            for target, blend, output, values in zip(targets, blends, d.outputs, outputs, strict=True):
                part = values[0, 0][tile.core(output.scale)]
                if len(planned) == 1 and isinstance(target, np.ndarray) and target.dtype == np.float32:
                    output.postprocessing(part, out=target[index])  # nothing to blend: one pass, of every frame
                    continue
                part = output.postprocessing(part, out=part if part.dtype == np.float32 else None)
                part = blend.add(tile, part)
                target[(*index, *tile.finished(output.scale))] = as_dtype(part, target.dtype)
                release(target)
            done += 1
            report(done, total)

        stream(jobs, read, self.engine.run, write, self._batches, self._outputs)

    def _prepare(self, tile: tuple[int, ...]) -> None:
        """Engine and buffers for batches of one shape; kept until the shape changes."""
        if self._prepared == tile:
            return
        self._prepared, self._batches, self._outputs = None, [], []
        batch = (1, 1, *tile)
        shapes = [(1, 1, *_scaled(tile, output.scale)) for output in self.description.outputs]
        self.engine.prepare(batch, shapes)
        self._batches = [self.engine.empty(batch, self.engine.input_dtype) for _ in range(IN_FLIGHT)]
        self._outputs = [
            [self.engine.empty(s, t) for s, t in zip(shapes, self.engine.output_dtypes, strict=True)]
            for _ in range(IN_FLIGHT)
        ]
        self._prepared = tile

    def _tile(self, shape: tuple[int, ...], grid: tuple[int, ...], memory: int | None) -> tuple[int, ...]:
        """The tile for `memory`: the network's own, our buffers, and what neighbours share along the first axis."""
        d = self.description
        outputs = sum(prod(output.scale) for output in d.outputs)
        memory = memory or int(free_memory(self.engine.device) * SHARE_OF_FREE_MEMORY)
        shared = 4 * outputs * self.overlap[0] * prod(shape[1:])
        buffers = 4 * (IN_FLIGHT + (IN_FLIGHT + 1) * outputs)
        pixels = max(memory - shared, memory // 4) / ((d.bytes_per_voxel or BYTES_PER_VOXEL) + buffers)
        tile = choose_tile(shape, d.halo, d.size_multiple, pixels, self.overlap, grid, d.zero_margin)
        if prod(tile) > pixels:  # not even one chunk and its halo: rather write chunks several times
            tile = choose_tile(shape, d.halo, d.size_multiple, pixels, self.overlap, edge=d.zero_margin)
        return tile

    def _smaller(self, planned: Plan, error: OutOfMemory) -> tuple[int, ...]:
        """Half of the tile's longest axis, as far as its halo lets."""
        d = self.description
        smallest = [2 * round_up(h, s) + s for h, s in zip(d.halo, d.size_multiple, strict=True)]
        room = [t - s for t, s in zip(planned.tile, smallest, strict=True)]
        if max(room) <= 0:
            size = size_text(planned.tile)
            raise OutOfMemory(f"{error}, the smallest that its halo allows ({size}): use another --device") from None
        axis = room.index(max(room))
        tile = list(planned.tile)
        tile[axis] = max(tile[axis] // 2, smallest[axis])
        return tuple(tile)

    def _grid(self, targets: Sequence[Any]) -> tuple[int, ...]:
        """Input pixels after which chunks of every target begin anew, an axis each."""
        axes = len(self.description.axes)
        grid = [1] * axes
        for target, output in zip(targets, self.description.outputs, strict=True):
            chunks = getattr(target, "chunks", None) or target.shape[:0]
            for axis, (chunk, scale) in enumerate(zip(chunks[-axes:], output.scale, strict=False)):
                grid[axis] = lcm(grid[axis], lcm(chunk, scale) // scale)
        return tuple(grid)

    def close(self) -> None:
        """Release the engine."""
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def load_model(package: str | Path, device: str = "auto", *, engine: str = "auto", precision: str = "auto") -> Model:
    """Open a package made by `zsd export` (folder or zip).

    Parameters
    ----------
    package : path
    device : {"auto", "cpu", "cuda", "intel"}
        "intel" is an Intel GPU.
    engine : {"auto", "onnxruntime", "openvino", "tensorrt"}
    precision : {"auto", "fp32", "bf16", "fp16", "int8"}
        "auto" is the package's own.

    Raises
    ------
    InputError
        When the package cannot be read or run as asked; as `EngineMissing` when something is to be installed.
    """
    description = read_package(package)
    return Model(description, open_engine(description, device, engine, precision, engines_folder(Path(package))))


@dataclass(frozen=True)
class _Part:
    """One image of a stack that may not fit in memory: slices go to the source behind a fixed index."""

    source: Any
    index: Index

    def __getitem__(self, box: tuple[slice, ...]) -> Array:
        return read_box(self.source, (*self.index, *box))


def _scaled(shape: Sequence[int], scale: Sequence[int]) -> tuple[int, ...]:
    return tuple(n * k for n, k in zip(shape, scale, strict=True))


def _blocks(image: _Part, planned: Plan) -> Iterator[Array]:
    """Every pixel of an image once."""
    ones = (1,) * len(planned.tile)
    for tile in planned:
        yield image[tile.finished(ones)]
        release(image.source)
