"""The worker process of a widget: it waits for tasks, and does one after the other.

A process and not a thread: importing torch alone would stop the viewer for a second, and Python's lock would make it
stutter. If the viewer ends, or crashes, its pipe closes, and the worker stops by itself.
"""

import os
import pickle
import queue
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from importlib import import_module
from math import prod
from typing import Any, BinaryIO

import numpy as np
import psutil
from numpy.typing import NDArray

from zsd_runtime.errors import InputError, Interrupted

# A task, and the function that does it: it gets the link to the viewer, then the arguments.
TASKS = {
    "train": "zsd_napari.tasks.training:train_on",
    "predict": "zsd_napari.tasks.predicting:predict",
    "noise": "zsd_napari.tasks.measuring:measure_noise",
    "psf": "zsd_napari.tasks.measuring:picture_psf",
    "report": "zsd_napari.tasks.judging:report_on",
}
END_S = 30.0  # that a task has to end by itself after the viewer has gone
# The viewer comes first: on a single core it would stutter. Where other programs keep all cores busy, ZSD_NAPARI_NICE=0
# gives a training its share of them.
NICENESS = int(os.environ.get("ZSD_NAPARI_NICE", "10"))


class Link:
    """The worker's end of the pipe to the viewer.

    Attributes
    ----------
    stopped : Event
        The person wants the task to stop, or the viewer has gone.
    alone : Event
        The viewer has gone.
    """

    def __init__(self, inward: BinaryIO, outward: BinaryIO) -> None:
        self._inward, self._outward = inward, outward
        self._sending, self._asking = threading.Lock(), threading.Lock()
        self._tasks: queue.SimpleQueue[tuple[str, dict[str, Any]] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[NDArray[Any] | Exception] = queue.SimpleQueue()
        self.stopped, self.alone = threading.Event(), threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, kind: str, *values: Any) -> None:
        """Tell the viewer something; of a viewer that has gone, nothing happens."""
        try:
            with self._sending:
                pickle.dump((kind, *values), self._outward, protocol=5)
                self._outward.flush()
        except (BrokenPipeError, ValueError):
            self._lost()

    def notice(self, text: str) -> None:
        """A sentence that a person should read."""
        self.send("notice", text)

    def progress(self, share: float, text: str) -> None:
        """How far the task is; raises `Interrupted` if it is to stop."""
        self.check()
        self.send("progress", share, text)

    def read(self, box: tuple[int | slice, ...]) -> NDArray[Any]:
        """A part of the layer.

        Raises
        ------
        InputError
            When the viewer cannot read it.
        Interrupted
            When the viewer has gone.
        """
        with self._asking:
            self.send("read", box)
            answer = self._answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def check(self) -> None:
        """Raise `Interrupted` if the task is to stop."""
        if self.stopped.is_set():
            raise Interrupted("stopped")

    def next_task(self) -> tuple[str, dict[str, Any]] | None:
        """Wait for a task; None when the viewer has gone."""
        return self._tasks.get()

    def _listen(self) -> None:
        """Sort what the viewer says: tasks, answers, and wishes to stop, which must not wait for the task's end."""
        while True:
            try:
                kind, *values = pickle.load(self._inward)
            except (EOFError, OSError, pickle.UnpicklingError):
                self._lost()
                time.sleep(END_S)
                os._exit(1)
            if kind == "task":
                self.stopped.clear()
                self._tasks.put((values[0], values[1]))
            elif kind == "data":
                self._answers.put(values[0])
            else:
                self.stopped.set()

    def _lost(self) -> None:
        self.alone.set()
        self.stopped.set()
        self._answers.put(Interrupted("the viewer has gone"))
        self._tasks.put(None)


class Remote:
    """The pixels of a layer, which the viewer holds: read where they are sliced. The last whole image is kept.

    Parameters
    ----------
    link : Link
    shape : tuple of int
    dtype : str
    spatial : int
        How many of the last axes are an image: they are read together if that is little.
    """

    MOST_BYTES = 64 << 20  # of an image that is read as a whole, so that its tiles do not ask for it again

    def __init__(self, link: Link, shape: tuple[int, ...], dtype: str, spatial: int = 2) -> None:
        self.shape, self.dtype, self.ndim = tuple(shape), np.dtype(dtype), len(shape)
        self._link, self._spatial = link, min(spatial, len(shape))
        self._kept: tuple[tuple[int, ...], NDArray[Any]] | None = None

    def __getitem__(self, box: Any) -> NDArray[Any]:
        box = box if isinstance(box, tuple) else (box,)
        box = (*box, *(slice(None) for _ in range(self.ndim - len(box))))
        leading, inside = box[: self.ndim - self._spatial], box[self.ndim - self._spatial :]
        image = self.shape[self.ndim - self._spatial :]
        one = all(isinstance(b, int | np.integer) or b.stop == (b.start or 0) + 1 for b in leading)
        if not one or np.prod(image) * self.dtype.itemsize > self.MOST_BYTES:
            return self._link.read(box)
        at = tuple(int(b) if isinstance(b, int | np.integer) else int(b.start or 0) for b in leading)
        if self._kept is None or self._kept[0] != at:
            self._kept = at, self._link.read((*at, *(slice(0, n) for n in image)))
        found = self._kept[1][inside]
        return found.reshape([1 for b in leading if isinstance(b, slice)] + list(found.shape))

    def spread(self, count: int, inside: tuple[slice, ...]) -> list[NDArray[Any]]:
        """The same part of up to so many images, evenly spread over the layer."""
        leading = self.shape[: self.ndim - len(inside)]
        images, total = [], prod(leading)
        for number in np.linspace(0, total - 1, min(count, total)).round().astype(int):
            self._link.check()
            images.append(self[(*map(int, np.unravel_index(number, leading)), *inside)])
        return images


def serve(link: Link) -> None:
    """Do tasks until the viewer has gone."""
    while (task := link.next_task()) is not None:
        name, arguments = task
        try:
            module, function = TASKS[name].split(":")
            work: Callable[..., Any] = getattr(import_module(module), function)
            link.send("done", work(link, **arguments))
        except InputError as error:
            link.send("refused", str(error), error.options)
        except Interrupted as error:
            link.send("stopped", str(error))
        except ModuleNotFoundError as error:
            link.send("refused", f"{error.name} is not installed: pip install 'zsd[napari]'", ())
        except MemoryError:
            link.send("refused", "the memory is too small for this: crop the layer", ())
        except Exception as error:
            link.send("failed", str(error) or type(error).__name__, traceback.format_exc())


def main() -> None:
    """What the process runs: its standard input and output are the pipe, and prints of libraries go to stderr."""
    inward, outward = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a fork closes it, and would wait for our reader
    os.dup2(2, 1)
    if hasattr(os, "register_at_fork"):
        # A fork, as OpenVINO's telemetry makes, must not hold the pipe open when this process has ended.
        for end in (inward, outward):
            os.register_at_fork(after_in_child=partial(os.close, end.fileno()))
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    else:
        psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)  # type: ignore[attr-defined]  # of Windows
    serve(Link(inward, outward))
