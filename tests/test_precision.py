import importlib
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
import yaml
from onnx import TensorProto, numpy_helper

from zsd_export import export
from zsd_export.graph.precision import quantized
from zsd_export.graph.to_onnx import to_onnx
from zsd_export.measure import loss
from zsd_export.measure.loss import loss_db
from zsd_export.measure.parity import VerificationError
from zsd_runtime import InputError, load_model
from zsd_runtime.engines import run_once
from zsd_runtime.engines.onnxruntime import OnnxRuntime
from zsd_runtime.package import read_package
from zsd_train import load_run
from zsd_train.networks.build import build
from zsd_train.networks.dual_stage import DualStageUNet


@pytest.fixture(scope="module")
def packages(run_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("precision")
    with pytest.MonkeyPatch.context() as patch:
        # Over four channels rounding errors hardly average out; networks of use lose a tenth of this.
        patch.setitem(loss.LARGEST_LOSS_DB, "int8", 0.5)
        return {p: export(run_folder, folder / p, precision=p) for p in ("fp16", "int8")}


@pytest.fixture(scope="module")
def image(run_folder):
    run = load_run(run_folder)
    return ((run.sample - run.offset) / run.scale).astype(np.float32)


@pytest.mark.parametrize("name", ["fp16", "int8"])
def test_packages_say_their_precision_and_its_cost(packages, name, simulation, package):
    zsd = yaml.safe_load((packages[name] / "rdf.yaml").read_text())["config"]["zsd"]
    assert read_package(packages[name]).precision == zsd["precision"] == name
    assert set(zsd["precision_loss_db"]) == {"denoised", "deconvolved"}
    assert f"Precision: {name}; PSNR lost on simulated" in (packages[name] / "README.md").read_text()
    with load_model(package) as a, load_model(packages[name]) as b:
        exact, reduced = a.predict(simulation.noisy), b.predict(simulation.noisy)
    for label in ("denoised", "deconvolved"):
        x, y = getattr(exact, label), getattr(reduced, label)
        assert np.sqrt(np.mean((x - y) ** 2)) < 0.02 * np.ptp(x)
        assert (x != y).any()


def test_an_exact_package_says_so(package):
    zsd = yaml.safe_load((package / "rdf.yaml").read_text())["config"]["zsd"]
    assert zsd["precision"] == read_package(package).precision == "fp32"
    assert "precision_loss_db" not in zsd


@pytest.mark.parametrize("name", ["fp16", "int8"])
def test_graphs_stay_what_old_engines_read(packages, name):
    model = onnx.load(packages[name] / "model.onnx")
    assert model.ir_version == 8
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    ends = [*model.graph.input, *model.graph.output]
    assert [end.name for end in ends] == ["noisy", "denoised", "deconvolved"]
    assert {end.type.tensor_type.elem_type for end in ends} == {TensorProto.FLOAT}
    assert [d.dim_param or d.dim_value for d in ends[0].type.tensor_type.shape.dim] == ["n", 1, "noisy_y", "noisy_x"]


def test_half_precision_is_half_from_end_to_end(packages):
    model = onnx.shape_inference.infer_shapes(onnx.load(packages["fp16"] / "model.onnx"))
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT16}
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    for kind in ("Conv", "Resize", "MaxPool", "Concat"):
        nodes = [node for node in model.graph.node if node.op_type == kind]
        assert nodes
        assert {types[node.output[0]] for node in nodes} == {TensorProto.FLOAT16}
    assert [node.op_type for node in model.graph.node].count("Cast") == 3


