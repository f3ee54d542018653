"""What JDLL 0.6.1, the engine of deepImageJ, asks of a package; read in its source, since its Java does not run here.

Each rule is a function from a package to what is wrong, named after the class of JDLL that it was read in; `problems`
applies them all. Wherever JDLL casts, a value of another type is a ClassCastException and the model is not listed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tifffile
import yaml

# io.bioimage.modelrunner.transformations: "scale_linear" is ScaleLinearTransformation, its "gain" setGain; what
# setters take.
NUMBER, LIST = (int, float), (int, float, list)
TRANSFORMATIONS: dict[str, dict[str, Any]] = {
    "scale_linear": {"gain": NUMBER, "offset": NUMBER, "axes": str, "mode": str},
    "scale_range": {"min_percentile": NUMBER, "max_percentile": NUMBER, "axes": str, "mode": str, "eps": NUMBER},
    "zero_mean_unit_variance": {"mean": LIST, "std": LIST, "axes": str, "mode": str, "eps": NUMBER},
    "fixed_zero_mean_unit_variance": {"mean": NUMBER, "std": NUMBER, "axes": str, "mode": str},
    "clip": {"min": NUMBER, "max": NUMBER, "mode": str},
    "binarize": {"threshold": NUMBER, "mode": str},
    "sigmoid": {"mode": str},
}
MODES = ("fixed", "per_dataset", "per_sample")
SAMPLES = (".tiff", ".tif", ".png", ".jpg", ".jpeg", ".gif")
LARGEST_OPSET, LARGEST_IR = 17, 8  # of ONNX Runtime 1.12.1, which JDLL takes for opset 17
# Tensors that its ONNX interface makes (TensorBuilder): float, double, int and byte; images come as float.
TENSORS = (onnx.TensorProto.FLOAT,)


@dataclass(frozen=True)
class Package:
    """A folder, and its rdf.yaml as SnakeYAML reads it."""

    folder: Path
    rdf: dict[str, Any]

    @property
    def tensors(self) -> list[dict[str, Any]]:
        return [*self.rdf["inputs"], *self.rdf["outputs"]]

    @property
    def model(self) -> onnx.ModelProto:
        return onnx.load(self.folder / self.rdf["weights"]["onnx"]["source"], load_external_data=False)


def problems(folder: Path) -> list[str]:
    """What JDLL would stumble over, each as "rule: sentence"."""
    package = Package(folder, yaml.safe_load((folder / "rdf.yaml").read_text("utf-8")))
    found = []
    for rule in RULES:
        try:
            found += [f"{rule.__name__}: {problem}" for problem in rule(package)]
        except (KeyError, ValueError, TypeError, AttributeError, IndexError, OSError) as error:
            found.append(f"{rule.__name__}: {type(error).__name__} {error}")
    return found


def version(p: Package) -> Iterator[str]:
    """ModelDescriptorFactory.fromMap; 0.5 is read, but a finer output comes out wrong: TileMaker multiplies."""
    if not isinstance(p.rdf["format_version"], str) or not p.rdf["format_version"].startswith("0.4"):
        yield f"format_version {p.rdf['format_version']!r} is not the text 0.4.…"


def texts(p: Package) -> Iterator[str]:
    """ModelDescriptor.buildModelDescription casts them."""
    for key in ("name", "description", "id", "license", "documentation", "type"):
        if not isinstance(p.rdf.get(key), str):
            yield f"{key} is {p.rdf.get(key)!r}, not a text"
    for key in ("tags", "covers"):
        if not all(isinstance(text, str) for text in p.rdf[key]):
            yield f"{key} holds something else than texts"


def names(p: Package) -> Iterator[str]:
    """ModelDescriptorV04.findID: getNickname() of none is null, and deepImageJ calls equals on it."""
    nickname = p.rdf["config"]["bioimageio"].get("nickname")
    if not isinstance(nickname, str) or not nickname:
        yield f"config.bioimageio.nickname is {nickname!r}"
    if p.rdf.get("id") != nickname:
        yield f"id {p.rdf.get('id')!r} is not the nickname: a downloaded model would be listed twice"


def people(p: Package) -> Iterator[str]:
    """ModelDescriptor.buildAuthors, buildCiteElements and buildInfo."""
    if not p.rdf["authors"]:
        yield "no authors"
    for author in p.rdf["authors"]:
        if not isinstance(author.get("name"), str) or not all(isinstance(value, str) for value in author.values()):
            yield f"author {author} is not made of texts, a name among them"
    for citation in p.rdf["cite"]:
        if not isinstance(citation.get("text"), str) or not all(isinstance(value, str) for value in citation.values()):
            yield f"citation {citation} is not made of texts"


def files(p: Package) -> Iterator[str]:
    """Everything that is named lies in the package; names have no folder (File.getName)."""
    named = [p.rdf["documentation"], *p.rdf["covers"], p.rdf["weights"]["onnx"]["source"]]
    for key in ("test_inputs", "test_outputs", "sample_inputs", "sample_outputs"):
        named += p.rdf[key]
    for name in named:
        if not (p.folder / name).is_file() or Path(name).name != name:
            yield f"{name} is not in the package"


def test_artifacts(p: Package) -> Iterator[str]:
    """TestArtifact: .npy, the others are dropped and the next take their place; as many as tensors."""
    for side in ("inputs", "outputs"):
        test = p.rdf[f"test_{side}"]
        if len(test) != len(p.rdf[side]) or not all(name.endswith(".npy") for name in test):
            yield f"test_{side} {test} is not an .npy for each tensor"
            continue
        for name, tensor in zip(test, p.rdf[side], strict=True):
            values = np.load(p.folder / name)
            if values.ndim != len(tensor["axes"]) or values.dtype != tensor["data_type"]:
                said = f"{tensor['axes']} of {tensor['data_type']}"
                yield f"{name} is {values.dtype} of shape {values.shape}; {said} was said"


test_artifacts.__test__ = False  # type: ignore[attr-defined]  # pytest: a rule, not a test


def sample_images(p: Package) -> Iterator[str]:
    """SampleImage, likewise."""
    for side in ("inputs", "outputs"):
        samples = p.rdf[f"sample_{side}"]
        if len(samples) != len(p.rdf[side]) or not all(Path(name).suffix in SAMPLES for name in samples):
            yield f"sample_{side} {samples} is not an image for each tensor"
            continue
        for name, tensor in zip(samples, p.rdf[side], strict=True):
            image = tifffile.imread(p.folder / name)
            if image.ndim != len(tensor["axes"]) - 2:
                yield f"{name} has shape {image.shape}, for axes {tensor['axes']}"


def axes(p: Package) -> Iterator[str]:
    """TensorSpecV04: a text; its letters in the order of the array."""
    for tensor in p.tensors:
        if tensor["axes"] not in ("bcyx", "bczyx"):
            yield f"{tensor['name']} has axes {tensor['axes']!r}"
    if len({tensor["axes"] for tensor in p.tensors}) > 1:
        yield "tensors have different axes"


def input_shape(p: Package) -> Iterator[str]:
    """AxesV04 parses whole numbers; TileMaker.validateStepMin and validateTileVsImageChannel."""
    for tensor in p.rdf["inputs"]:
        smallest, step = tensor["shape"]["min"], tensor["shape"]["step"]
        for key, numbers in (("min", smallest), ("step", step)):
            if len(numbers) != len(tensor["axes"]) or not all(isinstance(n, int) and n >= 0 for n in numbers):
                yield f"{key} {numbers} is not a whole number for each of {tensor['axes']}"
        if smallest[:2] != [1, 1] or step[:2] != [0, 0]:
            yield f"batch and channel of {tensor['name']} may grow: channels are not tiled"
        if not all(n > 0 and n % s == 0 for n, s in zip(smallest[2:], step[2:], strict=True)):
            yield f"min {smallest} is no multiple of the step {step}: its tiles are min + n·step"


def output_shape(p: Package) -> Iterator[str]:
    """AxesV04, TileMaker.getOutputTiles: image = image · scale, tile = tile · scale + 2 · offset."""
    inputs = {tensor["name"] for tensor in p.rdf["inputs"]}
    for tensor in p.rdf["outputs"]:
        shape = tensor["shape"]
        if shape["reference_tensor"] not in inputs:
            yield f"{tensor['name']} refers to {shape['reference_tensor']!r}, which is no input"
        for key in ("scale", "offset"):
            if len(shape[key]) != len(tensor["axes"]):
                yield f"{key} {shape[key]} is not a number for each of {tensor['axes']}"
        if any(offset != 0 for offset in shape["offset"]):
            yield f"{tensor['name']} has an offset, by which tiles grow but the image does not"
        if shape["scale"][:2] != [1, 1] or not all(k >= 1 and k == int(k) for k in shape["scale"]):
            yield f"scale {shape['scale']} makes no whole image"


def output_size(p: Package) -> Iterator[str]:
    """The scale multiplies: the test output is the test input, so much finer."""
    (given,) = (np.load(p.folder / name).shape for name in p.rdf["test_inputs"])
    for name, tensor in zip(p.rdf["test_outputs"], p.rdf["outputs"], strict=True):
        expected = tuple(round(n * k) for n, k in zip(given, tensor["shape"]["scale"], strict=True))
        if np.load(p.folder / name).shape != expected:
            yield f"{name} has shape {np.load(p.folder / name).shape}; its scale makes {expected}"


def halo(p: Package) -> Iterator[str]:
    """ModelDescriptorV04.calculateTotalInputHalo cuts halo / scale to a whole number; TileMaker.validateTileVsHalo."""
    smallest = p.rdf["inputs"][0]["shape"]["min"]
    reach = []
    for tensor in p.rdf["outputs"]:
        scale, pixels = tensor["shape"]["scale"], tensor["halo"]
        if len(pixels) != len(tensor["axes"]) or not all(isinstance(n, int) for n in pixels):
            yield f"halo {pixels} of {tensor['name']} is not a whole number for each of {tensor['axes']}"
            continue
        if pixels[:2] != [0, 0]:
            yield f"{tensor['name']} has a halo along batch or channel"
        if any(n % k for n, k in zip(pixels, scale, strict=True)):
            yield f"halo {pixels} of {tensor['name']} is no multiple of its scale {scale}: part of a pixel is lost"
        if any(n * k - 2 * h <= 0 for n, k, h in zip(smallest, scale, pixels, strict=True)):
            yield f"halo {pixels} of {tensor['name']} leaves nothing of the smallest tile {smallest}"
        reach.append([n / k for n, k in zip(pixels, scale, strict=True)])
    if any(r != reach[0] for r in reach):
        yield f"outputs reach {reach} input pixels: tiles are cropped by the largest, results by their own"


def processing(p: Package) -> Iterator[str]:
    """TransformationInstance finds a class by the name and a setter by each argument."""
    for tensor in p.tensors:
        for step in [*tensor.get("preprocessing", []), *tensor.get("postprocessing", [])]:
            known = TRANSFORMATIONS.get(step.get("name"))
            if known is None:
                yield f"{tensor['name']} asks for {step.get('name')!r}"
                continue
            given = step.get("kwargs") or {}
            if "axes" in given and "mean" in given and not all(isinstance(given[key], list) for key in ("mean", "std")):
                yield f"{step['name']} of {tensor['name']} has axes, but single numbers: a list of each is wanted then"
            for key, value in given.items():
                if not isinstance(value, known.get(key, ())) or isinstance(value, bool):
                    yield f"{step['name']} of {tensor['name']} has {key}: {value!r}"
                elif key == "mode" and value not in MODES:
                    yield f"{step['name']} of {tensor['name']} has mode {value!r}"
                elif key == "axes" and not set("yx") <= set(value) <= set(tensor["axes"]) - {"b"}:
                    yield f"{step['name']} of {tensor['name']} goes over {value!r}: planes would be scaled one by one"


def numbers(p: Package) -> Iterator[str]:
    """SnakeYAML (YAML 1.1) reads 1e-6 as a text, and setters refuse numbers that fill more than an int."""
    text = (p.folder / "rdf.yaml").read_text("utf-8")
    for found in re.findall(r":\s+([-+]?\d+[eE][-+]?\d+)\s*$", text, re.MULTILINE):
        yield f"{found} has no point: SnakeYAML takes it for a text"


def configuration(p: Package) -> Iterator[str]:
    """DeepImageJExecutionConfig: tiling that is not allowed there is not allowed at all."""
    chosen = p.rdf["config"]["deepimagej"]
    if chosen.get("allow_tiling") is not True:
        yield f"allow_tiling is {chosen.get('allow_tiling')!r}"
    if chosen.get("pyramidal_model", False) is not False:
        yield f"pyramidal_model is {chosen['pyramidal_model']!r}: its tiles have no halo"


def weights(p: Package) -> Iterator[str]:
    """ModelWeight, OnnxWeights: the opset chooses the engine, 17 is ONNX Runtime 1.12.1."""
    onnx_weights = p.rdf["weights"]["onnx"]
    if onnx_weights["opset_version"] != LARGEST_OPSET:
        yield f"opset_version is {onnx_weights['opset_version']!r}; ONNX Runtime 1.12.1 is chosen by {LARGEST_OPSET}"


def graph_version(p: Package) -> Iterator[str]:
    """ONNX Runtime 1.12.1."""
    opsets = {entry.domain: entry.version for entry in p.model.opset_import}
    if set(opsets) != {""} or opsets[""] > LARGEST_OPSET:
        yield f"the graph has opsets {opsets}"
    if p.model.ir_version > LARGEST_IR:
        yield f"the graph has IR {p.model.ir_version}"


def operators(p: Package) -> Iterator[str]:
    """Each is ONNX's own, and not newer than opset 17."""
    for name in {node.op_type for node in p.model.graph.node}:
        if not onnx.defs.has(name, LARGEST_OPSET):
            yield f"{name} is not of opset {LARGEST_OPSET}"
    for node in p.model.graph.node:
        if node.domain:
            yield f"{node.op_type} is of {node.domain}"


