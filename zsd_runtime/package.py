"""A model package (BioImage.IO 0.5 or 0.4, folder or zip) as the runtime needs it. Nothing is unpacked to disk."""

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from reprlib import repr as short
from typing import Any

import yaml

from zsd_runtime.errors import InputError
from zsd_runtime.normalize import Linear, Normalisation, from_description

RDF_NAMES = ("rdf.yaml", "bioimageio.yaml")
LARGEST_RDF = 4 << 20  # bytes; YAML takes a hundred times that in memory
LARGEST_MEMBER = 2 << 30  # bytes; no ONNX file can be larger
# Weights shrink by a tenth in a zip, images by half. What is packed tighter than this, and is not small, is a bomb.
TIGHTEST, SMALL = 100, 64 << 20
LARGEST_MARGIN = 64  # pixels of zeros around an image; published are 16
OPSETS = range(7, 24)
SCHEMA = 2  # of `config: zsd` in a description; a package without a number has schema 1
OUTPUTS = ["denoised", "deconvolved"]

Rdf = dict[str, Any]
Read = Callable[[str | None], bytes]


@dataclass(frozen=True)
class Output:
    """One output: its name, its scale relative to the input, how its numbers become counts, and their type."""

    name: str
    scale: tuple[int, ...]
    postprocessing: Linear
    dtype: str = "float32"


