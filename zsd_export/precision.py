"""Eight-bit precision, and what any reduced precision costs in PSNR.

int8 is static and explicit (QDQ): the input of every convolution passes QuantizeLinear and DequantizeLinear, its
weights come from int8 through DequantizeLinear with one scale a channel. Engines fuse these into integer
convolutions and move the pairs across pooling, upsampling and concatenation by themselves; pairs around every node
are no faster and round twice. Weights are int8, activations uint8, since they come from ReLUs; with int8 activations
OpenVINO 2026.4 computes something else, and ONNX Runtime on x86 is slower than in float32. TensorRT, which wants
int8 activations, is better served with fp16.

Convolutions of a single channel stay in float32: what they see is an image, for which 8 bits are too few, and they
are the cheapest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx as onnx_module
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from zsd_export.to_onnx import OUTPUTS
from zsd_export.verify import VerificationError
from zsd_runtime.engines import run_once
from zsd_runtime.engines.onnxruntime import OnnxRuntime
from zsd_train.forward import light_path
from zsd_train.run import Run

LARGEST_LOSS_DB = {"fp16": 0.1, "int8": 0.2}  # of PSNR, for each output
REMEDY = {"fp16": "export with --precision fp32", "int8": "export with --precision fp16"}
ACQUISITIONS = 2  # simulated to measure a loss
# Pixels in Y and X of a patch, by its number of axes: the inputs of all its convolutions are in memory at once.
CALIBRATION_SIDE = {2: 128, 3: 64}

Limits = tuple[int, int]
INT8: Limits = (-127, 127)  # symmetric
UINT8: Limits = (0, 255)

Array = NDArray[np.float32]


def quantized(onnx: bytes, image: Array) -> bytes:
    """The graph with int8 convolutions, calibrated on patches of a normalised `image` ([z,] y, x)."""
    model = onnx_module.load_from_string(onnx)
    graph = model.graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {output: node.op_type for node in graph.node for output in node.output}
    convolutions = [
        node for node in graph.node
        if node.op_type == "Conv" and len(node.input) == 3 and stored[node.input[1]].shape[1] > 1
        and makers.get(node.input[0]) != "Conv"  # what a convolution gives may be below zero
    ]  # fmt: skip
    activations = _calibrate(onnx, [node.input[0] for node in convolutions], image)
    nodes = []
    for node in graph.node:
        if node in convolutions:
            source, weight, bias = node.input
            new, tensors = _int8(node, activations[source], stored.pop(weight), stored.pop(bias))
            nodes += new
            stored |= tensors
        nodes.append(node)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in stored.items())
    onnx_module.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def loss_db(run: Run, image: Array, exact: bytes, reduced: bytes, precision: str) -> dict[str, float]:
    """`psnr_lost` with a graph of reduced precision.

    Raises
    ------
    VerificationError
        When an output loses more than its precision may cost.
    """
    (losses,) = psnr_lost(run, image, exact, [reduced])
    for name, loss in losses.items():
        if not loss <= LARGEST_LOSS_DB[precision]:
            raise VerificationError(
                f"{precision} costs {loss:.2f} dB of {name}'s PSNR, at most {LARGEST_LOSS_DB[precision]:g} dB is "
                f"allowed: nothing was written; {REMEDY[precision]}"
            )
    return losses


def psnr_lost(run: Run, image: Array, exact: bytes, reduced: Sequence[bytes]) -> list[dict[str, float]]:
    """PSNR (dB) that each output loses with each graph of `reduced` in place of `exact`, the run's; below 0: it gains.

    A run holds no clean truth. So what `exact` makes of its normalised `image` ([z,] y, x) is taken for one: blurred by
    the PSF, averaged onto the raw grid and exposed anew with the noise that was measured, it is restored by all
    graphs, and their mean squared errors are compared.
    """
    (_, deconvolved), *_ = _restored(run, exact, [image[None, None]])
    psf = torch.tensor(run.psf, dtype=torch.float32)
    forward = light_path(psf, image.shape, (0,) * image.ndim, run.network.grid_factor, symmetries=1)
    denoised = forward(torch.from_numpy(deconvolved), torch.tensor([0])).numpy()
    noise = run.measured.noise
    sigma = np.sqrt(noise.variance(denoised * run.scale + run.offset)) / run.scale
    rng = np.random.default_rng(0)
    noisy = [(denoised + sigma * rng.normal(size=sigma.shape)).astype(np.float32) for _ in range(ACQUISITIONS)]

    def errors(graph: bytes) -> NDArray[np.float64]:
        pairs = [zip(outputs, (denoised, deconvolved), strict=True) for outputs in _restored(run, graph, noisy)]
        return np.sum([[np.mean((a - b) ** 2, dtype=float) for a, b in pair] for pair in pairs], axis=0)

    before = errors(exact)
    decibels = [(10 * np.log10(errors(graph) / before)).round(4).tolist() for graph in reduced]
    return [dict(zip(OUTPUTS, losses, strict=True)) for losses in decibels]


def _restored(run: Run, graph: bytes, batches: list[Array]) -> list[list[Array]]:
    engine = OnnxRuntime(graph)
    outputs = [run_once(engine, batch, run.network.scales) for batch in batches]
    engine.close()
    return outputs


@dataclass(frozen=True)
class _Activation:
    """The uint8 `scale` of a tensor, and its mean (channels,) before and after rounding."""

    scale: Array
    mean: Array
    rounded_mean: Array


def _int8(
    conv: NodeProto, activation: _Activation, weight: Array, bias: Array
) -> tuple[list[NodeProto], dict[str, NDArray[np.generic]]]:
    """Let `conv` read rounded tensors; the nodes that round them, and the new initializers."""
    channels = weight.reshape(len(weight), -1)
    scale = _scale(np.abs(channels).max(1), INT8)
    integer = _integer(channels, scale[:, None], INT8).reshape(weight.shape)
    voxels = tuple(range(2, weight.ndim))
    # Rounding shifts the mean of what comes out, above all where most of what goes in is near zero; the bias takes
    # the shift back (Nagel et al. 2019, section 4.2, with measured means).
    shift = weight.sum(voxels) @ activation.mean - scale * (integer.sum(voxels) @ activation.rounded_mean)
    x, w = f"{conv.name}/input", conv.input[1]
    tensors: dict[str, NDArray[np.generic]] = {
        f"{x}_scale": activation.scale, f"{x}_zero": np.array(0, np.uint8),
        f"{w}_int8": integer.astype(np.int8), f"{w}_scale": scale, f"{w}_zero": np.zeros(len(scale), np.int8),
        conv.input[2]: bias + shift,
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", [conv.input[0], f"{x}_scale", f"{x}_zero"], [f"{x}_uint8"]),
        helper.make_node("DequantizeLinear", [f"{x}_uint8", f"{x}_scale", f"{x}_zero"], [x]),
        helper.make_node("DequantizeLinear", [f"{w}_int8", f"{w}_scale", f"{w}_zero"], [w], axis=0),
    ]
    conv.input[0] = x
    return nodes, tensors


def _calibrate(onnx: bytes, names: list[str], image: Array) -> dict[str, _Activation]:
    scales = _scale(np.max([[x.max() for x in seen] for seen in _seen(onnx, names, image)], axis=0), UINT8)
    means: list[list[Array]] = [[] for _ in names]
    for seen in _seen(onnx, names, image):
        for column, x, scale in zip(means, seen, scales, strict=True):
            column.append(np.mean([x, scale * _integer(x, scale, UINT8)], axis=(1, *range(3, x.ndim + 1))))
    return {
        name: _Activation(scale, *np.mean(column, axis=0))
        for name, scale, column in zip(names, scales, means, strict=True)
    }


def _seen(onnx: bytes, names: list[str], image: Array) -> Iterator[list[Array]]:
    """The graph's tensors `names`, patch by patch of the image."""
    model = onnx_module.load_from_string(onnx)
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    side = CALIBRATION_SIDE[image.ndim]
    for y in range(0, image.shape[-2], side):
        for x in range(0, image.shape[-1], side):
            yield session.run(None, {"noisy": image[None, None, ..., y : y + side, x : x + side]})


def _scale(largest: Array, integers: Limits) -> Array:
    """The scale that brings `largest` to the largest integer; above 0 for a silent channel, too."""
    return np.asarray(np.maximum(largest, 1e-6) / integers[1], np.float32)


def _integer(x: Array, scale: Array, integers: Limits) -> Array:
    return np.clip(np.rint(x / scale), *integers).astype(np.float32)
