import json
import subprocess
import sys
from dataclasses import dataclass

import h5py
import numpy as np
import pytest
import torch
import yaml
from torch import nn

from tests.command import zsd
from tests.conftest import SHARED, needs_shared
from tests.test_imports import PROGRAM
from zsd_export.convert import convert
from zsd_export.keras import MARGINS, import_keras, network_of, read_weights
from zsd_runtime import InputError, load_model
from zsd_runtime.engines import run_once
from zsd_runtime.engines.onnxruntime import OnnxRuntime
from zsd_runtime.normalize import Linear, ScaleRange
from zsd_runtime.package import read_package
from zsd_runtime.tiling import EDGE
from zsd_train.networks.dual_stage import DualStage, DualStageRCAN, DualStageUNet

REFERENCE = SHARED / "reference"
NAMES = ("unet2d_up0", "unet2d_up1", "rcan3d_up0", "rcan3d_up1", "rcan3d_sim_compact_up1", "unet3d_up1")
NETWORKS = {
    "one level": lambda: DualStageUNet(4, 1, 2, 6, 1, slope=0),
    "three levels": lambda: DualStageUNet(4, 3, 3, 6, 2, slope=0),
    "3D U-Net": lambda: DualStageUNet(4, 2, 2, 6, 2, axes="zyx", slope=0),
    "RCAN3D": lambda: DualStageRCAN(6, 4, 6, 1, squeezed=2, window=None),
    "RCAN3D_SIM": lambda: DualStageRCAN(6, 3, 8, 2, squeezed=2, window=None, clipped=True),
}


@dataclass(frozen=True)
class Published:
    """Numbers of the published code (shared/reference/README.md), in our axes."""

    image: np.ndarray
    denoised: np.ndarray
    deconvolved: np.ndarray


