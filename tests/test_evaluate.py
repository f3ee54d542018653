import numpy as np
import pytest
import scipy.ndimage as ndi

from zsd_optics.filters import richardson_lucy
from zsd_optics.metrics import best_gaussian, best_richardson_lucy, evaluate
from zsd_optics.psf import gaussian_psf
from zsd_optics.simulate import Camera, simulate
from zsd_runtime import InputError


def test_gain_and_offset_do_not_matter():
    truth = np.random.default_rng(0).random((40, 40))
    scores = evaluate(3 * truth + 100, truth)
    assert scores.psnr > 100
    assert scores.ssim == pytest.approx(1)
    assert (scores.gain, scores.offset) == pytest.approx((1 / 3, -100 / 3))


def test_psnr_of_known_noise():
    rng = np.random.default_rng(0)
    truth = rng.random((300, 300))
    noisy = truth + rng.normal(0, 0.01, truth.shape)
    assert evaluate(noisy, truth).psnr == pytest.approx(40, abs=0.1)
    assert evaluate(noisy, truth).nrmse == pytest.approx(0.01, rel=0.02)


def test_grids_must_agree():
    with pytest.raises(InputError, match=r"9x9.*8x8"):
        evaluate(np.zeros((9, 9)), np.zeros((8, 8)))
    with pytest.raises(InputError, match="constant"):
        evaluate(np.zeros((9, 9)), np.ones((9, 9)))


def test_baselines_improve_and_stop_at_their_best():
    s = simulate((96, 96), photons=100, camera=Camera(100, 1, 2), seed=0)
    noisy, clean, truth = (a.astype(np.float64) for a in (s.noisy, s.clean, s.truth))
    sigma, gaussian = best_gaussian(noisy, clean)
    assert gaussian.psnr > evaluate(noisy, clean).psnr + 1
    assert gaussian.psnr >= evaluate(ndi.gaussian_filter(noisy, sigma[0] + 0.2), clean).psnr
    iterations, lucy = best_richardson_lucy(noisy, 100, s.psf, truth)
    assert iterations > 1
    assert lucy.psnr > evaluate(np.kron(noisy, np.ones((2, 2))), truth).psnr + 1


def test_richardson_lucy_keeps_flux_and_sharpens():
    truth = np.zeros((64, 64))
    truth[30, 34] = 100.0
    psf = gaussian_psf(2.0)
    observed = ndi.convolve(truth, psf).reshape(32, 2, 32, 2).mean(axis=(1, 3))
    *_, last = richardson_lucy(observed, psf, 2, 50)
    assert last.sum() == pytest.approx(100, rel=0.02)
    assert np.unravel_index(last.argmax(), last.shape) == (30, 34)
    assert last.max() > 4 * 100 * psf.max()
