import numpy as np
import pytest

from tests.conftest import SHARED, needs_shared
from zsd_optics.noise import estimate_noise, known_noise
from zsd_optics.simulate import Camera, simulate
from zsd_runtime import InputError
from zsd_runtime.images import read_image


def cases(count):
    rng = np.random.default_rng(1)
    for seed in range(count):
        gain = np.exp(rng.uniform(np.log(0.2), np.log(5)))
        offset, read_noise = rng.uniform(0, 500), rng.uniform(1, 10)
        photons = np.exp(rng.uniform(np.log(5), np.log(500)))
        yield seed, photons, Camera(offset, gain, read_noise)


def test_variance_of_100_cameras_from_single_images():
    right, unknown = [], []
    for seed, photons, camera in cases(100):
        s = simulate((256, 256), photons=photons, camera=camera, seed=seed)
        model = estimate_noise([s.noisy.astype(np.float64)])
        signal = np.percentile(s.clean, [10, 50, 90])
        true = camera.gain * (signal - camera.offset) + camera.read_noise**2
        if camera.gain**2 * photons > camera.read_noise**2:
            right.append(bool((np.abs(model.variance(signal) / true - 1) < 0.15).all()))
        elif model.gain == 0:
            unknown.append("cannot be estimated" in model.message)
    assert len(right) > 50
    assert np.mean(right) >= 0.9
    assert len(unknown) > 20
    assert all(unknown)


@pytest.mark.parametrize("gain", [0.5, 3.0])
def test_repeats_give_the_gain_whatever_the_structure(gain):
    rng = np.random.default_rng(0)
    camera = Camera(120, gain, 3)
    scene = rng.gamma(1.0, 40.0, (64, 64))  # white structure: no spatial filter could part it from noise
    model = estimate_noise([camera.expose(scene, rng).astype(np.float64) for _ in range(8)])
    assert "repeats" in model.message
    assert model.gain == pytest.approx(gain, rel=0.1)
    assert model.variance(120.0) == pytest.approx(9, abs=4 * gain)


def test_frames_that_move_are_not_taken_for_repeats():
    rng = np.random.default_rng(0)
    scene = simulate((96, 96), photons=200, seed=2).clean.astype(np.float64)
    frames = [Camera(0, 1, 2).expose(np.roll(scene, 7 * i, axis=1), rng).astype(np.float64) for i in range(4)]
    assert "spatial" in estimate_noise(frames).message


def test_offset_and_uncertainties():
    s = simulate((512, 512), photons=60, camera=Camera(200, 2, 4), seed=5)
    model = estimate_noise([s.noisy.astype(np.float64)])
    assert abs(model.gain - 2) < 4 * model.gain_error
    assert model.gain_error < 0.1
    assert model.offset == pytest.approx(200, abs=1)
    assert model.read_noise == pytest.approx(4, rel=0.15)


def test_hot_pixels_and_saturation_do_not_matter():
    s = simulate((256, 256), photons=200, camera=Camera(100, 1, 2, saturation=220), seed=1)
    image = s.noisy.astype(np.float64)
    image[::37, ::41] = 220
    model = estimate_noise([image])
    assert model.gain == pytest.approx(1, rel=0.15)


def test_known_noise_is_the_line_of_the_camera():
    model = known_noise(offset=100, gain=2, read_noise=3)
    np.testing.assert_allclose(model.variance(np.array([90.0, 100.0, 150.0])), [9, 9, 109])
    assert model.read_noise == pytest.approx(3)


def test_images_without_information_are_refused():
    with pytest.raises(InputError, match="no noise to measure"):
        estimate_noise([np.full((64, 64), 7.0)])
    with pytest.raises(InputError, match="32x32"):
        estimate_noise([np.random.default_rng(0).random((16, 400))])
    with pytest.raises(InputError, match="gain"):
        known_noise(0, 0, 1)


def test_flat_padding_is_left_out():
    s = simulate((256, 256), photons=100, camera=Camera(100, 2, 3), seed=1)
    image = np.zeros((256, 500))
    image[:, 100:356] = s.noisy
    model = estimate_noise([image])
    assert model.gain == pytest.approx(2, rel=0.1)
    assert model.offset == pytest.approx(100, abs=2)


def test_interpolated_images_are_recognised_by_their_correlated_noise():
    image = simulate((256, 256), photons=50, seed=1).noisy.astype(np.float64)
    assert estimate_noise([image]).correlated == ""
    shifted = 0.5 * (image + np.roll(image, 1, axis=1))
    assert estimate_noise([shifted]).correlated == "X"
    dark = np.random.default_rng(0).normal(100, 2, image.shape)  # as the first slices of a volume may be
    assert estimate_noise([dark, shifted, shifted]).correlated == "X"


def test_the_zeros_of_a_photon_counter_are_not_clipping():
    rng = np.random.default_rng(0)
    scene = simulate((256, 256), photons=8, seed=1).clean.astype(np.float64)
    model = estimate_noise([rng.poisson(scene + 1).astype(np.float64)])
    assert model.gain == pytest.approx(1, rel=0.15)
    assert model.variance(1.0) == pytest.approx(1, rel=0.15)


@needs_shared("data/fmd", "data/lattice-light-sheet")
def test_real_camera_frames_pass_for_white_and_resized_or_deskewed_ones_do_not():
    resized = {"WideField_BPAE_G_1.png"}  # by the microscope's software: its noise is correlated over two pixels
    for path in sorted((SHARED / "data/fmd/raw").glob("*.png")):
        expected = "YX" if path.name in resized else ""
        assert estimate_noise([read_image(path).data.astype(np.float64)]).correlated == expected, path.name
    deskewed = read_image(SHARED / "data/lattice-light-sheet/im_deskewed.tif").data[44]
    assert estimate_noise([deskewed.astype(np.float64)]).correlated == "X"
