"""Counts in against counts out, over regions: does a result keep the light, in proportion, at every brightness?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zsd_optics.imaging import Array, Mask, check_finite, counted_pixels, grid_factor, noise_variance
from zsd_optics.noise_model import NoiseModel
from zsd_optics.pictures import binned
from zsd_runtime.errors import InputError, size_text

SIDE = 16  # pixels of the image
LARGEST_SIDE = 128
FEWEST = 16  # blocks
NOISE_SHARE = 0.01  # of the variance of the blocks' brightness: noise then flattens the slope by at most 1 %
COVERED = 0.5  # share of a block that must count


@dataclass(frozen=True)
class Linearity:
    """Mean brightness of blocks in a result against that in its image, with the line y = slope · x + intercept.

    Attributes
    ----------
    x, y : ndarray
        (blocks,), counts above the offset: of the image, and of the result.
    x_error : ndarray
        (blocks,), standard error of x by the noise of the camera.
    side : int
        Of the blocks, pixels of the image.
    slope, slope_error : float
        1 if light is kept in proportion; with its standard error.
    intercept, intercept_error : float
        Counts. 0 if dark stays dark.
    curvature, curvature_error : float
        c of y = a + b · x + c · x², 1 / counts; with its standard error.
    curvature_significance : float
        c in standard errors. Below about 3 the points lie on a line.
    bend : float
        How far the curve is from a line between its ends, as a share of the range of x: c · range / 4. Above 0 the
        middle is too dark.
    correlation : float
        Of x and y.
    flux : float
        Light of the result over that of the image, all blocks together and all other pixels that count; 1 if it is
        kept.
    flux_error : float
        One standard error by the noise of the camera. An error of the offset is not part of it.
    noisy : bool
        Noise is more than 1 % of the brightness' variance even in the largest blocks, so the slope is too small.
    """

    x: Array
    y: Array
    x_error: Array
    side: int
    slope: float
    slope_error: float
    intercept: float
    intercept_error: float
    curvature: float
    curvature_error: float
    curvature_significance: float
    bend: float
    correlation: float
    flux: float
    flux_error: float
    noisy: bool


def linearity(
    result: NDArray[np.generic],
    image: NDArray[np.generic],
    noise: NoiseModel,
    *,
    offset: float | None = None,
    result_offset: float = 0.0,
    side: int | None = None,
    mask: Mask | None = None,
) -> Linearity:
    """Compare the brightness of blocks in a result with that in its image.

    Standard errors are those of least squares whose scatter depends on brightness (White 1980, HC3). Blocks of a
    deconvolved result scatter more, as light moves across their borders.

    What it cannot see: what happens within a block, and light that was there before the camera's offset was taken away
    wrongly: an offset that is too small lowers the flux and moves the intercept.

    Parameters
    ----------
    result : ndarray
        (Y, X) or (Z, Y, X), denoised or deconvolved; Y and X may be finer than those of the image by a whole number.
        Counts above the offset, as zsd gives them.
    image : ndarray
        ([Z,] Y, X), raw counts, with the offset.
    noise : NoiseModel
        Of the image.
    offset : float
        Camera offset, counts; default: that of the noise model.
    result_offset : float
        Counts that the result has where it is dark: `offset` for a denoised file that kept it.
    side : int
        Of the blocks, pixels of the image; by default 16, or as many as the noise needs, up to 128.
    mask : ndarray of bool
        ([Z,] Y, X), True where a pixel of the image counts; a block counts if half of it does.

    Raises
    ------
    InputError
        When shapes do not fit, the image has no brightness that varies, values are not finite, the noise is 0, or there
        are fewer than 16 blocks.
    """
    out = binned(result.astype(np.float64), grid_factor(result.shape, image.shape)) - result_offset
    check_finite(out, "the result")
    used = counted_pixels(image, mask)
    level = image.astype(np.float64) - (noise.offset if offset is None else offset)
    variance = noise_variance(out + (noise.offset if offset is None else offset), noise)
    side = _side(level, variance, used) if side is None else side
    _check_side(side, image.shape)
    x, y, square = (_blocks(values, used, side) for values in (level, out, variance))
    if x.size < FEWEST:
        raise InputError(
            f"the image has {x.size} blocks of {side}x{side} pixels, and a line needs {FEWEST}",
            "give a smaller `side`, or a larger image", option="side",
        )  # fmt: skip
    x_error = np.sqrt(square / _pixels(used, side))
    if np.ptp(x) == 0:
        raise InputError(f"all blocks of the image have {x[0]:g} counts", "give one with structure")
    (intercept, slope), line = _least_squares(np.stack([np.ones_like(x), x], 1), y)
    (_, _, curvature), curve = _least_squares(np.stack([np.ones_like(x), x, x**2], 1), y)
    bent, light = float(curve[2]), float(level[used].sum())
    if not light > 0:
        raise InputError(f"the image has {light:g} counts above the offset", "check the `offset`", option="offset")
    return Linearity(
        x, y, x_error, side, float(slope), float(line[1]), float(intercept), float(line[0]),
        float(curvature), bent, abs(float(curvature)) / bent if bent > 0 else 0.0, float(curvature * np.ptp(x) / 4),
        _correlation(x, y), float(out[used].sum()) / light, float(np.sqrt(variance[used].sum())) / light,
        bool(np.mean(x_error**2) > NOISE_SHARE * x.var()),
    )  # fmt: skip


def _side(level: Array, variance: Array, used: Mask) -> int:
    """The smallest side, from `SIDE` on, in whose blocks noise hardly matters; or the largest that leaves enough."""
    side = SIDE
    while side > 1 and _pixels(used, side).size < FEWEST:
        side //= 2
    while side < LARGEST_SIDE:
        x = _blocks(level, used, side)
        noise = _blocks(variance, used, side) / _pixels(used, side)
        if noise.mean() <= NOISE_SHARE * x.var() or _pixels(used, 2 * side).size < FEWEST:
            break
        side *= 2
    return side


def _check_side(side: int, shape: tuple[int, ...]) -> None:
    if not 1 <= side <= min(shape[-2:]):
        raise InputError(
            f"blocks of {side} pixels do not fit into {size_text(shape)}", "for instance 16", option="side"
        )


def _blocks(values: Array, used: Mask, side: int) -> Array:
    """(blocks,), means of the pixels that count, of each block that counts."""
    share = _shares(used, side)
    inside = share >= COVERED
    return _shares(np.where(used, values, 0), side)[inside] / share[inside]  # type: ignore[no-any-return]


def _pixels(used: Mask, side: int) -> Array:
    """(blocks,), how many pixels count in each block that counts."""
    share = _shares(used, side)
    return share[share >= COVERED] * side**2  # type: ignore[no-any-return]


def _shares(values: NDArray[np.generic], side: int) -> Array:
    """Means over whole blocks; what is left at the far edges does not count."""
    y, x = (n // side * side for n in values.shape[-2:])
    return binned(values[..., :y, :x].astype(np.float64), side)


def _least_squares(design: Array, y: Array) -> tuple[Array, Array]:
    """Coefficients, and their standard errors for a scatter that differs from point to point (HC3)."""
    # Columns of one size: x² of bright images would drown the others.
    scale = np.sqrt(np.mean(design**2, axis=0))
    scaled = design / scale
    inverse = np.linalg.pinv(scaled.T @ scaled)
    coefficients = inverse @ scaled.T @ y
    leverage = np.einsum("ij,jk,ik->i", scaled, inverse, scaled)
    left = (y - scaled @ coefficients) / np.maximum(1 - leverage, 1e-6)
    covariance = inverse @ (scaled.T * left**2) @ scaled @ inverse
    return coefficients / scale, np.sqrt(np.diag(covariance)) / scale


def _correlation(x: Array, y: Array) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if np.ptp(y) > 0 else 0.0
