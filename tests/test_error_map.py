"""Error map, residuals and linearity: white noise, right and wrong results, invariances, bad input."""

from collections import deque

import numpy as np
import pytest
import scipy.ndimage as ndi

from tests.scenes import GAIN, OFFSET, READ_NOISE, camera, scene
from zsd_optics.error_map import error_map, error_significance
from zsd_optics.filters import richardson_lucy
from zsd_optics.imaging import grid_factor, imaged, reblurred, within_reach
from zsd_optics.linearity import linearity
from zsd_optics.noise_model import NoiseModel, known_noise
from zsd_optics.pictures import enlarged
from zsd_optics.psf import gaussian_psf
from zsd_optics.residuals import autocorrelation, next_pixel, residuals
from zsd_runtime import InputError

NOISE = known_noise(OFFSET, GAIN, READ_NOISE)
SHAPE = (160, 144)


@pytest.fixture(scope="module")
def clean():
    """Counts without noise."""
    return scene(SHAPE, photons=150) * GAIN + OFFSET


@pytest.fixture(scope="module")
def noisy():
    return camera(scene(SHAPE, photons=150))


@pytest.fixture(scope="module")
def sharp():
    """A sample on a grid twice as fine, in counts above the offset, its PSF, and a noisy image of it."""
    psf = gaussian_psf(2.6)
    sample = ndi.gaussian_filter(scene((320, 288), seed=4, photons=1, sigma=0.8), 0.5)
    # Light everywhere: Richardson-Lucy cuts what noise makes negative, which adds light where it is dark.
    sample = 20 * GAIN + sample * 300 * GAIN / imaged(sample, psf, 2).max()
    return sample, psf, camera(imaged(sample, psf, 2) / GAIN, 3)


def deconvolved(image, sigma):
    signal = image.astype(np.float64) - OFFSET
    return deque(richardson_lucy(signal, gaussian_psf(sigma), 2, 30), maxlen=1)[0]


# White noise.


@pytest.mark.parametrize("shape", [(128, 128), (97, 160), (5, 64, 72)])
def test_noise_that_was_taken_away_is_white_and_has_a_deviation_of_one(shape):
    expected = np.full(shape, 300.0) + 100 * np.random.default_rng(1).random(shape)
    image = expected + np.sqrt(NOISE.variance(expected)) * np.random.default_rng(2).normal(size=shape)
    found = residuals(expected, image, NOISE)
    error = expected.size**-0.5
    assert found.deviation == pytest.approx(1, abs=4 * error)
    assert found.mean == pytest.approx(0, abs=4 * error)
    assert abs(found.correlation_y) < 4 * error
    assert abs(found.correlation_x) < 4 * error
    assert found.significance < 4.5
    assert found.chance > 0.01
    assert found.autocorrelation.shape == (17, 17)
    assert found.autocorrelation[8, 8] == pytest.approx(1)
    np.testing.assert_allclose(found.autocorrelation, found.autocorrelation[::-1, ::-1], atol=1e-12)
    assert sum(part.pixels for part in found.by_brightness) == expected.size
    assert all(abs(part.mean) < 4 * part.error for part in found.by_brightness)
    significance = error_significance(expected, image, NOISE)
    assert significance.deviation == pytest.approx(1, abs=0.1)
    assert significance.beyond < 0.01
    assert abs(significance.largest) < 5.5


def test_the_chance_of_the_largest_correlation_is_a_chance():
    """White noise has one below 0.1 in a tenth of the cases: 12 of 120, give or take 4 times 3.3."""
    rng, flat = np.random.default_rng(0), np.full((48, 48), 300.0)
    chances = [
        residuals(flat, flat + np.sqrt(NOISE.variance(300)) * rng.normal(size=flat.shape), NOISE).chance
        for _ in range(120)
    ]
    assert 0 < np.sum(np.array(chances) < 0.1) < 26


