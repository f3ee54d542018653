import numpy as np
import pytest

from zsd_optics.optics import Optics, generate_psf
from zsd_optics.psf import fwhm_px
from zsd_runtime import InputError

VOXEL = (0.05, 0.02)  # µm
SHAPE = (121, 81, 81)
WATER = Optics(1.1, 525, 1.33)


def fwhm_um(psf, voxel=VOXEL):
    return fwhm_px(psf)[:2] * voxel


@pytest.mark.parametrize(("na", "n", "wavelength"), [(0.8, 1.0, 500), (1.1, 1.33, 525), (1.4, 1.515, 600)])
def test_widefield_has_the_width_and_depth_of_the_textbook(na, n, wavelength):
    um = wavelength / 1000
    axial, lateral = fwhm_um(Optics(na, wavelength, n).psf(SHAPE, VOXEL))
    assert lateral == pytest.approx(0.51 * um / na, rel=0.05)
    assert axial == pytest.approx(0.88 * um / (n - np.sqrt(n**2 - na**2)), rel=0.06)


def test_nyquist_is_half_the_shortest_period():
    assert Optics(1.0, 500, 1.25).nyquist_um == pytest.approx((0.5, 0.125))  # √(1.25² − 1) = 0.75


def test_a_closed_pinhole_squares_the_widefield_psf():
    widefield = WATER.psf(SHAPE, VOXEL)
    confocal = generate_psf(WATER, SHAPE, VOXEL, "confocal", pinhole_au=0)
    np.testing.assert_allclose(confocal, widefield**2 / np.sum(widefield**2), atol=1e-12)
    assert fwhm_um(confocal) == pytest.approx(fwhm_um(widefield) / np.sqrt(2), rel=0.03)


def test_an_open_pinhole_leaves_the_excitation():
    confocal = generate_psf(WATER, SHAPE[1:], VOXEL[1:], "confocal", pinhole_au=10, excitation_nm=488)
    np.testing.assert_allclose(fwhm_px(confocal), fwhm_px(Optics(1.1, 488, 1.33).psf(SHAPE[1:], VOXEL[1:])), rtol=0.01)


def test_one_airy_unit_is_between():
    widths = [fwhm_um(generate_psf(WATER, SHAPE, VOXEL, "confocal", pinhole_au=au)).tolist() for au in (0.0, 1.0, 5.0)]
    assert np.all(np.diff(widths, axis=0) > 0)


def test_a_thin_sheet_gives_the_depth_and_leaves_the_width():
    sheet = generate_psf(WATER, SHAPE, VOXEL, "light-sheet", sheet_um=0.4)
    axial, lateral = fwhm_um(sheet)
    alone = fwhm_um(WATER.psf(SHAPE, VOXEL))
    # Near their peaks both are Gaussian, and the inverse squares of widths add.
    assert axial == pytest.approx((alone[0] ** -2 + 0.4**-2) ** -0.5, rel=0.03)
    assert lateral == pytest.approx(alone[1], rel=0.01)


@pytest.mark.parametrize("model", ["scalar", "vectorial"])
@pytest.mark.parametrize(
    ("kind", "options"), [("widefield", {}), ("confocal", {"pinhole_au": 1.0}), ("light-sheet", {"sheet_um": 1.0})]
)
def test_every_kind_sums_to_1_and_peaks_in_the_middle(model, kind, options):
    for axes in (2, 3):
        psf = generate_psf(
            Optics(1.2, 525, 1.33, model), (31, 33, 33)[-axes:], (0.1, 0.05)[-axes + 1 :], kind, **options
        )
        assert psf.sum() == pytest.approx(1)
        assert psf.min() >= 0
        assert np.unravel_index(psf.argmax(), psf.shape) == (15, 16, 16)[-axes:]


def test_vectorial_light_is_wider_at_high_na():
    scalar, vectorial = (
        fwhm_um(Optics(1.4, 525, 1.515, model).psf(SHAPE, VOXEL))[1] for model in ("scalar", "vectorial")
    )
    assert 1.05 < vectorial / scalar < 1.2


BAD = {
    "coarse pixel": ({"voxel_um": (0.1, 0.2)}, r"pixel size 0.2 µm is coarser than Nyquist's λ/\(4 NA\) = 0.1193"),
    "coarse z": ({"voxel_um": (0.5, 0.05)}, r"z step 0.5 µm .* = 0.4507"),
    "even": ({"shape": (30, 33, 33)}, "must be odd"),
    "oblong": ({"shape": (31, 33, 35)}, "equal in Y and X"),
    "2d size": ({"shape": (33, 33)}, "ZxYxX with one"),
    "kind": ({"kind": "sted"}, "widefield, confocal, light-sheet"),
    "no sheet": ({"kind": "light-sheet"}, "needs its FWHM"),
    "flat sheet": ({"kind": "light-sheet", "sheet_um": 0}, "above 0"),
    "sheet": ({"sheet_um": 1.0}, "others have none"),
    "pinhole": ({"pinhole_au": 1.0}, "for confocal"),
    "negative pinhole": ({"kind": "confocal", "pinhole_au": -1}, "0 to 100"),
    "negative z": ({"voxel_um": (-0.1, 0.05)}, "z step -0.1 µm must be above 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_optics_are_refused(name):
    changes, message = BAD[name]
    with pytest.raises(InputError, match=message):
        generate_psf(WATER, **{"shape": (31, 33, 33), "voxel_um": (0.1, 0.05)} | changes)


def test_an_unknown_model_is_refused():
    with pytest.raises(InputError, match="scalar or vectorial"):
        Optics(1.1, 525, 1.33, "gaussian")
