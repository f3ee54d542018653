"""A running restoration whose frames a test makes one by one."""

import threading

import numpy as np

from zsd_runtime.live.view import Shown


class FakeView:
    """Frames of a moving spot, or of noise of a shape; `put` never waits, whatever the pages do."""

    def __init__(self, shape=(64, 96), noise=None):
        self.shape, self.puts, self.paused, self.error = shape, 0, False, None
        self.noise = None if noise is None else np.random.default_rng(0).integers(0, 1000, noise).astype(np.uint16)
        self._newest, self._lock = None, threading.Lock()

    def put(self, channel="", level=100.0):
        self.puts += 1
        if self.noise is not None:
            with self._lock:
                self._newest = Shown(self.puts, self.noise, {"denoised": self.noise.astype(np.float32)})
            return
        y, x = np.indices(self.shape)
        middle = self.shape[0] // 2 + self.puts % 16 - 8  # a zoom at the middle shows the whole spot
        distance = (y - middle) ** 2 + (x - 40) ** 2
        raw = np.rint(level + 900 * np.exp(-distance / 50)).astype(np.uint16)
        fine = np.repeat(np.repeat(raw, 2, 0), 2, 1).astype(np.float32) - 100
        outputs = {"denoised": raw.astype(np.float32) - 100, "deconvolved": fine}
        with self._lock:
            self._newest = Shown(self.puts, raw, outputs, channel, 12.5, {"pixel_size_um": 0.065})

    def latest(self, after=-1):
        with self._lock:
            newest = self._newest
        return newest if newest is not None and newest.number > after else None

    def status(self):
        return {
            "seen": self.puts, "done": self.puts, "replaced": 3, "failed": 0, "latency_p50_ms": 12.0,
            "latency_p99_ms": 20.0, "error": self.error, "paused": self.paused,
        }  # fmt: skip

    def pause(self, paused):
        self.paused = paused
