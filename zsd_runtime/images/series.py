"""Which of the images in a TIFF."""

from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from zsd_runtime.errors import InputError, size_text


@dataclass(frozen=True)
class Found:
    """One image: a series of tifffile, or a position in it.

    Attributes
    ----------
    series : tifffile.TiffPageSeries
    at : dict of int to int
        Indices along the axes of the series that are positions.
    """

    series: Any
    at: dict[int, int] = field(default_factory=dict)

    @property
    def axes(self) -> str:
        """Of the image; letters that are not of "TCZYXS" have no name."""
        return "".join(a for i, a in enumerate(self.series.axes) if i not in self.at)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the image."""
        return tuple(n for i, n in enumerate(self.series.shape) if i not in self.at)

    def name(self, number: int) -> str:
        """For people."""
        position = " position " + "-".join(map(str, self.at.values())) if self.at else ""
        return f"{self.series.name or f'image {number}'}{position} ({self.axes} {size_text(self.shape)})"


def choose(tiff: Any, number: int | None, path: Path) -> tuple[Found, tuple[str, ...], tuple[str, ...]]:
    """The image of a number, or the largest.

    Returns
    -------
    Found
    tuple of str
        The names of all images, or none if there is only one.
    tuple of str
        Notices.

    Raises
    ------
    InputError
        When there is no image of this number, or there are several and none is the largest.
    """
    # Thumbnails and the coarse levels of pyramids are no images.
    series = [s for s in tiff.series if not s.keyframe.is_reduced] or list(tiff.series)
    found = [one for s in series for one in _positions(s)]
    names = tuple(one.name(i) for i, one in enumerate(found)) if len(found) > 1 else ()
    if number is not None:
        if not 0 <= number < len(found):
            raise InputError(
                f"`series` {number} is not in {path}, which holds {_count(len(found))}",
                f"choose from 0 to {len(found) - 1}" if names else "",
                option="series",
            )
        return found[number], names, ()
    # Beside images, pictures in colour are overviews and labels of slides.
    images = [f for f in found if not _is_picture(f)] or found
    # Of positions in a file each, that of this file.
    here = [f for f in images if any(p is not None and p.parent is tiff for p in f.series.pages)] or images
    largest = max(here, key=lambda one: prod(one.shape))
    alike = [one for one in here if one.shape == largest.shape]
    if len(alike) > 1:
        raise InputError(
            f"{path} holds {_count(len(found))} (positions?): "
            + ", ".join(f"{i} {name}" for i, name in enumerate(names[:8]))
            + (f" and {len(names) - 8} more" if len(names) > 8 else ""),
            "choose one with `series`",
            option="series",
        )
    if not names:
        return largest, names, ()
    chosen = found.index(largest)
    which = "the one in this file" if len(here) < len(images) else "the largest"
    which += " that is not in colour" * (len(images) < len(found))
    notice = (
        f"the file holds {_count(len(found))}; {which} is taken, {chosen}: {names[chosen]}; --series N takes another"
    )
    return largest, names, (notice,)


def _is_picture(one: Found) -> bool:
    """Whether it has 8-bit red, green and blue."""
    return "S" in one.axes and one.series.dtype.itemsize == 1 and int(one.series.keyframe.photometric) in (2, 6)


def _count(count: int) -> str:
    return f"{count} image" + "s" * (count != 1)


def _positions(series: Any) -> list[Found]:
    """One image a position. NDTiff has rows and columns of them; P is the position in a Zeiss LSM, else a phase."""
    axes = [i for i, a in enumerate(series.axes) if a in "RMJK" + "P" * (series.kind == "lsm")]
    indices = product(*(range(series.shape[i]) for i in axes))
    return [Found(series, dict(zip(axes, index, strict=True))) for index in indices]
