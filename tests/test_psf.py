import numpy as np
import pytest
import scipy.ndimage as ndi

from tests.conftest import SHARED, needs_shared
from zsd_optics.optics import Optics
from zsd_optics.psf import fwhm_px, gaussian_psf, prepare_psf, resampled, widefield_psf
from zsd_runtime import InputError
from zsd_runtime.images import read_image


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


def test_planes_use_the_focal_plane_of_a_3d_psf():
    stack = np.stack([np.pad(gaussian_psf(s), 40 - int(np.ceil(4 * s))) for s in (4.0, 2.0, 3.0)])
    np.testing.assert_allclose(prepare_psf(stack, 1, 1), prepare_psf(stack[1], 1, 1), atol=1e-12)


def ball(*sigmas, radius=12):
    """Gaussian with σ (px) an axis, its peak 1."""
    axes = np.meshgrid(*[np.arange(-radius, radius + 1)] * len(sigmas), indexing="ij")
    return np.exp(-0.5 * sum((x / s) ** 2 for x, s in zip(axes, sigmas, strict=True)))


@pytest.mark.parametrize("shift", [(0, 0, 0), (1, -2, 0), (-1, 1, 2)])
def test_a_finer_grid_binned_again_is_what_it_was(shift):
    psf = ball(2.5, 1.5, 1.2, radius=6)
    fine = resampled(psf, np.array(shift) + 6.0, np.full(3, 1 / 3), np.full(3, 10))
    binned = fine.reshape(7, 3, 7, 3, 7, 3).sum(axis=(1, 3, 5))
    np.testing.assert_allclose(binned, psf[tuple(slice(3 + s, 10 + s) for s in shift)], atol=1e-12)


def test_a_coarser_grid_averages_what_it_cannot_hold():
    fine = 1 + np.cos(0.9 * np.pi * np.arange(61))  # 0.45 periods a pixel, 1.35 a new one
    coarse = resampled(fine, np.array([30.0]), np.array([3.0]), np.array([9]))
    assert coarse / 3 == pytest.approx(np.ones(19), abs=0.35)  # samples would swing by 1
    assert resampled(ball(2.0), np.array([12.0]), np.array([2.2]), np.array([5])).sum() == pytest.approx(
        ball(2.0).sum(), rel=1e-6
    )


