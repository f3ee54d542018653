"""Image files as the physics needs them: images of one kind with their voxel size, PSFs with theirs."""

from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zsd_optics import sampled_parts
from zsd_optics.sampled_parts import Unread, sampled
from zsd_runtime.channels import Chosen, channels_of, choose, matched, named, only
from zsd_runtime.errors import InputError, see_info
from zsd_runtime.images import Image, Voxel, open_image, read_box, read_image
from zsd_runtime.images.views import View
from zsd_runtime.notices import Notice, file_notices, no_notice
from zsd_runtime.sizes import agreed, names_text, required


@dataclass(frozen=True)
class Noisy:
    """Noisy images of one kind.

    Attributes
    ----------
    paths : list of path
    images : list of Image
        As opened, in the order of `paths`.
    spatial : {"YX", "ZYX"}
        Axes of what is trained on: planes, or volumes if the images have slices.
    voxel : Voxel
        What the files agree on, or what was typed.
    channels : list of list of Chosen
        Of each image, the ones that are used: as many of each, in the same order.
    """

    paths: list[Path]
    images: list[Image]
    spatial: str
    voxel: Voxel
    channels: list[list[Chosen]]

    @property
    def chosen(self) -> list[Chosen]:
        """The channels, as the first image calls them."""
        return self.channels[0]

    @property
    def frames(self) -> int:
        """Planes, or volumes, in the image that has most of them, without its channels."""
        return max(
            prod(n for a, n in zip(image.axes, image.data.shape, strict=True) if a not in self.spatial + "C")
            for image in self.images
        )

    @property
    def large(self) -> bool:
        """Whether there is more than is held in memory: then `arrays` draws parts (`zsd_optics.sampled_parts`)."""
        pixels = (
            prod(image.data.shape) // len(channels_of(image)) * image.data.dtype.itemsize for image in self.images
        )
        return sum(pixels) > sampled_parts.HELD

    def arrays(self, channel: int = 0, notice: Notice = no_notice) -> list[NDArray[np.generic]]:
        """All planes (Y, X) or volumes (Z, Y, X) of the channel at this place in `chosen`; mapped where possible.

        Of more than is held in memory, parts; `notice` gets a sentence on that.
        """
        found = []
        for path, image, channels in zip(self.paths, self.images, self.channels, strict=True):
            found += _unread(only(image, [channels[channel]]), self.spatial, str(path))
        if self.large:
            parts, what = sampled(found)
            notice(what)
            return parts
        # Chunks are decoded on reading, and training reads all of them often.
        return [image.data if isinstance(image.data, np.ndarray) else image.whole() for image in found]

    def movies(self, channel: int = 0) -> list[NDArray[np.generic]]:
        """Each image as a movie (T, [Z,] Y, X) of the channel at this place in `chosen`; mapped where possible.

        Raises
        ------
        InputError
            When an image has no T, or there is more than is held in memory.
        """
        if self.large:
            raise InputError(
                "the movies are more than is held in memory, and parts of them have no neighbours in time",
                "train on some of the frames, or with `frames` 1", option="frames",
            )  # fmt: skip
        found = []
        for path, image, channels in zip(self.paths, self.images, self.channels, strict=True):
            if "T" not in image.axes:
                raise InputError(
                    f"{path} has axes {image.axes} and no T: it is no movie",
                    "say with `axes` which axis is time, or train with `frames` 1", option=("axes", "frames"),
                )  # fmt: skip
            data = only(image, [channels[channel]]).data
            if not isinstance(data, np.ndarray):
                data = read_box(data, tuple(slice(0, n) for n in data.shape), str(path))
            found.append(data.reshape(-1, *data.shape[-len(self.spatial) :]))
        return found


def open_images(
    paths: list[Path],
    axes: str | None = None,
    *,
    series: int | None = None,
    channels: str | None = None,
    typed: Voxel | None = None,
    notice: Notice = no_notice,
) -> Noisy:
    """Open noisy images of one kind.

    Parameters
    ----------
    paths : list of path
        Image files.
    axes : str
        Letters of "TCZYX" that replace what the files say, or None.
    series : int
        Which image of a file that holds several, from 0.
    channels : str
        "all", or names or numbers with commas between; must be given when the images have several.
    typed : Voxel
        Sizes (µm) that replace what the files say.
    notice : callable
        Gets a sentence for everything that a user should know of the files.

    Raises
    ------
    InputError
        When planes and volumes, different voxel sizes or different channels are mixed, or channels are to be chosen.
    """
    paths = list(dict.fromkeys(paths))
    images = [open_image(path, axes, series) for path in paths]
    file_notices(((p, image.description.notices) for p, image in zip(paths, images, strict=True)), notice)
    depths = {image.data.shape[image.axes.index("Z")] if "Z" in image.axes else 1 for image in images}
    if 1 in depths and len(depths) > 1:
        raise InputError(
            f"{names_text(paths)} are planes and volumes",
            f"train on one kind, or say with `axes` what they are; {see_info(*paths)}",
            option="axes",
        )
    spatial = "YX" if depths == {1} else "ZYX"
    chosen = _channels(paths, images, channels, notice)
    typed = typed or Voxel()
    pixel_sizes = {
        path: image.voxel.x_um if typed.x_um else image.voxel.pixel_size_um(str(path))
        for path, image in zip(paths, images, strict=True)
    }
    z_steps = {path: image.voxel.z_um for path, image in zip(paths, images, strict=True)}
    voxel = Voxel.square(
        agreed(typed.x_um, pixel_sizes, "pixel_size", notice),
        agreed(typed.z_um, z_steps, "z_step", notice) if spatial == "ZYX" else None,
    )
    return Noisy(paths, images, spatial, voxel, chosen)


