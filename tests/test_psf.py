import numpy as np
import pytest
import scipy.ndimage as ndi

from tests.conftest import SHARED, needs_shared
from zsd_runtime import InputError
from zsd_runtime.images import read_image
from zsd_train.psf import gaussian_psf, prepare_psf, widefield_psf


def width(psf):
    """Standard deviation (px) along X."""
    x = np.arange(psf.shape[1]) - psf.shape[1] // 2
    return np.sqrt((psf.sum(axis=0) * x**2).sum() / psf.sum())


def test_widefield_psf_is_an_airy_disk():
    psf = widefield_psf(0.5, 500, 0.05, 1.0, radius_px=40)
    line = psf[40, 40:]
    first_minimum = np.argmax(np.diff(line) > 0) * 0.05
    assert first_minimum == pytest.approx(0.61 * 0.5 / 0.5, abs=0.05)  # Rayleigh: 0.61 λ / NA, µm
    assert psf.sum() == pytest.approx(1)
    assert np.unravel_index(psf.argmax(), psf.shape) == (40, 40)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.7])
def test_resampling_keeps_the_width_in_micrometres(factor):
    source = np.pad(gaussian_psf(3.0), 10)
    result = prepare_psf(source, 0.1, 0.1 * factor)
    assert width(result) * factor == pytest.approx(3.0, rel=0.05)
    assert result.sum() == pytest.approx(1)
    assert result.shape[0] % 2 == 1


def test_an_off_centre_peak_on_a_background_is_centred():
    source = ndi.shift(np.pad(gaussian_psf(2.0), 20), (4.3, -6.6), order=3) * 1000 + 142
    result = prepare_psf(source[:, :-1], 1.0, 1.0, centre=True)
    assert ndi.center_of_mass(result) == pytest.approx([result.shape[0] // 2] * 2, abs=0.05)
    assert width(result) == pytest.approx(2.0, rel=0.05)


def test_of_a_3d_psf_the_focal_plane_is_taken():
    stack = np.stack([np.pad(gaussian_psf(s), 40 - int(np.ceil(4 * s))) for s in (4.0, 2.0, 3.0)])
    np.testing.assert_allclose(prepare_psf(stack, 1, 1), prepare_psf(stack[1], 1, 1), atol=1e-12)


@needs_shared("data/lattice-light-sheet")
def test_a_measured_lattice_light_sheet_bead():
    stack = read_image(SHARED / "data/lattice-light-sheet/psf.tif").data
    with pytest.raises(InputError, match="128x128; a PSF needs an odd size"):
        prepare_psf(stack, 0.1, 0.05)
    psf = prepare_psf(stack, 0.1, 0.05, centre=True)
    profile = psf[psf.shape[0] // 2]
    assert np.sum(profile > profile.max() / 2) * 0.5 == pytest.approx(3, abs=1)  # FWHM in camera pixels
    assert min(psf.shape) < 100


def _with(value):
    psf = np.pad(gaussian_psf(2.0), 4)
    psf[3, 3] = value
    return psf


BAD = {
    "even": (np.ones((64, 64)), "crop it to 63x63, or pass --centre-psf"),
    "zero": (np.zeros((9, 9)), "constant"),
    "constant": (np.ones((9, 9)), "constant"),
    "negative": (_with(-1.0), "not negative"),
    "nan": (_with(np.nan), "NaN"),
    "complex": (np.ones((9, 9), complex), "complex128"),
    "4d": (np.ones((3, 3, 3, 3)), "YX or ZYX"),
    "tiny": (np.ones((1, 1)), "at least 3x3"),
    "corner": (np.pad(gaussian_psf(1.0), ((0, 40), (0, 40))), "--centre-psf"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_psfs_are_told(name):
    psf, message = BAD[name]
    with pytest.raises(InputError, match=message):
        prepare_psf(psf, 1.0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((1.6, 525, 0.05), "below the refractive index"), ((1.0, 5.25, 0.05), "nanometres"), ((1.0, 525, 0), "above 0")],
)
def test_impossible_optics_are_told(arguments, message):
    with pytest.raises(InputError, match=message):
        widefield_psf(*arguments)


@pytest.mark.parametrize("sigma", [0, -1, np.nan])
def test_impossible_sigmas_are_told(sigma):
    with pytest.raises(InputError, match="sigma"):
        gaussian_psf(sigma)
