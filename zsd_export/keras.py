"""`zsd import-keras`: weights of the published ZS-DeconvNet (Keras, .h5) as a package; TensorFlow is not needed.

The weights carry no architecture. The shapes of the kernels tell it all the same, but for what has no weights: the
upsampling, and a ReLU between the stages. Both stand in the list of layers that Keras writes beside the weights.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile, zip_longest
from pathlib import Path
from typing import Annotated, Literal

import h5py
import numpy as np
import scipy.ndimage as ndi
import torch
import typer
from numpy.typing import NDArray
from torch import nn

from zsd_export.bioimageio import check_place, write
from zsd_export.contents import PER_IMAGE, Contents, linear
from zsd_export.describe import check_consumer
from zsd_export.memory import bytes_per_voxel
from zsd_export.options import Authors, Format, Licence, Name, Overwrite, Tags, warn
from zsd_export.to_onnx import to_onnx
from zsd_export.verify import LARGEST_DIFFERENCE, halo_of, parity
from zsd_export.zoo import check_name, credits_of, name_after
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.package import LARGEST_MARGIN
from zsd_runtime.terminal import Quiet, command_line, numbers, reporting
from zsd_runtime.tiling import round_up
from zsd_train.networks.dual_stage import DualStage, DualStageRCAN, DualStageUNet

SIDES = {"yx": (256, 256), "zyx": (16, 64, 64)}  # of the image that everything is measured on, about
# Of zeros around every patch in the published training, and around every image.
MARGINS = {"yx": (16, 16), "zyx": (2, 8, 8)}
SMALLEST = 14  # convolutions, of an RCAN3D of one block

Layers = dict[str, list[NDArray[np.float32]]]  # kernel and bias of each, in the order in which they run; or none
Shape = tuple[int, ...]

app = command_line()


@app.command("import-keras")
def _import_keras(
    weights: Annotated[Path, typer.Argument(help="Keras weights (.h5): 2D U-Net, RCAN3D, RCAN3D_SIM or Unet3D.")],
    package: Annotated[Path, typer.Argument(help="New folder, or new file ending in .zip.")],
    upsample: Annotated[
        bool | None,
        typer.Option(help="Is the deconvolved grid twice as fine? As the file's list of layers says, if not given."),
    ] = None,
    name: Name = None,
    offset: Annotated[
        float | None, typer.Option(help="Camera offset, counts: with --scale, one line for every image; flux is kept.")
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Counts above the offset that the network sees as 1, as in its training.")
    ] = None,
    margin: Annotated[
        str | None,
        typer.Option(
            help="Pixels of zeros around an image, as around the patches of its training (insert_z, insert_xy): YxX or "
            "ZxYxX, rounded up to the network's poolings; or reflect: continue the image. As published, 16x16 or "
            "2x8x8, if not given."
        ),
    ] = None,
    format: Format = "zoo",  # noqa: A002
    author: Authors = None,
    licence: Licence = None,
    tag: Tags = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write a model package from trained weights of the published ZS-DeconvNet.

    Every image is normalised by its minimum and maximum, as published, unless --offset and --scale are given; results
    are then camera counts above the offset.
    """
    with reporting(quiet):
        import_keras(
            weights, package, upsample=upsample, name=name, offset=offset, scale=scale,
            margin=_margin(margin), format=format,
            authors=author or (), licence=licence, tags=tag or (), overwrite=overwrite, notice=warn(quiet),
        )  # fmt: skip
        print(f"OK {package} written from {weights}")