@pytest.mark.parametrize("new", [(0.3, 0.1), (0.6, 0.05), (0.15, 0.05), (0.2, 0.12)])
def test_a_volume_keeps_its_extent_in_micrometres(new):
    source = ndi.shift(ball(3.0, 2.0, 2.0, radius=16), (2.3, -1.6, 0.7), order=5) * 900 + 100
    result = prepare_psf(source, (0.3, 0.1), new, centre=True)
    assert result.ndim == 3
    assert all(n % 2 for n in result.shape)
    assert result.sum() == pytest.approx(1)
    assert result.min() >= 0
    np.testing.assert_allclose(ndi.center_of_mass(result), np.array(result.shape) // 2, atol=0.05)
    sigmas = fwhm_px(result) * (new[0], new[1], new[1]) / np.sqrt(8 * np.log(2))
    # A voxel integrates: it adds its own variance, 1/12 of its size squared, less that of the old.
    added = (np.array([new[0], new[1], new[1]]) ** 2 - np.array([0.3, 0.1, 0.1]) ** 2) / 12
    np.testing.assert_allclose(sigmas, np.sqrt(np.array([0.9, 0.2, 0.2]) ** 2 + added), rtol=0.02)


def test_theory_stays_what_it_is():
    voxel = (0.15, 0.05)
    psf = Optics(1.1, 525, 1.33).psf((41, 65, 65), voxel)
    result = prepare_psf(psf, voxel, voxel)
    assert fwhm_px(result) == pytest.approx(fwhm_px(psf), rel=0.005)
    assert np.unravel_index(result.argmax(), result.shape) == tuple(n // 2 for n in result.shape)


def test_fwhm_of_a_gaussian():
    assert fwhm_px(ball(1.0, 2.0, 3.3)) == pytest.approx(2.3548 * np.array([1.0, 2.0, 3.3]), rel=0.015)
    assert fwhm_px(ball(40.0, 2.0))[0] == np.inf


VOLUME = ball(3.0, 2.0, 2.0, radius=10)
BAD_VOLUMES = {
    "even slices": (VOLUME[1:], (0.3, 0.1), (0.3, 0.1), "20x21x21; a PSF needs an odd size .* crop it to 19x21x21"),
    "a plane": (VOLUME[10], (0.3, 0.1), (0.3, 0.1), "21x21 with voxels of 0.3x0.1 .* needs a PSF that has Z"),
    "no z step": (VOLUME, 0.1, (0.3, 0.1), "voxels of 0.1 µm; .* 0.3x0.1 µm needs .* its z step"),
    "isotropic": (VOLUME[1:-1:3], (0.1, 0.1), (0.3, 0.1), "0.1x0.1x0.1 .* no objective .* correct"),
    "coarse": (ball(3, 0.7, 0.7), (0.3, 0.2), (0.3, 0.1), r"FWHM of 1\.\d+ px along Y; .* needs 2 \(Nyquist\)"),
    "coarse in z": (ball(0.8, 3, 3), (1.0, 0.1), (0.3, 0.1), "along Z; .* from 1 to 0.3 .* steps of at most 0.9"),
    "off centre": (
        np.pad(VOLUME, ((0, 14), (0, 0), (0, 0))),
        (0.3, 0.1),
        (0.3, 0.1),
        "z 10, .* `centre_psf`",
    ),
}


@pytest.mark.parametrize("name", BAD_VOLUMES)
def test_bad_volumes_are_refused(name):
    psf, old, new, message = BAD_VOLUMES[name]
    with pytest.raises(InputError, match=message):
        prepare_psf(psf, old, new)


def test_a_coarse_psf_is_good_enough_for_its_own_grid():
    assert prepare_psf(ball(3, 0.7, 0.7), (0.3, 0.2), (0.3, 0.2)).ndim == 3


@needs_shared("data/lattice-light-sheet")
def test_a_measured_bead_becomes_a_volume():
    stack = read_image(SHARED / "data/lattice-light-sheet/psf.tif").data
    with pytest.raises(InputError, match="61x128x128; a PSF needs an odd size"):
        prepare_psf(stack, (0.1, 0.1), (0.3, 0.05))
    psf = prepare_psf(stack, (0.1, 0.1), (0.3, 0.05), centre=True)
    assert fwhm_px(psf) * (0.3, 0.05, 0.05) == pytest.approx([0.7, 0.3, 0.3], abs=0.03)
    assert max(psf.shape) < 60


@needs_shared("data/pollen")
def test_an_even_sized_gaussian_file_is_centred():
    psf = prepare_psf(read_image(SHARED / "data/pollen/pollen_psf.tif").data, (1.0, 1.0), (1.0, 1.0), centre=True)
    assert fwhm_px(psf) == pytest.approx([2.355] * 3, rel=0.02)


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
    "even": (np.pad(gaussian_psf(2.0), 5)[1:, 1:], "crop it to 25x25, or set `centre_psf`"),
    "zero": (np.zeros((9, 9)), "constant"),
    "constant": (np.ones((9, 9)), "constant"),
    "negative": (_with(-1.0), "not negative"),
    "nan": (_with(np.nan), "NaN"),
    "complex": (np.ones((9, 9), complex), "complex128"),
    "4d": (np.ones((3, 3, 3, 3)), "YX or ZYX"),
    "tiny": (np.ones((1, 1)), "at least 3x3"),
    "corner": (np.pad(gaussian_psf(1.0), ((0, 40), (0, 40))), "`centre_psf`"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_psfs_are_refused(name):
    psf, message = BAD[name]
    with pytest.raises(InputError, match=message):
        prepare_psf(psf, 1.0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((1.6, 525, 0.05), "below the refractive index"), ((1.0, 5.25, 0.05), "nanometres"), ((1.0, 525, 0), "above 0")],
)
def test_impossible_optics_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        widefield_psf(*arguments)


@pytest.mark.parametrize("sigma", [0, -1, np.nan])
def test_impossible_sigmas_are_refused(sigma):
    with pytest.raises(InputError, match="sigma"):
        gaussian_psf(sigma)
