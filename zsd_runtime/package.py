"""What a model package (BioImage.IO 0.5 or 0.4) says of its model."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as short
from typing import Any, Generic, TypeVar

import yaml

from zsd_runtime.archive import Read, reader
from zsd_runtime.errors import InputError
from zsd_runtime.normalize import Linear, Normalisation, from_description

SCHEMA = 2  # of `config: zsd` in a description; a package without a number has schema 1
LARGEST_MARGIN = 64  # pixels of zeros around an image; published models use 16
MOST_CHANNELS = 1024
OPSETS = range(7, 24)
FILE_NAME = re.compile(r"\w[\w .-]*")  # outputs become files, <stem>_<name>

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


@dataclass(frozen=True)
class ModelDescription:
    """What a package says of its model. Lengths are input pixels, one for each letter of `axes`.

    Attributes
    ----------
    name : str
    axes : {"yx", "zyx"}
        Spatial axes.
    size_multiple : tuple of int
        The network takes sizes that are multiples of it.
    halo : tuple of int
        Pixels along the border of a tile that the border makes wrong.
    input : TensorSpec
    outputs : tuple of TensorSpec
    weights : bytes
        The ONNX file.
    precision : str
        Of the arithmetic.
    pixel_size_um : float or None
        Of the training images, if known.
    bytes_per_voxel : float or None
        Memory that a prediction takes for each voxel of a tile, measured at export.
    zero_margin : tuple of int or None
        Pixels of zeros, after normalisation, around an image; None: the image is continued by reflection.
    rdf : dict
        The description as it stands in the package.
    """

    name: str
    axes: str
    size_multiple: tuple[int, ...]
    halo: tuple[int, ...]
    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    weights: bytes
    precision: str = "fp32"
    pixel_size_um: float | None = None
    bytes_per_voxel: float | None = None
    zero_margin: tuple[int, ...] | None = None
    rdf: Rdf = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """What zsd adds to the format: `config: zsd` of the description."""
        return _facts(self.rdf)

    @property
    def test_tensor(self) -> str:
        """The file of the test input, a name inside the package."""
        if _is_04(self.rdf):
            return str(self.rdf["test_inputs"][0])
        return str(self.rdf["inputs"][0]["test_tensor"]["source"])


def read_package(path: str | Path) -> ModelDescription:
    """Read a package from a folder, a zip, or its rdf.yaml.

    Raises
    ------
    InputError
        When it is missing or corrupt, was written by a newer zsd, or describes a model that this runtime does not run.
    """
    path = Path(path)
    read = reader(path)
    try:
        return _describe(yaml.safe_load(read(None)), read)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: its description is not valid YAML ({reason})", "export the model again") from None
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise InputError(f"{path}: {error}") from None
        raise InputError(f"{path}: {error} is missing or malformed", "export the model again") from None


def _describe(rdf: Rdf, read: Read) -> ModelDescription:
    kind, version = _text(rdf["type"]), _text(rdf["format_version"])
    if kind != "model" or not version.startswith(("0.4", "0.5")):
        raise InputError(f"it is a {kind} of format {version}; zsd runs BioImage.IO models 0.4 and 0.5")
    facts = _facts(rdf)
    if type(schema := facts.get("schema", 1)) is not int or not 1 <= schema <= SCHEMA:
        raise InputError(f"its schema is {short(schema)}; this zsd reads schema 1 to {SCHEMA}", "update zsd")
    if len(rdf["inputs"]) != 1:
        raise InputError(f"the model has {len(rdf['inputs'])} inputs; zsd runs models with one image")
    onnx = rdf["weights"].get("onnx")
    if onnx is None:
        raise InputError(f"it has {sorted(rdf['weights'])} weights but no onnx", "ask its author for ONNX weights")
    if onnx["opset_version"] not in OPSETS:
        raise InputError(f"its ONNX opset is {short(onnx['opset_version'])}; zsd runs {OPSETS.start} to {OPSETS[-1]}")
    read_input, read_output = (_input_04, _output_04) if _is_04(rdf) else (_input_05, _output_05)
    axes, size_multiple, source = read_input(rdf["inputs"][0])
    if not rdf["outputs"]:
        raise InputError("the model has no outputs")
    outputs, halos = zip(*(read_output(tensor, source, axes) for tensor in rdf["outputs"]), strict=True)
    _check_names([output.name for output in outputs])
    return ModelDescription(
        name=_text(rdf["name"]),
        axes=axes,
        size_multiple=size_multiple,
        halo=tuple(map(max, zip(*halos, strict=True))),
        input=source,
        outputs=outputs,
        weights=read(_text(onnx["source"])),
        precision=_text(facts.get("precision", "fp32")),
        pixel_size_um=facts.get("pixel_size_um"),
        bytes_per_voxel=facts.get("bytes_per_voxel"),
        zero_margin=_zero_margin(facts.get("zero_margin"), axes),
        rdf=rdf,
    )


def _facts(rdf: Rdf) -> dict[str, Any]:
    return (rdf.get("config") or {}).get("zsd") or {}


def _check_names(names: list[str]) -> None:
    """Results are files that carry the name of their output."""
    for name in names:
        if not FILE_NAME.fullmatch(name):
            raise InputError(f"output {short(name)} cannot be part of a file's name", "use letters, digits, - and _")
    if len({name.casefold() for name in names}) < len(names):
        raise InputError(f"its outputs are {short(names)}; each needs a name of its own")


def _zero_margin(pixels: Any, axes: str) -> tuple[int, ...] | None:
    if pixels is None:
        return None
    if len(pixels) != len(axes) or not all(isinstance(n, int) and 0 <= n <= LARGEST_MARGIN for n in pixels):
        raise InputError(f"its zero_margin is {short(pixels)}; it must be {len(axes)} numbers, 0 to {LARGEST_MARGIN}")
    return tuple(pixels)


def _is_04(rdf: Rdf) -> bool:
    return str(rdf["format_version"]).startswith("0.4")


def _input_05(tensor: Rdf) -> tuple[str, tuple[int, ...], InputSpec]:
    """Spatial axes, size multiple and tensor."""
    spatial = [axis for axis in tensor["axes"] if axis["type"] == "space"]
    axes = "".join(_text(axis["id"]) for axis in spatial)
    _check_axes(axes, [axis["type"] for axis in tensor["axes"]][: -len(spatial)], ["batch", "channel"])
    sizes = [axis["size"] for axis in spatial]
    size_multiple = tuple(int(size["step"]) if isinstance(size, dict) else 1 for size in sizes)
    dtype = _text((tensor.get("data") or {}).get("type", "float32"))
    processing = from_description(tensor.get("preprocessing") or [], "the input")
    channels = _channels_05(tensor)
    return axes, size_multiple, TensorSpec(_text(tensor["id"]), channels, (1,) * len(axes), dtype, processing)


def _input_04(tensor: Rdf) -> tuple[str, tuple[int, ...], InputSpec]:
    letters, shape = _text(tensor["axes"]), tensor["shape"]
    axes = letters[2:]
    _check_axes(axes, list(letters[:2]), ["b", "c"])
    smallest, step = (shape["min"], shape["step"]) if isinstance(shape, dict) else (shape, [1] * len(letters))
    size_multiple = tuple(max(1, int(n)) for n in _lengths(step, letters))
    _lengths(smallest, letters)
    dtype = _text(tensor.get("data_type", "float32"))
    processing = from_description(tensor.get("preprocessing") or [], "the input")
    channels = _channels(smallest[1])
    return axes, size_multiple, TensorSpec(_text(tensor["name"]), channels, (1,) * len(axes), dtype, processing)


def _output_05(tensor: Rdf, source: InputSpec, axes: str) -> tuple[OutputSpec, tuple[int, ...]]:
    """The output, and its halo in input pixels."""
    name = _text(tensor["id"])
    by_id = {axis["id"]: axis for axis in tensor["axes"] if axis["type"] == "space"}
    for axis in axes:
        size = by_id[axis]["size"]
        if size.get("tensor_id") != source.name or size.get("axis_id") != axis:
            raise InputError(f"output {name!r}, axis {axis}: its size must follow the input's")
    # BioImage.IO 0.5 divides: reference size = input size · input scale / output scale.
    scale = tuple(_whole(1 / float(by_id[axis].get("scale", 1)), name) for axis in axes)
    halo = tuple(by_id[axis].get("halo", 0) // k for axis, k in zip(axes, scale, strict=True))
    dtype = _text((tensor.get("data") or {}).get("type", "float32"))
    return TensorSpec(name, _channels_05(tensor), scale, dtype, _line(tensor, name)), halo


def _output_04(tensor: Rdf, source: InputSpec, axes: str) -> tuple[OutputSpec, tuple[int, ...]]:
    name, shape, letters = _text(tensor["name"]), tensor["shape"], "bc" + axes
    follows = isinstance(shape, dict) and shape["reference_tensor"] == source.name
    if tensor["axes"] != letters or not follows or shape["offset"][0] or any(shape["offset"][2:]):
        raise InputError(f"output {name!r}: its axes and sizes must follow the input's, without an offset")
    # BioImage.IO 0.4 multiplies: size = reference size · scale + 2 · offset; its halo is in pixels of the output.
    scale = tuple(_whole(float(k), name) for k in _lengths(shape["scale"], letters))
    pixels = _lengths(tensor.get("halo") or [0] * len(letters), letters)
    halo = tuple(int(n) // k for n, k in zip(pixels, scale, strict=True))
    channels = _channels(source.channels * shape["scale"][1] + 2 * shape["offset"][1])
    return TensorSpec(name, channels, scale, _text(tensor.get("data_type", "float32")), _line(tensor, name)), halo


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


def _text(value: Any) -> str:
    """A string: anything else is malformed, or made to be huge when it is printed."""
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} in place of a text")
    return value
