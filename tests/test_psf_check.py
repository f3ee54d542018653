"""What is wrong with a PSF is found, in all its variants; what is right passes, whatever the optics."""

import numpy as np
import pytest
import scipy.ndimage as ndi

from tests.conftest import SHARED, needs_shared
from zsd_optics.beads import average_beads
from zsd_optics.optics import Optics, generate_psf
from zsd_optics.otf import psf_from_otf, read_otf
from zsd_optics.psf import gaussian_psf, prepare_psf
from zsd_optics.psf_check import judge_psf
from zsd_optics.psf_measure import fwhm_px
from zsd_runtime import InputError
from zsd_runtime.images import read_image

OIL = Optics(1.4, 525)


def gauss(shape, *sigma, at=None):
    """Gaussian with σ (px) in the middle, or at a place; its peak 1."""
    at = [n // 2 for n in shape] if at is None else at
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    sigmas = sigma * len(shape) if len(sigma) == 1 else sigma
    return np.exp(-0.5 * sum(((x - a) / s) ** 2 for x, a, s in zip(axes, at, sigmas, strict=True)))


def recorded(psf, photons=500, seed=0):
    """As a camera records it: photons, an offset of 100 counts, and noise."""
    rng = np.random.default_rng(seed)
    return np.rint(100 + rng.poisson(psf / psf.max() * photons) + rng.normal(0, 2, psf.shape)).astype(np.uint16)


def with_values(psf, value, *places):
    psf = psf.copy()
    for place in places:
        psf[place] = value
    return psf


def zernike(**waves):
    """Focal plane of NA 1.4 with aberrations (waves of the Zernike polynomials of Noll), 31 nm pixels."""
    n = 256
    y, x = (np.indices((n, n)) - n // 2) / (1.4 / 525 * 31 * n)
    r, t = np.hypot(x, y), np.arctan2(y, x)
    shapes = {
        "coma": np.sqrt(8) * (3 * r**3 - 2 * r) * np.cos(t),
        "astigmatism": np.sqrt(6) * r**2 * np.cos(2 * t),
        "spherical": np.sqrt(5) * (6 * r**4 - 6 * r**2 + 1),
        "defocus": np.sqrt(3) * (2 * r**2 - 1),
        "trefoil": np.sqrt(8) * r**3 * np.cos(3 * t),
    }
    phase = sum((2 * np.pi * amount * shapes[name] for name, amount in waves.items()), np.zeros((n, n)))
    field = np.fft.fftshift(np.fft.fft2(np.where(r <= 1, np.exp(1j * phase), 0)))
    return (np.abs(field) ** 2)[n // 2 - 40 : n // 2 + 41, n // 2 - 40 : n // 2 + 41]


G = gauss((41, 41), 3.0)
V = gauss((25, 41, 41), 3.5, 3.0, 3.0)
WIDEFIELD = OIL.psf((41, 65, 65), (0.1, 0.05))
BEAD = recorded(G)
TWO = "second peak"
RING = np.hypot(*np.ogrid[-20:21, -20:21])
CAMERA_HOT = with_values(recorded(V), 4000, (slice(None), 8, 30))  # the same pixel in all slices

REFUSED = {
    "two beads": (G + 0.8 * np.roll(G, (9, 12), (0, 1)), TWO),
    "two equal beads": (gauss((41, 61), 3.0, at=(20, 20)) + gauss((41, 61), 3.0, at=(20, 40)), TWO),
    "three beads": (G + 0.5 * np.roll(G, (14, 0), (0, 1)) + 0.3 * np.roll(G, (0, -13), (0, 1)), TWO),
    "close beads": (G + 0.9 * np.roll(G, 11, 1), TWO),
    "a ghost of 15 %": (G + 0.15 * np.roll(G, (-11, 13), (0, 1)), TWO),
    "two recorded beads": (recorded(G + 0.3 * np.roll(G, (12, 12), (0, 1)), 1000), TWO),
    "two beads in a volume": (V + 0.7 * np.roll(V, (4, 12, -10), (0, 1, 2)), TWO),
    "beads above each other": (
        gauss((49, 31, 31), 3, at=(12, 15, 15)) + 0.8 * gauss((49, 31, 31), 3, at=(34, 15, 15)),
        TWO,
    ),
    "a field of beads": (
        ndi.gaussian_filter(np.random.default_rng(1).random((99, 99)) > 0.998, 2.0, output=float),
        TWO,
    ),
    "clipped at 44 %": (np.minimum(100 + 9000 * G, 4095).astype(np.uint16), "clipped"),
    "clipped at 60 %": (np.minimum(G, 0.6), "clipped"),
    "clipped at 8 bit": (np.minimum(330 * G, 255).astype(np.uint8), "clipped"),
    "a clipped bead": (np.minimum(recorded(G, 5000), 4095), "clipped"),
    "a clipped bead of few pixels": (np.minimum(recorded(gauss((21, 21), 1.1), 3000), 1800), "clipped"),
    "a clipped volume": (np.minimum(recorded(V, 3000), 2047), "clipped"),
    "one pixel": (with_values(np.zeros((21, 21)), 1.0, (10, 10)), "one pixel"),
    "one pixel of a camera": (with_values(recorded(0 * G + 1, 0), 900, (20, 20)), "one pixel|no peak"),
    "a hot pixel in darkness": (with_values(recorded(0 * V + 1, 0), 900, (12, 20, 20)), "one pixel|no peak"),
    "dead row": (with_values(BEAD, 0, (19,)), "dark row"),
    "dead column, no offset": (with_values(G, 0, (slice(None), 21)), "dark column .x 21"),
    "bright row": (with_values(BEAD, 900, (5,)), "bright row .y 5"),
    "blank slice": (with_values(V, 0, (10,)), "dark slice .z 10"),
    "dead row in a volume": (with_values(recorded(V), 0, (slice(None), 22)), "dark row .y 22"),
    "corner first": (np.fft.ifftshift(G), r"corner.*\(Y, X\).*`centre_psf`"),
    "corner first, even": (np.fft.fftshift(gauss((40, 40), 3.0)), r"corner.*\(Y, X\)"),
    "corner first, shifted the wrong way": (np.fft.fftshift(G), r"corner.*\(Y, X\)"),
    "corner first in 3D": (np.fft.ifftshift(WIDEFIELD), r"corner.*\(Z, Y, X\)"),
    "focus in the first slice": (np.concatenate([V[12:], V[:12]]), r"corner.*\(Z\)"),
    "corner first, recorded": (np.fft.ifftshift(BEAD), r"corner.*\(Y, X\)"),
    "half of it in Z": (V[12:], "cut off in Z"),
    "half of it in Y": (G[20:], "cut off in Y"),
    "less than its half in a volume": (V[9:16], "cut off in Z"),
    "far too tight": (G[17:24, 17:24], "cut off in Y"),
    "inverted": ((255 - 255 * G).astype(np.uint8), "invert"),
    "inverted volume": (4000 - recorded(V), "invert"),
    "negative": (-G, "not negative"),
    "background subtracted twice": (G - 0.3, "not negative"),
    "sharpened": (G - 1.0 * gauss((41, 41), 5.0) / 2.2, "not negative"),
    "sharpened on an offset": (100 + 90 * (G - 0.5 * gauss((41, 41), 5.0)), "darker beside its peak"),
    "ring": (np.exp(-0.5 * ((RING - 8) / 2) ** 2), "dark in its middle"),
    "donut": (G * (RING / 4) ** 2, "dark in its middle"),
    "recorded ring": (recorded(np.exp(-0.5 * ((RING - 8) / 2.5) ** 2)), "dark in its middle"),
    "out of focus": (zernike(defocus=0.5), "dark in its middle"),
    "only noise": (recorded(0 * G + 1, 0), "no peak|second peak"),
    "counts that overflowed": ((100 + 90000 * G).astype(np.int64).astype(np.uint16), "dark in its middle|second peak"),
    "a padded crop": (np.pad(recorded(G), 8), "border of the value 0"),
    "a padded volume": (np.pad(recorded(V), 5), "border of the value 0"),
    "padded with white": (np.pad(recorded(G[10:31, 10:31]), 6, constant_values=300), "border of the value 300|darker"),
    "even": (gauss((40, 40), 3.0), "odd size.* crop it to 39x39, or set `centre_psf`"),
    "off centre": (np.roll(gauss((61, 61), 3.0), (8, -6), (0, 1)), "far from its middle"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_make_wrong_images_is_refused(name):
    psf, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        judge_psf(psf).settled("the PSF", print)


WARNED = {
    "a hot pixel": (with_values(BEAD, 4000, (5, 7)), "1 hot or dead pixel"),
    "a hot pixel in the bead": (with_values(BEAD, 4000, (22, 21)), "1 hot or dead pixel"),
    "two hot pixels side by side": (with_values(BEAD, 4000, (5, 7), (5, 8)), "2 hot or dead pixels"),
    "hot pixels of all sizes": (with_values(with_values(BEAD, 300, (5, 7)), 60000, (33, 3)), "2 hot or dead pixels"),
    "a hot pixel of a camera in all slices": (CAMERA_HOT, "25 hot or dead pixels"),
    "a dead pixel": (with_values(BEAD, 0, (19, 21)), "1 hot or dead pixel"),
    "a hot pixel beside a narrow bead": (with_values(gauss((21, 21), 0.8), 3.0, (4, 4)), "1 hot or dead pixel"),
    "tight crop": (G[14:27, 14:27], "cut off in Y: .* 1. % of its peak"),
    "tight crop on an offset": (recorded(G[14:27, 14:27], 3000), "cut off in X"),
    "tight crop on one side": (gauss((61, 29), 5.0, at=(30, 17)), "cut off in X: its last column"),
    "tight volume": (V[7:18, 12:29, 12:29], "cut off in Z"),
    "tight in Z at one end": (V[6:-4], "cut off in Z: its first slice"),
    "flat top": (ndi.gaussian_filter(np.minimum(gauss((61, 61), 6.0), 0.6), 1.0), "flat top"),
    "a disc": (ndi.gaussian_filter((RING < 7) * 1.0, 1.0), "flat top"),
    "slope": (recorded(G) + np.linspace(0, 150, 41)[:, None], "background that changes .* along Y"),
    "slope in X of a volume": (recorded(V) + np.linspace(150, 0, 41), "background that changes .* along X"),
    "bleaching": (recorded(V) + np.linspace(90, 0, 25)[:, None, None], "background that changes .* along Z"),
    "noise": (recorded(G, 15), "is noisy"),
    "sum of the slices": (OIL.psf((81, 161, 161), (0.1, 0.05)).sum(axis=0), "of its light further"),
    "drift": (gauss((61, 61), 6.0, 3.0), "2.0 times as wide in Y"),
    "pixels not square, recorded": (recorded(gauss((41, 61), 2.5, 5.0), 1000), "times as wide in X"),
    "binomial": (np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]), "cut off in Y"),
    "a lobe of coma": (zernike(coma=0.1), "lobe of an aberration"),
}


@pytest.mark.parametrize("name", WARNED)
def test_what_is_doubtful_is_told_and_used(name):
    psf, message = WARNED[name]
    told = []
    judge_psf(psf).settled("the PSF", told.append)
    assert len(told) >= 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError("\n".join(told))


FINE = {
    "Gaussian": G,
    "volume": V,
    "recorded": BEAD,
    "recorded volume": recorded(V),
    "dim": recorded(G, 60),
    "large array": gauss((301, 301), 3.0),
    "coarse": recorded(gauss((15, 15), 1.5), 800),
    "few pixels": recorded(gauss((21, 21), 1.0)),
    "undersampled": gauss((21, 21), 0.6),
    "undersampled, recorded": recorded(gauss((21, 21), 0.7)),
    "between pixels": gauss((21, 21), 1.2, at=(10.5, 10.5)),
    "between voxels": gauss((21, 21, 21), 1.2, at=(10.5, 10.5, 10.5)),
    "rounded to 8 bit": np.rint(255 * gauss((121, 121), 15.0)).astype(np.uint8),
    "upside down": recorded(OIL.psf((41, 65, 65), (0.1, 0.05)) ** 1.1)[::-1],
    "padded with its background": np.pad(G, 20),
    "background subtracted": recorded(G).astype(float) - 100,
    "not square": gauss((41, 61), 3.0),
    "on a large offset": 50000.0 + 1000 * G,
    "tiny numbers": 1e-9 * G,
    "large bead": ndi.gaussian_filter(np.sqrt(np.clip(1 - (RING / 8) ** 2, 0, None)), 3.0),
    "coma": zernike(coma=0.05),
    "astigmatism": zernike(astigmatism=0.08),
    "spherical": zernike(spherical=0.08),
    "trefoil": zernike(trefoil=0.06),
    "spherical and coma": zernike(spherical=0.05, coma=0.04),
    "slightly out of focus": zernike(defocus=0.1),
}


@pytest.mark.parametrize("name", FINE)
def test_what_is_right_has_no_fault(name):
    assert judge_psf(FINE[name]).faults == ()


def random_optics(rng):
    """An objective, a kind of microscope and a grid, as people may have them; the array holds the PSF."""
    index = rng.choice([1.0, 1.33, 1.406, 1.515])
    na, nm = rng.uniform(0.3, min(1.49, index - 0.03)), rng.uniform(450, 700)
    optics = Optics(na, nm, index, "vectorial" if na > 1 and rng.random() < 0.5 else "scalar")
    z_step, pixel = optics.nyquist_um * rng.uniform(0.35, 1, 2)
    side = 2 * int(min(40, np.ceil(rng.uniform(1, 3) * nm / 1000 / na / pixel))) + 1
    depth = 0.88 * nm / 1000 / (index - np.sqrt(index**2 - na**2))
    slices = 2 * int(np.ceil(rng.uniform(1.2, 2.5) * depth / z_step)) + 1
    axes = rng.integers(2, 4)
    kind = rng.choice(["widefield", "confocal", "light-sheet"])
    options = {
        "widefield": {},
        "confocal": {"pinhole_au": rng.uniform(0, 2), "excitation_nm": nm - rng.uniform(0, 60)},
        "light-sheet": {"sheet_um": rng.uniform(0.8, 6)},
    }
    shape, voxel = (slices, side, side)[-axes:], (z_step, pixel)[-axes + 1 :]
    return optics, generate_psf(optics, shape, voxel, kind, **options[kind]), voxel


@pytest.mark.parametrize("seed", range(40))
def test_no_false_alarm_for_any_optics(seed):
    rng = np.random.default_rng(seed)
    optics, psf, voxel = random_optics(rng)
    assert judge_psf(psf, voxel, optics=optics).faults == ()
    bead = judge_psf(recorded(psf, 10 ** rng.uniform(2.3, 4), seed), voxel, optics=optics)
    assert bead.faults == ()
    assert fwhm_px(bead.psf) == pytest.approx(fwhm_px(psf), rel=0.12)  # few photons in few pixels


def with_second_bead(psf, rng):
    """20 to 95 % as bright, at least 2.2 FWHM away in the plane."""
    while True:
        away = rng.uniform(-0.4, 0.4, psf.ndim) * psf.shape * ([0.3, 1, 1][-psf.ndim :])
        if np.hypot(*(away / fwhm_px(psf))[-2:]) > 2.2:
            return psf + rng.uniform(0.2, 0.95) * np.roll(psf, away.astype(int), range(psf.ndim))


FAULTS = {  # what happens to a PSF, to its record, and what must be found
    "second bead": (with_second_bead, lambda bead, rng: bead, "second peak"),
    "hot pixel": (
        lambda psf, rng: psf,
        lambda bead, rng: with_values(bead, 65000, tuple(rng.integers(bead.shape))),
        "hot or dead pixel",
    ),
    "corner first": (lambda psf, rng: psf, lambda bead, rng: np.fft.ifftshift(bead), "corner"),
    "inverted": (lambda psf, rng: psf, lambda bead, rng: bead.max() - bead, "dark"),
    "half": (lambda psf, rng: psf, lambda bead, rng: bead[len(bead) // 2 :], "cut off"),
    "dead row": (
        lambda psf, rng: psf,
        lambda bead, rng: with_values(bead, 0, (..., bead.shape[-2] // 2, slice(None))),
        "dark row",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("seed", range(100, 112))
def test_no_fault_is_missed_for_any_optics(name, seed):
    rng = np.random.default_rng(seed)
    before, after, message = FAULTS[name]
    _, psf, voxel = random_optics(rng)
    bead = after(recorded(before(psf / psf.max(), rng), 10 ** rng.uniform(2.7, 4), seed), rng)
    assert any(message in fault.what for fault in judge_psf(bead, voxel).faults)


@pytest.mark.parametrize("sigma", [0.5, 0.7, 1.0, 2.0, 5.0, 20.0])
def test_no_false_alarm_for_gaussians(sigma):
    assert judge_psf(gaussian_psf(sigma)).faults == ()
    for depth in (0.5, 2.0, 9.0):
        assert judge_psf(gaussian_psf(depth, min(sigma, 5.0))).faults == ()


WIDTHS = {
    "offset and photons": recorded(G),
    "other photons": recorded(G, 800, seed=1),
    "slope": recorded(G, 800) + np.linspace(0, 240, 41)[:, None],
    "hot pixel": with_values(BEAD, 4000, (5, 7)),
    "hot pixel in the bead": with_values(recorded(G, 2000), 60000, (22, 21)),
    "corner first": np.fft.ifftshift(recorded(G, 2000)),
    "wide": recorded(gauss((65, 65), 6.0)),
    "volume": recorded(gauss((31, 41, 41), 3.0), 300),
    "large numbers": 60000 * G,
}


@pytest.mark.parametrize("name", WIDTHS)
def test_widths_are_right_with_noise_and_background(name):
    sigma = 6.0 if name == "wide" else 3.0
    expected = sigma * np.sqrt(8 * np.log(2))
    assert fwhm_px(judge_psf(WIDTHS[name], centre=True).psf) == pytest.approx(expected, rel=0.03)


SIZES = {  # PSF, voxel size (µm), optics, refused?, message
    "no fault": (WIDEFIELD, (0.1, 0.05), OIL, None, ""),
    "z step left at the pixel size": (V, (0.0313, 0.0313), None, False, "check its z step"),
    "z step far too large": (V, (3.0, 0.0313), None, False, "too deep"),
    "z step in nanometres": (V, (300.0, 0.0313), None, False, "too deep"),
    "z step far too small": (V, (0.003, 0.0313), None, True, "no objective can do: correct the PSF's z step"),
    "pixel size of the camera": (WIDEFIELD, (0.1, 6.5), None, True, "correct the PSF's z step"),
    "pixel size in nanometres": (G, (31.3,), None, False, "more than 20 µm"),
    "pixel size in millimetres": (G, (3.13e-5,), None, False, "less than 0.08 µm"),
    "pixel size doubled": (OIL.psf((65, 65), (0.05,)), (0.1,), OIL, False, "NA 1.4 makes 0.139 to 0.191 µm"),
    "pixel size halved": (OIL.psf((65, 65), (0.05,)), (0.025,), OIL, False, "check its pixel size"),
    "z step doubled": (WIDEFIELD, (0.25, 0.05), OIL, False, "µm deep; NA 1.4 makes"),
    "another objective": (Optics(0.5, 525).psf((65, 65), (0.05,)), (0.05,), OIL, False, "NA 1.4 makes"),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_that_optics_cannot_make(name):
    psf, voxel, optics, refused, message = SIZES[name]
    faults = judge_psf(psf, voxel, optics=optics).faults
    assert [fault.refuse for fault in faults][:1] == ([] if refused is None else [refused])
    assert all(message in f"{fault.what}: {fault.remedy}" for fault in faults[:1])


@needs_shared("data/lattice-light-sheet", "data/beads-confocal", "data/otf", "data/sim-2d-microtubules")
def test_measured_psfs_pass():
    bead = read_image(SHARED / "data/lattice-light-sheet/psf.tif").data
    assert judge_psf(bead, (0.1, 0.1), centre=True).faults == ()
    assert judge_psf(average_beads(bead, (0.1, 0.1)).psf, (0.1, 0.1)).faults == ()
    field = read_image(SHARED / "data/beads-confocal/Bead_Image1_crop.tif").data
    assert any(TWO in fault.what for fault in judge_psf(field, (0.125, 0.0225)).faults)
    average = average_beads(field, (0.125, 0.0225))
    assert judge_psf(average.psf, (0.125, 0.0225)).faults == ()
    for z, y, x in average.centres.astype(int):
        single = field[max(0, z - 9) : z + 10, y - 25 : y + 26, x - 25 : x + 26]
        assert judge_psf(single, (0.125, 0.0225), centre=True).faults == ()
    for name in ("otf/*.mrc", "sim-2d-microtubules/TIRF*.mrc"):
        for path in (SHARED / "data").glob(name):
            psf, voxel = psf_from_otf(read_otf(path))
            assert judge_psf(psf, voxel).faults == ()


def test_a_psf_stored_for_ffts_is_used_if_asked():
    told = []
    psf = prepare_psf(np.fft.ifftshift(WIDEFIELD), (0.1, 0.05), (0.1, 0.05), centre=True, notice=told.append)
    np.testing.assert_allclose(psf, prepare_psf(WIDEFIELD, (0.1, 0.05), (0.1, 0.05)), atol=1e-5)
    assert len(told) == 1
    assert "it was moved to the middle" in told[0]


def test_a_hot_pixel_does_not_choose_the_focal_plane():
    stack = np.stack([recorded(gauss((41, 41), s), 500 / s) for s in (6.0, 3.0, 6.0)])
    stack[2, 5, 7] = 4000
    psf = prepare_psf(stack, 0.05, 0.05)
    assert fwhm_px(psf) == pytest.approx(7.06, rel=0.04)


def test_a_focus_outside_of_the_stack_is_told():
    told = []
    stack = np.stack([gauss((61, 61), s) / s**2 for s in (3.0, 4.0, 5.0)])
    prepare_psf(stack, 0.05, 0.05, notice=told.append)
    assert "brightest in its first slice" in told[0]


def test_a_psf_without_blur_is_told():
    told = []
    prepare_psf(gauss((101, 101), 3.0), 0.03, 0.3, notice=told.append)
    assert "less than a pixel of the deconvolved grid" in told[0]
