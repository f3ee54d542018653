"""Two rewrites of 3D graphs that need less arithmetic and change nothing but the rounding.

Engines spend a third of the published RCAN3D's time in the three convolutions after the upsampling.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, helper, numpy_helper

Array = NDArray[np.floating]


def fold(graph: GraphProto) -> None:
    """Rewrite the 3D convolutions (3 x 3 x 3, 'same') of a graph where it saves arithmetic, in place."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights |= {n.output[0]: numpy_helper.to_array(n.attribute[0].t) for n in graph.node if n.op_type == "Constant"}
    makers = {output: node for node in graph.node for output in node.output}
    readers = [name for node in graph.node for name in node.input]
    for node in list(graph.node):
        if node.op_type != "Conv" or weights[node.input[1]].shape[2:] != (3, 3, 3):
            continue
        before = makers.get(node.input[0])
        if before and _doubles_yx(before, weights) and readers.count(before.output[0]) == 1:
            _replace(graph, [before, node], _by_phases(graph, before.input[0], node, weights))
        elif weights[node.input[1]].shape[0] == 1:
            _replace(graph, [node], _by_rows(graph, node, weights))


def _doubles_yx(node: NodeProto, weights: dict[str, Array]) -> bool:
    scales = weights.get(node.input[2]) if node.op_type == "Resize" and len(node.input) == 3 else None
    return scales is not None and list(scales) == [1, 1, 1, 2, 2] and _attribute(node, "mode") == b"nearest"


def _by_phases(graph: GraphProto, source: str, conv: NodeProto, weights: dict[str, Array]) -> list[NodeProto]:
    """Nearest ×2 and a convolution: each of the four phases of the fine grid is a convolution of the coarse one.

    Three fine pixels in a row are two coarse ones, of which one counts twice: 3 x 2 x 2 products instead of 27.
    """
    name, kernel = conv.output[0], weights[conv.input[1]]
    nodes = []
    for y, x in product((0, 1), repeat=2):
        folded = kernel.astype(np.float64)
        for axis, odd in ((3, y), (4, x)):
            first, middle, last = np.split(folded, 3, axis)
            folded = np.concatenate([first + middle, last] if odd else [first, middle + last], axis)
        label = f"{name}/phase{y}{x}"
        inputs = [source, _constant(graph, f"{label}/kernel", folded.astype(kernel.dtype)), *conv.input[2:]]
        pads = [1, 1 - y, 1 - x, 1, y, x]
        nodes.append(helper.make_node("Conv", inputs, [label], label, kernel_shape=[3, 2, 2], pads=pads))
    # (…, Y, phase of Y, X, phase of X) in memory is the fine image.
    last_axis = _constant(graph, f"{name}/axis", np.array([5]))
    for x in (0, 1):
        rows = [f"{name}/phase{y}{x}" for y in (0, 1)]
        nodes += [
            helper.make_node("Concat", rows, [f"{name}/rows{x}"], axis=4),
            helper.make_node("Unsqueeze", [f"{name}/rows{x}", last_axis], [f"{name}/columns{x}"]),
        ]
    factors = _constant(graph, f"{name}/factors", np.array([1, 1, 1, 2, 2]))
    return [
        *nodes,
        helper.make_node("Concat", [f"{name}/columns{x}" for x in (0, 1)], [f"{name}/interleaved"], axis=5),
        helper.make_node("Shape", [f"{name}/phase00"], [f"{name}/coarse"]),
        helper.make_node("Mul", [f"{name}/coarse", factors], [f"{name}/fine"]),
        helper.make_node("Reshape", [f"{name}/interleaved", f"{name}/fine"], [name], f"{name}/interleave"),
    ]


def _by_rows(graph: GraphProto, conv: NodeProto, weights: dict[str, Array]) -> list[NodeProto]:
    """A convolution to one channel becomes nine along X, which fill the vector units, then a sum of shifts."""
    name, kernel = conv.output[0], weights[conv.input[1]]
    along = np.moveaxis(kernel[0], 0, 2).reshape(9, -1, 1, 1, 3)  # for each z and y of the kernel
    shifts = np.eye(9, dtype=kernel.dtype).reshape(1, 9, 3, 3, 1)
    return [
        helper.make_node("Conv", [conv.input[0], _constant(graph, f"{name}/along", along)], [f"{name}/rows"],
                         f"{name}/rows", kernel_shape=[1, 1, 3], pads=[0, 0, 1, 0, 0, 1]),
        helper.make_node("Conv", [f"{name}/rows", _constant(graph, f"{name}/shifts", shifts), *conv.input[2:]], [name],
                         f"{name}/shifted", kernel_shape=[3, 3, 1], pads=[1, 1, 0, 1, 1, 0]),
    ]  # fmt: skip


def _replace(graph: GraphProto, old: list[NodeProto], new: list[NodeProto]) -> None:
    """Put `new` nodes in the place of `old` ones, and drop weights that no node reads any more."""
    place = list(graph.node).index(old[-1])
    for node in reversed(new):
        graph.node.insert(place, node)
    read = {name for node in graph.node if node not in old for name in node.input}
    for node in [*old, *(n for n in graph.node if n.op_type == "Constant" and n.output[0] not in read)]:
        graph.node.remove(node)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def _constant(graph: GraphProto, name: str, values: NDArray[np.generic]) -> str:
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
    return name


def _attribute(node: NodeProto, name: str) -> object:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), None)
