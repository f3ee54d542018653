"""Engines run a network on batches of one shape; one file an engine, one protocol for all.

The life of an engine: its constructor opens the network on a device, `prepare` fixes the shape of the batches to come
(and pays for whatever that costs: compilation, allocation, a first run), `run` does the work, `close` gives back the
device.
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

    name, device, precision : what really runs · input_dtype, output_dtypes : of the arrays in and out ·
    output_names : in the order of the graph.
    """

    name: str
    device: str
    precision: str
    input_dtype: np.dtype[Any]
    output_names: list[str]
    output_dtypes: list[np.dtype[Any]]

    def prepare(self, batch_shape: tuple[int, ...], output_shapes: list[tuple[int, ...]]) -> None:
        """Get ready for batches (N, 1, [Z,] Y, X) of this shape, and run once. May be called again, with another.

        Raises
        ------
        OutOfMemory
            When the device has no room for it.
        """

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """Host memory that this engine copies from and to at its best speed (page-locked, for a GPU)."""

    def run(self, batch: Array, outputs: list[Array]) -> None:
        """Run on a batch of the prepared shape, C-contiguous, of `input_dtype`; fill `outputs`, likewise.

        Raises
        ------
        OutOfMemory
            When the device ran out of memory all the same.
        """

    def close(self) -> None:
        """Give back the device and its memory."""


# What libraries say, in any spelling, when there is no memory left.
_NO_MEMORY = (
    "bad_alloc", "bad allocation", "out of memory", "failed to allocate", "cudaerrormemoryallocation", "alloc_failed",
    "allocation_failure", "exceeded max size of memory", "out_of_resources",
)  # fmt: skip


@contextmanager
def failures(engine: str, shape: tuple[int, ...]) -> Iterator[None]:
    """Make of what a library raises an `OutOfMemory` or a `RuntimeError` that names the engine and the tile."""
    try:
        yield
    except (InputError, OutOfMemory):
        raise
    except Exception as error:  # the libraries' exceptions share no base class
        size, reason = size_text(shape[2:]), str(error).strip().split("\n")[0]
        if isinstance(error, MemoryError) or any(word in str(error).lower() for word in _NO_MEMORY):
            raise OutOfMemory(f"{engine} has no memory for a tile of {size}") from None
        raise RuntimeError(f"{engine} failed on a tile of {size} ({reason}): try another --engine") from None


def run_once(engine: Engine, batch: Array, scales: list[tuple[int, ...]]) -> list[Array]:
    """Outputs for one batch (N, 1, [Z,] Y, X); `scales` says how much finer each output is, axis by axis."""
    shapes = [batch.shape[:2] + tuple(n * k for n, k in zip(batch.shape[2:], scale, strict=True)) for scale in scales]
    engine.prepare(batch.shape, shapes)
    outputs = [engine.empty(s, dtype) for s, dtype in zip(shapes, engine.output_dtypes, strict=True)]
    engine.run(np.ascontiguousarray(batch, engine.input_dtype), outputs)
    return outputs


def relative_difference(a: Array, b: Array) -> float:
    """Largest absolute difference as a share of b's range."""
    return float(np.abs(a - b).max() / max(float(np.ptp(b)), 1e-12))
