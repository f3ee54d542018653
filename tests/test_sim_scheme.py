"""Scheme sim: pairs from raw frames, training, packages that take raw frames."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.command import zsd
from zsd_export import export
from zsd_export.compress import compress
from zsd_optics.noise import known_noise
from zsd_optics.sim.simulate import Illumination, simulate_sim
from zsd_optics.simulate import Camera
from zsd_runtime import InputError, load_model
from zsd_runtime.images import Image, Voxel, read_image, write_image
from zsd_runtime.raw_sim import Reconstructed, seen_by
from zsd_runtime.sim.microscope import FACTOR
from zsd_runtime.sim.reconstruction import reconstruct
from zsd_train import load_run, train
from zsd_train.config import NetworkConfig, make_config
from zsd_train.schemes import StructuredIllumination
from zsd_train.schemes.scheme import Chance, Window

OFFSET = 100.0
SMALL = {"network": {"width": 4, "depth": 2, "head": 4}, "patch": 32, "batch": 2, "steps": 6, "device": "cpu",
         "precision": "fp32", "start": "scratch"}  # fmt: skip


@pytest.fixture(scope="module")
def made():
    return simulate_sim((96, 96), photons=100, camera=Camera(OFFSET, 1, 2), seed=3)


@pytest.fixture(scope="module")
def run(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sim") / "run"
    return train([made.raw], None, make_config(scheme="sim", **SMALL), folder, sim=made.sim)


@pytest.fixture(scope="module")
def package(run, tmp_path_factory):
    return export(run.folder, tmp_path_factory.mktemp("sim") / "model.zip")


def test_network_and_user_subtract_the_same_offset(made):
    other = replace(made.sim, parameters=replace(made.sim.parameters, offset=90.0))
    scheme = StructuredIllumination(noise="gaussian").with_microscope(other)
    still = known_noise(OFFSET, 1e-9, 0.0)
    sample = scheme.sample(window(scheme, made.clean, (30, 22), (32, 32), still), Chance(0.5, True), torch.Generator())
    assert float(sample.noisy.mean()) == pytest.approx(
        reconstruct(made.clean, other)[60:124, 44:108].mean() / 10, rel=0.01
    )


def window(scheme, counts, start, shape, noise):
    """What the sampler would give `sample` for the network's patch of `shape` raw pixels at `start`."""
    halo = scheme.halo("yx")
    low = [s - h for s, h in zip(start, halo, strict=True)]
    box = (slice(None), *(slice(a, a + n + 2 * h) for a, n, h in zip(low, shape, halo, strict=True)))
    part = counts[box].astype(np.float64)
    image = torch.tensor(part / 10, dtype=torch.float32)
    return Window(part, image, torch.ones(part.shape[1:]), noise, 0.0, 10.0, tuple(low), counts.shape[1:])


def test_without_noise_both_copies_are_the_reconstruction_of_the_whole_frame(made):
    scheme = StructuredIllumination(noise="gaussian").with_microscope(made.sim)
    still = known_noise(OFFSET, 1e-9, 0.0)
    sample = scheme.sample(window(scheme, made.clean, (30, 22), (32, 32), still), Chance(0.5, True), torch.Generator())
    whole = reconstruct(made.clean, made.sim) / 10
    there = whole[60:124, 44:108]
    for copy in (sample.noisy, sample.target):
        assert copy.shape == (1, 64, 64)
        assert np.sqrt(np.mean((copy[0].numpy() - there) ** 2)) < 0.006 * np.ptp(there)
    assert sample.mask.shape == (1, 64, 64)


@pytest.mark.parametrize("noise", ["poisson", "gaussian"])
def test_the_noise_of_the_two_copies_is_independent(made, noise):
    scheme = StructuredIllumination(noise=noise).with_microscope(made.sim)
    camera, rng = known_noise(OFFSET, 1.0, 2.0), np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    clean = reconstruct(made.clean, made.sim)[40:152, 40:152] / 10
    first, second = [], []
    for _ in range(12):
        raw = Camera(OFFSET, 1, 2).expose(made.clean - OFFSET, rng)
        sample = scheme.sample(window(scheme, raw, (20, 20), (56, 56), camera), Chance(0.5, True), generator)
        first.append(sample.noisy[0].numpy() - clean)
        second.append(sample.target[0].numpy() - clean)
    assert abs(np.corrcoef(np.ravel(first), np.ravel(second))[0, 1]) < 0.03
    assert abs(np.mean(first)) < 0.01 * clean.mean()
    assert abs(np.mean(second)) < 0.01 * clean.mean()


