"""One file a slice, a frame or a channel: which files of a folder are one image, and the image."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from zsd_runtime.errors import InputError
from zsd_runtime.images.chunked import Chunked
from zsd_runtime.images.image import Channel, Description, Format, Image, Voxel
from zsd_runtime.images.tiff import TIFF
from zsd_runtime.images.tiff_makers import slices_metadata
from zsd_runtime.images.units import voxel_um

_WORDS = {
    "z": "Z", "slice": "Z", "plane": "Z", "t": "T", "time": "T", "frame": "T", "timepoint": "T", "c": "C", "ch": "C",
    "channel": "C", "w": "C",
}  # fmt: skip
# A word and a number, as in img_t000_z012_c1 and scan_C001Z012.
_WORD = "|".join(sorted(_WORDS, key=len, reverse=True))
_TOKEN = re.compile(rf"(?<![A-Za-z])({_WORD})=?(\d+)(?![.,]\d)", re.IGNORECASE)
# Micro-Manager 1.4: img_000000012_GFP_003.tif, a frame, a channel and a slice.
_MICROMANAGER = re.compile(r"img_(\d{9})_(.+)_(\d{3,})\.tif$")
_SUFFIXES = (".tif", ".tiff")
_FEWEST = 3  # files that only differ in a number are an image from here on


@dataclass(frozen=True)
class Slices:
    """Files that are one image.

    Attributes
    ----------
    pattern : str
        Their name, with * for the numbers.
    files : dict of tuple to Path
        By the index along each of `axes`.
    axes : str
        Letters of "TCZ", in that order.
    values : tuple of sequence
        What stands in the names, along each axis.
    """

    pattern: str
    files: dict[tuple[int, ...], Path]
    axes: str
    values: tuple[range | tuple[str, ...], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Along `axes`."""
        return tuple(map(len, self.values))


def find_slices(files: Iterable[Path]) -> list[Slices]:
    """Groups of files that are one image: slices or frames whose numbers a program wrote.

    Names must differ in numbers after z, t, c or words for them only, at least three of them, in Z or T: all of the
    same width (000, 001), or counted from 0 or 1 without a gap. Channels alone are images of their own.
    """
    groups: dict[tuple[str, str], dict[tuple[Any, ...], Path]] = defaultdict(dict)
    for path in files:
        if path.name.lower().endswith(_SUFFIXES):
            pattern, tokens = _parsed(path.name)
            axes = "".join(axis for axis, _ in tokens)
            if tokens and len(set(axes)) == len(axes):
                groups[pattern, axes][tuple(text for _, text in tokens)] = path
    return [found for (pattern, axes), group in groups.items() if (found := _slices(pattern, axes, group))]


def _parsed(name: str) -> tuple[str, list[tuple[str, str]]]:
    if match := _MICROMANAGER.match(name):
        return "img_*_*_*.tif", list(zip("TCZ", match.groups(), strict=True))
    return _TOKEN.sub(lambda m: m[1] + "*", name), [(_WORDS[m[1].lower()], m[2]) for m in _TOKEN.finditer(name)]


def _slices(pattern: str, axes: str, group: dict[tuple[str, ...], Path]) -> Slices | None:
    columns = [sorted(set(column), key=lambda text: (len(text), text)) for column in zip(*group, strict=True)]
    if not any(len(column) >= _FEWEST for axis, column in zip(axes, columns, strict=True) if axis in "ZT"):
        return None
    values = [_values(column) for column in columns]
    # Numbers that are all over the place are no count: those of samples, or dates.
    if not all(values) or len(group) < prod(map(len, values)) / 2:
        return None
    order = [k for k in map(axes.find, "TCZ") if k >= 0 and len(values[k]) > 1]
    indices = [dict[int | str, int](zip(column, range(len(column)), strict=True)) for column in values]
    files = {
        tuple(indices[k][int(texts[k]) if texts[k].isdigit() else texts[k]] for k in order): path
        for texts, path in group.items()
    }
    return Slices(pattern, files, "".join(axes[k] for k in order), tuple(values[k] for k in order))


def _values(column: list[str]) -> range | tuple[str, ...]:
    """All values along an axis, also of files that are missing; none if a program did not count them."""
    if not all(text.isdigit() for text in column):
        return tuple(sorted(column))  # names of channels
    numbers = sorted(map(int, column))
    if len(numbers) < len(column):  # 1 and 01
        return ()
    steps = {b - a for a, b in pairwise(numbers)}
    same_width = len(set(map(len, column))) == 1 and len(column[0]) > 1
    if len(column) > 1 and not same_width and not (numbers[0] in (0, 1) and steps == {1}):
        return ()
    # A constant step is a way to count (t000, t010, t020); another number that is left out is a missing file.
    return range(numbers[0], numbers[-1] + 1, min(steps) if len(steps) == 1 else 1)


def stem_of_pattern(pattern: str) -> str:
    """What to call a result: the pattern without its numbers and the words before them."""
    name = re.sub(rf"[-_ .]?({_WORD})?\*", "", Path(pattern).stem, flags=re.I)
    return name.strip("-_ .") or "image"


def one_plane_each(found: Slices) -> bool:
    """Whether the first file holds one plane, and no part of an OME-TIFF in several files."""
    try:
        with tifffile.TiffFile(next(iter(found.files.values()))) as tiff:
            page = tiff.pages.first
            ome_set = tiff.is_ome and any(word in page.description for word in ("FileName=", "BinaryOnly"))
            planes = max(len(tiff.pages), int((tiff.imagej_metadata or {}).get("images", 1)))
            return planes == 1 and len(page.shape) <= 3 and not ome_set
    except Exception:  # opening it says what is wrong with it
        return False


