"""Prediction with 3D networks: all formats and axes, stacks thinner than a tile or its halo, single slices, seams."""

import numpy as np
import pytest
import tifffile
import torch

from benchmarks.seams import largest_step
from tests.command import zsd
from zsd_export.graph.to_onnx import to_onnx
from zsd_export.measure.halo import Halo
from zsd_export.package.contents import Contents, linear, tensors_of
from zsd_export.package.credits import Credited
from zsd_export.package.write import Destination, write
from zsd_runtime import InputError, load_model
from zsd_runtime.images import Image, Voxel, read_image, write_image
from zsd_train.networks.dual_stage import DualStageRCAN, DualStageUNet

NETWORKS = {
    "unet": lambda: DualStageUNet(4, 1, 2, 4, axes="zyx"),
    "rcan-window": lambda: DualStageRCAN(4, 1, 4, squeezed=2, window=(3, 5, 5)),
    "rcan-global": lambda: DualStageRCAN(4, 1, 4, squeezed=2, window=None),
}
# As far as the layers see: (convolutions, and half a window each, of one stage) twice.
HALOS = {"unet": (18, 24, 24), "rcan-window": (12, 14, 14), "rcan-global": (10, 10, 10)}


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    for name, make in NETWORKS.items():
        torch.manual_seed(1)
        network = make().eval()
        for last in (network.to_denoised, network.to_deconvolved):  # a picture, where training starts from a flat one
            torch.nn.init.normal_(last.weight, std=0.3)
        onnx, intensities = to_onnx(network), linear(100, 200)
        contents = Contents(
            credits=Credited(f"random {name}"), summary="Random weights.", origin="", trained_on={}, validation={},
            kind=network.kind, axes=network.axes, size_multiple=network.size_multiple,
            tensors=tensors_of(onnx, network.scales, intensities), units=intensities.units,
            intensities=intensities.text, halo=Halo(HALOS[name], None), bytes_per_voxel=500,
        )  # fmt: skip
        write(Destination(folder / name), contents, onnx, volume((4, 32, 32)))
    return folder


@pytest.fixture(scope="module")
def model(packages):
    with load_model(packages / "rcan-window", device="cpu", engine="onnxruntime") as opened:
        yield opened


def volume(shape, seed=0):
    """Counts under shot noise."""
    return np.random.default_rng(seed).poisson(bright_side(shape)).astype(np.uint16)


def bright_side(shape):
    """Counts without noise, bright on one side and dark on the other, so that tiles differ."""
    z, y, x = np.ogrid[tuple(slice(0, n) for n in shape)]
    light = 60 * (1.1 + np.sin(x / 30) * np.cos(y / 40 + z / 9)) * (0.3 + x / shape[2])
    return (light + 100).astype(np.float32)


def predict(*arguments):
    return zsd("predict", *arguments, "--device", "cpu", "--engine", "onnxruntime")


@pytest.mark.parametrize(
    ("name", "axes"), [("a.tif", "ZYX"), ("a.ome.tif", "TCZYX"), ("a.ome.zarr", "TCZYX"), ("a.tif", "TCZYX")]
)
@pytest.mark.parametrize("out", ["auto", "tiff", "zarr"])
def test_volumes_of_any_axes_in_and_out(packages, model, tmp_path, name, axes, out):
    """Every volume of the file comes out as by itself, with its axes and pixel sizes."""
    data = np.stack([volume((5, 20, 24), seed) for seed in range(4)]).reshape(2, 2, 5, 20, 24)
    data = data if axes == "TCZYX" else data[0, 0]
    write_image(tmp_path / name, Image(data, axes, Voxel(0.5, 0.2, 0.2), ome="ome.tif" in name))
    result = predict(packages / "rcan-window", tmp_path / name, "--out", tmp_path / "out", "--format", out)
    assert result.returncode == 0, result.stderr
    zarr = out == "zarr" or (out == "auto" and name.endswith("zarr"))
    for label, k in (("denoised", 1), ("deconvolved", 2)):
        back = read_image(tmp_path / "out" / f"a_{label}{'.zarr' if zarr else '.tif'}")
        assert (back.axes, back.data.shape) == (axes, (*data.shape[:-2], k * 20, k * 24))
        assert (back.voxel.y_um, back.voxel.x_um) == pytest.approx((0.2 / k, 0.2 / k))
        assert back.voxel.z_um == pytest.approx(0.5)
        for index in np.ndindex(data.shape[:-3]):
            np.testing.assert_allclose(back.data[index], getattr(model.predict(data[index]), label), atol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(2, 33, 47), (3, 5, 6), (5, 64, 1), (40, 20, 20)])
