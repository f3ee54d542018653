"""Lessons from simulations, from which the zoo's starting weights are made."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

from zsd_train import pretrain
from zsd_train.config import TrainConfig
from zsd_train.forward import blur, crop, downsample
from zsd_train.networks.build import build
from zsd_train.networks.network import Restored
from zsd_train.start import start_of

SMALL = {
    "yx": replace(pretrain.WORLDS["yx"], samples=2, psfs=3, sample=(240, 240)),
    "zyx": replace(pretrain.WORLDS["zyx"], samples=2, psfs=3, sample=(36, 160, 160)),
}


@pytest.fixture(params=["yx", "zyx"])
def lessons(request, monkeypatch):
    monkeypatch.setattr(pretrain, "WORLDS", SMALL)
    return pretrain.Lessons(request.param, seed=0)


def test_an_image_is_the_blurred_sample_with_the_noise_that_is_declared(lessons):
    lesson = lessons.draw(3)
    size = [n + 2 * m for n, m in zip(lessons.world.patch, lessons.world.margin, strict=True)]
    assert list(lesson.noisy.shape[2:]) == list(lesson.clean.shape[2:]) == size
    assert list(lesson.truth.shape[2:]) == [*size[:-2], *(2 * n for n in size[-2:])]
    measured = (lesson.noisy - lesson.clean).square().flatten(1).mean(1)
    torch.testing.assert_close(measured, lesson.variance, rtol=0.1, atol=0)
    assert 0 < lesson.clean.mean() < 3


def test_light_is_kept_on_the_way(lessons):
    world = lessons.world
    truth = lessons._window(lessons.samples[0])[None, None]
    clean = crop(downsample(blur(truth, lessons.otfs[:1]), 2), world.blurred)
    inside = crop(truth, (*world.blurred[:-2], *(2 * n for n in world.blurred[-2:])))
    assert float(clean.mean()) == pytest.approx(float(inside.mean()), rel=0.1)


def test_correlated_noise_has_variance_1_and_is_correlated(lessons):
    shape = (512, 512)
    noise = lessons._correlated(shape)
    assert float(noise.std()) == pytest.approx(1)
    neighbours = [float((noise * noise.roll(1, axis)).mean()) for axis in (0, 1)]
    assert max(neighbours) > 0.1


def test_the_loss_of_doing_nothing_is_1_and_of_the_truth_0(lessons):
    lesson, margin = lessons.draw(4), lessons.world.margin
    enlarged = torch.nn.functional.interpolate(lesson.clean, scale_factor=[1.0] * (lesson.clean.ndim - 4) + [2.0, 2.0])
    _, noise, blurred = pretrain.loss(Restored(lesson.noisy, enlarged), lesson, margin)
    assert float(noise) == pytest.approx(1, abs=0.2)
    assert 0.3 < float(blurred) <= 1
    _, noise, blurred = pretrain.loss(Restored(lesson.clean, lesson.truth), lesson, margin)
    assert float(noise) == float(blurred) == 0


def test_a_start_is_written_with_its_network_and_recipe(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "WORLDS", SMALL)
    pretrain.pretrain("yx", pretrain.Budget(steps=2), tmp_path / "weights.safetensors", report=lambda line: None)
    network = build(TrainConfig().network, "yx")
    with safe_open(tmp_path / "weights.safetensors", "pt") as file:
        assert set(file.keys()) == set(network.state_dict())
        assert "zsd_train.pretrain OUT --axes yx --steps 2 --seed 0" in file.metadata()["recipe"]
        assert '"upsampling":"shuffle"' in file.metadata()["network"]


def test_weights_that_went_on_say_from_what(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "WORLDS", SMALL)
    pretrain.pretrain("yx", pretrain.Budget(steps=1), tmp_path / "more", report=lambda line: None, start="zoo")
    with safe_open(tmp_path / "more", "pt") as file:
        recipe = json.loads(file.metadata()["recipe"])
    assert recipe["from"] == json.loads(start_of(TrainConfig(start="zoo")).recipe)
    assert recipe["from"]["steps"] > 1000
