"""Rings of the Fourier plane, or shells: their correlation, its thresholds, and where it crosses them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.fft import rfftn
from scipy.signal.windows import hann, tukey

from zsd_runtime.errors import InputError

Array = NDArray[np.float64]
Threshold = Literal["1/7", "3-sigma", "half-bit", "one-bit"]
Window = Literal["tukey", "hann"]

TAPER = 0.25  # share of the image that the Tukey window tapers, as Nieuwenhuizen et al. and NanoPyx do
SUSTAINED = 0.03  # share of the rings over which the correlation must stay below the threshold


@dataclass(frozen=True)
class Rings:
    """The rings of a Fourier plane, or shells, one coefficient of the shorter side of Y and X wide."""

    window: Sequence[Array]  # along each axis
    ring: NDArray[np.intp]  # of each coefficient of rfftn; the last one collects all beyond 0.5 cycles a pixel
    weight: Array  # of each coefficient: 2 if rfftn leaves its mirror image out
    frequencies: Array  # mean of each ring, cycles a pixel
    count: Array  # coefficients in each ring, mirror images included

    @classmethod
    def of(cls, shape: tuple[int, ...], window_name: Window, z_ratio: float) -> "Rings":
        """For images of this shape; `z_ratio` is the pixel size over the Z step."""
        window = _window(shape, window_name)
        axes = [np.fft.fftfreq(n) for n in shape[:-1]] + [np.fft.rfftfreq(shape[-1])]
        if len(shape) == 3:
            axes[0] = axes[0] * z_ratio
        radius = np.sqrt(sum(f**2 for f in np.meshgrid(*axes, indexing="ij", sparse=True)))
        side = min(shape[-2:])
        last = side // 2 + 1  # of those beyond
        ring = np.where(radius <= 0.5, np.minimum(np.rint(radius * side).astype(np.intp), last - 1), last)
        weight = np.full(axes[-1].size, 2.0)
        weight[0] = 1
        if shape[-1] % 2 == 0:
            weight[-1] = 1
        weight = np.broadcast_to(weight, radius.shape)
        many = np.bincount(ring.ravel(), weight.ravel())[:last]
        mean = np.bincount(ring.ravel(), (weight * radius).ravel())[:last] / many
        return cls(window, ring, weight, mean[1:], many[1:].astype(np.float64))

    def correlation(self, a: NDArray[np.generic], b: NDArray[np.generic]) -> Array:
        """Of each ring but the mean's."""
        x, y = self.spectrum(a), self.spectrum(b)
        scale = np.sqrt(self.cross(x, x) * self.cross(y, y))
        return np.divide(self.cross(x, y), scale, out=np.zeros_like(scale), where=scale > 0)

    def cross(self, x: NDArray[np.complex128], y: NDArray[np.complex128]) -> Array:
        """Sum of the products of two spectra (of `spectrum`) in each ring but the mean's."""
        return self._sums(x.real * y.real + x.imag * y.imag)

    def spectrum(self, image: NDArray[np.generic]) -> NDArray[np.complex128]:
        """Of an image, without its mean, behind the window."""
        product = np.ones(())
        for along in self.window:
            product = np.multiply.outer(product, along)
        counts = image.astype(np.float64)
        spectrum: NDArray[np.complex128] = rfftn((counts - np.sum(counts * product) / product.sum()) * product)
        return spectrum

    def _sums(self, power: Array) -> Array:
        sums: Array = np.bincount(self.ring.ravel(), (self.weight * power).ravel()).astype(np.float64)
        return sums[1 : self.count.size + 1]


def threshold_curve(name: Threshold, count: Array) -> Array:
    """The threshold in rings with `count` coefficients; its sources stand in `fourier_ring_correlation`."""
    if name not in get_args(Threshold):
        raise InputError(f"`threshold` {name} must be one of {', '.join(get_args(Threshold))}", option="threshold")
    n = np.sqrt(count)
    if name == "3-sigma":
        return np.minimum(3 / np.sqrt(count / 2), 1)
    if name == "half-bit":
        return (0.2071 + 1.9102 / n) / (1.2071 + 0.9102 / n)
    if name == "one-bit":
        return (0.5 + 2.4142 / n) / (1.5 + 1.4142 / n)
    return np.full(count.size, 1 / 7)


def crossing(above: Array) -> int:
    """The first ring from which a curve stays below 0, on average over the next rings; 0 if it is never above."""
    ahead = max(3, round(SUSTAINED * above.size))
    mean = ndi.uniform_filter1d(above, ahead, mode="nearest", origin=-(ahead // 2))  # of a ring and those after it
    start = np.flatnonzero((above > 0) & (mean > 0))
    if not start.size:
        return 0
    below = np.flatnonzero((above < 0) & (mean < 0))
    below = below[below > start[0]]
    return int(below[0]) if below.size else above.size


def _window(shape: tuple[int, ...], name: Window) -> list[Array]:
    if name not in get_args(Window):
        raise InputError(f"`window` {name} must be {' or '.join(get_args(Window))}", option="window")
    # Without the zeros at its ends, which would take pixels away.
    return [hann(n + 2)[1:-1] if name == "hann" else tukey(n + 2, TAPER)[1:-1] for n in shape]
