"""Graphs run where deepImageJ runs them: on ONNX Runtime 1.12.1 and 1.13.1, each in an environment of its own.

Those need a Python of 3.8 to 3.10, and wheels. Without, the opset, IR and operators are checked all the same.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conftest import needs_shared
from tests.test_bioimageio import TEST
from tests.test_keras import difference, published
from zsd_export import convert, export
from zsd_runtime.engines import run_once
from zsd_runtime.engines.onnxruntime import OnnxRuntime
from zsd_runtime.package import read_package
from zsd_runtime.zoo import entries

RUNTIMES = ("1.12.1", "1.13.1")
TOLERANCES = {"fp32": 1e-5, "fp16": 1e-2, "int8": 2e-2}  # of the range; some round elsewhere, by a step of int8
PROGRAM = """
import sys
import numpy as np
import onnxruntime as ort
folder = sys.argv[1]
session = ort.InferenceSession(f"{folder}/model.onnx", providers=["CPUExecutionProvider"])
outputs = session.run(None, {"noisy": np.load(f"{folder}/input.npy")})
np.savez(f"{folder}/outputs.npz", **{o.name: v for o, v in zip(session.get_outputs(), outputs)})
print(ort.__version__)
"""


def _pythons() -> list[str]:
    """Interpreters that the old wheels are for."""
    beside = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions").glob("3.*/bin/python"))
    named = [path for minor in (10, 9, 8) if (path := shutil.which(f"python3.{minor}"))]
    code = "import sys; sys.exit(sys.version_info[:2] not in ((3, 8), (3, 9), (3, 10)))"
    found = [str(path) for path in [*reversed(beside), *named]]
    return [p for p in found if subprocess.run([p, "-c", code], capture_output=True, check=False).returncode == 0]


@pytest.fixture(scope="session")
def environments(tmp_path_factory) -> Callable[[str], str]:
    """The Python of an environment with a version of ONNX Runtime, each made once."""

    @cache
    def made(version: str) -> str:
        pythons = _pythons()
        if not pythons:
            pytest.skip(f"ONNX Runtime {version} needs a Python of 3.8 to 3.10, and none is here")
        folder = tmp_path_factory.mktemp("old")
        subprocess.run([pythons[0], "-m", "venv", folder], check=True, capture_output=True)
        python = str(folder / "bin" / "python")
        install = [python, "-m", "pip", "install", "-q", "--only-binary", ":all:", f"onnxruntime=={version}", "numpy<2"]
        result = subprocess.run(install, capture_output=True, text=True, check=False)
        if result.returncode:
            pytest.skip(f"ONNX Runtime {version} cannot be installed here: {result.stderr.strip().splitlines()[-1]}")
        return python

    return made


@pytest.fixture(params=RUNTIMES)
def old_python(request, environments) -> tuple[str, str]:
    return environments(request.param), request.param


@pytest.fixture(scope="session", params=["2D fp32", "2D fp16", "2D int8", "3D fp32"])
def graph(request, packages, run_folder, tmp_path_factory) -> tuple[bytes, float]:
    """A graph, and how far runtimes may differ on it."""
    dimensions, precision = request.param.split()
    if precision == "fp32":
        return read_package(packages[f"{dimensions} deepimagej"]).weights, TOLERANCES[precision]
    folder = tmp_path_factory.mktemp("reduced") / "package"
    return read_package(export(run_folder, folder, precision=precision)).weights, TOLERANCES[precision]


def test_an_old_runtime_gives_the_same(old_python, graph, tmp_path):
    _check_old_runtime(old_python, graph, tmp_path)


@pytest.mark.parametrize("name", [name for name, entry in entries().items() if entry.kind == "model"])
def test_models_of_the_zoo_run_there(old_python, name, tmp_path):
    weights = read_package(f"zoo:{name}").weights
    _check_old_runtime(old_python, (weights, TOLERANCES["fp32"]), tmp_path)
    _check_nothing_newer(weights)


def _check_old_runtime(old_python: tuple[str, str], graph: tuple[bytes, float], tmp_path: Path) -> None:
    (python, version), (weights, tolerance) = old_python, graph
    (tmp_path / "model.onnx").write_bytes(weights)
    axes = len(onnx.load_from_string(weights).graph.input[0].type.tensor_type.shape.dim) - 2
    image = np.random.default_rng(0).random((1, 1, *(8, 40, 48)[-axes:]), np.float32)
    np.save(tmp_path / "input.npy", image)
    result = subprocess.run([python, "-c", PROGRAM, tmp_path], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, version), result.stderr
    engine = OnnxRuntime(weights)
    with np.load(tmp_path / "outputs.npz") as found:
        scales = [tuple(n // m for n, m in zip(found[o].shape[2:], image.shape[2:], strict=True)) for o in found]
        for name, expected in zip(engine.output_names, run_once(engine, image, scales), strict=True):
            assert np.abs(found[name] - expected).max() <= tolerance * np.ptp(expected), name
    engine.close()


@needs_shared("reference")
@pytest.mark.parametrize("name", ["unet2d_up1", "rcan3d_up1"])
def test_published_weights_are_the_same_everywhere(name, imported, old_python, tmp_path):
    """Keras' numbers, out of one graph: ours, an old runtime's, and bioimageio.core's."""
    python, _ = old_python
    expected = published(name)
    first = slice(0, 1)
    zoo = imported(name)
    package = convert(zoo, tmp_path / "fiji", format="deepimagej")
    description = read_package(package)
    (tmp_path / "model.onnx").write_bytes(description.weights)
    np.save(tmp_path / "input.npy", expected.image[first])
    subprocess.run([python, "-c", PROGRAM, tmp_path], capture_output=True, check=True)
    engine = OnnxRuntime(description.weights)
    ours = run_once(engine, expected.image[first], [output.scale for output in description.outputs])
    with np.load(tmp_path / "outputs.npz") as old:
        for label, found in zip(engine.output_names, ours, strict=True):
            keras = getattr(expected, label)[first]
            assert difference(found, keras) < 1e-5
            assert difference(old[label], keras) < 1e-5
    engine.close()
    for folder in (zoo, package):  # bioimageio.core reproduces the test tensors, which are ours
        result = subprocess.run(
            [sys.executable, "-c", TEST, folder / "rdf.yaml"], capture_output=True, text=True, check=False
        )
        assert result.stdout.startswith("passed"), result.stdout + result.stderr


def test_the_graph_asks_for_nothing_newer(graph):
    _check_nothing_newer(graph[0])


def _check_nothing_newer(weights: bytes) -> None:
    model = onnx.load_from_string(weights)
    assert model.ir_version <= 8
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    for name in {node.op_type for node in model.graph.node}:
        assert onnx.defs.get_schema(name, 17).since_version <= 17
