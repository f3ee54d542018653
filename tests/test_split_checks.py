"""What unseen photo-electrons say of a result: errors that are true, resolutions that invention does not improve."""

import numpy as np
import pytest
import scipy.ndimage as ndi

from zsd_optics.noise import known_noise
from zsd_optics.noise_model import NoiseModel
from zsd_optics.resolution import split_image
from zsd_optics.simulate import Camera, Simulation, simulate
from zsd_optics.split_checks import optical_limit_px, recorded_again, split_checks
from zsd_runtime.errors import InputError

CAMERA = Camera(offset=100, gain=2, read_noise=3)
NOISE = known_noise(100, 2, 3)


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate((192, 192), photons=60, camera=CAMERA, seed=4)


def gaussian(sigma, invented=0.0):
    """A restoration: a Gaussian filter, and what it invents: the same pattern every time."""
    pattern = invented * ndi.gaussian_filter(np.random.default_rng(9).normal(0, 1, (192, 192)), 0.8)

    def restore(image):
        smooth = ndi.gaussian_filter(image, sigma) - 100 + pattern
        return {"denoised": smooth, "deconvolved": np.kron(smooth, np.ones((2, 2)))}

    return restore


@pytest.mark.parametrize("sigma", [0.6, 1.0, 2.0])
def test_the_error_is_that_against_the_truth(simulation, sigma):
    found = split_checks(gaussian(sigma), simulation.noisy, NOISE, 100, seed=1)
    half, _ = split_image(simulation.noisy, NOISE, np.random.default_rng(5))
    expected = np.mean((ndi.gaussian_filter(half, sigma) - simulation.clean) ** 2)
    assert abs(found.error - expected) < 3 * found.error_se
    assert found.error_se < 0.15 * expected
    assert found.gaussian_error <= found.error + found.error_se
    assert found.gain_db == pytest.approx(10 * np.log10(found.gaussian_error / found.error))
    low, high = found.gain_db_range
    assert low < found.gain_db < high


def test_what_is_invented_is_an_error_and_no_resolution(simulation):
    plain, inventive = (split_checks(gaussian(1, n), simulation.noisy, NOISE, 100) for n in (0, 60))
    assert inventive.error > plain.error + 10 * plain.error_se
    assert inventive.resolution["denoised"].resolution_px > plain.resolution["denoised"].resolution_px
    # The same pattern is found again each time: only unseen electrons know that it is not there.
    assert inventive.reproduced["denoised"].resolution_px < plain.reproduced["denoised"].resolution_px


def test_resolutions_are_on_their_own_grids(simulation):
    found = split_checks(gaussian(1), simulation.noisy, NOISE, 100, pixel_size_um=0.06)
    assert list(found.resolution) == ["raw", "denoised", "deconvolved"]
    assert {curve.pixel_size_um for curve in found.resolution.values()} == {0.06}
    assert found.reproduced["deconvolved"].pixel_size_um == 0.03
    # Both are the same image; the threshold is higher on the fine grid, but finer outputs are not coarser.
    assert found.reproduced["deconvolved"].resolution_um == found.reproduced["denoised"].resolution_um


def test_a_denoised_image_is_not_finer_than_the_optics(simulation):
    psf = simulation.psf
    limit = optical_limit_px(psf)  # NA 1.4 at 525 nm passes periods above 187.5 nm, 5.99 fine pixels of 31.3 nm
    assert limit == pytest.approx(5.99, rel=0.03)
    free, limited = (split_checks(gaussian(0.5), simulation.noisy, NOISE, 100, psf=p) for p in (None, psf))
    assert limited.reproduced["denoised"].resolution_px == max(free.reproduced["denoised"].resolution_px, limit / 2)


def test_an_uncertain_gain_makes_an_uncertain_error(simulation):
    sure, unsure = (
        split_checks(gaussian(1), simulation.noisy, noise, 100, splits=1)
        for noise in (NOISE, NoiseModel(2, NOISE.constant, 9, 100, gain_error=0.2))
    )
    assert unsure.error == sure.error
    assert unsure.error_se == pytest.approx(np.hypot(sure.error_se, 0.1 * unsure.noise / 2))


def test_volumes_are_judged_too():
    volume = simulate((8, 64, 64), photons=60, camera=CAMERA, seed=4)

    def restore(image):
        smooth = ndi.gaussian_filter(image, (0, 1, 1)) - 100
        return {"denoised": smooth}

    found = split_checks(restore, volume.noisy, NOISE, 100, splits=2)
    assert len(found.gaussian_sigma_px) == 3
    assert 0 < found.error < found.noise


def test_recording_again_has_the_noise_of_the_line():
    frames = np.stack([recorded_again(np.full((64, 64), 50.0), NOISE, 100, np.random.default_rng(i)) for i in range(8)])
    assert frames.mean() == pytest.approx(150, abs=0.3)
    assert frames.var() == pytest.approx(float(NOISE.variance(150)), rel=0.05)


def test_noise_without_a_gain_cannot_be_split(simulation):
    with pytest.raises(InputError, match="does not show the gain"):
        split_checks(gaussian(1), simulation.noisy, NoiseModel(0, 10, 10, 100), 100)


def test_more_electrons_than_can_be_counted_are_an_error(simulation):
    counts = simulation.noisy.astype(np.float64)
    counts[5, 5] = 1e30
    with pytest.raises(InputError, match="a pixel has 1e\\+30 counts"):
        split_image(counts, NOISE, np.random.default_rng(0))