def test_autocorrelation_is_that_of_the_definition_with_and_without_a_mask():
    rng = np.random.default_rng(3)
    residual, used = rng.normal(size=(2, 20, 17)), rng.random((2, 20, 17)) < 0.8
    for mask in (None, used):
        kept = np.ones_like(used) if mask is None else mask
        centred = np.where(kept, residual - residual[kept].mean(), 0)
        found, pairs = autocorrelation(residual, 3, mask)
        first, second = (slice(2, 20), slice(0, 16)), (slice(0, 18), slice(1, 17))
        both = kept[:, *first] & kept[:, *second]
        assert pairs[5, 2] == both.sum()
        expected = (centred[:, *first] * centred[:, *second])[both].mean() / np.mean(centred[kept] ** 2)
        assert found[5, 2] == pytest.approx(expected)
    found, _ = autocorrelation(residual, 1)
    assert next_pixel(residual) == (pytest.approx(found[2, 1]), pytest.approx(found[1, 2]))


def test_a_correlation_that_the_noise_has_is_no_fault():
    rng = np.random.default_rng(5)
    kernel = np.array([[0.0, 0.0, 0.0], [0.0, 0.8, 0.6], [0.0, 0.0, 0.0]])  # neighbours along X share 0.48
    expected = np.full((200, 200), 300.0)
    image = expected + 10 * ndi.convolve(rng.normal(size=expected.shape), kernel, mode="wrap")
    shared = ((0.0, 0.0, 0.0), (0.48, 1.0, 0.48), (0.0, 0.0, 0.0))
    white = NoiseModel(0.0, 100.0, 100.0, 100.0)
    known = NoiseModel(0.0, 100.0, 100.0, 100.0, correlated="X", correlation=shared)
    assert residuals(expected, image, white).largest == pytest.approx(0.48, abs=0.03)
    assert abs(residuals(expected, image, known).largest) < 0.03
    assert error_significance(expected, image, white).deviation == pytest.approx(1.96**0.5, abs=0.12)
    assert error_significance(expected, image, known).deviation == pytest.approx(1, abs=0.08)
    assert error_significance(expected, image, known, window_px=0.8).deviation == pytest.approx(1, abs=0.04)


# Right and wrong results.


def test_a_right_result_leaves_noise_and_a_smooth_one_structure(clean, noisy):
    right, smooth = (residuals(x, noisy, NOISE) for x in (clean, ndi.gaussian_filter(noisy.astype(float), 2.5)))
    assert right.deviation == pytest.approx(1, abs=0.03)
    assert abs(right.largest) < 0.04
    assert max(abs(part.mean) / part.error for part in right.by_brightness) < 4
    assert smooth.deviation > 1.2
    assert smooth.largest > 0.2
    assert smooth.by_brightness[-1].mean > 1
    assert smooth.by_brightness[-1].counts > 0
    left = residuals(ndi.gaussian_filter(noisy.astype(float), 0.6), noisy, NOISE)
    assert left.deviation < 0.8
    assert left.correlation_x < -4 * left.pixels**-0.5


def test_a_psf_that_is_too_wide_leaves_structure(sharp):
    _, psf, image = sharp
    right = reblurred(deconvolved(image, 2.6), SHAPE, psf, offset=OFFSET)
    wide = reblurred(deconvolved(image, 3.9), SHAPE, gaussian_psf(3.9), offset=OFFSET)
    good, bad = (residuals(x, image, NOISE) for x in (right, wide))
    assert good.deviation == pytest.approx(0.92, abs=0.05)
    assert -0.2 < good.largest < 0  # it follows the noise
    assert bad.largest > 0.25  # structure is missing
    assert bad.deviation > 1.25
    fine, off = (error_significance(x, image, NOISE) for x in (right, wide))
    assert fine.deviation < 1
    assert fine.beyond < 0.01
    assert off.deviation > 1.3
    assert off.beyond > 0.03


def test_a_structure_that_is_missing_is_where_the_map_says(clean, noisy):
    y, x = 60, 70
    wrong = clean.copy()
    wrong[y - 3 : y + 4, x - 3 : x + 4] -= 60
    wrong[20:27, 30:37] += 60
    found = error_significance(wrong, noisy, NOISE)
    assert found.map[y, x] < -8  # too little light
    assert found.map[23, 33] > 8  # too much
    far = np.ones(SHAPE, bool)
    far[y - 12 : y + 13, x - 12 : x + 13] = far[8:39, 18:49] = False
    assert np.abs(found.map[far]).max() < 5.5
    assert np.sqrt(np.mean(found.map[far] ** 2)) == pytest.approx(1, abs=0.1)
    map_ = error_map(wrong, noisy, sigma_px=0).map
    assert map_[y - 3 : y + 4, x - 3 : x + 4].mean() > 2 * map_[far].mean()


