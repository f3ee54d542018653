"""The input of a model and its outputs, as descriptions in BioImage.IO 0.5 and 0.4 say them."""

from dataclasses import dataclass
from reprlib import repr as short
from typing import Any, Generic, TypeVar

from zsd_runtime.errors import InputError
from zsd_runtime.normalize import Linear, Normalisation, from_description

MOST_CHANNELS = 1024

Rdf = dict[str, Any]
Processing = TypeVar("Processing", bound=Normalisation, covariant=True)


@dataclass(frozen=True)
class TensorSpec(Generic[Processing]):
    """The input of a model, or one of its outputs.

    Attributes
    ----------
    name : str
        As the graph names it.
    channels : int
        Length of the channel axis.
    scale : tuple of int
        How many times finer than the input its grid is, for each spatial axis.
    dtype : str
        Of the graph's tensor.
    processing : Normalisation or Linear
        From camera counts to the network's numbers, for the input; back to counts, for an output.
    """

    name: str
    channels: int
    scale: tuple[int, ...]
    dtype: str
    processing: Processing

    def shape(self, leading: tuple[int, ...], spatial: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the images for an input of `spatial` pixels; a single channel has no axis of its own."""
        channel = (self.channels,) if self.channels > 1 else ()
        return (*leading, *channel, *(n * k for n, k in zip(spatial, self.scale, strict=True)))

    def batch_shape(self, count: int, spatial: tuple[int, ...]) -> tuple[int, ...]:
        """Shape (N, C, [Z,] Y, X) of the tensor for `count` inputs of `spatial` pixels."""
        return (count, self.channels, *(n * k for n, k in zip(spatial, self.scale, strict=True)))


InputSpec = TensorSpec[Normalisation]
OutputSpec = TensorSpec[Linear]


def input_05(tensor: Rdf) -> tuple[str, tuple[int, ...], InputSpec]:
    """Spatial axes, size multiple and tensor."""
    spatial = [axis for axis in tensor["axes"] if axis["type"] == "space"]
    axes = "".join(text_of(axis["id"]) for axis in spatial)
    _check_axes(axes, [axis["type"] for axis in tensor["axes"]][: -len(spatial)], ["batch", "channel"])
    sizes = [axis["size"] for axis in spatial]
    size_multiple = tuple(int(size["step"]) if isinstance(size, dict) else 1 for size in sizes)
    dtype = text_of((tensor.get("data") or {}).get("type", "float32"))
    processing = from_description(tensor.get("preprocessing") or [], "the input")
    channels = _channels_05(tensor)
    return axes, size_multiple, TensorSpec(text_of(tensor["id"]), channels, (1,) * len(axes), dtype, processing)


def input_04(tensor: Rdf) -> tuple[str, tuple[int, ...], InputSpec]:
    """Spatial axes, size multiple and tensor."""
    letters, shape = text_of(tensor["axes"]), tensor["shape"]
    axes = letters[2:]
    _check_axes(axes, list(letters[:2]), ["b", "c"])
    smallest, step = (shape["min"], shape["step"]) if isinstance(shape, dict) else (shape, [1] * len(letters))
    size_multiple = tuple(max(1, int(n)) for n in _lengths(step, letters))
    _lengths(smallest, letters)
    dtype = text_of(tensor.get("data_type", "float32"))
    processing = from_description(tensor.get("preprocessing") or [], "the input")
    channels = _channels(smallest[1])
    return axes, size_multiple, TensorSpec(text_of(tensor["name"]), channels, (1,) * len(axes), dtype, processing)


def output_05(tensor: Rdf, source: InputSpec, axes: str) -> tuple[OutputSpec, tuple[int, ...]]:
    """The output, and its halo in input pixels."""
    name = text_of(tensor["id"])
    by_id = {axis["id"]: axis for axis in tensor["axes"] if axis["type"] == "space"}
    for axis in axes:
        size = by_id[axis]["size"]
        if size.get("tensor_id") != source.name or size.get("axis_id") != axis:
            raise InputError(f"output {name!r}, axis {axis}: its size must follow the input's")
    # BioImage.IO 0.5 divides: reference size = input size · input scale / output scale.
    scale = tuple(_whole(1 / float(by_id[axis].get("scale", 1)), name) for axis in axes)
    halo = tuple(by_id[axis].get("halo", 0) // k for axis, k in zip(axes, scale, strict=True))
    dtype = text_of((tensor.get("data") or {}).get("type", "float32"))
    return TensorSpec(name, _channels_05(tensor), scale, dtype, _line(tensor, name)), halo


def output_04(tensor: Rdf, source: InputSpec, axes: str) -> tuple[OutputSpec, tuple[int, ...]]:
    """The output, and its halo in input pixels."""
    name, shape, letters = text_of(tensor["name"]), tensor["shape"], "bc" + axes
    follows = isinstance(shape, dict) and shape["reference_tensor"] == source.name
    if tensor["axes"] != letters or not follows or shape["offset"][0] or any(shape["offset"][2:]):
        raise InputError(f"output {name!r}: its axes and sizes must follow the input's, without an offset")
    # BioImage.IO 0.4 multiplies: size = reference size · scale + 2 · offset; its halo is in pixels of the output.
    scale = tuple(_whole(float(k), name) for k in _lengths(shape["scale"], letters))
    pixels = _lengths(tensor.get("halo") or [0] * len(letters), letters)
    halo = tuple(int(n) // k for n, k in zip(pixels, scale, strict=True))
    channels = _channels(source.channels * shape["scale"][1] + 2 * shape["offset"][1])
    return TensorSpec(name, channels, scale, text_of(tensor.get("data_type", "float32")), _line(tensor, name)), halo


def _channels_05(tensor: Rdf) -> int:
    names = next((axis.get("channel_names") for axis in tensor["axes"] if axis["type"] == "channel"), None)
    return _channels(1 if names is None else len(names))


def _channels(count: Any) -> int:
    if count != int(count) or not 1 <= count <= MOST_CHANNELS:
        raise InputError(f"a tensor has {short(count)} channels; zsd runs models with 1 to {MOST_CHANNELS}")
    return int(count)


def _check_axes(axes: str, leading: list[Any], expected: list[str]) -> None:
    if axes not in ("yx", "zyx") or leading != expected:
        raise InputError(
            f"the input's spatial axes are {axes!r}, behind {short(leading)}; zsd runs 'yx' and 'zyx', behind a batch "
            "and a channel"
        )


def _whole(factor: float, name: str) -> int:
    if factor < 1 or abs(factor - round(factor)) > 1e-6:
        raise InputError(f"output {name!r} is {factor:g} times as fine as the input; zsd runs whole factors")
    return round(factor)


def _line(tensor: Rdf, name: str) -> Linear:
    line = from_description(tensor.get("postprocessing") or [], f"output {name!r}")
    if not isinstance(line, Linear):
        raise InputError(f"output {name!r} is normalised by its own values; zsd runs scale_linear there")
    return line


def _lengths(values: list[Any], letters: str) -> list[Any]:
    """One number for each spatial axis, from one for each of `letters`."""
    if len(values) != len(letters):
        raise InputError(f"{short(values)} must have {len(letters)} numbers, for {letters}")
    return values[2:]


def text_of(value: Any) -> str:
    """A string: anything else is malformed, or made to be huge when it is printed."""
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} in place of a text")
    return value
