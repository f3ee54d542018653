"""A picture of a SIM acquisition: the peaks that show its patterns, and what the reconstruction makes of them."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from zsd_optics.pictures import grey_levels
from zsd_optics.sim.acquisition import Acquisition
from zsd_optics.sim.patterns import correlation
from zsd_runtime.sim.bands import Bands
from zsd_runtime.sim.microscope import FACTOR, Sim
from zsd_runtime.sim.parameters import Pattern
from zsd_runtime.sim.reconstruction import reconstruct

Array = NDArray[np.float64]
SIDE, GAP, MARGIN, TOP, LINE = 320, 24, 28, 96, 20  # pixels of the picture
SHOWN = 1.3  # of the cutoff: how far the maps of correlations reach
MOST_PX = 160  # of widefield images: the middle of larger ones is shown
DECADES = 5  # of power that the spectrum shows
GREEN, RED, ORANGE, BLUE, GREY = (0, 200, 60), (220, 0, 0), (255, 150, 0), (70, 160, 255), (120, 120, 120)
CAPTIONS = (
    "above: how alike bands are, over the wave vector between them; blue: the detection's cutoff; circle: the stripes",
    "spectrum: blue, what widefield transfers; orange, what all orders together transfer",
)


def sim_picture(acquisition: Acquisition, title: str) -> NDArray[np.uint8]:
    """Draw the correlation of each direction with its peak; widefield, reconstruction, and its spectrum.

    Parameters
    ----------
    acquisition : Acquisition
    title : str
        Written above.

    Returns
    -------
    ndarray
        uint8 RGB (Y, X, 3).
    """
    sim = acquisition.sim
    patterns, columns = sim.parameters.patterns, max(3, sim.parameters.directions)
    fine, wide = reconstruct(acquisition.frames, sim), acquisition.frames.mean(axis=0)
    if fine.ndim == 3:
        best = int(fine.var(axis=(1, 2)).argmax())  # the slice with the most contrast
        fine, wide = fine[best], wide[best]
    second = TOP + SIDE + 3 * LINE + GAP
    size = (2 * MARGIN + columns * (SIDE + GAP) - GAP, second + SIDE + 3 * LINE)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, 14), title, "black", _font(18))
    for row, text in enumerate(CAPTIONS):
        draw.text((MARGIN, 40 + 18 * row), text, GREY, _font(13))
    counts = np.asarray(acquisition.frames, np.float64) - sim.parameters.offset
    by_direction = counts.reshape(len(patterns), -1, *counts.shape[1:])
    for number, (pattern, frames) in enumerate(zip(patterns, by_direction, strict=True)):
        left = MARGIN + number * (SIDE + GAP)
        canvas.paste(_correlation(Bands.of(frames, sim.transfer, sim.voxel_um), pattern, sim), (left, TOP))
        _texts(draw, (left, TOP + SIDE + 4), number, pattern)
    side = min(MOST_PX, *wide.shape)
    panels = [
        ("widefield: the mean of all frames", _shown(middle_of(wide.astype(np.float64), side))),
        ("reconstruction", _shown(middle_of(fine.astype(np.float64), FACTOR * side))),
        ("spectrum of the reconstruction", _spectrum(fine.astype(np.float64), sim)),
    ]
    for number, (name, panel) in enumerate(panels):
        left = MARGIN + number * (SIDE + GAP)
        canvas.paste(panel, (left, second))
        draw.text((left, second + SIDE + 4), name, "black", _font(14))
    return np.asarray(canvas)


def middle_of(image: Array, side: int) -> Array:
    """A square around the middle."""
    y, x = ((n - side) // 2 for n in image.shape)
    return image[y : y + side, x : x + side]


def _shown(image: Array) -> Image.Image:
    low, high = grey_levels(image)
    grey = (np.clip((image - low) / max(high - low, 1e-30), 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def _correlation(bands: Bands, pattern: Pattern, sim: Sim) -> Image.Image:
    """The map of the order that shows best, with the peak that is used."""
    order = int(np.argmax(pattern.trust)) + 1 if pattern.trust else pattern.orders
    heights = np.fft.fftshift(correlation(bands, order))
    k = np.fft.fftshift(np.fft.fftfreq(heights.shape[0], sim.voxel_um[-1]))
    reach = min(SHOWN * sim.transfer.cutoff, float(-k[0]))
    rows, columns = (
        np.flatnonzero(np.abs(np.fft.fftshift(np.fft.fftfreq(n, sim.voxel_um[-1]))) <= reach) for n in heights.shape
    )
    part = heights[np.ix_(rows, columns)]
    outside = part[_length(part.shape) > 0.3]
    low, high = 0.5 * float(np.median(outside)), float(outside.max())
    grey = (np.clip((part - low) / max(high - low, 1e-30), 0, 1) ** 0.7 * 255).astype(np.uint8)
    panel = Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB")
    draw = ImageDraw.Draw(panel)
    # Of the picture for a cycle/µm; frequency 0 is half a point behind the middle of an even number of them.
    scale = [SIDE / n * size * sim.voxel_um[-1] for n, size in zip(part.shape, heights.shape, strict=True)]
    centre = [
        SIDE / n * (np.flatnonzero(lines == size // 2)[0] + 0.5)
        for n, lines, size in zip(part.shape, (rows, columns), heights.shape, strict=True)
    ]
    cutoff = sim.transfer.cutoff
    draw.ellipse(
        (
            centre[1] - cutoff * scale[1],
            centre[0] - cutoff * scale[0],
            centre[1] + cutoff * scale[1],
            centre[0] + cutoff * scale[0],
        ),
        outline=BLUE,
    )
    y, x = pattern.wave_vector(order) * scale
    for sign, colour in ((-1, GREY), (1, GREEN)):
        draw.circle((centre[1] + sign * x, centre[0] + sign * y), 8, outline=colour, width=2)
    return panel


def _length(shape: tuple[int, ...]) -> Array:
    """Distance from the middle, 1 at the middles of the edges."""
    y, x = (np.linspace(-1, 1, n) for n in shape)
    return np.hypot(y[:, None], x)  # type: ignore[no-any-return]


def _texts(draw: ImageDraw.ImageDraw, place: tuple[int, int], number: int, pattern: Pattern) -> None:
    x, y = place
    angle = f"{pattern.angle_rad:.3f} rad ({np.degrees(pattern.angle_rad):.1f}°)"
    draw.text((x, y), f"direction {number + 1}: {angle}, {pattern.spacing_nm:.1f} nm", "black", _font(14))
    modulation = ", ".join(f"{m:.2f}" for m in pattern.modulation)
    trust = ", ".join(f"{t:.1f}" for t in pattern.trust) or "given"
    draw.text((x, y + LINE), f"modulation {modulation}; trust {trust}", "black", _font(14))


def _spectrum(fine: Array, sim: Sim) -> Image.Image:
    """Power over the frequencies of the fine grid, with the edges of widefield and of SIM."""
    windows = [np.hanning(n) for n in fine.shape]
    power = np.abs(np.fft.fftshift(np.fft.fft2((fine - fine.mean()) * np.outer(*windows)))) ** 2
    level = np.log10(np.maximum(power / power.max(), 10.0**-DECADES)) / DECADES + 1
    panel = Image.fromarray((level * 255).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    panel = panel.convert("RGB")
    draw = ImageDraw.Draw(panel)
    scale = SIDE * sim.fine_voxel_um[-1]  # pixels of the picture for a cycle/µm
    draw.circle((SIDE / 2, SIDE / 2), sim.transfer.cutoff * scale, outline=BLUE)
    turns = np.linspace(0, 2 * np.pi, 361)
    reach = sim.reach(np.sin(turns), np.cos(turns)) * scale
    points = np.stack([SIDE / 2 + reach * np.cos(turns), SIDE / 2 + reach * np.sin(turns)], axis=1)
    draw.line(points.ravel().tolist(), ORANGE, 1)
    return panel


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
