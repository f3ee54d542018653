"""A network as an ONNX graph, and the same graph in other precisions."""
