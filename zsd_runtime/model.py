"""A model that predicts: package, engine and tiles."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from threading import Lock, get_ident
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.average import averaged, check_square, turns
from zsd_runtime.corrections.corrected import Corrections
from zsd_runtime.corrections.unpadded import corrected_for
from zsd_runtime.engine_choice import open_engine
from zsd_runtime.engines import Engine, OutOfMemory
from zsd_runtime.engines.cache import engines_folder
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.fitting import chunk_grid, fitting_tile, longest_row, shard_grid, smaller_tile
from zsd_runtime.images import check_shape
from zsd_runtime.images.whole_shards import WholeShards
from zsd_runtime.neighbours import Neighbours, check_none_blank, time_axis
from zsd_runtime.normalize import Linear
from zsd_runtime.package import ModelDescription, read_package
from zsd_runtime.regions import balanced_regions
from zsd_runtime.session import Lines, Prediction, Report, Session, fitted_line
from zsd_runtime.tiling import LONGEST_OVERLAP, Box, Plan, plan
from zsd_runtime.uncertainty import Uncertain, with_uncertainty

# With this operator in a graph, a result depends on the whole tile: tiles then differ, whatever their halo.
GLOBAL_POOLING = b"GlobalAveragePool"
CORRECTIONS = Corrections()

Result = TypeVar("Result")


class Model:
    """An open model; a context manager. Use `load_model`.

    Several threads may share one: they take turns.
    """

    def __init__(self, description: ModelDescription, engine: Engine) -> None:
        if engine.output_names != [output.name for output in description.outputs]:
            raise InputError(
                f"the network's outputs are {engine.output_names}, the package describes "
                f"{[output.name for output in description.outputs]}",
                "export the model again",
            )
        self.description = description
        self.engine = engine
        self.pools_all = GLOBAL_POOLING in description.weights
        self.overlap = self.overlap_for(description)
        self._chosen: dict[tuple[Any, ...], tuple[int, ...]] = {}
        self._session: Session | None = None
        self._lock, self._streaming = Lock(), False
        self._user: int | None = None

    def predict(
        self,
        image: NDArray[np.generic],
        *,
        tile: Sequence[int] | None = None,
        memory: int | None = None,
        corrections: Corrections | None = CORRECTIONS,
        average: int = 1,
        axes: str | None = None,
        report: Report = lambda done, total: None,
    ) -> Prediction:
        """Restore one image, or a stack or a movie if its axes are given.

        Parameters
        ----------
        image : ndarray
            (Y, X), or (Z, Y, X) for a 3D model; a model of several channels takes (C, [Z,] Y, X). Camera counts, any
            real dtype, any size.
        tile, memory, corrections, average, report
            As for `predict_into`.

        axes : str
            Of the image, for example "TYX": each index of the axes before the model's own is an image. A model that was
            trained with `frames` 3 sees each frame along T between its neighbours, and needs it.

        Returns
        -------
        Prediction
            The outputs by name.

        Raises
        ------
        InputError
            When the array is not an image that the model takes (a single slice is none for a 3D model), or a tile is
            smaller than twice the halo.
        """
        check_shape(image, "the image")
        if image.ndim > len(self.input_axes) and axes is None and self.description.frames == 1:
            each = "plane" if len(self.description.axes) == 2 else "volume"
            raise InputError(
                f"the image has shape {image.shape}; this model takes {self.input_axes}", f"give each {each} by itself"
            )
        results = [np.empty(shape, np.float32) for shape in self.output_shapes(image.shape)]
        self.predict_into(
            image, results, tile=tile, memory=memory, corrections=corrections, average=average, axes=axes,
            report=report,
        )  # fmt: skip
        return Prediction(zip(self.engine.output_names, results, strict=True))

    def predict_into(
        self,
        source: Any,
        targets: Sequence[Any],
        *,
        tile: Sequence[int] | None = None,
        memory: int | None = None,
        corrections: Corrections | None = CORRECTIONS,
        average: int = 1,
        region: Box | None = None,
        line: Linear | Lines | None = None,
        axes: str | None = None,
        report: Report = lambda done, total: None,
        notice: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Restore images larger than memory, or a region of them.

        Parameters
        ----------
        source : array-like
            (…, Y, X), or (…, Z, Y, X) for a 3D model; with C before these axes for a model of several channels. A
            memory-mapped file, a Zarr array, anything with `shape`, `dtype` and slices. Each index of the leading
            axes is an image of its own.
        targets : sequence of array-like
            One for each output, of `output_shapes`; float32, or an integer type: rounded and clipped then. Each pixel
            is written once, in whole chunks where `targets` have `chunks` and tiles are large enough.
        tile : sequence of int
            Shape of the tiles, input pixels; chosen from `memory` when not given. The result is the same but for the
            error that the halo was measured to leave.
        memory : int
            Bytes that the prediction may take; half of the free memory when not given.
        corrections : Corrections or None
            What the image is freed of before the network: by default hot and dead pixels, and padding, whose results
            stay 0 (NaN where the image has NaN); the image is then read twice. None: nothing, and NaN is refused.
            A `Corrected` source stays as it is.
        average : {1, 2, 4, 8}
            Number of symmetries of the square, in Y and X, that the prediction is the mean of: 2 are the image and its
            mirror, 4 its flips, 8 its flips and turns, for which tiles are square. It takes as many times as long.
        region : tuple of slice
            One of `regions`, which several processes restore independently; only its pixels are written. `tile` is that
            of all regions. Results are bit for bit those of one process. The source is read as far as the region needs
            it if it is a `RegionalCorrected`, or `corrections` are None.
        line : Linear or mapping of tuple of int to Linear
            The normalisation of all images, or of each, where the package's depends on the image: that of `lines`. It
            is fitted to each whole image when not given, for each region again.
        axes : str
            Of the source, as for `predict`.
        report : callable
            Called with (tiles done, tiles in all).
        notice : callable
            Called with a sentence when bad pixels were found, and when tiles become smaller because a device ran out
            of memory.

        Raises
        ------
        InputError
            When the model does not take the source, the source holds NaN or infinite values, or a tile is too small.
        OutOfMemory
            When even the smallest tile does not fit.
        """
        check_shape(source, "the source")
        averaged(self.description, average)
        frames, spatial = self.description.frames, len(self.description.axes)
        if frames > 1:
            time = time_axis(axes, source.shape, self.input_axes, frames, "the source")
        elif axes is not None and (len(axes) != len(source.shape) or not axes.endswith(self.input_axes)):
            raise InputError(
                f"the source has shape {source.shape}, and `axes` are {axes}; the model takes {self.input_axes}",
                "give a letter for each axis, the model's last", option="axes",
            )  # fmt: skip
        for target, expected in zip(targets, self.output_shapes(source.shape), strict=True):
            if tuple(target.shape) != expected:
                raise InputError(f"a target has shape {target.shape}; for an image of {source.shape} it is {expected}")
        if region is not None and tile is None:
            raise InputError("a region needs the tiles of all regions", "give `tile`", option="tile")
        if tile is not None:
            self.plan(
                source.shape[-len(self.description.axes) :], tile, average=average
            )  # before all pixels are looked at
        source, targets = corrected_for(self.description, source, targets, corrections, notice)
        if frames > 1:
            check_none_blank(source, time, spatial)
        seen = Neighbours(source, frames, time, spatial) if frames > 1 else source

        def run(planned: Plan) -> None:
            with ExitStack() as stack:
                whole = [
                    stack.enter_context(WholeShards(target)) if getattr(target, "shards", None) else target
                    for target in targets
                ]
                session = self.session(planned.tile)
                session.run(seen, whole, planned, line, report, average=average, region=region)

        grid = chunk_grid(self.description, targets)
        with self._reserved():
            if region is not None:  # other tiles than those of the other regions would be another result
                run(self.plan(source.shape[-len(self.description.axes) :], tile or (), grid, average))
            else:
                self._fitted(source.shape, tile, memory, grid, notice, run, average)

    def regions(
        self,
        shape: Sequence[int],
        targets: Sequence[Any],
        tile: Sequence[int],
        workers: int,
        *,
        memory: int | None = None,
        average: int = 1,
    ) -> list[Box]:
        """Boxes of a source of `shape` that workers restore independently; see `predict_into`.

        Parameters
        ----------
        shape : sequence of int
        targets : sequence of array-like
            What is written to, with `shape`, and `shards` or `chunks`: a region writes whole ones.
        tile : sequence of int
            Shape of the tiles, input pixels.
        workers : int
            How many there are; each gets one region or a few.
        memory : int
            Bytes of each worker: a quarter of them holds results until their shards are whole.
        average : int
            As for `predict_into`.

        Returns
        -------
        list of tuple of slice
            For each leading and each spatial axis, input pixels.
        """
        planned = self.plan(shape[-len(self.description.axes) :], tile, chunk_grid(self.description, targets), average)
        leading = shape[: len(shape) - len(self.input_axes)]
        most = longest_row(self.description, targets, memory)
        return balanced_regions(planned, leading, workers, shard_grid(self.description, targets), most)

    def lines(self, source: Any, targets: Sequence[Any], tile: Sequence[int], average: int = 1) -> Lines:
        """The normalisation of each image of a source, for `predict_into`; empty if it does not depend on the image."""
        if isinstance(self.description.input.processing, Linear):
            return {}
        planned = self.plan(
            source.shape[-len(self.description.axes) :], tile, chunk_grid(self.description, targets), average
        )
        leading = source.shape[: len(source.shape) - len(self.input_axes)]
        return {index: fitted_line(self.description, source, index, planned) for index in np.ndindex(tuple(leading))}

    def stream(
        self, images: Iterable[NDArray[np.generic]], *, tile: Sequence[int] | None = None, memory: int | None = None
    ) -> Generator[Prediction, None, None]:
        """Restore images of one shape as they arrive; the results in their order.

        Threads and buffers serve all images, and reading the next image overlaps with the network's work. Close the
        generator to stop early; until then, the model is busy.

        Parameters
        ----------
        images : iterable of ndarray
            Each as for `predict`. It is iterated in another thread, at most a few images ahead. An image may be
            overwritten as soon as the next one is asked for.
        tile, memory
            As for `predict_into`.

        Raises
        ------
        InputError
            When the model does not take an image, or its shape differs from that of the first.
        """
        self.description.check_single_frames("a stream")
        images = iter(images)
        for first in images:
            check_shape(first, "frame 0")
            self.output_shapes(first.shape)
            if first.ndim > len(self.input_axes):
                raise InputError(f"frame 0 has shape {first.shape}; this model takes {self.input_axes}")
            with self._reserved(streaming=True):
                session, planned = self._fitted(
                    first.shape, tile, memory, (1,) * len(self.description.axes), lambda text: None,
                    lambda planned: (self.session(planned.tile), planned),
                )  # fmt: skip
                yield from session.frames(chain([first], images), planned)

    @property
    def input_axes(self) -> str:
        """As `ModelDescription.input_axes`."""
        return self.description.input_axes

    def plan(
        self, shape: Sequence[int], tile: Sequence[int], grid: Sequence[int] | None = None, average: int = 1
    ) -> Plan:
        """Tiles for an image of `shape` (its spatial axes); see `zsd_runtime.tiling.plan` and `predict_into`."""
        d = averaged(self.description, average)
        if len(tile) != len(d.axes):
            raise InputError(
                f"`tile` {size_text(tile)} must have {len(d.axes)} numbers, for {d.axes.upper()}", option="tile"
            )
        check_square(tile, average)
        overlap = self.overlap_for(d)
        return plan(shape, tile, d.halo, d.size_multiple, overlap, grid, d.zero_margin, square=turns(average))

    def overlap_for(self, description: ModelDescription) -> list[int]:
        """Neighbours fade into each other over half a halo: enough where the halo hides all that differs."""
        return [LONGEST_OVERLAP if self.pools_all else min(h // 2, LONGEST_OVERLAP) for h in description.halo]

    def output_shapes(self, shape: Sequence[int]) -> list[tuple[int, ...]]:
        """As `ModelDescription.output_shapes`."""
        return self.description.output_shapes(shape)

    def _fitted(
        self,
        shape: Sequence[int],
        tile: Sequence[int] | None,
        memory: int | None,
        grid: tuple[int, ...],
        notice: Callable[[str], None],
        work: Callable[[Plan], Result],
        average: int = 1,
    ) -> Result:
        """Do `work` with tiles that fit: with smaller ones each time that the device runs out of memory."""
        d = averaged(self.description, average)
        shape = tuple(shape[-len(d.axes) :])
        # Chosen once: the first run keeps memory, and another tile would have to be prepared.
        key = (shape, grid, memory, average)
        chosen = tile is None
        if tile is None:
            tile = self._chosen.get(key) or fitting_tile(
                d, self.overlap_for(d), shape, grid, memory, device=self.engine.device, average=average
            )
        while True:
            planned = self.plan(shape, tile, grid, average)
            try:
                result = work(planned)
            except OutOfMemory as error:
                tile = self.plan(shape, smaller_tile(d, planned.tile, error, average), grid, average).tile
                notice(f"{error}: going on with tiles of {size_text(tile)}")
                continue
            if chosen:
                self._chosen[key] = planned.tile
            return result

    def session(self, tile: tuple[int, ...]) -> Session:
        """The engine prepared for tiles of a shape; valid until another shape is asked for."""
        if self._session is None or self._session.tile != tile:
            self._session = None  # its buffers go before the new ones come
            self._session = Session(self.description, self.engine, tile)
        return self._session

    @contextmanager
    def _reserved(self, *, streaming: bool = False) -> Iterator[None]:
        """The engine for one caller; other threads wait."""
        if self._streaming or self._user == get_ident():
            raise InputError(
                "the model is busy with a stream or a prediction", "let it end first, or load the model twice"
            )
        with self._lock:
            self._user, self._streaming = get_ident(), streaming
            try:
                yield
            finally:
                self._user, self._streaming = None, False

    def close(self) -> None:
        """Release the engine."""
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def load_model(
    package: str | Path,
    device: str = "auto",
    *,
    engine: str = "auto",
    precision: str = "auto",
    uncertainty: int = 0,
) -> Model:
    """Open a package made by `zsd export` (folder or zip), or a model that came with zsd.

    Parameters
    ----------
    package : path
        Or ``zoo:NAME``; `zsd zoo list` shows the names.
    device : {"auto", "cpu", "cuda", "intel", "apple"}
        "intel" is an Intel GPU; "apple" is whatever Core ML chooses on a Mac.
    engine : {"auto", "onnxruntime", "openvino", "tensorrt", "coreml"}
    precision : {"auto", "fp32", "bf16", "fp16", "int8"}
        "auto" is the package's own.
    uncertainty : int
        Repeats to estimate the uncertainty of each output by (`zsd_runtime.uncertainty`): 0 for none, 8 are enough. The
        model then has further outputs, `denoised_uncertainty` and `deconvolved_uncertainty`: half-widths, counts, of
        intervals that hold the truth of 68 % of the pixels. A prediction takes 1 + `uncertainty` times as long.

    Raises
    ------
    InputError
        When the package cannot be read or run as asked; as `EngineMissing` when something is to be installed.
    """
    description = read_package(package)
    outputs = with_uncertainty(description) if uncertainty else description  # before an engine is opened in vain
    opened = open_engine(description, device, engine, precision, engines_folder(Path(package)))
    return Model(outputs, Uncertain(opened, description, uncertainty) if uncertainty else opened)
