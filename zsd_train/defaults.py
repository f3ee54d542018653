"""All that differs between planes and volumes, one value each."""

from dataclasses import dataclass
from typing import Any

import torch

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Defaults:
    """What a training does if nobody says otherwise; shapes are ([Z,] Y, X), in raw pixels.

    Attributes
    ----------
    minutes : float
        Time budget.
    validations : int
        Number of validations in a budget.
    held_out : int
        Largest number of held-out tiles. In 3D each costs as much as a training step.
    tile : tuple of int
        Held-out tile: large against the correlation length of noise, small against the image. Its number of slices is
        even, so that it has odd and even slices.
    block : tuple of int
        Block whose mean brightness is known. It divides a tile.
    preview, sample : tuple of int
        The part of the data that preview.png shows, and that sample.tif keeps.
    largest_margin : tuple of int or None
        Limit of the margin around a patch. In 3D the PSF is wide because of defocus, and a margin as wide would be
        most of a patch; `forward.Blur` makes up for the rest.
    flux_window, flux_windows : tuple of int, int
        Windows over which flux is averaged at the end of a training, and how many at most.
    layout : torch.memory_format
        Memory format in which convolutions are fastest.
    """

    minutes: float
    validations: int
    held_out: int
    tile: Shape
    block: Shape
    preview: Shape
    sample: Shape
    largest_margin: Shape | None
    flux_window: Shape
    flux_windows: int
    layout: Any


DEFAULTS = {
    "yx": Defaults(
        minutes=4.0, validations=40, held_out=64, tile=(32, 32), block=(8, 8), preview=(256, 256), sample=(512, 512),
        largest_margin=None, flux_window=(256, 256), flux_windows=16, layout=torch.channels_last,
    ),
    "zyx": Defaults(
        minutes=15.0, validations=20, held_out=12, tile=(8, 32, 32), block=(2, 8, 8), preview=(8, 192, 192),
        sample=(32, 256, 256), largest_margin=(4, 4, 4), flux_window=(32, 96, 96), flux_windows=8,
        layout=torch.channels_last_3d,
    ),
}  # fmt: skip


def defaults_for(dimensions: int) -> Defaults:
    """The defaults for planes (2) or volumes (3)."""
    return DEFAULTS["zyx"[-dimensions:]]
