"""What light does between the restored image and what it is compared with: operators that compose.

Each takes an image and the orientation of its samples, and gives an image. `light_path` puts together those of eq. 6:
blur by the PSF, average over the camera's pixels, leave the margin out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from zsd_train.defaults import Shape

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


def upsampled(x: Tensor, factor: int) -> Tensor:
    """(N, C, [Z,] Y, X) -> (N, C, [Z,] factor · Y, factor · X), nearest neighbour."""
    scale = [1.0] * (x.ndim - 4) + [float(factor)] * 2
    return torch.nn.functional.interpolate(x, scale_factor=scale, mode="nearest")


def smoothly_upsampled(x: Tensor, factor: int) -> Tensor:
    """(N, C, [Z,] Y, X) -> (N, C, [Z,] factor · Y, factor · X), linear between the pixels' middles."""
    scale = [1.0] * (x.ndim - 4) + [float(factor)] * 2
    mode = "bilinear" if x.ndim == 4 else "trilinear"
    return torch.nn.functional.interpolate(x, scale_factor=scale, mode=mode, align_corners=False)


def shuffled(x: Tensor, factor: int) -> Tensor:
    """(N, factor² · C, [Z,] Y, X) -> (N, C, [Z,] factor · Y, factor · X): numbers of a pixel become finer pixels."""
    if x.ndim == 4:
        return torch.nn.functional.pixel_shuffle(x, factor)
    planes = torch.nn.functional.pixel_shuffle(x.transpose(1, 2), factor)
    return planes.transpose(1, 2)


def crop(image: Tensor, margin: int | tuple[int, ...]) -> Tensor:
    """Leave `margin` pixels out at both ends of Y and X, or of as many of the last axes as numbers are given."""
    margins = (margin, margin) if isinstance(margin, int) else margin
    return image[_box((m, n - m) for m, n in zip(margins, image.shape[-len(margins) :], strict=True))]


class Operator(Protocol):
    """From (N, 1, [Z,] Y, X) and the symmetry (0..7) by which each sample was turned, (N,), to an image."""

    def __call__(self, image: Tensor, orientation: Tensor) -> Tensor:
        """Apply."""


class Blur:
    """``image ∗ PSF`` on the fine grid, by a PSF that is turned as its sample was.

    Where the margin is narrower than the PSF, light from beyond the patch is missing. Dividing by the share of the PSF
    that lies inside makes up for it (normalised convolution, Knutsson and Westin 1993).

    Parameters
    ----------
    psf : Tensor
        ([z,] y, x), odd-sized, sum 1.
    size, margin : tuple of int
        Pixels of the image, and of its margin, which will be cropped.
    symmetries : int
        Samples are turned by the first so many of `dihedral`.
    """

    def __init__(self, psf: Tensor, size: Shape, margin: Shape, symmetries: int = 8) -> None:
        self.missing = tuple(max(0, n // 2 - m) for n, m in zip(psf.shape, margin, strict=True))
        self.padding = [n for m in reversed(self.missing) for n in (m, m)]
        padded = tuple(n + 2 * m for n, m in zip(size, self.missing, strict=True))
        self.otfs = torch.stack([otf_of(dihedral(psf, k), padded) for k in range(symmetries)])[:, None]
        inside = self._blurred(psf.new_ones(1, 1, *size), self.otfs) if any(self.missing) else None
        self.share = None if inside is None else inside.clamp(min=1e-3)

    def __call__(self, image: Tensor, orientation: Tensor) -> Tensor:
        """The same shape."""
        image = self._blurred(image, self.otfs[orientation])
        return image if self.share is None else image / self.share[orientation]

    def _blurred(self, image: Tensor, otfs: OTF) -> Tensor:
        return crop(blur(torch.nn.functional.pad(image, self.padding), otfs), self.missing)


@dataclass(frozen=True)
class Bin:
    """↓ of eq. 6: the mean over the fine pixels of each camera pixel."""

    factor: int

    def __call__(self, image: Tensor, orientation: Tensor) -> Tensor:  # noqa: ARG002, D102
        return downsample(image, self.factor)


@dataclass(frozen=True)
class Forward:
    """Operators one after the other, and then `margin` pixels cropped."""

    operators: tuple[Operator, ...]
    margin: Shape

    def __call__(self, image: Tensor, orientation: Tensor) -> Tensor:  # noqa: D102
        for operator in self.operators:
            image = operator(image, orientation)
        return crop(image, self.margin)


def light_path(psf: Tensor, size: Shape, margin: Shape, grid_factor: int, symmetries: int = 8) -> Forward:
    """``(deconvolved ∗ PSF)↓`` of eq. 6 and 9 for patches of one size. What is expensive is done once.

    Parameters
    ----------
    psf : Tensor
        ([z,] y, x) on the deconvolved grid, odd-sized, sum 1.
    size, margin : tuple of int
        Raw pixels of a patch with its margin, and of the margin.
    grid_factor, symmetries : int
    """
    fine = [grid_factor if i >= len(size) - 2 else 1 for i in range(len(size))]
    fine_size, fine_margin = (tuple(n * k for n, k in zip(lengths, fine, strict=True)) for lengths in (size, margin))
    return Forward((Blur(psf, fine_size, fine_margin, symmetries), Bin(grid_factor)), margin)


class WienerFilter:
    """The filter H/(H² + ε²) for residuals, where H is the contrast that a PSF leaves of each spatial frequency.

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
    contrast_floor : float
        ε.
    """

    def __init__(self, psf: Tensor, size: tuple[int, ...], grid_factor: int, contrast_floor: float) -> None:
        # On the raw grid; where the PSF is larger than the residual, folded, as its frequencies ask for.
        fine = [grid_factor if i >= len(size) - 2 else 1 for i in range(len(size))]
        places = [(torch.arange(n, device=psf.device) // k) % m for n, k, m in zip(psf.shape, fine, size, strict=True)]
        index = torch.meshgrid(*places, indexing="ij")
        binned = psf.new_zeros(size).index_put_(index, psf, accumulate=True)
        self.axes = tuple(range(-len(size), 0))
        contrast = torch.fft.fftn(binned).abs()
        gain = contrast / (contrast.square() + contrast_floor**2)
        gain = gain / gain.square().mean().sqrt()  # white noise keeps its variance
        self.gain = gain[..., : size[-1] // 2 + 1]

    def __call__(self, residual: Tensor) -> Tensor:
        """The same shape, (N, 1, [Z,] Y, X)."""
        size = residual.shape[2:]
        return torch.fft.irfftn(torch.fft.rfftn(residual, dim=self.axes) * self.gain, s=size, dim=self.axes)


def dihedral(image: Tensor, k: int) -> Tensor:
    """Symmetry ``k`` (0..7) of the square on the last two axes, exact: turn by 90° k % 4 times, mirror if k > 3."""
    turned = torch.rot90(image, k % 4, (-2, -1))
    return turned.flip(-1) if k > 3 else turned


def _box(ranges: Iterable[tuple[int, int]]) -> Any:
    """An index into the last axes."""
    return (..., *(slice(low, high) for low, high in ranges))
