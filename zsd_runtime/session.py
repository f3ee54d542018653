"""A network prepared for one shape, and the work of restoring images with it, tile by tile."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.average import Averaging
from zsd_runtime.blend import Blend
from zsd_runtime.engines import Array, Engine
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.images import as_dtype, check_shape, read_box
from zsd_runtime.memory import release
from zsd_runtime.normalize import Linear
from zsd_runtime.package import ModelDescription
from zsd_runtime.regions import leading_and_spatial
from zsd_runtime.stream import stream
from zsd_runtime.tiling import Box, Plan, Tile

IN_FLIGHT = 2  # batches, and sets of outputs, under way at once

Report = Callable[[int, int], None]
Index = tuple[int, ...]
Lines = Mapping[Index, Linear]


class Prediction(dict[str, NDArray[np.float32]]):
    """The outputs by name, float32; also as attributes: `prediction.denoised`.

    Of a zsd model: camera counts above the offset; `denoised` on the image's grid, `deconvolved` on the finer one.
    """

    def __getattr__(self, name: str) -> NDArray[np.float32]:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no output {name}; the model gives {', '.join(self)}") from None


@dataclass(frozen=True)
class _Image:
    """One image on its way: the part `index` of a source, and of the targets, that may not fit in memory."""

    source: Any
    index: Index
    targets: Sequence[Any]
    line: Linear


@dataclass(frozen=True)
class _Part:
    """A source behind fixed indices: takes slices of the other axes."""

    source: Any
    index: Index

    def __getitem__(self, box: tuple[slice, ...]) -> Array:
        return read_box(self.source, (*self.index, *box))


class Session:
    """One prepared shape: the engine's batches and outputs, and the threads of a run.

    A session does one thing at a time, and is valid until the engine is prepared for another shape; `Model` sees to
    both.

    Parameters
    ----------
    description : ModelDescription
    engine : Engine
    tile : tuple of int
        Shape ([Z,] Y, X) of the tiles, input pixels.

    Raises
    ------
    OutOfMemory
        When the device has no room for tiles of this shape.
    """

    def __init__(self, description: ModelDescription, engine: Engine, tile: tuple[int, ...]) -> None:
        self.description, self.engine, self.tile = description, engine, tile
        batch = description.input.batch_shape(1, tile)
        shapes = [output.batch_shape(1, tile) for output in description.outputs]
        engine.prepare(batch, shapes)
        self.batches = [engine.empty(batch, engine.input_dtype) for _ in range(IN_FLIGHT)]
        self.outputs = [
            [engine.empty(s, t) for s, t in zip(shapes, engine.output_dtypes, strict=True)] for _ in range(IN_FLIGHT)
        ]

    def run(
        self,
        source: Any,
        targets: Sequence[Any],
        plan: Plan,
        line: Linear | Lines | None = None,
        report: Report = lambda done, total: None,
        *,
        average: int = 1,
        region: Box | None = None,
    ) -> None:
        """Restore every image of a source, or a region of it.

        Parameters
        ----------
        source : array-like
            (…, [C,] [Z,] Y, X); anything with `shape`, `dtype` and slices.
        targets : sequence of array-like
            One for each output, with the same leading axes.
        plan : Plan
            For the spatial axes, with tiles of the prepared shape.
        line : Linear, or mapping of index to Linear, optional
            The normalisation, of all images or of each; fitted to each whole image when not given.
        report : callable
            Called with (tiles done, tiles in all).
        average : int
            Number of symmetries of the square that each tile is averaged over: 1, 2, 4, or, with square tiles, 8.
        region : tuple of slice, optional
            Of the leading and the spatial axes: one of `zsd_runtime.regions.regions`. Only its pixels are written.
        """
        used = len(self.description.input.shape((), plan.image_shape))
        leading = len(source.shape) - used
        outer, inner = leading_and_spatial(region, source.shape[:leading], plan.image_shape)
        images = (
            self._image(source, index, targets, plan, line.get(index) if isinstance(line, Mapping) else line)
            for index in product(*(range(b.start, b.stop) for b in outer))
        )
        part = plan.part(inner)
        total = prod(b.stop - b.start for b in outer) * len(part)
        with closing(self._restored(images, part, average, inner, whole=len(plan) == 1)) as restored:
            for done, _ in enumerate(restored, 1):
                report(done, total)

    def frames(
        self, images: Iterable[Any], plan: Plan, line: Linear | None = None
    ) -> Generator[Prediction, None, None]:
        """Restore a stream of equally shaped images; the results in their order.

        The same two threads serve all frames: `images` is iterated, and its images are read, in one of them. An image
        may be overwritten as soon as the next one is asked for. At most a few frames are held. Close the generator to
        stop early.

        Raises
        ------
        InputError
            When a frame is not an image, or its shape is not the plan's.
        """
        expected = self.description.input.shape((), plan.image_shape)

        def arriving() -> Iterator[_Image]:
            for number, image in enumerate(images):
                check_shape(image, f"frame {number}")
                if image.shape != expected:
                    raise InputError(
                        f"frame {number} has shape {size_text(image.shape)}; this stream restores "
                        f"{size_text(expected)}",
                        "start a stream of its own for images of another shape",
                    )
                shapes = [output.shape((), plan.image_shape) for output in self.description.outputs]
                yield self._image(image, (), [np.empty(shape, np.float32) for shape in shapes], plan, line)

        every = tuple(slice(0, n) for n in plan.image_shape)
        with closing(self._restored(arriving(), plan, 1, every, whole=len(plan) == 1)) as restored:
            for done, (image, _) in enumerate(restored, 1):
                if done % len(plan) == 0:
                    yield Prediction(zip(self.engine.output_names, image.targets, strict=True))

    def _image(self, source: Any, index: Index, targets: Sequence[Any], plan: Plan, line: Linear | None) -> _Image:
        return _Image(source, index, targets, line or fitted_line(self.description, source, index, plan))

    def _restored(
        self, images: Iterable[_Image], plan: Plan, average: int, box: Box, *, whole: bool
    ) -> Generator[tuple[_Image, Tile], None, None]:
        """Restore a box of images; each of their tiles when its results are written."""
        blends = [[Blend(plan, o.scale) for _ in range(o.channels)] for o in self.description.outputs]

        def write(job: tuple[_Image, Tile], outputs: list[Array]) -> None:
            self._write(job, outputs, blends, box, whole=whole)

        jobs = ((image, tile) for image in images for tile in plan)
        if average == 1:
            return stream(jobs, self._read, self.engine.run, write, self.batches, self.outputs)
        averaging = Averaging(self.engine, self.batches[0], self.outputs[0], average)
        return stream(jobs, self._read, averaging.run, write, self.batches, self._float32_outputs())

    def _float32_outputs(self) -> list[list[Array]]:
        """The outputs, or arrays like them where the engine's have another type: a mean is not a whole number."""
        return [
            [o if o.dtype == np.float32 else np.empty(o.shape, np.float32) for o in outputs] for outputs in self.outputs
        ]

    def _read(self, job: tuple[_Image, Tile], batch: Array) -> None:
        """Normalise a tile of each channel into the batch."""
        image, tile = job
        for channel, part in enumerate(_parts(image.source, image.index, self.description.input.channels)):
            values = tile.read(part)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                place = tile.position(np.argwhere(~np.isfinite(values))[0])
                at = ", ".join(f"{axis} {n}" for axis, n in zip(self.description.axes.upper(), place, strict=True))
                raise InputError(
                    f"the image has a NaN or infinite pixel at {at}", "repair it, for instance by a median"
                )
            if batch.dtype != np.float32 and values.dtype != batch.dtype:
                values = as_dtype(values.astype(np.float64), batch.dtype)
            image.line(values, out=batch[0, channel])
            if self.description.zero_margin is not None:
                tile.blank(batch[0, channel])
        release(image.source)

    def _write(
        self, job: tuple[_Image, Tile], outputs: list[Array], blends: list[list[Blend]], box: Box, *, whole: bool
    ) -> None:
        """Blend the tile of every output into its target, as counts, if it finishes a part of the box."""
        image, tile = job
        inside = all(b.start <= span.low for b, span in zip(box, tile.spans, strict=True))
        for target, spec, blended, values in zip(image.targets, self.description.outputs, blends, outputs, strict=True):
            for channel, blend in enumerate(blended):
                part = values[0, channel][tile.core(spec.scale)]
                place = (*image.index, *((channel,) if spec.channels > 1 else ()))
                if whole and isinstance(target, np.ndarray) and target.dtype == np.float32:
                    spec.processing(part, out=target[place])  # nothing to blend: one pass over every frame
                    continue
                part = spec.processing(part, out=part if part.dtype == np.float32 else None)
                part = blend.add(tile, part)
                if not inside:  # a neighbour of the region: only what it shares with the next tile counts
                    continue
                target[(*place, *tile.finished(spec.scale))] = as_dtype(part, target.dtype)
                release(target)


def fitted_line(description: ModelDescription, source: Any, index: Index, plan: Plan) -> Linear:
    """The normalisation of one image of a source, fitted to every pixel of it."""

    def blocks() -> Iterator[Array]:
        ones = (1,) * len(plan.tile)
        for part in _parts(source, index, description.input.channels):
            for tile in plan:
                yield part[tile.finished(ones)]
                release(source)

    return description.input.processing.fit(blocks())


def _parts(source: Any, index: Index, channels: int) -> list[_Part]:
    """The channels of an image; a single one has no axis of its own."""
    return [_Part(source, index)] if channels == 1 else [_Part(source, (*index, c)) for c in range(channels)]
