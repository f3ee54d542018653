"""Blocks of an image without their polynomials, and what is left of the covariance of their noise.

Mean products of residuals depend linearly on the covariances of the noise at all distances (`measured_products`).
"""

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float64]


def blocks(image: Array, reach: int) -> Array:
    """Blocks (rows, columns, Y, X) of four times the reach, which overlap by half."""
    side, step = 4 * reach, 2 * reach
    return sliding_window_view(image, (side, side))[::step, ::step]


def usable_blocks(usable: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Whether all pixels of a block (rows, columns) are usable."""
    whole: NDArray[np.bool_] = blocks(usable.astype(np.float64), reach).min(axis=(2, 3)) > 0
    return whole


def detrended(pixels: Array) -> tuple[Array, Array]:
    """Blocks without their quadratic polynomials, and the polynomials' coefficients without the mean."""
    side = pixels.shape[-1]
    flat = pixels.reshape(*pixels.shape[:2], -1)
    coefficients = flat @ polynomials(side)
    residual = flat - coefficients @ polynomials(side).T
    return residual.reshape(pixels.shape), coefficients[..., 1:]


@cache
def polynomials(side: int) -> Array:
    """Orthonormal polynomials (pixels, 6) up to x², xy, y²; the first is constant."""
    y, x = np.mgrid[:side, :side] / (side - 1) * 2 - 1
    powers = np.stack([x**i * y**j for i in range(3) for j in range(3 - i)], axis=-1)
    return np.linalg.qr(powers.reshape(side**2, 6))[0]


def distances(reach: int) -> list[tuple[int, int]]:
    """Half of the distances (y, x) within reach; the others have the same covariance. (0, 0) is the first."""
    return [(y, x) for y in range(reach + 1) for x in range(-reach, reach + 1) if (y, x) >= (0, 0)]


def mean_products(residual: Array, reach: int) -> Array:
    """Mean products of residuals (N, Y, X) at each distance, (N, distances)."""
    side = residual.shape[-1]
    means = [
        np.einsum(
            "nyx,nyx->n",
            residual[:, : side - y, max(0, -x) : side - max(0, x)],
            residual[:, y:, max(0, x) : side + min(0, x)],
        )
        / ((side - y) * (side - abs(x)))
        for y, x in distances(reach)
    ]
    return np.stack(means, axis=1)


@cache
def measured_products(reach: int) -> Array:
    """Mean products of residuals (rows) for a covariance of 1 at each distance (columns).

    Residuals are (1 − QQᵀ)n with Q the polynomials, so their covariance is (1 − QQᵀ) T (1 − QQᵀ) with T that of the
    noise. The trace of its product with a shift needs only shifted polynomials, not matrices of pixels by pixels.
    """
    side, steps = 4 * reach, distances(reach)
    basis = polynomials(side).T.reshape(6, side, side)

    def shifted(y: int, x: int) -> Array:
        moved = np.zeros_like(basis)
        here = np.s_[:, max(0, -y) : side - max(0, y), max(0, -x) : side - max(0, x)]
        moved[here] = basis[:, max(0, y) : side + min(0, y), max(0, x) : side + min(0, x)]
        return moved

    forward = np.stack([shifted(y, x) for y, x in steps]).reshape(len(steps), -1)
    backward = np.stack([shifted(-y, -x) for y, x in steps]).reshape(len(steps), -1)
    both = forward + backward
    both[0] = forward[0]  # the distance 0 has no opposite

    def seen(moved: Array) -> Array:
        """Qᵀ S Q for each shift S."""
        return (moved.reshape(len(steps), 6, -1) @ basis.reshape(6, -1).T).reshape(len(steps), -1)

    pairs = np.array([(side - y) * (side - abs(x)) for y, x in steps], np.float64)
    traces = np.diag(pairs) - (forward + backward) @ both.T + seen(forward) @ seen(both).T
    return traces / pairs[:, None]
