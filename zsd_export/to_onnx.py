"""A network as an ONNX graph: opset 17, IR 8, one file, any batch and any size on the pooling grid.

Opset 17 and IR 8 are what the oldest consumer reads: ONNX Runtime 1.12 inside Fiji's deepImageJ.
"""

import io
import warnings

import onnx
import torch

from zsd_train.networks.dual_stage import DualStageUNet, Restored

OPSET, IR_VERSION = 17, 8
OUTPUTS = list(Restored._fields)


def to_onnx(network: DualStageUNet) -> bytes:
    """The serialised graph; input "noisy" (n, 1, y, x), outputs "denoised" and "deconvolved", float32."""
    example = torch.zeros(1, 1, 2 * network.step, 3 * network.step)
    dynamic = {name: {0: "n", 2: f"{name}_y", 3: f"{name}_x"} for name in ["noisy", *OUTPUTS]}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The legacy exporter says that it will go; the new one writes IR 10 and drifts from the opset asked for.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.cpu().eval(), (example,), buffer,  # type: ignore[arg-type]
            input_names=["noisy"], output_names=OUTPUTS,
            dynamic_axes=dynamic, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    model = onnx.load_from_string(buffer.getvalue())
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    opset = {entry.domain: entry.version for entry in model.opset_import}
    assert opset == {"": OPSET}, f"the exporter wrote opsets {opset}"
    return model.SerializeToString()
