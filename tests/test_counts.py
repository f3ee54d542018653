import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import tifffile
import torch
import yaml
from onnx import TensorProto

from zsd_export import export
from zsd_export.graph.counts import counts_graph
from zsd_export.graph.precision import quantized
from zsd_export.graph.to_onnx import to_onnx
from zsd_export.measure import loss
from zsd_runtime import InputError, load_model
from zsd_runtime.normalize import Linear
from zsd_runtime.package import read_package
from zsd_train import load_run
from zsd_train.config import NetworkConfig
from zsd_train.networks.build import build


def run_onnx(model, image):
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"noisy": image[None, None]})


@pytest.fixture(scope="module")
def run(run_folder):
    return load_run(run_folder)


@pytest.fixture(scope="module")
def graphs(run):
    exact = to_onnx(run.network)
    image = ((run.sample - run.offset) / run.scale).astype(np.float32)
    return {"fp32": exact, "fp16": to_onnx(run.network, half=True), "int8": quantized(exact, image)}


@pytest.mark.parametrize("name", ["fp32", "fp16", "int8"])
def test_counts_in_and_out_are_what_normalisation_outside_gives(run, graphs, name, simulation):
    counts = simulation.noisy
    lines = (Linear(1 / run.scale, -run.offset / run.scale), Linear(run.scale))
    normalised = (counts.astype(np.float64) / run.scale - run.offset / run.scale).astype(np.float32)
    expected = [y * np.float32(run.scale) for y in run_onnx(graphs[name], normalised)]
    floats = run_onnx(counts_graph(graphs[name], *lines), counts)
    whole = run_onnx(counts_graph(graphs[name], *lines, "uint16"), counts)
    # A last bit of the input may turn a rounding inside: rarely in fp16 and int8, never far.
    share = {"fp32": 1, "fp16": 0.9, "int8": 0.9}[name]
    for e, f, w in zip(expected, floats, whole, strict=True):
        assert (f.dtype, w.dtype, f.shape, w.shape) == (np.float32, np.uint16, e.shape, e.shape)
        assert (np.abs(f - e) <= 1e-5 * np.ptp(e)).mean() >= share
        assert np.abs(f - e).max() <= 0.01 * np.ptp(e)
        np.testing.assert_array_equal(w, np.clip(np.rint(f), 0, 65535))


@pytest.mark.parametrize("level", [-3.0, 3.0])
def test_counts_are_clipped_at_both_ends(level):
    network = build(NetworkConfig(width=2, depth=1), "yx")
    for last in (network.to_denoised, network.to_deconvolved):
        torch.nn.init.constant_(last.bias, level)
    onnx, counts = to_onnx(network), np.full((16, 16), 1000, np.uint16)
    clipped = run_onnx(counts_graph(onnx, Linear(1e-5), Linear(1e5), "uint16"), counts)
    floats = run_onnx(counts_graph(onnx, Linear(1e-5), Linear(1e5)), counts)
    for w, f in zip(clipped, floats, strict=True):
        assert f.max() < 0 if level < 0 else f.min() > 65535
        assert (w.dtype, w.min(), w.max()) == (np.uint16, *(0 if level < 0 else 65535,) * 2)


@pytest.mark.parametrize(("output", "name"), [("float32", "fp32"), ("uint16", "int8")])
def test_a_package_of_counts(run_folder, package, simulation, tmp_path, monkeypatch, output, name):
    monkeypatch.setitem(loss.LARGEST_LOSS_DB, "int8", 0.5)
    counts = export(run_folder, tmp_path / "counts", input="uint16", output=output, precision=name)
    rdf = yaml.safe_load((counts / "rdf.yaml").read_text())
    assert rdf["inputs"][0]["data"] == {"type": "uint16"}
    assert not rdf["inputs"][0]["preprocessing"]
    assert [(o["data"], o["postprocessing"]) for o in rdf["outputs"]] == [({"type": output}, [])] * 2
    assert np.load(counts / "test_noisy.npy").dtype == np.uint16
    assert np.load(counts / "test_denoised.npy").dtype == output
    model = onnx.load(counts / "model.onnx")
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT16
    assert read_package(counts).precision == name

    tifffile.imwrite(tmp_path / "cell.tif", simulation.noisy)
    zsd = [sys.executable, "-c", "import zsd; zsd.main()", "predict"]
    for folder in (package, counts):
        out = tmp_path / f"{folder.name}_out"
        subprocess.run([*zsd, folder, tmp_path / "cell.tif", "--out", out, "--quiet"], check=True)
    for label in ("denoised", "deconvolved"):
        a, b = (tifffile.imread(tmp_path / f"{f.name}_out" / f"cell_{label}.tif") for f in (package, counts))
        assert np.sqrt(np.mean((a - b) ** 2)) <= (1e-5 if name == "fp32" else 0.02) * np.ptp(a) + (output == "uint16")

    program = "import sys; from bioimageio.core import test_model; print(test_model(sys.argv[1]).status)"
    tested = subprocess.run(
        [sys.executable, "-c", program, counts / "rdf.yaml"], capture_output=True, text=True, check=False
    )
    assert tested.stdout.strip() == "passed", tested.stderr


def test_images_that_are_not_counts_are_told(run_folder, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for file in run_folder.iterdir():
        if file.is_file():
            (run / file.name).write_bytes(file.read_bytes())
    tifffile.imwrite(run / "sample.tif", tifffile.imread(run / "sample.tif") / 1000)
    with pytest.raises(InputError, match=r"not whole counts .* export with `input` float32"):
        export(run, tmp_path / "never", input="uint16")
    assert not (tmp_path / "never").exists()


def test_any_real_image_becomes_counts(run_folder, tmp_path):
    """A graph of uint16 counts rounds and clips what is not: halves, negatives, more than 65535."""
    with load_model(export(run_folder, tmp_path / "counts", input="uint16"), device="cpu") as model:
        image = np.array([[-3.2, 99.6], [130.4, 7e4]])
        expected = model.predict(np.array([[0, 100], [130, 65535]], np.uint16))
        np.testing.assert_array_equal(model.predict(image).denoised, expected.denoised)
        half = model.predict(image.clip(max=6e4).astype(np.float16))
        assert np.isfinite(half.denoised).all()
