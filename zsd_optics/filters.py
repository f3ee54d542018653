"""Classical filters: Gaussian, median, box, Wiener and Richardson–Lucy, for planes and volumes."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.fft import irfftn, next_fast_len, rfftn

from zsd_optics.pictures import binned, enlarged
from zsd_runtime.errors import InputError

Array = NDArray[Any]


@dataclass(frozen=True)
class Filter:
    """What is done to each plane or volume of an image; `zsd_optics.planewise` applies it to a file.

    Parameters
    ----------
    function : callable
        Takes and returns (Y, X), or (Z, Y, X) if `volumes`.
    volumes : bool
        Whether it needs slices together.
    reach : int or None
        How many slices to either side change the result of a slice; None: all of them.
    grid_factor : int
        How much finer the result is in Y and X.
    """

    function: Callable[[Array], Array]
    volumes: bool = False
    reach: int | None = 0
    grid_factor: int = 1


def gaussian(*sigma_px: float) -> Filter:
    """Gaussian filter, cut at 4 σ, reflected at the borders; float32.

    One σ (pixels) filters each plane by itself; two, for Z and for Y and X, filter volumes.
    """
    for sigma in sigma_px:
        if not 0 < sigma < 100:
            raise InputError(f"sigma {sigma:g} px must be above 0 and below 100 pixels")
    sigmas = per_axis(sigma_px)
    reach = int(4 * sigmas[0] + 0.5)  # scipy's own radius
    return Filter(lambda x: ndi.gaussian_filter(x, sigmas, output=np.float32), len(sigmas) == 3, reach)


def median(*size_px: float) -> Filter:
    """Median over boxes of odd `size_px`, float32: one number for Y and X, or two, for Z and for Y and X."""
    sizes = _odd(size_px)
    return Filter(lambda x: ndi.median_filter(x, sizes, output=np.float32), len(sizes) == 3, sizes[0] // 2)


def box(*size_px: float) -> Filter:
    """Mean over boxes of odd `size_px`, float32: one number for Y and X, or two, for Z and for Y and X."""
    sizes = _odd(size_px)
    return Filter(lambda x: ndi.uniform_filter(x, sizes, output=np.float32), len(sizes) == 3, sizes[0] // 2)


def richardson_lucy(signal: Array, psf: Array, grid_factor: int, iterations: int, tv: float = 0.0) -> Iterator[Array]:
    """Richardson–Lucy deconvolution (Richardson 1972, Lucy 1974), yielded after each iteration.

    The forward model is that of eq. 6: blur, then the mean over ``grid_factor``² pixels. With `tv`, each iteration
    also divides by 1 − tv · div(∇x / |∇x|) (Dey et al. 2006, eq. 12), which takes away small steps and leaves edges.

    Parameters
    ----------
    signal : ndarray
        ([Z,] Y, X), counts above the camera offset. Negative values count as 0; the image is reflected at its borders.
    psf : ndarray
        ([Z,] Y, X), odd-sized, sums to 1, on the grid of the result.
    grid_factor : int
        How much finer the result is in Y and X.
    iterations : int
        How many estimates to yield.
    tv : float
        Weight of the total variation; 0.01 to 0.2 are usual, 0 is none.

    Yields
    ------
    ndarray
        float32 ([Z,] grid_factor · Y, grid_factor · X).

    Raises
    ------
    InputError
        When `tv` is so large that the divisor could become 0 or negative.
    """
    _check_tv(tv, signal.ndim)
    observed, otf, cut = _padded(np.clip(signal, 0, None), psf, grid_factor)
    shape = (*observed.shape[:-2], *(n * grid_factor for n in observed.shape[-2:]))

    def blurred(x: Array, spectrum: Any) -> Array:
        return irfftn(rfftn(x, workers=-1) * spectrum, s=shape, workers=-1)

    def forward(x: Array) -> Array:
        return binned(blurred(x, otf), grid_factor)

    def transpose(y: Array) -> Array:
        return blurred(enlarged(y, grid_factor), otf.conj())

    weight = np.maximum(transpose(np.ones_like(observed)), 1e-9)
    estimate = np.full(shape, max(observed.mean(), 1e-9), np.float32)
    for _ in range(iterations):
        plain = estimate * np.clip(transpose(observed / np.maximum(forward(estimate), 1e-9)), 0, None) / weight
        if tv:
            # Smaller steps are noise that the factor would turn round in each iteration: diffusion with a step of
            # 1 / (2 axes) is the fastest that is stable.
            smallest = 2 * signal.ndim * tv * estimate + 1e-9
            smooth = plain / (1 - tv * curvature(estimate, smallest))
            # Dey's factor alone does not keep the light.
            smooth *= (weight * plain).sum(dtype=np.float64) / max((weight * smooth).sum(dtype=np.float64), 1e-9)
            plain = smooth.astype(np.float32)
        estimate = plain
        yield estimate[cut]


def curvature(image: Array, smallest: Array | float) -> Array:
    """div(∇x / |∇x|) of an image ([Z,] Y, X), in pixels: negative on peaks, positive in dips; no flow at borders.

    Steps far below `smallest` (a number, or one for each pixel) have no direction: |∇x| is √(∇x² + smallest²). The
    result is within ± (n + √n) for n axes: each component of the unit vector is at most 1, those at one pixel together
    √n.
    """
    steps = [np.diff(image, axis=axis, append=image.take([-1], axis)) for axis in range(image.ndim)]
    length = np.sqrt(sum(step**2 for step in steps) + smallest**2)
    flows = [step / length for step in steps]
    return sum(np.diff(flow, axis=axis, prepend=0) for axis, flow in enumerate(flows))  # type: ignore[return-value]


def wiener(signal: Array, psf: Array, noise_ratio: float) -> Array:
    """Wiener deconvolution (Wiener 1949) for white noise and a white object; flux is conserved.

    Parameters
    ----------
    signal : ndarray
        ([Z,] Y, X), counts above the camera offset; the image is reflected at its borders.
    psf : ndarray
        ([Z,] Y, X), odd-sized, sums to 1, on the same grid.
    noise_ratio : float
        Power of the noise over that of the object; a larger one gives a smoother result.

    Returns
    -------
    ndarray
        float32, the shape of `signal`.
    """
    observed, otf, cut = _padded(signal, psf, 1)
    inverse = otf.conj() * (1 + noise_ratio) / (np.abs(otf) ** 2 + noise_ratio)
    return irfftn(rfftn(observed, workers=-1) * inverse, s=observed.shape, workers=-1)[cut]


def iterative_filter(psf: Array, offset: float, iterations: int = 20, grid_factor: int = 1, tv: float = 0.0) -> Filter:
    """`richardson_lucy` after so many iterations, as a filter of images in camera counts with `offset`."""

    def function(counts: Array) -> Array:
        signal = counts.astype(np.float32) - offset
        return deque(richardson_lucy(signal, psf, grid_factor, iterations, tv), maxlen=1)[0]

    if iterations < 1:
        raise InputError(f"iterations {iterations} must be 1 or above", "for instance 20", option="iterations")
    if grid_factor not in (1, 2):
        raise InputError(f"grid factor {grid_factor} must be 1 or 2", option="grid_factor")
    _check_tv(tv, psf.ndim)
    return Filter(function, psf.ndim == 3, None, grid_factor)


def inverse_filter(psf: Array, offset: float, noise_ratio: float = 0.01) -> Filter:
    """`wiener` as a filter of images in camera counts with `offset`."""
    if not 0 < noise_ratio < np.inf:
        raise InputError(f"noise ratio {noise_ratio:g} must be above 0, for instance 0.01")
    return Filter(lambda counts: wiener(counts.astype(np.float32) - offset, psf, noise_ratio), psf.ndim == 3, None)


def _padded(signal: Array, psf: Array, grid_factor: int) -> tuple[Array, Array, tuple[slice, ...]]:
    """The signal continued by reflection, the OTF on its fine grid, and where the image lies on that grid."""
    pad = [n // 2 + 1 for n in psf.shape[:-2]] + [-(-n // 2 // grid_factor) + 1 for n in psf.shape[-2:]]
    fine = [grid_factor if axis >= signal.ndim - 2 else 1 for axis in range(signal.ndim)]
    # A little more padding where that makes the FFT fast.
    sizes = [next_fast_len(n + 2 * p, real=True) for n, p in zip(signal.shape, pad, strict=True)]
    after = [size - n - p for size, n, p in zip(sizes, signal.shape, pad, strict=True)]
    observed = np.pad(signal, [*zip(pad, after, strict=True)], mode="reflect").astype(np.float32)
    centred = np.zeros([n * k for n, k in zip(observed.shape, fine, strict=True)], np.float32)
    centred[tuple(slice(n) for n in psf.shape)] = psf
    otf = rfftn(np.roll(centred, [-(n // 2) for n in psf.shape], range(psf.ndim)), workers=-1)
    return observed, otf, tuple(slice(p * k, (p + n) * k) for p, n, k in zip(pad, signal.shape, fine, strict=True))


def _check_tv(weight: float, axes: int) -> None:
    bound = 1 / (axes + axes**0.5)  # see `curvature`
    if not 0 <= weight < bound:
        raise InputError(
            f"`tv` {weight:g} must be 0 or above and below {bound:.2f}, so that no pixel is divided by 0",
            "0.01 to 0.2 are usual", option="tv",
        )  # fmt: skip


def per_axis(sizes: tuple[Any, ...]) -> tuple[Any, ...]:
    """From (s,) to (s, s) for Y, X; from (z, s) to (z, s, s)."""
    return (*sizes, sizes[-1])


def _odd(size_px: tuple[float, ...]) -> tuple[int, ...]:
    if any(n < 1 or n % 2 != 1 for n in size_px):
        given = "x".join(f"{n:g}" for n in size_px)
        raise InputError(f"size {given} must be odd, so that a box has a middle pixel", "for instance 3", option="size")
    return per_axis(tuple(map(int, size_px)))
