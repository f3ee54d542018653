"""Training on volumes: the loop of planes, with other pairs, terms and networks."""

import numpy as np
import pytest
import torch

from tests.conftest import TINY
from zsd_export import export
from zsd_optics.measured_planes import measured_planes
from zsd_optics.noise import known_noise
from zsd_optics.psf import gaussian_psf, with_slices
from zsd_optics.simulate import Camera, simulate
from zsd_runtime import InputError, load_model
from zsd_train import TrainConfig, train
from zsd_train.config import NetworkConfig, RCANConfig, make_config
from zsd_train.frames import Frame
from zsd_train.sampler import Sampler
from zsd_train.schemes import OddEven, Recorrupt

PSF = gaussian_psf(1.2, 2.0)
RCAN = RCANConfig(kind="rcan", width=4, blocks=1, head=4, squeezed=2, window=(3, 5, 5))


def volume(shape=(24, 64, 72), seed=0):
    return simulate(shape, photons=60, camera=Camera(100, 1, 2), na=1.1, pixel_size_um=0.1, seed=seed).noisy


def tiny(**values):
    known = {"offset": 100, "gain": 1, "read_noise": 2}
    small = {"axes": "zyx", "network": TINY, "patch": 32, "slices": 8, "batch": 1, "steps": 8, "device": "cpu"}
    return make_config(**(small | known | values))


@pytest.fixture(scope="module")
def noisy():
    return volume()


@pytest.mark.parametrize("network", [TINY, RCAN], ids=["unet", "rcan"])
@pytest.mark.parametrize("scheme", ["recorrupt", "odd-even"])
def test_both_networks_learn_from_both_kinds_of_pairs(scheme, network, noisy, tmp_path):
    run = train([noisy], PSF, tiny(scheme=scheme, network=network), tmp_path / "run", pixel_size_um=0.1, z_step_um=0.3)
    assert (run.config.axes, run.config.scheme.kind, run.z_step_um) == ("zyx", scheme, 0.3)
    assert (run.network.axes, run.network.kind, run.sample.ndim) == ("zyx", network.kind, 3)
    assert all(torch.isfinite(tensor).all() for tensor in run.network.state_dict().values())


def test_a_volume_goes_the_whole_way(noisy, tmp_path):
    train([noisy], PSF, tiny(), tmp_path / "run")
    export(tmp_path / "run", tmp_path / "model.zip")
    with load_model(tmp_path / "model.zip") as model:
        result = model.predict(noisy[:11, :37, :41])
    assert result.denoised.shape == (11, 37, 41)
    assert result.deconvolved.shape == (11, 74, 82)


def test_a_little_training_denoises_a_volume(noisy, tmp_path):
    network = NetworkConfig(width=8, depth=2, head=8)
    run = train([noisy], PSF, tiny(steps=80, batch=2, network=network), tmp_path / "run")
    clean = simulate((24, 64, 72), photons=60, camera=Camera(100, 1, 2), na=1.1, pixel_size_um=0.1).clean
    with torch.inference_mode():
        restored = run.network(torch.tensor((noisy[None, None] - 100.0) / run.scale, dtype=torch.float32))
    denoised = restored.denoised[0, 0].numpy() * run.scale + 100
    inside = (slice(2, -2), slice(8, -8), slice(8, -8))
    noise, error = ((image[inside] - clean[inside]).std() for image in (noisy.astype(float), denoised))
    assert error < 0.5 * min(noise, clean[inside].std())


def test_a_wide_psf_does_not_make_patches_all_margin(noisy, tmp_path):
    run = train([noisy], gaussian_psf(4.0, 4.0), tiny(steps=1), tmp_path / "run")
    assert run.measured.psf_shape[0] > 9
    assert run.measured.margin == [4, 4, 4]


def test_mapped_volumes_train_as_those_in_memory(noisy, tmp_path):
    np.save(tmp_path / "volume.npy", noisy)
    mapped = np.load(tmp_path / "volume.npy", mmap_mode="r")
    runs = [train([array], PSF, tiny(), tmp_path / name) for name, array in (("a", noisy), ("b", mapped))]
    weights = [list(run.network.state_dict().values()) for run in runs]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert runs[0].measured.data_sha256 == runs[1].measured.data_sha256


def test_the_same_seed_and_resuming(noisy, tmp_path):
    straight = train([noisy, noisy[:16]], PSF, tiny(scheme="odd-even", slices=4), tmp_path / "a")
    train([noisy, noisy[:16]], PSF, tiny(scheme="odd-even", slices=4, steps=3), tmp_path / "b")
    again = train([noisy, noisy[:16]], PSF, make_config(steps=8), tmp_path / "b", resume=True)
    assert again.measured.steps == straight.measured.steps == 8


def test_what_comes_from_the_preset_follows_the_axes():
    config = TrainConfig(preset="compact", minutes=3).for_axes("zyx")
    assert config == make_config(axes="zyx", minutes=3)
    assert (config.slices, config.minutes, config.patch) == (16, 3, 48)
    assert TrainConfig(patch=80, loss="mae").for_axes("zyx").patch == 80
    with pytest.raises(InputError, match="rcan is for volumes"):
        make_config(network={"kind": "rcan"}, axes="zyx").for_axes("yx")