# The error map of SQUIRREL.


def test_the_error_map_of_a_linear_copy_is_zero(clean):
    found = error_map(0.25 * clean - 7, clean)
    assert found.rsp == pytest.approx(1)
    assert found.rse == pytest.approx(0, abs=1e-6)
    assert (found.slope, found.intercept) == (pytest.approx(4), pytest.approx(28))
    assert found.sigma_px == 0
    assert found.map.shape == clean.shape


def test_rsp_does_not_depend_on_the_scale_of_the_result_nor_rse(noisy):
    smooth = ndi.gaussian_filter(noisy.astype(float), 1)
    first, second = error_map(smooth, noisy), error_map((5 * smooth - 300).astype(np.float32), noisy)
    assert first.rsp == pytest.approx(second.rsp, rel=1e-4)
    assert first.rse == pytest.approx(second.rse, rel=1e-4)
    scaled = error_map(smooth, 3 * noisy.astype(float) + 40)
    assert scaled.rse == pytest.approx(3 * first.rse)
    assert scaled.rsp == pytest.approx(first.rsp)
    assert first.rse == pytest.approx(np.sqrt(np.mean(first.map**2)))


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.7])
def test_an_estimated_blur_is_that_of_the_image(sigma, sharp):
    sample, _, _ = sharp
    image = imaged(sample, gaussian_psf(sigma), 2) + OFFSET
    found = error_map(sample, image)
    assert found.sigma_px == pytest.approx(sigma, rel=0.02)
    assert found.slope == pytest.approx(1, rel=0.02)
    assert found.intercept == pytest.approx(OFFSET, rel=0.05)
    assert found.rsp > 0.999
    through = error_map(sample, image, gaussian_psf(sigma))
    assert np.isnan(through.sigma_px)
    assert through.rsp == pytest.approx(1)


def test_an_estimated_blur_of_a_volume_has_a_width_in_z():
    sample = scene((12, 64, 64), photons=500, sigma=0.7)
    image = ndi.gaussian_filter(sample, (1.5, 2.0, 2.0)) + OFFSET
    found = error_map(sample, image)
    assert found.map.shape == sample.shape
    assert found.sigma_px == pytest.approx(2, rel=0.05)
    assert found.sigma_z_px == pytest.approx(1.5, rel=0.1)


def test_the_blur_is_estimated_where_there_is_structure():
    sample = np.zeros((700, 900))
    sample[400:528, 650:778] = scene((128, 128), photons=500, sigma=0.7)
    image = ndi.gaussian_filter(sample, 1.7) + np.random.default_rng(0).normal(OFFSET, 1, sample.shape)
    assert error_map(sample, image).sigma_px == pytest.approx(1.7, rel=0.03)


def test_pixels_that_do_not_count_change_nothing(clean, noisy):
    mask = np.ones(SHAPE, bool)
    mask[:, -20:] = False
    padded = noisy.astype(float)
    padded[:, -20:] = 0
    assert error_map(clean, padded, sigma_px=0).rse > 20
    found = error_map(clean, padded, sigma_px=0, mask=mask)
    cropped = error_map(clean[:, :-20], noisy[:, :-20], sigma_px=0)
    assert found.rse == pytest.approx(cropped.rse)
    assert np.isnan(found.map[:, -20:]).all()
    masked, alone = residuals(clean, padded, NOISE, mask=mask), residuals(clean[:, :-20], noisy[:, :-20], NOISE)
    np.testing.assert_allclose(masked.autocorrelation, alone.autocorrelation, atol=1e-9)
    assert (masked.deviation, masked.pixels) == (pytest.approx(alone.deviation), alone.pixels)
    significance = error_significance(clean, padded, NOISE, mask=mask)
    np.testing.assert_allclose(
        significance.map[:, :-20], error_significance(clean[:, :-20], noisy[:, :-20], NOISE).map, atol=1e-6
    )
    light = linearity(clean - OFFSET, padded, NOISE, mask=mask)
    assert light.flux == pytest.approx(linearity(clean[:, :-20] - OFFSET, noisy[:, :-20], NOISE).flux)


# Linearity.


