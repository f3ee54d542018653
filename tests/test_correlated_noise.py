"""Noise that neighbouring pixels share: measured, said, and learnt with."""

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage as ndi
import torch

from tests.command import zsd
from tests.conftest import SHARED, TINY, needs_shared
from zsd_export import export
from zsd_export.package.provenance import trained_on
from zsd_optics.noise import NoiseModel, estimate_noise
from zsd_optics.noise_blocks import detrended, distances, mean_products, measured_products
from zsd_optics.noise_covariance import correlated, filter_of
from zsd_optics.psf import gaussian_psf
from zsd_optics.simulate import Camera, simulate
from zsd_runtime import load_model
from zsd_runtime.images import Image, Voxel, read_image, write_image
from zsd_runtime.mismatch import image_mismatches
from zsd_train import load_run, train
from zsd_train.config import make_config
from zsd_train.frames import Frame
from zsd_train.sampler import Sampler
from zsd_train.schemes import Auto, Distill, OddEven, Recorrupt
from zsd_train.schemes.recorrupt import correlated as correlated_tensor

GRID = {"grid_mode": True, "mode": "nearest"}  # pixels keep their area
PROCESSED = {
    "smoothed, 0.6": lambda image: ndi.gaussian_filter(image, 0.6),
    "smoothed, 1": lambda image: ndi.gaussian_filter(image, 1.0),
    "smoothed, 1.5": lambda image: ndi.gaussian_filter(image, 1.5),
    "twice as large": lambda image: ndi.zoom(image, 2, order=1, **GRID),
    "twice as large, by splines": lambda image: ndi.zoom(image, 2, order=3, **GRID),
    "four times as large": lambda image: ndi.zoom(image[:256, :256], 4, order=1, **GRID),
    "rows moved by half a pixel": lambda image: 0.5 * (image + np.roll(image, 1, axis=1)),
    "rotated by splines": lambda image: ndi.rotate(image, 7, reshape=False, mode="reflect"),
}
NEAR = [(0, 1), (0, 2), (1, 0), (2, 0), (1, 1)]


def gaussian_map(sigma, reach=4):
    """Correlation of white noise after a Gaussian filter."""
    square = np.arange(-reach, reach + 1) ** 2
    values = np.exp(-(square[:, None] + square) / (4 * sigma**2))
    return tuple(map(tuple, values.tolist()))


def at(correlation, y, x):
    middle = len(correlation) // 2
    return correlation[middle + y][middle + x]


def scene(seed, photons=30, size=512):
    made = simulate((size, size), photons=photons, camera=Camera(100, 1, 2), seed=seed)
    return made.noisy.astype(np.float64), made.clean.astype(np.float64)


@pytest.fixture(scope="module")
def smooth():
    """An image whose noise is correlated, and its correlation with the next pixel is 0.44."""
    return ndi.gaussian_filter(scene(1, size=160)[0], 0.6)


# ------------------------------------------------------------------------------------------------------- measuring
@pytest.mark.parametrize(("seed", "photons"), [(0, 30), (2, 20)])
@pytest.mark.parametrize("name", PROCESSED)
def test_correlation_and_variance_are_those_of_the_noise(name, seed, photons):
    noisy, clean = (PROCESSED[name](image) for image in scene(seed, photons))
    noise = noisy - clean
    line = np.polyfit(clean.ravel(), noise.ravel() ** 2, 1)
    model = estimate_noise([noisy])
    assert model.correlated == ("X" if name.startswith("rows") else "YX")
    for y, x in NEAR:
        expected = (noise * np.roll(noise, (y, x), (0, 1))).mean() / (noise**2).mean()
        assert at(model.correlation, y, x) == pytest.approx(expected, abs=0.08), (y, x)
    level = float(np.median(noisy))
    assert model.variance(level) == pytest.approx(np.polyval(line, level), rel=0.15)
    assert len(model.correlation) == (17 if name.startswith("four") else 9)


def test_structure_is_not_taken_for_noise():
    """Many photons: what the polynomials leave of the structure is far above the noise almost everywhere."""
    noisy, clean = (ndi.gaussian_filter(image, 0.6) for image in scene(0, photons=200))
    model = estimate_noise([noisy])
    assert at(model.correlation, 0, 1) == pytest.approx(0.44, abs=0.05)
    line = np.polyfit(clean.ravel(), (noisy - clean).ravel() ** 2, 1)
    assert model.gain == pytest.approx(line[0], rel=0.15)


def test_the_noise_of_white_images_has_no_correlation():
    model = estimate_noise([scene(1)[0]])
    assert (model.correlated, model.correlation, model.next_pixel) == ("", None, {})


