"""Whether images, PSF and teacher can be trained with: everything that is wrong is said before anything is made."""

from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from zsd_runtime.errors import InputError, size_text
from zsd_runtime.sim.microscope import Sim
from zsd_train.config import Axes, TrainConfig
from zsd_train.networks.build import build
from zsd_train.run import Run
from zsd_train.schemes import Distill


def checked_psf(psf: NDArray[np.float64] | None, config: TrainConfig, sim: Sim | None = None) -> NDArray[np.float64]:
    """The PSF; a single pixel for a scheme that has no use for one.

    Raises
    ------
    InputError
        When the scheme needs one and there is none, or the other way round.
    """
    kind = config.scheme.kind
    if psf is not None and sim is not None:
        return psf
    if psf is None and config.scheme.needs_psf:
        remedy = "give one" + ", or choose noise2void, which needs none" * (kind == "blind-spot")
        raise InputError(f"scheme {kind} needs a PSF", remedy, option=("psf", "scheme"))
    if psf is not None and psf.size > 1 and not config.scheme.needs_psf:
        raise InputError(
            f"scheme {kind} has no use for a PSF",
            "leave it out, or choose blind-spot, which deconvolves" * (kind == "noise2void") or "leave it out",
            option=("psf", "scheme"),
        )
    return np.ones((1,) * len(config.axes)) if psf is None else psf


def channelled(images: list[NDArray[Any]], psf: NDArray[np.float64]) -> list[NDArray[Any]]:
    """The images with a channel axis, ``(C, [Z,] Y, X)``: the first axis of images with one more axis than the PSF.

    Raises
    ------
    InputError
        When there is no image, the PSF is none, or an image has other axes.
    """
    if not images:
        raise InputError("no image to train on", "give at least one")
    square_and_odd = psf.ndim in (2, 3) and psf.shape[-1] == psf.shape[-2] and all(n % 2 for n in psf.shape)
    if not square_and_odd or abs(psf.sum() - 1) > 1e-3:
        raise InputError(
            f"the PSF (shape {psf.shape}, sum {psf.sum():.3g}) must be square in Y and X, odd-sized and sum to 1",
            "use zsd_optics.psf.prepare_psf",
        )
    arrays = [np.asanyarray(image) for image in images]  # files that are mapped stay on the disk
    for image in arrays:
        if image.ndim not in (psf.ndim, psf.ndim + 1):
            axes = "ZYX"[-psf.ndim :]
            raise InputError(
                f"an image of shape {image.shape} is not {axes}, or C{axes}, as the PSF is",
                "give planes with a 2D PSF, each by itself, or volumes with a 3D one (without a PSF, `axes` zyx in the "
                "configuration)",
            )
    arrays = [image if image.ndim > psf.ndim else image[None] for image in arrays]
    if len({len(image) for image in arrays}) > 1:
        raise InputError(
            f"the images have {' and '.join(sorted({str(len(image)) for image in arrays}))} channels",
            "train on images of as many channels each",
        )
    return arrays


