"""Resolution of one image by decorrelation analysis (Descloux, Grußmayer and Radenovic 2019).

The image is correlated with itself after its Fourier coefficients F were divided by their magnitude, within radius r:

    d(r) = Σ_{|k| < r} |F(k)| / sqrt(Σ_{|k| < 1} |F(k)|² · Σ_{|k| < r} 1)          (eq. 1)

As r grows, d rises as long as coefficients with structure come in, and falls where there is only noise: the place of
the maximum says up to where structure is stronger than noise. High-pass filters take coarse structure away, which would
otherwise hide weak fine detail. The cut-off k_c is the highest maximum over a series of filters, and the resolution is
2 pixels / k_c, with k_c = 1 at the Nyquist frequency.

Programs differ in details, which move the result by up to 5 %, where there is little light by 10 %: see `Details`.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.fft import fft2

from zsd_runtime.errors import InputError, size_text

Array = NDArray[np.float64]

SMALLEST = 32  # pixels along Y and X
EDGE = 20  # pixels that a cosine takes to the mean; an eighth of the side in small images
FILTERS = 10  # high-pass filters of each of the two passes
DROP = 0.001  # of d after a maximum: less is numerical noise
LOWEST = 0.05  # of d at a maximum
PERIODS = 10  # across the image: maxima at coarser structure come from few coefficients and say nothing of detail
BELOW, ABOVE = 0.05, 0.3  # radii around the best one that the second pass looks at


@dataclass(frozen=True)
class Details:
    """Choices that the paper leaves open, or that programs make differently.

    Parameters
    ----------
    radii : int
        Of a curve. The paper has 50, whose steps are up to 7 % of a coarse resolution.
    finest_sigma_px : float
        Of the narrowest high-pass filter.
    cut_sigma : float
        Where the Gaussian of the high-pass filters ends, in σ; infinite: nowhere. A Gaussian that is cut takes other
        frequencies away than eq. 1 has in mind. NanoPyx 2.1.5 cuts it at 4.
    nearest_ring : bool
        Whether d(r) has the coefficients up to half a step beyond r, as if each was at the nearest radius (NanoPyx), or
        those up to r.
    odd_sides : bool
        Whether a row or column is left out of images with even sides, so that every coefficient has its mirror image,
        as in the authors' program.
    """

    radii: int = 200
    finest_sigma_px: float = 0.15
    cut_sigma: float = math.inf
    nearest_ring: bool = False
    odd_sides: bool = True


DETAILS = Details()


@dataclass(frozen=True)
class Decorrelation:
    """What decorrelation analysis found.

    Attributes
    ----------
    frequencies : ndarray
        (radii,), cycles a pixel, up to 0.5.
    curves : ndarray
        (1 + filters, radii), d: of the image, then of its high-pass filtered versions of the first pass, coarse first.
    peaks : ndarray
        (n, 2), frequency and d of every maximum of both passes.
    resolution_px : float
        1 / frequency of the highest maximum, pixels; NaN without a maximum.
    reason : str
        Why there is no resolution; empty if there is one.
    pixel_size_um : float or None
        If it is known.
    """

    frequencies: Array
    curves: Array
    peaks: Array
    resolution_px: float
    reason: str = ""
    pixel_size_um: float | None = None

    @property
    def resolution_um(self) -> float | None:
        """The resolution in µm; None if the pixel size is unknown."""
        return None if self.pixel_size_um is None else self.resolution_px * self.pixel_size_um


def decorrelation_analysis(
    image: NDArray[np.generic], *, pixel_size_um: float | None = None, details: Details = DETAILS
) -> Decorrelation:
    """Resolution of one image from its own spectrum.

    Parameters
    ----------
    image : ndarray
        (Y, X), any real dtype, noisy or restored.
    pixel_size_um : float
        The result then has a resolution in µm.
    details : Details
        For comparisons with other programs.

    Raises
    ------
    InputError
        When it is not a plane, smaller than 32 pixels, constant or not finite.
    """
    _check(image)
    spectrum = _Spectrum.of(image, details)
    coarsest = 2 * PERIODS / min(image.shape)
    radii = np.linspace(0, 1, details.radii)
    plain = spectrum.curve(radii, 0.0)
    found = [_peak(radii, plain)]
    widest = 2 / found[0][0] if found[0][0] else max(image.shape) / 2
    sigmas = np.geomspace(widest, details.finest_sigma_px, FILTERS)
    curves = [spectrum.curve(radii, sigma) for sigma in sigmas]
    first = [_peak(radii, curve) for curve in curves]
    found += first
    near, fine = _refined(first, sigmas, details.radii)
    found += [_peak(near, spectrum.curve(near, sigma)) for sigma in fine]
    peaks = np.array([(k / 2, d) for k, d in found if k >= coarsest])
    shown = np.array([plain, *curves])
    if not len(peaks):
        reason = "no curve has a maximum: noise hides the structure, or the detail is as fine as the pixels"
        return Decorrelation(radii / 2, shown, np.empty((0, 2)), np.nan, reason, pixel_size_um)
    return Decorrelation(radii / 2, shown, peaks, float(1 / peaks[:, 0].max()), "", pixel_size_um)


@dataclass(frozen=True)
class _Spectrum:
    """The coefficients with a radius of at most 1, from the innermost to the outermost, without the mean."""

    radius: Array
    magnitude: Array
    counts: Array  # the image, taken to 0 at its edges
    places: NDArray[np.intp]  # of the coefficients, in its transform
    details: Details

    @classmethod
    def of(cls, image: NDArray[np.generic], details: Details) -> "_Spectrum":
        used = tuple(slice(n - (n + 1) % 2 if details.odd_sides else n) for n in image.shape)
        counts = image[used].astype(np.float64)
        counts -= counts.mean()
        for axis, n in enumerate(counts.shape):
            edge = _edge(n)
            counts *= edge[:, None] if axis == 0 else edge
        y, x = (2 * np.fft.fftfreq(n) for n in counts.shape)
        radius = np.hypot(y[:, None], x).ravel()
        places = np.argsort(radius, kind="stable")
        places = places[(radius[places] < 1) & (radius[places] > 0)]
        return cls(radius[places], np.abs(fft2(counts)).ravel()[places], counts, places, details)

    def curve(self, radii: Array, sigma: float) -> Array:
        """d at each of the radii, of the image minus its Gaussian filter of this σ (pixels); 0: of the image."""
        magnitude = self._high_passed(sigma) if sigma else self.magnitude
        step = radii[1] - radii[0] if self.details.nearest_ring else 0
        inside = np.searchsorted(self.radius, radii + step / 2)
        sums = np.concatenate([[0.0], np.cumsum(magnitude)])
        return sums[inside] / np.sqrt(np.sum(magnitude**2) * np.maximum(inside, 1))

    def _high_passed(self, sigma: float) -> Array:
        cut = self.details.cut_sigma
        if math.isinf(cut):
            return self.magnitude * (1 - np.exp(-0.5 * (np.pi * sigma * self.radius) ** 2))
        high = self.counts - ndi.gaussian_filter(self.counts, sigma, truncate=cut)
        return np.abs(fft2(high)).ravel()[self.places]


def _edge(n: int) -> Array:
    """A cosine from 0 to 1 at both ends of n pixels."""
    wide = min(EDGE, n // 8)
    rise = (1 - np.cos(np.pi * (np.arange(wide) + 0.5) / wide)) / 2
    return np.concatenate([rise, np.ones(n - 2 * wide), rise[::-1]])


def _peak(radii: Array, curve: Array) -> tuple[float, float]:
    """Radius and d of the maximum; (0, 0) without one.

    A curve that rises up to its end has its maximum there, which is none. Its end is left out until the maximum of the
    rest lies inside, and is higher by `DROP` than what follows.
    """
    end = curve.size
    while end > 1:
        best = int(curve[:end].argmax())
        if best < end - 1 and curve[best] - curve[best:].min() > DROP:
            return (float(radii[best]), float(curve[best])) if curve[best] >= LOWEST else (0.0, 0.0)
        end = best if best < end - 1 else end - 1
    return 0.0, 0.0


def _refined(peaks: list[tuple[float, float]], sigmas: Array, radii: int) -> tuple[Array, Array]:
    """Radii and σ of the second pass, around those of the first whose maximum is the finest, or the clearest."""
    radius, height = np.array(peaks).T
    clear = int(np.argmax(radius * height))
    low, high = sorted((clear, int(np.argmax(radius))))
    low, high = (0, 0) if low == 0 else (low, min(high, sigmas.size - 2))
    fine = np.geomspace(sigmas[low], sigmas[high + 1], FILTERS)
    return np.linspace(max(radius[clear] - BELOW, 0), min(radius[clear] + ABOVE, 1), radii), fine


def _check(image: NDArray[np.generic]) -> None:
    if image.ndim != 2:
        raise InputError(f"an image of {image.ndim} axes cannot be analysed", "give one plane (Y, X)")
    if min(image.shape) < SMALLEST:
        raise InputError(
            f"the image is {size_text(image.shape)}, and decorrelation needs at least {SMALLEST}x{SMALLEST} pixels",
            "give a larger part of the scene",
        )
    if not np.isfinite(image).all():
        raise InputError("the image has values that are not finite (NaN or infinite)", "crop or replace them")
    if image.min() == image.max():
        raise InputError(f"the image is constant ({image.flat[0]})", "give one with structure")