def test_what_the_polynomials_take_is_given_back():
    rng = np.random.default_rng(0)
    noise = correlated(rng.normal(size=(400, 16, 16)), gaussian_map(0.8))  # periodic in each block
    system, residual = measured_products(4), detrended(noise[None])[0][0]
    assert system[0, 0] == pytest.approx(250 / 256)  # six polynomials of 256 numbers
    assert mean_products(residual, 4)[:, 0].mean() < 0.95  # they took more of the smooth noise
    # A covariance in, the same out: with matrices of pixels by pixels.
    expected = np.random.default_rng(1).normal(size=len(distances(4)))
    y, x = np.divmod(np.arange(256), 16)
    steps = np.stack([y[None] - y[:, None], x[None] - x[:, None]])
    covariance = sum(
        value * ((steps[0] == b) & (steps[1] == a) | (steps[0] == -b) & (steps[1] == -a))
        for (b, a), value in zip(distances(4), expected, strict=True)
    )
    free = np.stack([detrended(row.reshape(1, 1, 16, 16))[0].ravel() for row in np.eye(256)])
    left = free @ covariance @ free.T
    products = [left[(steps[0] == b) & (steps[1] == a)].mean() for b, a in distances(4)]
    np.testing.assert_allclose(np.linalg.solve(system, products), expected, atol=1e-9)


def test_repeats_of_a_scene_are_measured_in_their_differences():
    _, clean = scene(3, photons=200, size=256)
    rng = np.random.default_rng(0)
    frames = [ndi.gaussian_filter(Camera(100, 1, 2).expose(clean - 100, rng).astype(float), 1.5) for _ in range(4)]
    noise = np.stack(frames) - ndi.gaussian_filter(clean, 1.5)
    line = np.polyfit(np.tile(ndi.gaussian_filter(clean, 1.5), (4, 1, 1)).ravel(), noise.ravel() ** 2, 1)
    model = estimate_noise(frames)
    assert model.message == "from repeats of one scene"
    assert model.gain == pytest.approx(line[0], rel=0.1)
    assert at(model.correlation, 0, 2) == pytest.approx(np.exp(-4 / 9), abs=0.05)
    moved = [np.roll(frame, 3 * i, axis=0) for i, frame in enumerate(frames)]
    assert estimate_noise(moved).message == "from the high spatial frequencies"


def test_a_small_image_is_only_warned_of(smooth):
    model = estimate_noise([smooth[:48, :48]])
    if model.correlated:
        assert model.correlation is None
        assert "such noise will stay" in model.warnings[0]
    assert estimate_noise([smooth]).correlation is not None


@needs_shared("data/fmd")
def test_a_real_resized_image_agrees_with_its_truth():
    noisy, truth = (
        read_image(SHARED / f"data/fmd/{part}/WideField_BPAE_G_1.png").data.astype(np.float64) for part in ("raw", "gt")
    )
    noise, model = noisy - truth, estimate_noise([noisy])
    for y, x in NEAR:
        expected = (noise * np.roll(noise, (y, x), (0, 1))).mean() / (noise**2).mean()
        assert at(model.correlation, y, x) == pytest.approx(expected, abs=0.08), (y, x)
    for level in (33, 41, 46, 50):
        part = noise[(truth > level - 4) & (truth < level + 4)]
        assert model.variance(level) == pytest.approx(part.var(), rel=0.15)


# -------------------------------------------------------------------------------------------------------- learning
def pairs(noise_map, model, scheme=None):
    """What recorruption makes of pure noise: input and target without the mean."""
    rng = np.random.default_rng(0)
    counts = 100 + 3 * correlated(rng.normal(size=(400, 400)), noise_map)
    frame = Frame.of(counts[None], 0.0, np.random.default_rng(0))
    sampler = Sampler(
        [frame], scheme or Recorrupt(alpha=(1.0, 1.0)), model, offset=100.0, scale=1.0, patch=(352, 352), margin=(0, 0)
    )
    batch = sampler.draw(1, torch.Generator().manual_seed(0), torch.Generator().manual_seed(1))
    return (image[0, 0].double().numpy() for image in (batch.noisy, batch.target))


@pytest.mark.parametrize("scheme", [Recorrupt(alpha=(1.0, 1.0)), Distill(alpha=(1.0, 1.0))])
@pytest.mark.parametrize("sigma", [0.6, 1.0])
def test_the_copies_are_uncorrelated_at_all_distances(sigma, scheme):
    noise_map = gaussian_map(sigma)
    model = NoiseModel(0.01, 9.0 - 1, 1.0, 100.0, correlated="YX", correlation=noise_map)

    def largest(first, second):
        scale = first.std() * second.std()
        return max(
            abs((first * np.roll(second, (y, x), (0, 1))).mean()) / scale for y in range(-4, 5) for x in range(-4, 5)
        )

    first, second = pairs(noise_map, model, scheme)
    assert first.var() == pytest.approx(18, rel=0.1)
    assert largest(first - first.mean(), second - second.mean()) < 0.05
    first, second = pairs(noise_map, replace(model, correlation=None), Recorrupt(noise="gaussian", alpha=(1.0, 1.0)))
    assert largest(first - first.mean(), second - second.mean()) > 0.1  # white z leaves the noise in