def import_keras(
    weights: str | Path,
    package: str | Path,
    *,
    upsample: bool | None = None,
    name: str | None = None,
    offset: float | None = None,
    scale: float | None = None,
    margin: Sequence[int] | Literal["reflect"] | None = None,
    format: str = "zoo",  # noqa: A002
    authors: Sequence[str] = (),
    licence: str | None = None,
    tags: Sequence[str] = (),
    overwrite: bool = False,
    notice: Callable[[str], None] = lambda text: None,
) -> Path:
    """Write a model package from trained weights of the published ZS-DeconvNet.

    Parameters
    ----------
    weights : path
        What Keras 2 wrote with ``model.save_weights("….h5")`` or ``model.save("….h5")``.
    package : path
        A new folder, or a new file ending in .zip.
    upsample : bool
        Whether the deconvolved grid is twice as fine; as the file's list of layers says if not given.
    name : str
        Of the model; "zsd" and the file's name if not given.
    offset, scale : float
        Counts; the network then sees ``(counts - offset) / scale``, and gives counts above the offset. Without, each
        image goes from its minimum (0) to its maximum (1), as published, and results are shares of that range; they
        are not stretched to their percentiles, as the published code does before it saves them.
    margin : sequence of int or "reflect"
        Pixels of zeros, an axis each, that `zsd predict` puts around the normalised image and crops again:
        ``insert_z``, ``insert_xy`` of its training, whose networks have learnt that zeros surround everything. At most
        64, rounded up to the pooling grid. As published, 16 in 2D, and 2 slices and 8 pixels in 3D, if not given;
        "reflect" continues the image.
    format, authors, licence, tags, overwrite, notice
        As for `zsd_export.export`.

    Returns
    -------
    Path
        `package`.

    Raises
    ------
    InputError
        When the file is not readable, its weights belong to another network, or the package exists.
    VerificationError
        When the ONNX differs from torch; nothing is written then.
    """
    weights, package = Path(weights), Path(package)
    check_consumer(format, "float32")
    check_place(package, overwrite)
    credited, licence = credits_of(authors, licence, notice)
    name = check_name(name or name_after(weights.stem))
    if offset is None or scale is None:
        if offset is not scale:
            raise InputError(f"offset is {offset}, scale is {scale}: they are one line, give both or neither")
        intensities = PER_IMAGE
    elif not scale > 0:
        raise InputError(f"scale {scale:g} must be above 0 counts")
    else:
        intensities = linear(offset, scale)
    try:
        network = network_of(read_weights(weights), upsample)
    except InputError as error:
        raise InputError(f"{weights}: {error}") from None
    zeros = _zeros(margin, network)
    onnx = to_onnx(network)
    image = _scene([round_up(n, s) for n, s in zip(SIDES[network.axes], network.size_multiple, strict=True)])
    normalised = (image - image.min()) / np.float32(np.ptp(image))
    parity(network, onnx, normalised)
    halo = halo_of(network, onnx, normalised)
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    contents = Contents(
        name=name,
        summary=f"Zero-shot denoising and deconvolution (ZS-DeconvNet {len(network.axes)}D), imported from Keras.",
        origin=f"Its weights were imported from {weights.name}; their licence is for whoever trained them to say.",
        trained_on={"Weights": f"{weights.name}, sha256 {sha256}", "Images": "not known here"},
        validation={
            "Quality": "how good the weights are is not known here: compare with a truth by `zsd evaluate`",
            "ONNX Runtime and torch": f"agree to {LARGEST_DIFFERENCE:g} of the range",
        },
        kind=network.kind,
        axes=network.axes,
        size_multiple=network.size_multiple,
        scales=network.scales,
        intensities=intensities,
        halo=replace(halo, pixels=tuple(map(max, halo.pixels, zeros or halo.pixels))),  # so that all the margin is seen
        bytes_per_voxel=bytes_per_voxel(onnx, network.scales),
        authors=credited,
        licence=licence,
        tags=tuple(tags),
        zero_margin=zeros,
        provenance={"keras_weights": weights.name, "keras_sha256": sha256},
    )
    write(package, contents, onnx, image, format, overwrite)
    return package


def _margin(text: str | None) -> tuple[int, ...] | Literal["reflect"] | None:
    """From what a person typed."""
    if text == "reflect":
        return "reflect"
    try:
        return numbers(text, "--margin", least=0)
    except InputError:
        raise InputError(f"--margin {text} must be YxX or ZxYxX, for instance 16x16, or reflect") from None


def _zeros(margin: Sequence[int] | Literal["reflect"] | None, network: DualStage) -> tuple[int, ...] | None:
    """Pixels of zeros around an image, on the pooling grid; None: the image is continued."""
    if margin == "reflect":
        return None
    if isinstance(margin, str):
        raise InputError(f"margin {margin!r} must be numbers of pixels, or 'reflect'")
    margin = MARGINS[network.axes] if margin is None else margin
    if len(margin) != len(network.axes) or not all(0 <= n <= LARGEST_MARGIN for n in margin):
        raise InputError(
            f"--margin {size_text(margin)} must be {len(network.axes)} numbers, for {network.axes.upper()}, from 0 to "
            f"{LARGEST_MARGIN}"
        )
    return tuple(round_up(n, step) for n, step in zip(margin, network.size_multiple, strict=True))


