"""Padding: what registration, stitching, rotation and deskewing put around an image, and its mirrored continuation."""

from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[Any]
Mask = NDArray[np.bool_]

SOLID = 5, 5  # rows and columns of areas whose constancy shows padding
THIN = 2, 16  # the same, of wedges that a small rotation leaves, and of gaps between tiles
RIM = 1, 32  # the same, of the outermost rows and columns
LONGEST_TIP = 32  # pixels
HOLES = 1e-3  # single pixels in a constant area, of its pixels: padding has none
LEAST = 5e-3  # share of a plane that a constant area inside it must have to be padding
SMOOTH = 0.1  # share of neighbours that are equal beyond chance: the image is constant in parts by itself


def find_padding(plane: Plane) -> Mask | None:
    """Constant areas, at least as large as a square of `SOLID` pixels or as whole border rows and columns; or of NaN.

    Noise never leaves one, unless it is clipped, or where there is no light: such areas are data.
    """
    finite = np.isfinite(plane) if plane.dtype.kind == "f" else np.ones(plane.shape, bool)
    if ((plane == plane.flat[finite.argmax()]) | ~finite).all():
        return np.ones(plane.shape, bool)
    if min(plane.shape) < SOLID[0]:  # a few pixels may be alike
        return None
    # NaN as one more constant, which no pixel has
    values = plane if finite.all() else np.where(finite, plane, np.float64(plane[finite].min()) - 1)
    thick = union(_constant(values, *SOLID), _constant_border(values))
    solid = union(thick, _constant(values, *THIN), _transposed(_constant(values.T, *THIN)), _constant_rim(values))
    if solid is None:
        return None
    rest = values[~solid].astype(np.float64)
    low, high = np.quantile(rest, (0.001, 0.999)) if rest.size else (-np.inf, np.inf)
    smooth = _is_smooth(values, solid)
    padding = np.zeros(values.shape, bool)
    for constant in np.unique(values[solid]):
        area = solid & (values == constant)
        large, extreme = area.mean() > LEAST, not low < constant < high
        at_border = area[0].any() or area[-1].any() or area[:, 0].any() or area[:, -1].any()
        possible = large or at_border if not smooth else large and extreme
        core = area if thick is None or not thick[area].any() else area & thick
        if not finite[area].any() or (possible and not _is_clipped(values, core, constant, rest)):
            padding |= _with_tips(area, values == constant)
    return padding if padding.any() else None


def _is_smooth(values: Plane, solid: Mask) -> bool:
    """Whether neighbours are equal not because grey levels are few: in smoothed, enlarged and JPEG images."""

    def equal(image: Plane, within: Mask, distance: int) -> float:
        pairs = (image[:, distance:] == image[:, :-distance])[~(within[:, distance:] & within[:, :-distance])]
        return float(pairs.mean()) if pairs.size else 1.0

    lines = [(image[::step], within[::step]) for image, within, step in ((values, solid, 2), (values.T, solid.T, 2))]
    near, far = (min(equal(*line, distance) for line in lines) for distance in (1, 5))
    return near - far > SMOOTH * (1 - far) or near == 1


def _with_tips(area: Mask, constant: Mask) -> Mask:
    """An area and what touches it of the pixels of its value: corners that no square fits into."""
    for _ in range(LONGEST_TIP):
        grown = _grown(area, (1, 1)) & constant
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


def _constant(values: Plane, height: int, width: int) -> Mask | None:
    """The union of all constant rectangles (a morphological opening of each level)."""
    height, width = min(height, values.shape[0]), min(width, values.shape[1])
    quick = values[:: max(height - 2, 1), :: 2 if width > 8 else 1]  # every rectangle crosses one of these rows
    if not _windows(quick[:, 1:] == quick[:, :-1], min(width, 8) - 1, axis=1).any():
        return None
    right = _windows(values[:, 1:] == values[:, :-1], width - 1, axis=1)
    down = _windows(values[1:] == values[:-1], height - 1, axis=0)
    corners = _windows(right, height, axis=0) & _windows(down, width, axis=1)
    if not corners.any():
        return None
    found = np.zeros(values.shape, bool)
    found[: corners.shape[0], : corners.shape[1]] = corners
    return _grown(found, (height - 1, width - 1), before=(0, 0))


def _constant_rim(values: Plane) -> Mask | None:
    """Constant parts of the outermost rows and columns."""
    rim = np.zeros(values.shape, bool)
    for image, mask in ((values, rim), (values[::-1], rim[::-1]), (values.T, rim.T), (values.T[::-1], rim.T[::-1])):
        if (line := _constant(image[:1], *RIM)) is not None:
            mask[:1] |= line
    return rim if rim.any() else None


def _transposed(mask: Mask | None) -> Mask | None:
    return None if mask is None else mask.T


def _windows(mask: Mask, length: int, axis: int) -> Mask:
    """Whether all of `length` neighbours along an axis are True, for each first one."""
    if length < 1:  # of none, all are
        return np.ones([n + (a == axis) for a, n in enumerate(mask.shape)], bool)
    if mask.shape[axis] < length:
        return np.zeros((0, 0), bool)
    known = 1
    while known < length:
        step = min(known, length - known)
        mask = mask[:-step] & mask[step:] if axis == 0 else mask[:, :-step] & mask[:, step:]
        known += step
    return mask


def _grown(mask: Mask, after: tuple[int, int], before: tuple[int, int] | None = None) -> Mask:
    """Dilated by a rectangle: `after` pixels down and right, and as many, or `before`, up and left."""
    for axis, (n, right, left) in enumerate(zip(mask.shape, after, before or after, strict=True)):
        padded = np.pad(mask, [(right, left) if a == axis else (0, 0) for a in (0, 1)])
        parts = (padded[i : i + n] if axis == 0 else padded[:, i : i + n] for i in range(left + right + 1))
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
    """How many rows from the first on are constant, all of the same value."""
    count = 0
    while count < len(values) and (values[count] == values[0, 0]).all():
        count += 1
    return count


def _is_clipped(values: Plane, area: Mask, constant: np.generic, rest: NDArray[np.float64]) -> bool:
    """Whether a constant area is real but clipped: its neighbours are as constant, or reach up to its value."""
    ring = values[_grown(area, (2, 2)) & ~area].astype(np.float64) - float(constant)
    if ring.size == 0 or rest.size == 0:
        return False
    sides = area[:-2, 1:-1] & area[2:, 1:-1] & area[1:-1, :-2] & area[1:-1, 2:]
    if (ring == 0).mean() > 0.5 or (sides & ~area[1:-1, 1:-1]).sum() > HOLES * area.sum():
        return True  # a dark background of few grey levels
    low, high = np.quantile(rest, (0.001, 0.999))
    if low < constant < high:
        return False
    nearest, near = np.quantile(ring[ring != 0] * (1 if constant <= low else -1), (0.02, 0.16))
    levels = np.unique(rest[:: max(1, rest.size // 100_000)])
    step = float(np.diff(levels).min(initial=np.inf))  # no photon there, one beside it
    gap = nearest > max(0.5 * (near - nearest), step)
    return not gap or (constant >= high and bool(nearest < high - low))  # filaments that are saturated have steep sides


def union(*masks: Mask | None) -> Any:
    """Of masks that may be None; None if all are."""
    given = [mask for mask in masks if mask is not None]
    return reduce(np.logical_or, given) if given else None
