"""Classical filters: as scipy computes them, on files of any axes, with memory that does not grow."""

import numpy as np
import pytest
import scipy.ndimage as ndi

from tests.command import zsd
from zsd_optics import filters
from zsd_optics.planewise import PLANES, apply
from zsd_optics.psf import gaussian_psf
from zsd_runtime.images import Description, Image, Voxel, read_image, write_image

RNG = np.random.default_rng(0)
VOLUME = RNG.poisson(30, (21, 32, 40)).astype(np.uint16)

# Options of `zsd filter`, and what scipy gives for a volume.
FILTERS = {
    "gaussian": (["--sigma", 1.2], lambda v: ndi.gaussian_filter(v, (0, 1.2, 1.2), output=np.float32)),
    "gaussian of volumes": (["--sigma", "0.8x1.2"], lambda v: ndi.gaussian_filter(v, (0.8, 1.2, 1.2), output="f4")),
    "gaussian in µm": (["--sigma-um", "0.3x0.12"], lambda v: ndi.gaussian_filter(v, (1, 1.2, 1.2), output="f4")),
    "gaussian, default": ([], lambda v: ndi.gaussian_filter(v, (0, 1, 1), output=np.float32)),
    "median": (["--size", 5], lambda v: ndi.median_filter(v, (1, 5, 5))),
    "median of volumes": (["--size", "3x5"], lambda v: ndi.median_filter(v, (3, 5, 5))),
    "box": (["--size", 3], lambda v: ndi.uniform_filter(v, (1, 3, 3), output=np.float32)),
    "box of volumes": (["--size", "5x3"], lambda v: ndi.uniform_filter(v, (5, 3, 3), output=np.float32)),
}


def zsd_filter(image, kind, out, *options):
    result = zsd("filter", image, "--kind", kind, "--out", out, *options)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("OK ")
    return result.stdout


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("suffix", [".ome.tif", ".zarr"])
def test_local_filters_are_scipys_slab_by_slab(name, suffix, tmp_path):
    options, expected = FILTERS[name]
    kind = name.split()[0].rstrip(",")
    path = tmp_path / f"a{suffix}"
    write_image(
        path, Image(VOLUME, "ZYX", Voxel.square(0.1, 0.3), ome="ome" in suffix, description=Description("cell"))
    )
    zsd_filter(path, kind, tmp_path / "out", *options)
    (made,) = (tmp_path / "out").iterdir()
    assert made.name == f"a_{kind}{'.zarr' if suffix == '.zarr' else '.tif'}"
    image = read_image(made)
    assert (image.axes, image.data.dtype, image.description.name) == ("ZYX", np.float32, "cell")
    assert (image.voxel.z_um, image.voxel.y_um) == pytest.approx((0.3, 0.1))
    np.testing.assert_array_equal(image.data, expected(VOLUME))


@pytest.mark.parametrize(("axes", "shape"), [("YX", (32, 40)), ("TYX", (3, 32, 40)), ("TCZYX", (2, 2, 5, 32, 40))])
def test_any_axes(axes, shape, tmp_path):
    data = RNG.poisson(30, shape).astype(np.uint16)
    write_image(tmp_path / "a.tif", Image(data, axes, Voxel.square(0.1, 0.3)))
    zsd_filter(tmp_path / "a.tif", "median", tmp_path, "--dtype", "uint16")
    image = read_image(tmp_path / "a_median.tif")
    assert (image.axes, image.data.dtype) == (axes, np.uint16)
    np.testing.assert_array_equal(image.data, ndi.median_filter(data, (1,) * (len(shape) - 2) + (3, 3)))
    options = ("--na", 1.1, "--wavelength", 525, "--grid-factor", 2, "--iterations", 2)
    text = zsd_filter(tmp_path / "a.tif", "richardson-lucy", tmp_path, *options)
    assert "counts of offset subtracted" in text
    fine = read_image(tmp_path / "a_richardson-lucy.tif")
    assert fine.data.shape == (*shape[:-2], 64, 80)
    assert fine.voxel.x_um == pytest.approx(0.05)


class Recorder:
    """An array that remembers how many slices were read at once."""

    def __init__(self, data):
        self.data, self.shape, self.dtype, self.most = data, data.shape, data.dtype, 0

    def __getitem__(self, box):
        part = self.data[box]
        self.most = max(self.most, len(part))
        return part


