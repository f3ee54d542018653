"""PyTorch weights of the published DecoNoising and Noise2Void; the reference network here is written independently."""

import json
import os
import pickle

import numpy as np
import pytest
import scipy.ndimage as ndi
import tifffile
import torch
import yaml
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from tests.command import zsd
from tests.test_bioimageio import TEST, python
from zsd_export import Credits, import_torch
from zsd_export.package.credits import DECONOISING, NOISE2VOID
from zsd_export.pytorch_weights import network_of, read_state_dict
from zsd_optics.psf import gaussian_psf
from zsd_optics.psf_source import PsfFile, PsfGaussian, PsfOptics
from zsd_runtime import InputError, load_model
from zsd_runtime.images import Voxel
from zsd_runtime.normalize import Linear
from zsd_runtime.package import read_package
from zsd_runtime.tiling import EDGE

MEAN, STD = 430.0, 75.0
TRAINING = {"mean": MEAN, "std": STD}


class Level(nn.Module):
    """Two convolutions; on the way up after an enlargement, to which what was at that level before is joined."""

    def __init__(self, before, after, *, up=False, concat=False):
        super().__init__()
        if up:
            self.upconv = nn.ConvTranspose2d(before, after, 2, stride=2)
        self.conv1 = nn.Conv2d(after * (1 + concat) if up else before, after, 3, padding=1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.concat = concat

    def forward(self, x, skip=None):
        if skip is not None:
            x = self.upconv(x)
            x = torch.cat([x, skip], 1) if self.concat else x + skip
        return functional.relu(self.conv2(functional.relu(self.conv1(x))))


class Published(nn.Module):
    """A U-Net with the names of the published code: `levels` is its depth, `width` its start_filts."""

    def __init__(self, levels=3, width=4, *, channels=1, classes=1, concat=False):
        super().__init__()
        widths = [width * 2**i for i in range(levels)]
        self.noiseSTD = nn.Parameter(torch.tensor(0.5).log())
        self.down_convs = nn.ModuleList(map(Level, [channels, *widths[:-1]], widths))
        self.up_convs = nn.ModuleList(Level(2 * w, w, up=True, concat=concat) for w in widths[-2::-1])
        self.conv_final = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        skips = []
        for down in self.down_convs:
            x = down(functional.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        for up, skip in zip(self.up_convs, skips[-2::-1], strict=True):
            x = up(x, skip)
        return self.conv_final(x)


def published(**options):
    """With random weights, whose every bias counts and whose result has negative values, too."""
    torch.manual_seed(0)
    network = Published(**options)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight)
            nn.init.normal_(module.bias, std=0.1)
    with torch.no_grad():
        network.conv_final.bias -= network(torch.randn(1, network.down_convs[0].conv1.in_channels, 32, 32)).mean()
    return network.eval()


def saved(path, network):
    if path.suffix == ".safetensors":
        save_file(network.state_dict(), path)
    else:
        torch.save(network.state_dict(), path)
    return path


def noisy():
    light = ndi.gaussian_filter(np.random.default_rng(0).random((52, 71)), 2)
    return np.random.default_rng(1).poisson(400 + 2000 * (light - light.min())).astype(np.uint16)


def restored(network, image, scale=10.0):
    """What the published code predicts, in counts, and `EDGE` pixels of the image's continuation around it."""
    grid = 2 ** (len(network.down_convs) - 1)
    beyond = [(EDGE, EDGE + -(n + 2 * EDGE) % grid) for n in image.shape]  # as the runtime continues it
    normalised = np.pad((image.astype(np.float32) - MEAN) / STD, beyond, mode="reflect")
    with torch.inference_mode():
        found = network(torch.from_numpy(normalised[None, None]).float())[0, 0].numpy()
    return found * scale * STD + MEAN, tuple(slice(EDGE, EDGE + n) for n in image.shape)


def difference(found, expected):
    return np.abs(found - expected).max() / np.ptp(expected)


@pytest.mark.parametrize(
    ("shape", "name"),
    [({}, "a b.pt"), ({"levels": 2, "width": 6}, "a b.pth"), ({"levels": 4, "width": 2}, "a b.safetensors")],
)
def test_noise2void_predicts_as_published(shape, name, tmp_path):
    network, image = published(**shape), noisy()
    package = import_torch(saved(tmp_path / name, network), tmp_path / "model.zip", **TRAINING)
    description = read_package(package)
    assert (description.name, description.axes) == ("zsd a b", "yx")
    assert description.size_multiple == (2 ** (len(network.down_convs) - 1),) * 2
    assert description.input.processing == Linear(1 / STD, -MEAN / STD)
    assert [(o.name, o.scale, o.processing) for o in description.outputs] == [("denoised", (1, 1), Linear(STD, MEAN))]
    assert [c["doi"] for c in description.rdf["cite"]] == [NOISE2VOID["doi"]]
    expected, inside = restored(network, image)
    assert expected[inside].min() < MEAN < expected[inside].max()
    with load_model(package, engine="onnxruntime") as model:
        assert difference(model.predict(image).denoised, expected[inside]) < 1e-4


def test_deconoising_predicts_as_published(tmp_path):
    """With a PSF that is not symmetric: the published code correlates with it."""
    network, image = published(), noisy()
    psf = gaussian_psf(1.2)
    psf = (psf + 0.2 * ndi.shift(psf, (1, 2), order=0)).astype(np.float32)
    tifffile.imwrite(tmp_path / "psf.tif", psf)
    source = PsfFile(tmp_path / "psf.tif", pixel_size_um=0.1)
    kernel = source.kernel("yx", Voxel.square(0.1), 1)
    assert not np.allclose(kernel, kernel[::-1, ::-1], atol=1e-3)
    package = import_torch(
        saved(tmp_path / "w.pt", network), tmp_path / "model", **TRAINING, psf=source, pixel_size_um=0.1, offset=100
    )
    description = read_package(package)
    assert [(o.name, o.scale) for o in description.outputs] == [("denoised", (1, 1)), ("deconvolved", (1, 1))]
    assert [c["doi"] for c in description.rdf["cite"]] == [DECONOISING["doi"], NOISE2VOID["doi"]]
    expected, inside = restored(network, image)
    blurred = ndi.correlate(expected, kernel, mode="reflect")
    core = tuple(slice(n // 2, -(n // 2)) for n in kernel.shape)  # the published code mirrors what lies beyond
    with load_model(package, engine="onnxruntime") as model:
        result = model.predict(image)
    assert difference(result.deconvolved, expected[inside] - 100) < 1e-4
    assert difference(result.denoised[core], blurred[inside][core] - 100) < 1e-4
    turned = ndi.convolve(expected, kernel, mode="reflect")
    assert difference(result.denoised[core], turned[inside][core] - 100) > 1e-3


def test_the_output_scale_is_that_of_the_training(tmp_path):
    network, image = published(), noisy()
    weights = saved(tmp_path / "w.pt", network)
    package = import_torch(weights, tmp_path / "model", **TRAINING, output_scale=2, offset=50)
    expected, inside = restored(network, image, 2)
    with load_model(package, engine="onnxruntime") as model:
        assert difference(model.predict(image).denoised, expected[inside] - 50) < 1e-4


def test_the_package_says_what_its_counts_are_and_where_it_comes_from(tmp_path):
    weights = saved(tmp_path / "w.pt", published())
    package = import_torch(weights, tmp_path / "a", **TRAINING, credits=Credits("some cells", ["A. Person"], "mit"))
    assert read_package(package).facts["units"] == "camera counts, offset included"
    assert "results include the camera's offset" in (package / "README.md").read_text()
    rdf = yaml.safe_load((package / "rdf.yaml").read_text())
    assert (rdf["name"], rdf["license"]) == ("some cells", "MIT")
    assert rdf["description"] == "Zero-shot denoising (Noise2Void 2D), imported from PyTorch."
    source = PsfOptics(1.2, 520.0)
    package = import_torch(weights, tmp_path / "b", **TRAINING, offset=90, psf=source, pixel_size_um=0.1)
    description = read_package(package)
    assert (description.facts["units"], description.pixel_size_um) == ("camera counts above the offset", 0.1)
    provenance = description.facts["provenance"]
    assert (provenance["mean"], provenance["std"], provenance["output_scale"]) == (MEAN, STD, 10)
    assert provenance["psf"] == {"kind": "optics", "na": 1.2, "wavelength_nm": 520, "refractive_index": 1.515}
    assert provenance["pytorch_weights"] == "w.pt"


def test_half_precision_weights_are_read(tmp_path):
    network = published().half()
    found = network_of(read_state_dict(saved(tmp_path / "w.pt", network)))
    image = torch.rand(1, 1, 16, 24)
    with torch.inference_mode():
        torch.testing.assert_close(found(image).denoised, 10 * network.float()(image))


@pytest.mark.parametrize("psf", [None, PsfGaussian((1.1,))])
def test_bioimageio_accepts_and_reproduces_it(psf, tmp_path):
    package = import_torch(saved(tmp_path / "w.pt", published()), tmp_path / "model", **TRAINING, psf=psf)
    result = python(TEST, package / "rdf.yaml")
    assert result.stdout.startswith("passed"), result.stdout + result.stderr


class Malicious:
    """Loading its pickle makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["torch", "old torch", "pickle", "beside weights", "nested", "named safetensors"])
def test_no_code_of_a_file_runs(kind, tmp_path):
    trap, path = tmp_path / "trap", tmp_path / ("w.safetensors" if kind == "named safetensors" else "w.pt")
    held = Malicious(trap)
    held = {**published().state_dict(), "extra": held} if kind == "beside weights" else held
    held = {"state_dict": {"w": [held]}} if kind == "nested" else held
    if kind in ("pickle", "named safetensors"):
        path.write_bytes(pickle.dumps(held, protocol=2))
    else:
        torch.save(held, path, _use_new_zipfile_serialization=kind != "old torch")
    with pytest.raises(InputError):
        import_torch(path, tmp_path / "never", **TRAINING)
    assert not trap.exists()
    assert not (tmp_path / "never").exists()
    if kind != "named safetensors":  # the trap works
        torch.load(path, weights_only=False) if kind != "pickle" else pickle.loads(path.read_bytes())
        assert trap.exists()


@pytest.mark.parametrize("new", [True, False])
def test_a_whole_network_is_refused_and_its_owner_told_how_to_save_it(new, tmp_path):
    network = published()
    network.mean, network.std = MEAN, STD
    torch.save(network, tmp_path / "last.net", _use_new_zipfile_serialization=new)
    with pytest.raises(InputError) as error:
        import_torch(tmp_path / "last.net", tmp_path / "never", **TRAINING)
    message = str(error.value)
    assert "(tests.test_import_torch.Published); loading it would run code" in message
    assert "\n" not in message
    # Its owner runs what the message says; what that gives is imported.
    lines = message[message.index("net = torch.load") : message.index("` and `print(net.mean, net.std)`")]
    lines = lines.replace("'last.net'", repr(str(tmp_path / "last.net")) + ", weights_only=False")
    exec(lines.replace("'weights.pt'", repr(str(tmp_path / "weights.pt"))), {"torch": torch})
    image = torch.rand(1, 1, 16, 24)
    with torch.inference_mode():
        found = network_of(read_state_dict(tmp_path / "weights.pt"))(image).denoised
        torch.testing.assert_close(found, 10 * network(image), rtol=1e-4, atol=1e-4)


def _changed(**changes):
    """The weights of a published network with some of them replaced; None: left out."""
    state = {**published().state_dict(), **{name.replace("__", "."): value for name, value in changes.items()}}
    return {name: value for name, value in state.items() if value is not None}


REFUSED = {
    "concat": (
        lambda: published(concat=True).state_dict(),
        r"concatenates its skips .*up_convs.0.conv1.weight takes 16 channels, not 8",
    ),
    "PN2V": (
        lambda: published(classes=800).state_dict(),
        r"conv_final.weight has the shape \(800, 4, 1, 1\); in the published U-Net of 3 levels and 4 channels it has",
    ),
    "channels": (lambda: published(channels=3).state_dict(), r"conv1.weight has the shape \(4, 3, 3, 3\)"),
    "other network": (
        lambda: {"encoder.weight": torch.zeros(1)},
        r"no down_convs.0.conv1.weight, but 'encoder.weight'",
    ),
    "parallel": (
        lambda: {f"module.{name}": value for name, value in published().state_dict().items()},
        r"but 'module.noiseSTD', 'module.down_convs.0.conv1.weight', 'module.down_convs.0.conv1.bias', …",
    ),
    "volumes": (lambda: _changed(down_convs__0__conv1__weight=torch.zeros(4, 1, 3, 3, 3)), "kernels are 3D"),
    "flat": (lambda: _changed(down_convs__0__conv1__weight=torch.zeros(4)), "no kernel of planes"),
    "one level": (
        lambda: _changed(**_without("down_convs.1", "down_convs.2")),
        "number of levels is 1 .* 2 to 7 levels",
    ),
    "a level lost": (lambda: _changed(**_without("down_convs.1")), "lacks down_convs.1.conv1.weight, which"),
    "a key lost": (lambda: _changed(up_convs__1__conv2__bias=None), "lacks up_convs.1.conv2.bias, which"),
    "a key more": (lambda: _changed(attention__weight=torch.zeros(1)), "holds 'attention.weight', which .* not have"),
    "diverged": (lambda: _changed(conv_final__bias=torch.tensor([np.nan])), "conv_final.bias holds NaN or infinity"),
    "whole numbers": (lambda: _changed(conv_final__bias=torch.tensor([1])), r"no floating-point numbers \(torch.int64"),
    "checkpoint": (lambda: {"epoch": 3, "state_dict": {}}, "beside named tensors it holds 'epoch', 'state_dict'"),
    "odd name": (lambda: {"a\nb": torch.zeros(1)}, r"but 'a\\nb'"),
    "no numbers": (lambda: _changed(conv_final__bias=torch.empty(1, device="meta")), "no floating-point numbers"),
    "numbered": (lambda: {3: torch.zeros(1)}, "beside named tensors it holds 3"),
    "tensor": (lambda: torch.zeros(3), "it holds a Tensor, not a state_dict"),
    "nothing": (dict, "no down_convs.0.conv1.weight, but nothing"),
}


def _without(*prefixes):
    names = (name for name in published().state_dict() if name.startswith(prefixes))
    return {name.replace(".", "__"): None for name in names}


@pytest.mark.parametrize("name", REFUSED)
def test_other_weights_are_refused_by_name(name, tmp_path):
    make, message = REFUSED[name]
    torch.save(make(), tmp_path / "w.pt")
    with pytest.raises(InputError, match=message) as error:
        import_torch(tmp_path / "w.pt", tmp_path / "never", **TRAINING)
    assert str(error.value).startswith(f"{tmp_path / 'w.pt'}: ")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("damage", ["text", "empty", "cut", "image", "script"])
def test_damaged_files_are_refused(damage, suffix, tmp_path):
    path = saved(tmp_path / f"w{suffix}", published())
    match damage:
        case "text":
            path.write_text("no weights")
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(path.read_bytes()[:-900])
        case "image":
            tifffile.imwrite(path, np.zeros((3, 3)))
        case "script":
            torch.jit.trace(published(), torch.zeros(1, 1, 8, 8)).save(path)
    with pytest.raises(InputError, match="it is damaged, or no") as error:
        import_torch(path, tmp_path / "never", **TRAINING)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"std": 0}, "`std` 0 must be above 0 counts"),
        ({"std": -3}, "`std` -3 must be above 0"),
        ({"std": np.nan}, "`std` nan"),
        ({"mean": np.inf}, "`mean` inf must be a finite number"),
        ({"offset": np.nan}, "`offset` nan"),
        ({"output_scale": 0}, "`output_scale` 0 must be above 0$"),
        ({"pixel_size_um": 0}, "`pixel_size` 0 must be above 0 µm"),
        ({"psf": PsfGaussian((1.5, 1.1))}, "images are planes, so `psf_sigma` 1.5x1.1"),
        ({"psf": PsfOptics(1.2, 520)}, "pixel_size"),
        ({"format": "tf"}, "must be one of zoo, deepimagej"),
        ({"credits": Credits(licence="none")}, "no SPDX identifier"),
    ],
)
def test_bad_numbers_are_refused(options, message, tmp_path):
    weights = saved(tmp_path / "w.pt", published())
    with pytest.raises(InputError, match=message):
        import_torch(weights, tmp_path / "never", **(TRAINING | options))
    assert not (tmp_path / "never").exists()


def test_missing_files_even_psfs_and_packages_that_exist_are_refused(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        import_torch(tmp_path / "none.pt", tmp_path / "never", **TRAINING)
    weights = saved(tmp_path / "w.pt", published())
    tifffile.imwrite(tmp_path / "even.tif", gaussian_psf(1.2)[:-1, :-1].astype(np.float32))
    source = PsfFile(tmp_path / "even.tif", pixel_size_um=0.1)
    with pytest.raises(InputError, match="even"):
        import_torch(weights, tmp_path / "never", **TRAINING, psf=source, pixel_size_um=0.1)
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="exists already"):
        import_torch(weights, tmp_path / "there", **TRAINING)


def test_the_command(tmp_path):
    weights, package = saved(tmp_path / "w.pt", published()), tmp_path / "model.zip"
    training = ("--mean", MEAN, "--std", STD)
    result = zsd("import-torch", weights, package, *training, "--quiet")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"OK {package} written from {weights}\n", "")
    assert [o.name for o in read_package(package).outputs] == ["denoised"]
    options = {
        "na": 1.2, "wavelength": 520, "pixel-size": 0.1, "offset": 90, "output-scale": 1, "author": "A. Person",
        "licence": "mit", "tag": "actin", "format": "deepimagej", "name": "some cells",
    }  # fmt: skip
    given = [part for name, value in options.items() for part in (f"--{name}", value)]
    result = zsd("import-torch", weights, package, *training, *given, "--overwrite")
    assert (result.returncode, result.stderr) == (0, "")
    model = read_package(package)
    assert [o.name for o in model.outputs] == ["denoised", "deconvolved"]
    assert (model.name, model.rdf["format_version"], model.rdf["license"]) == ("some cells", "0.4.10", "MIT")
    assert (model.pixel_size_um, model.facts["provenance"]["output_scale"]) == (0.1, 1)
    assert json.dumps(model.facts["provenance"]["psf"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mean", 3), "--std"),
        (("--std", 3), "--mean"),
        (("--mean", 3, "--std", 0), "error: --std 0 must be above 0 counts"),
        (("--mean", 3, "--std", 3, "--wavelength", 520), "the PSF is given by nothing"),
        (("--mean", 3, "--std", 3, "--na", 1.2), "add --wavelength"),
        (("--mean", 3, "--std", 3, "--na", 1.2, "--wavelength", 520), "--pixel-size"),
        (("--mean", 3, "--std", 3, "--na", 1.2, "--psf-sigma", 1), "given by --psf-sigma and --na"),
    ],
)
def test_the_command_refuses(arguments, message, tmp_path):
    result = zsd("import-torch", saved(tmp_path / "w.pt", published()), tmp_path / "never", *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert not (tmp_path / "never").exists()
