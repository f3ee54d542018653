"""Checked against numbers that the published TensorFlow code gave (reference/losses.json)."""

import json

import numpy as np
import pytest
import torch

from tests.conftest import SHARED, needs_shared
from zsd_train.forward import WienerFilter, blur, crop, downsample, light_path, otf_of
from zsd_train.objective import data_term, hessian, total_variation


@needs_shared("reference")
@pytest.mark.parametrize("squared", [0, 1])
@pytest.mark.parametrize("tv", [0, 0.01])
@pytest.mark.parametrize("hess", [0, 0.02])
def test_published_2d_losses(squared, tv, hess):
    arrays = np.load(SHARED / "reference/loss_2d.npz")
    pred, target = (torch.tensor(arrays[k]).movedim(-1, 1) for k in ("pred", "target"))
    psf = torch.tensor(arrays["psf"]).squeeze()
    size = tuple(n // 2 for n in pred.shape[-2:])
    blurred = light_path(psf, size, (4, 4), grid_factor=2)(pred, torch.zeros(len(pred), dtype=torch.long))
    loss = data_term(blurred, target, squared=bool(squared)) + hess * hessian(pred) + tv * total_variation(pred)
    expected = json.loads((SHARED / "reference/losses.json").read_text())
    assert float(loss) == pytest.approx(expected[f"2d_up1_insert4_mse{squared}_tv{tv}_hess{hess}"], abs=1e-5)


def _zyx(array):
    """(N, Y, X, Z, C) -> (N, C, Z, Y, X)"""
    return torch.tensor(array).permute(0, 4, 3, 1, 2)


@needs_shared("reference")
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("up", [0, 1])
def test_published_3d_losses(up, squared):
    arrays = np.load(SHARED / f"reference/loss_3d_up{up}.npz")
    pred, target, gap, denoised = (_zyx(arrays[k]) for k in ("pred", "target", "gar", "denoised"))
    psf = torch.tensor(arrays["psf"]).permute(2, 0, 1)
    # The published blur is padded with zeros; so much of them that an FFT does not wrap around.
    padded = torch.nn.functional.pad(pred, [8] * 4 + [4] * 2)
    blurred = crop(blur(padded, otf_of(psf, tuple(padded.shape[2:]))), (4, 8, 8))
    blurred = crop(downsample(blurred, up + 1), (1, 4, 4))
    regularisation = 0.1 * hessian(crop(pred, (1, 4 * (up + 1), 4 * (up + 1))))
    expected = json.loads((SHARED / "reference/losses.json").read_text())

    def published(name):
        return pytest.approx(
            expected[f"3d_{name}_mse{int(squared)}" + ("" if "denoise" in name else "_hess0.1")], abs=1e-5
        )

    deconvolution = data_term(blurred, target, squared=squared) + regularisation
    gar = data_term(blurred, target + gap, squared=squared)
    assert float(deconvolution) == published(f"sim_up{up}_insertz1_insertxy4")
    assert float(deconvolution + gar) == published(f"gar_up{up}_insertz1_insertxy4")
    denoising = data_term(denoised, target, squared=squared) + data_term(denoised, target + gap, squared=squared)
    assert float(denoising) == published(f"denoise_gar_up{up}")


def test_blur_is_a_convolution_and_keeps_flux():
    psf = torch.rand(5, 7, dtype=torch.float64)
    psf /= psf.sum()
    image = torch.zeros(1, 1, 20, 24, dtype=torch.float64)
    image[0, 0, 10, 12] = 3
    result = blur(image, otf_of(psf, (20, 24)))
    torch.testing.assert_close(result[0, 0, 8:13, 9:16], 3 * psf)
    assert result.sum() == pytest.approx(3)


def test_masked_pixels_do_not_count():
    prediction, target = torch.zeros(1, 1, 2, 2), torch.tensor([[[[1.0, 2.0], [100.0, 100.0]]]])
    mask = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    assert float(data_term(prediction, target, squared=True, mask=mask)) == 2.5
    assert float(data_term(prediction, target, squared=False, mask=mask)) == 1.5


@pytest.mark.parametrize(("size", "psf_size"), [((32, 36), (9, 9)), ((8, 24, 28), (15, 21, 21)), ((9, 11), (25, 25))])
def test_the_wiener_filter_undoes_the_psf_and_keeps_the_variance_of_noise(size, psf_size):
    axes = [torch.arange(n) - n // 2 for n in psf_size]
    grids = torch.meshgrid(*axes, indexing="ij")
    psf = torch.exp(-0.5 * sum(g.double() ** 2 for g in grids) / 0.8**2)
    psf /= psf.sum()
    sharpen = WienerFilter(psf, size, grid_factor=1, contrast_floor=1e-6)
    image = torch.rand(1, 1, *size, dtype=torch.float64)
    folded = torch.zeros(size, dtype=torch.float64)
    index = torch.meshgrid(*(axis % n for axis, n in zip(axes, size, strict=True)), indexing="ij")
    folded.index_put_(index, psf, accumulate=True)
    dims = tuple(range(2, 2 + len(size)))
    blurred = torch.fft.ifftn(torch.fft.fftn(image, dim=dims) * torch.fft.fftn(folded), dim=dims).real
    restored = sharpen(blurred)
    torch.testing.assert_close(restored / restored.mean(), image / image.mean(), rtol=1e-3, atol=1e-3)
    noise = torch.randn(400, 1, *size, dtype=torch.float64)
    assert float(sharpen(noise).var()) == pytest.approx(1, rel=0.05)


def test_light_from_beyond_a_patch_is_made_up_for():
    psf = torch.ones(5, 21, 21) / (5 * 21 * 21)
    reblur = light_path(psf, (8, 16, 16), (1, 2, 2), grid_factor=2)
    flat = torch.full((1, 1, 8, 32, 32), 3.0)
    result = reblur(flat, torch.tensor([3]))
    assert result.shape == (1, 1, 6, 12, 12)
    torch.testing.assert_close(result, torch.full_like(result, 3.0))
