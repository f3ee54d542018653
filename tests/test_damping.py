"""Stripes go, the rest stays; and where there are none, nothing is done."""

import imageio.v3 as iio
import numpy as np
import pytest
import scipy.ndimage as ndi
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.command import zsd
from tests.conftest import SHARED, needs_shared
from zsd_optics.damping import coherence, damped, find_stripes, spectrum_picture
from zsd_runtime import InputError
from zsd_runtime.images import Image, Voxel, read_image, write_image

RNG = np.random.default_rng(0)


def volume(seed, shape=(6, 96, 128)):
    """Blurred points of light on a haze: structure of all sizes."""
    rng = np.random.default_rng(seed)
    points = (rng.random(shape) < 0.003) * rng.exponential(1, shape)
    return (1e4 * ndi.gaussian_filter(points, (1, 1.5, 1.5)) + ndi.gaussian_filter(points, (0, 9, 9)) * 1e4).astype(
        np.float32
    )


def stripes(shape, direction, amplitude, seed=0):
    n = shape[-2] if direction == "horizontal" else shape[-1]
    profile = np.random.default_rng(seed).normal(0, amplitude, n).astype(np.float32)
    return np.broadcast_to(profile[:, None] if direction == "horizontal" else profile, shape)


def published(plane, width, first_row):
    """The published bar (Infer_3D.py), zeroed for |row| >= first_row from the centre, |column| <= width."""
    spectrum = np.fft.fftshift(np.fft.fft2(plane))
    rows, columns = (np.abs(np.arange(n) - n // 2) for n in plane.shape)
    spectrum[(rows >= first_row)[:, None] & (columns <= width)] = 0
    return np.real(np.fft.ifft2(np.fft.ifftshift(spectrum)))


@settings(max_examples=50, deadline=None)
@given(st.integers(4, 40), st.integers(4, 40), st.integers(0, 1), st.floats(0.05, 0.99), st.integers(0, 99))
def test_it_is_the_published_bar_on_the_mirrored_image(rows, columns, width, length, seed):
    plane = np.random.default_rng(seed).normal(10, 1, (rows, columns))
    mirrored = np.pad(plane, ((0, rows), (0, columns)), mode="symmetric")
    expected = published(mirrored, 2 * width, max(1, rows - round(length * rows)))[:rows, :columns]
    np.testing.assert_allclose(damped(plane, "horizontal", width, length), expected, atol=1e-4)


@settings(max_examples=50, deadline=None)
@given(st.integers(4, 60), st.integers(4, 60), st.sampled_from(["horizontal", "vertical"]), st.integers(0, 99))
def test_flux_stays_twice_is_once_and_directions_are_transposes(rows, columns, direction, seed):
    plane = np.random.default_rng(seed).poisson(50, (rows, columns)).astype(np.uint16)
    once = damped(plane, direction)
    assert once.mean(dtype=np.float64) == pytest.approx(plane.mean(dtype=np.float64), rel=1e-6)
    np.testing.assert_allclose(damped(once, direction), once, atol=1e-3)
    other = {"horizontal": "vertical", "vertical": "horizontal"}[direction]
    np.testing.assert_array_equal(damped(plane.T, other), once.T)


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
@pytest.mark.parametrize("period", [2.5, 5, 12])
def test_stripes_of_a_period_go_wherever_they_begin(direction, period):
    """All but what a stripe cut off at the border has in other frequencies; the other direction's stripes stay."""
    n = np.arange(200)
    wave = np.sin(2 * np.pi * n / period + 1)
    image = np.broadcast_to(wave[:, None] if direction == "horizontal" else wave, (200, 200))
    assert damped(image, direction).std() < 0.1 * image.std()
    other = {"horizontal": "vertical", "vertical": "horizontal"}[direction]
    assert np.abs(damped(image, other) - image).max() < 0.05


def test_coarse_structure_and_borders_stay():
    """A slope, whose borders do not fit together, is left as it is: in the published way it rings."""
    y, x = np.mgrid[:128, :128] / 128.0
    slope = 100 * y + 30 * x + 20 * np.cos(2 * np.pi * y)
    assert np.abs(damped(slope) - slope).max() < 2  # of 100
    assert np.abs(published(slope, 1, 8) - slope).max() > 10


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
@pytest.mark.parametrize("seed", range(4))
def test_stripes_are_found_and_nothing_else(seed, direction):
    clean = volume(seed)
    assert find_stripes(list(clean)) == ()
    noisy = np.random.default_rng(seed).poisson(clean + 10)
    assert find_stripes(list(noisy)) == ()
    striped = clean + stripes(clean.shape, direction, 0.2 * np.percentile(clean, 99), seed)
    assert find_stripes(list(striped)) == (direction,)
    restored = np.stack([damped(plane, direction) for plane in striped])
    assert ((restored - clean) ** 2).mean() < 0.3 * ((striped - clean) ** 2).mean()


def test_stripes_in_both_directions_are_found():
    clean = volume(5)
    amplitude = 0.2 * np.percentile(clean, 99)
    striped = clean + stripes(clean.shape, "horizontal", amplitude) + stripes(clean.shape, "vertical", amplitude, 1)
    assert find_stripes(list(striped)) == ("horizontal", "vertical")


@pytest.mark.parametrize("plane", [np.full((64, 64), 98.3), np.zeros((64, 64)), np.ones((1, 9)), np.eye(2), np.eye(40)])
def test_nothing_is_found_where_there_is_nothing(plane):
    assert find_stripes([plane]) == ()
    assert np.isfinite(coherence(plane))


@needs_shared("data")
def test_real_volumes_have_none_that_matter():
    """A deskewed lattice light-sheet cell and a confocal pollen grain, looked at: no stripes to be seen."""
    for name in ("lattice-light-sheet/im_deskewed.tif", "pollen/pollen.tif"):
        assert find_stripes(list(tifffile.imread(SHARED / "data" / name)[::8])) == ()


def test_the_spectrum_shows_the_line_and_that_it_is_gone():
    clean = volume(1)
    striped = clean + stripes(clean.shape, "horizontal", 0.2 * np.percentile(clean, 99))
    picture = spectrum_picture(list(striped), [damped(plane) for plane in striped])
    assert picture.shape == (96, 2 * 128 + 4)
    before, after = picture[:30, :128].astype(float), picture[:30, -128:].astype(float)
    assert before[:, 64].mean() > before[:, 70:80].mean() + 40
    assert after[:, 64].mean() < after[:, 70:80].mean() + 10


@pytest.mark.parametrize(
    ("width", "length", "message"),
    [
        (-1, 0.8, "width -1"),
        (8, 0.8, "width 8"),
        (1, 1.0, "length 1 "),
        (1, 0.0, "length 0 "),
        (1, np.nan, "length nan"),
    ],
)
def test_bars_that_do_not_fit_are_refused(width, length, message):
    with pytest.raises(InputError, match=message):
        damped(np.ones((16, 40)), "horizontal", width, length)


@pytest.mark.parametrize("axes", ["YX", "ZYX", "TCZYX", "TYX"])
@pytest.mark.parametrize("suffix", ["tif", "ome.tif", "zarr"])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_any_axes_and_format(tmp_path, axes, suffix, dtype):
    shape = {"YX": (), "ZYX": (19,), "TCZYX": (2, 2, 9), "TYX": (3,)}[axes] + (64, 80)
    clean = volume(2, (3, 64, 80)).max(axis=0)
    striped = np.broadcast_to(clean + 500 + stripes((64, 80), "vertical", 0.3 * clean.max()), shape)
    striped = np.rint(striped).clip(0).astype(dtype)
    write_image(tmp_path / f"a.{suffix}", Image(striped, axes, Voxel(None, 0.1, 0.1), ome="ome" in suffix))
    result = zsd("damp", tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}", "--spectrum", tmp_path / "s.png")
    assert result.returncode == 0, result.stderr
    assert "vertical stripes damped" in result.stdout + result.stderr
    back = read_image(tmp_path / f"b.{suffix}")
    assert (back.axes, back.data.dtype, (back.voxel.y_um, back.voxel.x_um)) == (axes, dtype, pytest.approx((0.1, 0.1)))
    expected = damped(striped.reshape(-1, 64, 80)[0], "vertical")
    if dtype == "uint16":
        expected = np.rint(expected).clip(0, 65535)
    np.testing.assert_allclose(back.data, np.broadcast_to(expected, shape), rtol=1e-5)
    assert iio.imread(tmp_path / "s.png").shape == (64, 164)


def test_without_stripes_the_values_stay(tmp_path):
    image = RNG.poisson(volume(3) + 5).astype(np.uint16)
    write_image(tmp_path / "a.tif", Image(image, "ZYX"))
    result = zsd("damp", tmp_path / "a.tif", tmp_path / "b.zarr")
    assert result.returncode == 0
    assert "no stripes were found, and nothing was changed" in result.stdout + result.stderr
    np.testing.assert_array_equal(read_image(tmp_path / "b.zarr").data, image)
    forced = zsd(
        "damp", tmp_path / "a.tif", tmp_path / "b.tif", "--stripes", "horizontal", "--width", 0, "--length", 0.5
    )
    assert forced.returncode == 0
    expected = damped(image[4], "horizontal", 0, 0.5)
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif").data[4], np.rint(expected).clip(0))


def test_bad_input_is_refused_and_nothing_is_written(tmp_path):
    write_image(tmp_path / "a.tif", Image(np.ones((16, 16), np.uint16), "YX"))
    bad = np.ones((16, 16), np.float32)
    bad[3, 3] = np.nan
    write_image(tmp_path / "nan.tif", Image(bad, "YX"))
    before = sorted(path.name for path in tmp_path.iterdir())
    for arguments, message in {
        ("a.tif", "b.tif", "--stripes", "diagonal"): "--stripes diagonal must be auto",
        ("a.tif", "b.png"): "must end in .tif or .zarr",
        ("a.tif", "a.tif"): "would replace",
        ("none.tif", "b.tif"): "does not exist",
        ("nan.tif", "b.tif"): "NaN or infinite",
        ("a.tif", "b.tif", "--width", 8): "width 8 must be",
        ("a.tif", "b.tif", "--length", 450): "length 450 must be above 0 and below 1",
    }.items():
        result = zsd("damp", *(tmp_path / a if str(a).endswith((".tif", ".png")) else a for a in arguments))
        assert result.returncode == 2, (arguments, result.stderr)
        assert message in result.stderr
        assert sorted(path.name for path in tmp_path.iterdir()) == before
