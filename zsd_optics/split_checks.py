"""What the photo-electrons of one noisy image say of its restoration, without a truth.

The electrons are split by chance into independent images (`zsd_optics.resolution.split_image`). One is restored; the
network never sees the others, so they judge it:

- *Error.* With a restored image f and two images a, b that it was not made from, the mean of (f - a) · (f - b) is the
  mean square error of f: the noises of a and b are independent of f and of each other, and average out. (Two targets
  as in Noise2Noise, Lehtinen et al. 2018, in place of one and its variance.)
- *Resolution.* In a ring of the Fourier plane, the correlation of f with the sample is that with an unseen image, over
  the share of structure in that image. A blur that is equal in all directions changes no correlation, so it holds for
  the deconvolved image, too, as far out as the unseen image shows structure. What a network invents does not correlate.

The restored image has half the light; the resolution is corrected for it, the error is not.

Unseen electrons say nothing beyond the frequencies at which the noisy image shows structure. A second curve goes
further and knows less: the denoised image is recorded again by the same camera, restored again, turned or flipped, and
compared with the first result (`zsd_runtime.uncertainty`). It shows which detail the network finds again; whether that
is in the sample, only the first curve says.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from zsd_optics.fourier_rings import Array, Rings, Window
from zsd_optics.noise_model import NoiseModel
from zsd_optics.pictures import binned
from zsd_optics.resolution import RingCorrelation, check_pair, resolved, split_image, z_ratio
from zsd_runtime.average import SYMMETRIES

Restore = Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]]

SPLITS = 4
BLOCK = 16  # pixels along Y and X of the blocks whose means give the standard error
SIGMAS_PX = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)  # of the Gaussian filters that the network is compared with
# Of the correlation with the sample. Two exposures with S / (S + N) = 1/7 correlate each with the sample by its root.
THRESHOLD = float(np.sqrt(1 / 7))
# Of the correlation with what is restored again: on simulations it stands there, on average, where the correlation with
# the truth crosses `THRESHOLD` (benchmarks/trust.py coverage). By the fineness of the grid.
REPRODUCED = {1: 0.25, 2: 0.5}
DARK = 0.005  # of the transfer function: what is weaker is beyond the optics


@dataclass(frozen=True)
class SplitChecks:
    """What independent splits say of a restoration.

    Attributes
    ----------
    error, error_se : float
        Mean square error of the denoised image of half the light, counts², and its standard error.
    gaussian_error : float
        The same of the best Gaussian filter.
    gaussian_sigma_px : tuple of float
        Its σ, axis by axis.
    noise : float
        Mean variance of the noise of half the light, counts²: the error of no filter at all.
    gain_db, gain_db_range : float, (float, float)
        How much smaller the network's error is than that of the best Gaussian filter, and within one standard error.
    resolution : dict of RingCorrelation
        Of "raw" and of each output: their correlation with the sample, ring by ring, on the image's grid.
    reproduced : dict of RingCorrelation
        Of each output with what is restored from it again, on its own grid. The resolution of the denoised image is
        never finer than that of the optics, if the PSF is known, and those of others never coarser than its.
    """

    error: float
    error_se: float
    gaussian_error: float
    gaussian_sigma_px: tuple[float, ...]
    noise: float
    resolution: dict[str, RingCorrelation]
    reproduced: dict[str, RingCorrelation]

    @property
    def gain_db(self) -> float:
        """dB; infinite if the network's error is too small to be measured."""
        return _decibel(self.gaussian_error, self.error)

    @property
    def gain_db_range(self) -> tuple[float, float]:
        """Of `gain_db`, for one standard error more and less."""
        return _decibel(self.gaussian_error, self.error + self.error_se), _decibel(
            self.gaussian_error, self.error - self.error_se
        )


