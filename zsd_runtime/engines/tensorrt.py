"""TensorRT and TensorRT-RTX, which share an interface: engines are built once, kept as files, and run on CUDA."""

import math
import re
from contextlib import suppress
from functools import cache as cache_forever
from hashlib import sha256
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from zsd_runtime.engines import Array, EngineMissing, OutOfMemory, cache
from zsd_runtime.engines.cache import Profile
from zsd_runtime.engines.cuda import Cuda
from zsd_runtime.errors import InputError, size_text


def library() -> Any:
    """`tensorrt` where it is installed: it tunes its kernels on this GPU, and supports all GPUs; else `tensorrt_rtx`.

    Raises
    ------
    EngineMissing
        When there is neither.
    """
    for name in ("tensorrt", "tensorrt_rtx"):
        with suppress(ImportError, OSError):  # OSError: its libraries are missing
            return import_module(name)
    raise EngineMissing(
        "TensorRT is not installed: pip install 'zsd[tensorrt]' (for GeForce and RTX GPUs), or pip install tensorrt"
    )


class Network:
    """A network that TensorRT has parsed, ready to be built; TensorRT-RTX needs no GPU for that.

    `title` is the library with its version.

    Raises
    ------
    InputError
        When TensorRT cannot parse it.
    """

    def __init__(self, trt: Any, onnx: bytes) -> None:
        self.trt, self.rtx = trt, trt.__name__ == "tensorrt_rtx"
        self.title = f"{'TensorRT-RTX' if self.rtx else 'TensorRT'} {trt.__version__}"
        self.log = _log(trt)
        self.log.errors.clear()
        self._model = sha256(onnx).hexdigest()
        self._builder = trt.Builder(self.log)
        self._network = self._builder.create_network()
        self._parser = trt.OnnxParser(self._network, self.log)  # kept: it owns the weights
        if not self._parser.parse(onnx):
            raise InputError(
                f"{self.title} cannot read the model ({self._parser.get_error(0).desc()}; it does not know uint16)",
                'export it again with float32 images, or set `engine` to "onnxruntime"',
                option="engine",
            )
        source = self._network.get_input(0)
        sinks = [self._network.get_output(index) for index in range(self._network.num_outputs)]
        self.input, self.outputs = source.name, [sink.name for sink in sinks]
        self.input_dtype, self.output_dtypes = self._dtype(source), [self._dtype(sink) for sink in sinks]

    @property
    def precision(self) -> str:
        """The lowest that its layers compute in: networks are strongly typed, no flag changes it."""
        layers = (self._network.get_layer(i) for i in range(self._network.num_layers))
        types = {layer.get_output(0).dtype for layer in layers}
        lower = {"int8": self.trt.int8, "fp16": self.trt.float16, "bf16": self.trt.bfloat16}
        return next((name for name, dtype in lower.items() if dtype in types), "fp32")

    def facts(self, cuda: Cuda | None) -> dict[str, Any]:
        """What an engine is built from, except its shapes; without `cuda`, for an engine for any GPU."""
        return {
            "model": self._model,
            "precision": self.precision,
            "library": self.trt.__name__,
            "version": self.trt.__version__,
            **({"gpu": "any"} if cuda is None else _machine(cuda)),
        }

    def build(self, profile: Profile) -> bytes:
        """An engine for batches of these shapes.

        Raises
        ------
        OutOfMemory, RuntimeError
            When TensorRT cannot build it.
        """
        trt = self.trt
        config = self._builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)  # fp32 means fp32
        if self.rtx:
            # A CUDA graph cannot capture a run in which the library allocates memory.
            config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
            # All GPUs that it supports: the default leaves out Turing (7.5).
            targets = [gpu for name, gpu in trt.ComputeCapability.__members__.items() if name.startswith("SM")]
            config.num_compute_capabilities = len(targets)
            for index, gpu in enumerate(targets):
                config.set_compute_capability(gpu, index)
        shapes = self._builder.create_optimization_profile()
        shapes.set_shape(self.input, *profile)
        config.add_optimization_profile(shapes)
        # No timing cache: RTX needs a GPU for it.
        built = self._builder.build_serialized_network(self._network, config)
        if built is None:
            raise self.failure(f"cannot build an engine for {size_text(profile[1])}")
        return bytes(built)

    def failure(self, what: str) -> RuntimeError:
        """An exception with the errors that the library logged."""
        reason = "; ".join(self.log.errors)
        self.log.errors.clear()
        kind = OutOfMemory if re.search("out ?of ?memory", reason, re.IGNORECASE) else RuntimeError
        return kind(f"{self.title} {what} ({reason or 'it does not say why'})")

    def _dtype(self, tensor: Any) -> np.dtype[Any]:
        if tensor.dtype != self.trt.float32:
            raise InputError(f"the network's {tensor.name!r} is {tensor.dtype}; zsd runs float32: export it again")
        return np.dtype(np.float32)


