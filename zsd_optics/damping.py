"""Fourier damping removes the stripes of a light sheet from an image, plane by plane.

In the spectrum of an image, stripes across the whole image lie in the few columns around the middle one. The published
ZS-DeconvNet (Qiao et al. 2024, its `Infer_3D.py`) sets a bar of 2 · width + 1 columns to zero, except for the rows near
the centre, which contain the large structures of the image. We do this in the cosine transform, which is the spectrum
of the image mirrored at its borders: it has no jump there and so does not ring. Its first 2 · width + 1 columns
correspond to the published bar.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError, size_text

WIDTH = 1  # columns to either side, as published
# Published: 450 rows from each end, for any image height. Of 1024 rows that is 0.88 of each half.
LENGTH = 0.88
DIRECTIONS = ("horizontal", "vertical")
# Stripes cross the whole image, so the brightness of separate strips of it varies together.
STRIPS = 8
COHERENT = 0.6  # correlation of such strips above which there are stripes; measured in docs/how-it-works.md
ROUNDING = 1e-9  # relative rounding error of a transform
PICTURE = 1024  # pixels: size of the middle part whose spectrum is drawn
GAP = 4

Array = NDArray[Any]


def damped(
    plane: Array, direction: str = "horizontal", width: int = WIDTH, length: float = LENGTH
) -> NDArray[np.float32]:
    """Remove the stripes of one direction from a plane.

    Parameters
    ----------
    plane : ndarray
        (Y, X), any real dtype.
    direction : {"horizontal", "vertical"}
        Stripes along X, or along Y.
    width : int
        Largest number of times that a removed stripe changes from bright to dark and back along its length.
    length : float
        Share of the frequencies across the stripes, finest first, 0 to 1: periods from 2 to ``2 / (1 - length)``
        pixels. The mean stays.

    Returns
    -------
    ndarray
        (Y, X), with the same sum as `plane`.

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


def damped_in(plane: Array, directions: Sequence[str], width: int = WIDTH, length: float = LENGTH) -> Array:
    """A plane without stripes in any of `directions`; the plane itself if there are none."""
    for direction in directions:
        plane = damped(plane, direction, width, length)
    return plane


def find_stripes(planes: Iterable[Array], length: float = LENGTH) -> tuple[str, ...]:
    """The directions in which planes (Y, X) have stripes that are worth damping: none, one or both."""
    both = np.mean([(coherence(plane, length), coherence(plane.T, length)) for plane in planes], axis=0)
    return tuple(name for name, value in zip(DIRECTIONS, both, strict=True) if value > COHERENT)


def coherence(plane: Array, length: float = LENGTH) -> float:
    """How similar the fine variation along Y is in separate strips of a plane (Y, X): about 0, or 1 if it is the same.

    Each strip is 1/8 of X wide. Only signs are compared: stripes are in all strips, a bright cell is in one.
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
        raise InputError(
            f"length {length:g} must be above 0 and below 1, a share of the rows",
            f"as published {LENGTH}", option="length",
        )  # fmt: skip
    if not 0 <= width < min(shape) / 2:
        raise InputError(
            f"width {width} must be 0 or above, and below half of the image's {size_text(shape)} pixels",
            f"as published {WIDTH}",
            option="width",
        )


def _cosines(n: int, count: int) -> NDArray[np.float32]:
    """The first `count` functions of the cosine transform of `n` pixels, as columns; orthonormal."""
    waves = np.cos(np.pi / n * (np.arange(n)[:, None] + 0.5) * np.arange(count)) * np.sqrt(2 / n)
    waves[:, 0] /= np.sqrt(2)
    return waves.astype(np.float32)


def _fine(profiles: Array, length: float) -> Array:
    """The part of profiles (Y, any) in the finest `length` share of frequencies, without the mean."""
    n = len(profiles)
    spectrum = np.fft.rfft(np.concatenate([profiles, profiles[::-1]]), axis=0)
    spectrum[: max(1, n - round(length * n))] = 0
    return np.fft.irfft(spectrum, 2 * n, axis=0)[:n].astype(profiles.dtype)


def _power(plane: Array) -> NDArray[np.float64]:
    """Power spectrum of the middle of a plane, frequency 0 in the centre; windowed because of its borders."""
    inside = tuple(slice((n - min(n, PICTURE)) // 2, (n + min(n, PICTURE)) // 2) for n in plane.shape)
    part = plane[inside].astype(np.float64)
    window = np.hanning(part.shape[0] + 2)[1:-1, None] * np.hanning(part.shape[1] + 2)[1:-1]
    return np.abs(np.fft.fftshift(np.fft.fft2((part - part.mean()) * window))) ** 2
