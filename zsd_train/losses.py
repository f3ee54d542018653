"""Losses of ZS-DeconvNet: pure functions of tensors, equation numbers of its paper's principle page."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

# Sample-wise spectra of the PSF: complex (N or 1, 1, [Z,] Y, X // 2 + 1), for images of ([Z,] Y, X).
OTF = Tensor


def otf_of(psf: Tensor, shape: tuple[int, ...]) -> OTF:
    """Spectrum of a centred, odd-sized PSF (..., [z,] y, x) for images of `shape` ([Z,] Y, X), which must hold it."""
    axes = tuple(range(-len(shape), 0))
    size = psf.shape[-len(shape) :]
    padded = psf.new_zeros(*psf.shape[: -len(shape)], *shape)
    padded[_box((0, n) for n in size)] = psf
    return torch.fft.rfftn(padded.roll([-(n // 2) for n in size], dims=axes), dim=axes)


def blur(image: Tensor, otf: OTF) -> Tensor:
    """``image ∗ PSF`` by FFT; (N, 1, [Z,] Y, X). It wraps around: a rim as wide as the PSF's radius is not valid."""
    axes = tuple(range(2, image.ndim))
    return torch.fft.irfftn(torch.fft.rfftn(image, dim=axes) * otf, s=image.shape[2:], dim=axes)


def downsample(image: Tensor, factor: int) -> Tensor:
    """↓ of eq. 6: the mean over factor × factor pixels in Y and X, which for 2 is the published bilinear resize."""
    if factor == 1:
        return image
    if image.ndim == 4:
        return torch.nn.functional.avg_pool2d(image, factor)
    return torch.nn.functional.avg_pool3d(image, (1, factor, factor))


def crop(image: Tensor, margin: int | tuple[int, ...]) -> Tensor:
    """Leave `margin` pixels out at both ends of Y and X, or of as many of the last axes as numbers are given."""
    margins = (margin, margin) if isinstance(margin, int) else margin
    return image[_box((m, n - m) for m, n in zip(margins, image.shape[-len(margins) :], strict=True))]


def data_term(prediction: Tensor, target: Tensor, *, squared: bool, weight: Tensor | None = None) -> Tensor:
    """Mean of the absolute or squared difference; `weight` (same shape, 0..1) says which pixels count."""
    difference = prediction - target
    error = difference.square() if squared else difference.abs()
    return error.mean() if weight is None else (error * weight).sum() / weight.sum().clamp(min=1)


def reblurred(deconvolved: Tensor, otf: OTF, upsample: int, margin: int | tuple[int, ...]) -> Tensor:
    """``(deconvolved ∗ PSF)↓`` of eq. 6 and 9, on the raw grid, with `margin` raw pixels cropped at both ends."""
    return crop(downsample(blur(deconvolved, otf), upsample), margin)


def gap_amended(prediction: Tensor, target: Tensor, gap: Tensor, *, squared: bool) -> Tensor:
    """The gap-aware term of eq. 8 and 9: slices that are compared lie one apart, and `gap` is what that changes.

    gap : G = S_odd(f(z)) − S_even(f(z)) of the denoised whole stack, without gradient.
    """
    return data_term(prediction, target + gap, squared=squared)


def hessian(image: Tensor) -> Tensor:
    """R_Hessian of eq. 6 and 9: Σ over all ordered pairs of axes of mean(second difference²); in 2D, half of that."""
    axes = range(2, image.ndim)
    pairs = [(a, b) for a in axes for b in axes if a <= b]
    terms = [(1 if a == b else 2) * image.diff(dim=a).diff(dim=b).square().mean() for a, b in pairs]
    return torch.stack(terms).sum() * (0.5 if image.ndim == 4 else 1)


def total_variation(image: Tensor) -> Tensor:
    """Σ over x, y of ½·mean(first difference²), the published code's TV term."""
    return 0.5 * (image.diff(dim=-2).square().mean() + image.diff(dim=-1).square().mean())


def _box(ranges: Iterable[tuple[int, int]]) -> Any:
    """An index into the last axes."""
    return (..., *(slice(low, high) for low, high in ranges))
