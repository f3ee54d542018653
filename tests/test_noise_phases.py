"""Noise whose covariance depends on the place of a pixel, as after demosaicing: estimated, drawn, learnt with."""

import numpy as np
import pytest
import scipy.ndimage as ndi
import torch

from zsd_optics.noise import NoiseModel, estimate_noise, known_noise
from zsd_optics.simulate import simulate
from zsd_train.run import Measured
from zsd_train.schemes.recorrupt import noise_like

PLACES = ((0, 0), (0, 1), (1, 0), (1, 1))


def demosaiced(image):
    """The green channel of a Bayer camera: every other pixel, in a chessboard, is the mean of its four neighbours."""
    measured = np.indices(image.shape).sum(0) % 2 == 1
    around = ndi.convolve(image * measured, np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]) / 4, mode="mirror")
    return np.where(measured, image, around)


@pytest.fixture(scope="module")
def model() -> NoiseModel:
    s = simulate((384, 384), photons=60, seed=2)
    noisy = demosaiced(s.clean + np.random.default_rng(0).normal(0, 6, s.clean.shape))
    return estimate_noise([noisy])


def test_the_variance_of_each_place_is_found(model):
    middle = len(model.phases[0]) // 2
    variances = np.array([part[middle][middle] for part in model.phases])
    expected = np.array([0.25, 1, 1, 0.25]) / 0.625  # means of four, and the pixels themselves
    np.testing.assert_allclose(variances, expected, atol=0.1)


def test_noise_is_drawn_with_the_covariance_of_each_place_wherever_a_window_begins(model):
    rng = torch.Generator().manual_seed(0)
    middle = len(model.phases[0]) // 2
    for start in ((0, 0), (3, -5)):
        drawn = noise_like(model, torch.zeros(1, 401, 398), start, rng)[0].numpy()
        for (y, x), expected in zip(PLACES, model.phases, strict=True):
            here = drawn[(y - start[0]) % 2 : -2 : 2, (x - start[1]) % 2 : -2 : 2]
            right = drawn[(y - start[0]) % 2 : -2 : 2, (x - start[1]) % 2 + 1 :: 2][:, : here.shape[1]]
            n = min(here.shape[1], right.shape[1])
            assert here.var() == pytest.approx(expected[middle][middle], abs=0.06)
            assert (here[:, :n] * right[:, :n]).mean() == pytest.approx(expected[middle][middle + 1], abs=0.06)


def test_interpolated_places_of_what_is_drawn_are_interpolated(model):
    """Otherwise a network could tell drawn noise from the image's own, and would keep the latter."""
    drawn = noise_like(model, torch.zeros(1, 256, 256), (0, 0), torch.Generator().manual_seed(1))[0].numpy()
    error = drawn - demosaiced(drawn)
    assert error.var() < 0.15 * drawn.var()


def test_other_noise_has_no_phases():
    s = simulate((256, 256), photons=60, seed=3)
    white = s.clean + np.random.default_rng(0).normal(0, 6, s.clean.shape)
    assert estimate_noise([white]).phases is None
    assert estimate_noise([ndi.gaussian_filter(white, 0.8)]).phases is None
    assert known_noise(100, 1, 2).phases is None


def test_phases_survive_the_file_of_a_run(model):
    measured = Measured(
        offset=0, scale=1, noise=model, data_sha256="", psf_sha256="", margin=[4, 4], images=[[64, 64]],
        psf_shape=[3, 3], versions={},
    )  # fmt: skip
    assert Measured(**measured.model_dump()).noise.phases == model.phases
