"""The pictures of docs/sim.md: what goes wrong with SIM and how it looks, on simulated frames.

    python benchmarks/sim_faults.py

Writes docs/sim_faults.png, and prints what zsd says of each.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import scipy.ndimage as ndi
from PIL import Image, ImageDraw, ImageFont

from zsd_optics.optics import Optics
from zsd_optics.pictures import enlarged, grey_levels
from zsd_optics.sim.acquisition import acquisition
from zsd_optics.sim.estimate import Given, estimate
from zsd_optics.sim.simulate import Illumination, SimSimulation, simulate_sim
from zsd_optics.sim.theory import planar_transfer
from zsd_optics.simulate import Camera
from zsd_runtime.errors import InputError
from zsd_runtime.sim.layout import Layout
from zsd_runtime.sim.microscope import Sim
from zsd_runtime.sim.reconstruction import reconstruct

PICTURE = Path(__file__).parent.parent / "docs" / "sim_faults.png"
PIXEL, SPACING, OFFSET, PHOTONS = 0.0626, 200.0, 100.0, 150
SIDE, FACTOR, TEXT = 104, 2, 22  # fine pixels of a detail, its enlargement, the height of a line of text
CORNER = (150, 190)  # of the detail, fine pixels


def scene(modulation: float = 0.8) -> SimSimulation:
    lit = Illumination(spacing_nm=SPACING, modulation=(modulation,))
    return simulate_sim((256, 256), photons=PHOTONS, camera=Camera(OFFSET, 1, 2), illumination=lit, seed=5)


def said_of(frames: Any, transfer: Any, **options: Any) -> list[str]:
    try:
        found = acquisition(frames, Layout(3, 3), transfer, pixel_size_um=PIXEL, offset=OFFSET, **options)
    except InputError as error:
        return [f"error: {error}"]
    return list(found.sim.parameters.remarks)


def made_anyway(frames: Any, transfer: Any, given: Given | None = None) -> Any:
    """The reconstruction that zsd warns of, or refuses."""
    p = estimate(frames, transfer, directions=3, pixel_size_um=PIXEL, offset=OFFSET, given=given)
    p = replace(p, patterns=tuple(replace(q, modulation=(min(max(q.modulation[0], 0.1), 1),)) for q in p.patterns))
    return reconstruct(frames, Sim(replace(p, wiener=0.1), transfer))


def cases() -> Iterator[tuple[str, Any, list[str]]]:
    """(caption, image, what zsd says)."""
    s = scene()
    right = s.sim.transfer
    yield "widefield", enlarged(s.raw.mean(axis=0) - OFFSET, 2), []
    yield "as it should be", made_anyway(s.raw, right), said_of(s.raw, right)
    low = scene(0.15)
    yield "modulation 0.15", made_anyway(low.raw, right, Given(SPACING)), said_of(low.raw, right)
    mixed = s.raw.reshape(3, 3, 256, 256).swapaxes(0, 1).reshape(9, 256, 256)
    yield "wrong order of planes", made_anyway(mixed, right), said_of(mixed, right, order="dp")
    wrong = planar_transfer(Optics(1.0, 525), PIXEL)
    yield (
        "OTF of NA 1.0, not 1.4",
        made_anyway(s.raw, wrong, Given(SPACING)),
        said_of(s.raw, wrong, given=Given(SPACING)),
    )
    shifts = ((0, 0), (1.2, -0.9), (-0.8, 1.3))
    moved = np.stack([ndi.shift(f.astype(np.float64), shifts[n // 3], mode="nearest") for n, f in enumerate(s.raw)])
    yield "drift between directions", made_anyway(moved, right), said_of(moved, right)


def main() -> None:
    panels = []
    for caption, image, said in cases():
        print(f"{caption}: {' | '.join(said) or 'nothing'}")
        y, x = CORNER
        detail = image[y : y + SIDE, x : x + SIDE]
        low, high = grey_levels(detail)
        grey = (np.clip((detail - low) / (high - low), 0, 1) * 255).astype(np.uint8)
        panel = Image.new("L", (SIDE * FACTOR, SIDE * FACTOR + TEXT), 255)
        panel.paste(Image.fromarray(enlarged(grey // 8 * 8, FACTOR)), (0, TEXT))
        ImageDraw.Draw(panel).text((2, 3), caption, 0, ImageFont.load_default(14))
        panels.append(np.asarray(panel))
    gap = np.full((panels[0].shape[0], 6), 255, np.uint8)
    rows = [np.hstack([panels[n], gap, panels[n + 1], gap, panels[n + 2]]) for n in (0, 3)]
    iio.imwrite(PICTURE, np.vstack(rows))


if __name__ == "__main__":
    main()
