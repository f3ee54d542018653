import numpy as np
import pytest
from scipy.signal import fftconvolve

from zsd_optics.pictures import binned
from zsd_optics.simulate import Camera, simulate
from zsd_runtime import InputError


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
    blurred = binned(fftconvolve(s.truth.astype(np.float64), s.psf, mode="same"), 2) + 100
    np.testing.assert_allclose(blurred[rim:-rim, rim:-rim], s.clean[rim:-rim, rim:-rim], rtol=1e-4)
    assert s.clean.max() == pytest.approx(100 + 2 * 50)


def test_a_volume_is_blurred_along_z_too():
    def volume(shape):
        return simulate(
            shape,
            photons=50,
            camera=Camera(100, 2, 1),
            na=1.1,
            refractive_index=1.33,
            pixel_size_um=0.1,
            z_step_um=0.3,
            seed=2,
        )

    s = volume((40, 64, 64))
    assert (s.noisy.shape, s.truth.shape, s.z_step_um) == ((40, 64, 64), (40, 128, 128), 0.3)
    assert s.psf.shape == (15, 65, 65)
    assert s.clean.max() == pytest.approx(100 + 2 * 50)
    inside = (slice(8, -8), slice(17, -17), slice(17, -17))
    blurred = binned(fftconvolve(s.truth.astype(np.float64), s.psf, mode="same"), 2)[inside]
    clean = s.clean.astype(np.float64)[inside] - 100
    # Not the same: the truth is a mean over the planes that a slice stands for, and each of them was blurred by itself.
    assert blurred.mean() == pytest.approx(clean.mean(), rel=0.02)
    assert np.corrcoef(blurred.ravel(), clean.ravel())[0, 1] > 0.99
    assert volume((8, 24, 32)).noisy.tobytes() == volume((8, 24, 32)).noisy.tobytes()


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
        (lambda: simulate((3, 3, 64, 64)), "YxX or ZxYxX"),
        (lambda: simulate((8, 64, 64), z_step_um=0), "z step 0"),
        (lambda: simulate((64, 64), na=2.0), "refractive index"),
    ],
)
def test_bad_values_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_light_sheet_removes_light_from_beyond_its_slice():
    def volume(**sheet):
        optics = {"na": 1.1, "refractive_index": 1.33, "pixel_size_um": 0.1, "z_step_um": 0.3}
        return simulate((24, 48, 48), sample="points", seed=2, **optics, **sheet)

    lit, sheet = volume(), volume(sheet_um=0.6)
    assert sheet.psf.sum() == pytest.approx(1)
    np.testing.assert_array_equal(sheet.truth > 0, lit.truth > 0)  # the same sample
    middle = len(lit.psf) // 2
    profile = [psf.sum((1, 2))[middle + 1] / psf.sum((1, 2))[middle] for psf in (lit.psf, sheet.psf)]
    # A slice of widefield holds all light; 0.3 µm off, a sheet of 0.6 µm FWHM is half as bright.
    assert profile == pytest.approx([1, 0.5], rel=0.02)


def test_a_light_sheet_is_for_volumes():
    with pytest.raises(InputError, match=r"sheet thickness 0\.6 µm is for volumes"):
        simulate((48, 48), sheet_um=0.6)
    with pytest.raises(InputError, match="sheet thickness 0 µm must be above 0"):
        simulate((8, 48, 48), sheet_um=0)
