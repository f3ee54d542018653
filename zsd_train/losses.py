"""Losses of ZS-DeconvNet: pure functions of tensors, equation numbers of its paper's principle page."""

from collections.abc import Callable, Iterable
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


def data_term(
    prediction: Tensor,
    target: Tensor,
    *,
    squared: bool,
    weight: Tensor | None = None,
    filtered: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Mean of the absolute or squared difference.

    `weight` (same shape, 0 or 1) says which pixels count; `filtered` is a linear filter of the difference.
    """
    difference = prediction - target
    if weight is not None:
        difference = difference * weight
    if filtered is not None:
        difference = filtered(difference)
    error = difference.square() if squared else difference.abs()
    return error.mean() if weight is None else error.sum() / weight.sum().clamp(min=1)


class WienerFilter:
    """The filter H/(H² + ε²) for residuals; H is the contrast that a PSF leaves of each spatial frequency.

    A residual ``deconvolved ∗ PSF − target`` says little of fine detail, which the PSF has weakened: gradient descent
    on its square finds detail last, after more steps than there is time for. Filtered, it is the difference of the
    deconvolved image and a Wiener deconvolution of the target, in which frequencies of H > ε count alike. The noise of
    the target is independent of the prediction, so the minimum stays where it was; only the way there is shorter.

    Parameters
    ----------
    psf : Tensor
        ([z,] y, x) on the deconvolved grid, sum 1.
    size : tuple of int
        Raw pixels of a residual.
    grid_factor : int
    weakest : float
        ε.
    """

    def __init__(self, psf: Tensor, size: tuple[int, ...], grid_factor: int, weakest: float) -> None:
        # On the raw grid; where the PSF is larger than the residual, folded, as its frequencies ask for.
        fine = [grid_factor if i >= len(size) - 2 else 1 for i in range(len(size))]
        places = [(torch.arange(n, device=psf.device) // k) % m for n, k, m in zip(psf.shape, fine, size, strict=True)]
        index = torch.meshgrid(*places, indexing="ij")
        binned = psf.new_zeros(size).index_put_(index, psf, accumulate=True)
        self.axes = tuple(range(-len(size), 0))
        contrast = torch.fft.fftn(binned).abs()
        gain = contrast / (contrast.square() + weakest**2)
        gain = gain / gain.square().mean().sqrt()  # white noise keeps its variance
        self.gain = gain[..., : size[-1] // 2 + 1]

    def __call__(self, residual: Tensor) -> Tensor:
        """The same shape, (N, 1, [Z,] Y, X)."""
        size = residual.shape[2:]
        return torch.fft.irfftn(torch.fft.rfftn(residual, dim=self.axes) * self.gain, s=size, dim=self.axes)


class Reblur:
    """``(deconvolved ∗ PSF)↓`` of eq. 6 and 9 for patches of one size: what is expensive is done once.

    Where the margin is narrower than the PSF, light from beyond the patch is missing. It is made up for by dividing by
    the share of the PSF that lies inside (normalised convolution, Knutsson and Westin 1993).

    Parameters
    ----------
    psf : Tensor
        ([z,] y, x) on the deconvolved grid, odd-sized, sum 1.
    size, margin : tuple of int
        Raw pixels of a patch with its margin, and of the margin, which is cropped.
    grid_factor, symmetries : int
        Patches are turned by the first so many of `dihedral`.
    """

    def __init__(
        self, psf: Tensor, size: tuple[int, ...], margin: tuple[int, ...], grid_factor: int, symmetries: int = 8
    ) -> None:
        self.margin, self.grid_factor = margin, grid_factor
        fine = [grid_factor if i >= len(size) - 2 else 1 for i in range(len(size))]
        missing = [max(0, n // 2 - k * m) for n, k, m in zip(psf.shape, fine, margin, strict=True)]
        self.padding = [n for m in reversed(missing) for n in (m, m)]
        self.outside = tuple(missing)
        padded = tuple(n * k + 2 * m for n, k, m in zip(size, fine, missing, strict=True))
        self.otfs = torch.stack([otf_of(dihedral(psf, k), padded) for k in range(symmetries)])[:, None]
        ones = psf.new_ones(1, 1, *(n * k for n, k in zip(size, fine, strict=True)))
        self.share = self._blurred(ones, self.otfs).clamp(min=1e-3) if any(missing) else None

    def __call__(self, deconvolved: Tensor, orientation: Tensor) -> Tensor:
        """From (N, 1, [Z,] kY, kX), each blurred by the PSF turned as its patch was, to (N, 1, [z,] y, x)."""
        image = self._blurred(deconvolved, self.otfs[orientation])
        if self.share is not None:
            image = image / self.share[orientation]
        return crop(downsample(image, self.grid_factor), self.margin)

    def _blurred(self, image: Tensor, otfs: OTF) -> Tensor:
        return crop(blur(torch.nn.functional.pad(image, self.padding), otfs), self.outside)


def hessian(image: Tensor) -> Tensor:
    """R_Hessian of eq. 6 and 9: Σ over all ordered pairs of axes of mean(second difference²); in 2D, half of that."""
    axes = range(2, image.ndim)
    pairs = [(a, b) for a in axes for b in axes if a <= b]
    terms = [(1 if a == b else 2) * image.diff(dim=a).diff(dim=b).square().mean() for a, b in pairs]
    return torch.stack(terms).sum() * (0.5 if image.ndim == 4 else 1)


def dihedral(image: Tensor, k: int) -> Tensor:
    """Symmetry ``k`` (0..7) of the square on the last two axes, exact: turn by 90° k % 4 times, mirror if k > 3."""
    turned = torch.rot90(image, k % 4, (-2, -1))
    return turned.flip(-1) if k > 3 else turned


def total_variation(image: Tensor) -> Tensor:
    """Σ over x, y of ½·mean(first difference²), the published code's TV term."""
    return 0.5 * (image.diff(dim=-2).square().mean() + image.diff(dim=-1).square().mean())


def _box(ranges: Iterable[tuple[int, int]]) -> Any:
    """An index into the last axes."""
    return (..., *(slice(low, high) for low, high in ranges))
