"""A graph that normalises camera counts itself: two bytes a pixel cross the bus to a GPU, and the CPU does nothing."""

import numpy as np
import onnx as onnx_module
from onnx import TensorProto, helper, numpy_helper

from zsd_export.graph.ends import inner_ends
from zsd_runtime.normalize import Linear


def counts_graph(onnx: bytes, before: Linear, after: Linear, output: str = "float32") -> bytes:
    """Put the normalisation and its inverse into a graph, in float32.

    Parameters
    ----------
    onnx : bytes
        A graph from normalised numbers to normalised numbers, float32.
    before, after : Linear
        From camera counts to the graph's input, and from its outputs to counts above the camera offset.
    output : {"float32", "uint16"}
        Type of the outputs; uint16 is rounded and clipped to 0..65535.

    Returns
    -------
    bytes
        The graph from uint16 counts to counts above the offset; input and outputs keep their names and shapes.
    """
    model = onnx_module.load_from_string(onnx)
    graph = model.graph
    (source,) = graph.input
    inner = inner_ends(graph, "normalised")
    # In float32 (counts - offset) / scale loses fewer digits than slope · counts + intercept.
    values = {"offset": -before.intercept / before.slope, "scale": after.slope, "darkest": 0, "brightest": 65535}
    graph.initializer.extend(numpy_helper.from_array(np.array(v, np.float32), k) for k, v in values.items())
    node = helper.make_node
    nodes = [
        node("Cast", [source.name], ["counts"], to=TensorProto.FLOAT),
        node("Sub", ["counts", "offset"], ["signal"]),
        node("Div", ["signal", "scale"], [inner[source.name]]),
        *graph.node,
    ]
    source.type.tensor_type.elem_type = TensorProto.UINT16
    for sink in graph.output:
        name = sink.name
        if output == "float32":
            nodes.append(node("Mul", [inner[name], "scale"], [name]))
            continue
        sink.type.tensor_type.elem_type = TensorProto.UINT16
        nodes += [
            node("Mul", [inner[name], "scale"], [f"{name}/counts"]),
            node("Round", [f"{name}/counts"], [f"{name}/whole"]),
            node("Clip", [f"{name}/whole", "darkest", "brightest"], [f"{name}/clipped"]),
            node("Cast", [f"{name}/clipped"], [name], to=TensorProto.UINT16),
        ]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    onnx_module.checker.check_model(model, full_check=True)
    return model.SerializeToString()