def _listed(path: Path) -> Slices | None:
    """The only image in a folder, or the one whose files are called like `path`."""
    folder = path if path.is_dir() else path.parent if "*" in path.name else None
    if folder is None or not folder.is_dir():
        return None
    files = sorted(p for p in folder.iterdir() if p.name.lower().endswith(_SUFFIXES) and not p.name.startswith("."))
    found = find_slices(files)
    if folder == path:
        found = found if len(found) == 1 and len(found[0].files) == len(files) else []
    else:
        found = [one for one in found if one.pattern == path.name]
    return found[0] if found and one_plane_each(found[0]) else None


class _Planes:
    """The planes of many files; what `Chunked` reads from."""

    def __init__(self, files: Sequence[Path], outer: tuple[int, ...], first: Image, axes: str | None) -> None:
        inner = tuple(first.data.shape)
        self.shape, self.chunks = outer + inner, (1,) * len(outer) + inner
        self.dtype, self.ndim = first.data.dtype, len(outer) + len(inner)
        self._files, self._outer, self._axes = files, outer, axes

    def __getitem__(self, box: tuple[slice, ...]) -> NDArray[Any]:
        count = len(self._outer)
        path = self._files[int(np.ravel_multi_index([part.start for part in box[:count]], self._outer))]
        plane = TIFF.open(path, self._axes, None).data
        if plane.shape != self.shape[count:] or plane.dtype != self.dtype:
            raise InputError(
                f"{path} has shape {plane.shape} ({plane.dtype}), and the first file of its image {self.shape[count:]} "
                f"({self.dtype})",
                "take it out of the folder",
            )
        return np.asarray(plane[tuple(box[count:])]).reshape([part.stop - part.start for part in box])


def _open(path: Path, axes: str | None, series: int | None) -> Image:  # noqa: ARG001
    found = _listed(path)
    assert found is not None
    folder = path if path.is_dir() else path.parent
    missing = [i for i in product(*map(range, found.shape)) if i not in found.files]
    if missing:
        named = [", ".join(f"{a} {found.values[k][i]}" for k, (a, i) in enumerate(zip(found.axes, at, strict=True)))
                 for at in missing[:5]]  # fmt: skip
        raise InputError(
            f"{path} has one file a plane ({found.pattern}), and {len(missing)} of them "
            f"{'is' if len(missing) == 1 else 'are'} missing: {'; '.join(named)}" + " …" * (len(missing) > 5),
            "copy all of them, or take the others out of the folder",
        )
    files = [found.files[i] for i in product(*map(range, found.shape))]
    inner = axes[len(found.axes) :] if axes else None
    first = TIFF.open(files[0], inner, None)
    if set(first.axes) & set(found.axes):
        raise InputError(f"{path} has one file a plane ({found.pattern}), and {files[0].name} has axes {first.axes}")
    _check_alike(files, first)
    data = Chunked(_Planes(files, found.shape, first, inner))
    voxel, described = _description(found, folder, first)
    return Image(data, found.axes + first.axes, voxel, first.ome, described)


def _check_alike(files: list[Path], first: Image) -> None:
    """Raise `InputError` unless all planes have the shape of the first; files of one size are not opened for that."""
    sizes = {path.stat().st_size for path in files}
    if len(sizes) == 1:
        return
    for path in files:
        try:
            with tifffile.TiffFile(path) as tiff:
                page = tiff.pages.first
                alike = page.shape == tuple(first.data.shape) or first.data.ndim != len(page.shape)
        except Exception as error:  # many kinds, for damaged files
            raise InputError(f"{path} is not a readable TIFF ({error})", "copy it again") from None
        if not alike:
            raise InputError(
                f"{path} has shape {page.shape}, and {files[0].name} {tuple(first.data.shape)}: they are not one image",
                "put them into folders of their own",
            )


def _description(found: Slices, folder: Path, first: Image) -> tuple[Voxel, Description]:
    sizes, rest = slices_metadata(folder)
    voxel, notices = voxel_um(sizes)
    if first.voxel.x_um:
        voxel = replace(first.voxel, z_um=first.voxel.z_um or voxel.z_um)
    planes = " x ".join(f"{n} {a}" for n, a in zip(found.shape, found.axes, strict=True))
    notice = f"{len(found.files)} files {found.pattern} are read as one image ({planes})"
    described = replace(
        first.description, labels=(), series=(), notices=(notice, *first.description.notices, *notices),
        size_source=first.description.size_source or ("Micro-Manager" if voxel != Voxel() else ""),
    )  # fmt: skip
    count = dict(zip(found.axes, found.shape, strict=True)).get("C", 0)
    if count:
        named = found.values[found.axes.index("C")]
        channels = rest.get("channels", ())
        if isinstance(named[0], str):
            by_name = {channel.name: channel for channel in channels}
            channels = tuple(by_name.get(str(name), Channel(str(name))) for name in named)
        described = replace(described, channels=channels if len(channels) == count else ())
    return voxel, replace(described, time_step_s=described.time_step_s or rest.get("time_step_s"))


def _recognises(path: Path) -> bool:
    return _listed(path) is not None


SLICES = Format("folder of slices", (), _recognises, _open)