def config_for(config: TrainConfig, images: list[Any], psf: NDArray[np.float64]) -> TrainConfig:
    """The configuration for `images` (C, [Z,] Y, X), once they are fit to train with.

    Raises
    ------
    InputError
        When they are not.
    """
    axes: Axes = get_args(Axes)[psf.ndim - 2]
    config = config.for_axes(axes)
    config.scheme.check_network(config.network)
    for image in images:
        size = size_text(image.shape[1:])
        seen = config.scheme.channels(image) if config.frames == 1 else config.frames
        if seen != config.network.channels:
            raise InputError(
                f"an image of shape {image.shape if len(image) > 1 else image.shape[1:]} is not {axes.upper()} as the "
                f"PSF is; the network's input channels are {config.network.channels}, the image's {seen}",
                "give planes with a 2D PSF, each by itself, volumes with a 3D one; or set network.channels",
            )
        least = int(config.patch * config.scheme.stride(axes)[-1])
        if min(image.shape[-2:]) < least:
            raise InputError(
                f"an image is {size}; patch = {config.patch} needs at least {least}x{least}",
                "give a larger image, or a smaller patch (32 at the least)",
            )
        fine = [n / config.scheme.stride(axes)[-1] * config.network.grid_factor for n in image.shape[-2:]]
        if min(fine) < psf.shape[-1] or (psf.ndim == 3 and image.shape[1] < psf.shape[0] // 2 + 1):
            raise InputError(
                f"the PSF ({size_text(psf.shape)}, fine pixels) is larger than the image ({size})",
                "crop the PSF" + ", or train on planes (`axes` TYX instead of ZYX)" * (psf.ndim == 3), option="axes",
            )  # fmt: skip
    return config


def check_slices(images: list[NDArray[Any]], config: TrainConfig) -> None:
    """Refuse volumes with fewer slices than a patch needs."""
    if config.axes == "yx":
        return
    stride = int(config.scheme.stride("zyx")[0])
    fewest, needed = min(image.shape[1] for image in images), config.slices * stride
    if fewest < needed:
        what = f"training by scheme {config.scheme.kind}" if stride > 1 else "training"
        raise InputError(
            f"a volume has {fewest} slices; {what} with slices = {config.slices} needs at least {needed}",
            f"set `slices` to {fewest // stride}" + (", or `scheme` to recorrupt" if stride > 1 else ""),
            option=("slices", "scheme"),
        )


def check_teacher(teacher: Run | None, config: TrainConfig) -> None:
    """Refuse what teacher and student cannot look at together: outputs on different grids, patches that do not pool."""
    if teacher is None:
        if isinstance(config.scheme, Distill):
            raise InputError("scheme distill needs a trained network to learn from", "use zsd compress")
        return
    theirs, ours = teacher.config.network, config.network
    check_teacher_sees_one_frame(teacher)
    if not isinstance(config.scheme, Distill):
        raise InputError(f"scheme {config.scheme.kind} is for learning without a teacher", "leave it out")
    if ours.grid_factor != theirs.grid_factor:
        raise InputError(
            f"network.grid_factor = {ours.grid_factor}, and {teacher.folder} was trained with {theirs.grid_factor}: "
            "outputs are compared pixel by pixel",
            f"set it to {theirs.grid_factor}",
        )
    outputs = build(ours, config.axes).outputs
    if outputs != teacher.network.outputs:
        raise InputError(
            f"the network would give {' and '.join(outputs)}, that of {teacher.folder} gives "
            f"{' and '.join(teacher.network.outputs)}",
            "choose network.stages and network.phantom as there",
        )
    if config.patch % theirs.size_multiple:
        raise InputError(
            f"patch {config.patch} does not fit the network of {teacher.folder}",
            f"make it a multiple of {theirs.size_multiple}",
        )


def check_teacher_sees_one_frame(teacher: Run) -> None:
    """Refuse a teacher that sees several frames of a movie at once.

    Raises
    ------
    InputError
    """
    if teacher.config.frames > 1:
        raise InputError(
            f"{teacher.folder} sees {teacher.config.frames} frames of a movie at once, and students see one",
            "compress a network that was trained with `frames` 1", option="frames",
        )  # fmt: skip


def accelerator(config: TrainConfig) -> str:
    """Where to train, "cpu", "cuda" or "mps".

    "auto" never means "mps": on some versions of macOS it computes wrong numbers (zsd_train/mps.py).

    Raises
    ------
    InputError
        When a GPU is asked for and there is none.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "device cuda: torch finds no CUDA GPU here",
            "install torch's CUDA build and a driver, or set `device` to cpu",
            option="device",
        )
    if config.device == "mps":
        if not torch.backends.mps.is_available():
            raise InputError(
                "device mps: torch finds no Apple GPU here",
                "train on a Mac with Apple silicon, with torch for arm64, or set `device` to cpu",
                option="device",
            )
        return "mps"
    return "cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu"


def precision(config: TrainConfig) -> Any:
    """Fabric's name of the arithmetic: bf16 where the hardware has it, since emulated it is slower than fp32."""
    if config.precision != "auto":
        return {"fp32": "32-true", "bf16": "bf16-mixed"}[config.precision]
    device = accelerator(config)
    if device == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device == "mps":
        fast = False  # macOS before 14 lacks it, and nobody has measured it
    else:
        fast = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16-mixed" if fast else "32-true"