def test_a_run_knows_its_microscope_and_its_grid(made, run):
    again = load_run(run.folder)
    assert again.sim is not None
    assert again.sim.parameters == made.sim.sharper().parameters
    assert again.measured.offset == 0
    assert again.pixel_size_um == pytest.approx(made.sim.parameters.pixel_size_um / FACTOR)
    assert again.sample.shape[-1] <= FACTOR * made.raw.shape[-1]
    assert again.psf.min() < 0  # the lobes of H_SIM are kept
    assert again.network.grid_factor == 1
    assert again.measured.method == "ZS-DeconvNet SIM"


def test_the_package_says_how_the_frames_were_lit(package):
    with load_model(package) as model:
        assert "3 directions of 3 frames, spacing 200.0" in model.description.facts["trained_on"]["Stripes"]


def test_light_is_kept(made, run):
    image = reconstruct(made.raw, run.sim)
    with torch.no_grad():
        restored = run.network(torch.tensor(image[None, None] / run.scale))
    for output in restored:
        assert float(output.mean()) * run.scale == pytest.approx(float(image.mean()), rel=0.05)


def test_a_package_takes_raw_frames_and_reconstructions_alike(made, package, tmp_path):
    raw, voxel = tmp_path / "raw.tif", Voxel.square(made.sim.parameters.pixel_size_um)
    write_image(raw, Image(made.raw, "TYX", voxel))
    with load_model(package) as model:
        assert model.description.sim is not None
        image = reconstruct(made.raw, model.description.sim)
        expected = model.predict(image)
    write_image(tmp_path / "reconstruction.tif", Image(image, "YX", voxel.finer({"Y": 2, "X": 2})))
    result = zsd("predict", package, raw, tmp_path / "reconstruction.tif", "--out", tmp_path / "out")
    assert "reconstructed from its raw frames" in result.stderr
    for name in ("raw", "reconstruction"):
        for output in ("denoised", "deconvolved"):
            found = read_image(tmp_path / "out" / f"{name}_{output}.tif")
            np.testing.assert_allclose(found.data, expected[output], atol=1e-3 * np.abs(expected[output]).max())
            assert found.voxel.x_um == pytest.approx(made.sim.parameters.pixel_size_um / 2, rel=1e-3)


def test_movies_are_reconstructed_frame_by_frame(made):
    movie = Image(np.stack([made.raw, made.raw[::-1]]).reshape(18, 96, 96), "TYX", Voxel.square(0.0626))
    said = []
    seen = seen_by(made.sim, movie, "movie.tif", said.append)
    assert (seen.axes, seen.data.shape) == ("TYX", (2, 192, 192))
    np.testing.assert_array_equal(seen.data[0], reconstruct(made.raw, made.sim))
    np.testing.assert_array_equal(seen.data[1, 10:20, 5:8], reconstruct(made.raw[::-1], made.sim)[10:20, 5:8])
    assert isinstance(seen.data, Reconstructed)
    assert len(said) == 1


@pytest.mark.parametrize(
    ("planes", "size", "error"),
    [
        (10, 0.0626, "10 planes"),
        (9, 0.0626, ""),
        (9, 0.0313, ""),
        (7, None, ""),
        (9, None, "no pixel size"),
        (9, 0.075, "pixels of 75 nm"),
    ],
)
def test_what_counts_as_raw(made, planes, size, error):
    image = Image(np.zeros((planes, 64, 64), np.uint16), "TYX", Voxel.square(size))
    if error:
        with pytest.raises(InputError, match=error):
            seen_by(made.sim, image, "image.tif")
        return
    seen = seen_by(made.sim, image, "image.tif")
    assert (seen is image) == (size != 0.0626)