def test_the_slope_and_the_flux_are_those_of_the_result(clean, noisy):
    for slope, intercept in ((1.0, 0.0), (0.8, 0.0), (1.1, 5.0)):
        found = linearity(slope * (clean - OFFSET) + intercept, noisy, NOISE)
        assert found.slope == pytest.approx(slope, abs=0.02 + 4 * found.slope_error)
        assert found.intercept == pytest.approx(intercept, abs=4 * found.intercept_error)
        light = float(np.mean(clean - OFFSET))
        assert found.flux == pytest.approx(slope + intercept / light, abs=0.02)
        assert found.curvature_significance < 4
        assert found.correlation > 0.98
        assert found.x.shape == found.y.shape == found.x_error.shape
    kept = linearity(clean, noisy, NOISE, result_offset=OFFSET)
    assert kept.flux == pytest.approx(linearity(clean - OFFSET, noisy, NOISE).flux)


def test_a_curved_response_is_seen():
    level = np.linspace(20, 400, 200)[:, None] * np.ones(200)
    image = camera(level, 2)
    bright = GAIN * level
    straight, curved = (linearity(x, image, NOISE) for x in (bright, bright**1.2 / bright.max() ** 0.2))
    assert straight.curvature_significance < 4
    assert abs(straight.bend) < 0.01
    assert curved.curvature_significance > 20
    assert curved.bend == pytest.approx(0.05, abs=0.02)


def test_the_error_bars_are_those_of_the_noise():
    flat = np.random.default_rng(7).uniform(20, 400, (12, 12)).repeat(16, 0).repeat(16, 1)
    found = [linearity(GAIN * flat, camera(flat, seed), NOISE, side=16) for seed in range(12)]
    spread = np.std([part.x for part in found], axis=0)
    assert np.mean(spread / found[0].x_error) == pytest.approx(0.96, abs=0.06)
    slopes = np.array([part.slope for part in found])
    assert slopes.std() == pytest.approx(found[0].slope_error, rel=0.6)
    fluxes = np.array([part.flux for part in found])
    assert fluxes.mean() == pytest.approx(1, abs=4 * found[0].flux_error)


def test_blocks_grow_with_the_noise():
    clean = scene((512, 512), photons=1.0, sigma=12)
    assert linearity(GAIN * clean * 300, camera(clean * 300), NOISE).side == 16
    dim = linearity(GAIN * clean, camera(clean), NOISE)
    assert dim.side > 16
    assert dim.slope == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_grids(factor, clean, noisy):
    fine = enlarged(clean, factor)
    assert grid_factor(fine.shape, noisy.shape) == factor
    np.testing.assert_allclose(reblurred(fine, noisy.shape), clean)
    assert linearity(fine - OFFSET, noisy, NOISE).flux == pytest.approx(1, abs=0.02)
    assert error_map(fine, noisy, sigma_px=0).rse == pytest.approx(error_map(clean, noisy, sigma_px=0).rse)


def test_a_volume_is_blurred_along_z_and_binned_in_y_and_x():
    sample = np.zeros((9, 40, 48))
    sample[4, 20, 24] = 8
    psf = gaussian_psf(1.0, 2.0)
    seen = reblurred(sample, (9, 20, 24), psf, offset=OFFSET) - OFFSET
    assert seen.shape == (9, 20, 24)
    assert seen.sum() == pytest.approx(2)  # the light of a pixel, averaged over 4
    np.testing.assert_allclose(seen.sum((1, 2)) / 2, psf.sum((1, 2)), atol=1e-12)
    image = camera(np.clip(seen, 0, None) * 400, 5)
    expected = reblurred(sample * 400 * GAIN, image.shape, psf, offset=OFFSET)
    assert residuals(expected, image, NOISE).deviation == pytest.approx(1, abs=0.06)
    assert error_significance(expected, image, NOISE).deviation == pytest.approx(1, abs=0.15)
    assert error_map(sample, image, psf).map.shape == image.shape


# Bad input.

