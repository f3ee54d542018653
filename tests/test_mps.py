"""Training on Apple GPUs, as far as it can be tested without one: what is chosen, refused, done on the CPU."""

import numpy as np
import pytest
import torch

from zsd_optics.noise import known_noise
from zsd_optics.psf import gaussian_psf
from zsd_runtime.errors import InputError
from zsd_train import mps
from zsd_train.checks import accelerator, precision
from zsd_train.config import make_config
from zsd_train.frames import Frame
from zsd_train.mps import check_results, layout_on, noise_device
from zsd_train.networks.build import build
from zsd_train.sampler import Sampler
from zsd_train.schemes import OddEven, Recorrupt

CPU = torch.device("cpu")
PSF = torch.tensor(gaussian_psf(0.5), dtype=torch.float32)


@pytest.mark.parametrize(
    ("device", "cuda", "apple", "expected"),
    [
        ("mps", False, True, "mps"),
        ("auto", False, True, "cpu"),  # Apple GPUs are used only where somebody asks for them
        ("auto", True, True, "cuda"),
        ("cpu", True, True, "cpu"),
    ],
)
def test_the_device_that_is_chosen(monkeypatch, device, cuda, apple, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: apple)
    assert accelerator(make_config(device=device)) == expected


def test_without_an_apple_gpu_mps_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"device mps: torch finds no Apple GPU here.*set `device` to cpu") as raised:
        accelerator(make_config(device="mps"))
    assert raised.value.options == ("device",)


@pytest.mark.parametrize(("asked", "expected"), [("auto", "32-true"), ("fp32", "32-true"), ("bf16", "bf16-mixed")])
def test_an_apple_gpu_computes_in_single_precision_unless_asked(monkeypatch, asked, expected):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert precision(make_config(device="mps", precision=asked)) == expected


@pytest.mark.parametrize(
    ("device", "noise", "layout"),
    [
        ("cpu", "cpu", torch.channels_last),
        ("cuda", "cuda", torch.channels_last),
        ("cuda:1", "cuda:1", torch.channels_last),
        ("mps:0", "cpu", torch.contiguous_format),
    ],
)
def test_where_noise_is_drawn_and_how_images_lie_in_memory(device, noise, layout):
    assert noise_device(torch.device(device)) == torch.device(noise)
    assert layout_on(torch.device(device), torch.channels_last) is layout


@pytest.mark.parametrize("scheme", [Recorrupt(), Recorrupt(noise="gaussian"), OddEven()])
def test_samples_are_made_where_noise_can_be_drawn_and_batches_are_moved(monkeypatch, scheme):
    """The device meta stands for a device that cannot draw: everything before the batch must happen on the CPU."""
    volumes = isinstance(scheme, OddEven)
    image = np.random.default_rng(0).poisson(50, (1, *((16,) * volumes), 64, 64)).astype(np.uint16)
    frame = Frame.of(image, 0.1, np.random.default_rng(0))
    patch, margin = ((4, 32, 32), (0, 2, 2)) if volumes else ((32, 32), (2, 2))
    monkeypatch.setattr(mps, "CANNOT_DRAW", ("meta",))
    batches = []
    for device in ("cpu", "meta"):
        sampler = Sampler(
            [frame], scheme, known_noise(0, 1, 1), offset=0, scale=100, patch=patch, margin=margin, device=device
        )
        generators = (torch.Generator().manual_seed(1), torch.Generator().manual_seed(2))
        batches.append(sampler.draw(2, *generators))
        # As many numbers were drawn from both generators, whatever the device.
        batches[-1].extras["next"] = torch.stack([torch.rand(1, generator=g) for g in generators])
    here, there = batches
    assert torch.equal(here.extras.pop("next"), there.extras.pop("next"))
    for name in ("noisy", "target", "mask", "orientation"):
        assert getattr(there, name).device.type == "meta"
        assert getattr(there, name).shape == getattr(here, name).shape
    assert {name: t.device.type for name, t in there.extras.items()} == dict.fromkeys(here.extras, "meta")


@pytest.mark.parametrize(
    ("network", "axes", "size", "margin"),
    [
        ({"kind": "unet", "width": 4, "depth": 2, "convs": 2, "coarse": False}, "yx", (20, 20), (2, 2)),
        ({"kind": "unet", "width": 4, "depth": 2, "convs": 2}, "yx", (24, 24), (2, 2)),
        ({"kind": "unet", "width": 4, "depth": 2, "convs": 2, "stages": 1}, "yx", (20, 20), (2, 2)),
        ({"kind": "rcan", "blocks": 1, "width": 4}, "zyx", (4, 12, 12), (1, 2, 2)),
    ],
)
def test_a_device_that_computes_the_same_is_taken(network, axes, size, margin):
    psf = PSF if axes == "yx" else torch.stack([PSF / 4, PSF / 2, PSF / 4])
    built = build(make_config(axes=axes, network=network).network, axes)
    before = {name: tensor.clone() for name, tensor in built.state_dict().items()}
    check_results(built, psf, size, margin, CPU)
    assert all(torch.equal(before[name], tensor) for name, tensor in built.state_dict().items())
    assert all(parameter.grad is None for parameter in built.parameters())


@pytest.mark.parametrize("wrong", ["forward", "gradient", "nan", "blur"])
def test_a_device_that_computes_something_else_is_refused(monkeypatch, wrong):
    """The second of two equal computations goes wrong as convolutions and FFTs on Apple GPUs did."""
    small = {"kind": "unet", "width": 4, "depth": 2, "convs": 2, "coarse": False}
    built = build(make_config(network=small).network, "yx")
    calls = []
    real_denoise, real_path = type(built).forward, mps.light_path

    def network(self, x):
        calls.append("network")
        restored = real_denoise(self, x)
        if len(calls) < 2:
            return restored
        if wrong == "gradient":
            restored.deconvolved.register_hook(lambda gradient: 1.1 * gradient)
        factor = {"forward": 1.1, "nan": float("nan")}.get(wrong, 1.0)
        return restored._replace(denoised=restored.denoised * factor)

    def path(*arguments):
        forward = real_path(*arguments)
        return (lambda image, k: 1.1 * forward(image, k)) if wrong == "blur" and len(calls) == 2 else forward

    monkeypatch.setattr(type(built), "forward", network)
    monkeypatch.setattr(mps, "light_path", path)
    with pytest.raises(InputError, match=r"device cpu: its results differ .*update macOS") as e:
        check_results(built, PSF, (20, 20), (2, 2), CPU)
    assert len(calls) == 2
    assert e.value.options == ("device",)
