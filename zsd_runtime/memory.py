"""Free memory, peak memory, and the release of mapped files."""

import ctypes
import mmap
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

UNKNOWN_GPU = 4 << 30  # bytes, of a GPU that does not report it; tiles are halved if that is too much
CGROUP, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")  # limits that psutil does not see


def free_memory(device: str = "cpu") -> int:
    """Bytes that this process may still allocate: on the GPU for "cuda", else in main memory without swapping."""
    return _free_on_cuda() if device == "cuda" else _free_in_main()


def cuda_driver() -> ctypes.CDLL | None:
    """The NVIDIA driver's library, or None."""
    try:
        return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None


def _free_on_cuda() -> int:
    """On the device that an engine has made current in this thread."""
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    driver = cuda_driver()
    if driver is None or driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)):
        return UNKNOWN_GPU
    return free.value


def _free_in_main() -> int:
    return min([int(psutil.virtual_memory().available), *_free_in_cgroups()])


def _free_in_cgroups() -> Iterator[int]:
    """Bytes left by the limits of a container or batch job (cgroup v2): of this process's group and its parents."""
    try:
        own = Path(OWN_CGROUP.read_text().splitlines()[-1].rpartition(":")[2].strip("/"))
    except (OSError, IndexError):
        return
    for group in (CGROUP / own, *(CGROUP / parent for parent in own.parents)):
        try:
            limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
            cached = next(
                int(line.split()[1]) for line in (group / "memory.stat").read_text().splitlines()
                if line.startswith("inactive_file ")
            )  # fmt: skip
        except (OSError, ValueError, StopIteration):  # no limit ("max"), or no such group
            continue
        yield max(limit - used + cached, 0)  # cached file pages are freed on demand


def release(array: Any) -> None:
    """Release the pages of a memory-mapped array; what was written stays in the file and the system's cache.

    The system counts pages of a mapped file as this process's memory, and reclaims them only when memory is short. In
    a container, a long run would become as large as its files.
    """
    while isinstance(array, np.ndarray) and not isinstance(array.base, mmap.mmap):
        array = array.base
    # Not for a private copy ("c"), which would lose what was assigned to it.
    if getattr(array, "mode", None) in ("r", "r+", "w+") and sys.platform != "win32":
        array.base.madvise(mmap.MADV_DONTNEED)


@contextmanager
def peak_memory(interval_s: float = 0.002) -> Iterator[list[int]]:
    """Sample this process's resident memory, bytes; the list holds one number, the peak so far."""
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