def read_weights(path: Path) -> Layers:
    """All layers of a Keras 2 file, in the order in which the network runs them.

    Raises
    ------
    InputError
        When the file is missing, not HDF5, damaged, or holds something else.
    """
    if not path.is_file():
        raise InputError("there is no such file: give Keras weights, a file ending in .h5")
    if not h5py.is_hdf5(path):
        raise InputError("it is not an HDF5 file: give Keras weights, as model.save_weights('….h5') writes them")
    try:
        with h5py.File(path) as file:
            root = file.get("model_weights", file)  # model.save puts them there
            if "layer_names" not in root.attrs:
                raise InputError(
                    "it is HDF5 but not Keras weights (no layer_names): save them with Keras 2, "
                    "model.save_weights('….h5')"
                )
            return {
                layer: [np.asarray(root[layer][name], np.float32) for name in _names(root[layer], "weight_names")]
                for layer in _names(root, "layer_names")
            }
    except (OSError, KeyError, RuntimeError) as error:
        raise InputError(f"it is damaged or cut short ({error}): copy it again") from None


def network_of(layers: Layers, upsample: bool | None = None) -> DualStage:
    """The network that the weights belong to, with them, in evaluation mode.

    Raises
    ------
    InputError
        When they fit none, or `upsample` is needed to tell.
    """
    weights = {name: arrays for name, arrays in layers.items() if arrays}
    for name, arrays in weights.items():
        if [a.ndim for a in arrays] not in ([4, 1], [5, 1]):
            raise InputError(
                f"layer {name} has weights of shapes {[a.shape for a in arrays]}; the networks of ZS-DeconvNet "
                "consist of convolutions, a kernel and a bias each: give weights of one of them"
            )
        if not all(np.isfinite(a).all() for a in arrays):
            raise InputError(f"layer {name} holds NaN or infinity: its training diverged; take an earlier file")
    shapes = {name: kernel.shape for name, (kernel, _) in weights.items()}
    if len(shapes) < SMALLEST:
        raise InputError(f"it holds {len(shapes)} convolutions, fewer than any network of ZS-DeconvNet")
    factor = 2 if _upsamples(layers, upsample) else 1
    clipped = any(name.startswith("re_lu") for name in layers)  # RCAN3D_SIM: between the stages
    with torch.device("meta"):  # shapes without memory, of which another network's might ask any amount
        network, title = _recognised(list(shapes.values()), factor, clipped)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Conv3d)]
    expected = [_keras_shape(convolution) for convolution in convolutions]
    for name, found, wanted in zip_longest(shapes, shapes.values(), expected):
        if found != wanted:
            raise InputError(
                f"layer {name} has a kernel of shape {found}; in {title}, the nearest network of ZS-DeconvNet, that is "
                f"{wanted}: give weights of one of its networks"
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


def _upsamples(layers: Layers, told: bool | None) -> bool:
    """Whether there is one more upsampling than those of the U-Nets, which come in pairs: one for each stage."""
    if told is not None:
        return told
    if all(layers.values()):
        raise InputError("its list of layers lacks those without weights: say --upsample or --no-upsample")
    return sum(name.startswith("up_sampling") for name in layers) % 2 == 1


def _keras_shape(convolution: nn.Conv2d | nn.Conv3d) -> Shape:
    outside, inside, *size = convolution.weight.shape
    return (*size, inside, outside)


def _zyx(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """From (Y, X, Z, in, out), as the published code has it, to (Z, Y, X, in, out); 2D stays."""
    return np.moveaxis(kernel, 2, 0) if kernel.ndim == 5 else kernel


def _names(group: h5py.Group, attribute: str) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs[attribute]]


def _scene(shape: list[int]) -> NDArray[np.uint16]:
    """Blurred points of light under shot noise, in counts: something to restore, along any number of axes."""
    rng = np.random.default_rng(0)
    light = ndi.gaussian_filter((rng.random(shape) < 0.01).astype(np.float32), 1.5)
    return (rng.poisson(50 * light / light.max()) + 100).astype(np.uint16)