@pytest.mark.parametrize(
    ("what", "most"),
    [(filters.gaussian(1.0, 1.0), PLANES + 8), (filters.median(3, 3), PLANES + 2), (filters.box(9), 8)],
)
def test_local_filters_read_a_few_slices_at_a_time(what, most):
    source = Recorder(RNG.random((50, 8, 9)).astype(np.float32))
    result = np.empty(source.shape, np.float32)
    apply(Image(source, "ZYX"), result, what, lambda share: None)
    assert source.most == most
    whole = what.function(source.data) if what.volumes else [what.function(plane) for plane in source.data]
    np.testing.assert_array_equal(result, whole)


def points(shape, seed=0):
    """Sparse points of light away from the border, and the same blurred."""
    truth = np.zeros(shape)
    inside = tuple(slice(n // 4, 3 * n // 4) for n in shape)
    truth[inside] = np.random.default_rng(seed).random(truth[inside].shape) < 0.01
    psf = gaussian_psf(*(1.5, 1.5)[: len(shape) - 1])
    return 1000 * truth, ndi.convolve(1000 * truth, psf, mode="constant"), psf


@pytest.mark.parametrize("shape", [(64, 64), (24, 40, 40)])
@pytest.mark.parametrize("kind", ["richardson-lucy", "wiener"])
def test_deconvolution_keeps_flux_and_is_nearer_to_the_truth(shape, kind, tmp_path):
    truth, blurred, _ = points(shape)
    write_image(tmp_path / "a.tif", Image(100 + blurred.astype(np.float32), "ZYX"[-len(shape) :], Voxel()))
    sigma = {2: "1.5", 3: "1.5x1.5"}[len(shape)]
    zsd_filter(tmp_path / "a.tif", kind, tmp_path, "--psf-sigma", sigma, "--offset", 100)
    result = read_image(tmp_path / f"a_{kind}.tif").data.astype(np.float64)
    assert result.sum() == pytest.approx(blurred.sum(), rel=0.01)
    assert result.std() > 1.3 * blurred.std()
    assert ((result - truth) ** 2).mean() < ((blurred - truth) ** 2).mean()


def test_richardson_lucy_from_a_psf_file_onto_a_finer_grid(tmp_path):
    truth, blurred, psf = points((64, 64))
    raw = blurred.reshape(32, 2, 32, 2).mean(axis=(1, 3)).astype(np.float32)
    write_image(tmp_path / "psf.tif", Image(psf.astype(np.float32), "YX", Voxel.square(0.05)))
    write_image(tmp_path / "a.zarr", Image(raw, "YX", Voxel.square(0.1)))
    zsd_filter(tmp_path / "a.zarr", "richardson-lucy", tmp_path, "--psf", tmp_path / "psf.tif", "--grid-factor", 2,
               "--offset", 0, "--iterations", 50)  # fmt: skip
    image = read_image(tmp_path / "a_richardson-lucy.zarr")
    assert image.voxel.x_um == pytest.approx(0.05)
    assert image.data.sum() == pytest.approx(truth.sum(), rel=0.02)
    assert np.corrcoef(image.data.ravel(), truth.ravel())[0, 1] > np.corrcoef(blurred.ravel(), truth.ravel())[0, 1]


def photons(truth, psf, seed=0):
    """Counts of a blurred scene with photon noise, without an offset."""
    return np.random.default_rng(seed).poisson(ndi.convolve(truth, psf, mode="nearest")).astype(np.float32)


def lucy(image, psf, **options):
    return filters.iterative_filter(psf, 0.0, **options).function(image)


@pytest.mark.parametrize(("shape", "grid_factor"), [((64, 64), 1), ((64, 64), 2), ((12, 32, 32), 1)])
def test_total_variation_smooths_flat_areas_and_leaves_edges(shape, grid_factor):
    truth = np.full(shape, 20.0)
    truth[..., shape[-1] // 2 :] = 200
    psf = gaussian_psf(*(1.0, 1.0 * grid_factor)[3 - len(shape) :])
    image = photons(truth, gaussian_psf(*(1.0, 1.0)[3 - len(shape) :]))
    plain, smooth = (lucy(image, psf, iterations=60, grid_factor=grid_factor, tv=tv) for tv in (0.0, 0.05))
    n = plain.shape[-1]
    for half in (slice(4, n // 2 - 8), slice(n // 2 + 8, n - 4)):
        assert smooth[..., 4:-4, half].std() < 0.4 * plain[..., 4:-4, half].std()
        assert smooth[..., half].mean() == pytest.approx(plain[..., half].mean(), rel=0.03)
    rise = [np.diff(x.mean(axis=tuple(range(x.ndim - 1))))[n // 2 - 2 : n // 2 + 1].max() for x in (plain, smooth)]
    assert rise[1] > 0.7 * rise[0]
    assert smooth.min() >= 0
    assert smooth.sum() == pytest.approx(plain.sum(), rel=0.005)


@pytest.mark.parametrize("tv", [0.002, 0.05, 0.29])
def test_total_variation_keeps_flux_and_positivity_up_to_the_largest_weight(tv):
    truth, blurred, psf = points((64, 64))
    result = lucy(photons(truth, psf), psf, iterations=30, tv=tv)
    assert np.isfinite(result).all()
    assert result.min() >= 0
    assert result.sum() == pytest.approx(blurred.sum(), rel=0.02)


def test_without_total_variation_nothing_changes():
    _, blurred, psf = points((40, 40))
    for a, b in zip(
        filters.richardson_lucy(blurred, psf, 1, 3), filters.richardson_lucy(blurred, psf, 1, 3, tv=0.0), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", [(9, 11), (4, 7, 8)])
def test_curvature_is_the_slope_of_the_total_variation(shape):
    x = RNG.random(shape)

    def total(image):
        return np.sqrt(sum(np.diff(image, axis=a, append=image.take([-1], a)) ** 2 for a in range(x.ndim)) + 0.01).sum()

    moved = RNG.normal(0, 1, shape)
    slope = (total(x + 1e-6 * moved) - total(x - 1e-6 * moved)) / 2e-6
    assert slope == pytest.approx(-(filters.curvature(x, 0.1) * moved).sum(), rel=1e-3)
    assert filters.curvature(x, 0.1).sum() == pytest.approx(0, abs=1e-9)
    assert np.abs(filters.curvature(x, 1e-12)).max() <= x.ndim + x.ndim**0.5


def test_bad_input_is_refused_and_nothing_is_written(tmp_path):
    write_image(tmp_path / "a.tif", Image(np.ones((16, 16), np.uint16), "YX"))
    bad = np.ones((16, 16), np.float32)
    bad[3, 3] = np.nan
    write_image(tmp_path / "nan.tif", Image(bad, "YX"))
    for image, kind, options, message in [
        ("a", "sharpen", [], "--kind sharpen must be one of gaussian, median"),
        ("a", "median", ["--sigma", 1], "--sigma is not for median: it takes --size"),
        ("a", "gaussian", ["--psf-sigma", 1], "--psf-sigma is not for gaussian: it takes --sigma, --sigma-um"),
        ("a", "gaussian", ["--sigma", 0], "sigma 0 px must be above 0"),
        ("a", "gaussian", ["--sigma", "wide"], "--sigma wide must be a number, for"),
        ("a", "gaussian", ["--sigma", "1x2x3"], "--sigma 1x2x3 must be a number, for"),
        ("a", "gaussian", ["--sigma", "1x2"], "no slices: give one number"),
        ("a", "gaussian", ["--sigma", 1, "--sigma-um", 1], "--sigma and --sigma-um are both given"),
        ("a", "gaussian", ["--sigma-um", 0.2], "does not say its pixel size: give it with --pixel-size"),
        ("a", "median", ["--size", 4], "size 4 must be odd"),
        ("a", "box", ["--size", 3, "--dtype", "uint8"], "--dtype uint8 must be one of float32, uint16"),
        ("a", "wiener", [], "the PSF is given by nothing"),
        ("a", "wiener", ["--psf-sigma", 1, "--noise-ratio", 0, "--offset", 1], "noise ratio 0 must be above 0"),
        ("a", "richardson-lucy", ["--psf-sigma", 1, "--iterations", 0, "--offset", 1], "iterations 0 must be"),
        ("a", "richardson-lucy", ["--psf-sigma", 1, "--grid-factor", 3, "--offset", 1], "grid factor 3"),
        ("a", "richardson-lucy", ["--psf-sigma", 1, "--offset", 1, "--tv", -0.1], "--tv -0.1 must be 0 or above"),
        (
            "a",
            "richardson-lucy",
            ["--psf-sigma", 1, "--offset", 1, "--tv", 0.3],
            "0.3 must be 0 or above and below 0.29",
        ),
        ("a", "wiener", ["--psf-sigma", 1, "--tv", 0.1], "--tv is not for wiener"),
        ("a", "richardson-lucy", ["--psf-sigma", 1], "give --offset"),
        ("nan", "gaussian", [], "NaN or infinite"),
        ("none", "gaussian", [], "does not exist"),
    ]:
        result = zsd("filter", tmp_path / f"{image}.tif", "--kind", kind, "--out", tmp_path / "out", *options)
        assert result.returncode == 2, (message, result.stdout, result.stderr)
        assert message in result.stderr, (message, result.stderr)
        assert not list(tmp_path.glob("out/*")), message