def split_checks(
    restore: Restore,
    counts: NDArray[np.generic],
    noise: NoiseModel,
    offset: float,
    *,
    pixel_size_um: float | None = None,
    z_step_um: float | None = None,
    psf: Array | None = None,
    window: Window = "tukey",
    splits: int = SPLITS,
    seed: int = 0,
) -> SplitChecks:
    """Judge a restoration by photo-electrons that it was not made from.

    Parameters
    ----------
    restore : callable
        From an image like `counts`, float32, to its results by name, counts above the offset: "denoised", on the
        image's grid, and others on finer grids. It is called 1 + 3 · `splits` times.
    counts : ndarray
        (Y, X) or (Z, Y, X), camera counts, raw.
    noise : NoiseModel
        Of the camera.
    offset : float
        Counts that the results do not have.
    pixel_size_um, z_step_um : float
        Of `counts`.
    psf : ndarray
        ([Z,] Y, X), on the grid of the finest output.
    window : {"tukey", "hann"}
        As of `zsd_optics.resolution.fourier_ring_correlation`.
    splits : int
    seed : int
        Of the splits.

    Raises
    ------
    InputError
        As of `zsd_optics.resolution.split_image` and `single_image_correlation`.
    """
    shape = check_pair(counts, counts)
    rings = Rings.of(shape, window, z_ratio(len(shape), pixel_size_um, z_step_um))
    rng = np.random.default_rng(seed)
    errors, gaussians = _Products(offset), {sigma: _Products(offset) for sigma in _sigmas(len(shape))}
    spectra = _Spectra(rings)
    for _ in range(splits):
        halves = split_image(counts, noise, rng)
        restored = [dict(restore(half.astype(np.float32))) for half in halves]
        for half, other, results in zip(halves, reversed(halves), restored, strict=True):
            unseen = split_image(other, _of_half(noise), rng)
            errors.add(results["denoised"], unseen)
            for sigma, products in gaussians.items():
                products.add(ndi.gaussian_filter(half, sigma) - offset, unseen)
        spectra.add(*({"raw": half} | results for half, results in zip(halves, restored, strict=True)))
    sigma = min(gaussians, key=lambda s: gaussians[s].mean)
    variance = float(np.mean(noise.variance(ndi.gaussian_filter(counts.astype(np.float64), sigma))))
    curves = {name: _where_resolved(rings, spectra.correlation(name), pixel_size_um) for name in spectra.names}
    # Halves share the noise that the line leaves out: its error is one of theirs.
    systematic = noise.gain_error / noise.gain * variance
    reproduced = _reproduced(restore, counts, noise, offset, window, splits, rng, pixel_size_um, z_step_um)
    reproduced = _limited(reproduced, None if psf is None else optical_limit_px(psf))
    return SplitChecks(
        errors.mean, float(np.hypot(errors.standard_error, systematic)), gaussians[sigma].mean, sigma, 2 * variance,
        curves, reproduced,
    )  # fmt: skip


def _limited(curves: dict[str, RingCorrelation], optical_px: float | None) -> dict[str, RingCorrelation]:
    """The denoised image is not finer than the optics, and finer outputs are not coarser than it.

    `optical_px` is the limit of the optics in pixels of the finest grid. Thresholds are stricter on finer grids.
    """
    denoised = curves["denoised"]
    fine = max(round(curve.frequencies.size / denoised.frequencies.size) for curve in curves.values())
    limit = denoised.resolution_px if optical_px is None else max(denoised.resolution_px, optical_px / fine)  # or NaN
    limited = {"denoised": replace(denoised, resolution_px=limit)}
    for name, curve in curves.items():
        grid = round(curve.frequencies.size / denoised.frequencies.size)
        coarsest = min(curve.resolution_px, limit * grid) if not np.isnan(limit) else curve.resolution_px
        limited.setdefault(name, replace(curve, resolution_px=coarsest))
    return limited


def optical_limit_px(psf: Array) -> float:
    """Period of the finest structure that a PSF ([Z,] Y, X) lets through in Y and X, in its pixels."""
    plane = psf.sum(axis=0) if psf.ndim == 3 else psf
    side = 4 * max(plane.shape)
    transfer = np.abs(np.fft.rfft2(plane, (side, side)))
    y, x = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)
    passed = np.hypot(y, x)[transfer > DARK * transfer[0, 0]]
    return float(1 / min(passed.max(), 0.5)) if passed.max() > 0 else float("inf")


