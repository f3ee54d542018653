"""`zsd damp`: Fourier damping, which takes the stripes of a light sheet out of an image, plane by plane.

A stripe all across an image is, in its spectrum, in the few columns around the middle one. The published ZS-DeconvNet
(Qiao et al. 2024, its `Infer_3D.py`) zeroes there a bar of 2 · width + 1 columns in all but the rows near the centre,
which hold the image's own large structures. Here that is done in the cosine transform: the spectrum of the image
mirrored at its borders, which has no jump there to ring. Its first 2 · width + 1 columns are as wide a bar.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import imageio.v3 as iio
import numpy as np
import typer
from numpy.typing import NDArray

from zsd_runtime.errors import InputError, size_text
from zsd_runtime.files import written_whole
from zsd_runtime.images import Image, as_dtype, check_array, create_image, open_image, read_box
from zsd_runtime.memory import release
from zsd_runtime.terminal import Quiet, command_line, progress_bar, reporting

WIDTH = 1  # columns to either side, as published
# Published are 450 rows from each end, whatever the image's height. Of 1024 rows, these are 0.88 of each half.
LENGTH = 0.88
DIRECTIONS = ("horizontal", "vertical")
# Stripes cross the whole image: strips of it that do not touch then go up and down together.
STRIPS = 8
COHERENT = 0.6  # correlation of such strips; docs/how-it-works.md has what was measured
ROUNDING = 1e-9  # what a transform leaves of a constant, as a share of it
SAMPLE = 16  # planes that are looked at for stripes
PLANES = 8  # read and written at once: a Zarr chunk is as deep
PICTURE = 1024  # pixels, of the middle whose spectrum is drawn
GAP = 4

Array = NDArray[Any]

app = command_line()


@app.command()
def damp(
    image: Annotated[Path, typer.Argument(help="TIFF, PNG or OME-Zarr, any axes, any size: a deconvolved volume.")],
    out: Annotated[Path, typer.Argument(help="New image, .tif or .zarr; uint8 and uint16 stay, else float32.")],
    stripes: Annotated[str, typer.Option(help="auto (nothing is done without any), horizontal or vertical.")] = "auto",
    width: Annotated[
        int, typer.Option(help="Of the bar: columns of the spectrum to either side of the middle one.")
    ] = WIDTH,
    length: Annotated[
        float,
        typer.Option(help="Of the bar: share of the rows, from the finest on; 0.88 takes periods of 2 to 17 pixels."),
    ] = LENGTH,
    spectrum: Annotated[
        Path | None, typer.Option(help="PNG of the spectrum, before | after: stripes are a line through its middle.")
    ] = None,
    axes: Annotated[str | None, typer.Option(help="Axes of the image, letters of TCZYX, overruling the file.")] = None,
    quiet: Quiet = False,
) -> None:
    """Take light-sheet stripes out of an image by Fourier damping.

    Each plane by itself, a few at a time: memory does not grow with the volume. The mean of each plane is kept.
    """
    with reporting(quiet):
        if stripes not in ("auto", *DIRECTIONS):
            raise InputError(f"--stripes {stripes} must be auto, {' or '.join(DIRECTIONS)}")
        if out.suffix.lower() not in (".tif", ".tiff", ".zarr"):
            raise InputError(f"the new image {out} must end in .tif or .zarr")
        if out.resolve() == image.resolve():
            raise InputError(f"the result would replace {image}: give another name")
        source = open_image(image, axes)
        check_bar(source.data.shape[-2:], width, length)
        found = find_stripes(_sample(source), length) if stripes == "auto" else (stripes,)
        kind = source.data.dtype.name if source.data.dtype in (np.uint8, np.uint16) else "float32"
        with (
            create_image(out, source.resized(source.data.shape, kind)) as target,
            progress_bar(image.name, quiet) as bar,
        ):
            boxes = list(_boxes(source.data.shape))
            for done, box in enumerate(boxes, start=1):
                planes = _read(source, box)
                written = np.empty(planes.shape, target.dtype)
                for index in np.ndindex(planes.shape[:-2]):  # one at a time: their float32 would take twice the memory
                    written[index] = as_dtype(_damped(planes[index], found, width, length), target.dtype)
                target[box] = written
                release(source.data)
                bar(done / len(boxes))
        if spectrum:
            after = (_damped(plane, found, width, length) for plane in _sample(source))
            picture = spectrum_picture(_sample(source), after)
            with written_whole(spectrum) as temporary:
                iio.imwrite(temporary, picture, extension=".png")
        outcome = f"{' and '.join(found)} stripes damped" if found else "no stripes were found, and nothing was changed"
        print(f"OK {out} written: {outcome}")


def damped(
    plane: Array, direction: str = "horizontal", width: int = WIDTH, length: float = LENGTH
) -> NDArray[np.float32]:
    """One plane without stripes of one direction.

    Parameters
    ----------
    plane : ndarray
        (Y, X), any real dtype.
    direction : {"horizontal", "vertical"}
        Along X, or along Y.
    width : int
        What is taken changes at most so many times from bright to dark and back along a stripe.
    length : float
        Share of the frequencies across the stripes, from the finest on, 0 to 1: periods from 2 to
        ``2 / (1 - length)`` pixels. The mean stays.

    Returns
    -------
    ndarray
        (Y, X), of the same sum as `plane`.

    Raises
    ------
    InputError
        When the bar does not fit the plane.
    """
    check_bar(plane.shape, width, length)
    if direction == "vertical":
        return damped(plane.T, "horizontal", width, length).T
    plane = plane.astype(np.float32)
    columns = _cosines(plane.shape[1], 2 * width + 1)
    return plane - _fine(plane @ columns, length) @ columns.T


def find_stripes(planes: Iterable[Array], length: float = LENGTH) -> tuple[str, ...]:
    """The directions in which planes (Y, X) have stripes all across that are worth damping: none, one or both."""
    both = np.mean([(coherence(plane, length), coherence(plane.T, length)) for plane in planes], axis=0)
    return tuple(name for name, value in zip(DIRECTIONS, both, strict=True) if value > COHERENT)


def coherence(plane: Array, length: float = LENGTH) -> float:
    """How alike the fine brightness along Y is in strips of a plane (Y, X) that do not touch: about 0, 1 if the same.

    The sign alone is compared, of strips across 1/8 of X each: stripes are in all of them, a bright cell is in one.
    """
    strips = np.array_split(plane, min(STRIPS, plane.shape[1]), axis=1)
    profiles = np.stack([strip.mean(axis=1, dtype=np.float64) for strip in strips], axis=1)
    fine = _fine(profiles, length)
    signs = np.sign(fine) * (np.abs(fine) > ROUNDING * np.abs(profiles).max())
    apart = np.triu(np.ones((len(strips),) * 2, bool), k=2)
    return float((signs.T @ signs)[apart].mean() / len(signs)) if apart.any() else 0.0


def spectrum_picture(before: Iterable[Array], after: Iterable[Array]) -> NDArray[np.uint8]:
    """Mean power spectra of the middle of planes, before | after, on one logarithmic scale."""
    spectra = [np.log(np.mean([_power(plane) for plane in planes], axis=0) + 1e-12) for planes in (before, after)]
    low, high = np.percentile(spectra[0], (1, 99.9))
    panels = [np.clip((s - low) / max(high - low, 1e-9), 0, 1) * 255 for s in spectra]
    return np.hstack([panels[0], np.full((len(panels[0]), GAP), 255.0), panels[1]]).round().astype(np.uint8)


def check_bar(shape: Sequence[int], width: int, length: float) -> None:
    """Raise `InputError` unless a bar fits planes (Y, X) of `shape`."""
    if not 0 < length < 1:
        raise InputError(f"length {length:g} must be above 0 and below 1, a share of the rows: as published {LENGTH}")
    if not 0 <= width < min(shape) / 2:
        raise InputError(
            f"width {width} must be 0 or above, and below half of the image's {size_text(shape)} pixels: as published "
            f"{WIDTH}"
        )


def _cosines(n: int, count: int) -> NDArray[np.float32]:
    """The first `count` functions of the cosine transform of `n` pixels, as columns; orthonormal."""
    waves = np.cos(np.pi / n * (np.arange(n)[:, None] + 0.5) * np.arange(count)) * np.sqrt(2 / n)
    waves[:, 0] /= np.sqrt(2)
    return waves.astype(np.float32)


def _fine(profiles: Array, length: float) -> Array:
    """What profiles (Y, any) have in the `length` share of frequencies from the finest on; never the mean."""
    n = len(profiles)
    spectrum = np.fft.rfft(np.concatenate([profiles, profiles[::-1]]), axis=0)
    spectrum[: max(1, n - round(length * n))] = 0
    return np.fft.irfft(spectrum, 2 * n, axis=0)[:n].astype(profiles.dtype)


def _damped(plane: Array, directions: Sequence[str], width: int, length: float) -> Array:
    """A plane without stripes of all `directions`; itself if there are none."""
    for direction in directions:
        plane = damped(plane, direction, width, length)
    return plane


def _boxes(shape: tuple[int, ...]) -> Iterator[tuple[int | slice, ...]]:
    """Whole planes, a few at a time."""
    plane = tuple(slice(0, n) for n in shape[-2:])
    if len(shape) == 2:
        yield plane
        return
    for index in np.ndindex(shape[:-3]):
        for first in range(0, shape[-3], PLANES):
            yield (*index, slice(first, min(first + PLANES, shape[-3])), *plane)


def _read(image: Image, box: tuple[int | slice, ...]) -> Array:
    values = read_box(image.data, box)
    check_array(values, "the image")
    return values


def _sample(image: Image) -> Iterator[Array]:
    """Some planes, spread over all."""
    indices = list(np.ndindex(image.data.shape[:-2]))
    plane = tuple(slice(0, n) for n in image.data.shape[-2:])
    for place in np.unique(np.linspace(0, len(indices) - 1, SAMPLE).round().astype(int)):
        yield np.array(_read(image, (*indices[place], *plane)))
        release(image.data)


def _power(plane: Array) -> NDArray[np.float64]:
    """Spectrum of the middle of a plane, the mean in the centre; faded at its borders, whose jumps are no stripes."""
    inside = tuple(slice((n - min(n, PICTURE)) // 2, (n + min(n, PICTURE)) // 2) for n in plane.shape)
    part = plane[inside].astype(np.float64)
    window = np.hanning(part.shape[0] + 2)[1:-1, None] * np.hanning(part.shape[1] + 2)[1:-1]
    return np.abs(np.fft.fftshift(np.fft.fft2((part - part.mean()) * window))) ** 2
