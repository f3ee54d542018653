"""Training and prediction on images with pixels that are no data."""

import numpy as np
import pytest
import torch

from tests.conftest import TINY
from tests.scenes import OFFSET, camera, hot, scene
from zsd_optics.noise import estimate_noise
from zsd_optics.psf import gaussian_psf
from zsd_runtime import InputError
from zsd_runtime.corrections.camera_maps import CameraMaps
from zsd_runtime.corrections.corrected import Corrected
from zsd_train import train
from zsd_train.config import make_config
from zsd_train.correct import correct
from zsd_train.flux import keep_flux
from zsd_train.frames import LEAST_MEASURED, Frame
from zsd_train.networks.build import build
from zsd_train.schemes import Recorrupt

PSF = gaussian_psf(2.6)
CLEAN = scene((160, 160), seed=2)
IMAGE = camera(CLEAN)
CONFIG = make_config(network=TINY, patch=32, batch=2, steps=6, device="cpu")


def padded(image):
    result = image.copy()
    result[..., :24, :] = 0
    result[..., -20:] = 0
    return result


def test_blank_images_are_left_out_and_bad_pixels_counted(tmp_path):
    spotty, where = hot(camera(scene((160, 160), 3)), 2e-3, 300, 3000)
    inside = padded(IMAGE) > 0
    images = [IMAGE, np.zeros_like(IMAGE), padded(spotty)]
    said = []
    run = train(images, PSF, CONFIG, tmp_path / "run", report=lambda p: said.append(p.message))
    measured = run.measured
    assert measured.blank_images == [1]
    assert measured.images == [[160, 160]] * 2
    assert measured.bad_pixels["padding"] == (~inside).sum()
    assert measured.bad_pixels["hot"] == pytest.approx((where & inside).sum(), abs=2)
    assert said[0].startswith("image 2 is blank: left out; 12.8 % of the pixels are padding")
    assert measured.noise.gain == pytest.approx(2, rel=0.15)
    assert measured.noise.offset == pytest.approx(OFFSET, abs=2)
    train(images, PSF, CONFIG, tmp_path / "run", resume=True)
    with pytest.raises(InputError, match="all 2 images are constant"):
        train([np.zeros_like(IMAGE), np.full_like(IMAGE, 7)], PSF, CONFIG, tmp_path / "none")


def test_what_is_bad_is_not_learnt_from():
    (image,), _ = correct([padded(hot(IMAGE, 5e-3, 300, 3000)[0])[None]], PSF, CONFIG)
    frame = Frame.of(image, 0.1, np.random.default_rng(0))
    bad = ~frame.measured((0, 0), frame.shape)
    assert bad[:24].all()
    assert bad[:, -20:].all()
    assert 0.002 < bad[24:, :-20].mean() < 0.008
    mask = frame.mask((0, 0), frame.shape)
    assert not mask[bad].any()
    for tile in frame.tiles():  # held-out tiles are mostly data
        assert frame.measured(tile, (32, 32)).mean() >= LEAST_MEASURED
    rng = torch.Generator().manual_seed(0)
    for _ in range(50):
        assert frame.measured(frame.corner((32, 32), rng), (32, 32)).mean() > LEAST_MEASURED - 0.15  # blocks are coarse
    assert frame.window((0, 0), frame.shape).min() > 80  # padding is continued from the image
    assert frame.window((0, 0), frame.shape).max() < 400  # hot pixels are replaced


def test_flux_is_that_of_the_data_alone():
    def deficit(image):
        frame = Frame.of(image, 0.0, np.random.default_rng(0))
        torch.manual_seed(0)
        network = build(CONFIG.network, "yx")
        return keep_flux(
            network, {k: v.clone() for k, v in network.state_dict().items()}, [frame], Recorrupt(), OFFSET, 100.0
        )

    (image,), _ = correct([padded(IMAGE)[None]], PSF, CONFIG)
    inside = IMAGE[None, 24:, :-20]
    assert deficit(image) == pytest.approx(deficit(inside), abs=0.5)
    assert abs(deficit(padded(IMAGE)[None])[0] - deficit(inside)[0]) > 10


