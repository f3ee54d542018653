"""Every package for deepImageJ passes JDLL's rules, and each rule has something that it refuses."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml

from tests.jdll import RULES, problems

Change = Callable[[Path, dict[str, Any]], Any]


@pytest.fixture(scope="module")
def unpacked(packages, tmp_path_factory) -> dict[str, Path]:
    """Packages for deepImageJ, as folders."""
    folders = {}
    for name in ("2D deepimagej", "3D deepimagej", "blind-spot deepimagej"):
        folders[name] = tmp_path_factory.mktemp("jdll") / "package"
        shutil.unpack_archive(packages[name], folders[name])
    return folders


@pytest.mark.parametrize("name", ["2D deepimagej", "3D deepimagej", "blind-spot deepimagej"])
def test_packages_pass(unpacked, name):
    assert problems(unpacked[name]) == []


def _set(*path: Any, to: Any) -> Change:
    def change(_: Path, rdf: Any) -> None:
        for key in path[:-1]:
            rdf = rdf[key]
        rdf[path[-1]] = to

    return change


def _graph(edit: Callable[[onnx.ModelProto], None]) -> Change:
    def change(folder: Path, _: Any) -> None:
        model = onnx.load(folder / "model.onnx")
        edit(model)
        (folder / "model.onnx").write_bytes(model.SerializeToString())

    return change


def _swap_outputs(model: onnx.ModelProto) -> None:
    first, second = model.graph.output
    model.graph.ClearField("output")
    model.graph.output.extend([second, first])


def _gelu(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Gelu"  # since opset 20


def _outside(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL


def _npy(name: str, values: Any) -> Change:
    return lambda folder, rdf: np.save(folder / name, values)


# For each rule, packages that JDLL would stumble over.
BROKEN: list[tuple[str, Change]] = [
    ("version", _set("format_version", to="0.5.4")),
    ("version", _set("format_version", to=0.4)),
    ("texts", _set("name", to=2024)),
    ("texts", _set("documentation", to=None)),
    ("texts", _set("tags", to=["2d", 3])),
    ("names", _set("config", "bioimageio", "nickname", to=None)),
    ("names", _set("id", to="another")),
    ("people", _set("authors", to=[])),
    ("people", _set("authors", 0, to={"name": "Ro", "orcid": 12})),
    ("people", _set("cite", 0, "doi", to=10.1038)),
    ("files", _set("covers", to=["picture.png"])),
    ("files", lambda folder, rdf: (folder / "model.onnx").rename(folder / "other.onnx")),
    ("test_artifacts", _set("test_outputs", to=["test_denoised.npy"])),
    ("test_artifacts", _set("test_inputs", to=["sample_noisy.tif"])),
    ("test_artifacts", _npy("test_denoised.npy", np.zeros((1, 1, 64, 64), np.float64))),
    ("sample_images", _set("sample_inputs", to=["test_noisy.npy"])),
    ("sample_images", _set("sample_outputs", to=[])),
    ("axes", _set("inputs", 0, "axes", to="byxc")),
    ("axes", _set("outputs", 0, "axes", to=["b", "c", "y", "x"])),
    ("input_shape", _set("inputs", 0, "shape", "min", to=[1, 1, 64.0, 64])),
    ("input_shape", _set("inputs", 0, "shape", "step", to=[1, 0, 4, 4])),
    ("input_shape", _set("inputs", 0, "shape", "step", to=[4, 4])),
    ("input_shape", _set("inputs", 0, "shape", "min", to=[1, 1, 66, 66])),
    ("output_shape", _set("outputs", 0, "shape", "reference_tensor", to="raw")),
    ("output_shape", _set("outputs", 0, "shape", "offset", to=[0, 0, -8, -8])),
    ("output_shape", _set("outputs", 1, "shape", "scale", to=[1, 1, 0.5, 0.5])),
    ("output_shape", _set("outputs", 1, "shape", "scale", to=[2, 2])),
    ("output_size", _set("outputs", 1, "shape", "scale", to=[1, 1, 1, 1])),
    ("halo", _set("outputs", 1, "halo", to=[0, 0, 15, 15])),
    ("halo", _set("outputs", 0, "halo", to=[0, 0, 8.0, 8])),
    ("halo", _set("outputs", 0, "halo", to=[0, 0, 64, 64])),
    ("halo", _set("outputs", 0, "halo", to=[8, 8])),
    ("halo", _set("outputs", 0, "halo", to=[0, 0, 0, 0])),
    ("halo", _set("outputs", 0, "halo", to=[0, 1, 8, 8])),
    ("processing", _set("inputs", 0, "preprocessing", 0, "name", to="scale_mean_variance")),
    ("processing", _set("inputs", 0, "preprocessing", 0, "kwargs", to={"factor": 2})),
    ("processing", _set("inputs", 0, "preprocessing", 0, "kwargs", "std", to="1e-3 ")),
    ("processing", _set("inputs", 0, "preprocessing", 0, "kwargs", "std", to=2.0)),
    ("processing", _set("inputs", 0, "preprocessing", 0, "kwargs", "axes", to="c")),
    ("processing", _set("inputs", 0, "preprocessing", 0, "kwargs", "mode", to="per_image")),
    ("numbers", lambda folder, rdf: rdf["config"].update(eps="PLAIN 1e-6")),
    ("configuration", _set("config", "deepimagej", "allow_tiling", to="yes")),
    ("configuration", _set("config", "deepimagej", "pyramidal_model", to=True)),
    ("weights", _set("weights", "onnx", "opset_version", to=18)),
    ("graph_version", _graph(lambda model: setattr(model.opset_import[0], "version", 18))),
    ("graph_version", _graph(lambda model: setattr(model, "ir_version", 9))),
    ("operators", _graph(_gelu)),
    ("operators", _graph(lambda model: setattr(model.graph.node[0], "domain", "com.microsoft"))),
    ("one_file", _graph(_outside)),
    ("graph_ends", _graph(_swap_outputs)),
    ("graph_ends", _graph(lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", 4))),
    ("graph_ends", _graph(lambda model: setattr(model.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 64))),
    ("graph_ends", _set("inputs", 0, "name", to="raw")),
]


@pytest.mark.parametrize("case", range(len(BROKEN)), ids=[f"{i}-{rule}" for i, (rule, _) in enumerate(BROKEN)])
def test_what_jdll_stumbles_over_is_found(unpacked, case, tmp_path):
    rule, change = BROKEN[case]
    folder = tmp_path / "package"
    shutil.copytree(unpacked["2D deepimagej"], folder)
    rdf = yaml.safe_load((folder / "rdf.yaml").read_text())
    change(folder, rdf)
    text = yaml.safe_dump(rdf).replace("PLAIN 1e-6", "1e-6")  # which PyYAML never writes
    (folder / "rdf.yaml").write_text(text)
    assert rule in {problem.split(":")[0] for problem in problems(folder)}


def test_every_rule_refuses_something():
    assert {rule for rule, _ in BROKEN} == {rule.__name__ for rule in RULES}
