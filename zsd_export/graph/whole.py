"""A graph that does alone what zsd does around it: camera counts of any size in, counts of that size out.

Servers run a graph and nothing else. So normalisation, the continuation of the image beyond its edges and the crop of
the results are nodes of the graph, as in `zsd_runtime.session` for an image that is one tile.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx as onnx_module
from onnx import GraphProto, TensorProto, helper, numpy_helper

from zsd_export.graph.ends import inner_ends
from zsd_runtime.errors import InputError
from zsd_runtime.normalize import Linear, Normalisation, ScaleRange, ZeroMeanUnitVariance
from zsd_runtime.tensors import InputSpec, OutputSpec
from zsd_runtime.tiling import edges


def whole_graph(
    onnx: bytes,
    tensors: tuple[InputSpec, tuple[OutputSpec, ...]],
    size_multiple: Sequence[int],
    halo: Sequence[int],
    zero_margin: Sequence[int] | None,
) -> bytes:
    """Put normalisation, padding and cropping into a graph.

    Parameters
    ----------
    onnx : bytes
        A graph of normalised numbers (N, C, [Z,] Y, X), whose sizes are multiples of `size_multiple`.
    tensors : (TensorSpec, tuple of TensorSpec)
        Its input and its outputs.
    size_multiple, halo, zero_margin
        As of `ModelDescription`.

    Returns
    -------
    bytes
        A graph from counts (N, C, [Z,] Y, X) of any size to counts; the names of its ends stay.

    Raises
    ------
    InputError
        When a graph of whole numbers has a normalisation beside it.
    """
    source, outputs = tensors
    if source.dtype != "float32" and (zero_margin is not None or source.processing != Linear()):
        raise InputError(
            f"normalisation of {source.dtype} images is not written into a graph", "export it from its run"
        )
    model = onnx_module.load_from_string(onnx)
    inner, nodes = inner_ends(model.graph, "tile"), list(model.graph.node)
    del model.graph.node[:], model.graph.value_info[:]
    build = _Nodes(model.graph)
    values = build.line_of(source.processing, source.name)
    sizes, margins = build.node("Shape", source.name), edges(halo, size_multiple, zero_margin)
    lengths = [build.node("Gather", sizes, build.number(axis), axis=0) for axis in range(2, 2 + len(margins))]
    for axis, (n, margin, step) in enumerate(zip(lengths, margins, size_multiple, strict=True), 2):
        after = len(margins) + 1 - axis
        values = build.continued(values, axis, n, margin, step, blank=None if zero_margin is None else after)
    build.node("Identity", values, output=inner[source.name])
    model.graph.node.extend(nodes)
    for output in outputs:
        values = inner[output.name]
        for axis, (n, margin, scale) in enumerate(zip(lengths, margins, output.scale, strict=True), 2):
            values = build.cropped(values, axis, n, margin, scale)
        build.node("Identity", build.line_of(output.processing, values), output=output.name)
    for end in (*model.graph.input, *model.graph.output):
        for axis, dim in enumerate(end.type.tensor_type.shape.dim):
            if axis != 1:
                dim.dim_param = f"{end.name}_{axis}" if axis else "n"
    onnx_module.checker.check_model(model, full_check=True)
    return model.SerializeToString()


class _Nodes:
    """Nodes at the end of a graph; each method returns the name of a result."""

    def __init__(self, graph: GraphProto) -> None:
        self.graph, self._count = graph, 0

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """A node of one output."""
        self._count += 1
        name = output or f"zsd/{kind}/{self._count}"
        self.graph.node.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name

    def constant(self, values: object, dtype: type) -> str:
        """A weight of the graph."""
        self._count += 1
        name = f"zsd/constant/{self._count}"
        self.graph.initializer.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def number(self, value: int) -> str:
        """A whole number without axes."""
        return self.constant(value, np.int64)

    def real(self, value: float) -> str:
        """A number of float32 without axes."""
        return self.constant(value, np.float32)

    def line_of(self, processing: Normalisation, values: str) -> str:
        """The values on their line; a line that depends on the image is fitted to each image of the batch."""
        if isinstance(processing, Linear):
            if processing == Linear():
                return values
            scaled = self.node("Mul", values, self.real(processing.slope))
            return self.node("Add", scaled, self.real(processing.intercept)) if processing.intercept else scaled
        flat = self.node("Flatten", values, axis=1)
        if isinstance(processing, ZeroMeanUnitVariance):
            low = self.node("ReduceMean", flat, axes=[1])
            differences = self.node("Sub", flat, low)
            variance = self.node("ReduceMean", self.node("Mul", differences, differences), axes=[1])
            span = self.node("Sqrt", variance)
        elif isinstance(processing, ScaleRange):
            low = self.percentile(flat, processing.low)
            span = self.node("Sub", self.percentile(flat, processing.high), low)
        else:
            raise InputError(f"{type(processing).__name__} is not written into a graph", "use zsd predict or zsd serve")
        slope = self.node("Reciprocal", self.node("Add", span, self.real(processing.eps)))
        normalised = self.node("Mul", self.node("Sub", flat, low), slope)
        return self.node("Reshape", normalised, self.node("Shape", values))

    def percentile(self, flat: str, share: float) -> str:
        """Of each row (N, 1), as NumPy's "linear": between the two ranks beside it."""
        if share in (0, 100):
            return self.node("ReduceMax" if share else "ReduceMin", flat, axes=[1])
        from_top = share > 50  # only the values beyond it are sorted
        last = self.node("Sub", self._length(flat), self.number(1))
        part = (100 - share if from_top else share) / 100
        rank = self.node(
            "Mul", self.node("Cast", last, to=TensorProto.DOUBLE), self.constant(part, np.float64)
        )  # fmt: skip
        low = self.node("Floor", rank)
        beyond = self.node("Cast", self.node("Sub", rank, low), to=TensorProto.FLOAT)
        index = self.node("Cast", low, to=TensorProto.INT64)
        following = self.node("Min", self.node("Add", index, self.number(1)), last)
        count = self.node("Reshape", self.node("Add", following, self.number(1)), self.constant([1], np.int64))
        self._count += 1
        values, places = f"zsd/sorted/{self._count}", f"zsd/places/{self._count}"
        self.graph.node.append(
            helper.make_node("TopK", [flat, count], [values, places], axis=1, largest=int(from_top), sorted=1)
        )
        first, second = (
            self.node("Gather", values, self.node("Reshape", at, self.constant([1], np.int64)), axis=1)
            for at in (index, following)
        )
        return self.node("Add", first, self.node("Mul", self.node("Sub", second, first), beyond))

    def _length(self, flat: str) -> str:
        return self.node("Gather", self.node("Shape", flat), self.number(1), axis=0)

    def continued(self, values: str, axis: int, n: str, margin: int, step: int, *, blank: int | None) -> str:
        """Along an axis of n pixels: a margin on both sides, and as much as a multiple of `step` needs.

        The image is continued by reflection; or by zeros, where `blank` is the number of axes after this one.
        """
        ahead = self.node("Add", n, self.number(margin + step - 1))
        end = self.node("Mul", self.node("Div", ahead, self.number(step)), self.number(step))
        places = self.node("Range", self.number(-margin), end, self.number(1))
        last = self.node("Sub", n, self.number(1))
        there_and_back = self.node("Mul", last, self.number(2))
        period = self.node("Max", there_and_back, self.number(1))
        turned = self.node("Mod", self.node("Abs", places), period)
        inside = self.node("Less", turned, n)
        reflected = self.node("Where", inside, turned, self.node("Sub", there_and_back, turned))
        longer = self.node("Gather", values, reflected, axis=axis)
        if blank is None:
            return longer
        image = self.node("And", self.node("GreaterOrEqual", places, self.number(0)), self.node("Less", places, n))
        ones = self.node("Cast", image, to=TensorProto.FLOAT)
        return self.node("Mul", longer, self.node("Reshape", ones, self.constant([-1, *[1] * blank], np.int64)))

    def cropped(self, values: str, axis: int, n: str, margin: int, scale: int) -> str:
        """Along an axis of a result: the part that belongs to the n pixels of the image."""
        start = self.constant([margin * scale], np.int64)
        pixels = self.node("Mul", n, self.constant([scale], np.int64))
        return self.node("Slice", values, start, self.node("Add", pixels, start), self.constant([axis], np.int64))
