"""What differs when torch trains on an Apple GPU, its device "mps".

None of this has run on Apple hardware. It rests on what torch 2.13 declares (its native_functions.yaml) and on what its
users report, with numbers of pytorch's issues:

- `torch.binomial` and `torch.poisson` have no kernel there (141287). Noise is drawn on the CPU.
- Convolutions have given wrong numbers, without an error, for images or weights whose channels come last (141471,
  180984, 192212). Everything stays contiguous.
- 3D convolutions of contiguous images were wrong, too, in macOS 26.2 (197114), and inverse FFTs of odd lengths in
  others (126649). Before a training, results and gradients are compared with those of the CPU.
"""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from zsd_runtime.errors import InputError
from zsd_train.defaults import Shape
from zsd_train.forward import light_path

TOLERANCE = 0.02  # of the largest number of a tensor; rounding makes about 1e-5, the faults that were reported over 0.1
CANNOT_DRAW = ("mps",)  # devices without a binomial distribution


def noise_device(device: torch.device) -> torch.device:
    """Where noise for a training on `device` is drawn, and so where its samples are made: there, or on the CPU."""
    return torch.device("cpu") if device.type in CANNOT_DRAW else device


def layout_on(device: torch.device, layout: Any) -> Any:
    """The memory format of networks and batches on `device`: `layout`, or contiguous where others are not safe."""
    return torch.contiguous_format if device.type == "mps" else layout


def check_results(network: Any, psf: Tensor, size: Shape, margin: Shape, device: torch.device) -> None:
    """Refuse a device that computes something else than the CPU.

    Parameters
    ----------
    network : Network
        It stays as it is.
    psf : Tensor
        ([z,] y, x) on the deconvolved grid.
    size, margin : tuple of int
        Raw pixels of a patch with its margin, and of the margin.
    device : torch.device

    Raises
    ------
    InputError
        When outputs or gradients of one step differ by more than `TOLERANCE`.
    """
    expected = _one_step(network, psf, size, margin, torch.device("cpu"))
    found = _one_step(network, psf, size, margin, device)
    errors = [(a - b).abs().max() / b.abs().max().clamp(min=1e-12) for a, b in zip(found, expected, strict=True)]
    error = float(torch.stack(errors).max())
    if not error <= TOLERANCE:  # NaN is not, either
        raise InputError(
            f"device {device.type}: its results differ from those of the CPU by {error:.2g} of their range, at most "
            f"{TOLERANCE:g} is rounding",
            "update macOS and torch, or set `device` to cpu",
            option="device",
        )


def _one_step(network: Any, psf: Tensor, size: Shape, margin: Shape, device: torch.device) -> list[Tensor]:
    """Outputs for two noisy patches, and the gradients that they lead to; on the CPU."""
    network = deepcopy(network).to(device)
    noisy = torch.rand((2, network.channels, *size), generator=torch.Generator().manual_seed(0)).to(device)
    outputs = network(noisy)._asdict()
    if "deconvolved" in outputs:
        forward = light_path(psf.to(device), size, margin, network.grid_factor)
        outputs["blurred"] = forward(outputs["deconvolved"], torch.tensor([0, 5], device=device))
    loss = torch.stack([output.square().mean() for output in outputs.values()]).sum()
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    return [tensor.detach().cpu() for tensor in (*outputs.values(), *gradients)]