def recorded_again(
    denoised: NDArray[np.generic], noise: NoiseModel, offset: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """What the camera records of an image without noise, counts above the offset; camera counts."""
    zero = -noise.constant / noise.gain
    electrons = rng.poisson(np.maximum((denoised.astype(np.float64) + offset - zero) / noise.gain, 0))
    return (electrons * noise.gain + zero).astype(np.float32)


def _reproduced(
    restore: Restore,
    counts: NDArray[np.generic],
    noise: NoiseModel,
    offset: float,
    window: Window,
    repeats: int,
    rng: np.random.Generator,
    pixel_size_um: float | None,
    z_step_um: float | None,
) -> dict[str, RingCorrelation]:
    """Curves of what is restored again from the result, turned or flipped; only flipped if Y and X differ."""
    first = restore(counts.astype(np.float32))
    ways = SYMMETRIES[: 8 if counts.shape[-1] == counts.shape[-2] else 4]
    again = []
    for repeat in range(repeats):
        way = ways[repeat % len(ways)]
        image = np.ascontiguousarray(way(recorded_again(first["denoised"], noise, offset, rng)))
        again.append({name: way.undone(result) for name, result in restore(image).items()})
    found = {}
    for name, result in first.items():
        fine = result.shape[-1] // counts.shape[-1]
        pixel_um = None if pixel_size_um is None else pixel_size_um / fine
        rings = Rings.of(result.shape, window, z_ratio(result.ndim, pixel_um, z_step_um))
        curve = np.mean([rings.correlation(result, other[name]) for other in again], axis=0)
        found[name] = _where_resolved(rings, curve, pixel_um, REPRODUCED[min(fine, 2)])
    return found


def _where_resolved(
    rings: Rings, curve: Array, pixel_size_um: float | None, threshold: float = THRESHOLD
) -> RingCorrelation:
    name = "√(1/7)" if threshold == THRESHOLD else f"{threshold:g}"
    return resolved(rings, curve, np.full(rings.count.size, threshold), name, pixel_size_um)


def _sigmas(axes: int) -> list[tuple[float, ...]]:
    """Of Gaussian filters; of volumes less along Z, where slices are further apart."""
    along_z = (0.0, 0.5, 1.0) if axes == 3 else ()
    return [(*((z * s,) if axes == 3 else ()), s, s) for s in SIGMAS_PX for z in along_z or (0.0,)]


def _of_half(noise: NoiseModel) -> NoiseModel:
    """The noise of an image with half the electrons, scaled to the same mean."""
    return replace(noise, gain=2 * noise.gain, constant=2 * noise.constant, floor=2 * noise.floor)


class _Products:
    """Means of (f - a) · (f - b) over blocks, added up."""

    def __init__(self, offset: float) -> None:
        self.offset, self.sums, self.count = offset, np.zeros(0), 0

    def add(self, result: NDArray[np.generic], unseen: tuple[Array, Array]) -> None:
        expected = result.astype(np.float64) + self.offset
        product = (expected - unseen[0]) * (expected - unseen[1])
        y, x = (slice(0, n - n % BLOCK) for n in product.shape[-2:])
        blocks = binned(product[..., y, x], BLOCK).ravel()
        self.sums = self.sums + blocks if self.count else blocks
        self.count += 1

    @property
    def mean(self) -> float:
        return float(self.sums.mean() / self.count)

    @property
    def standard_error(self) -> float:
        return float(self.sums.std() / self.count / np.sqrt(self.sums.size))


class _Spectra:
    """Ring sums of the spectra of two halves and of what is made of them."""

    def __init__(self, rings: Rings) -> None:
        self.rings, self.sums = rings, dict[tuple[str, str], Array]()

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self.sums))

    def add(self, first: Mapping[str, NDArray[np.generic]], second: Mapping[str, NDArray[np.generic]]) -> None:
        width = first["raw"].shape[-1]
        one, two = (
            {name: self.rings.spectrum(binned(image, image.shape[-1] // width)) for name, image in images.items()}
            for images in (first, second)
        )
        for name in one:
            for what, a, b in (
                ("unseen", one[name], two["raw"]), ("unseen", two[name], one["raw"]), ("both", one[name], two[name]),
                ("alone", one[name], one[name]), ("alone", two[name], two[name]),
            ):  # fmt: skip
                self.sums[name, what] = self.sums.get((name, what), np.zeros(())) + self.rings.cross(a, b)

    def correlation(self, name: str) -> Array:
        """With the sample, of the output for the whole image.

        The output of half the light has the power of what both halves give, and noise; the whole image has half of
        that noise.
        """
        unseen, alone, both = (self.sums[name, what] for what in ("unseen", "alone", "both"))
        power = (alone / 2 + both) / 2 * np.maximum(self.sums["raw", "both"], 0)
        correlation = np.divide(unseen / 2, np.sqrt(np.maximum(power, 0)), out=np.zeros_like(power), where=power > 0)
        return np.clip(correlation, -1, 1)


def _decibel(larger: float, smaller: float) -> float:
    return float(10 * np.log10(larger / smaller)) if smaller > 0 else float("inf")
