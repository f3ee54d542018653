"""Read, infer, write: three stages that overlap, one thread each, over buffers that are used again and again."""

import threading
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Any, TypeVar

Job = TypeVar("Job")
Source = TypeVar("Source")
Sink = TypeVar("Sink")

_STOP: Any = object()


def stream(
    jobs: Iterable[Job],
    read: Callable[[Job, Source], None],
    infer: Callable[[Source, Sink], None],
    write: Callable[[Job, Sink], None],
    sources: Iterable[Source],
    sinks: Iterable[Sink],
) -> None:
    """Do every job: `read` fills a source, `infer` makes a sink of it, `write` empties that; jobs stay in order.

    As many jobs are under way as there are `sources` and `sinks` to hold them: memory is bounded by them. `infer` runs
    in the calling thread, where Ctrl-C arrives. The first exception of any stage stops all three and is raised here.
    """
    empty, full, free, done = queues = [SimpleQueue[Any]() for _ in range(4)]
    for source in sources:
        empty.put(source)
    for sink in sinks:
        free.put(sink)
    errors: list[BaseException] = []

    def stop() -> None:
        for queue in queues:
            queue.put(_STOP)

    def stage(work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # raised again in the calling thread
                errors.append(error)
                stop()

        thread = threading.Thread(target=run, name=work.__name__, daemon=True)
        thread.start()
        return thread

    def reading() -> None:
        for job in jobs:
            if errors or (source := empty.get()) is _STOP:
                return
            read(job, source)
            full.put((job, source))
        full.put(_STOP)

    def writing() -> None:
        while (item := done.get()) is not _STOP and not errors:
            job, sink = item
            write(job, sink)
            free.put(sink)

    threads: list[threading.Thread] = []
    try:
        threads += [stage(reading), stage(writing)]
        while (item := full.get()) is not _STOP and not errors:
            job, source = item
            if (sink := free.get()) is _STOP:
                break
            infer(source, sink)
            empty.put(source)
            done.put((job, sink))
        done.put(_STOP)
        for thread in threads:
            thread.join()
    except BaseException as error:
        errors.append(error)
        stop()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
