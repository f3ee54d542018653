"""Engines run a network on batches of one shape. Each has a file of its own; all follow one protocol.

The constructor opens the network on a device. `prepare` fixes the shape of the batches, with all that this costs:
compilation, allocation, a first run. `run` does the work, and `close` gives back the device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from zsd_runtime.errors import InputError, size_text

Array = NDArray[Any]


class OutOfMemory(RuntimeError):
    """The device has no room for batches of this shape; smaller tiles may fit."""


class EngineMissing(InputError):
    """The engine cannot run here: a library, a driver or a device is missing. The message has the remedy."""


class Engine(Protocol):
    """What a model needs of an engine.

    Attributes
    ----------
    name, device, precision : str
        What really runs.
    input_dtype : dtype
        Of the batch.
    output_names : list of str
        In the order of the graph.
    output_dtypes : list of dtype
        Of the outputs, in the same order.
    """

    name: str
    device: str
    precision: str
    input_dtype: np.dtype[Any]
    output_names: list[str]
    output_dtypes: list[np.dtype[Any]]

    def prepare(self, batch_shape: tuple[int, ...], output_shapes: list[tuple[int, ...]]) -> None:
        """Get ready for batches (N, C, [Z,] Y, X) of this shape, and run once. A later call may give another shape.

        Raises
        ------
        OutOfMemory
            When the device has no room for such a batch.
        """

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """Host memory that this engine copies from and to at its best speed (page-locked, for a GPU)."""

    def run(self, batch: Array, outputs: list[Array]) -> None:
        """Run on a batch of the prepared shape, and fill `outputs`. Arrays are C-contiguous, of the engine's dtypes.

        Raises
        ------
        OutOfMemory
            When the device runs out of memory.
        """

    def close(self) -> None:
        """Give back the device and its memory."""


# What libraries say when no memory is left, in lower case.
_NO_MEMORY = (
    "bad_alloc", "bad allocation", "out of memory", "failed to allocate", "cudaerrormemoryallocation", "alloc_failed",
    "allocation_failure", "exceeded max size of memory", "out_of_resources",
)  # fmt: skip


@contextmanager
def failures(engine: str, shape: tuple[int, ...]) -> Iterator[None]:
    """Turn the exceptions of a library into `OutOfMemory`, or `RuntimeError` with the engine and the tile."""
    try:
        yield
    except (InputError, OutOfMemory):
        raise
    except Exception as error:  # the libraries' exceptions share no base class
        size, reason = size_text(shape[2:]), str(error).strip().split("\n")[0]
        if isinstance(error, MemoryError) or any(word in str(error).lower() for word in _NO_MEMORY):
            raise OutOfMemory(f"{engine} has no memory for a tile of {size}") from None
        raise RuntimeError(f"{engine} failed on a tile of {size} ({reason}): try another engine") from None


def run_once(engine: Engine, batch: Array, scales: list[tuple[int, ...]]) -> list[Array]:
    """Outputs (N, 1, …) for one batch (N, C, [Z,] Y, X); each is finer by its `scales`, axis by axis."""
    shapes = [(len(batch), 1, *(n * k for n, k in zip(batch.shape[2:], scale, strict=True))) for scale in scales]
    engine.prepare(batch.shape, shapes)
    outputs = [engine.empty(s, dtype) for s, dtype in zip(shapes, engine.output_dtypes, strict=True)]
    engine.run(np.ascontiguousarray(batch, engine.input_dtype), outputs)
    return outputs


def relative_difference(a: Array, b: Array) -> float:
    """Largest absolute difference as a share of b's range, 0 among it: rounding of flat images is a share of theirs."""
    return float(np.abs(a - b).max() / max(float(b.max()), float(-b.min()), float(np.ptp(b)), 1e-12))
