"""A model that predicts: package + engine + tiles."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.engines import Engine, run_once
from zsd_runtime.errors import InputError
from zsd_runtime.images import check_array
from zsd_runtime.package import ModelDescription, read_package
from zsd_runtime.tiling import plan

# Input pixels a tile may have: for 2D a square of 640 px, with which the published widths need about 1 GB.
TILE_PIXELS = 640**2


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

    def predict(
        self,
        image: NDArray[np.generic],
        *,
        tile: tuple[int, ...] | None = None,
        report: Callable[[int, int], None] = lambda done, total: None,
    ) -> Prediction:
        """Denoise and deconvolve one image.

        Parameters
        ----------
        image : ndarray
            (Y, X), or (Z, Y, X) for a 3D model; camera counts, any real dtype, any size.
        tile : tuple of int
            Shape of the tiles, input pixels; chosen when not given. The result is the same up to what the
            halo was measured to leave.
        report : callable
            Told (tiles done, tiles in all).

        Raises
        ------
        InputError
            When the array is not an image that the model takes, or a tile is smaller than twice the halo.
        """
        check_array(image, "the image")
        d = self.description
        if image.ndim != len(d.axes):
            raise InputError(
                f"the image has shape {image.shape}; this model takes {d.axes.upper()}: give each plane by itself"
            )
        if tile is not None and len(tile) != image.ndim:
            raise InputError(f"tile {'x'.join(map(str, tile))} must have {image.ndim} numbers, for {d.axes.upper()}")
        tiles = plan(image.shape, tile or self._tile(), d.halo, d.step)
        results = [
            np.zeros([n * k for n, k in zip(image.shape, output.scale, strict=True)], np.float32)
            for output in d.outputs
        ]
        for done, part in enumerate(tiles, 1):
            batch = d.preprocessing(part.read(image))[None, None]
            for result, output, values in zip(
                results, d.outputs, run_once(self.engine, batch, [o.scale for o in d.outputs]), strict=True
            ):
                counts = output.postprocessing(values[0, 0][part.crop(output.scale)])
                result[part.write(output.scale)] += counts * part.weight(output.scale)
            report(done, len(tiles))
        return Prediction(*results)

    def _tile(self) -> tuple[int, ...]:
        """A cube (a square) of TILE_PIXELS, or what it takes to hold three halos."""
        axes = len(self.description.axes)
        side = round(TILE_PIXELS ** (1 / axes))
        return tuple(max(side, 3 * halo) for halo in self.description.halo)

    def close(self) -> None:
        """Release the engine."""
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def load_model(package: str | Path, device: str = "auto") -> Model:
    """Open a package made by `zsd export` (folder or zip).

    Parameters
    ----------
    package : path
    device : {"auto", "cpu"}

    Raises
    ------
    InputError
        When the package cannot be read or run.
    """
    from zsd_runtime.engines.onnxruntime import OnnxRuntime

    if device not in ("auto", "cpu"):
        raise InputError(f"device {device!r} is not available: 'auto' and 'cpu' are")
    description = read_package(package)
    return Model(description, OnnxRuntime(description.weights))