def test_stacks_of_any_depth(packages, name, shape):
    """Thinner than the halo, thinner than the tile that was asked for, and thicker than wide."""
    with load_model(packages / name, device="cpu", engine="onnxruntime") as opened:
        tile = tuple(2 * h + 16 for h in opened.description.halo)
        result = opened.predict(volume(shape), tile=tile)
    assert result.denoised.shape == shape
    assert result.deconvolved.shape == (shape[0], 2 * shape[1], 2 * shape[2])
    assert np.isfinite(result.deconvolved).all()
    assert np.ptp(result.denoised) > 0


@pytest.mark.parametrize("shape", [(20, 24), (1, 20, 24), (3, 1, 20, 24)])
def test_a_single_slice_is_told(model, shape):
    targets = [np.zeros((*shape[:-2], 20 * k, 24 * k), np.float32) for k in (1, 2)]
    with pytest.raises(InputError, match=r"single slice.*give the whole stack, or take a 2D model"):
        model.predict_into(np.ones(shape, np.uint16), targets)
    if len(shape) < 4:
        with pytest.raises(InputError, match="single slice"):
            model.predict(np.ones(shape, np.uint16))
    else:
        with pytest.raises(InputError, match="give each volume by itself"):
            model.predict(np.ones(shape, np.uint16))


@pytest.mark.parametrize(
    ("axes", "shape", "options", "message"),
    [
        ("YX", (20, 24), (), "single slice"),
        ("ZYX", (1, 20, 24), (), "single slice"),
        ("TYX", (5, 20, 24), (), "--axes ZYX if these are slices"),
        ("ZYX", (5, 20, 24), ("--tile", "64x64"), "must have 3 numbers"),
        ("ZYX", (40, 40, 40), ("--tile", "20x64x64"), "not larger than twice the halo of 12"),
    ],
)
def test_what_is_no_volume_is_one_line_and_nothing_written(packages, tmp_path, axes, shape, options, message):
    write_image(tmp_path / "a.zarr", Image(np.ones(shape, np.uint16), axes))
    result = predict(packages / "rcan-window", tmp_path / "a.zarr", "--out", tmp_path / "out", *options)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not list((tmp_path / "out").glob("*"))


def test_slices_that_a_file_does_not_name_are_told_by_axes(packages, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", volume((5, 20, 24)), photometric="minisblack", metadata=None)
    arguments = (packages / "rcan-window", tmp_path / "a.tif", "--out", tmp_path / "out")
    assert predict(*arguments).returncode == 2
    assert predict(*arguments, "--axes", "ZYX").returncode == 0
    assert read_image(tmp_path / "out" / "a_denoised.tif").data.shape == (5, 20, 24)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_seams(packages, name):
    """No step between neighbouring voxels that tiling makes exceeds 1 % of the local signal; and tiles there are."""
    with load_model(packages / name, device="cpu", engine="onnxruntime") as opened:
        small = tuple(2 * h + 40 for h in opened.description.halo)
        measured = largest_step(opened, bright_side((8, 90, 200)), small, tuple(h + 40 for h in small))
    assert all(found["tiles"][0] > found["tiles"][1] for found in measured.values())
    for found in measured.values():
        assert found["step"] < 0.01, measured
    if name == "rcan-global":  # whose tiles do differ
        assert measured["deconvolved"]["difference"] > 0.1
