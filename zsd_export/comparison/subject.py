"""The image that methods are compared on: one plane, with what is known of its camera and optics."""

from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_optics.noise import NoiseModel
from zsd_optics.psf_source import PsfSource
from zsd_runtime.channels import Chosen, channels_of, choose, named, only
from zsd_runtime.errors import InputError, see_info, size_text
from zsd_runtime.images import Description, Image, Voxel, check_array, open_image, read_box
from zsd_runtime.notices import Notice, file_notices, no_notice
from zsd_runtime.sizes import sized

Array = NDArray[Any]


@dataclass(frozen=True)
class Subject:
    """What is restored, and what it is compared with.

    Attributes
    ----------
    name : str
        Of the file, without its ending.
    image : Image
        (Y, X), camera counts as the file has them.
    noise : NoiseModel
        Of the camera: given, or estimated from the image.
    camera : dict
        `offset`, `gain` and `read_noise`, as far as a person gave them.
    psf : PsfSource or None
    channel : Chosen
    truth : ndarray or None
        (Y, X), camera counts with the offset: the image without noise.
    truth_deconvolved : ndarray or None
        (kY, kX), counts above the offset: also without blur.
    """

    name: str
    image: Image
    noise: NoiseModel
    camera: dict[str, float]
    psf: PsfSource | None = None
    channel: Chosen = Chosen(0)  # noqa: RUF009 (it is frozen)
    truth: Array | None = None
    truth_deconvolved: Array | None = None

    @property
    def noisy(self) -> NDArray[np.float64]:
        """(Y, X), camera counts."""
        return self.image.data.astype(np.float64)

    @property
    def offset(self) -> float:
        """Of the camera, counts."""
        return self.camera.get("offset", self.noise.offset)


def check_truths(noisy: Array, truth: Array | None, deconvolved: Array | None) -> None:
    """Raise `InputError` unless truths are on the grid of the image, or on one that is finer by a whole number."""
    if truth is not None and truth.shape != noisy.shape:
        raise InputError(
            f"the truth is {size_text(truth.shape)} and the image {size_text(noisy.shape)}",
            "give `truth` on the image's own grid; a finer one without blur is `truth_deconvolved`",
            option=("truth", "truth_deconvolved"),
        )
    if deconvolved is None:
        return
    factors = {n / m for n, m in zip(deconvolved.shape, noisy.shape, strict=True)}
    if len(factors) > 1 or not min(factors).is_integer() or min(factors) < 1:
        raise InputError(
            f"the deconvolved truth is {size_text(deconvolved.shape)} and the image {size_text(noisy.shape)}",
            f"give `truth_deconvolved` on the image's grid or a finer one, for instance "
            f"{size_text(2 * n for n in noisy.shape)}",
            option="truth_deconvolved",
        )


def read_plane(
    path: Path,
    frame: int | None = None,
    *,
    axes: str | None = None,
    series: int | None = None,
    channels: str | None = None,
    typed: Voxel | None = None,
    notice: Notice = no_notice,
) -> tuple[Image, Chosen]:
    """One plane of a file, with its pixel size.

    Parameters
    ----------
    path : path
    frame : int
        Which plane of a movie or a stack, from 0; not needed where there is one.
    axes : str
        Letters of "TCZYX" that replace what the file says.
    series : int
        Which image of a file that holds several, from 0.
    channels : str
        Name or number of the channel of an image with several.
    typed : Voxel
        Sizes (µm) that replace what the file says.
    notice : callable
        Gets a sentence for everything that a user should know of the file.

    Returns
    -------
    Image
        (Y, X), in memory.
    Chosen
        Its channel.

    Raises
    ------
    InputError
        When the plane, or the channel, is not said or not there.
    """
    image = open_image(path, axes, series)
    file_notices([(path, image.description.notices)], notice)
    image = sized(image, path, typed or Voxel(), notice)
    found = channels_of(image)
    if len(found) > 1:
        if channels is None:
            raise InputError(
                f"{path} has {len(found)} channels, {named(found)}, and one is compared", "choose it with `channels`",
                option="channels",
            )  # fmt: skip
        found = choose(channels, found, "channels", str(path))
        if len(found) > 1:
            raise InputError(f"`channels` {channels} are several", "compare one at a time", option="channels")
        image = only(image, found)
    leading = image.data.shape[:-2]
    planes = prod(leading)
    if frame is None and planes > 1:
        raise InputError(
            f"{path} has {planes} planes (axes {image.axes}), and planes are compared one at a time",
            f"choose one with `frame`, 0 to {planes - 1}; {see_info(path)}", option="frame",
        )  # fmt: skip
    if frame is not None and not 0 <= frame < planes:
        raise InputError(f"`frame` {frame} must be 0 to {planes - 1}: {path} has {planes} planes", option="frame")
    index = tuple(int(i) for i in np.unravel_index(frame or 0, leading)) if leading else ()
    plane = np.array(read_box(image.data, (*index, *(slice(0, n) for n in image.data.shape[-2:])), str(path)))
    check_array(plane, str(path))
    voxel = replace(image.voxel, z_um=None)
    return Image(plane, "YX", voxel, description=Description(image.description.name)), found[0]


def read_truth(
    path: Path, frame: int | None, option: str, *, axes: str | None = None, channels: str | None = None
) -> Array:
    """The plane of a truth: the `frame` if there are several, or the only one.

    Parameters
    ----------
    path : path
    frame : int
        Which plane of the image is compared.
    option : str
        Under which the truth was given, for messages.
    axes, channels : str
        Of the image; they are those of the truth, too, if it has as many axes, and several channels.

    Raises
    ------
    InputError
        As of `read_plane`, with the option.
    """
    try:
        opened = open_image(path)
        axes = axes if axes and len(axes) == opened.data.ndim else opened.axes
        planes = prod(n for axis, n in zip(axes.upper(), opened.data.shape, strict=True) if axis not in "CYX")
        plane, _ = read_plane(path, frame if planes > 1 else None, axes=axes, channels=channels)
    except InputError as error:
        raise InputError(f"`{option}`: {error}", option=(option, *error.options)) from None
    return plane.data
