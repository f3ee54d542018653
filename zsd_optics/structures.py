"""What a simulated sample holds: filaments, vesicles, nuclei and more, each drawn in a plane or in a volume.

Every structure has a brightness of about 1 where it is bright. Sizes are random, in fine pixels, over the range that
fluorescence microscopes see.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float64]
SPECKLED = 0.4  # share of structures whose brightness varies, as labels do
OUT_OF_FOCUS = 0.5  # share of structures in a plane of which others lie above and below
_STEP = 0.5  # fine pixels between the points of a line


@dataclass(frozen=True)
class Grid:
    """Where structures are drawn.

    Attributes
    ----------
    shape : tuple of int
        ([Z,] Y, X), fine pixels.
    plane_px : float
        Distance of the planes of a volume, in fine pixels.
    """

    shape: tuple[int, ...]
    plane_px: float = 1.0

    @property
    def spacing(self) -> Array:
        """Fine pixels, axis by axis."""
        return np.array([*[self.plane_px] * (len(self.shape) - 2), 1.0, 1.0])

    @property
    def size_px(self) -> Array:
        """Of the whole, axis by axis."""
        return self.spacing * self.shape

    def count(self, px_each: float) -> int:
        """Number of things of which there is one in a square of `px_each` x `px_each`; of volumes, in a cube."""
        return max(2, round(float(np.prod(self.size_px / px_each))))

    def smoothed(self, image: Array, sigma_px: float) -> Array:
        """Gaussian filter."""
        return ndi.gaussian_filter(image, sigma_px / self.spacing)

    def add(self, image: Array, points_px: Array, weight: Array) -> None:
        """Add points (3, N) in fine pixels, Z first, with `weight` (N,); planes hold all points whatever their Z."""
        dimensions = len(self.shape)
        splat(image, points_px[-dimensions:] / self.spacing[:, None], weight)

    def field(self, scale_px: float, rng: np.random.Generator) -> Array:
        """Gaussian random field of mean 0 and variance 1, whose features are about `scale_px` wide."""
        coarse = np.maximum(np.ceil(self.size_px / max(scale_px / 2, 1)).astype(int), 4)
        noise = ndi.gaussian_filter(rng.normal(0, 1, coarse), 1.2, mode="wrap")
        noise = ndi.zoom(noise, np.divide(self.shape, coarse), order=3 if len(self.shape) == 2 else 1)
        return (noise - noise.mean()) / noise.std()  # type: ignore[no-any-return]


def filaments(grid: Grid, rng: np.random.Generator) -> Array:
    """Worm-like chains, from microtubules, which are nearly straight, to curled fibres."""
    return _worms(grid, rng, grid.count(_between(rng, 30, 150)), (0.3, 1.5), _between(rng, 0.004, 0.03), (0.7, 1.5))


def fibres(grid: Grid, rng: np.random.Generator) -> Array:
    """Bundles that run in about one direction, as stress fibres and collagen."""
    direction = rng.uniform(0, 2 * np.pi)
    return _worms(
        grid, rng, grid.count(_between(rng, 25, 120)), (0.5, 2), 0.004, (0.8, 4), direction=direction, spread=0.15
    )


def meshwork(grid: Grid, rng: np.random.Generator) -> Array:
    """Short lines so close that they overlap everywhere, as in the actin cortex."""
    return _worms(grid, rng, grid.count(_between(rng, 12, 25)), (0.02, 0.3), 0.01, (0.7, 2), spread=rng.uniform(0.2, 7))


def mitochondria(grid: Grid, rng: np.random.Generator) -> Array:
    """Short and thick worms."""
    return _worms(grid, rng, grid.count(_between(rng, 25, 90)), (0.03, 0.25), _between(rng, 0.02, 0.06), (2, 5))


def points(grid: Grid, rng: np.random.Generator) -> Array:
    """Points far smaller than the PSF, of very different brightness."""
    image = np.zeros(grid.shape)
    number = grid.count(_between(rng, 6, 60))
    grid.add(image, rng.uniform(0, 1, (3, number)) * _box(grid)[:, None], rng.lognormal(0, 0.7, number))
    return _unit(grid.smoothed(image, 0.7))


def vesicles(grid: Grid, rng: np.random.Generator) -> Array:
    """Filled spheres."""
    return _spheres(grid, rng, _between(rng, 2, 8), hollow=False)


def hollow_vesicles(grid: Grid, rng: np.random.Generator) -> Array:
    """Spheres with a bright membrane: rings, in a plane."""
    return _spheres(grid, rng, _between(rng, 4, 14), hollow=True)


def nuclei(grid: Grid, rng: np.random.Generator) -> Array:
    """Large smooth bodies with a texture inside, and dark holes in it."""
    scale = _between(rng, 30, 150)
    inside = 1 / (1 + np.exp(-(grid.field(scale, rng) - rng.uniform(0, 0.8)) * scale / 3))
    texture = np.clip(1 + rng.uniform(0.1, 0.5) * grid.field(_between(rng, 4, 14), rng), 0, None)
    holes = np.clip(1 - rng.uniform(0, 1) * (grid.field(scale / 4, rng) > 1.3), 0, None)
    return _unit(grid.smoothed(inside * texture * holes, 0.8))


def membranes(grid: Grid, rng: np.random.Generator) -> Array:
    """Outlines of cells: thin closed lines; in a volume, thin sheets."""
    field = grid.field(_between(rng, 20, 120), rng)
    slopes = np.gradient(field, *grid.spacing)
    distance = np.abs(field) / np.maximum(np.sqrt(sum(slope**2 for slope in slopes)), 1e-4)
    return _unit(np.exp(-0.5 * (distance / _between(rng, 0.7, 2)) ** 2))


def tissue(grid: Grid, rng: np.random.Generator) -> Array:
    """Texture at all scales, with dark gaps."""
    scales = np.geomspace(_between(rng, 3, 8), 120, 6)
    texture = sum(scale ** rng.uniform(0.2, 0.7) * grid.field(scale, rng) for scale in scales)
    texture = (texture - np.mean(texture)) / np.std(texture)
    return _unit(np.clip(np.exp(rng.uniform(0.5, 1.1) * texture) - rng.uniform(0, 0.5), 0, None))


def cells(grid: Grid, rng: np.random.Generator) -> Array:
    """Cells side by side, as in an embryo: bright walls, and insides of different brightness; some have none."""
    seeds = rng.uniform(0, 1, (grid.count(_between(rng, 15, 90)), len(grid.shape))) * grid.size_px
    middles = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1) * grid.spacing
    middles += _between(rng, 0.5, 6) * np.stack([grid.field(30, rng) for _ in grid.shape], axis=-1)  # bent walls
    far, nearest = cKDTree(seeds).query(middles, k=2)
    walls = np.exp(-0.5 * ((far[..., 1] - far[..., 0]) / _between(rng, 1.5, 6)) ** 2)
    inside = rng.uniform(0, rng.uniform(0, 1.5), len(seeds)) * (rng.uniform(0, 1, len(seeds)) < rng.uniform(0, 1))
    return _unit(grid.smoothed(walls * rng.uniform(0.3, 1, len(seeds))[nearest[..., 0]] + inside[nearest[..., 0]], 0.8))


def leaves(grid: Grid, rng: np.random.Generator) -> Array:
    """Discs of all sizes and brightnesses that cover each other ("dead leaves", Lee et al. 2001).

    They have the statistics of images in general: edges, corners and flat parts at every scale.
    """
    image, size = grid.field(60, rng) * 0.1 + 0.5, np.array(grid.shape)
    smallest, largest = _between(rng, 1.5, 4), _between(rng, 20, 120)
    for _ in range(grid.count(_between(rng, 6, 12))):
        share = rng.uniform()  # of radii r, whose density falls as r ** -3
        radius = (share / smallest**2 + (1 - share) / largest**2) ** -0.5
        radii = radius * rng.uniform(0.4, 1, len(size)) / grid.spacing
        centre = rng.uniform(0, 1, len(size)) * size
        low = np.clip(np.floor(centre - radius / grid.spacing), 0, size).astype(int)
        high = np.clip(np.ceil(centre + radius / grid.spacing) + 1, 0, size).astype(int)
        offsets = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"), axis=-1) - centre
        turn = rng.uniform(0, np.pi)
        y, x = offsets[..., -2].copy(), offsets[..., -1].copy()
        offsets[..., -2], offsets[..., -1] = np.cos(turn) * y + np.sin(turn) * x, np.cos(turn) * x - np.sin(turn) * y
        covered = ((offsets / radii) ** 2).sum(axis=-1) < 1
        image[tuple(map(slice, low, high))][covered] = rng.uniform(0, 1) ** 2
    return _unit(np.clip(grid.smoothed(image, 0.7), 0, None))


def haze(grid: Grid, rng: np.random.Generator) -> Array:
    """Smooth light, and none in places, as outside a cell."""
    return _unit(np.clip(grid.field(_between(rng, 80, 300), rng) + rng.uniform(0, 2), 0, None))


STRUCTURES: dict[str, Callable[[Grid, np.random.Generator], Array]] = {
    "filaments": filaments, "fibres": fibres, "mitochondria": mitochondria, "points": points, "vesicles": vesicles,
    "hollow-vesicles": hollow_vesicles, "nuclei": nuclei, "membranes": membranes, "tissue": tissue,
    "meshwork": meshwork, "cells": cells, "leaves": leaves,
}  # fmt: skip
# Those that `mixed` draws: recipes of the zoo name it, and their samples stay what they were.
OF_MIXED = (
    "filaments", "fibres", "mitochondria", "points", "vesicles", "hollow-vesicles", "nuclei", "membranes", "tissue",
)  # fmt: skip


def mixed(grid: Grid, rng: np.random.Generator) -> Array:
    """One to three structures of random kinds and brightness, over some haze and an even background."""
    image = np.zeros(grid.shape)
    for kind in rng.choice(OF_MIXED, rng.integers(1, 4), replace=False):
        image += _between(rng, 0.2, 1) * STRUCTURES[str(kind)](grid, rng)
    return image + _between(rng, 0.003, 0.3) * haze(grid, rng) + _between(rng, 0.001, 0.1)


def scene(grid: Grid, rng: np.random.Generator) -> Array:
    """What a microscope may see: like `mixed`, but of all kinds, labelled unevenly, over haze of any brightness.

    In a plane, there is light of things above and below, too.
    """
    image = np.zeros(grid.shape)
    for kind in rng.choice(list(STRUCTURES), rng.integers(1, 4), replace=False):
        drawn = STRUCTURES[str(kind)](grid, rng)
        if rng.uniform() < SPECKLED:
            drawn = drawn * np.clip(1 + rng.uniform(0.1, 0.8) * grid.field(_between(rng, 3, 20), rng), 0, None)
        image += _between(rng, 0.2, 1) * drawn
        if len(grid.shape) == 2 and rng.uniform() < OUT_OF_FOCUS:
            image += _between(rng, 0.1, 3) * grid.smoothed(drawn[::-1, ::-1], _between(rng, 3, 40))
    return image + _between(rng, 0.003, 3) * haze(grid, rng) + _between(rng, 0.001, 0.1)


def splat(image: Array, path: Array, weight: Array) -> None:
    """Add points (axes, N), in pixels, to `image` with linear weights."""
    corner = np.floor(path).astype(int)
    part = path - corner
    size = np.array(image.shape)[:, None]
    for corners in product((0, 1), repeat=image.ndim):
        up = np.array(corners)[:, None]
        place = corner + up
        inside = ((place >= 0) & (place < size)).all(axis=0)
        share = np.where(up, part, 1 - part).prod(axis=0) * weight
        np.add.at(image, tuple(place[:, inside]), share[inside])


def _worms(
    grid: Grid,
    rng: np.random.Generator,
    count: int,
    length: tuple[float, float],
    turn: float,
    width_px: tuple[float, float],
    *,
    direction: float = 0.0,
    spread: float = 2 * np.pi,
) -> Array:
    """`count` lines; `length` in fields of view, `turn` in rad a step, `width_px` the range of their σ."""
    image, box = np.zeros(grid.shape), _box(grid)
    for _ in range(count):
        number = int(rng.uniform(*length) * grid.size_px[-1] / _STEP) + 8
        turns = direction + rng.uniform(-spread, spread) + _walk(turn, number, rng)
        climbs = rng.normal(0, 0.1) + _walk(turn / 4, number, rng)
        steps = np.array([np.sin(climbs), np.cos(climbs) * np.sin(turns), np.cos(climbs) * np.cos(turns)])
        path = (rng.uniform(-0.1, 1.1, 3) * box)[:, None] + _STEP * np.cumsum(steps, axis=1)
        wobble = 1 + rng.uniform(0, 0.3) * ndi.gaussian_filter1d(rng.normal(0, 5, number), 30)
        grid.add(image, path, rng.uniform(0.4, 1.0) * np.clip(wobble, 0, None))
    return _unit(grid.smoothed(image, _between(rng, *width_px)))


def _spheres(grid: Grid, rng: np.random.Generator, radius_px: float, *, hollow: bool) -> Array:
    image, box = np.zeros(grid.shape), _box(grid)
    for _ in range(grid.count(radius_px * _between(rng, 3, 12))):
        radius = radius_px * rng.uniform(0.6, 1.4)
        number = int((40 * radius**2) if hollow or len(grid.shape) == 2 else 15 * radius**3)
        directions = rng.normal(0, 1, (3, number))
        directions /= np.linalg.norm(directions, axis=0)
        far = radius if hollow else radius * rng.uniform(0, 1, number) ** (1 / 3)
        centre = (rng.uniform(0, 1, 3) * box)[:, None]
        grid.add(image, centre + far * directions, np.full(number, rng.uniform(0.3, 1) / number * radius**2))
    return _unit(grid.smoothed(image, 0.8))


def _box(grid: Grid) -> Array:
    """Z, Y, X in fine pixels of the space that things lie in; a plane has no depth."""
    return np.concatenate([np.zeros(3 - len(grid.shape)), grid.size_px])


def _walk(step: float, number: int, rng: np.random.Generator) -> Array:
    """Angles along a line that turns smoothly."""
    return ndi.gaussian_filter1d(np.cumsum(rng.normal(0, step, number)), 20)  # type: ignore[no-any-return]


def _unit(image: Array) -> Array:
    """Bright parts are about 1."""
    lit = image[image > 1e-3 * image.max()]
    return image / max(float(np.percentile(lit, 95)), 1e-12) if lit.size else image


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Between two positive numbers, evenly in their logarithm."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