def test_eight_bits_are_one_scale_a_channel(packages):
    model = onnx.load(packages["int8"] / "model.onnx")
    makers = {node.output[0]: node for node in model.graph.node}
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    float_inputs = []
    for conv in (node for node in model.graph.node if node.op_type == "Conv"):
        if conv.input[1] in stored:
            float_inputs.append(stored[conv.input[1]].shape[1])
            continue
        weight, scale, zero = (stored[name] for name in makers[conv.input[1]].input)
        assert weight.dtype == np.int8
        assert scale.shape == zero.shape == weight.shape[:1]
        assert not zero.any()
        assert (np.abs(weight.astype(int)).max((1, 2, 3)) == 127).all()
        dequantize = makers[conv.input[0]]
        quantize = makers[dequantize.input[0]]
        assert (dequantize.op_type, quantize.op_type) == ("DequantizeLinear", "QuantizeLinear")
        assert stored[quantize.input[2]].dtype == np.uint8
        assert stored[conv.input[2]].dtype == np.float32
    assert float_inputs == [1, 1]  # the first convolution of either stage


def test_rounding_leaves_the_mean(image):
    """Random weights, biases such that half of the values that the ReLUs let through are small."""
    torch.manual_seed(0)
    network = DualStageUNet(8, 2, 2, 16).eval()
    for parameter in network.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, -0.05, 0.05)
    exact = to_onnx(network)
    a, b = (run_once(OnnxRuntime(g), image[None, None], [(1, 1), (2, 2)]) for g in (exact, quantized(exact, image)))
    for x, y in zip(a, b, strict=True):
        assert abs((y - x).mean()) < 0.5 * np.sqrt(np.mean((y - x) ** 2)) < 0.01 * np.ptp(x)


def test_openvino_computes_the_same(packages, image):
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    onnx_bytes = (packages["int8"] / "model.onnx").read_bytes()
    expected = run_once(OnnxRuntime(onnx_bytes), image[None, None], [(1, 1), (2, 2)])
    compiled = openvino.compile_model(packages["int8"] / "model.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for a, b in zip(compiled([image[None, None]]).values(), expected, strict=True):
        assert np.sqrt(np.mean((a - b) ** 2)) < 0.01 * np.ptp(b)


def test_equal_biases_stay_apart(image):
    """Before the first step all biases are 0, which the exporter stores once for all layers of a width."""
    network = DualStageUNet(4, 2, 2, 8)
    exact = to_onnx(network)
    names = {tensor.name for tensor in onnx.load_from_string(exact).graph.initializer}
    assert names == set(network.state_dict())
    reduced = onnx.load_from_string(quantized(exact, image))
    assert not any(node.op_type == "Identity" for node in reduced.graph.node)


def test_a_loss_is_measured_for_each_output(run_folder, image):
    run = load_run(run_folder)
    exact = to_onnx(run.network)
    assert loss_db(run, image, exact, exact, "fp16") == {"denoised": 0, "deconvolved": 0}
    with torch.no_grad():
        run.network.to_deconvolved.bias += 0.2
    with pytest.raises(
        VerificationError, match=r"int8 costs .* dB of deconvolved's PSNR, at most 0.2 dB .*precision fp16"
    ):
        loss_db(run, image, exact, to_onnx(run.network), "int8")


def test_too_great_a_loss_writes_nothing(run_folder, tmp_path, monkeypatch):
    other = to_onnx(build(load_run(run_folder).config.network, "yx"))
    module = importlib.import_module("zsd_export.export")
    monkeypatch.setattr(module, "quantized", lambda onnx, image: other)
    with pytest.raises(VerificationError, match="nothing was written; export with precision fp16"):
        export(run_folder, tmp_path / "bad", precision="int8")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int4"}, "precision 'int4' must be one of fp32, fp16, int8"),
        ({"input": "uint8"}, "input 'uint8' must be one of float32, uint16"),
        ({"output": "uint16"}, "set `input` to uint16"),
    ],
)
def test_unknown_options_are_told(run_folder, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        export(run_folder, tmp_path / "never", **options)
    assert list(tmp_path.iterdir()) == []


def test_bioimageio_reproduces_them(packages):
    program = """
import sys
from bioimageio.core import test_model
for package in sys.argv[1:]:
    summary = test_model(package)
    print(summary.status, [d.errors for d in summary.details])
"""
    paths = [path / "rdf.yaml" for path in packages.values()]
    result = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=False)
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["passed", "passed"], result.stdout + result.stderr
