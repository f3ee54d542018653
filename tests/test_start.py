"""Where a training starts: the zoo's weights, random ones, or those of an earlier run."""

import numpy as np
import pytest
import torch

from tests.conftest import TINY
from zsd_optics.metrics import evaluate
from zsd_optics.psf import gaussian_psf
from zsd_optics.simulate import Camera, simulate
from zsd_runtime import InputError
from zsd_train import TrainConfig, train
from zsd_train.networks.build import build
from zsd_train.run import load_run
from zsd_train.start import ZOO, start_of

SIGMA = 1.3  # raw pixels


@pytest.fixture(scope="module")
def scene():
    return simulate((96, 96), sample="hollow-vesicles", photons=30, camera=Camera(100, 2.0, 2.0), seed=3)


def denoised(run, scene):
    with torch.inference_mode():
        batch = torch.tensor((scene.noisy[None, None] - run.offset) / run.scale, dtype=torch.float32)
        return run.network(batch).denoised[0, 0].numpy()


@pytest.mark.parametrize(("axes", "name"), [("yx", "zoo:start-2d"), ("zyx", "zoo:start-3d")])
def test_the_zoo_has_a_start_for_the_default_network(axes, name):
    config = TrainConfig(axes=axes)
    start = start_of(config)
    build(config.network, axes).load_state_dict(start.weights)
    assert start.name == name


def test_without_weights_in_the_zoo_a_training_starts_from_random_ones(monkeypatch):
    monkeypatch.setitem(ZOO, "zyx", "no-such-folder")
    assert start_of(TrainConfig(axes="zyx")) is None
    with pytest.raises(InputError, match="the zoo has no starting weights: leave"):
        start_of(TrainConfig(axes="zyx", start="zoo"))


def test_from_the_zoo_a_few_steps_do_what_random_weights_cannot(scene, tmp_path):
    psf = gaussian_psf(2 * SIGMA)
    scores = {}
    for start in ("zoo", "scratch"):
        run = train([scene.noisy], psf, TrainConfig(steps=3, start=start), tmp_path / start)
        scores[start] = evaluate(denoised(run, scene), scene.clean).psnr
        assert run.measured.start == {"zoo": "zoo:start-2d", "scratch": None}[start]
    assert scores["zoo"] > evaluate(scene.noisy, scene.clean).psnr + 4
    assert scores["zoo"] > scores["scratch"] + 4


def test_another_network_starts_from_scratch_unless_the_zoo_is_asked_for():
    assert start_of(TrainConfig(network=TINY)) is None
    with pytest.raises(InputError, match=r"no starting weights for this network.*scratch"):
        start_of(TrainConfig(network=TINY, start="zoo"))


def test_a_training_can_start_from_an_earlier_run(scene, tmp_path):
    psf = gaussian_psf(2 * SIGMA)
    config = TrainConfig(network=TINY, patch=32, batch=1, precision="fp32", steps=2)
    first = train([scene.noisy], psf, config, tmp_path / "first")
    frozen = config.model_copy(update={"start": str(tmp_path / "first"), "learning_rate": 1e-12})
    second = train([scene.noisy], psf, frozen, tmp_path / "second")
    names = [name for name in first.network.state_dict() if not name.startswith("to_")]  # the last biases keep flux
    for name in names:
        torch.testing.assert_close(second.network.state_dict()[name], first.network.state_dict()[name])
    assert load_run(tmp_path / "second").measured.start == str(tmp_path / "first")
    other = TrainConfig(start=str(tmp_path / "first"))
    with pytest.raises(InputError, match="has another network"):
        start_of(other)
    with pytest.raises(InputError, match="is not a run"):
        start_of(TrainConfig(start="nowhere"))


def test_resuming_keeps_the_start(scene, tmp_path):
    psf = gaussian_psf(2 * SIGMA)
    stops = iter([False, False, True])
    with pytest.raises(Exception, match="interrupted"):
        train([scene.noisy], psf, TrainConfig(steps=6), tmp_path / "a", stop=lambda: next(stops, True))
    resumed = train([scene.noisy], psf, None, tmp_path / "a", resume=True)
    whole = train([scene.noisy], psf, TrainConfig(steps=6), tmp_path / "b")
    assert resumed.measured.start == "zoo:start-2d"
    for ours, theirs in zip(resumed.network.parameters(), whole.network.parameters(), strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-4, atol=1e-7)