def _channels(paths: list[Path], images: list[Image], text: str | None, notice: Notice) -> list[list[Chosen]]:
    """The channels to use of each image: those that `text` lists, by their names in the first image."""
    every = [channels_of(image) for image in images]
    for path, found in zip(paths, every, strict=True):
        if text is None and len(found) > 1:
            raise InputError(
                f"{path} has {len(found)} channels, {named(found)}, and a model is for one",
                "choose with `channels` all, or names or numbers with commas between; or say with `axes` what they are",
                option=("channels", "axes"),
            )
        if len(found) != len(every[0]):
            raise InputError(
                f"{paths[0]} has {len(every[0])} channels and {path} has {len(found)}",
                f"give images with the same channels; {see_info(paths[0], path)}",
            )
    chosen = choose(text, every[0], "channels", str(paths[0])) if text else every[0]
    used = [chosen]
    for path, found in zip(paths[1:], every[1:], strict=True):
        same = matched([c.name for c in chosen], found)
        used.append(same or [found[c.number] for c in chosen])
        if same is None and any(c.channel.name for c in found):
            notice(f"{path} has channels {named(found)}: they are taken for {named(chosen)} by their order")
    return used


def read_sized(
    path: Path,
    given: Voxel,
    prefix: str = "",
    *,
    needs_z_step: bool = True,
    series: int | None = None,
    channel: int | None = None,
    notice: Notice = no_notice,
) -> tuple[NDArray[np.generic], tuple[float, ...]]:
    """Read one plane or one volume with its voxel size, for example a PSF.

    Parameters
    ----------
    path : path
        Image file.
    given : Voxel
        Sizes (µm) that replace what the file says.
    prefix : str
        What the names of the options for these sizes begin with, for example "psf_".
    needs_z_step : bool
        Whether a volume must have a z step.
    series : int
        Which image of a file that holds several, from 0.
    channel : int
        Which channel of a file that holds several, from 0.
    notice : callable
        Gets a sentence where `given` replaces what the file says.

    Returns
    -------
    ndarray
        (Y, X) or (Z, Y, X).
    tuple of float
        (pixel size,), or (z step, pixel size) of a volume if `needs_z_step`; µm.

    Raises
    ------
    InputError
        When the image has other axes, or a size is unknown.
    """
    image = read_image(path, series=series)
    file_notices([(path, image.description.notices)], notice)
    channels = channels_of(image)
    if channel is not None and channel < len(channels):
        channels = [channels[channel]]
    if "C" in image.axes and len(channels) == 1:
        image = only(image, channels)
        image = replace(image, data=image.data[(slice(None),) * image.axes.index("C") + (0,)])
        image = replace(image, axes=image.axes.replace("C", ""))
    lengths_ = {axis: n for axis, n in zip(image.axes, image.data.shape, strict=True) if n > 1 or axis in "YX"}
    if "".join(lengths_) not in ("YX", "ZYX", "TYX"):
        raise InputError(f"{path} has axes {image.axes}", f"give one plane (YX) or one volume (ZYX); {see_info(path)}")
    data = image.data.reshape(tuple(lengths_.values()))
    known = image.voxel.x_um if given.x_um else image.voxel.pixel_size_um(str(path))

    def size(option: str, given_um: float | None, found_um: float | None) -> float:
        return required(agreed(given_um, {path: found_um}, option, notice), option, str(path))

    pixel_size = size(f"{prefix}pixel_size", given.x_um, known)
    if data.ndim == 2 or not needs_z_step:
        return data, (pixel_size,)
    return data, (size(f"{prefix}z_step", given.z_um, image.voxel.z_um), pixel_size)


def _unread(image: Image, spatial: str, name: str) -> list[Unread]:
    """The images over the `spatial` axes; a Z of length 1 is dropped."""
    if isinstance(image.data, np.ndarray):
        return [Unread(array.reshape(array.shape[-len(spatial) :]), name) for array in image.planes(spatial)]
    outer = image.data.shape[: image.data.ndim - len(spatial)]
    return [Unread(View(image.data, at=dict(enumerate(index))), name) for index in np.ndindex(outer)]
