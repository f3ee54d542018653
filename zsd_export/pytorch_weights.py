"""Reading PyTorch weights of the published DecoNoising and Noise2Void, and making the network that they belong to.

The published files are pickles of whole networks, and loading one runs whatever code is in it. Only a state_dict is
read: tensors by name. Names and shapes reveal how deep and how wide the U-Net is.
"""

import pickle
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from zsd_runtime.errors import InputError
from zsd_train.networks.additive_unet import AdditiveUNet
from zsd_train.networks.network import Network
from zsd_train.networks.single_stage import Phantom, SingleStage

KIND = "additive-unet"
LEVELS = (2, 7)  # fewest and most; a graph of more would only take images on a grid of 128 pixels
IGNORED = {"noiseSTD"}  # a parameter of the published class, which its forward pass does not use
FIRST = "down_convs.0.conv1.weight"
GIVE = "give the state_dict of DecoNoising's or Noise2Void's U-Net, of one channel in and one out"

Weights = dict[str, Tensor]


def read_state_dict(path: Path) -> Weights:
    """All tensors of a file by name, float32 on the CPU; no code of the file runs.

    Parameters
    ----------
    path : path
        A state_dict that ``torch.save`` wrote, or a .safetensors file.

    Raises
    ------
    InputError
        When the file is missing, damaged, a pickle of anything but tensors, or holds something beside them.
    """
    if not path.is_file():
        raise InputError("there is no such file", "give a state_dict (.pt), or a .safetensors file")
    values = _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    others = [name for name, value in values.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if others:
        raise InputError(f"beside named tensors it holds {_few(others)}", "save net.state_dict() and nothing else")
    weights = {str(name): value.detach() for name, value in values.items() if isinstance(value, Tensor)}
    for name, tensor in weights.items():
        if tensor.is_meta or tensor.layout != torch.strided or not tensor.is_floating_point():
            raise InputError(f"{name} holds no floating-point numbers ({tensor.dtype})", "save net.state_dict()")
    return {name: tensor.float() for name, tensor in weights.items()}


def network_of(weights: Weights, psf: NDArray[np.float64] | None = None, output_scale: float = 10.0) -> Network:
    """The network that the weights belong to, with these weights, in evaluation mode.

    Parameters
    ----------
    weights : dict
        As `read_state_dict` gives them.
    psf : ndarray
        (Y, X), odd-sized, sums to 1: the network gives the image before the PSF, and the denoised one is its blur
        (DecoNoising, which correlates with it). None: it denoises (Noise2Void).
    output_scale : float
        The published code multiplies the output by it.

    Raises
    ------
    InputError
        When they belong to another network.
    """
    weights = {name: tensor for name, tensor in weights.items() if name not in IGNORED}
    width, depth = _width_and_depth(weights)
    _check(weights, width, depth)
    options: dict[str, Any] = {"axes": "yx", "size_multiple": (2**depth,) * 2, "slope": 1.0}

    def stage(channels: int) -> AdditiveUNet:
        return AdditiveUNet(width, depth, "yx", channels)

    network: Network
    if psf is None:
        network, unet, last = SingleStage(KIND, stage, width, **options), "denoise", "to_denoised"
    else:
        # The published code does not turn the PSF around: its conv2d is a correlation.
        network = Phantom(KIND, stage, width, psf[::-1, ::-1], head=width, grid_factor=1, **options)
        unet, last = "deconvolve", "to_deconvolved"
    kernel = torch.zeros(1, width, 3, 3)
    kernel[:, :, 1, 1] = weights["conv_final.weight"][:, :, 0, 0]  # 1 x 1, in the middle of 3 x 3
    state = {f"{last}.weight": kernel * output_scale, f"{last}.bias": weights["conv_final.bias"] * output_scale}
    state |= {f"{unet}.{ours}": weights[theirs] for theirs, ours in _names(depth)}
    network.load_state_dict(state)
    return network.eval()


def _safetensors(path: Path) -> dict[object, object]:
    try:
        return dict(load_file(path).items())
    except (SafetensorError, OSError) as error:
        raise InputError(f"it is damaged, or no safetensors file ({error})", "write it again") from None


def _torch(path: Path) -> dict[object, object]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that are refused anyway
            values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a malformed pickle can raise anything
        found = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if found is None:
            raise InputError("it is damaged, or no state_dict that torch.save wrote", "write it again") from None
        raise InputError(
            f"it is not a state_dict but a pickle of Python objects ({found[1]}); loading it would run code from the "
            "file, so zsd never does that",
            "if you trust who made it, run two lines of Python where its classes are installed: "
            f"`net = torch.load({path.name!r}, map_location='cpu'); "
            "torch.save({k: v for k, v in net.state_dict().items()}, 'weights.pt')` and `print(net.mean, net.std)`; "
            "then import weights.pt",
        ) from None
    if not isinstance(values, dict):
        raise InputError(f"it holds a {type(values).__name__}, not a state_dict", "save net.state_dict()")
    return values


def _width_and_depth(weights: Weights) -> tuple[int, int]:
    """Channels of the first level, and the number of poolings."""
    first = weights.get(FIRST)
    if first is None:
        raise InputError(f"it has no {FIRST}, but {_few([*weights]) or 'nothing'}", GIVE)
    if first.ndim == 5:
        raise InputError(
            f"its kernels are 3D ({FIRST} has the shape {tuple(first.shape)})", "zsd imports networks for planes only"
        )
    if first.ndim != 4 or not first.numel():
        raise InputError(f"{FIRST} has the shape {tuple(first.shape)}, which is no kernel of planes", GIVE)
    levels = len({name.split(".")[1] for name in weights if name.startswith("down_convs.")})
    fewest, most = LEVELS
    if not fewest <= levels <= most:
        raise InputError(f"its number of levels is {levels} (down_convs)", f"zsd imports {fewest} to {most} levels")
    return first.shape[0], levels - 1


def _check(weights: Weights, width: int, depth: int) -> None:
    """Compare names and shapes with those of the published U-Net."""
    with torch.device("meta"):  # shapes without memory: weights of another network could ask for any amount
        shapes = {ours: tuple(tensor.shape) for ours, tensor in AdditiveUNet(width, depth).state_dict().items()}
    expected = {theirs: shapes[ours] for theirs, ours in _names(depth)}
    expected |= {"conv_final.weight": (1, width, 1, 1), "conv_final.bias": (1,)}
    title = f"the published U-Net of {depth + 1} levels and {width} channels"
    for name in [*expected, *weights]:
        if name not in weights:
            raise InputError(f"it lacks {name}, which {title} has", GIVE)
        if name not in expected:
            raise InputError(f"it holds {name!r}, which {title} does not have", GIVE)
    for name, wanted in expected.items():
        found = tuple(weights[name].shape)
        if name.startswith("up_convs.") and found == (wanted[0], 2 * wanted[0], 3, 3):
            raise InputError(
                f"it concatenates its skips (merge_mode 'concat'): {name} takes {found[1]} channels, not {wanted[1]}",
                "zsd imports networks that add them (merge_mode 'add'), as the published ones do",
            )
        if found != wanted:
            raise InputError(f"{name} has the shape {found}; in {title} it has {wanted}", GIVE)
        if not torch.isfinite(weights[name]).all():
            raise InputError(f"{name} holds NaN or infinity", "its training diverged; take an earlier file")


def _names(depth: int) -> Iterator[tuple[str, str]]:
    """What the published U-Net and `AdditiveUNet` call the same tensor."""
    layers = [("down_convs.{}.conv1", "down.{}.0"), ("down_convs.{}.conv2", "down.{}.2")]
    up = [("up_convs.{}.upconv", "enlarge.{}"), ("up_convs.{}.conv1", "up.{}.0"), ("up_convs.{}.conv2", "up.{}.2")]
    for names, levels in ((layers, depth + 1), (up, depth)):
        for level in range(levels):
            for theirs, ours in names:
                for part in ("weight", "bias"):
                    yield f"{theirs.format(level)}.{part}", f"{ours.format(level)}.{part}"


def _few(names: list[Any]) -> str:
    return ", ".join(map(repr, names[:3])) + ", …" * (len(names) > 3)
