"""Fourier ring correlation and decorrelation analysis: known cut-offs, noise, invariances, other programs' results."""

import json

import numpy as np
import pytest
import scipy.ndimage as ndi
import tifffile

from tests.command import zsd
from tests.scenes import GAIN, OFFSET, READ_NOISE, camera, scene
from zsd_optics.noise import estimate_noise
from zsd_optics.noise_model import NoiseModel, known_noise
from zsd_optics.resolution import (
    decorrelation_analysis,
    fourier_ring_correlation,
    single_image_correlation,
    split_image,
)
from zsd_optics.simulate import Camera, simulate
from zsd_runtime import InputError

THRESHOLDS = ("1/7", "3-sigma", "half-bit", "one-bit")


def band_limited(shape, cutoff, seed=0, steps=None):
    """White noise of standard deviation 1 without the frequencies above the cut-off (cycles per pixel of X)."""
    axes = [np.fft.fftfreq(n) / step for n, step in zip(shape, steps or [1] * len(shape), strict=True)]
    radius = np.sqrt(sum(f**2 for f in np.meshgrid(*axes, indexing="ij")))
    image = np.fft.ifftn(np.fft.fftn(np.random.default_rng(seed).normal(size=shape)) * (radius < cutoff)).real
    return image / image.std()


def exposures(image, noise, seed=1):
    rng = np.random.default_rng(seed)
    return [image + noise * rng.normal(size=image.shape) for _ in "ab"]


@pytest.mark.parametrize("cutoff", [0.2, 0.3, 0.4])
@pytest.mark.parametrize("noise", [0.3, 1.0])
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_the_frc_of_a_band_limited_signal_is_its_cut_off(cutoff, noise, threshold):
    a, b = exposures(band_limited((512, 500), cutoff), noise)
    found = fourier_ring_correlation(a, b, threshold=threshold, window="hann")
    assert found.resolution_px == pytest.approx(1 / cutoff, rel=0.05)
    assert found.reason == ""


@pytest.mark.parametrize(("cutoff", "noise"), [(0.1, 0.1), (0.1, 1.0), (0.2, 0.3), (0.2, 1.0), (0.3, 0.3)])
def test_decorrelation_of_a_band_limited_signal_is_its_cut_off(cutoff, noise):
    image, _ = exposures(band_limited((256, 240), cutoff), noise)
    assert decorrelation_analysis(image).resolution_px == pytest.approx(1 / cutoff, rel=0.05)


def test_shells_of_a_volume_are_round_in_physical_frequency():
    a, b = exposures(band_limited((24, 128, 128), 0.25, steps=(3, 1, 1)), 0.3)
    found = fourier_ring_correlation(a, b, pixel_size_um=0.1, z_step_um=0.3, window="hann")
    assert found.resolution_px == pytest.approx(4, rel=0.08)
    assert found.resolution_um == pytest.approx(0.1 * found.resolution_px)
    cubes = fourier_ring_correlation(a, b, window="hann")  # frequencies along Z are then too high
    assert abs(cubes.resolution_px - 4) > abs(found.resolution_px - 4)
    with pytest.raises(InputError, match="pixel_size"):
        fourier_ring_correlation(a, b, z_step_um=0.3)


def test_identical_images_have_no_crossing():
    image = band_limited((96, 64), 0.2)
    found = fourier_ring_correlation(image, image)
    assert found.resolution_px == np.inf
    assert "never falls" in found.reason
    np.testing.assert_allclose(found.correlation, 1)


@pytest.mark.parametrize("shape", [(64, 96), (101, 128), (256, 200)])
def test_noise_has_no_resolution(shape):
    for seed in range(10):
        a, b = np.random.default_rng(seed).poisson(20, (2, *shape))
        for threshold in THRESHOLDS:
            found = fourier_ring_correlation(a, b, threshold=threshold)
            assert np.isnan(found.resolution_px)
            assert "noise hides" in found.reason
        found = decorrelation_analysis(a)
        assert np.isnan(found.resolution_px)
        assert "no curve has a maximum" in found.reason


@pytest.mark.parametrize("shape", [(33, 97), (64, 63), (128, 128)])
def test_thresholds_and_rings(shape):
    a, b = exposures(band_limited(shape, 0.2), 0.5)
    for threshold in THRESHOLDS:
        found = fourier_ring_correlation(a, b, threshold=threshold)
        assert found.frequencies.shape == found.correlation.shape == found.threshold.shape == found.smooth.shape
        assert (np.diff(found.frequencies) > 0).all()
        assert found.frequencies[-1] <= 0.5
        assert np.abs(found.correlation).max() <= 1 + 1e-9


def test_the_correlation_of_noise_stays_below_three_sigma():
    """Its standard deviation is 1 / √n, so that 3 / √(n / 2) is 4.2 of them."""
    curves = []
    for seed in range(60):
        found = fourier_ring_correlation(*np.random.default_rng(seed).normal(size=(2, 96, 96)), threshold="3-sigma")
        curves.append(found.correlation)
    ratio = 3 * np.std(curves, axis=0)[5:-1] / found.threshold[5:-1]
    assert ratio.mean() == pytest.approx(2**-0.5, rel=0.1)


