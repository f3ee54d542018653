"""The first stage of a trained network, mixed with the one that its training started from."""

import pytest
import torch

from tests.test_train import PSF, image, tiny
from zsd_train import load_run, train
from zsd_train.mixing import SHARE, mix_with_start
from zsd_train.networks.build import build
from zsd_train.state import State

TILES = torch.linspace(0.9, 1.1, 20)


def state():
    network = build(tiny().network, "yx")
    names = list(network.state_dict())
    made = State(network, torch.optim.Adam(network.parameters()), torch.Generator(), torch.Generator(), names)
    made.best = {name: tensor + 1 for name, tensor in made.best.items()}
    return made


@pytest.mark.parametrize(
    ("mixed", "learnt", "share"),
    [
        (TILES, TILES, SHARE),
        (TILES + torch.linspace(-0.1, 0.12, 20), TILES, SHARE),  # not clearly worse
        (TILES + 0.1, TILES, 1.0),  # worse in every tile
        (torch.empty(0), torch.empty(0), 1.0),  # no held-out tiles
    ],
)
def test_the_start_comes_in_if_the_held_out_error_allows_it(mixed, learnt, share):
    ours = state()
    before = ours.best
    name = next(key for key in ours.begun if key.startswith("denoise."))

    def validate(weights):
        moved = float((weights[name] - ours.begun[name]).mean())
        assert moved == pytest.approx(1) or moved == pytest.approx(SHARE)
        return mixed if moved < 0.9 else learnt

    mix_with_start(ours, validate)
    assert ours.learnt_share == share
    for key, tensor in ours.best.items():
        expected = ours.begun[key] + share if key in ours.begun else before[key]
        torch.testing.assert_close(tensor, expected)
    assert not any(key.startswith(("deconv", "to_deconv")) for key in ours.begun)


def test_random_weights_are_no_start(tmp_path):
    run = train([image()], PSF, tiny(), tmp_path / "run")
    assert (run.measured.start, run.measured.learnt_share) == (None, 1.0)


def test_a_training_from_a_run_is_mixed_with_it_once(tmp_path):
    first = train([image()], PSF, tiny(), tmp_path / "first")
    config = tiny(steps=4, start=str(first.folder))
    run = train([image(seed=1)], PSF, config, tmp_path / "run")
    assert run.measured.learnt_share in (SHARE, 1.0)
    again = train([image(seed=1)], PSF, config, tmp_path / "run", resume=True)
    assert again.measured.learnt_share == run.measured.learnt_share
    for a, b in zip(again.network.parameters(), load_run(run.folder).network.parameters(), strict=True):
        assert torch.equal(a, b)
