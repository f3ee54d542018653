"""How much memory there is, how much was used, and giving back what mapped files hold."""

import mmap
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

CGROUP = Path("/sys/fs/cgroup")  # of a container, whose limit psutil does not see


def free_memory() -> int:
    """Bytes of main memory that this process may still take without swapping."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no container, or "max"
        return free
    return min(free, max(limit - used, 0))


def release(array: Any) -> None:
    """Let go of the pages of a memory-mapped array; the file keeps what was written, as does the system's cache.

    Pages of a mapped file count as this process's memory until the system wants them back, which it does not do while
    there is room: a long run would seem, and in a container be, as large as its files.
    """
    while isinstance(array, np.ndarray) and not isinstance(array.base, mmap.mmap):
        array = array.base
    # Not of a private copy ("c"), which would forget what was assigned to it.
    if getattr(array, "mode", None) in ("r", "r+", "w+") and sys.platform != "win32":
        array.base.madvise(mmap.MADV_DONTNEED)


@contextmanager
def peak_memory(interval_s: float = 0.002) -> Iterator[list[int]]:
    """Sample this process's resident bytes; the list's one number is the peak so far."""
    process, peak, stop = psutil.Process(), [0], threading.Event()

    def sample() -> None:
        while True:
            peak[0] = max(peak[0], process.memory_info().rss)
            if stop.wait(interval_s):
                return

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()
