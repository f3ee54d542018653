"""An image: array, axes, voxel size; what an array must be to be one."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError

TOLERANCE = 0.01  # of voxel sizes: programs round them differently, and store 1 / size as fractions


@dataclass(frozen=True)
class Voxel:
    """The size of a voxel along each axis, µm; None where it is unknown."""

    z_um: float | None = None
    y_um: float | None = None
    x_um: float | None = None

    @classmethod
    def square(cls, pixel_size_um: float | None, z_step_um: float | None = None) -> Self:
        """Pixels as high as wide, and slices `z_step_um` apart."""
        return cls(z_step_um, pixel_size_um, pixel_size_um)

    def __getitem__(self, axis: str) -> float | None:
        """Along an axis, "Z", "Y" or "X"; None along others."""
        return getattr(self, f"{axis.lower()}_um", None)

    def finer(self, factors: dict[str, float]) -> Self:
        """On a grid that is finer by a factor along each axis."""
        return type(self)(*(size and size / factors.get(axis, 1.0) for axis in "ZYX" for size in [self[axis]]))

    def agrees(self, other: Self) -> bool:
        """Whether the sizes are the same within 1 %, as two programs round them; unknown ones agree with any."""
        pairs = [(self[axis], other[axis]) for axis in "ZYX"]
        return all(abs(a - b) <= TOLERANCE * max(a, b) for a, b in pairs if a and b)

    def pixel_size_um(self, name: str) -> float | None:
        """The side of square pixels.

        Raises
        ------
        InputError
            When the pixels of `name` are not square within 1 %.
        """
        if self.y_um and self.x_um and abs(self.y_um - self.x_um) > TOLERANCE * max(self.y_um, self.x_um):
            raise InputError(f"{name} has pixels of {self.y_um:g} x {self.x_um:g} µm", "resample it to square ones")
        return self.x_um if self.y_um else None


@dataclass(frozen=True)
class Channel:
    """What a file says of a channel.

    Attributes
    ----------
    name : str
        Empty when the file has none.
    color : str or None
        "RRGGBB", hexadecimal.
    emission_nm : float or None
        Wavelength of the emission.
    lut : ndarray or None
        uint8 (3, 256), red, green and blue of an ImageJ lookup table.
    """

    name: str = ""
    color: str | None = None
    emission_nm: float | None = None
    lut: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Description:
    """What a file says of an image beside its voxel size; all of it is carried over into results.

    Attributes
    ----------
    name, text : str
        Of the image; empty when the file has none. `text` is free: OME's Description, ImageJ's Info.
    channels : tuple of Channel
        As many as the image has, or none when the file does not describe them.
    time_step_s : float or None
        Between frames.
    origin_um : dict of str to float
        Position of the centre of the first voxel, by axis of "ZYX"; of the axes that the file knows it of.
    labels : tuple of str
        ImageJ's, one a plane in its order (C fastest, then Z, then T), or none.
    series : tuple of str
        Names of all images in the file; empty when it holds only this one.
    size_source : str
        Where the voxel size comes from, for people: "OME-XML", "ImageJ", "typed"; empty when it is unknown.
    processing : str
        What made a result other than usual, for people. It is written, in TIFFs as the last line of `text`.
    notices : tuple of str
        Sentences that a user should read: what was chosen, skipped or taken as unknown.
    """

    name: str = ""
    text: str = ""
    channels: tuple[Channel, ...] = ()
    time_step_s: float | None = None
    origin_um: dict[str, float] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    size_source: str = ""
    processing: str = ""
    notices: tuple[str, ...] = ()

    @property
    def whole_text(self) -> str:
        """`text`, and what was done in a line of its own."""
        return "\n".join(part for part in (self.text, self.processing and f"zsd: {self.processing}") if part)

    def resized(self, finer: dict[str, float], voxel: Voxel) -> Self:
        """Of the same field on a grid that is `finer` than that of `voxel` by a factor along each of its axes."""
        described = self
        if finer.get("C", 1) != 1:  # their names are those of other channels
            described = replace(described, channels=())
        if any(factor != 1 for axis, factor in finer.items() if axis in "TCZ"):
            described = replace(described, labels=())
        # The first voxel of a finer grid lies in a corner of the old one, and so does its centre.
        origin = {
            axis: at - (voxel[axis] or 0.0) * (1 - 1 / finer.get(axis, 1.0)) / 2 for axis, at in self.origin_um.items()
        }
        return replace(described, origin_um=origin)


@dataclass(frozen=True)
class Image:
    """An image as its file holds it.

    Attributes
    ----------
    data : array-like
        An array, or what takes slices like one.
    axes : str
        A letter of "TCZYX" for each axis; Y and X are the last.
    voxel : Voxel
        As far as the file says.
    ome : bool
        Whether a TIFF of it is written as OME-TIFF.
    description : Description
    """

    data: Any
    axes: str
    voxel: Voxel = Voxel()
    ome: bool = False
    description: Description = Description()

    def planes(self, spatial: str) -> list[NDArray[np.generic]]:
        """The arrays over the `spatial` axes ("YX" or "ZYX"), in the order of the others."""
        first = len(self.axes) - len(spatial)
        return [self.data[index] for index in np.ndindex(self.data.shape[:first])]

    def resized(self, shape: tuple[int, ...], dtype: str, axes: str | None = None) -> Self:
        """The same field on another grid, of other axes if given; pixel sizes follow; its zeros take no memory."""
        axes = axes or self.axes
        old, new = (dict(zip(a, n, strict=True)) for a, n in ((self.axes, self.data.shape), (axes, shape)))
        finer = {a: new.get(a, 1) / old.get(a, 1) for a in {*axes, *self.axes}}
        data = np.broadcast_to(np.zeros((), dtype), shape)
        described = self.description.resized(finer, self.voxel)
        voxel = self.voxel.finer({a: factor for a, factor in finer.items() if a in old and a in new})
        return replace(self, data=data, axes=axes, voxel=voxel, description=described)


def check_shape(array: Any, name: str) -> None:
    """Raise `InputError` unless `array` has the shape and dtype of an image; its pixels are not read."""
    if 0 in array.shape or len(array.shape) < 2:
        raise InputError(f"{name} has shape {array.shape}; an image has at least one pixel in Y and in X")
    if array.dtype.kind not in "uif":
        kind = {"c": "complex numbers", "b": "truth values"}.get(array.dtype.kind, str(array.dtype))
        raise InputError(f"{name} holds {kind}; an image is integers or real numbers: convert it to 16-bit or float")


def check_array(array: NDArray[np.generic], name: str) -> None:
    """Raise `InputError` unless `array` holds real, finite numbers."""
    check_shape(array, name)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise InputError(f"{name} has {count} pixels that are NaN or infinite", "repair them, for instance by a median")


def read_box(data: Any, box: tuple[int | slice, ...], name: str = "the image") -> NDArray[Any]:
    """A part of `Image.data`; raise `InputError`, with the `name` of the file, where it turns out to be damaged."""
    try:
        return np.asarray(data[box])
    except (MemoryError, InputError):
        raise
    except Exception as error:  # decoders fail in many ways on damaged files; all mean the same to the user
        raise InputError(f"{name} cannot be read ({error})", "copy it again") from error


def as_dtype(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """For an integer type: rounded and clipped to its range. `values` may be overwritten."""
    if dtype.kind == "f" or values.dtype == dtype:
        return values
    np.rint(values, out=values)
    np.clip(values, np.iinfo(dtype).min, np.iinfo(dtype).max, out=values)
    return values.astype(dtype)


@dataclass(frozen=True)
class Format:
    """A file format; to add one, define its value in a file of its own and list it in `files.FORMATS`.

    Attributes
    ----------
    name : str
        For messages.
    suffixes : tuple of str
        Of its files, in lower case, the longest first.
    recognises : callable
        Whether an existing file or folder is of this format.
    open : callable
        From a path, the axes that the user names or None, and the number of the series or None, to an `Image`, if
        possible without reading its pixels.
    create : callable, optional
        From a path, an `Image` (its shape, dtype and description count) and how many times finer than the raw grid its
        last axes are, to a context with the array to assign to.
    """

    name: str
    suffixes: tuple[str, ...]
    recognises: Callable[[Path], bool]
    open: Callable[[Path, str | None, int | None], Image]
    create: Callable[[Path, Image, tuple[int, ...]], AbstractContextManager[Any]] | None = None
