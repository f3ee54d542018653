"""Read, infer, write: three stages that overlap, over buffers that are used again and again."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from queue import SimpleQueue
from typing import Any, TypeVar

Job = TypeVar("Job")
Source = TypeVar("Source")
Sink = TypeVar("Sink")

_READ, _WRITTEN, _END, _FAILED = "read", "written", "end", "failed"  # what a thread reports
JOIN_S = 1.0  # how long the end waits for `jobs` to give a next one; the thread then ends by itself when it comes


def stream(
    jobs: Iterable[Job],
    read: Callable[[Job, Source], None],
    infer: Callable[[Source, Sink], None],
    write: Callable[[Job, Sink], None],
    sources: Iterable[Source],
    sinks: Iterable[Sink],
) -> Generator[Job, None, None]:
    """Do every job in order, and yield it when it is written.

    `jobs` and `read`, which fills a source, run in one thread; `write`, which empties a sink, runs in another. `infer`
    makes a sink of a source in the calling thread, where Ctrl-C arrives. Only as many jobs are under way as there are
    `sources` and `sinks`, which bounds the memory.

    The first exception of any stage is raised here. Both threads end with the generator: close it
    (`contextlib.closing`) where it may not be exhausted.
    """
    empty, full, inbox = SimpleQueue[Any](), SimpleQueue[Any](), SimpleQueue[Any]()
    for source in sources:
        empty.put(source)
    free, ready, writing = deque(sinks), deque[Any](), 0
    reads, stopped = threading.Lock(), threading.Event()

    def reader() -> None:
        for job in jobs:
            source = empty.get()
            with reads:
                if stopped.is_set():
                    return
                read(job, source)
            inbox.put((_READ, (job, source)))
        inbox.put((_END, None))

    def writer() -> None:
        while (item := full.get()) is not None and not stopped.is_set():
            write(*item)
            inbox.put((_WRITTEN, item))

    threads = [_started(work, inbox) for work in (reader, writer)]
    try:
        more = True
        while more or ready or writing:
            what, item = inbox.get()
            if what is _FAILED:
                raise item
            if what is _END:
                more = False
            elif what is _READ:
                ready.append(item)
            else:
                writing -= 1
                free.append(item[1])
                yield item[0]
            if ready and free:
                (job, source), sink = ready.popleft(), free.popleft()
                infer(source, sink)
                empty.put(source)
                full.put((job, sink))
                writing += 1
    finally:
        stopped.set()
        empty.put(None)
        full.put(None)
        with reads:  # the buffers are no longer in use
            pass
        for thread, timeout in zip(threads, (JOIN_S, None), strict=True):
            thread.join(timeout)


def _started(work: Callable[[], None], inbox: SimpleQueue[Any]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        except BaseException as error:  # raised again in the calling thread
            inbox.put((_FAILED, error))

    thread = threading.Thread(target=run, name=f"zsd {work.__name__}", daemon=True)
    thread.start()
    return thread