def test_scale_offset_and_data_type_change_nothing():
    a, b = (np.rint(20 * x + 200) for x in exposures(band_limited((120, 101), 0.2), 0.3))
    frc, decorrelation = fourier_ring_correlation(a, b), decorrelation_analysis(a)
    for change in (lambda x: 7 * x - 300, lambda x: x.astype(np.uint16), lambda x: (x / 3).astype(np.float64)):
        assert fourier_ring_correlation(change(a), change(b)).resolution_px == pytest.approx(frc.resolution_px)
        assert decorrelation_analysis(change(a)).resolution_px == pytest.approx(decorrelation.resolution_px)


def test_the_pixel_size_scales_the_result():
    a, b = exposures(band_limited((96, 96), 0.2), 0.3)
    for found in (fourier_ring_correlation(a, b, pixel_size_um=0.1), decorrelation_analysis(a, pixel_size_um=0.1)):
        assert found.resolution_um == pytest.approx(0.1 * found.resolution_px)
    assert fourier_ring_correlation(a, b).resolution_um is None


def test_blur_makes_the_resolution_coarser():
    clean = scene((256, 256), photons=3000, sigma=0.8)
    frc, decorrelation = [], []
    for sigma in (1.0, 1.5, 2.5, 4.0):
        a, b = (camera(ndi.gaussian_filter(clean, sigma), seed) for seed in (0, 1))
        frc.append(fourier_ring_correlation(a, b).resolution_px)
        decorrelation.append(decorrelation_analysis(a).resolution_px)
    assert sorted(frc) == frc
    assert sorted(decorrelation) == decorrelation
    assert frc[-1] > 1.5 * frc[0]


@pytest.mark.parametrize("level", [2.0, 20.0, 200.0])
def test_halves_of_a_flat_image_are_independent_and_add_up(level):
    noise, rng = known_noise(OFFSET, GAIN, READ_NOISE), np.random.default_rng(0)
    counts = camera(np.full((300, 300), level))
    a, b = split_image(counts, noise, rng)
    np.testing.assert_allclose((a + b) / 2, counts)
    assert a.mean() == pytest.approx(counts.mean(), rel=0.005)
    assert a.var() == pytest.approx(2 * noise.variance(counts.mean()), rel=0.05)
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("photons", [30.0, 300.0])
@pytest.mark.parametrize("threshold", ["1/7", "half-bit"])
def test_one_image_shows_what_two_exposures_show(photons, threshold):
    """The correction for half the light: without it, the resolution would be coarser."""
    clean = scene((384, 384), photons=photons)
    first, second = camera(clean, 0), camera(clean, 1)
    two = fourier_ring_correlation(first, second)
    noise = known_noise(OFFSET, GAIN, READ_NOISE)
    one = single_image_correlation(first, noise)
    assert one.resolution_px == pytest.approx(two.resolution_px, rel=0.06)
    plain = fourier_ring_correlation(*split_image(first, noise, np.random.default_rng(0)))
    assert plain.resolution_px > one.resolution_px
    # Where thresholds hold for halves, the corrected curve crosses the corrected threshold at the same place.
    halves = fourier_ring_correlation(*split_image(first, noise, np.random.default_rng(0)), threshold=threshold)
    corrected = single_image_correlation(first, noise, threshold=threshold, splits=1, seed=0)
    expected = 2 * halves.correlation / (1 + np.abs(halves.correlation))
    np.testing.assert_allclose(corrected.correlation, expected)
    if threshold == "half-bit":
        assert corrected.resolution_px == pytest.approx(halves.resolution_px, rel=0.03)


def test_photo_electrons_that_are_unknown_or_shared_are_not_split():
    image, rng = camera(scene()), np.random.default_rng(0)
    with pytest.raises(InputError, match="gain"):
        split_image(image, NoiseModel(0.0, 4.0, 4.0, 100.0), rng)
    with pytest.raises(InputError, match="along Y and X"):
        split_image(image, NoiseModel(2.0, -196.0, 4.0, 100.0, correlated="YX"), rng)


# The published program, ImDecorr's getDcorr.m (commit 090950e), rewritten in NumPy with 200 radii and the whole
# Gaussian, of the first exposure below. NanoPyx (test_oracles.py) differs in details; its result of the clean image
# changes from 3.40 to 3.82 pixels when the image is scaled, and at 20 photo-electrons it is -0.0.
IM_DECORR = {100: 4.032, 500: 3.599}


@pytest.fixture(scope="module")
def simulated():
    pairs = {}
    for photons in IM_DECORR:
        made = simulate((512, 512), photons=photons, camera=(lens := Camera(100, 1, 2)), seed=1)
        electrons = np.maximum(made.clean.astype(np.float64) - 100, 0)
        pairs[photons] = made.noisy, lens.expose(electrons, np.random.default_rng(7))
    return pairs


