"""Padding: what registration, stitching, rotation and deskewing put around an image, and its mirrored continuation."""

from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[Any]
Mask = NDArray[np.bool_]

SOLID = 5  # side of the squares whose constancy shows padding
LONGEST_TIP = 32  # pixels
LEAST = 5e-3  # share of a plane that a constant area inside it must have to be padding


def find_padding(plane: Plane) -> Mask | None:
    """Constant areas, at least as large as a square of `SOLID` pixels or as whole border rows and columns; or of NaN.

    Noise never leaves one, unless it is clipped, or where there is no light: such areas are data.
    """
    finite = np.isfinite(plane) if plane.dtype.kind == "f" else np.ones(plane.shape, bool)
    if not finite.any() or (plane == plane.flat[0]).all():
        return np.ones(plane.shape, bool)
    # NaN as one more constant, which no pixel has
    values = plane if finite.all() else np.where(finite, plane, np.float64(plane[finite].min()) - 1)
    solid, border = _solid_squares(values), _constant_border(values)
    if solid is None and border is None:
        return None
    solid = union(solid, border)
    rest = values[~solid]
    padding = np.zeros(values.shape, bool)
    for constant in np.unique(values[solid]):
        area = solid & (values == constant)
        at_border = area[0].any() or area[-1].any() or area[:, 0].any() or area[:, -1].any()
        missing = not finite[area].any()
        if missing or ((at_border or area.mean() > LEAST) and not _is_clipped(values, area, constant, rest)):
            padding |= _with_tips(area, values == constant)
    return padding if padding.any() else None


def _with_tips(area: Mask, constant: Mask) -> Mask:
    """An area and what touches it of the pixels of its value: corners that no square fits into."""
    for _ in range(LONGEST_TIP):
        grown = _grown(area, 1) & constant
        if (grown == area).all():
            break
        area = grown
    return area


def mirrored_into(values: NDArray[np.generic], padding: Mask) -> NDArray[np.generic]:
    """The plane continued into its padding by mirroring, along X and, where a row has no data, along Y.

    A network then sees no edge of brightness, and the same kind of noise as everywhere.
    """
    rows = np.asarray(padding.all(axis=1))
    if rows.all():
        return values
    filled = np.take_along_axis(values, _mirrored_places(~padding), axis=1)
    return filled[_mirrored_places(~rows[None])[0]]


def _mirrored_places(valid: Mask) -> NDArray[np.int64]:
    """For each place along the last axis a valid one: itself, or its mirror image at the nearest valid place."""
    n = valid.shape[-1]
    places = np.broadcast_to(np.arange(n), valid.shape)
    before = np.maximum.accumulate(np.where(valid, places, -1), axis=-1)
    after = np.minimum.accumulate(np.where(valid, places, n)[..., ::-1], axis=-1)[..., ::-1]
    take_before = (after == n) | ((before >= 0) & (places - before <= after - places))
    nearest = np.where(take_before, before, after)
    mirror = np.clip(np.where(take_before, 2 * nearest - places + 1, 2 * nearest - places - 1), 0, n - 1)
    mirror = np.where(np.take_along_axis(valid, mirror, axis=-1), mirror, nearest)
    return np.where(valid | (nearest < 0) | (nearest >= n), places, mirror)


def _solid_squares(values: Plane) -> Mask | None:
    """The union of all constant squares (a morphological opening of each level)."""
    side = min(SOLID, *values.shape)
    if side < 2:  # one row or column
        return None
    quick = values[:: max(side - 2, 1)]  # every square crosses one of these rows
    same = quick[:, 1:] == quick[:, :-1]
    if not _windows(same, side - 1, axis=1).any():
        return None
    down = _windows(values[1:] == values[:-1], side - 1, axis=0)
    right = _windows(values[:, 1:] == values[:, :-1], side - 1, axis=1)
    corners = _windows(right, side, axis=0) & _windows(down, side, axis=1)
    if not corners.any():
        return None
    squares = np.zeros(values.shape, bool)
    squares[: corners.shape[0], : corners.shape[1]] = corners
    return _grown(squares, side - 1, before=0)


def _windows(mask: Mask, length: int, axis: int) -> Mask:
    """Whether all of `length` neighbours along an axis are True, for each first one."""
    n = mask.shape[axis] - length + 1
    if n < 1:
        return np.zeros((0, 0), bool)
    parts = (mask[i : i + n] if axis == 0 else mask[:, i : i + n] for i in range(length))
    return reduce(np.logical_and, parts)


def _grown(mask: Mask, after: int, before: int | None = None) -> Mask:
    """Dilated by a rectangle: `after` pixels down and right, and as many, or `before`, up and left."""
    before = after if before is None else before
    for axis in (0, 1):
        n = mask.shape[axis]
        padded = np.pad(mask, [(after, before) if a == axis else (0, 0) for a in (0, 1)])
        parts = (padded[i : i + n] if axis == 0 else padded[:, i : i + n] for i in range(before + after + 1))
        mask = reduce(np.logical_or, parts)
    return mask


def _constant_border(values: Plane) -> Mask | None:
    """Whole rows and columns of one value at the border, also narrower than a solid square."""
    top, bottom, left, right = (_constant_rows(v) for v in (values, values[::-1], values.T, values.T[::-1]))
    if not any((top, bottom, left, right)):
        return None
    border = np.zeros(values.shape, bool)
    border[:top], border[:, :left] = True, True
    border[len(values) - bottom :], border[:, values.shape[1] - right :] = True, True
    return border


def _constant_rows(values: Plane) -> int:
    """How many rows from the first on are constant, all of the same value; none of a few pixels, which may be alike."""
    if values.shape[1] < SOLID:
        return 0
    count = 0
    while count < len(values) and (values[count] == values[0, 0]).all():
        count += 1
    return count


def _is_clipped(values: Plane, area: Mask, constant: np.generic, rest: Plane) -> bool:
    """Whether a constant area is real but clipped: its neighbours are as constant, or reach up to its value."""
    ring = values[_grown(area, 2) & ~area].astype(np.float64)
    if ring.size == 0 or rest.size == 0:
        return False
    if (ring == float(constant)).mean() > 0.5:  # a dark background of few grey levels
        return True
    low, high = np.quantile(rest.astype(np.float64), (0.001, 0.999))
    step = abs(float(np.median(ring)) - float(constant))
    if constant >= high:  # a saturated area is surrounded by what is nearly so
        return step < 0.4 * (high - low)
    if constant > low or not (rest == constant).any():
        return False
    # Such pixels lie scattered elsewhere, too. No photon there, but one or two beside it? A background that is cut off?
    least = np.unique(rest[rest > constant])[:2]
    return bool(step < 0.1 * (high - low) or float(np.median(ring)) <= float(least[-1]))


def union(*masks: Mask | None) -> Any:
    """Of masks that may be None; None if all are."""
    given = [mask for mask in masks if mask is not None]
    return reduce(np.logical_or, given) if given else None
