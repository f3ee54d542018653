import numpy as np
import pytest
import scipy.ndimage as ndi

from tests.conftest import SHARED, needs_shared
from zsd_optics.beads import average_beads, bead_note
from zsd_optics.optics import Optics
from zsd_optics.psf import fwhm_px, resampled
from zsd_runtime import InputError
from zsd_runtime.images import read_image

VOXEL = (0.2, 0.06)
PSF = Optics(1.1, 525, 1.33).psf((35, 51, 51), VOXEL)
SIZE = (17, 27, 27)
GOOD = [(24.3, 30.4, 32.1, 1.0), (23.8, 34.7, 110.6, 0.7), (24.4, 100.2, 40.8, 0.9), (22.6, 118.5, 116.3, 0.5)]


def field(beads, *, photons=2000, background=20, clip=65535, seed=0):
    """Beads at sub-pixel (z, y, x) with a brightness, in 49x160x160 voxels of camera counts."""
    expected = np.full((49, 160, 160), float(background))
    for *place, brightness in beads:
        whole = np.rint(place).astype(int)
        middle = np.array(PSF.shape) // 2 - (np.array(place) - whole)
        bead = resampled(PSF, middle, np.ones(3), np.array([12, 20, 20]))
        corner = whole - (12, 20, 20)
        low = np.maximum(-corner, 0)
        high = np.minimum(bead.shape, np.array(expected.shape) - corner)
        target = tuple(slice(c + a, c + b) for c, a, b in zip(corner, low, high, strict=True))
        source = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        expected[target] += np.clip(bead[source], 0, None) / PSF.max() * photons * brightness
    return np.minimum(np.random.default_rng(seed).poisson(expected), clip).astype(np.uint16)


def error(psf):
    """Largest difference from the known PSF, of its peak, both over the same voxels."""
    cut = tuple(slice((n - m) // 2, (n + m) // 2) for n, m in zip(PSF.shape, psf.shape, strict=True))
    return np.abs(psf / psf.max() - PSF[cut] / PSF.max()).max()


def test_the_average_of_noisy_shifted_beads_is_the_psf():
    beads = average_beads(field(GOOD), VOXEL, SIZE)
    np.testing.assert_allclose(sorted(beads.centres.tolist()), sorted(b[:3] for b in GOOD), atol=0.05)
    assert error(beads.psf) < 0.04
    assert fwhm_px(beads.psf) == pytest.approx(fwhm_px(PSF), rel=0.03)
    assert beads.psf.sum() == pytest.approx(1)
    assert beads.psf.min() >= 0


def test_a_plane_of_beads_works_alike():
    stack = field(GOOD)[24]
    assert average_beads(stack, VOXEL[1:], SIZE[1:]).psf.ndim == 2


def test_the_box_follows_from_the_beads():
    beads = average_beads(field(GOOD), VOXEL)
    assert len(beads.centres) == 4
    assert error(beads.psf) < 0.04


def test_every_rejection_is_counted():
    spoilt = [
        (24, 8, 70, 1.0),  # its box does not fit
        (24, 70, 74, 6.0),  # clipped
        (24, 75, 20, 1.0), (24, 75, 32, 1.0),  # a clump
    ]  # fmt: skip
    wide = ndi.gaussian_filter(field([(24, 75, 110, 1.0)], photons=8000, background=0).astype(float), (0, 2.5, 2.5))
    stack = np.minimum(field(GOOD + spoilt) + wide.astype(int), 2500)
    beads = average_beads(stack, VOXEL, SIZE)
    assert beads.rejected == {"too near to the border": 1, "clipped": 1, "in clumps": 2, "outliers in width": 1}
    assert beads.report.startswith("4 beads averaged, rejected: 1 too near to the border, 1 clipped, 2 in clumps")


@pytest.mark.parametrize(
    ("beads", "message"),
    [
        ([], "0 found"),
        ([(24, 8, 70, 1.0), (24, 90, 8, 1.0)], "2 found, rejected: 2 too near to the border"),
        ([(24, 70, 70, 6.0)], "1 clipped"),
        ([(24, 75, 60, 1.0), (24, 75, 72, 1.0)], "2 in clumps"),
    ],
)
def test_no_usable_bead_is_an_error_with_the_counts(beads, message):
    with pytest.raises(InputError, match=f"no usable bead.*{message}"):
        average_beads(field(beads, clip=4095), VOXEL, SIZE)


@pytest.mark.parametrize(
    ("stack", "size", "message"),
    [
        (np.ones((4, 5, 6, 7)), None, "YX or ZYX"),
        (np.full((5, 6, 7), np.nan), None, "finite"),
        (np.ones((9, 9, 9)), (3, 3), "3 odd numbers"),
        (np.ones((9, 9, 9)), (3, 4, 3), "3x4x3 must be"),
        (np.ones((9, 9, 9)), None, "no usable bead"),
    ],
)
def test_what_is_no_stack_of_beads_is_refused(stack, size, message):
    with pytest.raises(InputError, match=message):
        average_beads(stack, VOXEL, size)


def test_the_bead_widens_as_a_ball_does():
    # The projection of a ball of diameter 2 has the variance 4/20: samples of it, drawn.
    points = np.random.default_rng(0).uniform(-1, 1, (200_000, 3))
    assert points[(points**2).sum(axis=1) < 1].var(axis=0).mean() == pytest.approx(4 / 20, rel=0.01)
    assert "beads of 100 nm widen the PSF by 2.9 %, which is little" in bead_note(100, 225)
    assert "which matters" in bead_note(200, 225)
    assert "up to 130 nm" in bead_note(None, 225)
    with pytest.raises(InputError, match="does not fit"):
        bead_note(0.1e4, 225)


@needs_shared("data/beads-confocal")
def test_four_confocal_beads_make_one_psf():
    image = read_image(SHARED / "data/beads-confocal/Bead_Image1_crop.tif")
    beads = average_beads(image.data, (0.125, 0.0225))
    assert len(beads.centres) == 4
    assert sum(beads.rejected.values()) == 0
    # As measured on each of the four: 531-571 nm, 213-245 nm and 159-166 nm.
    assert fwhm_px(beads.psf) * (125, 22.5, 22.5) == pytest.approx((550, 232, 166), rel=0.07)


@needs_shared("data/lattice-light-sheet")
def test_a_single_bead_on_a_background_is_enough():
    stack = read_image(SHARED / "data/lattice-light-sheet/psf.tif").data
    beads = average_beads(stack, (0.1, 0.1))
    assert beads.centres == pytest.approx(np.array([[30, 71, 64]]), abs=1)
    assert fwhm_px(beads.psf) == pytest.approx([7, 3, 3], abs=0.5)