def test_a_filter_keeps_the_variance_and_gives_the_correlation():
    white = torch.randn((3, 256, 256), generator=torch.Generator().manual_seed(0))
    noise = correlated_tensor(white, gaussian_map(1.0))
    np.testing.assert_allclose(noise.numpy(), correlated(white.numpy(), gaussian_map(1.0)), atol=1e-5)
    assert float(noise.var()) == pytest.approx(1, abs=0.05)
    assert float((noise * noise.roll(1, -1)).mean()) == pytest.approx(np.exp(-1 / 4), abs=0.04)
    assert float((noise[0] * noise[1]).mean()) == pytest.approx(0, abs=0.04)  # slices are independent
    assert correlated(white.numpy(), None) is not noise
    assert filter_of(gaussian_map(1.0), (32, 40)).shape == (32, 21)


def test_volumes_are_recorrupted_slice_by_slice():
    noise_map, rng = gaussian_map(0.8), np.random.default_rng(0)
    volume = 100 + 3 * correlated(rng.normal(size=(12, 96, 96)), noise_map)
    model = NoiseModel(0.0, 9.0, 9.0, 100.0, correlated="YX", correlation=noise_map)
    frame = Frame.of(volume[None], 0.0, rng)
    sampler = Sampler(
        [frame], Recorrupt(alpha=(1.0, 1.0)), model, offset=100.0, scale=1.0, patch=(8, 64, 64), margin=(0, 0, 0)
    )
    batch = sampler.draw(1, torch.Generator().manual_seed(0), torch.Generator().manual_seed(1))
    z = ((batch.noisy - batch.target) / 2)[0, 0]  # α = 1
    assert float(z.var()) == pytest.approx(9, rel=0.15)
    assert float((z * z.roll(1, -1)).mean() / z.var()) == pytest.approx(gaussian_map(0.8)[4][5], abs=0.06)
    assert float((z[1:] * z[:-1]).mean() / z.var()) == pytest.approx(0, abs=0.06)


@pytest.mark.parametrize(("axes", "expected"), [("yx", Recorrupt), ("zyx", OddEven)])
def test_auto_recorrupts_planes_and_pairs_slices_of_volumes(axes, expected):
    model = NoiseModel(0.0, 9.0, 9.0, 100.0, correlated="X", correlation=gaussian_map(0.8))
    assert type(Auto().chosen(model, axes)) is expected


def trained(image, folder, **values):
    small = {"network": TINY, "patch": 32, "batch": 2, "steps": 4, "device": "cpu", "precision": "fp32"}
    said = []
    run = train(
        [image], gaussian_psf(2.0), make_config(**(small | values)), folder, report=lambda p: said.append(p.message)
    )
    return run, "\n".join(said)


def test_a_run_keeps_the_correlation_and_says_it(smooth, tmp_path):
    run, said = trained(smooth, tmp_path / "run")
    model = estimate_noise([smooth])
    assert run.config.scheme.kind == "recorrupt"
    assert run.measured.noise.correlation == model.correlation
    assert load_run(tmp_path / "run").measured.noise == run.measured.noise
    assert "correlated along Y and X (0." in said
    assert "zsd learns with this correlation" in said
    assert "; correlated with the next pixel: 0." in trained_on(run)["Noise"]
    package = export(tmp_path / "run", tmp_path / "model.zip")
    write_image(tmp_path / "image.tif", Image(smooth.astype(np.float32), "YX", Voxel()))
    with load_model(package) as loaded:
        assert not image_mismatches(loaded.description, read_image(tmp_path / "image.tif"))


def test_a_network_learns_to_remove_correlated_noise(tmp_path):
    noisy, clean = (ndi.gaussian_filter(image, 0.8) for image in scene(0, photons=8, size=160))
    run, _ = trained(noisy, tmp_path / "run", steps=250, batch=4)
    with torch.inference_mode():
        batch = torch.tensor((noisy[None, None] - run.offset) / run.scale, dtype=torch.float32)
        denoised = run.network(batch).denoised[0, 0].numpy() * run.scale + run.offset
    assert ((denoised - clean) ** 2).mean() < 0.5 * ((noisy - clean) ** 2).mean()


# ---------------------------------------------------------------------------------------------------------- saying
def test_the_command_shows_the_correlation(smooth, tmp_path):
    write_image(tmp_path / "image.tif", Image(smooth.astype(np.float32), "YX", Voxel()))
    text = zsd("noise", tmp_path / "image.tif")
    assert "correlation 0.4" in text.stdout
    assert "with the next pixel): the image was resized" in text.stderr
    assert "zsd learns with this correlation" in text.stderr
    found = json.loads(zsd("noise", tmp_path / "image.tif", "--json").stdout)
    assert found["next_pixel"]["X"] == pytest.approx(0.44, abs=0.08)
    assert found["correlation"][4][4] == 1