def test_raw_frames_are_judged_before_they_are_reconstructed(made):
    """Other stripes, saturation and hot pixels are those of raw frames; a reconstruction hides them."""
    voxel, said = Voxel.square(0.0626), []
    moved = made.raw.reshape(3, 3, 96, 96)[:, [1, 2, 0]].reshape(9, 96, 96)
    seen_by(made.sim, Image(moved, "TYX", voxel), "moved", said.append).data[:]
    assert "its stripes lie elsewhere" in said[-1]
    assert "sim_parameters" in said[-1]
    saturated = np.minimum(made.raw, np.percentile(made.raw, 90).astype(np.uint16))
    with pytest.raises(InputError, match="saturated"):
        seen_by(made.sim, Image(saturated, "TYX", voxel), "saturated").data[:]
    hot = made.raw.copy()
    hot[:, 40, 50] = 60000
    seen = seen_by(made.sim, Image(hot, "TYX", voxel), "hot", said.append)
    assert "9 hot" in said[-2]
    np.testing.assert_allclose(seen.data[:], reconstruct(made.raw, made.sim), atol=30)


def test_patterns_of_another_day(made, package, tmp_path):
    """Frames whose phases differ are restored by parameters of their own."""
    raw = tmp_path / "raw.tif"
    write_image(
        raw, Image(np.roll(made.raw.reshape(3, 3, 96, 96), 1, 1).reshape(9, 96, 96), "TYX", Voxel.square(0.0626))
    )
    turned = tuple(
        replace(p, phases_rad=tuple(np.roll(p.phases_rad, 1).tolist())) for p in made.sim.parameters.patterns
    )
    replace(made.sim.parameters, patterns=turned).save(tmp_path / "parameters.json")
    result = zsd("predict", package, raw, "--out", tmp_path / "out", "--sim-parameters", tmp_path / "parameters.json")
    assert "lie elsewhere" not in result.stderr
    with load_model(package) as model:
        expected = model.predict(reconstruct(made.raw, model.description.sim)).denoised
    found = read_image(tmp_path / "out" / "raw_denoised.tif").data
    np.testing.assert_allclose(found, expected, atol=1e-3 * expected.max())
    result = zsd("predict", package, raw, "--out", tmp_path / "out")
    assert "lie elsewhere" in result.stderr


def test_the_zoo_starts_a_network_whose_head_differs():
    from zsd_train.networks.build import build
    from zsd_train.start import start_of

    config = make_config(scheme="sim")
    start = start_of(config)
    assert config.network.grid_factor == 1
    assert start is not None
    network = build(config.network, "yx")
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    start.begin(network)
    changed = {key for key, tensor in network.state_dict().items() if not torch.equal(tensor, before[key])}
    assert {key.split(".")[0] for key in changed} >= {"denoise", "deconvolve", "to_denoised"}
    assert start_of(make_config(scheme="sim", network={"width": 8})) is None


