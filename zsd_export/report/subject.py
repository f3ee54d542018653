"""The image that a report is on: its file, its frame and channel, the part that is looked at, and its truth."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_export.report.frames import image_of, one_channel, one_frame
from zsd_runtime.channels import Chosen, channels_of
from zsd_runtime.corrections.corrected import Corrected, corrections_of
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.images import Image, Voxel, open_image, read_box
from zsd_runtime.images.image import check_shape
from zsd_runtime.notices import Notice, file_notices, no_notice
from zsd_runtime.sizes import sized

Array = NDArray[Any]
LARGEST = {2: (1024, 1024), 3: (32, 256, 256)}  # pixels that are looked at, for planes and volumes
SMALLEST = 32  # along Y and X
HASHED = 1 << 30  # bytes of a file that are hashed as an array, too


@dataclass(frozen=True)
class Subject:
    """What is reported on.

    Attributes
    ----------
    name : str
        Of the file, or of the array.
    path : Path or None
    frame : Image
        The whole frame ([Z,] Y, X) of one channel, as the file holds it; read where it is sliced.
    counts : ndarray
        ([Z,] Y, X), the part that is looked at, as the camera gave it.
    part : tuple of slice
        Where it lies in the frame.
    channel : Chosen
    number : int or None
        Of the frame, from 0, in a file that holds several.
    shape : tuple of int
        Of the file.
    axes : str
        Of the file.
    sha256 : str
        Of the file; of the pixels, if there is none here.
    pixels_sha256 : tuple of str
        Of the frame's and of the file's pixels, as a run keeps them of its images.
    truth, truth_deconvolved : ndarray or None
        The same part: without noise, counts with the offset; also without blur, counts above the offset, on the same
        grid or a finer one.
    """

    name: str
    path: Path | None
    frame: Image
    counts: Array
    part: tuple[slice, ...]
    channel: Chosen
    number: int | None
    shape: tuple[int, ...]
    axes: str
    sha256: str
    pixels_sha256: tuple[str, ...]
    truth: Array | None = None
    truth_deconvolved: Array | None = None

    @property
    def voxel(self) -> Voxel:
        """Of the frame."""
        return self.frame.voxel

    @property
    def cut(self) -> bool:
        """Whether the part is smaller than the frame."""
        return self.counts.shape != tuple(self.frame.data.shape)

    @property
    def what(self) -> str:
        """The part in words."""
        if not self.cut:
            return f"{size_text(self.counts.shape)} pixels"
        return f"the middle {size_text(self.counts.shape)} of {size_text(self.frame.data.shape)} pixels"

    def corrected(self) -> NDArray[np.float64]:
        """The part as float64 with hot and dead pixels replaced, unless they may be detail: results are float."""
        keep = self.counts.dtype.kind == "f"
        data = self.counts
        if keep and not np.isfinite(data).all():
            data = np.where(np.isfinite(data), data, np.nanmedian(data))
        corrected = Corrected(data[None], corrections_of(keep_hot_pixels=keep), volumes=data.ndim == 3, name=self.name)
        return np.asarray(corrected[0], np.float64)


def subject_of(
    image: str | Path | Image | Array,
    spatial: str,
    *,
    frame: int | None = None,
    axes: str | None = None,
    series: int | None = None,
    channels: str | None = None,
    typed: Voxel | None = None,
    notice: Notice = no_notice,
) -> Subject:
    """The image that is reported on.

    Parameters
    ----------
    image : path, Image or ndarray
        A file, an image as zsd opens it, or an array ([Z,] Y, X).
    spatial : {"YX", "ZYX"}
        What the model restores: planes or volumes.
    frame : int
        Which plane, or volume, of a file that holds several, from 0.
    axes, series, channels
        As of `zsd predict`.
    typed : Voxel
        Sizes (µm) that replace what the file says.
    notice : callable
        Gets a sentence for everything that a user should know of the file.

    Raises
    ------
    InputError
        When there is no such image, it does not have the axes that the model takes, or a choice is to be made.
    """
    path = Path(image) if isinstance(image, str | Path) else None
    if path is not None:
        opened = open_image(path, axes, series)
        file_notices([(path, opened.description.notices)], notice)
    else:
        opened = image if isinstance(image, Image) else image_of(np.asarray(image), axes, spatial)
    name = str(path) if path else opened.description.name or "the image"
    check_shape(opened.data, name)
    opened = sized(opened, Path(name), typed or Voxel(), notice)
    file_shape, file_axes = tuple(opened.data.shape), opened.axes
    opened, channel = one_channel(opened, channels, name)
    opened, number = one_frame(opened, spatial, frame, name)
    part = middle_part(opened.data.shape)
    counts = np.array(read_box(opened.data, part, name))
    if min(counts.shape[-2:]) < SMALLEST:
        raise InputError(f"{name} is {size_text(counts.shape)}", f"a report needs {SMALLEST}x{SMALLEST} pixels or more")
    if counts.dtype.kind == "f" and not np.isfinite(counts).any():
        raise InputError(f"{name} holds no number in its middle (NaN everywhere)", "give another frame")
    if not np.nanmax(counts) > np.nanmin(counts):
        raise InputError(f"{name} is constant ({counts.flat[0]:g})", "give an image with structure")
    hashes = _pixel_hashes(opened.data, counts, name)
    return Subject(
        name, path, opened, counts, part, channel, number, file_shape, file_axes,
        sha256_of(path) if path and path.exists() else hashes[0], hashes,  # a URL: of its pixels
    )  # fmt: skip


def with_truths(subject: Subject, truth: Any, deconvolved: Any, **reading: Any) -> Subject:
    """The subject with its truths, from files or arrays; `reading` as of `subject_of`, without `typed`.

    Raises
    ------
    InputError
        When a truth is not on the grid of the image, or on a finer one by a whole number.
    """
    same = None if truth is None else _truth(truth, subject, "truth", reading)
    fine = None if deconvolved is None else _truth(deconvolved, subject, "truth_deconvolved", reading)
    whole = tuple(subject.frame.data.shape)
    if same is not None and same.shape != whole:
        raise InputError(
            f"the truth is {size_text(same.shape)} and the image {size_text(whole)}",
            "give `truth` on the image's own grid; a finer one without blur is `truth_deconvolved`",
            option=("truth", "truth_deconvolved"),
        )
    if fine is not None:
        factors = [n / m for n, m in zip(fine.shape, whole, strict=True)] if fine.ndim == len(whole) else [0.5]
        lateral = set(factors[-2:])
        if len(lateral) > 1 or not min(lateral).is_integer() or set(factors[:-2]) - {1.0}:
            raise InputError(
                f"the deconvolved truth is {size_text(fine.shape)} and the image {size_text(whole)}",
                "give `truth_deconvolved` on the image's grid, or on one that is finer by a whole number in Y and X",
                option="truth_deconvolved",
            )
    cut = [None if t is None else _same_part(t, subject.part, whole) for t in (same, fine)]
    return replace(subject, truth=cut[0], truth_deconvolved=cut[1])


def middle_part(shape: Sequence[int]) -> tuple[slice, ...]:
    """The middle of a frame, at most `LARGEST`."""
    sizes = [min(n, most) for n, most in zip(shape, LARGEST[len(shape)], strict=True)]
    return tuple(slice((n - size) // 2, (n - size) // 2 + size) for n, size in zip(shape, sizes, strict=True))


def sha256_of(path: Path) -> str:
    """Of a file, or of all files of a folder, read in pieces."""
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        with file.open("rb") as opened:
            while piece := opened.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def _pixel_hashes(data: Any, counts: Array, name: str) -> tuple[str, ...]:
    if data.shape == counts.shape:
        return (hashlib.sha256(np.ascontiguousarray(counts).data).hexdigest(),)
    if prod(data.shape) * counts.itemsize > HASHED:
        return (hashlib.sha256(np.ascontiguousarray(counts).data).hexdigest(), "")
    whole = read_box(data, tuple(slice(0, n) for n in data.shape), name)
    return (hashlib.sha256(np.ascontiguousarray(whole).data).hexdigest(),)


def _truth(given: Any, subject: Subject, option: str, reading: dict[str, Any]) -> Array:
    """The frame of a truth: the one of the image if there are several, or the only one."""
    spatial = subject.frame.axes
    try:
        if not isinstance(given, str | Path):
            return np.asarray(given.data if isinstance(given, Image) else given)
        path = Path(given)
        opened = open_image(path)
        axes = reading.get("axes")
        opened = open_image(path, axes) if axes and len(axes) == opened.data.ndim else opened
        several = len(channels_of(opened)) > 1
        opened, _ = one_channel(opened, reading.get("channels") if several else None, str(path))
        frames = prod(n for axis, n in zip(opened.axes, opened.data.shape, strict=True) if axis not in spatial)
        opened, _ = one_frame(opened, spatial, subject.number if frames > 1 else None, str(path))
        return np.array(read_box(opened.data, tuple(slice(0, n) for n in opened.data.shape), str(path)))
    except InputError as error:
        raise InputError(f"`{option}`: {error}", option=(option, *error.options)) from None


def _same_part(truth: Array, part: tuple[slice, ...], whole: tuple[int, ...]) -> Array:
    factors = [n // m for n, m in zip(truth.shape, whole, strict=True)]
    return truth[tuple(slice(s.start * f, s.stop * f) for s, f in zip(part, factors, strict=True))]