class TensorRT:
    """`onnx` (a serialised model) on the first GPU; `device` is "cuda".

    An engine for the shape comes from the folder `engines`, where `zsd build-engine` puts it, or from the user's
    cache; otherwise it is built and kept there. The run is one CUDA graph. Copies stay outside it because the arrays
    change.
    """

    def __init__(
        self, onnx: bytes, device: str = "cuda", precision: str = "fp32", *, engines: Path | None = None
    ) -> None:
        if device != "cuda":
            raise InputError(
                f"TensorRT runs on CUDA, not on {device!r}",
                'set `device` to "cuda", or `engine` to "onnxruntime"',
                option=("device", "engine"),
            )
        trt = library()
        self._cuda = Cuda()
        self._network = network = Network(trt, onnx)
        major, minor = self._cuda.capability
        if network.rtx and f"SM{major}{minor}" not in trt.ComputeCapability.__members__:
            raise EngineMissing(
                f"{network.title} does not run on {self._cuda.gpu} (sm_{major}{minor})",
                'set `engine` to "onnxruntime", or pip install tensorrt',
                option="engine",
            )
        if precision != network.precision:
            raise InputError(
                f"the network computes in {network.precision}, not in {precision}, and TensorRT takes it as it is",
                f'export it with `precision` "{precision}"',
                option="precision",
            )
        self.name, self.device, self.precision = trt.__name__, device, precision
        self.input_dtype, self.output_dtypes = network.input_dtype, network.output_dtypes
        self.output_names = network.outputs
        # RTX finishes compiling an engine where it runs: the file is for any GPU.
        self._engines, self._facts = engines, network.facts(None if network.rtx else self._cuda)
        self._runtime = trt.Runtime(network.log)
        self._context: Any = None
        self._config: Any = None
        self._kernels: Any = None

    def prepare(self, batch_shape: tuple[int, ...], output_shapes: list[tuple[int, ...]]) -> None:
        """See `Engine`."""
        self._release()
        try:
            self._context = self._open(self._engine(batch_shape), batch_shape)
            self._buffers = []
            names, dtypes = [self._network.input, *self.output_names], [self.input_dtype, *self.output_dtypes]
            for name, shape, dtype in zip(names, [batch_shape, *output_shapes], dtypes, strict=True):
                given = tuple(self._context.get_tensor_shape(name))
                if given != shape:
                    raise InputError(
                        f"the network's {name!r} is {size_text(given)}, the package says {size_text(shape)}: "
                        "export it again"
                    )
                self._buffers.append(self._cuda.allocate(math.prod(shape) * dtype.itemsize))
                self._context.set_tensor_address(name, self._buffers[-1])
            self._enqueue()  # RTX compiles its kernels in the first run, which a graph needs too
            self._cuda.synchronize()
            self._keep_kernels(batch_shape)
            self._launch = self._cuda.captured(self._enqueue)
        except BaseException:
            self._release()
            raise

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """See `Engine`."""
        return self._cuda.empty(shape, dtype)

    def run(self, batch: Array, outputs: list[Array]) -> None:
        """See `Engine`."""
        source, *sinks = self._buffers
        self._cuda.to_device(source, batch)
        self._launch()
        for sink, output in zip(sinks, outputs, strict=True):
            self._cuda.to_host(output, sink)
        self._cuda.synchronize()

    def close(self) -> None:
        """See `Engine`."""
        self._release()
        self._cuda.close()

    def _release(self) -> None:
        self._context = self._config = self._kernels = None  # before the memory that they work in
        self._cuda.release()

    def _engine(self, shape: tuple[int, ...]) -> Any:
        """From a file, or built; a file that this library cannot load is ignored, as a damaged one is."""
        folders = [folder for folder in (self._engines, cache.user_cache()) if folder is not None]
        for content in chain.from_iterable(cache.find(folder, self._facts, shape) for folder in folders):
            engine = self._runtime.deserialize_cuda_engine(content)
            if engine is not None:
                return engine
        try:
            content = self._network.build((shape,) * 3)
            engine = self._runtime.deserialize_cuda_engine(content)
            if engine is None:
                raise self._network.failure(f"cannot load the engine that it built for {size_text(shape)}")
        except OutOfMemory:
            raise
        except RuntimeError as error:
            raise EngineMissing(f"{error}{self._others()}", 'set `engine` to "onnxruntime"', option="engine") from None
        with suppress(InputError):  # with a full disk the next start is slower; this one still has its result
            cache.write(cache.user_cache(), self._facts, (shape,) * 3, content)
        return engine

    def _others(self) -> str:
        """What the prebuilt engines were built for, when none of them fits here."""
        if self._engines is None:
            return ""
        made = [f"{h.get('library')} {h.get('version')}, GPU {h.get('gpu')}" for _, h in cache.heads(self._engines)]
        return f"; {self._engines} has engines for {' and for '.join(made)}" if made else ""

    def _open(self, engine: Any, shape: tuple[int, ...]) -> Any:
        """A context for one shape, with the device memory for this shape, not for the largest one."""
        trt = self._network.trt
        self._config = config = engine.create_runtime_config()  # lives as long as its context
        config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if self._network.rtx:
            # Compile kernels for this shape at once: a CUDA graph would keep the general ones.
            config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
            self._kernels = config.create_runtime_cache()
            for kept in cache.find(cache.user_cache(), self._kernel_facts(), shape, ".kernels"):
                self._kernels.deserialize(kept)  # it ignores what does not fit
            config.set_runtime_cache(self._kernels)
        context = engine.create_execution_context(config)
        if context is None or not context.set_input_shape(self._network.input, shape):
            raise self._network.failure(f"cannot run batches of {size_text(shape)}")
        nbytes = max(context.update_device_memory_size_for_shapes(), 256)  # it refuses zero bytes
        context.set_device_memory(self._cuda.allocate(nbytes), nbytes)
        return context

    def _keep_kernels(self, shape: tuple[int, ...]) -> None:
        """Keep what RTX compiled for this GPU, so that the next start is fast."""
        if self._kernels is not None:
            with suppress(InputError):
                content = bytes(self._kernels.serialize())
                cache.write(cache.user_cache(), self._kernel_facts(), (shape,) * 3, content, ".kernels")

    def _kernel_facts(self) -> dict[str, Any]:
        return {**self._facts, **_machine(self._cuda)}

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._cuda.stream):
            raise self._network.failure("failed to run")


@cache_forever
def _log(trt: Any) -> Any:
    """The only logger. It keeps errors for our messages; the library's own logger would print them.

    The library keeps a pointer to its first logger, which must therefore live for ever.
    """

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity == trt.ILogger.Severity.ERROR:
                self.errors.append(message)

    return Log()


def _machine(cuda: Cuda) -> dict[str, Any]:
    major, minor = cuda.capability
    return {"gpu": f"{cuda.gpu} (sm_{major}{minor})", "driver": cuda.driver}