def test_volumes(tmp_path):
    volume = simulate_sim(
        (6, 64, 64), photons=200, camera=Camera(OFFSET, 1, 2), seed=1,
        illumination=Illumination(modulation=(0.6, 0.8), spacing_nm=230),
    )  # fmt: skip
    small = SMALL | {"steps": 2, "slices": 4}
    run = train([volume.raw], None, make_config(scheme="sim", **small), tmp_path / "run", sim=volume.sim)
    assert run.config.axes == "zyx"
    assert run.psf.ndim == 3
    assert run.network.scales == [(1, 1, 1), (1, 1, 1)]
    odd_even = make_config(scheme="sim-odd-even", **(small | {"slices": 2}))
    published = train([volume.raw], None, odd_even, tmp_path / "odd", sim=volume.sim)
    assert published.measured.offset == 0
    assert published.sim.parameters == run.sim.parameters
    with load_model(export(run.folder, tmp_path / "model.zip")) as model:
        raw = Image(volume.raw.reshape(-1, 64, 64), "ZYX", Voxel.square(0.0626, 0.125))
        seen = seen_by(model.description.sim, raw, "volume")
        assert seen.data.shape == (6, 128, 128)
        assert seen.voxel == Voxel.square(0.0313, 0.125)
        assert model.predict(seen.data[:]).deconvolved.shape == (6, 128, 128)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda m: {"images": [m.raw[:8]]}, "8 raw frames, and its patterns are of 9"),
        (lambda m: {"sim": None}, "needs the patterns"),
        (lambda m: {"psf": np.ones((1, 1))}, "takes the place of a PSF"),
        (lambda m: {"config": make_config(scheme="recorrupt", **SMALL)}, "takes the place of a PSF"),
        (lambda m: {"images": [m.raw[:, :12]]}, "12x96"),
        (lambda m: {"config": make_config(scheme="sim-odd-even", **SMALL)}, "is for volumes"),
    ],
)
def test_errors(made, tmp_path, change, error):
    given = {"images": [made.raw], "psf": None, "config": make_config(scheme="sim", **SMALL), "sim": made.sim}
    given |= change(made)
    images, psf, config = given.pop("images"), given.pop("psf"), given.pop("config")
    with pytest.raises(InputError, match=error):
        train(images, psf, config, tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_restore_writes_what_the_network_saw(made, tmp_path):
    raw = tmp_path / "raw.tif"
    write_image(raw, Image(made.raw, "TYX", Voxel.square(0.0626)))
    config = tmp_path / "small.toml"
    config.write_text('patch = 32\nstart = "scratch"\n[network]\nwidth = 4\ndepth = 2\nhead = 4\n')
    result = zsd(
        "restore", raw, "--scheme", "sim", "--na", "1.4", "--wavelength", "525", "--config", config, "--steps", "2",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "raw_sim.tif", "raw_denoised.tif", "raw_deconvolved.tif", "model.zip",
    }  # fmt: skip
    for options, error in (
        (("--scheme", "sim", "--psf", "psf.tif"), "--psf describes a PSF"),
        (("--scheme", "sim"), "the optics are given by nothing"),
        (("--otf", "otf.tif", "--psf-sigma", "1"), "--otf is of scheme sim"),
        (("--scheme", "sim", "--na", "1.4", "--wavelength", "green"), "must be a number"),
        (("--scheme", "sim", "--na", "1.4", "--wavelength", "525", "--channels", "all"), "leave --channels out"),
    ):
        result = zsd("restore", raw, *options, "--out", tmp_path / "other")
        assert result.returncode == 2
        assert error in result.stderr


def test_a_run_of_sim_resumes(made, tmp_path):
    config = make_config(scheme="sim", **SMALL)
    whole = train([made.raw], None, config, tmp_path / "whole", sim=made.sim)
    halves = tmp_path / "halves"
    train([made.raw], None, replace_steps(config, 3), halves, sim=made.sim)
    other = replace(made.sim, parameters=replace(made.sim.parameters, offset=90.0))
    with pytest.raises(InputError, match="other SIM parameters"):
        train([made.raw], None, config, halves, sim=other, resume=True)
    train([made.raw], None, config, halves, sim=made.sim, resume=True)
    for key, tensor in load_run(halves).network.state_dict().items():
        assert tensor.shape == whole.network.state_dict()[key].shape
    assert load_run(halves).measured.steps == 6


def replace_steps(config, steps):
    return config.model_copy(update={"steps": steps})


def test_networks_of_other_grids_and_one_stage_learn_too(made, tmp_path):
    for number, network in enumerate(({"grid_factor": 2}, {"stages": 1})):
        small = SMALL | {"steps": 1, "network": SMALL["network"] | network}
        run = train([made.raw], None, make_config(scheme="sim", **small), tmp_path / str(number), sim=made.sim)
        assert isinstance(run.config.network, NetworkConfig)


def test_a_compressed_network_takes_raw_frames_too(run, tmp_path):
    compress(run.folder, tmp_path / "small", width=2, choices={"steps": 2})
    small = load_run(tmp_path / "small")
    assert small.sim is not None
    assert small.sim.parameters == run.sim.parameters
    assert (small.measured.offset, small.measured.noise.offset) == (0, 0)


def test_a_sharper_reconstruction_for_networks(made):
    assert made.sim.sharper().parameters.wiener < made.sim.parameters.wiener
    assert made.sim.sharper().smoother() == made.sim
    tiny = replace(made.sim, parameters=replace(made.sim.parameters, wiener=0.01))
    assert tiny.sharper().parameters.wiener == 0.01