@pytest.mark.parametrize("volumes", [False, True])
def test_an_image_without_bad_pixels_is_not_touched(volumes):
    images = [camera(scene((12, 96, 96)))[None] if volumes else IMAGE[None]]
    corrected, found = correct(images, gaussian_psf(2.0, 2.6) if volumes else PSF, CONFIG)
    assert corrected[0] is images[0]
    assert (found.notice, found.blank) == ("", [])


def test_points_that_the_psf_makes_as_narrow_as_a_pixel_are_no_hot_pixels():
    image = camera(CLEAN * 0) + ((np.random.default_rng(0).random(CLEAN.shape) < 1e-3) * 500).astype(np.uint16)
    assert correct([image[None]], gaussian_psf(0.6), CONFIG)[1].counts == {}
    assert correct([image[None]], PSF, CONFIG)[1].counts["hot"] == pytest.approx((image > 400).sum(), abs=1)


def test_camera_maps(tmp_path):
    rng = np.random.default_rng(0)
    offset = rng.normal(OFFSET, 20, CLEAN.shape).astype(np.float32)
    raw = (IMAGE - OFFSET + offset).round().astype(np.uint16)
    maps = CameraMaps(offset)
    run = train([raw], PSF, CONFIG, tmp_path / "run", camera_maps=maps)
    plain = estimate_noise([IMAGE.astype(float)])
    assert run.measured.noise.gain == pytest.approx(plain.gain, abs=2 * plain.gain_error)
    assert run.measured.noise.read_noise < 4  # not 20
    assert run.measured.camera_maps_sha256
    with pytest.raises(InputError, match="other calibration maps"):
        train([raw], PSF, CONFIG, tmp_path / "run", resume=True)


def test_prediction(package):
    from zsd_runtime import load_model

    spotty, where = hot(IMAGE, 1e-3, 300, 3000)
    image = padded(spotty)
    with load_model(package, "cpu") as model:
        notices = []
        plain = model.predict(IMAGE)
        result = model.predict(image)
        kept = model.predict(spotty, corrections=None)
        targets = [np.empty(shape, np.float32) for shape in model.output_shapes(image.shape)]
        model.predict_into(image, targets, tile=(96, 96), notice=notices.append)
        nan = np.where(image == 0, np.nan, image.astype(np.float32))
        assert np.isnan(model.predict(nan).denoised).sum() == (image == 0).sum()
        movie = np.stack([image, np.zeros_like(image), IMAGE])
        frames = [np.empty(shape, np.float32) for shape in model.output_shapes(movie.shape)]
        model.predict_into(movie, frames)
    inside = (slice(40, None), slice(0, 124))
    places = np.argwhere(where[inside])
    assert len(places) > 5
    assert np.abs(result.denoised - plain.denoised)[inside].max() < 60
    assert np.abs(kept.denoised - plain.denoised)[inside].max() > 150
    np.testing.assert_array_equal(result.denoised[:24], 0)
    np.testing.assert_array_equal(result.deconvolved[:48], 0)
    np.testing.assert_array_equal(result.deconvolved[:, -40:], 0)
    np.testing.assert_allclose(targets[1], result.deconvolved, atol=0.02 * np.ptp(result.deconvolved))
    assert notices[0].startswith("25.6 % of the pixels are padding: left out; ")
    np.testing.assert_allclose(frames[0][0], result.denoised, atol=1e-3 * np.ptp(result.denoised))
    assert not frames[0][1].any()
    np.testing.assert_allclose(frames[0][2], plain.denoised, atol=1e-3 * np.ptp(result.denoised))


def test_a_volume_with_a_blank_slice(volume_package):
    from zsd_runtime import load_model

    volume = camera(scene((9, 64, 64), 1))
    volume[4] = 0
    with load_model(volume_package, "cpu") as model:
        result = model.predict(volume)
        whole = model.predict(np.asarray(Corrected(volume, volumes=True)[:, :, :]))
    assert not result.denoised[4].any()
    np.testing.assert_allclose(result.denoised[5:], whole.denoised[5:], atol=1e-4 * np.ptp(whole.denoised))
