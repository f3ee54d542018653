"""ONNX Runtime: on the CPU, and on CUDA with one binding and one graph for all tiles."""

from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import DTypeLike

from zsd_runtime.engines import Array, EngineMissing, failures
from zsd_runtime.errors import InputError

DTYPES = {"tensor(float)": np.float32, "tensor(uint16)": np.uint16}
# One stream, shapes that never change: let cuDNN search its algorithms once, with all the workspace it likes.
CUDA_OPTIONS = {
    "cudnn_conv_algo_search": "EXHAUSTIVE",
    "cudnn_conv_use_max_workspace": "1",
    "prefer_nhwc": "1",
    "enable_cuda_graph": "1",
    "use_tf32": "0",  # fp32 is meant
}


class OnnxRuntime:
    """One session on `onnx` (a serialised model); `device` is "cpu" or "cuda".

    On CUDA the batch and the outputs have device buffers of their own, bound once, and the run is one CUDA graph.
    A network of which any part would fall back to the CPU is refused.
    """

    name = "onnxruntime"

    def __init__(self, onnx: bytes, device: str = "cpu", precision: str = "fp32") -> None:
        self._onnx, self.device, self.precision = onnx, device, precision
        self._where = f"ONNX Runtime on {device}"
        self._session: Any = self._open()
        (source,), sinks = self._session.get_inputs(), self._session.get_outputs()
        self.input_dtype, self.output_dtypes = _dtype(source), [_dtype(sink) for sink in sinks]
        self._input, self.output_names = source.name, [sink.name for sink in sinks]
        self._binding: Any = None

    def _open(self) -> ort.InferenceSession:
        options = session_options()
        providers: list[Any] = ["CPUExecutionProvider"]
        if self.device == "cuda":
            if "CUDAExecutionProvider" not in ort.get_available_providers():
                raise EngineMissing(
                    "ONNX Runtime has no CUDA here: pip uninstall onnxruntime; pip install 'zsd[gpu]' "
                    "(the two never share an environment)"
                )
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            with redirect_stdout(StringIO()):  # it prints what it does not find
                ort.preload_dlls()  # CUDA and cuDNN as pip installs them are not where the loader looks
            providers = [("CUDAExecutionProvider", CUDA_OPTIONS)]
        try:
            # Its own fallback would print, try the CPU, and hide the error.
            return ort.InferenceSession(self._onnx, options, providers=providers, enable_fallback=0)
        except Exception as error:  # its exceptions share no base class
            reason = str(error).split("\n")[0]
            if self.device == "cuda":
                raise EngineMissing(
                    f"ONNX Runtime {ort.__version__} cannot run this model on CUDA ({reason})",
                    "check the driver with nvidia-smi, pip install 'onnxruntime-gpu[cuda,cudnn]' for its libraries, or "
                    'set `device` to "cpu"',
                    option="device",
                ) from None
            raise InputError(
                f"ONNX Runtime {ort.__version__} cannot load the model ({reason}): export it again"
            ) from None

    def prepare(self, batch_shape: tuple[int, ...], output_shapes: list[tuple[int, ...]]) -> None:
        """See `Engine`."""
        if self.device == "cuda":
            if self._binding is not None:  # the captured graph belongs to the shape before
                self.close()
                self._session = self._open()
            self._source = self._on_device(batch_shape, self.input_dtype)
            self._sinks = [self._on_device(s, t) for s, t in zip(output_shapes, self.output_dtypes, strict=True)]
            self._binding = self._session.io_binding()
            self._binding.bind_ortvalue_input(self._input, self._source)
            for name, sink in zip(self.output_names, self._sinks, strict=True):
                self._binding.bind_ortvalue_output(name, sink)
            with failures(self._where, batch_shape):
                self._session.run_with_iobinding(self._binding)  # searches algorithms, captures the graph

    def _on_device(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> ort.OrtValue:
        with failures(self._where, shape):
            return ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, dtype), "cuda", 0)

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """See `Engine`."""
        return np.empty(shape, dtype)

    def run(self, batch: Array, outputs: list[Array]) -> None:
        """See `Engine`."""
        with failures(self._where, batch.shape):
            if self.device == "cuda":
                self._source.update_inplace(batch)
                self._session.run_with_iobinding(self._binding)
                for sink, output in zip(self._sinks, outputs, strict=True):
                    np.copyto(output, sink.numpy())
                return
            binding = self._session.io_binding()
            binding.bind_cpu_input(self._input, batch)
            for name, output in zip(self.output_names, outputs, strict=True):
                binding.bind_output(name, "cpu", 0, output.dtype, output.shape, output.ctypes.data)
            self._session.run_with_iobinding(binding)

    def close(self) -> None:
        """See `Engine`."""
        self._binding = self._source = self._sinks = None  # type: ignore[assignment] # before the session whose memory they are
        self._session = None


def session_options() -> ort.SessionOptions:
    """What every session of zsd has."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # memory planned in one piece takes twice the memory, and no less time
    # Threads that spin while they wait would take cores from those that read, blend and compress.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _dtype(tensor: Any) -> np.dtype[Any]:
    if tensor.type not in DTYPES:
        raise InputError(
            f"the network's {tensor.name!r} is {tensor.type}; zsd runs float32 and uint16: export it again"
        )
    return np.dtype(DTYPES[tensor.type])
