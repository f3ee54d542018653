import numpy as np
import pytest
from scipy.signal import fftconvolve

from zsd_runtime import InputError
from zsd_train.simulate import Camera, mean_pool, simulate


def test_the_same_seed_gives_the_same_bytes():
    first, second, other = (simulate((64, 80), seed=seed) for seed in (4, 4, 5))
    for name in ("noisy", "clean", "truth", "psf"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
    assert first.noisy.tobytes() != other.noisy.tobytes()


def test_clean_is_the_blurred_truth():
    s = simulate((96, 96), photons=50, camera=Camera(100, 2, 1), seed=1)
    assert s.noisy.dtype == np.uint16
    assert s.truth.shape == (192, 192)
    rim = s.psf.shape[0] // 2 + 1
    blurred = mean_pool(fftconvolve(s.truth.astype(np.float64), s.psf, mode="same")) + 100
    np.testing.assert_allclose(blurred[rim:-rim, rim:-rim], s.clean[rim:-rim, rim:-rim], rtol=1e-4)
    assert s.clean.max() == pytest.approx(100 + 2 * 50)


def test_the_camera_makes_the_noise_that_it_says():
    camera, rng = Camera(offset=200, gain=2.5, read_noise=4), np.random.default_rng(0)
    counts = camera.expose(np.full((400, 400), 20.0), rng).astype(np.float64)
    assert counts.mean() == pytest.approx(200 + 2.5 * 20, rel=1e-3)
    assert counts.var() == pytest.approx(2.5**2 * 20 + 4**2, rel=0.02)
    assert Camera(saturation=50, offset=10).expose(np.full((9, 9), 1e4), rng).max() == 50


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Camera(gain=0), "gain 0 must be above 0"),
        (lambda: Camera(gain=float("nan")), "gain"),
        (lambda: Camera(read_noise=-1), "read noise"),
        (lambda: Camera(offset=70000), "offset"),
        (lambda: simulate((8, 64)), "16 to 16384"),
        (lambda: simulate((64, 64), photons=0), "photons"),
        (lambda: simulate((64, 64), na=2.0), "refractive index"),
    ],
)
def test_bad_values_are_told(make, message):
    with pytest.raises(InputError, match=message):
        make()
