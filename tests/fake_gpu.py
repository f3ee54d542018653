# ruff: noqa: N802, N815 (the names are CUDA's)
"""A GPU made of host memory, stricter than a real one: what CUDA and TensorRT leave undefined fails here.

`FakeCuda` stands in for cuda.bindings.runtime. Nothing that is put on a stream happens before the stream is waited for.
`FakeTensorRT` is the real tensorrt_rtx but for its runtime, which computes with ONNX Runtime on FakeCuda's memory.
"""

import ctypes
import weakref
from enum import IntEnum
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import tensorrt_rtx


class Error(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorStreamCaptureInvalidated = 901


class Kind(IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class FakeCuda:
    cudaError_t, cudaMemcpyKind = Error, Kind
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaStreamNonBlocking = 1

    def __init__(self):
        self.room, self.driver, self.devices, self.capability = 1 << 30, 13050, 1, (8, 9)
        self.device, self.pinned = {}, {}  # address -> its memory
        self.streams, self.graphs = {}, {}  # handle -> what waits there, what was captured
        self.capturing = None  # the stream
        self.contexts = weakref.WeakSet()
        self.calls = []

    def cudaGetDeviceCount(self):
        if not self.driver:
            return Error.cudaErrorInsufficientDriver, None
        return (Error.cudaSuccess if self.devices else Error.cudaErrorNoDevice), self.devices

    def cudaDriverGetVersion(self):
        return Error.cudaSuccess, self.driver

    def cudaSetDevice(self, index):
        assert index == 0
        return (Error.cudaSuccess,)

    def cudaGetDeviceProperties(self, index):
        assert index == 0
        major, minor = self.capability
        return Error.cudaSuccess, SimpleNamespace(name=b"Fake GPU", major=major, minor=minor)

    def cudaGetLastError(self):
        return (Error.cudaSuccess,)

    # Memory

    def _allocate(self, table, nbytes):
        assert nbytes > 0
        assert self.capturing is None
        if nbytes > self.room:
            return Error.cudaErrorMemoryAllocation, None
        self.room -= nbytes
        memory = (ctypes.c_byte * nbytes)()
        table[ctypes.addressof(memory)] = memory
        return Error.cudaSuccess, ctypes.addressof(memory)

    def _free(self, table, address):
        self.room += len(table.pop(address))  # KeyError: not allocated, or freed already
        return (Error.cudaSuccess,)

    def cudaMalloc(self, nbytes):
        return self._allocate(self.device, nbytes)

    def cudaFree(self, address):
        assert not any(address in context._memory() for context in self.contexts), "a context still works in it"
        return self._free(self.device, address)

    def cudaMallocHost(self, nbytes):
        return self._allocate(self.pinned, nbytes)

    def cudaFreeHost(self, address):
        return self._free(self.pinned, address)

    def check(self, address, nbytes):
        assert address in self.device, f"{address} is not live device memory"
        assert nbytes <= len(self.device[address]), f"{nbytes} bytes in {len(self.device[address])}"

    # Streams and graphs

    def cudaStreamCreateWithFlags(self, flags):
        assert flags == self.cudaStreamNonBlocking
        handle = 1000 + len(self.streams)
        self.streams[handle] = []
        return Error.cudaSuccess, handle

    def cudaStreamDestroy(self, stream):
        assert not self.streams.pop(stream), "work was never waited for"
        return (Error.cudaSuccess,)

    def enqueue(self, stream, name, operation):
        if self.capturing is not None:
            assert stream == self.capturing
            self.captured.append(operation)
        else:
            self.calls.append(name)
            self.streams[stream].append(operation)

    def cudaMemcpyAsync(self, target, source, nbytes, kind, stream):
        assert self.capturing is None, "the addresses of this run would stay in the graph"
        self.check(target if kind == Kind.cudaMemcpyHostToDevice else source, nbytes)
        self.enqueue(stream, kind.name.removeprefix("cudaMemcpy"), lambda: ctypes.memmove(target, source, nbytes))
        return (Error.cudaSuccess,)

    def cudaStreamSynchronize(self, stream):
        assert self.capturing is None
        self.calls.append("Synchronize")
        waiting, self.streams[stream] = self.streams[stream], []
        for operation in waiting:
            operation()
        return (Error.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream, mode):
        assert mode == 1
        assert not self.streams[stream], "the warm-up was not waited for"
        self.capturing, self.captured = stream, []
        return (Error.cudaSuccess,)

    def cudaStreamEndCapture(self, stream):
        assert stream == self.capturing
        self.capturing = None
        if self.captured is None:
            return Error.cudaErrorStreamCaptureInvalidated, None
        return Error.cudaSuccess, self._graph(self.captured)

    def _graph(self, operations):
        handle = 2000 + len(self.graphs)
        self.graphs[handle] = operations
        return handle

    def cudaGraphInstantiate(self, graph, flags):
        assert flags == 0
        return Error.cudaSuccess, self._graph(self.graphs[graph])

    def cudaGraphLaunch(self, executable, stream):
        operations = self.graphs[executable]
        self.enqueue(stream, "Graph", lambda: [operation() for operation in operations])
        return (Error.cudaSuccess,)

    def cudaGraphDestroy(self, graph):
        del self.graphs[graph]
        return (Error.cudaSuccess,)

    cudaGraphExecDestroy = cudaGraphDestroy


class FakeTensorRT:
    def __init__(self, cuda, onnx):
        self.cuda, self.onnx, self.capturable = cuda, onnx, True
        self.__name__, self.__version__ = "tensorrt_rtx", tensorrt_rtx.__version__
        self.loaded, self.kernels = [], []  # contents of the engines and of the runtime caches that were loaded

    def __getattr__(self, name):
        return getattr(tensorrt_rtx, name)

    def Runtime(self, log):
        assert isinstance(log, tensorrt_rtx.ILogger)
        return SimpleNamespace(deserialize_cuda_engine=lambda content: self._load(content, log))

    def _load(self, content, log):
        if not content.startswith(b"vtrt"):  # how engines of RTX 1.7 begin
            log.log(tensorrt_rtx.ILogger.Severity.ERROR, "not an engine")
            return None
        self.loaded.append(content)
        return SimpleNamespace(
            create_runtime_config=lambda: FakeConfig(self), create_execution_context=lambda c: FakeContext(self, c)
        )


class FakeConfig:
    def __init__(self, trt):
        self.trt, self.strategy, self.cache = trt, None, None
        self.dynamic_shapes_kernel_specialization_strategy = None

    def set_execution_context_allocation_strategy(self, strategy):
        self.strategy = strategy

    def create_runtime_cache(self):
        return SimpleNamespace(deserialize=self.trt.kernels.append, serialize=lambda: b"compiled kernels")

    def set_runtime_cache(self, cache):
        self.cache = cache
        return True


WORKSPACE = 4096  # bytes


class FakeContext:
    def __init__(self, trt, config):
        assert config.strategy == trt.ExecutionContextAllocationStrategy.USER_MANAGED
        assert config.dynamic_shapes_kernel_specialization_strategy.name == "EAGER"
        assert config.cache is not None
        self.trt, self.cuda, self.session = trt, trt.cuda, ort.InferenceSession(trt.onnx)
        self.shapes, self.addresses, self.workspace, self.warm = {}, {}, None, False
        self.cuda.contexts.add(self)

    def _memory(self):
        return {*self.addresses.values(), self.workspace}

    def set_input_shape(self, name, shape):
        (source,), sinks = self.session.get_inputs(), self.session.get_outputs()
        assert name == source.name
        outputs = self.session.run(None, {name: np.zeros(shape, np.float32)})
        self.shapes = {name: shape} | {sink.name: array.shape for sink, array in zip(sinks, outputs, strict=True)}
        return True

    def update_device_memory_size_for_shapes(self):
        return WORKSPACE if self.shapes else 0

    def set_device_memory(self, address, nbytes):
        assert nbytes >= WORKSPACE
        self.cuda.check(address, nbytes)
        self.workspace = address

    def get_tensor_shape(self, name):
        return self.shapes[name]

    def set_tensor_address(self, name, address):
        self.cuda.check(address, 4 * np.prod(self.shapes[name]))
        assert address not in self._memory(), "two tensors in one place"
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        assert self.addresses.keys() == self.shapes.keys()
        assert self.workspace is not None
        if self.cuda.capturing is not None:
            assert self.warm, "what the first run allocates and compiles cannot be captured"
            if not self.trt.capturable:
                self.cuda.captured = None
                return False
        self.warm = True
        myself = weakref.proxy(self)  # a graph does not keep its context
        self.cuda.enqueue(stream, "Execute", lambda: myself._compute())
        return True

    def _compute(self):
        (name, shape), *outputs = self.shapes.items()
        results = self.session.run(None, {name: self._array(name, shape)})
        for (sink, sink_shape), result in zip(outputs, results, strict=True):
            self._array(sink, sink_shape)[...] = result

    def _array(self, name, shape):
        self.cuda.check(self.addresses[name], 4 * np.prod(shape))
        memory = self.cuda.device[self.addresses[name]]
        return np.frombuffer(memory, np.float32, count=int(np.prod(shape))).reshape(shape)
