"""OpenVINO: CPUs of any maker, in fp32, bf16 or int8, and Intel's GPUs."""

import sys
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from zsd_runtime.engines import Array, EngineMissing, failures
from zsd_runtime.errors import InputError

# It tells Intel of each import, from a fork of this process; without it, openvino does not.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402

VERSION = ov.__version__.split("-")[0]
DEVICES = {"cpu": "CPU", "intel": "GPU"}  # their name here, and OpenVINO's
# The arithmetic outside the quantised parts of a network, as OpenVINO names it.
HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}


@cache
def _core() -> ov.Core:
    """The only one of this process, never deleted.

    A Core of OpenVINO 2026.4 gives its thread another signal stack while it lives. When two overlap, the second one
    restores the stack of the first, which is gone: the next Ctrl-C ends Python with a segmentation fault.
    """
    return ov.Core()


class OpenVINO:
    """One compiled model, compiled again for each shape that is prepared (a fraction of a second).

    `device` is "cpu" or "intel". `precision` may be any that the device computes with: bf16 needs no other file.
    """

    name = "openvino"

    def __init__(self, onnx: bytes, device: str = "cpu", precision: str = "fp32") -> None:
        self.device, self.precision = device, precision
        self._where = f"OpenVINO on {device}"
        self._core = _core()
        if DEVICES[device] not in {d.split(".")[0] for d in self._core.available_devices}:
            raise EngineMissing(
                f"OpenVINO {VERSION} finds no Intel GPU (devices: {self._core.available_devices})",
                'install Intel\'s GPU driver (level-zero), or set `device` to "cpu"',
                option="device",
            )
        able = self._core.get_property(DEVICES[device], "OPTIMIZATION_CAPABILITIES")
        wanted = precision.upper()
        if wanted not in able:
            known = sorted(p for p in HINTS if p.upper() in able)
            raise EngineMissing(f"this {device} does not compute in {precision} (it does in {', '.join(known)})")
        try:
            self._model = self._core.read_model(onnx)
        except RuntimeError as error:
            reason = str(error).strip().split("\n")[-1]
            raise InputError(f"OpenVINO {VERSION} cannot load the model ({reason}): export it again") from None
        self.input_dtype = np.dtype(self._model.input(0).element_type.to_dtype())
        self.output_dtypes = [np.dtype(output.element_type.to_dtype()) for output in self._model.outputs]
        self.output_names = [output.any_name for output in self._model.outputs]
        self._request: Any = None

    def prepare(self, batch_shape: tuple[int, ...], output_shapes: list[tuple[int, ...]]) -> None:
        """See `Engine`."""
        config = {"INFERENCE_PRECISION_HINT": HINTS[self.precision], "PERFORMANCE_HINT": "LATENCY"}
        self._model.reshape(list(batch_shape))
        with failures(self._where, batch_shape):
            self._request = self._core.compile_model(self._model, DEVICES[self.device], config).create_infer_request()
        self.run(
            np.zeros(batch_shape, self.input_dtype),
            [self.empty(shape, dtype) for shape, dtype in zip(output_shapes, self.output_dtypes, strict=True)],
        )

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """See `Engine`."""
        return np.empty(shape, dtype)

    def run(self, batch: Array, outputs: list[Array]) -> None:
        """See `Engine`."""
        self._request.set_input_tensor(ov.Tensor(batch, shared_memory=True))
        for index, output in enumerate(outputs):
            self._request.set_output_tensor(index, ov.Tensor(output, shared_memory=True))
        with failures(self._where, batch.shape):
            self._request.infer()

    def close(self) -> None:
        """See `Engine`."""
        self._request = self._model = None