def one_file(p: Package) -> Iterator[str]:
    """createSession(path) of a renamed copy: weights beside the file are lost."""
    for tensor in p.model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            yield f"{tensor.name} lies outside of the file"


def graph_ends(p: Package) -> Iterator[str]:
    """OnnxInterface.run: inputs by name, outputs by order, types that TensorBuilder makes; sizes that may vary."""
    graph = p.model.graph
    stored = {tensor.name for tensor in graph.initializer}
    for said, ends in (
        (p.rdf["inputs"], [end for end in graph.input if end.name not in stored]),
        (p.rdf["outputs"], list(graph.output)),
    ):
        if [tensor["name"] for tensor in said] != [end.name for end in ends]:
            yield f"the graph has {[end.name for end in ends]}, the description {[tensor['name'] for tensor in said]}"
        for end in ends:
            if end.type.tensor_type.elem_type not in TENSORS:
                yield f"{end.name} is not float32"
            if any(dim.HasField("dim_value") for dim in end.type.tensor_type.shape.dim[2:]):
                yield f"{end.name} has a fixed size"


RULES = (
    version, texts, names, people, files, test_artifacts, sample_images, axes, input_shape, output_shape, output_size,
    halo, processing, numbers, configuration, weights, graph_version, operators, one_file, graph_ends,
)  # fmt: skip
