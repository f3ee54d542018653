"""The input and the outputs of a graph, for nodes before and after it."""

from onnx import GraphProto


def inner_ends(graph: GraphProto, what: str) -> dict[str, str]:
    """Give the ends names that end in `what` inside the graph, in place; by the names that they keep outside."""
    inner = {end.name: f"{end.name}/{what}" for end in (*graph.input, *graph.output)}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [inner.get(name, name) for name in names]
    return inner