@pytest.mark.parametrize("photons", IM_DECORR)
def test_decorrelation_agrees_with_the_published_program(photons, simulated):
    assert decorrelation_analysis(simulated[photons][0]).resolution_px == pytest.approx(IM_DECORR[photons], rel=0.03)


@pytest.mark.parametrize("photons", [100, 500])
def test_one_simulated_image_with_estimated_noise(photons, simulated):
    noisy, _ = simulated[photons]
    found = single_image_correlation(noisy, estimate_noise([noisy.astype(np.float64)]))
    assert found.resolution_px == pytest.approx(fourier_ring_correlation(*simulated[photons]).resolution_px, rel=0.05)


BAD = {
    "constant": (np.full((64, 64), 3.0), "constant"),
    "small": (np.random.default_rng(0).random((31, 90)), "31x90.*32x32"),
    "not finite": (np.where(np.eye(64) > 0, np.nan, 1.0), "not finite"),
    "line": (np.arange(64.0), "axes"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_has_no_resolution_is_said(name):
    image, message = BAD[name]
    with pytest.raises(InputError, match=message):
        fourier_ring_correlation(image, image)
    with pytest.raises(InputError, match=message):
        decorrelation_analysis(image)


def test_bad_choices():
    a, b = np.random.default_rng(0).random((2, 64, 64))
    for options in ({"threshold": "1/8"}, {"window": "box"}, {"pixel_size_um": 0.0}, {"z_step_um": np.nan}):
        with pytest.raises(InputError):
            fourier_ring_correlation(a, b, **options)
    with pytest.raises(InputError, match="64x64 and 64x60"):
        fourier_ring_correlation(a, b[:, :60])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resolution")
    clean = scene((160, 144), photons=300)
    movie = np.stack([camera(clean, 0), camera(clean, 1)])
    known = {"resolution": (10, 10), "imagej": True}
    tifffile.imwrite(folder / "a.tif", movie[0], metadata={"axes": "YX", "unit": "um"}, **known)
    tifffile.imwrite(folder / "movie.tif", movie, metadata={"axes": "TYX", "unit": "um"}, **known)
    tifffile.imwrite(folder / "bare.tif", movie[0])
    tifffile.imwrite(folder / "filtered.tif", ndi.gaussian_filter(movie[0].astype(np.float32), 1.5))
    volume = np.stack([camera(scene((96, 96), photons=100), seed) for seed in range(6)])
    tifffile.imwrite(folder / "z.tif", volume, metadata={"axes": "ZYX", "unit": "um", "spacing": 0.3}, **known)
    return folder


def test_one_image_from_the_command_line(files, tmp_path):
    result = zsd("resolution", files / "a.tif", "--plot", tmp_path / "curves.png")
    assert result.returncode == 0, result.stderr
    first, second, last = result.stdout.splitlines()
    assert first.startswith("decorrelation ")
    assert second.startswith("FRC, one image ")
    assert last.startswith("OK ")
    assert " nm" in last
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    bare = zsd("resolution", files / "bare.tif", "--quiet").stdout
    assert bare.count("\n") == 1
    assert " nm" not in bare
    scaled = json.loads(zsd("resolution", files / "bare.tif", "--pixel-size", 0.1, "--json").stdout)["frc_one_image"]
    assert scaled["resolution_nm"] == pytest.approx(100 * scaled["resolution_px"])


def test_two_frames_of_a_movie(files):
    arguments = ("resolution", files / "movie.tif", "--frame", 0, "--with", files / "movie.tif", "--with-frame", 1)
    result = zsd(*arguments, "--json")
    assert result.returncode == 0, result.stderr
    values = json.loads(result.stdout)
    one = json.loads(zsd("resolution", files / "movie.tif", "--frame", 0, "--json").stdout)
    two = values["frc_two_images"]["resolution_px"]
    assert one["frc_one_image"]["resolution_px"] == pytest.approx(two, rel=0.1)
    assert values["decorrelation"] == one["decorrelation"]


def test_a_filtered_image_has_no_frc_of_its_own(files):
    result = zsd("resolution", files / "filtered.tif")
    assert result.returncode == 0, result.stderr
    assert "no FRC of this image alone" in result.stderr
    assert "FRC" not in result.stdout


def test_a_volume_from_the_command_line(files):
    result = zsd("resolution", files / "z.tif")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("OK ")
    assert zsd("resolution", files / "z.tif", "--frame", 2).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("movie.tif",), "--frame"),
        (("movie.tif", "--frame", 2), "--frame 2 must be 0 to 1"),
        (("a.tif", "--with-frame", 1), "--with-frame needs a second image"),
        (("a.tif", "--threshold", "0.2"), "--threshold 0.2 must be one of"),
        (("a.tif", "--plot", "curves.svg"), "must end in .png"),
    ],
)
def test_bad_input_of_the_verb(arguments, message, files):
    result = zsd("resolution", files / arguments[0], *arguments[1:])
    assert result.returncode == 2
    assert message in result.stderr
