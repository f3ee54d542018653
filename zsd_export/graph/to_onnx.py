"""A network as an ONNX graph: opset 17, IR 8, one file, any batch and any size on the pooling grid.

The oldest consumer, ONNX Runtime 1.12 inside Fiji's deepImageJ, reads opset 17 and IR 8.
"""

import copy
import io
import warnings

import onnx
import torch
from torch import Tensor, nn

from zsd_export.graph.fold import fold
from zsd_train.networks.network import Network

OPSET, IR_VERSION = 17, 8
INPUT = "noisy"


def to_onnx(network: Network, *, half: bool = False) -> bytes:
    """Write a network as a graph.

    Parameters
    ----------
    network : Network
        Returns a tuple of tensors (N, C, [Z,] Y, X), one for each of its `outputs`.
    half : bool
        Weights and everything between input and outputs are float16.

    Returns
    -------
    bytes
        The serialised graph. Its input is "noisy" (N, C, [Z,] Y, X); its outputs have the network's names. All are
        float32.
    """
    example = torch.zeros(1, network.channels, *(n * step for n, step in enumerate(network.size_multiple, start=2)))
    dynamic = {
        name: {0: "n"} | {i: f"{name}_{axis}" for i, axis in enumerate(network.axes, start=2)}
        for name in (INPUT, *network.outputs)
    }
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The legacy exporter warns that it is deprecated; the new one writes IR 10 and ignores the opset.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Half(network) if half else network.cpu().eval(), (example,), buffer,  # type: ignore[arg-type]
            input_names=[INPUT], output_names=list(network.outputs),
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
    """Give each layer its own weights: the exporter stores equal ones (biases of 0) once, with Identity nodes."""
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
            if isinstance(module, nn.AvgPool3d):  # torch has no float16 version for CPUs; few channels pass here
                module.register_forward_pre_hook(lambda _module, inputs: (inputs[0].float(),))
                module.register_forward_hook(lambda _module, _inputs, mean: mean.half())

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(y.float() for y in self.network(x.half()))
