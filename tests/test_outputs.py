"""Packages describe what the network has: any outputs, any channels."""

import shutil

import imageio.v3 as iio
import numpy as np
import pytest

from tests.jdll import problems
from zsd_export import convert, export
from zsd_export.graph.to_onnx import to_onnx
from zsd_export.measure.halo import Halo
from zsd_export.package.contents import Contents, linear, tensors_of
from zsd_export.package.credits import Credited
from zsd_export.package.rdf_04 import deepimagej
from zsd_export.package.rdf_05 import zoo
from zsd_export.package.write import cover
from zsd_optics.psf import gaussian_psf
from zsd_runtime import load_model
from zsd_runtime.package import read_package
from zsd_train import train
from zsd_train.config import NetworkConfig, make_config
from zsd_train.networks.build import build


@pytest.fixture(scope="module")
def single_stage(tmp_path_factory):
    """A run whose network denoises and does nothing else."""
    rng = np.random.default_rng(0)
    network = {"stages": 1, "width": 4, "depth": 1, "grid_factor": 1}
    config = make_config(network=network, patch=32, batch=1, steps=20, device="cpu", precision="fp32")
    images = [(rng.poisson(30, (80, 96)) + 100).astype(np.uint16)]
    return train(images, gaussian_psf(1.2), config, tmp_path_factory.mktemp("single") / "one stage").folder


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_network_of_one_stage_has_one_output(single_stage, precision, tmp_path):
    package = export(single_stage, tmp_path / "zoo", precision=precision)
    description = read_package(package)
    assert [output.name for output in description.outputs] == ["denoised"]
    assert "deconvolution" not in description.rdf["tags"]
    page = (package / "README.md").read_text()
    assert "A network (ZS-DeconvNet 2D). It gives `denoised` on the image's own grid, in camera" in page
    image = iio.imread(package / "cover.png")
    assert image.shape[1] == 2 * image.shape[0]
    with load_model(package, "cpu") as model:
        result = model.predict(np.random.default_rng(1).poisson(30, (70, 90)).astype(np.uint16))
    assert list(result) == ["denoised"]
    assert result.denoised.shape == (70, 90)
    if precision == "fp16":
        assert description.facts["precision_loss_db"].keys() == {"denoised"}
    shutil.unpack_archive(convert(package, tmp_path / "fiji.zip", format="deepimagej"), tmp_path / "fiji")
    assert [p for p in problems(tmp_path / "fiji") if "deconvolved" not in p] == []


def test_channels_are_written():
    network, intensities = build(NetworkConfig(width=4, depth=1, stages=1, channels=3), "yx").eval(), linear(100, 50)
    tensors = tensors_of(to_onnx(network), network.scales, intensities)
    contents = Contents(
        Credited("three channels"), "", "", {}, {}, network.kind, network.axes, network.size_multiple, tensors,
        intensities.units, intensities.text, Halo((8, 8), 0.0), None,
    )  # fmt: skip
    assert (contents.input.channels, contents.outputs[0].channels) == (3, 1)
    new, old = zoo(contents, {}), deepimagej(contents, {})
    channels = [tensor["axes"][1]["channel_names"] for tensor in (new["inputs"][0], new["outputs"][0])]
    assert channels == [["channel0", "channel1", "channel2"], ["intensity"]]
    assert old["inputs"][0]["shape"]["min"][:2] == [1, 3]
    assert old["outputs"][0]["shape"]["offset"] == [0, -1, 0, 0]


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_covers_of_any_number_of_panels(count):
    image = cover(*np.random.default_rng(0).random((count, 70, 90)))
    assert image.shape[1] == 2 * image.shape[0]
