"""Losses of ZS-DeconvNet: pure functions of tensors, equation numbers of its paper's principle page."""

import torch
from torch import Tensor

# Sample-wise spectra of the PSF: complex (N or 1, 1, Y, X // 2 + 1), for images of (Y, X).
OTF = Tensor


def otf_of(psf: Tensor, shape: tuple[int, int]) -> OTF:
    """Spectrum of a centred, odd-sized PSF (..., y, x) for images of `shape` (Y, X), which must hold it."""
    y, x = psf.shape[-2:]
    padded = psf.new_zeros(*psf.shape[:-2], *shape)
    padded[..., :y, :x] = psf
    return torch.fft.rfft2(padded.roll((-(y // 2), -(x // 2)), dims=(-2, -1)))


def blur(image: Tensor, otf: OTF) -> Tensor:
    """``image ∗ PSF`` by FFT; (N, 1, Y, X). It wraps around: a rim as wide as the PSF's radius is not valid."""
    return torch.fft.irfft2(torch.fft.rfft2(image) * otf, s=image.shape[-2:])


def downsample(image: Tensor, factor: int) -> Tensor:
    """↓ of eq. 6: the mean over factor × factor pixels, which for 2 is the published bilinear resize."""
    return torch.nn.functional.avg_pool2d(image, factor) if factor > 1 else image


def crop(image: Tensor, margin: int) -> Tensor:
    """Leave `margin` pixels out on every side of (N, C, Y, X)."""
    return image[..., margin : image.shape[-2] - margin, margin : image.shape[-1] - margin]


def data_term(prediction: Tensor, target: Tensor, *, squared: bool, weight: Tensor | None = None) -> Tensor:
    """Mean of the absolute or squared difference; `weight` (same shape, 0..1) says which pixels count."""
    difference = prediction - target
    error = difference.square() if squared else difference.abs()
    return error.mean() if weight is None else (error * weight).sum() / weight.sum().clamp(min=1)


def reblurred(deconvolved: Tensor, otf: OTF, upsample: int, margin: int) -> Tensor:
    """``(deconvolved ∗ PSF)↓`` of eq. 6, on the raw grid, with `margin` raw pixels cropped on every side."""
    return crop(downsample(blur(deconvolved, otf), upsample), margin)


def hessian(image: Tensor) -> Tensor:
    """R_Hessian of eq. 6: Σ over xx, yy, xy, yx of ½·mean(second difference²)."""
    dy, dx = image.diff(dim=-2), image.diff(dim=-1)
    straight = dy.diff(dim=-2).square().mean() + dx.diff(dim=-1).square().mean()
    mixed = dy.diff(dim=-1).square().mean()  # xy and yx are the same numbers
    return 0.5 * straight + mixed


def total_variation(image: Tensor) -> Tensor:
    """Σ over x, y of ½·mean(first difference²), the published code's TV term."""
    return 0.5 * (image.diff(dim=-2).square().mean() + image.diff(dim=-1).square().mean())