@dataclass(frozen=True)
class ModelDescription:
    """What a package says of its model; lengths are input pixels, one an axis of `axes`.

    axes : spatial axes, "yx" or "zyx" · size_multiple : sizes are multiples of it · halo : pixels at a
    tile's rim that its border spoils · pixel_size_um : of the images it was trained on, if known · precision : of
    its arithmetic ·
    bytes_per_voxel : of memory that a prediction takes for each voxel of a tile, measured at export · weights : the
    ONNX file's bytes · input_dtype : of the graph · zero_margin : pixels of zeros, after normalisation, around
    an image, which is otherwise continued · rdf : the description as it stands.
    """

    name: str
    axes: str
    size_multiple: tuple[int, ...]
    halo: tuple[int, ...]
    preprocessing: Normalisation
    outputs: tuple[Output, ...]
    pixel_size_um: float | None
    precision: str
    bytes_per_voxel: float | None
    weights: bytes
    input_dtype: str = "float32"
    zero_margin: tuple[int, ...] | None = None
    rdf: Rdf = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """What zsd wrote beyond the format: `config: zsd` of the description."""
        return (self.rdf.get("config") or {}).get("zsd") or {}

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
        When it is missing, corrupt, or describes a model that this runtime does not run.
    """
    path = Path(path)
    read = _reader(path)
    try:
        return _describe(yaml.safe_load(read(None)), read)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: the model description is not valid YAML ({reason}): export the model again"
        ) from None
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise InputError(f"{path}: {error}") from None
        raise InputError(f"{path}: the model description lacks or garbles {error}: export the model again") from None


def read_member(path: str | Path, name: str) -> bytes:
    """A file of a package.

    Raises
    ------
    InputError
        When the package lacks it.
    """
    return _reader(Path(path))(name)


def _describe(rdf: Rdf, read: Read) -> ModelDescription:
    kind, version = _text(rdf["type"]), _text(rdf["format_version"])
    if kind != "model" or not version.startswith(("0.4", "0.5")):
        raise InputError(f"it is a {kind} of format {version}; zsd runs BioImage.IO models 0.4 and 0.5")
    if len(rdf["inputs"]) != 1:
        raise InputError(f"the model has {len(rdf['inputs'])} inputs; zsd runs models with one image")
    source = (_input_04 if _is_04(rdf) else _input_05)(rdf["inputs"][0])
    onnx = rdf["weights"].get("onnx")
    if onnx is None:
        raise InputError(f"it has {sorted(rdf['weights'])} weights but no onnx: ask its author for ONNX weights")
    if onnx["opset_version"] not in OPSETS:
        raise InputError(f"its ONNX opset is {short(onnx['opset_version'])}; {OPSETS.start} to {OPSETS[-1]} are known")
    output = _output_04 if _is_04(rdf) else _output_05
    outputs, halos = zip(*(output(tensor, rdf["inputs"][0], source["axes"]) for tensor in rdf["outputs"]), strict=True)
    if [o.name for o in outputs] != OUTPUTS:
        raise InputError(f"its outputs are {[o.name for o in outputs]}; zsd models give denoised and deconvolved")
    zsd = (rdf.get("config") or {}).get("zsd") or {}
    return ModelDescription(
        name=_text(rdf["name"]),
        **source,
        halo=tuple(map(max, zip(*halos, strict=True))),
        outputs=outputs,
        pixel_size_um=zsd.get("pixel_size_um"),
        precision=_text(zsd.get("precision", "fp32")),
        bytes_per_voxel=zsd.get("bytes_per_voxel"),
        weights=read(_text(onnx["source"])),
        zero_margin=_zero_margin(zsd.get("zero_margin"), source["axes"]),
        rdf=rdf,
    )


def _zero_margin(pixels: Any, axes: str) -> tuple[int, ...] | None:
    if pixels is None:
        return None
    if len(pixels) != len(axes) or not all(isinstance(n, int) and 0 <= n <= LARGEST_MARGIN for n in pixels):
        raise InputError(f"its zero_margin is {short(pixels)}; it must be {len(axes)} numbers, 0 to {LARGEST_MARGIN}")
    return tuple(pixels)


def _is_04(rdf: Rdf) -> bool:
    return str(rdf["format_version"]).startswith("0.4")


def _input_05(tensor: Rdf) -> dict[str, Any]:
    spatial = [axis for axis in tensor["axes"] if axis["type"] == "space"]
    axes = "".join(_text(axis["id"]) for axis in spatial)
    _check_axes(axes, [axis["type"] for axis in tensor["axes"]][: -len(spatial)], ["batch", "channel"])
    sizes = [axis["size"] for axis in spatial]
    return {
        "axes": axes,
        "size_multiple": tuple(int(size["step"]) if isinstance(size, dict) else 1 for size in sizes),
        "input_dtype": _text((tensor.get("data") or {}).get("type", "float32")),
        "preprocessing": from_description(tensor.get("preprocessing") or [], "the input"),
    }


def _input_04(tensor: Rdf) -> dict[str, Any]:
    letters = _text(tensor["axes"])
    _check_axes(letters[2:], list(letters[:2]), ["b", "c"])
    shape = tensor["shape"]
    step = shape["step"] if isinstance(shape, dict) else [1] * len(letters)
    return {
        "axes": letters[2:],
        "size_multiple": tuple(max(1, int(n)) for n in _lengths(step, letters)),
        "input_dtype": _text(tensor.get("data_type", "float32")),
        "preprocessing": from_description(tensor.get("preprocessing") or [], "the input"),
    }


def _output_05(tensor: Rdf, source: Rdf, axes: str) -> tuple[Output, tuple[int, ...]]:
    """The output, and its halo in input pixels."""
    name = _text(tensor["id"])
    by_id = {axis["id"]: axis for axis in tensor["axes"] if axis["type"] == "space"}
    for axis in axes:
        size = by_id[axis]["size"]
        if size.get("tensor_id") != source["id"] or size.get("axis_id") != axis:
            raise InputError(f"output {name!r}, axis {axis}: its size must follow the input's")
    # BioImage.IO 0.5 divides: reference size = input size · input scale / output scale.
    scale = tuple(_whole(1 / float(by_id[axis].get("scale", 1)), name) for axis in axes)
    halo = tuple(by_id[axis].get("halo", 0) // k for axis, k in zip(axes, scale, strict=True))
    return Output(name, scale, _line(tensor, name), _text((tensor.get("data") or {}).get("type", "float32"))), halo


def _output_04(tensor: Rdf, source: Rdf, axes: str) -> tuple[Output, tuple[int, ...]]:
    name, shape, letters = _text(tensor["name"]), tensor["shape"], "bc" + axes
    follows = isinstance(shape, dict) and shape["reference_tensor"] == source["name"] and not any(shape["offset"])
    if tensor["axes"] != letters or not follows:
        raise InputError(f"output {name!r}: its axes and sizes must follow the input's, without an offset")
    # BioImage.IO 0.4 multiplies: size = reference size · scale; its halo is in pixels of the output.
    scale = tuple(_whole(float(k), name) for k in _lengths(shape["scale"], letters))
    pixels = _lengths(tensor.get("halo") or [0] * len(letters), letters)
    halo = tuple(int(n) // k for n, k in zip(pixels, scale, strict=True))
    return Output(name, scale, _line(tensor, name), _text(tensor.get("data_type", "float32"))), halo


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
    """A string: anything else would be a description that is garbled, or made to be large when it is printed."""
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} where a text is to be")
    return value


def _reader(path: Path) -> Read:
    """A function from a name inside the package (None: the description) to its bytes."""
    if not path.exists():
        raise InputError(f"{path} does not exist: give a package made by `zsd export`, a folder or a zip")
    if path.is_file() and path.suffix != ".zip":
        path = path.parent if path.name in RDF_NAMES else path
    if path.is_dir():
        return _folder_reader(path)
    return _zip_reader(path)


def _folder_reader(path: Path) -> Read:
    def read(name: str | None) -> bytes:
        for candidate in RDF_NAMES if name is None else (_inside(name),):
            if (path / candidate).is_file():
                return (path / candidate).read_bytes()
        raise InputError(f"{path} holds no {name or 'rdf.yaml'}: give a package made by `zsd export`")

    return read


def _zip_reader(path: Path) -> Read:
    def read(name: str | None) -> bytes:
        try:
            with zipfile.ZipFile(path) as archive:
                members = {_inside(info.filename): info for info in archive.infolist()}
                for candidate in RDF_NAMES if name is None else (_inside(name),):
                    if candidate in members:
                        _check_size(members[candidate], LARGEST_RDF if name is None else LARGEST_MEMBER)
                        return archive.read(members[candidate])  # which never gives more than was claimed
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError, zlib.error) as error:
            raise InputError(f"{path} is not a readable zip ({error}): copy or export it again") from None
        raise InputError(f"{path} holds no {name or 'rdf.yaml'}: give a package made by `zsd export`")

    return read


def _check_size(member: zipfile.ZipInfo, largest: int) -> None:
    """Refuse what a package never holds."""
    unpacked, packed = member.file_size, member.compress_size
    if unpacked > largest or unpacked > max(SMALL, TIGHTEST * packed):
        raise InputError(
            f"{member.filename} would unpack from {packed / 1e6:.3g} MB to {unpacked / 1e6:.3g} MB; in packages it has "
            f"at most {largest / 1e6:.3g} MB, and {TIGHTEST} times what it is packed: refused, do not trust this file"
        )


def _inside(name: str) -> str:
    """The name, if it stays inside the package."""
    posix = PurePosixPath(name.replace("\\", "/"))
    if posix.is_absolute() or ".." in posix.parts or any(":" in part for part in posix.parts):
        raise InputError(f"the path {name!r} leads out of the package: refused, do not trust this file")
    return str(posix)
