"""Bilateral filter, non-local means and total variation: as defined, with photon noise, slab by slab."""

from itertools import product

import numpy as np
import pytest
import scipy.ndimage as ndi
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from tests.command import zsd
from tests.test_filters import Recorder
from zsd_optics import edge_filters
from zsd_optics.metrics import evaluate
from zsd_optics.noise import estimate_noise, known_noise
from zsd_optics.planewise import PLANES, apply
from zsd_optics.simulate import Camera, simulate
from zsd_optics.stabilise import stabilised, unstabilised
from zsd_runtime.images import Image, Voxel, read_image, write_image

RNG = np.random.default_rng(0)
NOISE = known_noise(100, 1.5, 2)
CAMERA = ("--offset", 100, "--gain", 1.5, "--read-noise", 2)


def edge(shape=(48, 64), low=120, high=320):
    """A step between two flat halves, and the same with photon noise."""
    clean = np.full(shape, float(low))
    clean[..., shape[-1] // 2 :] = high
    return clean, 100 + 1.5 * RNG.poisson((clean - 100) / 1.5) + RNG.normal(0, 2, shape)


def written(folder, data, axes="YX", **voxel):
    path = folder / "a.tif"
    write_image(path, Image(data.astype(np.float32), axes, Voxel.square(**voxel) if voxel else Voxel()))
    return path


@pytest.mark.parametrize("sigmas", [(1.2,), (0.4, 0.7)])
def test_bilateral_is_what_its_definition_says(sigmas):
    shape = (6, 7, 8)[-1 - len(sigmas) :]
    image = RNG.random(shape)
    per_axis = (*sigmas, sigmas[-1])
    radii = [int(np.ceil(3 * sigma)) for sigma in per_axis]
    padded = np.pad(image, [(r, r) for r in radii], mode="symmetric")
    expected = np.zeros(shape)
    for here in np.ndindex(shape):
        values, weights = [], []
        for shift in product(*(range(-r, r + 1) for r in radii)):
            value = padded[tuple(i + r + n for i, r, n in zip(here, radii, shift, strict=True))]
            distance = sum((n / s) ** 2 for n, s in zip(shift, per_axis, strict=True))
            values.append(value)
            weights.append(np.exp(-distance / 2 - ((value - image[here]) / 0.3) ** 2 / 2))
        expected[here] = np.average(values, weights=weights)
    result = edge_filters.bilateral(*sigmas, strength=0.3).function(image)
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_bilateral_without_regard_to_grey_values_is_a_gaussian():
    image = RNG.random((40, 50))
    result = edge_filters.bilateral(1.5, strength=1e6).function(image)
    np.testing.assert_allclose(result, ndi.gaussian_filter(image, 1.5, radius=5), atol=1e-5)


def test_nlm_and_tv_are_scikit_images_between_the_transform_and_its_inverse():
    _, noisy = edge()
    stable = stabilised(noisy, NOISE)
    expected = denoise_nl_means(stable, 3, 4, 0.9, sigma=1.0, preserve_range=True)
    result = edge_filters.nlm(NOISE, 0.9, 3, 4).function(noisy)
    np.testing.assert_allclose(result, unstabilised(expected, NOISE), rtol=1e-5)
    expected = denoise_tv_chambolle(stable, weight=0.8)
    np.testing.assert_allclose(edge_filters.tv(NOISE, 0.8).function(noisy), unstabilised(expected, NOISE), rtol=1e-5)


@pytest.mark.parametrize("kind", ["bilateral", "nlm", "tv"])
def test_noise_goes_in_the_dark_and_in_the_bright_and_the_edge_stays(kind):
    clean, noisy = edge((64, 96))
    make = {"bilateral": lambda: edge_filters.bilateral(1.5, noise=NOISE)}.get(
        kind, lambda: getattr(edge_filters, kind)(NOISE)
    )
    result = make().function(noisy)
    for half in (slice(4, 44), slice(52, 92)):  # the noise differs by 2.3 times
        flat = result[4:-4, half]
        assert flat.std() < 0.5 * noisy[4:-4, half].std()
        assert flat.mean() == pytest.approx(clean[0, half].mean(), rel=0.01)
    step = np.diff(result[:, 46:50].mean(axis=0))
    assert step[1] > 0.85 * 200  # all of the step is between two pixels; a Gaussian of 1.5 px leaves a quarter


@pytest.mark.parametrize(
    ("method", "most"),
    [
        (edge_filters.bilateral(0.6, 1.0, noise=NOISE), PLANES + 4),
        (edge_filters.bilateral(1.0, noise=NOISE), PLANES),
        (edge_filters.nlm(NOISE), PLANES),
        (edge_filters.tv(NOISE), PLANES),
    ],
)
def test_a_few_slices_at_a_time(method, most):
    source = Recorder(edge((50, 12, 14))[1].astype(np.float32))
    result = np.empty(source.shape, np.float32)
    apply(Image(source, "ZYX"), result, method, lambda share: None)
    assert source.most == most
    whole = method.function(source.data) if method.volumes else [method.function(plane) for plane in source.data]
    np.testing.assert_array_equal(result, whole)


@pytest.mark.parametrize("kind", ["bilateral", "nlm", "tv"])
def test_the_noise_is_estimated_and_the_image_comes_nearer_to_the_truth(kind, tmp_path):
    s = simulate((128, 128), photons=30, camera=Camera(100, 1.5, 2), seed=1)
    path = written(tmp_path, s.noisy)
    assert zsd("filter", path, "--kind", kind, "--out", tmp_path).returncode == 0
    result = read_image(tmp_path / f"a_{kind}.tif").data
    assert evaluate(result, s.clean).psnr > evaluate(s.noisy, s.clean).psnr + 5
    noise = estimate_noise([s.noisy.astype(np.float64)])
    made = edge_filters.bilateral(1.5, noise=noise) if kind == "bilateral" else getattr(edge_filters, kind)(noise)
    np.testing.assert_allclose(result, made.function(s.noisy), rtol=1e-5)
    assert zsd("filter", path, "--kind", kind, "--out", tmp_path / "known", *CAMERA).returncode == 0
    known = read_image(tmp_path / "known" / f"a_{kind}.tif").data
    assert not np.array_equal(known, result)
    assert np.abs(known - result).mean() < 1


def test_options_reach_the_filter(tmp_path):
    data = edge((5, 40, 40))[1].astype(np.float32)
    path = written(tmp_path, data, "ZYX", pixel_size_um=0.1, z_step_um=0.3)
    for kind, options, made in [
        ("bilateral", ["--sigma", 2, "--sigma-color", 30], edge_filters.bilateral(2, strength=30)),
        ("bilateral", ["--sigma-um", "0.15x0.12", "--sigma-color", 30], edge_filters.bilateral(0.5, 1.2, strength=30)),
        ("nlm", ["--strength", 1.1, "--size-um", 0.28, "--search", 3, *CAMERA], edge_filters.nlm(NOISE, 1.1, 3, 3)),
        ("tv", ["--strength", 2, *CAMERA], edge_filters.tv(NOISE, 2)),
    ]:  # fmt: skip
        assert zsd("filter", path, "--kind", kind, "--out", tmp_path, *options).returncode == 0
        expected = made.function(data) if made.volumes else [made.function(plane) for plane in data]
        np.testing.assert_allclose(read_image(tmp_path / f"a_{kind}.tif").data, expected, rtol=1e-6)


@pytest.mark.parametrize(("size_um", "size"), [(0.3, 3), (0.1, 1), (0.39, 3), (0.41, 5), (0.02, 1)])
def test_a_size_in_um_is_the_nearest_odd_number_of_pixels(size_um, size, tmp_path):
    data = RNG.random((32, 32))
    path = written(tmp_path, data, pixel_size_um=0.1)
    assert zsd("filter", path, "--kind", "median", "--size-um", size_um, "--out", tmp_path).returncode == 0
    np.testing.assert_array_equal(read_image(tmp_path / "a_median.tif").data, ndi.median_filter(np.float32(data), size))


def test_bad_input_is_refused_and_nothing_is_written(tmp_path):
    path = written(tmp_path, RNG.normal(100, 5, (40, 40)))
    write_image(tmp_path / "flat.tif", Image(np.ones((40, 40), np.uint16), "YX"))
    for name, kind, options, message in [
        ("a", "bilateral", ["--sigma", 0], "sigma 0 px must be above 0"),
        ("a", "bilateral", ["--sigma", 50], "and below 20 pixels"),
        ("a", "bilateral", ["--strength", 0], "--strength 0 must be above 0"),
        ("a", "bilateral", ["--sigma-color", -1], "--sigma-color -1 must be above 0"),
        ("a", "bilateral", ["--sigma-color", 5, "--strength", 2], "--sigma-color and --strength are both given"),
        ("a", "bilateral", ["--sigma-color", 5, "--offset", 2], "--sigma-color and --offset are both given"),
        ("a", "bilateral", ["--sigma", "1x1"], "no slices: give one number"),
        ("a", "bilateral", ["--size", 3], "--size is not for bilateral: it takes --sigma"),
        ("a", "nlm", ["--strength", "nan"], "--strength nan must be above 0"),
        ("a", "nlm", ["--size", 4], "size 4 must be odd"),
        ("a", "nlm", ["--size", "3x5"], "nlm filters planes"),
        ("a", "nlm", ["--size", 3, "--size-um", 0.1], "--size and --size-um are both given"),
        ("a", "nlm", ["--size-um", 0.1], "does not say its pixel size: give it with --pixel-size"),
        ("a", "nlm", ["--search", 0], "--search 0 must be 1 to 100 pixels"),
        ("a", "nlm", ["--gain", 2], "--gain is given without --offset and --read-noise: give all three, or none"),
        ("a", "nlm", ["--gain", 0, "--offset", 1, "--read-noise", 2], "gain 0.0 must be above 0"),
        ("a", "tv", ["--strength", -1], "--strength -1 must be above 0"),
        ("a", "tv", ["--sigma", 1], "--sigma is not for tv: it takes --strength"),
        ("flat", "nlm", [], "no noise to measure"),
    ]:
        result = zsd("filter", path.with_stem(name), "--kind", kind, "--out", tmp_path / "out", *options)
        assert result.returncode == 2, (message, result.stdout, result.stderr)
        assert message in result.stderr, (message, result.stderr)
        assert not list(tmp_path.glob("out/*")), message
