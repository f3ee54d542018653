"""An image without what the camera and earlier programs did to it, read like any other."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.corrections.bad_pixels import FEWEST, BadPixels, find_bad_pixels, lasting_hot_pixels, measure_spread
from zsd_runtime.corrections.camera_maps import CameraMaps, maps_of
from zsd_runtime.corrections.hot_pixels import SHARE, Spread, replacements
from zsd_runtime.corrections.lines import line_offsets
from zsd_runtime.corrections.padding import mirrored_into, union
from zsd_runtime.corrections.plane_faults import Findings, Group, Index, PlaneFaults, packed
from zsd_runtime.errors import InputError
from zsd_runtime.images import check_array, check_shape, read_box
from zsd_runtime.memory import release

SAMPLE = 16  # planes that the spread of the noise is measured on
SMALLEST = 16  # pixels, the side of planes that are looked at: smaller ones show no statistics
MOST_NAN = 0.05  # share of single pixels that may be NaN
NOTEWORTHY = 0.01  # share of pixels that are clipped at the lower end
MEDIAN = 128 << 20  # bytes of the planes that hot pixels are looked for in together
TOGETHER = 128 << 20  # bytes of planes that are read at once where they share chunks: each is decoded once
CACHE = 64 << 20  # bytes of whole planes that were continued into their padding

Box = tuple[int | slice, ...]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Corrections:
    """What is corrected.

    Parameters
    ----------
    hot_pixels : bool
        Replace hot and dead pixels by the median of their neighbours.
    maps : CameraMaps
        The camera's calibration.
    lines : str
        "Y" for noise that rows share, "X" for columns, "YX" for both; empty: leave it.
    """

    hot_pixels: bool = True
    maps: CameraMaps | None = None
    lines: str = ""


LINES = {"none": "", "rows": "Y", "columns": "X", "both": "YX"}


def corrections_of(
    *,
    keep_hot_pixels: bool = False,
    remove_lines: str | None = None,
    dark: Path | None = None,
    gain_map: Path | None = None,
) -> Corrections:
    """The corrections that a person describes, in the words of the command line (`zsd_runtime.options`).

    Raises
    ------
    InputError
        When the lines are none of `LINES`, or maps cannot be used.
    """
    lines = remove_lines or "none"
    if lines not in LINES:
        raise InputError(f"`remove_lines` {lines} must be rows, columns or both", option="remove_lines")
    return Corrections(not keep_hot_pixels, maps_of(dark, gain_map), LINES[lines])


class Corrected:
    """A corrected image: takes slices like the array behind it.

    Parameters
    ----------
    source : array-like
        (…, Y, X), or (…, Z, Y, X) of volumes; anything with `shape`, `dtype` and slices.
    corrections : Corrections
    volumes : bool
        Whether the axis before Y and X is Z: a blank slice is then seen as its nearest neighbour.
    neighbour_share : float
        What the optics leave of a point's height in its neighbours, at least.
    lasting : ndarray of bool
        (Y, X), pixels that are hot in every plane; looked for in the planes when not given.
    report : callable
        Takes the share of the planes that have been looked at, 0 to 1.

    Attributes
    ----------
    counts : dict of str to int
        Pixels in all planes: padding, low, high, hot, dead (`BadPixels`).
    blank : list of tuple of int
        Indices of planes that hold nothing.
    nan : bool
        Whether any padding is NaN.

    Raises
    ------
    InputError
        When maps have another size, or too many single pixels are NaN.
    """

    def __init__(
        self,
        source: Any,
        corrections: Corrections = Corrections(),
        *,
        volumes: bool = False,
        neighbour_share: float = SHARE,
        lasting: Mask | None = None,
        name: str = "the image",
        report: Callable[[float], None] = lambda share: None,
    ) -> None:
        check_shape(source, name)
        self.source, self.corrections, self.volumes, self.name = source, corrections, volumes, name
        self.shape: Index = tuple(source.shape)
        self.ndim = len(self.shape)
        exact = corrections.maps is None and not corrections.lines
        self.dtype = source.dtype if exact else np.dtype(np.float32)
        if corrections.maps is not None:
            corrections.maps.check(self.shape, name)
        self._share, self.lasting = neighbour_share, lasting
        self.spread: Spread | None = None
        self._continued: OrderedDict[Index, NDArray[Any]] = OrderedDict()
        self.counts: Counter[str] = Counter()
        self.blank: list[Index] = []
        self.nan = False
        self._planes: dict[Index, PlaneFaults] = {}
        self._look(report)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, box: int | slice | Box) -> NDArray[Any]:
        whole, step = self._boxed(box)
        values = self._read(whole)
        for here, plane in self._planes_of(whole):
            values[here] = self._corrected(plane, values[here], whole[-2:])
        return values[step]

    def measured(self, box: int | slice | Box) -> Mask | None:
        """Of a box, the pixels that hold a value of the sample; None: all of them."""
        unmeasured = self._marked(box, "unmeasured")
        return None if unmeasured is None else ~unmeasured

    def saturated(self, box: int | slice | Box) -> Mask | None:
        """Of a box, the pixels whose light is at least their value; None: none of them."""
        return self._marked(box, "saturated")

    def _marked(self, box: int | slice | Box, name: Literal["unmeasured", "saturated"]) -> Mask | None:
        """A mask of `PlaneFaults`, in a box; None if it is empty everywhere."""
        whole, step = self._boxed(box)
        masks = [(here, getattr(self._planes[i], name)) for here, i in self._planes_of(whole)]
        if all(mask is None for _, mask in masks):
            return None
        result = np.zeros([b.stop - b.start for b in whole], bool)
        for here, mask in masks:
            if mask is not None:
                result[here] = self._unpacked(mask)[whole[-2:]]
        return result[step]

    def notice(self) -> str:
        """What was found, as a sentence for people; empty if nothing was."""
        return notice(self.counts, prod(self.shape), [index[-1] + 1 if index else 1 for index in self.blank])

    def padding(self, index: Index) -> Mask | None:
        """The padding (Y, X) of a plane, or None."""
        plane = self._planes.get(index)
        return None if plane is None or plane.padding is None else self._unpacked(plane.padding)

    @property
    def changed(self) -> bool:
        """Whether it differs from its source, or holds pixels that are no data."""
        return bool(self._planes) or self.corrections.maps is not None

    @property
    def padded(self) -> bool:
        """Whether any plane has padding."""
        return any(plane.padding is not None for plane in self._planes.values())

    def _boxed(self, box: int | slice | Box) -> tuple[tuple[slice, ...], tuple[int | slice, ...]]:
        """A box as slices with both ends, and what then takes single indices and steps out of it."""
        given = box if isinstance(box, tuple) else (box,)
        whole, step = [], []
        for b, n in zip((*given, *[slice(None)] * (self.ndim - len(given))), self.shape, strict=True):
            if not isinstance(b, slice):
                b = int(b) + n if b < 0 else int(b)
            low, high, by = b.indices(n) if isinstance(b, slice) else (b, b + 1, 1)
            whole.append(slice(low, max(low, high)))
            step.append(slice(None, None, by) if isinstance(b, slice) else 0)
        return tuple(whole), tuple(step)

    def _planes_of(self, box: tuple[slice, ...]) -> Iterator[tuple[Index, Index]]:
        """The planes in a box that need a correction: their place in it, and their index."""
        starts = [b.start for b in box[:-2]]
        for here in np.ndindex(*(b.stop - b.start for b in box[:-2])):
            index = tuple(start + i for start, i in zip(starts, here, strict=True))
            if index in self._planes:
                yield here, index

    def _read(self, box: tuple[slice, ...], *, copied: bool = True) -> NDArray[Any]:
        """Values of the source; not `copied` only if nobody writes into them."""
        values = read_box(self.source, box)
        if self.corrections.maps is not None:
            return self.corrections.maps(values, (box[-2], box[-1]))
        return np.array(values, self.dtype, copy=copied or None)

    @property
    def too_small(self) -> bool:
        """Whether planes show no statistics."""
        return min(self.shape[-2:]) < SMALLEST

    def _measure(self) -> None:
        """The spread of the noise, and the pixels that are hot in every plane, on a few planes."""
        indices = list(np.ndindex(self.shape[:-2]))
        chosen = np.unique(np.linspace(0, len(indices) - 1, min(SAMPLE, len(indices))).round().astype(int))
        self.spread = measure_spread(self._whole(indices[i]) for i in chosen)
        few = chosen[:: max(1, -(-chosen.size * self._whole(indices[0]).nbytes // MEDIAN))]
        if self.lasting is None and self.corrections.hot_pixels and few.size >= FEWEST:
            self.lasting = lasting_hot_pixels([self._whole(indices[i]) for i in few], self.spread, self._share)

    def _look(self, report: Callable[[float], None]) -> None:
        """Look at all planes once."""
        if self.too_small:
            self._refuse_nan()
            return
        self._measure()
        groups = self._groups([range(n) for n in self.shape[:-2]])
        for done, group in enumerate(groups, 1):
            self._add(self._looked(group))
            report(done / len(groups))
        single = self.counts["nan"]
        if len(self.blank) == prod(self.shape[:-2]) and self.nan:
            raise InputError(f"{self.name} holds only NaN", "open the file again, or give another image")
        if single > MOST_NAN * prod(self.shape):
            raise InputError(
                f"{self.name} has {single} single pixels that are NaN or infinite",
                "repair them, for instance by a median",
            )

    def _refuse_nan(self) -> None:
        """Of planes that are too small to be repaired."""
        for index in np.ndindex(self.shape[:-2]):
            check_array(self._whole(index), self.name)

    def keep_in(self, findings: Findings) -> None:
        """Keep what was found, for other processes."""
        for group in [] if self.too_small else self._groups([range(n) for n in self.shape[:-2]]):
            findings.write(group, {i: self._planes[i] for i in product(*group) if i in self._planes})

    def _groups(self, planes: Sequence[range]) -> list[Group]:
        """The groups that are looked at together and hold some planes, given for each axis before Y and X."""
        if not planes:
            return [()]
        *outer, last = planes
        depth = (getattr(self.source, "parts", None) or (1,) * self.ndim)[-3]
        most = max(1, TOGETHER // (prod(self.shape[-2:]) * self.dtype.itemsize))
        n = max(k for k in range(1, min(depth, most) + 1) if depth % k == 0)
        starts = range(last.start // n * n, last.stop, n)
        return [
            (*(range(i, i + 1) for i in index), range(start, min(start + n, self.shape[-3])))
            for *index, start in product(*outer, starts)
        ]

    def _looked(self, group: Group) -> dict[Index, PlaneFaults]:
        """What is found in a group of planes."""
        lines = (slice(0, n) for n in self.shape[-2:])
        box = (*(slice(r.start, r.stop) for r in group), *lines)
        planes = self._read(box, copied=False).reshape(-1, *self.shape[-2:])
        release(self.source)
        found = {index: self._faults(plane) for index, plane in zip(product(*group), planes, strict=True)}
        return {index: faults for index, faults in found.items() if faults is not None}

    def _add(self, found: Mapping[Index, PlaneFaults]) -> None:
        self._planes |= found
        self.blank += [index for index, plane in found.items() if plane.blank]

    def _faults(self, plane: NDArray[Any]) -> PlaneFaults | None:
        """What is wrong with a plane, which is counted, too; None: nothing."""
        assert self.spread is not None
        bad = find_bad_pixels(plane, self.spread, self._share).with_hot(self.lasting)
        missing = _missing(plane, bad.padding)
        self.counts.update(bad.counts() | {"nan": 0 if missing is None else int(missing.sum())})
        if not self.corrections.hot_pixels:  # NaN has no value that could be kept
            bad = BadPixels(bad.padding, bad.low, bad.high, None, missing)
        if bad.padding is not None and plane.dtype.kind == "f":
            self.nan |= bool(np.isnan(plane[bad.padding]).any())
        rows, columns = None, None
        if self.corrections.lines and not bad.blank:
            unmeasured = union(bad.unmeasured, bad.low)
            lines = line_offsets(plane, None if unmeasured is None else ~unmeasured, self.corrections.lines)
            rows, columns = lines if any(offsets.any() for offsets in lines) else (None, None)
        replaced = bad.replaced
        if replaced is None and bad.unmeasured is None and rows is None:
            return None
        none: tuple[NDArray[np.int64], NDArray[np.float32]] = np.zeros(0, np.int64), np.zeros(0, np.float32)
        places, values = (
            none if replaced is None else (np.flatnonzero(replaced), replacements(plane, replaced, bad.padding))
        )
        if rows is not None and columns is not None and places.size:
            y, x = np.divmod(places, plane.shape[1])
            values = values - rows[y] - columns[x]
        return PlaneFaults(places, values, rows, columns, packed(bad.padding), packed(bad.unmeasured), packed(bad.high))

    def _whole(self, index: Index) -> NDArray[Any]:
        """A plane before its corrections."""
        lines = (slice(0, n) for n in self.shape[-2:])
        return self._read((*(slice(i, i + 1) for i in index), *lines)).reshape(self.shape[-2:])

    def _corrected(self, index: Index, values: NDArray[Any], box: tuple[slice, ...]) -> NDArray[Any]:
        """The part of a plane in a box, corrected."""
        plane = self._planes[index]
        return self._repaired(plane, values, box) if plane.padding is None else self._continued_plane(index)[box]

    def _repaired(self, plane: PlaneFaults, values: NDArray[Any], box: tuple[slice, ...]) -> NDArray[Any]:
        """Without line noise, hot and dead pixels."""
        (y0, y1), (x0, x1) = ((b.start, b.stop) for b in box)
        if plane.rows is not None and plane.columns is not None:
            values = values - plane.rows[y0:y1, None] - plane.columns[None, x0:x1]
        width = self.shape[-1]
        low, high = np.searchsorted(plane.places, (y0 * width, y1 * width))
        y, x = np.divmod(plane.places[low:high], width)
        inside = (x >= x0) & (x < x1)
        replacing = plane.values[low:high][inside]
        values[y[inside] - y0, x[inside] - x0] = replacing if values.dtype.kind == "f" else np.rint(replacing)
        return values

    def _continued_plane(self, index: Index) -> NDArray[Any]:
        """The whole plane, continued into its padding; a blank slice of a volume is its nearest neighbour."""
        plane = self._planes[index]
        if index in self._continued:
            self._continued.move_to_end(index)
            return self._continued[index]
        if plane.blank:
            other = self._nearest(index)
            return np.broadcast_to(self.dtype.type(0), self.shape[-2:]) if other is None else self[other]
        whole = self._repaired(plane, self._whole(index), tuple(slice(0, n) for n in self.shape[-2:]))
        assert plane.padding is not None
        whole = mirrored_into(whole, self._unpacked(plane.padding))
        self._continued[index] = whole
        while len(self._continued) > max(1, CACHE // whole.nbytes):
            self._continued.popitem(last=False)
        return whole

    def _nearest(self, index: Index) -> Index | None:
        """The slice of the same volume that is nearest to a blank one and is not blank."""
        if not self.volumes:
            return None
        others = [(*index[:-1], z) for z in range(self.shape[-3]) if (*index[:-1], z) not in self.blank]
        return min(others, key=lambda other: abs(other[-1] - index[-1]), default=None)

    def _unpacked(self, bits: NDArray[np.uint8]) -> Mask:
        height, width = self.shape[-2:]
        if not bits.size:  # a blank plane
            return np.ones((height, width), bool)
        return np.unpackbits(bits, count=height * width).reshape(height, width).astype(bool)


def _missing(plane: NDArray[Any], padding: Mask | None) -> Mask | None:
    """NaN and infinite pixels outside of the padding."""
    if plane.dtype.kind != "f" or np.isfinite(plane).all():
        return None
    missing = ~np.isfinite(plane)
    return missing if padding is None else missing & ~padding


def notice(counts: Mapping[str, int], pixels: int, blank: Sequence[int] = ()) -> str:
    """What `counts` of bad pixels among so many `pixels` mean, and which planes, from 1, are `blank`."""

    def share(kind: str) -> str:
        percent = 100 * counts[kind] / pixels
        return f"{percent:.1f} %" if percent >= 0.1 else f"{counts[kind]}"

    found = []
    if blank:
        numbers = ", ".join(map(str, blank[:8])) + ", …" * (len(blank) > 8)
        found.append(f"plane{'s' * (len(blank) > 1)} {numbers} {'are' if len(blank) > 1 else 'is'} blank")
    if counts["padding"]:
        found.append(f"{share('padding')} of the pixels are padding: left out")
    if counts["hot"] or counts["dead"]:
        kinds = " and ".join(f"{share(kind)} {kind}" for kind in ("hot", "dead") if counts[kind])
        found.append(f"{kinds} pixels: replaced by their neighbours")
    if counts["high"]:
        found.append(f"{share('high')} of the pixels are saturated")
    if counts["low"] > NOTEWORTHY * pixels:
        found.append(
            f"{share('low')} of the pixels are clipped at the lowest value: if the background was subtracted, use raw "
            "counts"
        )
    return "; ".join(found)
