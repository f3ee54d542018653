"""Eight-bit precision for graphs.

int8 is static and explicit (QDQ): the input of every convolution passes QuantizeLinear and DequantizeLinear, its
weights come from int8 through DequantizeLinear with one scale for each channel. Engines fuse these into integer
convolutions, and move the pairs across pooling, upsampling and concatenation themselves; pairs around every node are
no faster and round twice. Weights are int8. Activations are uint8, since ReLUs make them: with int8 activations
OpenVINO 2026.4 computes wrong numbers, and ONNX Runtime on x86 is slower than in float32. TensorRT needs int8
activations; use fp16 there.

Convolutions of a single channel stay in float32: their input is an image, for which 8 bits are too few, and they are
the cheapest.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx as onnx_module
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from zsd_export.graph.to_onnx import INPUT

# Side of a patch in Y and X, pixels, for 2 and 3 axes: the inputs of all its convolutions are in memory at once.
CALIBRATION_SIDE = {2: 128, 3: 64}

Limits = tuple[int, int]
INT8: Limits = (-127, 127)  # symmetric
UINT8: Limits = (0, 255)

Array = NDArray[np.float32]


def quantized(onnx: bytes, image: Array) -> bytes:
    """Round a graph's convolutions to int8.

    Parameters
    ----------
    onnx : bytes
        A graph in float32.
    image : ndarray
        ([C,] [Z,] Y, X), normalised; its patches show how large the activations are.
    """
    model = onnx_module.load_from_string(onnx)
    graph = model.graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {output: node.op_type for node in graph.node for output in node.output}
    convolutions = [
        node for node in graph.node
        if node.op_type == "Conv" and len(node.input) == 3 and stored[node.input[1]].shape[1] > 1
        # What convolutions give may be negative, and so may frames of a movie, also binned ones.
        and makers.get(node.input[0]) not in (None, "Conv", "AveragePool")
    ]  # fmt: skip
    activations = _calibrate(onnx, [node.input[0] for node in convolutions], image)
    nodes = []
    for node in graph.node:
        if node in convolutions:
            source, weight, bias = node.input
            new, tensors = _int8(node, activations[source], stored[weight], stored[bias])
            nodes += new
            stored |= tensors
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in stored.items() if name in used)
    onnx_module.checker.check_model(model, full_check=True)
    return model.SerializeToString()


@dataclass(frozen=True)
class _Activation:
    """The uint8 `scale` of a tensor, and its mean (channels,) before and after rounding."""

    scale: Array
    mean: Array
    rounded_mean: Array


def _int8(
    conv: NodeProto, activation: _Activation, weight: Array, bias: Array
) -> tuple[list[NodeProto], dict[str, NDArray[np.generic]]]:
    """Make `conv` read rounded tensors; returns the nodes that round them, and the new initializers."""
    channels = weight.reshape(len(weight), -1)
    scale = _scale(np.abs(channels).max(1), INT8)
    integer = _integer(channels, scale[:, None], INT8).reshape(weight.shape)
    voxels = tuple(range(2, weight.ndim))
    # Rounding shifts the mean of the output, above all where most of the input is near zero. The bias corrects the
    # shift (Nagel et al. 2019, section 4.2, with measured means).
    shift = weight.sum(voxels) @ activation.mean - scale * (integer.sum(voxels) @ activation.rounded_mean)
    # Names of this convolution's own: another one may share its weights, and reads other activations.
    x, w, b = (f"{conv.name}/{part}" for part in ("input", "weight", "bias"))
    tensors: dict[str, NDArray[np.generic]] = {
        f"{x}_scale": activation.scale, f"{x}_zero": np.array(0, np.uint8),
        f"{w}_int8": integer.astype(np.int8), f"{w}_scale": scale, f"{w}_zero": np.zeros(len(scale), np.int8),
        b: bias + shift,
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", [conv.input[0], f"{x}_scale", f"{x}_zero"], [f"{x}_uint8"]),
        helper.make_node("DequantizeLinear", [f"{x}_uint8", f"{x}_scale", f"{x}_zero"], [x]),
        helper.make_node("DequantizeLinear", [f"{w}_int8", f"{w}_scale", f"{w}_zero"], [w], axis=0),
    ]
    conv.input[:] = [x, w, b]
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
    (source,) = model.graph.input
    axes = len(source.type.tensor_type.shape.dim) - 2
    image = image.reshape(-1, *image.shape[-axes:])
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    side = CALIBRATION_SIDE[axes]
    for y in range(0, image.shape[-2], side):
        for x in range(0, image.shape[-1], side):
            yield session.run(None, {INPUT: image[None, ..., y : y + side, x : x + side]})


def _scale(largest: Array, integers: Limits) -> Array:
    """The scale that maps `largest` to the largest integer; above 0 also for a channel of zeros."""
    return np.asarray(np.maximum(largest, 1e-6) / integers[1], np.float32)


def _integer(x: Array, scale: Array, integers: Limits) -> Array:
    return np.clip(np.rint(x / scale), *integers).astype(np.float32)
