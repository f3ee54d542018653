"""What a model package (BioImage.IO 0.5 or 0.4) says of its model."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as short
from typing import Any

import yaml

from zsd_runtime.archive import Read, reader
from zsd_runtime.camera import Camera, camera_of, length_of
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.normalize import Linear
from zsd_runtime.sim.microscope import Sim
from zsd_runtime.sim.parameters import SimParameters
from zsd_runtime.sim.transfer import Transfer
from zsd_runtime.tensors import InputSpec, OutputSpec, Rdf, input_04, input_05, output_04, output_05, text_of

SCHEMA = 3  # of `config: zsd` in a description; a package without a number has schema 1
LARGEST_MARGIN = 64  # pixels of zeros around an image; published models use 16
OPSETS = range(7, 24)
FILE_NAME = re.compile(r"\w[\w .-]*")  # outputs become files, <stem>_<name>


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
    pixel_size_um, z_step_um : float or None
        Of the training images, if known.
    camera : Camera or None
        What the training images say of their camera; None in packages of other programs, and of older versions of zsd.
    channel : str or None
        Name of the channel that it was trained on, if known.
    bytes_per_voxel : float or None
        Memory that a prediction takes for each voxel of a tile, measured at export.
    sim : Sim or None
        How raw frames of structured illumination become the network's input.
    frames : int
        Of a movie that the network sees at once, as channels: a frame between its neighbours in time.
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
    z_step_um: float | None = None
    camera: Camera | None = None
    channel: str | None = None
    bytes_per_voxel: float | None = None
    zero_margin: tuple[int, ...] | None = None
    sim: Sim | None = None
    frames: int = 1
    rdf: Rdf = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """What zsd adds to the format: `config: zsd` of the description."""
        return _facts(self.rdf)

    @property
    def channels(self) -> int:
        """How many channels an image has; one where the network's are frames of a movie."""
        return self.input.channels if self.frames == 1 else 1

    @property
    def input_axes(self) -> str:
        """Axes of one image: "YX", "ZYX", or with C before them for a model of several channels."""
        return "C" * (self.channels > 1) + self.axes.upper()

    def check_single_frames(self, what: str) -> None:
        """Refuse a model that sees several frames of a movie, for what has one image at a time.

        Raises
        ------
        InputError
        """
        if self.frames > 1:
            raise InputError(
                f"{self.name} sees {self.frames} frames of a movie at once, and {what} has images one by one",
                "restore movies with zsd predict, or train a model with `frames` 1", option="frames",
            )  # fmt: skip

    def output_shapes(self, shape: Sequence[int]) -> list[tuple[int, ...]]:
        """Shapes of the outputs for an image, or a stack, of `shape`.

        Raises
        ------
        InputError
            When it is a single slice and the model restores volumes, or has another number of channels.
        """
        axes = len(self.axes)
        if axes == 3 and (len(shape) < 3 or shape[-3] == 1):
            raise InputError(
                f"an image of {size_text(shape)} is a single slice; this model restores volumes (ZYX), where a slice "
                "has neighbours",
                "give the whole stack, or take a 2D model",
            )
        leading, spatial = tuple(shape[:-axes]), tuple(shape[-axes:])
        if self.channels > 1:
            if not leading or leading[-1] != self.channels:
                raise InputError(
                    f"an image of {size_text(shape)} does not have {self.channels} channels",
                    f"this model takes {self.input_axes}",
                )
            leading = leading[:-1]
        return [output.shape(leading, spatial) for output in self.outputs]

    @property
    def test_tensor(self) -> str:
        """The file of the test input, a name inside the package."""
        if _is_04(self.rdf):
            return str(self.rdf["test_inputs"][0])
        return str(self.rdf["inputs"][0]["test_tensor"]["source"])


def read_package(path: str | Path) -> ModelDescription:
    """Read a package from a folder, a zip, or its rdf.yaml; ``zoo:NAME`` is one that came with zsd.

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
    kind, version = text_of(rdf["type"]), text_of(rdf["format_version"])
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
    read_input, read_output = (input_04, output_04) if _is_04(rdf) else (input_05, output_05)
    axes, size_multiple, source = read_input(rdf["inputs"][0])
    if not rdf["outputs"]:
        raise InputError("the model has no outputs")
    outputs, halos = zip(*(read_output(tensor, source, axes) for tensor in rdf["outputs"]), strict=True)
    _check_names([output.name for output in outputs])
    return ModelDescription(
        name=text_of(rdf["name"]),
        axes=axes,
        size_multiple=size_multiple,
        halo=tuple(map(max, zip(*halos, strict=True))),
        input=source,
        outputs=outputs,
        weights=read(text_of(onnx["source"])),
        precision=text_of(facts.get("precision", "fp32")),
        pixel_size_um=length_of(facts.get("pixel_size_um")),
        z_step_um=length_of(facts.get("z_step_um")),
        camera=camera_of(facts.get("camera")),
        channel=text_of(facts["channel"]) if facts.get("channel") is not None else None,
        bytes_per_voxel=facts.get("bytes_per_voxel"),
        zero_margin=_zero_margin(facts.get("zero_margin"), axes),
        sim=_microscope(facts["sim"], read) if facts.get("sim") else None,
        frames=_frames(facts.get("frames", 1), source),
        rdf=rdf,
    )


def _microscope(facts: dict[str, Any], read: Read) -> Sim:
    otf = text_of(facts["otf"])
    return Sim(SimParameters.from_dict(facts["parameters"], "its SIM parameters"), Transfer.from_tiff(read(otf), otf))


def _facts(rdf: Rdf) -> dict[str, Any]:
    return (rdf.get("config") or {}).get("zsd") or {}


def _frames(frames: Any, source: InputSpec) -> int:
    if type(frames) is not int or frames < 1 or frames % 2 == 0 or (frames > 1 and frames != source.channels):
        raise InputError(
            f"it sees {short(frames)} frames and its input has {source.channels} channels: as many, and odd"
        )
    if frames > 1 and not isinstance(source.processing, Linear):
        raise InputError("it sees several frames of a movie and normalises each by itself", "train it with zsd")
    return frames


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
