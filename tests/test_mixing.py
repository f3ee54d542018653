"""The first stage of a trained network, mixed with the one that its training started from."""

import pytest
import torch

from tests.test_train import PSF, image, tiny
from zsd_train import load_run, train
from zsd_train.mixing import SHARES, mix_with_start
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
    ("error_of_share", "share"),
    [
        ({0.5: TILES, 0.75: TILES, 1.0: TILES}, 0.5),
        ({0.5: TILES + 0.1 * torch.rand(20), 0.75: TILES, 1.0: TILES}, 0.75),  # worse in every tile
        ({0.5: TILES + 0.1 * torch.randn(20), 0.75: TILES, 1.0: TILES}, 0.5),  # not clearly worse
        ({0.5: TILES + 0.1, 0.75: TILES + 0.1, 1.0: TILES}, 1.0),
        (dict.fromkeys((0.5, 0.75, 1.0), torch.empty(0)), 1.0),  # no held-out tiles
    ],
)
def test_the_start_comes_in_as_far_as_the_held_out_error_allows(error_of_share, share):
    torch.manual_seed(0)
    ours = state()
    learnt = ours.best
    name = next(key for key in ours.begun if key.startswith("denoise."))

    def validate(weights):
        moved = (weights[name] - ours.begun[name]).mean()
        return error_of_share[round(float(moved), 3)]

    mix_with_start(ours, validate)
    assert ours.learnt_share == share
    for key, tensor in ours.best.items():
        expected = ours.begun[key] + share if key in ours.begun else learnt[key]
        torch.testing.assert_close(tensor, expected)
    assert not any(key.startswith(("deconv", "to_deconv")) for key in ours.begun)


def test_random_weights_are_no_start(tmp_path):
    run = train([image()], PSF, tiny(), tmp_path / "run")
    assert (run.measured.start, run.measured.learnt_share) == (None, 1.0)


def test_a_training_from_a_run_is_mixed_with_it_once(tmp_path):
    first = train([image()], PSF, tiny(), tmp_path / "first")
    config = tiny(steps=4, start=str(first.folder))
    run = train([image(seed=1)], PSF, config, tmp_path / "run")
    assert run.measured.learnt_share in (*SHARES, 1.0)
    again = train([image(seed=1)], PSF, config, tmp_path / "run", resume=True)
    assert again.measured.learnt_share == run.measured.learnt_share
    for a, b in zip(again.network.parameters(), load_run(run.folder).network.parameters(), strict=True):
        assert torch.equal(a, b)
