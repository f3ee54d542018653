"""How many threads training computes with on a machine that others use, too.

Every operation of a training step waits for its slowest thread. Where another program keeps a core busy, one of two
threads is always late: two of them then make fewer steps than one alone (benchmarks/busy.py). So a training uses as
many threads as there are cores that nobody else keeps busy.
"""

import os
from typing import Self

import psutil
import torch

INTERVAL_S = 1.0  # over which the load is averaged, at least


class Threads:
    """Adapts torch's threads to the load of the machine.

    Parameters
    ----------
    fixed : bool
        Leave them: results then are the same in every run, whatever the load. They are left, too, where the user has
        chosen (OMP_NUM_THREADS), or on a GPU's host with a single core.
    """

    def __init__(self, *, fixed: bool = False) -> None:
        self.most = torch.get_num_threads()
        self.fixed = fixed or self.most == 1 or "OMP_NUM_THREADS" in os.environ
        self.cores = psutil.cpu_count() or 1
        self.process = psutil.Process()
        self.before = self._now()

    def adapt(self) -> None:
        """Set the number of threads after the load since the last call that was at least `INTERVAL_S` ago."""
        if self.fixed:
            return
        now = self._now()
        wall, busy, own = (b - a for a, b in zip(self.before, now, strict=True))
        if wall < INTERVAL_S * self.cores:
            return
        self.before = now
        torch.set_num_threads(threads_beside((busy - own) / wall * self.cores, self.cores, self.most))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if not self.fixed:
            torch.set_num_threads(self.most)  # whatever this process does next starts from there

    def _now(self) -> tuple[float, float, float]:
        """Core seconds so far: of all cores, of which busy, of which ours."""
        times, ours = psutil.cpu_times(), self.process.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # On Linux, guests' time is counted in user time already.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        return total, total - idle, ours.user + ours.system


def threads_beside(others: float, cores: int, most: int) -> int:
    """Threads for a training when other programs keep `others` cores busy, between 1 and `most`."""
    return max(1, min(most, round(cores - others)))
