"""Core ML through ONNX Runtime, for Macs. Not run on Apple hardware yet."""

import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from zsd_runtime.engines import EngineMissing, cache, failures
from zsd_runtime.engines.onnxruntime import OnnxRuntime, session_options
from zsd_runtime.errors import InputError

PROVIDER = "CoreMLExecutionProvider"
CPU_PROVIDER = "CPUExecutionProvider"
OPTIONS = {
    "ModelFormat": "MLProgram",  # float32 stays float32; a NeuralNetwork, the default, computes in half precision
    "MLComputeUnits": "ALL",  # CPU, GPU and Neural Engine, as Core ML chooses
    "RequireStaticInputShapes": "1",  # what is compiled for any shape is slow
}
CACHING = (1, 21)  # the version of ONNX Runtime that knows "ModelCacheDirectory"; others refuse it


class CoreML(OnnxRuntime):
    """A session with fixed shapes for each batch shape that is prepared. Nodes that Core ML lacks run on the CPU.

    Before the first one there is a session on the CPU, which knows inputs and outputs.

    Raises
    ------
    EngineMissing
        When ONNX Runtime has no Core ML.
    InputError
        For networks of volumes.
    """

    name = "coreml"

    def __init__(self, onnx: bytes, device: str = "apple", precision: str = "fp32") -> None:
        if PROVIDER not in ort.get_available_providers():
            raise EngineMissing(
                f"ONNX Runtime {ort.__version__} has no Core ML here: pip install onnxruntime on a Mac brings it",
                'set `device` to "cpu"',
                option="device",
            )
        super().__init__(onnx, device, precision)
        self._where = "Core ML"
        self._shape = self._session.get_inputs()[0].shape
        if len(self._shape) > 4:  # onnxruntime issue 28580: each convolution would run on the CPU, and copy
            self.close()
            raise InputError(
                "ONNX Runtime's Core ML has no 3D convolutions, and this network restores volumes",
                'set `engine` to "onnxruntime" or "openvino"',
                option="engine",
            )

    def prepare(self, batch_shape: tuple[int, ...], output_shapes: list[tuple[int, ...]]) -> None:
        """See `Engine`."""
        self._session = None  # its memory goes before the new one comes
        options = session_options()
        for dimension, length in zip(self._shape, batch_shape, strict=True):
            if isinstance(dimension, str):  # a name; one without a name cannot be fixed, and its nodes run on the CPU
                options.add_free_dimension_override_by_name(dimension, length)
        providers: list[Any] = [(PROVIDER, self._options(batch_shape)), CPU_PROVIDER]
        with failures(self._where, batch_shape):
            self._session = ort.InferenceSession(self._onnx, options, providers=providers, enable_fallback=0)
        self.run(
            np.zeros(batch_shape, self.input_dtype),
            [self.empty(shape, dtype) for shape, dtype in zip(output_shapes, self.output_dtypes, strict=True)],
        )

    def _options(self, batch_shape: tuple[int, ...]) -> dict[str, str]:
        """Provider options, with a folder for what Core ML compiles."""
        version = tuple(int(part) for part in ort.__version__.split(".")[:2])
        folder = compiled(self._onnx, batch_shape)
        with suppress(OSError):  # without a folder it is compiled every time
            folder.mkdir(parents=True, exist_ok=True)
        if version < CACHING or not os.access(folder, os.W_OK):
            return OPTIONS
        return OPTIONS | {"ModelCacheDirectory": str(folder)}


def compiled(onnx: bytes, batch_shape: tuple[int, ...]) -> Path:
    """The folder for a network that is compiled for one shape.

    ONNX Runtime knows what it compiled by the names of inputs and outputs alone. It would run other weights, another
    shape, or what another version of itself has made (its issue 27487). So all of them are in the folder's name.
    """
    key = sha256(f"{ort.__version__} {batch_shape} ".encode() + onnx).hexdigest()[:32]
    return cache.user_cache() / "coreml" / key
