import numpy as np
import onnx
import pytest
import torch

from zsd_export.graph.to_onnx import to_onnx
from zsd_runtime.engines import run_once
from zsd_runtime.engines.onnxruntime import OnnxRuntime
from zsd_train.networks.dual_stage import DualStageRCAN, DualStageUNet

NETWORKS = {
    "rcan": lambda: DualStageRCAN(6, 1, 5, squeezed=2, window=None),
    "rcan-window": lambda: DualStageRCAN(6, 1, 5, squeezed=2, window=(3, 3, 3)),
    "rcan-same-grid": lambda: DualStageRCAN(6, 1, 5, 1, squeezed=2),
    "unet": lambda: DualStageUNet(4, 1, 2, 4, axes="zyx"),
}


def kernels(onnx_bytes):
    graph = onnx.load_from_string(onnx_bytes).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    return [shapes[node.input[1]] for node in graph.node if node.op_type == "Conv"]


# torch has no moving average of a volume in half precision on the CPU, so a window is exported in fp32 only.
@pytest.mark.parametrize(("name", "half"), [*((name, False) for name in NETWORKS), ("rcan", True), ("unet", True)])
@pytest.mark.parametrize("shape", [(1, 8, 8), (5, 6, 10), (3, 24, 2)])
def test_the_folded_graph_computes_what_torch_does(name, shape, half):
    """Borders included, where zeros are padded; and the graph is the folded one."""
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    for last in (network.to_denoised, network.to_deconvolved):
        torch.nn.init.normal_(last.weight, std=0.3)
    graph = to_onnx(network, half=half)
    batch = np.random.default_rng(0).normal(0, 1, (1, 1, *shape)).astype(np.float32)
    with torch.inference_mode():
        expected = [t.numpy() for t in network(torch.from_numpy(batch))]
    for found, wanted in zip(run_once(OnnxRuntime(graph), batch, network.scales), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=(2e-2 if half else 1e-5) * np.ptp(wanted))
    model = onnx.load_from_string(graph)
    read = {name for node in model.graph.node for name in node.input} | {output.name for output in model.graph.output}
    assert {name for node in model.graph.node for name in node.output} <= read
    assert {tensor.name for tensor in model.graph.initializer} <= read
    shapes = kernels(graph)
    assert not any(outside == 1 and kernel == [3, 3, 3] for outside, _, *kernel in shapes)
    assert sum(tuple(kernel) == (3, 2, 2) for _, _, *kernel in shapes) == (0 if network.grid_factor == 1 else 4)


def test_2d_graphs_are_left_alone():
    graph = to_onnx(DualStageUNet(4, 1, 2, 4))
    assert sum(node.op_type == "Resize" for node in onnx.load_from_string(graph).graph.node) == 3
    assert {tuple(shape[2:]) for shape in kernels(graph)} == {(3, 3)}
