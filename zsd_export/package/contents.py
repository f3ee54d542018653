"""What a package says of its model, whatever its format."""

from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import onnx as onnx_module
from onnx import ValueInfoProto, helper

from zsd_export.measure.halo import Halo
from zsd_export.package.credits import Credited
from zsd_runtime.camera import Camera
from zsd_runtime.normalize import Linear, Normalisation, ScaleRange
from zsd_runtime.sim.microscope import Sim
from zsd_runtime.tensors import InputSpec, OutputSpec, TensorSpec
from zsd_runtime.tiling import round_up

P = TypeVar("P", bound=Normalisation)


@dataclass(frozen=True)
class Intensities:
    """How camera counts become the graph's numbers, and its results counts again.

    Parameters
    ----------
    before : Linear or ScaleRange
        Applied to an image before the graph.
    after : Linear
        Applied to every output.
    units : str
        Of the results.
    text : str
        The same for people.
    """

    before: Linear | ScaleRange
    after: Linear
    units: str
    text: str


# As published: each image is normalised separately.
PER_IMAGE = Intensities(
    ScaleRange(), Linear(), "shares of the image's range, above its minimum",
    "each image from its minimum (0) to its maximum (1), as published; the results are shares of that range",
)  # fmt: skip


def linear(offset: float, scale: float) -> Intensities:
    """One line for every image: the network sees ``(counts - offset) / scale``."""
    return Intensities(
        Linear(1 / scale, -offset / scale), Linear(scale), "camera counts above the offset",
        f"(counts - {offset:.6g}) / {scale:.6g}; the same for every image: movies do not flicker",
    )  # fmt: skip


def tensors_of(
    onnx: bytes, scales: list[tuple[int, ...]], intensities: Intensities
) -> tuple[InputSpec, tuple[OutputSpec, ...]]:
    """The input of a graph and its outputs, which are finer than the input by `scales`."""
    graph = onnx_module.load_from_string(onnx).graph
    (source,) = graph.input
    return _spec(source, (1,) * len(scales[0]), intensities.before), tuple(
        _spec(sink, scale, intensities.after) for sink, scale in zip(graph.output, scales, strict=True)
    )


def _spec(end: ValueInfoProto, scale: tuple[int, ...], processing: P) -> TensorSpec[P]:
    tensor = end.type.tensor_type
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    return TensorSpec(end.name, tensor.shape.dim[1].dim_value or 1, scale, dtype, processing)


def channel_names(count: int) -> list[str]:
    """Names of channels that nobody has named."""
    return ["intensity"] if count == 1 else [f"channel{i}" for i in range(count)]


@dataclass(frozen=True)
class Contents:
    """What a package says of its model.

    Parameters
    ----------
    credits : Credited
        Name, authors, licence and tags.
    summary, origin : str
        A sentence, and a paragraph, for people.
    trained_on, validation : dict
        By name, for people: the training data, and what was measured of the model.
    kind : str
        Of the network: unet or rcan.
    axes : {"yx", "zyx"}
    size_multiple : tuple of int
        Sizes are multiples of it, for each axis.
    tensors : (TensorSpec, tuple of TensorSpec)
        The input, and the outputs; uint16 are camera counts.
    units, intensities : str
        Of the results, and how counts are normalised, for people.
    halo : Halo
    bytes_per_voxel : float or None
        Memory that a prediction takes, for each voxel of a tile.
    precision : {"fp32", "fp16", "int8"}
    precision_loss_db : dict
        PSNR that each output loses to the precision; empty for fp32.
    pixel_size_um, z_step_um : float or None
        Of the input.
    camera : Camera or None
        What the training images say of it, for programs; None if they are not known.
    channel : str or None
        Name of the channel that it was trained on.
    channel_number : int or None
        Its place in the file, from 0, if that had several.
    zero_margin : tuple of int or None
        Pixels of zeros that the network expects around an image. None: the image is continued.
    method : str
        A key of `CITATIONS`.
    sim : Sim or None
        How raw frames of structured illumination are reconstructed for the network.
    frames : int
        Of a movie that the network sees at once, as channels.
    provenance : dict
        Everything else that is known, for machines.
    """

    credits: Credited
    summary: str
    origin: str
    trained_on: dict[str, str]
    validation: dict[str, str]
    kind: str
    axes: str
    size_multiple: tuple[int, ...]
    tensors: tuple[InputSpec, tuple[OutputSpec, ...]]
    units: str
    intensities: str
    halo: Halo
    bytes_per_voxel: float | None
    precision: str = "fp32"
    precision_loss_db: dict[str, float] = field(default_factory=dict)
    pixel_size_um: float | None = None
    z_step_um: float | None = None
    camera: Camera | None = None
    channel: str | None = None
    channel_number: int | None = None
    zero_margin: tuple[int, ...] | None = None
    method: str = "ZS-DeconvNet"
    sim: Sim | None = None
    frames: int = 1
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def input(self) -> InputSpec:
        """The image."""
        return self.tensors[0]

    @property
    def outputs(self) -> tuple[OutputSpec, ...]:
        """What the network makes of it."""
        return self.tensors[1]

    @property
    def names(self) -> list[str]:
        """Of the input and the outputs."""
        return [self.input.name, *(output.name for output in self.outputs)]

    @property
    def scales(self) -> list[tuple[int, ...]]:
        """How much finer than the input each output is, for each axis."""
        return [output.scale for output in self.outputs]

    @property
    def smallest(self) -> tuple[int, ...]:
        """Smallest input, pixels for each axis: something is left of a tile when its halo is cropped."""
        lengths = zip(self.axes, self.halo.pixels, self.size_multiple, strict=True)
        return tuple(round_up(max(2 * halo + 1, 64 if axis in "yx" else 1), step) for axis, halo, step in lengths)

    @property
    def channel_names(self) -> list[str]:
        """Of the input: frames are named by their time."""
        if self.frames > 1:
            return [f"t{step:+d}" if step else "t" for step in range(-(self.frames // 2), self.frames // 2 + 1)]
        return channel_names(self.input.channels)

    @property
    def dimensions(self) -> str:
        """2D or 3D."""
        return f"{len(self.axes)}D"