PLANE = np.random.default_rng(0).uniform(100, 200, (64, 64))
FLAT = np.full((64, 64), 150.0)
HOLED = np.where(np.eye(64) > 0, np.nan, PLANE)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: error_map(PLANE[:, :60], PLANE), "64x60 and the image 64x64"),
        (lambda: error_map(enlarged(PLANE, 2)[:, :-1], PLANE), "128x127"),
        (lambda: error_map(PLANE[None], PLANE), "1x64x64"),
        (lambda: error_map(PLANE[0], PLANE[0]), "the image 64"),
        (lambda: error_map(PLANE, FLAT), "the image is constant"),
        (lambda: error_map(FLAT, PLANE), "the result is constant"),
        (lambda: error_map(HOLED, PLANE), "the result has values that are not finite"),
        (lambda: error_map(PLANE, HOLED), "the image has values that are not finite"),
        (lambda: error_map(PLANE, PLANE, np.ones((3, 3)) / 9, sigma_px=1), "two blurs"),
        (lambda: error_map(PLANE, PLANE, np.ones((4, 4)) / 16), "odd sizes"),
        (lambda: error_map(PLANE, PLANE, np.ones((3, 3))), "sums to 9"),
        (lambda: error_map(PLANE, PLANE, sigma_px=-1), "-1 px"),
        (lambda: error_map(PLANE, PLANE, mask=np.ones((64, 64))), "booleans"),
        (lambda: error_map(PLANE, PLANE, mask=np.zeros((64, 64), bool)), "leaves 0 pixels"),
        (lambda: residuals(enlarged(PLANE, 2), PLANE, NOISE), "`reblurred`"),
        (lambda: residuals(HOLED, PLANE, NOISE), "not finite"),
        (lambda: residuals(PLANE, PLANE, NoiseModel(0.0, 0.0, 0.0, 100.0)), "`gain` and the `read_noise`"),
        (lambda: error_significance(PLANE, PLANE, NoiseModel(0.0, 0.0, 0.0, 100.0)), "variance of 0"),
        (lambda: error_significance(PLANE, PLANE, NOISE, window_px=0), "window 0"),
        (lambda: error_significance(PLANE[:32], PLANE, NOISE), "32x64"),
        (lambda: linearity(PLANE, PLANE, NoiseModel(0.0, 0.0, 0.0, 100.0)), "variance of 0"),
        (lambda: linearity(PLANE, FLAT, NOISE), "all blocks of the image have 50 counts"),
        (lambda: linearity(PLANE, PLANE, NOISE, side=32), "4 blocks of 32x32 pixels"),
        (lambda: linearity(PLANE, PLANE, NOISE, side=65), "do not fit"),
        (lambda: linearity(PLANE, PLANE, NOISE, offset=1000), "counts above the offset"),
        (lambda: linearity(HOLED, PLANE, NOISE), "the result has values"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_constant_noise_is_enough():
    """A camera whose read noise hides the gain."""
    image = PLANE + np.random.default_rng(1).normal(0, 5, PLANE.shape)
    model = NoiseModel(0.0, 25.0, 25.0, 100.0)
    assert residuals(PLANE, image, model).deviation == pytest.approx(1, abs=0.05)
    assert error_significance(PLANE, image, model).deviation == pytest.approx(1, abs=0.15)


def test_a_result_without_residual_is_not_divided_by_zero():
    found = residuals(PLANE, PLANE, NOISE)
    assert (found.deviation, found.largest, found.chance) == (0, 0, 1)


def test_pixels_within_reach_of_a_border_do_not_count(sharp):
    """Light from beyond the field is unknown: even the true sample contradicts its image at the borders."""
    sample, psf, _ = sharp
    inner = (slice(40, -40),) * 2
    image = camera(imaged(sample, psf, 2) / GAIN)[20:-20, 20:-20]
    mask = within_reach(image.shape, psf, 2)
    expected = reblurred(sample[inner], image.shape, psf, offset=OFFSET)
    found = error_significance(expected, image, NOISE, mask=mask)
    assert found.deviation == pytest.approx(1, abs=0.1)
    assert error_significance(expected, image, NOISE).deviation > found.deviation
    margin = np.flatnonzero(mask[mask.shape[0] // 2])[0]
    assert margin == 3  # 1 % of a Gaussian lies beyond 2.33 sigma on one side: 6 fine pixels


@pytest.mark.parametrize("slices", [1, 3, 8, 40])
def test_at_least_half_of_the_slices_is_compared(slices):
    psf = np.ones((21, 1, 1)) / 21
    kept = within_reach((slices, 16, 16), psf, 1).all(axis=(1, 2)).sum()
    assert slices / 2 <= kept == slices - 2 * min(10, slices // 4)
