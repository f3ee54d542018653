"""How fine a detail an image shows, without a truth: Fourier ring correlation.

Two images of one scene have the same structure and independent noise. In rings of the Fourier plane their correlation
is near 1 where structure is stronger than noise, and near 0 where there is only noise. The resolution is 1 / frequency
at the place where the correlation falls below a threshold (Saxton and Baumeister 1982; van Heel 1987; for light
microscopy Nieuwenhuizen et al. 2013 and Banterle et al. 2013). In volumes the rings are shells.

One image has two halves: its photo-electrons, split by chance (`split_image`; Rieger et al. 2024).

Decorrelation analysis (`zsd_optics.decorrelation`) needs neither a second image nor the noise.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from zsd_optics.decorrelation import Decorrelation, decorrelation_analysis
from zsd_optics.fourier_rings import Array, Rings, Threshold, Window, crossing, threshold_curve
from zsd_optics.noise_model import NoiseModel
from zsd_runtime.errors import InputError, size_text

__all__ = [
    "Decorrelation", "RingCorrelation", "decorrelation_analysis", "fourier_ring_correlation",
    "single_image_correlation", "split_image",
]  # fmt: skip


SMALLEST = 32  # pixels along Y and X: smaller images have too few rings
SMOOTHED = 0.07  # length of the Savitzky-Golay filter over the frequency of the crossing; longer ones blur a cut-off
SIGNIFICANT = 4.0  # standard deviations that the correlation before the crossing must be above 0
MOST_ELECTRONS = 1e12  # of a pixel: beyond, they cannot be counted one by one
SPLITS = 5  # of one image; the mean of their curves depends less on chance


@dataclass(frozen=True)
class RingCorrelation:
    """Correlation of two images ring by ring, and the resolution where it falls below the threshold.

    Attributes
    ----------
    frequencies : ndarray
        (rings,), cycles a pixel of X, up to 0.5.
    correlation : ndarray
        (rings,), -1 to 1.
    smooth : ndarray
        (rings,), the same through a short cubic Savitzky-Golay filter; its crossing is the resolution.
    threshold : ndarray
        (rings,), the curve that `smooth` is compared with.
    threshold_name : str
        Which one it is.
    resolution_px : float
        1 / frequency of the crossing, pixels of X; infinite if the correlation never falls below the threshold, NaN if
        it is never above.
    reason : str
        Why there is no finite resolution; empty if there is one.
    pixel_size_um : float or None
        Of X, if it is known.
    """

    frequencies: Array
    correlation: Array
    smooth: Array
    threshold: Array
    threshold_name: str
    resolution_px: float
    reason: str = ""
    pixel_size_um: float | None = None

    @property
    def resolution_um(self) -> float | None:
        """The resolution in µm; None if the pixel size is unknown."""
        return None if self.pixel_size_um is None else self.resolution_px * self.pixel_size_um


def fourier_ring_correlation(
    a: NDArray[np.generic],
    b: NDArray[np.generic],
    *,
    threshold: Threshold = "1/7",
    window: Window = "tukey",
    pixel_size_um: float | None = None,
    z_step_um: float | None = None,
) -> RingCorrelation:
    """Correlate two images of one scene ring by ring; two volumes shell by shell.

    Parameters
    ----------
    a, b : ndarray
        (Y, X) or (Z, Y, X), the same shape, any real dtype. Their noise must be independent: two exposures, not two
        versions of one.
    threshold : {"1/7", "3-sigma", "half-bit", "one-bit"}
        1/7 (Rosenthal and Henderson 2003; Nieuwenhuizen et al. 2013), 3 / √(n / 2) in a ring of n coefficients (van
        Heel 1987; the standard deviation of the correlation of noise is 1 / √n, as mirror images are equal), or half a
        bit or one bit of information a coefficient (van Heel and Schatz 2005, eq. 17).
    window : {"tukey", "hann"}
        What takes the images to 0 at their edges: over an eighth of the image at each of them, or from the middle on.
        "hann" leaks less; use it where strong structure ends at a sharp frequency.
    pixel_size_um : float
        Of Y and X; the result then has a resolution in µm.
    z_step_um : float
        Of volumes, with `pixel_size_um`: the shells are then round in physical frequency. Without it, voxels count as
        cubes.

    Raises
    ------
    InputError
        When the shapes differ, an image is smaller than 32 pixels, constant or not finite, or a size is not above 0.
    """
    shape = check_pair(a, b)
    rings = Rings.of(shape, window, z_ratio(len(shape), pixel_size_um, z_step_um))
    limit = threshold_curve(threshold, rings.count)
    return resolved(rings, rings.correlation(a, b), limit, threshold, pixel_size_um)


def single_image_correlation(
    counts: NDArray[np.generic],
    noise: NoiseModel,
    *,
    threshold: Threshold = "1/7",
    window: Window = "tukey",
    pixel_size_um: float | None = None,
    z_step_um: float | None = None,
    splits: int = SPLITS,
    seed: int = 0,
) -> RingCorrelation:
    """The ring correlation of one noisy image: that of the halves of its photo-electrons (Rieger et al. 2024).

    Each half has half the light, so its noise is twice as strong, relative to the structure. With the power S of the
    structure and N of the noise in the image, the halves correlate by F = S / (S + 2N), and two exposures like this
    image by S / (S + N) = 2F / (1 + F). The curve is corrected so (as in Rosenthal and Henderson 2003, for the mean of
    two half data sets), and so are the thresholds that depend on the number of coefficients, which hold for halves. The
    resolution is therefore that of the whole image, as two exposures of the scene would give it.

    Parameters
    ----------
    counts : ndarray
        (Y, X) or (Z, Y, X), camera counts, with the offset; not denoised, not filtered.
    noise : NoiseModel
        Of the camera (`zsd_optics.noise`).
    threshold, window, pixel_size_um, z_step_um
        As of `fourier_ring_correlation`.
    splits : int
        How often the image is split; the curves are averaged.
    seed : int
        Of the split.

    Raises
    ------
    InputError
        As of `fourier_ring_correlation` and `split_image`.
    """
    shape = check_pair(counts, counts)
    rings = Rings.of(shape, window, z_ratio(len(shape), pixel_size_um, z_step_um))
    rng = np.random.default_rng(seed)
    curves = [rings.correlation(*split_image(counts, noise, rng)) for _ in range(splits)]
    curve = np.mean(curves, axis=0)
    limit = threshold_curve(threshold, rings.count)
    limit = limit if threshold == "1/7" else _whole(limit)
    return resolved(rings, curve, limit, threshold, pixel_size_um, shown=_whole(curve))


def split_image(
    counts: NDArray[np.generic], noise: NoiseModel, rng: np.random.Generator, share: float = 0.5
) -> tuple[Array, Array]:
    """Split the photo-electrons of an image by chance into two images with independent noise.

    The noise line, variance = gain · counts + constant, makes n = (counts + constant / gain) / gain a number whose
    variance is its mean, read noise included (Snyder et al. 1995). k ~ Binomial(n, share) and n - k of a Poisson number
    are independent. This is what the training scheme "recorrupt" does.

    Parameters
    ----------
    counts : ndarray
        Any shape, camera counts.
    noise : NoiseModel
        With a gain, and white.
    rng : Generator
        Draws the split.
    share : float
        Of the electrons that go into the first image; the others go into the second.

    Returns
    -------
    ndarray, ndarray
        float64, counts. Each has the mean of the image, and its noise variance over its share; their mean, weighted by
        the shares, is the image.

    Raises
    ------
    InputError
        When the noise has no gain, or neighbouring pixels share it: there are then no photo-electrons to split.
    """
    if not noise.gain > 0:
        raise InputError(
            "the noise does not show the gain of the camera, so photo-electrons cannot be split",
            "give a raw image with more light, or a second exposure of the scene",
        )
    if noise.correlated:
        raise InputError(
            f"neighbouring pixels share noise along {' and '.join(noise.correlated)} (the image was filtered, "
            "denoised, resized or compressed), and shared photo-electrons cannot be split",
            "give the image as the camera gave it, or a second exposure of the scene",
        )
    zero = -noise.constant / noise.gain
    electrons = (np.asarray(counts, np.float64) - zero) / noise.gain
    if not electrons.max() < MOST_ELECTRONS:
        raise InputError(
            f"a pixel has {np.max(counts):.3g} counts, more photo-electrons than any camera collects",
            "replace it, or give the image as the camera gave it",
        )
    positive = np.maximum(electrons, 0)
    whole = np.floor(positive)
    rest = positive - whole
    taken = rng.binomial(whole.astype(np.int64), share).astype(np.float64)
    # For the rest r < 1, taking an electron with probability share · r would vary too much, taking r with probability
    # `share` too little: the first in 1 - share of the cases and the second in the others leaves no correlation.
    one = rng.random(electrons.shape) < 1 - share
    chance = rng.random(electrons.shape)
    taken += np.where(one, chance < share * rest, rest * (chance < share))
    # Read noise makes negative numbers, too. They cannot be split; without them the mean would be too high.
    first, second = taken / share, (positive - taken + np.minimum(electrons, 0)) / (1 - share)
    return first * noise.gain + zero, second * noise.gain + zero


def resolved(
    rings: Rings,
    curve: Array,
    limit: Array,
    threshold_name: str,
    pixel_size_um: float | None,
    shown: Array | None = None,
) -> RingCorrelation:
    """Where a correlation falls below a limit.

    Parameters
    ----------
    rings : Rings
    curve : ndarray
        (rings,), as measured.
    limit : ndarray
        (rings,).
    threshold_name : str
        Of the limit, for people.
    pixel_size_um : float
        Of X.
    shown : ndarray
        (rings,), the curve after corrections, which crosses the limit; default: as measured.
    """
    shown = curve if shown is None else shown
    width = max(5, round(SMOOTHED * crossing(shown - limit)) // 2 * 2 + 1)
    smooth = np.asarray(savgol_filter(shown, width, 3), np.float64)
    end = crossing(smooth - limit)
    resolution, reason = np.nan, ""
    # Before the crossing, the correlation must be more than what few coefficients of noise have by chance.
    weight = rings.count[:end]
    if end == 0 or np.sum(weight * curve[:end]) < SIGNIFICANT * np.sqrt(2 * np.sum(weight)):
        reason = f"the correlation is never above the threshold ({threshold_name}): noise hides the structure"
    elif end == curve.size:
        resolution = np.inf
        reason = f"the correlation never falls below the threshold ({threshold_name}) up to 0.5 cycles a pixel"
    else:
        high, low = (float(smooth[i] - limit[i]) for i in (end - 1, end))
        step = rings.frequencies[end] - rings.frequencies[end - 1]
        resolution = float(1 / (rings.frequencies[end - 1] + step * max(high, 0) / (max(high, 0) - low)))
    return RingCorrelation(rings.frequencies, shown, smooth, limit, threshold_name, resolution, reason, pixel_size_um)


def _whole(curve: Array) -> Array:
    """The correlation of whole images from that of their halves; noise around 0 keeps its sign and stays bounded."""
    return 2 * curve / (1 + np.abs(curve))


def z_ratio(dimensions: int, pixel_size_um: float | None, z_step_um: float | None) -> float:
    """Pixel size over Z step: 1 if it is unknown."""
    for option, size in (("pixel_size", pixel_size_um), ("z_step", z_step_um)):
        if size is not None and not 0 < size < np.inf:
            raise InputError(f"`{option}` {size:g} must be above 0 µm", option=option)
    if dimensions == 2 or z_step_um is None:
        return 1.0
    if pixel_size_um is None:
        raise InputError(
            "the Z step is known and the pixel size is not", "give `pixel_size`, too (µm)", option="pixel_size"
        )
    return pixel_size_um / z_step_um


def check_pair(a: NDArray[Any], b: NDArray[Any]) -> tuple[int, ...]:
    """The shape of two images whose rings can be compared."""
    if a.shape != b.shape:
        raise InputError(
            f"the images are {size_text(a.shape)} and {size_text(b.shape)}", "give two of one scene, on the same grid"
        )
    if a.ndim not in (2, 3):
        raise InputError(
            f"an image of {a.ndim} axes has no resolution here", "give a plane (Y, X) or a volume (Z, Y, X)"
        )
    if min(a.shape[-2:]) < SMALLEST:
        raise InputError(
            f"the image is {size_text(a.shape)}, and rings need at least {SMALLEST}x{SMALLEST} pixels in Y and X",
            "give a larger part of the scene",
        )
    for image in (a, b):
        if not np.isfinite(image).all():
            raise InputError("the image has values that are not finite (NaN or infinite)", "crop or replace them")
        if image.min() == image.max():
            raise InputError(f"the image is constant ({image.flat[0]:g})", "give one with structure")
    return a.shape
