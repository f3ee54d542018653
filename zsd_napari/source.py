"""What a layer is to zsd: its axes, the size of its voxels, its channels. It passes from the viewer to the worker."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zsd_runtime.images import Channel, Description, Image, Voxel


@dataclass(frozen=True)
class Source:
    """A layer, without its pixels.

    Attributes
    ----------
    name : str
        Of the layer.
    shape : tuple of int
    dtype : str
    axes : str
        A letter of "TCZYX" for each axis.
    voxel : Voxel
        µm, as far as the layer says.
    channels : tuple of str
        Their names, if it has an axis C and names.
    lazy : bool
        Its pixels are somewhere else than in memory, so results go to the disk, too.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    axes: str
    voxel: Voxel = field(default_factory=Voxel)
    channels: tuple[str, ...] = ()
    lazy: bool = False

    def image(self, data: Any) -> Image:
        """With its pixels, as the rest of zsd takes it."""
        described = Description(self.name, channels=tuple(map(Channel, self.channels)))
        return Image(data, self.axes, self.voxel, description=described)

    @property
    def path(self) -> Path:
        """For messages, which name images by their files."""
        return Path(self.name.replace("/", "-").replace("\\", "-") or "layer")


@dataclass(frozen=True)
class Result:
    """An output that the worker is going to send, or has written.

    Attributes
    ----------
    output : str
        "denoised", "deconvolved", or as a package calls it.
    shape : tuple of int
    dtype : str
    axes : str
    path : Path or None
        The OME-Zarr that holds it; None: it is sent.
    """

    output: str
    shape: tuple[int, ...]
    dtype: str
    axes: str
    path: Path | None = None


Read = Callable[[tuple[int | slice, ...]], Any]
