"""An engine in a process of its own: a crash or a hang of it does not touch the camera's process."""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from math import prod
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from zsd_runtime.errors import InputError
from zsd_runtime.live.restorers import Outputs, Restorer

TIMEOUT_S = 30.0  # of one frame
START_S = 600.0  # of opening a package and preparing a shape: some engines compile for minutes
MOST_RESTARTS = 3
ALIGNMENT = 64  # bytes
SHARED_MEMORY = Path("/dev/shm")  # of Linux; containers often have little of it

Shapes = dict[str, tuple[int, ...]]


class Isolated:
    """A `Restorer` in a worker process; frames and results pass through shared memory.

    A process that dies or gives no answer is replaced by a new one, a bounded number of times; the frame that it had
    fails.

    Parameters
    ----------
    make : callable
        Makes the `Restorer`, in the worker process: a function of a module, or a `functools.partial` of one.
    channels : sequence of str or None
        That it restores; None for all.
    timeout_s : float
        For one frame.
    most_restarts : int

    Raises
    ------
    InputError, RuntimeError
        When `make` fails.
    """

    def __init__(
        self, make: Callable[[], Restorer], channels: tuple[str, ...] | None = None, *, timeout_s: float = TIMEOUT_S,
        most_restarts: int = MOST_RESTARTS,
    ) -> None:  # fmt: skip
        self._make, self._channels, self._timeout_s = make, channels, timeout_s
        self._most_restarts, self.restarts = most_restarts, 0
        self._process: Any = None
        self._connection: Connection | None = None
        self._block: SharedMemory | None = None
        self._shapes: dict[tuple[tuple[int, ...], str], Shapes] = {}
        self._status: dict[str, Any] = {}
        self._start()

    @property
    def pid(self) -> int | None:
        """Of the worker process."""
        return self._process.pid if self._process is not None else None

    def restores(self, channel: str) -> bool:
        """As `Restorer`."""
        return self._channels is None or channel in self._channels

    def prepare(self, shape: tuple[int, ...], channel: str, dtype: DTypeLike) -> Shapes:
        """As `Restorer`."""
        shapes: Shapes = self._ask(START_S, "prepare", shape, channel, np.dtype(dtype).str)
        self._shapes[shape, channel] = shapes
        return shapes

    def restore(self, image: NDArray[np.generic], channel: str) -> Outputs:
        """As `Restorer`."""
        if self._process is None:
            self._restart()
        shapes = self._shapes.get((image.shape, channel)) or self.prepare(image.shape, channel, image.dtype)
        block = self._room(_places(image.nbytes, shapes)[1])
        np.ndarray(image.shape, image.dtype, block.buf)[...] = image
        self._ask(self._timeout_s, "restore", image.shape, channel, image.dtype.str, block.name, shapes)
        return {name: values.copy() for name, values in _outputs(block, image.nbytes, shapes).items()}

    def status(self) -> dict[str, Any]:
        """The engine, and how often the process was replaced."""
        return self._status | {"restarts": self.restarts, "isolated": True}

    def close(self) -> None:
        """End the process."""
        self._end()
        if self._block is not None:
            self._block.close()
            self._block.unlink()
            self._block = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._make), name="zsd engine", daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        self._shapes.clear()
        try:
            self._status = self._answer(START_S)
        except BaseException:
            self._end()
            raise

    def _restart(self) -> None:
        if self.restarts >= self._most_restarts:
            raise RuntimeError(f"the engine's process failed {self.restarts + 1} times: it is not started again")
        self.restarts += 1
        self._start()

    def _ask(self, timeout_s: float, *task: Any) -> Any:
        if self._process is None:
            self._restart()
        assert self._connection is not None
        try:
            self._connection.send(task)
        except OSError:  # it died while nothing was asked of it
            raise self._lost() from None
        return self._answer(timeout_s)

    def _answer(self, timeout_s: float) -> Any:
        assert self._connection is not None
        try:
            if not self._connection.poll(timeout_s):
                self._end()
                raise RuntimeError(f"the engine's process gave no answer for {timeout_s:g} s: it is started again")
            answer, error = self._connection.recv()
        except (EOFError, OSError):
            raise self._lost() from None
        if error is not None:
            raise error
        return answer

    def _lost(self) -> RuntimeError:
        """The error for a process that ended by itself."""
        self._process.join(1)
        code = self._process.exitcode
        self._end()
        how = "ended" if code is None else f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        return RuntimeError(f"the engine's process {how}: it is started again")

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.close()  # an idle process ends by itself
            self._connection = None
        if self._process is not None:
            self._process.join(0.5)
            self._process.kill()
            self._process.join()
            self._process.close()
            self._process = None

    def _room(self, size: int) -> SharedMemory:
        """Shared memory of at least `size` bytes."""
        if self._block is None or self._block.size < size:
            if self._block is not None:
                self._block.close()
                self._block.unlink()
                self._block = None
            if SHARED_MEMORY.is_dir() and (free := shutil.disk_usage(SHARED_MEMORY).free) < size:
                # Writing to more than there is would end this process, not only raise an error.
                raise InputError(
                    f"a frame and its results need {size / 1e6:.0f} MB of shared memory; {free / 1e6:.0f} MB are free",
                    "make /dev/shm larger (docker run --shm-size=1g), or do without `isolate`", option="isolate",
                )  # fmt: skip
            self._block = SharedMemory(create=True, size=size)
        return self._block


def _places(start: int, shapes: Shapes) -> tuple[dict[str, int], int]:
    """Where the outputs, float32, lie in a block after `start` bytes; and its size."""
    offsets, end = {}, start
    for name, shape in shapes.items():
        offsets[name] = -(-end // ALIGNMENT) * ALIGNMENT
        end = offsets[name] + 4 * prod(shape)
    return offsets, end


def _outputs(block: SharedMemory, start: int, shapes: Shapes) -> dict[str, NDArray[np.float32]]:
    offsets, _ = _places(start, shapes)
    return {name: np.ndarray(shape, np.float32, block.buf, offsets[name]) for name, shape in shapes.items()}


def _serve(connection: Connection, make: Callable[[], Restorer]) -> None:
    """The worker process: answers until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the camera's process, which ends this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(os, "nice"):
        os.nice(5)  # the camera comes first
    block: SharedMemory | None = None
    restorer: Restorer | None = None

    def answer(task: tuple[Any, ...] | None) -> Any:
        nonlocal block, restorer
        if restorer is None:
            restorer = make()
        if task is None:
            return restorer.status()
        what, shape, channel, dtype, *rest = task
        if what == "prepare":
            return restorer.prepare(shape, channel, dtype)
        name, shapes = rest
        if block is None or block.name != name:
            if block is not None:
                block.close()
            block = SharedMemory(name)
        image: NDArray[Any] = np.ndarray(shape, dtype, block.buf)
        results = restorer.restore(image, channel)
        for place, values in zip(_outputs(block, image.nbytes, shapes).values(), results.values(), strict=True):
            place[...] = values
        return None

    task: tuple[Any, ...] | None = None
    while True:
        reply: tuple[Any, Exception | None]
        try:
            reply = (answer(task), None)
        except Exception as error:  # the next frame follows
            reply = (None, _portable(error))
        try:
            connection.send(reply)
            task = connection.recv()
        except (EOFError, OSError):
            return


def _portable(error: Exception) -> Exception:
    """The error as other processes can read it."""
    if isinstance(error, InputError):
        return InputError(str(error))
    return RuntimeError(str(error) or type(error).__name__)