@pytest.mark.parametrize(("correlated", "expected"), [(False, "recorrupt"), (True, "odd-even")])
def test_the_scheme_follows_the_noise(correlated, expected, tmp_path):
    image = np.random.default_rng(0).poisson(20, (24, 64, 64)) + 100.0
    image += np.linspace(0, 30, 64)
    if correlated:
        image = (image + np.roll(image, 1, axis=2)) / 2
    run = train([image], PSF, make_config(axes="zyx", network=TINY, patch=32, slices=8, steps=1), tmp_path / "run")
    assert run.config.scheme.kind == expected


def test_odd_and_even_slices_are_what_is_paired():
    z = np.arange(40.0)[:, None, None] * np.ones((1, 32, 32))
    frame = Frame.of(z[None], 0.0, np.random.default_rng(0))
    sampler = Sampler([frame], OddEven(), known_noise(0, 1, 1), offset=0, scale=1, patch=(6, 32, 32), margin=(2, 4, 4))
    position_rng, noise_rng = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    leads = set()
    for _ in range(20):
        pairs = sampler.draw(1, position_rng, noise_rng)
        assert pairs.noisy.shape == (1, 1, 10, 40, 40)
        assert pairs.target.shape == (1, 1, 6, 32, 32)
        lead = int(pairs.extras["lead"][0])
        leads.add(lead)
        first = 0 if lead > 0 else 1
        torch.testing.assert_close(pairs.noisy, pairs.extras["whole"][:, :, first::2])
        inner = pairs.extras["whole"][:, :, 1 - first :: 2, 4:-4, 4:-4][:, :, 2:-2]
        torch.testing.assert_close(pairs.target, inner)
        assert not set(pairs.noisy.unique().tolist()) & set(pairs.target.unique().tolist())
    assert leads == {1, -1}


def test_held_out_voxels_are_never_targets_and_validate_alone():
    image = np.random.default_rng(0).normal(100, 3, (48, 96, 96))
    frame = Frame.of(image[None], 0.1, np.random.default_rng(1))
    held = frame.mask((0, 0, 0), image.shape) == 0
    assert 0.05 < held.mean() < 0.2
    for scheme, share in ((Recorrupt(), 1), (OddEven(), 2)):
        sampler = Sampler(
            [frame], scheme, known_noise(90, 1, 2), offset=0, scale=1, patch=(13, 48, 48), margin=(2, 4, 4)
        )
        frozen = sampler.held_out(0, 64)
        assert frozen is not None
        assert frozen.mask.sum() == held.sum() / share


def test_a_window_beyond_the_image_is_a_reflection():
    image = np.random.default_rng(0).random((5, 16, 17))
    frame = Frame.of(image[None], 0.0, np.random.default_rng(0))
    padded = np.pad(image, ((3, 4), (6, 7), (5, 5)), mode="reflect")
    np.testing.assert_array_equal(frame.window((-3, -6, -5), padded.shape)[0], padded)


def test_planes_of_a_volume_hold_its_brightest():
    image = np.zeros((200, 32, 32))
    image[57] = 1
    looked_at = measured_planes([image[None]])
    assert len(looked_at) <= 17
    assert max(plane.mean() for plane, _ in looked_at) == 1


def test_a_psf_of_every_second_slice_has_half_the_depth():
    psf = gaussian_psf(3.0, 2.0)
    half = with_slices(psf, 2)
    assert half.sum() == pytest.approx(1)
    assert half.shape[0] % 2 == 1
    depths = [(p.sum((1, 2)) * (np.arange(len(p)) - len(p) // 2) ** 2).sum() for p in (psf, half)]
    assert depths[1] == pytest.approx(depths[0] / 4, rel=0.1)


BAD = {
    "few slices": ({"slices": 16, "scheme": "odd-even"}, (24, 64, 64), PSF, "24 slices.*odd-even.*at least 32"),
    "fewer slices": ({"slices": 32}, (24, 64, 64), PSF, "24 slices.*at least 32.*`slices` to 24"),
    "plane": ({}, (64, 64), PSF, "not ZYX"),
    "flat psf": ({}, (24, 64, 64), gaussian_psf(2.0), "not YX"),
    "even psf": ({}, (24, 64, 64), np.ones((4, 5, 5)) / 100, "odd-sized"),
    "deep psf": ({}, (10, 64, 64), gaussian_psf(6.0, 2.0), "larger than the image"),
    "small": ({"patch": 64}, (24, 48, 80), PSF, "at least 64x64"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_trained_is_told_and_leaves_nothing(name, tmp_path):
    options, shape, psf, message = BAD[name]
    image = np.random.default_rng(0).poisson(20, shape) + 100
    with pytest.raises(InputError, match=message):
        train([image], psf, tiny(**options), tmp_path / "run")
    assert not (tmp_path / "run").exists()
