"""A network as an ONNX graph: opset 17, IR 8, one file, any batch and any size on the pooling grid.

Opset 17 and IR 8 are what the oldest consumer reads: ONNX Runtime 1.12 inside Fiji's deepImageJ.
"""

import copy
import io
import warnings

import onnx
import torch
from torch import Tensor, nn

from zsd_export.fold import fold
from zsd_train.networks.dual_stage import Network, Restored

OPSET, IR_VERSION = 17, 8
OUTPUTS = list(Restored._fields)


def to_onnx(network: Network, *, half: bool = False) -> bytes:
    """The serialised graph; input "noisy" (n, 1, [z,] y, x), outputs "denoised" and "deconvolved", float32.

    `half`: weights and all between the ends are float16.
    """
    example = torch.zeros(1, 1, *(n * step for n, step in enumerate(network.size_multiple, start=2)))
    dynamic = {
        name: {0: "n"} | {i: f"{name}_{axis}" for i, axis in enumerate(network.axes, start=2)}
        for name in ["noisy", *OUTPUTS]
    }
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The legacy exporter says that it will go; the new one writes IR 10 and drifts from the opset asked for.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Half(network) if half else network.cpu().eval(), (example,), buffer,  # type: ignore[arg-type]
            input_names=["noisy"], output_names=OUTPUTS,
            dynamic_axes=dynamic, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    model = onnx.load_from_string(buffer.getvalue())
    model.ir_version = IR_VERSION
    _unshare(model.graph)
    fold(model.graph)
    onnx.checker.check_model(model, full_check=True)
    opset = {entry.domain: entry.version for entry in model.opset_import}
    assert opset == {"": OPSET}, f"the exporter wrote opsets {opset}"
    return model.SerializeToString()


def _unshare(graph: onnx.GraphProto) -> None:
    """Give each layer its own weights: equal ones (biases of 0) the exporter stores once, with Identity nodes."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Identity" and node.input[0] in stored]:
        graph.initializer.add().CopyFrom(stored[node.input[0]])
        graph.initializer[-1].name = node.output[0]
        graph.node.remove(node)


class _Half(nn.Module):
    """The network in float16 with float32 at both ends."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).cpu().eval().half()
        for module in self.network.modules():
            if isinstance(module, nn.AvgPool3d):  # torch has none in float16 on CPUs; these are of a few channels
                module.register_forward_pre_hook(lambda _module, inputs: (inputs[0].float(),))
                module.register_forward_hook(lambda _module, _inputs, mean: mean.half())

    def forward(self, x: Tensor) -> Restored:
        return Restored(*(y.float() for y in self.network(x.half())))
