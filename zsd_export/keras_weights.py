"""Reading weights of the published ZS-DeconvNet (Keras, .h5), and recognising the network that they belong to.

The file does not contain the architecture. The shapes of the kernels reveal it, except for layers without weights: the
upsampling, and a ReLU between the stages. Keras lists both beside the weights.
"""

from itertools import takewhile, zip_longest
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from zsd_runtime.errors import InputError
from zsd_train.networks.dual_stage import DualStage, DualStageRCAN, DualStageUNet

SMALLEST = 14  # convolutions, of an RCAN3D of one block

Layers = dict[str, list[NDArray[np.float32]]]  # kernel and bias of each, in the order in which they run; or none
Shape = tuple[int, ...]


def read_weights(path: Path) -> Layers:
    """All layers of a Keras 2 file, in the order in which the network runs them.

    Raises
    ------
    InputError
        When the file is missing, not HDF5, damaged, or holds something else.
    """
    if not path.is_file():
        raise InputError("there is no such file", "give Keras weights, a file ending in .h5")
    if not h5py.is_hdf5(path):
        raise InputError("it is not an HDF5 file", "give Keras weights, as model.save_weights('….h5') writes them")
    try:
        with h5py.File(path) as file:
            root = file.get("model_weights", file)  # model.save puts them there
            if "layer_names" not in root.attrs:
                raise InputError(
                    "it is HDF5 but not Keras weights (no layer_names)",
                    "save them with Keras 2, model.save_weights('….h5')",
                )
            return {
                layer: [np.asarray(root[layer][name], np.float32) for name in _names(root[layer], "weight_names")]
                for layer in _names(root, "layer_names")
            }
    except (OSError, KeyError, RuntimeError) as error:
        raise InputError(f"it is damaged or cut short ({error})", "copy it again") from None


def network_of(layers: Layers, upsample: bool | None = None) -> DualStage:
    """The network that the weights belong to, with these weights, in evaluation mode.

    Parameters
    ----------
    layers : dict
        As `read_weights` gives them.
    upsample : bool
        Whether the deconvolved grid is twice as fine; None: the list of layers says so.

    Raises
    ------
    InputError
        When they fit no network, or the list of layers does not show whether there is an upsampling.
    """
    weights = {name: arrays for name, arrays in layers.items() if arrays}
    for name, arrays in weights.items():
        if [a.ndim for a in arrays] not in ([4, 1], [5, 1]):
            raise InputError(
                f"layer {name} has weights of shapes {[a.shape for a in arrays]}; the networks of ZS-DeconvNet "
                "consist of convolutions, a kernel and a bias each",
                "give weights of one of them",
            )
        if not all(np.isfinite(a).all() for a in arrays):
            raise InputError(f"layer {name} holds NaN or infinity", "its training diverged; take an earlier file")
    shapes = {name: kernel.shape for name, (kernel, _) in weights.items()}
    if len(shapes) < SMALLEST:
        raise InputError(f"it holds {len(shapes)} convolutions, fewer than any network of ZS-DeconvNet")
    factor = 2 if _upsamples(layers, upsample) else 1
    clipped = any(name.startswith("re_lu") for name in layers)  # RCAN3D_SIM: between the stages
    with torch.device("meta"):  # shapes without memory: weights of another network could ask for any amount
        network, title = _recognised(list(shapes.values()), factor, clipped)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Conv3d)]
    expected = [_keras_shape(convolution) for convolution in convolutions]
    for name, found, wanted in zip_longest(shapes, shapes.values(), expected):
        if found != wanted:
            raise InputError(
                f"layer {name} has a kernel of shape {found}; in {title}, the nearest network of ZS-DeconvNet, it has "
                f"{wanted}",
                "give weights of one of its networks",
            )
    for convolution, (kernel, bias) in zip(convolutions, weights.values(), strict=True):
        convolution.weight = nn.Parameter(torch.from_numpy(np.moveaxis(_zyx(kernel), (-1, -2), (0, 1)).copy()))
        convolution.bias = nn.Parameter(torch.from_numpy(bias))
    return network.eval()


def _recognised(shapes: list[Shape], factor: int, clipped: bool) -> tuple[DualStage, str]:
    """The network whose kernels come nearest to `shapes` ([Y, X, [Z,] in, out]), and what it is called."""
    width, head = max(2, shapes[0][-1]), shapes[-2][-1]
    squeezed = [shape[-1] for shape in shapes if shape[:-2] == (1, 1, 1)]  # channel attention
    if squeezed:
        blocks = max(1, round(len(squeezed) / 4))  # two kernels a block, two stages
        network = DualStageRCAN(width, blocks, head, factor, squeezed=squeezed[0], window=None, clipped=clipped)
        return network, f"RCAN3D of {blocks} blocks"
    convs = max(2, sum(1 for _ in takewhile(lambda shape: shape[-1] == width, shapes)))
    depth = min(max(1, (len(shapes) - 8) // (4 * convs)), 6)  # 2 · (2 · depth · convs + 3) + 2 kernels
    axes = "yx" if len(shapes[0]) == 4 else "zyx"
    title = f"a {len(axes)}D U-Net of {depth} levels of {convs} convolutions"
    return DualStageUNet(width, depth, convs, head, factor, axes=axes, slope=0), title


def _upsamples(layers: Layers, chosen: bool | None) -> bool:
    """Whether the deconvolved grid is finer: upsamplings inside the U-Nets come in pairs, so that the sum is odd."""
    if chosen is not None:
        return chosen
    if all(layers.values()):
        raise InputError(
            "its list of layers omits those without weights",
            "set `upsample` to say whether the deconvolved grid is twice as fine",
            option="upsample",
        )
    return sum(name.startswith("up_sampling") for name in layers) % 2 == 1


def _keras_shape(convolution: nn.Conv2d | nn.Conv3d) -> Shape:
    outside, inside, *size = convolution.weight.shape
    return (*size, inside, outside)


def _zyx(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """(Y, X, Z, in, out), the published order, to (Z, Y, X, in, out); 2D kernels are unchanged."""
    return np.moveaxis(kernel, 2, 0) if kernel.ndim == 5 else kernel


def _names(group: h5py.Group, attribute: str) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs[attribute]]
