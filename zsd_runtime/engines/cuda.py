"""One CUDA device: its memory, copies, a stream and its graph, through CUDA's runtime API."""

import ctypes
import math
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from zsd_runtime.engines import Array, EngineMissing, OutOfMemory


class Cuda:
    """The first device and a stream on it. Its device memory lives until `release`.

    Attributes
    ----------
    gpu : str
        Its name.
    capability : tuple of int
        (major, minor).
    driver : int
        The newest CUDA that the driver serves, 13050 for 13.5.
    stream : int
        A handle.

    Raises
    ------
    EngineMissing
        When the bindings, the driver or the GPU are missing.
    """

    def __init__(self) -> None:
        try:
            self._api = api = import_module("cuda.bindings.runtime")
        except ImportError:
            raise EngineMissing("CUDA's Python bindings are missing: pip install 'zsd[tensorrt]'") from None
        status, count = api.cudaGetDeviceCount()
        self.driver = api.cudaDriverGetVersion()[1]
        if status or not count:
            serves = f"the driver serves CUDA {self.driver // 1000}.{self.driver % 1000 // 10}"
            raise EngineMissing(
                f"no CUDA device can be used ({serves if self.driver else 'there is no NVIDIA driver'}): "
                "CUDA 13 needs driver 580 or newer, see what nvidia-smi shows; "
                'without a GPU, set `device` to "cpu"',
                option="device",
            )
        self._call("cudaSetDevice", 0)
        properties = self._call("cudaGetDeviceProperties", 0)
        self.gpu, self.capability = properties.name.decode(), (properties.major, properties.minor)
        self._stream = self._call("cudaStreamCreateWithFlags", api.cudaStreamNonBlocking)
        self.stream = int(self._stream)
        self._held = ExitStack()

    def allocate(self, nbytes: int) -> int:
        """Device memory; its address.

        Raises
        ------
        OutOfMemory
        """
        address = self._call("cudaMalloc", nbytes)
        self._held.callback(self._api.cudaFree, address)
        return int(address)

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A page-locked host array; its memory is freed with its last view.

        Raises
        ------
        OutOfMemory
        """
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        address = self._call("cudaMallocHost", nbytes)
        memory: Any = (ctypes.c_byte * nbytes).from_address(address)
        weakref.finalize(memory, self._api.cudaFreeHost, address)
        return np.frombuffer(memory, dtype).reshape(shape)

    def to_device(self, address: int, array: Array) -> None:
        """Enqueue a copy; CUDA itself stages an array that is not page-locked."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, self._stream)

    def to_host(self, array: Array, address: int) -> None:
        """Enqueue a copy; CUDA itself stages an array that is not page-locked."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, self._stream)

    def synchronize(self) -> None:
        """Wait for everything in the stream."""
        self._call("cudaStreamSynchronize", self._stream)

    def captured(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """The work of `enqueue` as one CUDA graph; `enqueue` itself where a graph cannot capture it."""
        # Thread-local: CUDA calls of other threads do not spoil the capture.
        mode = self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self._stream, mode)
        whole = True
        try:
            enqueue()
        except RuntimeError:
            whole = False
        status, graph = self._api.cudaStreamEndCapture(self._stream)
        if status:
            self._api.cudaGetLastError()  # clears the error; the next call would report it
            return enqueue
        self._held.callback(self._api.cudaGraphDestroy, graph)
        if not whole:
            return enqueue
        executable = self._call("cudaGraphInstantiate", graph, 0)
        self._held.callback(self._api.cudaGraphExecDestroy, executable)
        return lambda: self._call("cudaGraphLaunch", executable, self._stream)

    def release(self) -> None:
        """Free the device memory and the graph."""
        self._held.close()

    def close(self) -> None:
        """Release, and destroy the stream."""
        self.release()
        self._api.cudaStreamDestroy(self._stream)

    def _call(self, function: str, *arguments: Any) -> Any:
        """The value of a CUDA call, its error as an exception."""
        status, *values = getattr(self._api, function)(*arguments)
        if status == self._api.cudaError_t.cudaErrorMemoryAllocation:
            raise OutOfMemory(f"CUDA has no memory left ({function}): smaller tiles need less")
        if status:
            raise RuntimeError(f"CUDA failed: {function} says {status.name}")
        return values[0] if values else None
