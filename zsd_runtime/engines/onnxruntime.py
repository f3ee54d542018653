"""ONNX Runtime on the CPU."""

import numpy as np
import onnxruntime as ort

from zsd_runtime.engines import Float32
from zsd_runtime.errors import InputError


class OnnxRuntime:
    """One session on `onnx` (a serialised model)."""

    name, device, precision = "onnxruntime", "cpu", "fp32"

    def __init__(self, onnx: bytes, threads: int = 0) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads  # 0: as many as there are cores
        try:
            self._session = ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base class
            reason = str(error).split("\n")[0]
            raise InputError(
                f"ONNX Runtime {ort.__version__} cannot load the model ({reason}): export it again"
            ) from None
        self._input = self._session.get_inputs()[0].name
        self.output_names = [output.name for output in self._session.get_outputs()]

    def run(self, batch: Float32) -> list[Float32]:
        """See `Engine`."""
        try:
            return list(self._session.run(self.output_names, {self._input: np.ascontiguousarray(batch)}))
        except Exception as error:
            size = "x".join(map(str, batch.shape[2:]))
            reason = str(error).split("\n")[0]
            raise RuntimeError(f"ONNX Runtime failed on a tile of {size} ({reason}): try a smaller --tile") from None

    def close(self) -> None:
        """See `Engine`."""
        del self._session
