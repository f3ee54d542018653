"""Stand-ins for models beside a camera; the tests say when they are done."""

import os
import signal
import threading

import numpy as np

CRASH, KILL, HANG, NO_MEMORY = 101, 102, 103, 104  # values of a frame's first pixel


class FakeRestorer:
    """Doubles images. With `hold`, it waits before each until it is released; `fails` says which frames raise."""

    def __init__(self, *, hold=False, fails=lambda image: False, channels=None):
        self.gate, self.entered = threading.Semaphore(0), threading.Semaphore(0)
        self.hold, self.fails, self.channels = hold, fails, channels
        self.restored, self.prepared, self.threads = [], [], set()

    def restores(self, channel):
        return self.channels is None or channel in self.channels

    def prepare(self, shape, channel, dtype):
        self.threads.add(threading.current_thread())
        self.prepared.append((shape, channel, np.dtype(dtype)))
        return {"denoised": shape}

    def restore(self, image, _channel):
        self.threads.add(threading.current_thread())
        self.entered.release()
        if self.hold:
            assert self.gate.acquire(timeout=60)
        if self.fails(image):
            raise ValueError(f"frame {int(image.flat[0])} is too much")
        self.restored.append(int(image.flat[0]))
        return {"denoised": 2 * image.astype(np.float32)}

    def status(self):
        return {"engine": "fake"}

    def close(self):
        pass


class Dangerous:
    """Lives in a worker process; the first pixel of a frame says how it goes wrong."""

    def restores(self, _channel):
        return True

    def prepare(self, shape, _channel, _dtype):
        return {"denoised": shape, "deconvolved": tuple(2 * n for n in shape)}

    def restore(self, image, _channel):
        value = int(image.flat[0])
        if value == CRASH:
            raise ValueError("it is cursed")
        if value == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if value == HANG:
            threading.Event().wait()
        if value == NO_MEMORY:
            raise MemoryError
        return {"denoised": image + np.float32(0.5), "deconvolved": np.kron(image, np.ones((2, 2), np.float32))}

    def status(self):
        return {"engine": f"dangerous {os.getpid()}"}

    def close(self):
        pass


def cannot_open():
    raise OSError("there is no model")


def plane(value, shape=(4, 6)):
    return np.full(shape, value, np.uint16)


def agrees(status):
    """Every image has become something, or waits."""
    return status["seen"] == status["done"] + status["replaced"] + status["failed"] + status["waiting"]
