"""Restore frames while a camera makes them: the camera never waits, and a frame that fails stops nothing."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Any, Self

import numpy as np
import psutil
from numpy.typing import DTypeLike, NDArray

from zsd_runtime.errors import InputError
from zsd_runtime.live.counts import Counts
from zsd_runtime.live.display import Display
from zsd_runtime.live.inbox import Frame, Inbox
from zsd_runtime.live.recorder import Sink
from zsd_runtime.live.restorers import Models, Outputs, Restorer
from zsd_runtime.live.stacks import Stacks
from zsd_runtime.live.view import Shown
from zsd_runtime.model import Model

QUEUE_BYTES = 32_000_000  # of frames that wait to be restored for a file
HANG_S = 60.0  # without any result: the end does not wait longer for an engine


class Live:
    """Restoration beside a camera; a context manager, and a `View`.

    `put` hands over a frame and never waits. One thread owns the model and restores the newest frame; frames that it
    has no time for are replaced by newer ones, and counted. At the end of the context, frames that wait are restored.

    Parameters
    ----------
    model : Model, mapping of str to Model, or Restorer
        One model for all channels, or one for each by name; or what restores in another process (`Isolated`). The
        caller closes it. Nobody else uses it meanwhile.
    sink : Sink, optional
        Keeps results, for instance in files. The frames that it wants wait in a queue of their own.
    queue_bytes : int
        Of frames in that queue. When it is full, further frames are restored only if they are the newest when the
        model is free.
    clock : callable
        Seconds.

    Examples
    --------
    >>> with load_model("cells.zip") as model, Live(model) as live:
    ...     live.warm_up((512, 512))
    ...     for frame in camera:
    ...         live.put(frame)
    ...         shown = live.latest()
    """

    def __init__(
        self,
        model: Model | Mapping[str, Model] | Restorer,
        *,
        sink: Sink | None = None,
        queue_bytes: int = QUEUE_BYTES,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.restorer = Models(model) if isinstance(model, Model | Mapping) else model
        self._owned = self.restorer is not model
        self._sink, self._clock = sink, clock
        self._changed = threading.Condition()  # guards everything below
        self._counts, self._inbox, self._stacks = Counts(), Inbox(queue_bytes), Stacks()
        self._display = Display()
        self._errands: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._in_work: Frame | None = None
        self._busy_since: float | None = None
        self._is_newest = self._closing = self._ended = self._hangs = False
        threading.Thread(target=self._work, name="zsd live", daemon=True).start()

    def warm_up(
        self, shape: Sequence[int], channels: Sequence[str] = ("",), dtype: DTypeLike = np.uint16
    ) -> dict[str, tuple[int, ...]]:
        """Prepare the model for frames of a shape, before the camera starts: the first frame then costs no more.

        Parameters
        ----------
        shape : sequence of int
            (Y, X), or (Z, Y, X) of stacks.
        channels : sequence of str
        dtype : dtype
            Of the frames.

        Returns
        -------
        dict of str to tuple of int
            The shapes of the outputs by name.

        Raises
        ------
        InputError, RuntimeError, MemoryError
            When the model does not take such frames.
        """
        shapes: dict[str, tuple[int, ...]] = {}
        for channel in channels:
            if self.restorer.restores(channel):
                future: Future[Any] = Future()
                with self._changed:
                    self._check_open()
                    self._errands.append((partial(self.restorer.prepare, tuple(shape), channel, dtype), future))
                    self._changed.notify_all()
                shapes |= future.result()
        return shapes

    def put(
        self,
        plane: NDArray[np.generic],
        channel: str = "",
        *,
        index: Mapping[str, int] | None = None,
        z: int | None = None,
        slices: int = 1,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Hand over a frame of the camera. It is not copied: do not change it any more.

        Parameters
        ----------
        plane : ndarray
            (Y, X), camera counts.
        channel : str
        index : mapping of str to int
            Its place in the acquisition; of a slice, that of its stack.
        z, slices : int
            For a model of volumes: the number of the slice, from 0, and how many slices the stack has.
        details : mapping
            What else is known of the frame, for displays.

        Raises
        ------
        InputError
            When the slice does not fit its stack, or the context has ended.
        """
        now = self._clock()
        index, details = dict(index or {}), dict(details or {})
        with self._changed:
            self._check_open()
            self._counts.arrive(now)
            if not self.restorer.restores(channel):
                self._display.show_raw(Frame(self._counts.frames, plane, channel, index, details))
                self._counts.unassigned += 1
                return
            image = plane if z is None else self._stacks.add(plane, channel, index, z, slices)
            if image is None:
                return
            keep = self._sink is not None and self._sink.wants(channel, index)
            frame = Frame(self._counts.seen, image, channel, index, details, now, keep)
            self._counts.seen += 1
            self._counts.keep += keep
            if replaced := self._inbox.put(frame):
                self._drop(replaced)
            self._display.show_raw(frame)
            self._changed.notify_all()

    def latest(self, after: int = -1) -> Shown | None:
        """As `View`; of several channels, the one that waits longest to be seen."""
        with self._changed:
            return self._display.latest(after)

    def status(self) -> dict[str, Any]:
        """As `View`. At any time, seen = done + replaced + failed + waiting."""
        with self._changed:
            counts, now = self._counts, self._clock()
            status = counts.status() | {
                "waiting": len(self._inbox) + (self._in_work is not None),
                "stacks_incomplete": self._stacks.incomplete,
                "paused": self._display.paused,
                "busy_s": 0.0 if self._busy_since is None else now - self._busy_since,
                "to_keep": counts.keep,
                "not_kept": dict(counts.not_kept),
            }
        kept = self._sink.status() if self._sink else {}
        not_kept = {"not_kept": dict(Counter(status["not_kept"]) + Counter(kept.get("not_kept", {})))}
        memory = {"memory_mb": psutil.Process().memory_info().rss / 1e6}
        return status | memory | self.restorer.status() | kept | not_kept

    def pause(self, paused: bool) -> None:
        """As `View`."""
        with self._changed:
            self._display.paused = paused
            self._changed.notify_all()

    def cancel(self) -> None:
        """Drop the stacks under way: the acquisition was stopped, and their slices will not come."""
        with self._changed:
            self._stacks.drop()

    def close(self, *, drain: bool = True, report: Callable[[int], None] = lambda waiting: None) -> None:
        """End: restore the frames that wait, or count them as replaced without `drain`.

        `report` is called with the number of frames that wait, several times a second. An engine that gives no result
        for a minute is not waited for.
        """
        with self._changed:
            self._stacks.drop()
            self._closing = True
            if not drain:
                self._drop(*self._inbox.clear())
            self._changed.notify_all()
            self._await_end(report)
        if self._owned and self._ended:
            self.restorer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(drain=error is None)

    def _check_open(self) -> None:
        if self._closing:
            raise InputError("the live restoration has ended", "start another one")

    def _work(self) -> None:
        """The thread that owns the model."""
        while job := self._next():
            if not isinstance(job, Frame):
                _run(*job)
                continue
            started = self._clock()
            try:
                self._done(job, self.restorer.restore(job.image, job.channel), started)
            except Exception as error:  # whatever the engine raises; the next frame follows
                self._failed(job, error)

    def _next(self) -> Frame | tuple[Callable[[], Any], Future[Any]] | None:
        """What the worker does next; None at the end."""
        with self._changed:
            while True:
                if self._errands:
                    return self._errands.popleft()
                if taken := self._inbox.take(display=not self._display.paused):
                    self._in_work, self._is_newest = taken
                    self._busy_since = self._clock()
                    return self._in_work
                if self._closing:
                    self._drop(*self._inbox.clear())
                    self._ended = True
                    self._changed.notify_all()
                    return None
                self._changed.wait()

    def _done(self, frame: Frame, outputs: Outputs, started: float) -> None:
        now = self._clock()
        with self._changed:
            if self._in_work is not frame:  # it was given up
                return
            self._display.show(frame, outputs, 1e3 * (now - frame.arrived))
            self._counts.finish(now - frame.arrived, now - started, newest=self._is_newest)
            self._in_work = self._busy_since = None
        if frame.keep and self._sink is not None:
            try:
                self._sink.put(frame, outputs)
            except Exception as error:  # the frame was restored, and is not kept
                with self._changed:
                    self._counts.not_taken(error)

    def _failed(self, frame: Frame, error: Exception) -> None:
        with self._changed:
            if self._in_work is frame:
                self._in_work = self._busy_since = None
                self._counts.fail(error, keep=frame.keep)
                self._display.show(frame, {})

    def _drop(self, *frames: Frame) -> None:
        self._counts.replaced += len(frames)
        self._counts.not_kept["too slow"] += sum(frame.keep for frame in frames)

    def _await_end(self, report: Callable[[int], None]) -> None:
        left, since = -1, self._clock()
        while not (self._ended or self._hangs):
            before, left = left, len(self._inbox) + (self._in_work is not None)
            report(left)
            if left != before:
                since = self._clock()
            elif self._clock() - since > HANG_S:
                self._hangs = True
                self._drop(*self._inbox.clear())
                if self._in_work is not None:
                    self._failed(self._in_work, RuntimeError(f"the engine gave no result for {HANG_S:.0f} s"))
            self._changed.wait(0.1)


def _run(work: Callable[[], Any], future: Future[Any]) -> None:
    try:
        future.set_result(work())
    except Exception as error:  # raised again where the result is waited for
        future.set_exception(error)
