import importlib
import subprocess
import sys
import zipfile

import imageio.v3 as iio
import numpy as np
import onnx
import pytest
import torch
import yaml

from tests.conftest import TINY
from zsd_export import Credits, export
from zsd_export.graph.to_onnx import to_onnx
from zsd_export.measure.halo import measure_halo
from zsd_export.measure.memory import bytes_per_voxel
from zsd_export.measure.parity import VerificationError, parity
from zsd_runtime import InputError, load_model
from zsd_runtime.package import read_package
from zsd_train import load_run
from zsd_train.networks.build import build
from zsd_train.networks.dual_stage import DualStageUNet


def test_the_graph_is_what_old_engines_read(package):
    model = onnx.load(package / "model.onnx")
    assert model.ir_version == 8
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    assert [o.name for o in model.graph.output] == ["denoised", "deconvolved"]
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["n", 1, "noisy_y", "noisy_x"]


def test_the_description(package, run_folder):
    rdf = yaml.safe_load((package / "rdf.yaml").read_text())
    run = load_run(run_folder)
    assert rdf["format_version"].startswith("0.5")
    step = rdf["inputs"][0]["preprocessing"][0]
    assert step["id"] == "scale_linear"
    assert step["kwargs"]["gain"] == pytest.approx(1 / run.scale)
    fine = rdf["outputs"][1]["axes"][-1]
    assert fine["scale"] == 0.5
    assert fine["halo"] == 2 * rdf["config"]["zsd"]["halo"][1]
    assert min(rdf["config"]["zsd"]["halo"]) > 0
    assert 0 <= rdf["config"]["zsd"]["halo_error"] <= 1e-4  # 0: the halo is all that the network can see
    cover = iio.imread(package / "cover.png")
    assert cover.shape[1] == 2 * cover.shape[0]
    assert (package / "cover.png").stat().st_size < 500_000


def test_bioimageio_accepts_and_reproduces_it(run_folder, tmp_path):
    export(run_folder, tmp_path / "cell.zip", credits=Credits("cell restored"))
    program = """
import sys
from bioimageio.core import test_model
summary = test_model(sys.argv[1])
print(summary.status, [d.errors for d in summary.details])
"""
    # In its own process: its import changes logging and warnings for everybody.
    result = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "cell.zip"], capture_output=True, text=True, check=False
    )
    assert result.stdout.startswith(("passed", "valid-format")), result.stdout + result.stderr
    assert result.stdout.startswith("passed"), result.stdout


def test_a_zip_and_a_folder_predict_the_same(package, run_folder, tmp_path, simulation):
    zipped = export(run_folder, tmp_path / "cell.zip")
    with load_model(package) as a, load_model(zipped) as b:
        np.testing.assert_array_equal(a.predict(simulation.noisy).deconvolved, b.predict(simulation.noisy).deconvolved)
    assert zipfile.ZipFile(zipped).testzip() is None


def test_a_network_that_differs_is_refused(run_folder, tmp_path, monkeypatch):
    run = load_run(run_folder)
    other = to_onnx(build(run.config.network, "yx"))
    with pytest.raises(VerificationError, match="differs from torch"):
        parity(run.network, other, np.random.default_rng(0).random((32, 32), np.float32))
    module = importlib.import_module("zsd_export.export")  # the package's `export` is the function
    monkeypatch.setattr(module, "to_onnx", lambda network: other)
    with pytest.raises(VerificationError):
        export(run_folder, tmp_path / "bad")
    assert list(tmp_path.iterdir()) == []


def test_the_halo_of_a_known_field():
    """A single 3×3 convolution on the raw grid, its input repeated once more: two pixels reach in."""

    class Two(DualStageUNet):
        def forward(self, x):
            once = torch.nn.functional.conv2d(x, torch.ones(1, 1, 3, 3), padding=1)
            return type(super().forward(x))(once, torch.nn.functional.conv2d(once, torch.ones(1, 1, 3, 3), padding=1))

    network = Two(2, 1, 2, 2, grid_factor=1)
    halo = measure_halo(to_onnx(network), np.random.default_rng(0).random((64, 64), np.float32), (1, 1), [(1, 1)] * 2)
    assert (halo.pixels, halo.error) == ((2, 2), pytest.approx(0, abs=1e-6))


def test_an_existing_package_is_not_overwritten(package, run_folder):
    with pytest.raises(InputError, match="exists already"):
        export(run_folder, package)


def test_a_run_that_is_none(tmp_path):
    with pytest.raises(InputError, match="is not a run"):
        export(tmp_path, tmp_path / "x.zip")
    assert list(tmp_path.iterdir()) == []


def test_the_memory_of_a_prediction_is_measured(package):
    """More than the two tensors of the head on the fine grid, of which a convolution needs both at once; not absurd."""
    head = 4 * TINY.head * 4  # channels, four fine pixels a raw one, bytes
    assert 2 * head < read_package(package).bytes_per_voxel < 20 * head


def test_a_graph_whose_memory_cannot_be_measured_is_told():
    with pytest.raises(RuntimeError, match=r"cannot be measured: .*cannot load the model"):
        bytes_per_voxel(b"no graph", [(1, 1), (2, 2)])