def published(name: str) -> Published:
    arrays = np.load(REFERENCE / f"{name}.npz")
    order = {4: (0, 3, 1, 2), 5: (0, 4, 3, 1, 2)}  # NYXC, NYXZC
    return Published(*(
        np.ascontiguousarray(arrays[key].transpose(order[arrays[key].ndim]))
        for key in ("input", "denoised", "deconvolved")
    ))  # fmt: skip


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest, as a share of the range; `found` without the margins that `expected` lacks."""
    margins = [(n - m) // 2 for n, m in zip(found.shape, expected.shape, strict=True)]
    found = found[tuple(slice(m, n - m) for m, n in zip(margins, found.shape, strict=True))]
    return float(np.abs(found - expected).max() / np.ptp(expected))


def random_weights(make) -> DualStage:
    """A network whose every bias counts, and whose outputs are neither flat nor without zeros."""
    torch.manual_seed(0)
    network = make()
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.normal_(module.bias, std=0.1)
    for last in (network.to_denoised, network.to_deconvolved):
        nn.init.normal_(last.weight, std=0.2)
        nn.init.constant_(last.bias, 0.3)
    return network.eval()


def write_keras(path, network: DualStage, *, weightless: bool = True, group: str = "/"):
    """The file that Keras 2 writes for such a network."""
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)]
    levels = len(getattr(network.denoise, "down", ()))
    extra = ["input_1", *["up_sampling"] * 2 * levels, *["up_sampling"] * (network.grid_factor - 1)]
    extra += ["re_lu"] * isinstance(network.between, nn.ReLU) + ["leaky_re_lu"] * isinstance(network, DualStageRCAN)
    names = [f"conv_{i}" for i in range(len(convolutions))]
    with h5py.File(path, "w") as file:
        root = file.require_group(group)
        for name, convolution in zip(names, convolutions, strict=True):
            kernel, bias = convolution.weight.detach().numpy(), convolution.bias.detach().numpy()
            order = (2, 3, 1, 0) if kernel.ndim == 4 else (3, 4, 2, 1, 0)  # to (Y, X, [Z,] in, out)
            layer = root.create_group(name)
            layer[f"{name}/kernel:0"], layer[f"{name}/bias:0"] = kernel.transpose(order), bias
            layer.attrs["weight_names"] = [f"{name}/kernel:0", f"{name}/bias:0"]
        if weightless:
            names += [f"{name}_{i}" for i, name in enumerate(extra)]
            for name in names[len(convolutions) :]:
                root.create_group(name).attrs["weight_names"] = []
        root.attrs["layer_names"] = [name.encode() for name in names]
    return path


@needs_shared("reference")
@pytest.mark.parametrize("name", NAMES)
def test_published_weights_give_the_published_numbers(name):
    network = network_of(read_weights(REFERENCE / f"{name}.h5"))
    expected = published(name)
    facts = json.loads((REFERENCE / "networks.json").read_text())[name]
    assert network.grid_factor == 1 + facts["upsample_flag"]
    with torch.inference_mode():
        denoised, deconvolved = (t.numpy() for t in network(torch.from_numpy(expected.image)))
    assert difference(denoised, expected.denoised) < 1e-5
    assert difference(deconvolved, expected.deconvolved) < 1e-5


@needs_shared("reference")
@pytest.mark.parametrize("name", ["unet2d_up1", "rcan3d_up0"])
def test_published_weights_give_the_published_numbers_from_the_package(name, imported):
    expected = published(name)
    description = read_package(imported(name))
    engine = OnnxRuntime(description.weights)
    for i in range(len(expected.image)):
        part = slice(i, i + 1)
        denoised, deconvolved = run_once(engine, expected.image[part], [o.scale for o in description.outputs])
        assert difference(denoised, expected.denoised[part]) < 1e-5
        assert difference(deconvolved, expected.deconvolved[part]) < 1e-5


@pytest.mark.parametrize("group", ["/", "model_weights"])
@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_is_recognised(name, group, tmp_path):
    network = random_weights(NETWORKS[name])
    found = network_of(read_weights(write_keras(tmp_path / "weights.h5", network, group=group)))
    assert (type(found), found.axes, found.grid_factor) == (type(network), network.axes, network.grid_factor)
    noisy = torch.rand(1, 1, *(3 * n + n % 2 for n in (8,) * len(network.axes))) - 0.3
    with torch.inference_mode():
        for a, b in zip(found(noisy), network(noisy), strict=True):
            torch.testing.assert_close(a, b)


def test_upsampling_is_asked_for_where_the_file_does_not_say(tmp_path):
    layers = read_weights(write_keras(tmp_path / "w.h5", random_weights(NETWORKS["three levels"]), weightless=False))
    with pytest.raises(InputError, match="--upsample or --no-upsample"):
        network_of(layers)
    assert [network_of(layers, grid_factor).grid_factor for grid_factor in (True, False)] == [2, 1]


@pytest.mark.parametrize(
    ("name", "margin"),
    [("three levels", None), ("three levels", "reflect"), ("three levels", (0, 8)), ("RCAN3D_SIM", None)],
)
def test_an_imported_package_predicts_as_published(name, margin, tmp_path):
    network = random_weights(NETWORKS[name])
    axes = len(network.axes)
    package = import_keras(write_keras(tmp_path / "a b.h5", network), tmp_path / "model.zip", margin=margin)
    description = read_package(package)
    assert (description.name, description.axes) == ("zsd a b", network.axes)
    assert description.input.processing == ScaleRange()
    assert [(o.scale, o.processing) for o in description.outputs] == [(s, Linear()) for s in network.scales]
    image = np.random.default_rng(0).poisson(50, (5, 40, 48)[-len(network.axes) :]).astype(np.uint16)
    normalised = (image - np.float32(image.min())) / np.float32(np.ptp(image))
    pixels = {None: MARGINS[network.axes], "reflect": (EDGE,) * axes}.get(margin, margin)
    edges = [(n, n) for n in pixels]
    padded = np.pad(normalised, edges, mode="reflect") if margin == "reflect" else np.pad(normalised, edges)
    with torch.inference_mode():
        expected = [t[0, 0].numpy() for t in network(torch.from_numpy(padded[None, None]))]
    with load_model(package, engine="onnxruntime") as model:
        result = model.predict(image)
    for found, wanted, scale in zip((result.denoised, result.deconvolved), expected, network.scales, strict=True):
        inside = tuple(slice(m * k, n - m * k) for m, n, k in zip(pixels, wanted.shape, scale, strict=True))
        assert difference(found, wanted[inside]) < 1e-5


def test_tiles_and_odd_sizes_see_the_same_margin(tmp_path):
    network = random_weights(NETWORKS["three levels"])
    package = import_keras(write_keras(tmp_path / "w.h5", network), tmp_path / "model")
    image = np.random.default_rng(0).poisson(50, (161, 183)).astype(np.uint16)
    with load_model(package, engine="onnxruntime") as model:
        halo = model.description.halo[0]
        assert len(model.plan(image.shape, (2 * halo + 40,) * 2)) > 1
        whole, tiled = (model.predict(image, tile=tile) for tile in ((300, 300), (2 * halo + 40,) * 2))
    for name in ("denoised", "deconvolved"):
        assert difference(getattr(tiled, name), getattr(whole, name)) < 1e-3
    normalised = (image - np.float32(image.min())) / np.float32(np.ptp(image))
    edge = np.pad(normalised, [(16, 23), (16, 17)])  # at least 16, to multiples of 8
    with torch.inference_mode():
        expected = network(torch.from_numpy(edge[None, None]))[0][0, 0, 16:-23, 16:-17].numpy()
    assert difference(whole.denoised, expected) < 1e-5


def test_credits_are_written_and_survive_another_format(tmp_path):
    weights = write_keras(tmp_path / "weights.h5", random_weights(NETWORKS["one level"]))
    package = import_keras(
        weights, tmp_path / "zoo", authors=["A. Person; an institute"], licence="mit", tags=["actin"], margin=(16, 24)
    )
    package = convert(package, tmp_path / "fiji", format="deepimagej")
    rdf = yaml.safe_load((package / "rdf.yaml").read_text())
    assert (rdf["authors"], rdf["license"]) == ([{"name": "A. Person", "affiliation": "an institute"}], "MIT")
    assert "actin" in rdf["tags"]
    assert read_package(package).zero_margin == (16, 24)
    assert "margin of 16x24 pixels of zeros" in (package / "README.md").read_text()
    missing = []
    import_keras(weights, package, overwrite=True, notice=missing.append)
    assert [word in sentence for word, sentence in zip(("author", "licence"), missing, strict=True)] == [True, True]


def test_a_fixed_line_keeps_counts(tmp_path):
    weights = write_keras(tmp_path / "weights.h5", random_weights(NETWORKS["one level"]))
    package = import_keras(weights, tmp_path / "model", name="a line", offset=100, scale=50, upsample=False)
    description = read_package(package)
    assert description.input.processing == Linear(0.02, -2)
    assert [o.processing for o in description.outputs] == [Linear(50)] * 2


def test_the_halo_is_stated_where_a_global_mean_prevents_measuring(tmp_path):
    package = import_keras(write_keras(tmp_path / "weights.h5", random_weights(NETWORKS["RCAN3D"])), tmp_path / "model")
    assert read_package(package).halo == (22, 22, 22)  # one convolution, 4 blocks of two, two more; twice
    rdf = yaml.safe_load((package / "rdf.yaml").read_text())
    assert "halo_error" not in rdf["config"]["zsd"]
    assert "depend, slowly, on the tiles" in (package / "README.md").read_text()


@pytest.mark.parametrize("name", ["one level", "RCAN3D", "3D U-Net"])
def test_bioimageio_accepts_and_reproduces_it(name, tmp_path):
    package = import_keras(write_keras(tmp_path / "w.h5", random_weights(NETWORKS[name])), tmp_path / "model")
    program = "import sys; from bioimageio.core import test_model as t; s = t(sys.argv[1]); print(s.status, s.details)"
    result = subprocess.run(
        [sys.executable, "-c", program, package / "rdf.yaml"], capture_output=True, text=True, check=False
    )
    assert result.stdout.startswith("passed"), result.stdout + result.stderr


def _bad(folder):
    good = write_keras(folder / "good.h5", random_weights(NETWORKS["RCAN3D"]))
    (folder / "text.h5").write_text("not HDF5")
    (folder / "short.h5").write_bytes(good.read_bytes()[:-3000])
    (folder / "there").mkdir()
    with h5py.File(folder / "data.h5", "w") as file:
        file["image"] = np.zeros((3, 3))
    for name, change in {
        "other": lambda file: _replace(file, "conv_4", np.zeros((3, 3, 3, 6, 5), np.float32)),
        "norm": lambda file: _replace(file, "conv_4", np.zeros(6, np.float32)),
        "nan": lambda file: file["conv_4/conv_4/bias:0"].__setitem__(0, np.nan),
        "few": lambda file: file.attrs.__setitem__("layer_names", [b"conv_0", b"conv_1"]),
        "lacks": lambda file: file.__delitem__("conv_4/conv_4/bias:0"),
    }.items():
        (folder / f"{name}.h5").write_bytes(good.read_bytes())
        with h5py.File(folder / f"{name}.h5", "a") as file:
            change(file)
    return {
        "missing": ("none.h5", {}, "no such file"),
        "text": ("text.h5", {}, "not an HDF5 file"),
        "truncated": ("short.h5", {}, "damaged or cut short .*truncated"),
        "no Keras": ("data.h5", {}, "not Keras weights"),
        "other network": ("other.h5", {}, r"conv_4 .*\(3, 3, 3, 6, 5\); in RCAN3D of 4 blocks.*\(1, 1, 1, 2, 6\)"),
        "other layer": ("norm.h5", {}, "conv_4 has weights of shapes .* a kernel and a bias each"),
        "diverged": ("nan.h5", {}, "conv_4 holds NaN"),
        "few": ("few.h5", {}, "2 convolutions, fewer"),
        "a layer lost": ("lacks.h5", {}, "damaged"),
        "half a line": ("good.h5", {"offset": 3}, "give both or neither"),
        "scale": ("good.h5", {"offset": 3, "scale": 0}, "above 0"),
        "margin": ("good.h5", {"margin": (16, 16)}, "--margin 16x16 must be 3 numbers, for ZYX, from 0 to 64"),
        "large margin": ("good.h5", {"margin": (16, 16, 65)}, "from 0 to 64"),
        "mirrored": ("good.h5", {"margin": "mirror"}, "'mirror' must be numbers of pixels, or 'reflect'"),
        "format": ("good.h5", {"format": "tf"}, "format 'tf' must be one of zoo, deepimagej"),
    }  # fmt: skip


def _replace(file, name, kernel):
    del file[f"{name}/{name}/kernel:0"]
    file[f"{name}/{name}/kernel:0"] = kernel


def test_bad_input_is_told_and_nothing_is_written(tmp_path):
    for name, (file, options, message) in _bad(tmp_path).items():
        with pytest.raises(InputError, match=message) as error:
            import_keras(tmp_path / file, tmp_path / "never", **options)
        assert "\n" not in str(error.value), name
        assert not (tmp_path / "never").exists(), name
    with pytest.raises(InputError, match="exists already"):
        import_keras(tmp_path / "good.h5", tmp_path / "there")


def test_the_command(tmp_path):
    weights = write_keras(tmp_path / "weights.h5", random_weights(NETWORKS["one level"]))

    result = zsd("import-keras", weights, tmp_path / "model.zip", "--quiet")
    assert (result.returncode, result.stdout[:3], result.stderr) == (0, "OK ", "")
    options = {"margin": "0x7", "author": "A. Person", "licence": "mit", "tag": "actin", "format": "deepimagej"}
    given = [part for name, value in options.items() for part in (f"--{name}", value)]
    result = zsd("import-keras", weights, tmp_path / "model.zip", "--overwrite", *given)
    assert (result.returncode, result.stderr) == (0, "")
    model = read_package(tmp_path / "model.zip")
    assert (model.zero_margin, model.rdf["format_version"]) == ((0, 8), "0.4.10")  # on the pooling grid
    assert (model.rdf["authors"], model.rdf["license"]) == ([{"name": "A. Person"}], "MIT")
    result = zsd("import-keras", weights, tmp_path / "never", "--margin", "mirror")
    assert (result.returncode, "16x16, or reflect" in result.stderr) == (2, True)
    result = zsd("import-keras", weights, tmp_path / "model.zip")
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert "exists already" in result.stderr
    command = [sys.executable, "-c", PROGRAM % (("h5py",),), "import-keras", weights, tmp_path / "never"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "needs h5py: pip install 'zsd[export]'" in result.stderr
