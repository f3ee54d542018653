"""A model package (BioImage.IO 0.5, folder or zip) as the runtime needs it. Nothing is unpacked to disk."""

import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from zsd_runtime.errors import InputError
from zsd_runtime.normalize import Linear, Normalisation, from_description

RDF_NAMES = ("rdf.yaml", "bioimageio.yaml")
LARGEST_MEMBER = 4 << 30  # bytes; a zip may claim anything
OPSETS = range(7, 24)
OUTPUTS = ["denoised", "deconvolved"]


@dataclass(frozen=True)
class Output:
    """One output: its name, its scale (Y, X) relative to the input, and how its numbers become counts."""

    name: str
    scale: tuple[int, ...]
    postprocessing: Linear


@dataclass(frozen=True)
class ModelDescription:
    """What a package says of its model; lengths are input pixels, one an axis of `axes`.

    axes : spatial axes, "yx" · step : sizes are multiples of it · halo : pixels at a tile's rim that its border
    spoils · pixel_size_um : of the images it was trained on, if known · precision : of its arithmetic ·
    bytes_per_voxel : of memory that a prediction takes for each voxel of a tile, measured at export ·
    weights : the ONNX file's bytes.
    """

    name: str
    axes: str
    step: tuple[int, ...]
    halo: tuple[int, ...]
    preprocessing: Normalisation
    outputs: tuple[Output, ...]
    pixel_size_um: float | None
    precision: str
    bytes_per_voxel: float | None
    weights: bytes


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
        rdf = yaml.safe_load(read(None))
        return _describe(rdf, read)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: the model description is not valid YAML ({error}): export the model again") from None
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        if isinstance(error, InputError):
            raise InputError(f"{path}: {error}") from None
        raise InputError(f"{path}: the model description lacks or garbles {error}: export the model again") from None


def _describe(rdf: dict[str, Any], read: Any) -> ModelDescription:
    if rdf["type"] != "model" or not str(rdf["format_version"]).startswith("0.5"):
        raise InputError(f"it is a {rdf['type']} of format {rdf['format_version']}; zsd runs BioImage.IO models 0.5")
    if len(rdf["inputs"]) != 1:
        raise InputError(f"the model has {len(rdf['inputs'])} inputs; zsd runs models with one image")
    source = rdf["inputs"][0]
    spatial = [axis for axis in source["axes"] if axis["type"] == "space"]
    axes = "".join(axis["id"] for axis in spatial)
    if axes not in ("yx", "zyx"):
        raise InputError(f"the input's spatial axes are {axes!r}; zsd runs 'yx' and 'zyx'")
    onnx = rdf["weights"].get("onnx")
    if onnx is None:
        raise InputError(f"it has {sorted(rdf['weights'])} weights but no onnx: ask its author for ONNX weights")
    if onnx["opset_version"] not in OPSETS:
        raise InputError(f"its ONNX opset is {onnx['opset_version']}; {OPSETS.start} to {OPSETS[-1]} are known")
    outputs = tuple(_output(tensor, source["id"], axes) for tensor in rdf["outputs"])
    if [o.name for o in outputs] != OUTPUTS:
        raise InputError(f"its outputs are {[o.name for o in outputs]}; zsd models give denoised and deconvolved")
    zsd = (rdf.get("config") or {}).get("zsd") or {}
    return ModelDescription(
        name=str(rdf["name"]),
        axes=axes,
        step=tuple(int(_size(axis, "step", 1)) for axis in spatial),
        halo=tuple(_halo(rdf["outputs"], axis) for axis in axes),
        preprocessing=from_description(source.get("preprocessing") or [], "the input"),
        outputs=outputs,
        pixel_size_um=zsd.get("pixel_size_um"),
        precision=str(zsd.get("precision", "fp32")),
        bytes_per_voxel=zsd.get("bytes_per_voxel"),
        weights=read(onnx["source"]),
    )


def _output(tensor: dict[str, Any], input_id: str, axes: str) -> Output:
    by_id = {axis["id"]: axis for axis in tensor["axes"] if axis["type"] == "space"}
    scale = []
    for name in axes:
        size = by_id[name]["size"]
        if size.get("tensor_id") != input_id or size.get("axis_id") != name:
            raise InputError(f"output {tensor['id']!r}, axis {name}: its size must follow the input's")
        # BioImage.IO 0.5 divides: reference size = input size · input scale / output scale.
        factor = 1 / float(by_id[name].get("scale", 1))
        if factor < 1 or abs(factor - round(factor)) > 1e-6:
            raise InputError(
                f"output {tensor['id']!r} is {factor:g} times as fine as the input; zsd runs whole factors"
            )
        scale.append(round(factor))
    line = from_description(tensor.get("postprocessing") or [], f"output {tensor['id']!r}")
    if not isinstance(line, Linear):
        raise InputError(f"output {tensor['id']!r} is normalised by its own values; zsd runs scale_linear there")
    return Output(tensor["id"], tuple(scale), line)


def _halo(outputs: list[dict[str, Any]], name: str) -> int:
    """The largest halo that an output declares along an axis, in input pixels."""
    return max(
        round(axis.get("halo", 0) * float(axis.get("scale", 1)))
        for tensor in outputs for axis in tensor["axes"] if axis.get("id") == name
    )  # fmt: skip


def _size(axis: dict[str, Any], key: str, default: int) -> int:
    size = axis["size"]
    return int(size.get(key, default)) if isinstance(size, dict) else default


def _reader(path: Path) -> Any:
    """A function from a name inside the package (None: the description) to its bytes."""
    if not path.exists():
        raise InputError(f"{path} does not exist: give a package made by `zsd export`, a folder or a zip")
    if path.is_file() and path.suffix != ".zip":
        path = path.parent if path.name in RDF_NAMES else path
    if path.is_dir():
        return _folder_reader(path)
    return _zip_reader(path)


def _folder_reader(path: Path) -> Any:
    def read(name: str | None) -> bytes:
        for candidate in RDF_NAMES if name is None else (_inside(name),):
            if (path / candidate).is_file():
                return (path / candidate).read_bytes()
        raise InputError(f"{path} holds no {name or 'rdf.yaml'}: give a package made by `zsd export`")

    return read


def _zip_reader(path: Path) -> Any:
    def read(name: str | None) -> bytes:
        try:
            with zipfile.ZipFile(path) as archive:
                members = {_inside(info.filename): info for info in archive.infolist()}
                for candidate in RDF_NAMES if name is None else (_inside(name),):
                    if candidate in members:
                        if members[candidate].file_size > LARGEST_MEMBER:
                            raise InputError(
                                f"{path}: {candidate} claims {members[candidate].file_size} bytes: refused"
                            )
                        return archive.read(members[candidate])
        except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError) as error:
            raise InputError(f"{path} is not a readable zip ({error}): copy or export it again") from None
        raise InputError(f"{path} holds no {name or 'rdf.yaml'}: give a package made by `zsd export`")

    return read


def _inside(name: str) -> str:
    """The name, if it stays inside the package."""
    posix = PurePosixPath(name.replace("\\", "/"))
    if posix.is_absolute() or ".." in posix.parts or any(":" in part for part in posix.parts):
        raise InputError(f"the path {name!r} leads out of the package: refused, do not trust this file")
    return str(posix)
