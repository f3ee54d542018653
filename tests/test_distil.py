import numpy as np
import pytest
import torch

from tests.conftest import TINY
from zsd_runtime import InputError
from zsd_train import load_run, train
from zsd_train.config import NetworkConfig, RCANConfig, make_config
from zsd_train.networks.build import build
from zsd_train.networks.prune import prunes, student
from zsd_train.networks.unet import CONV

SHAPES = {"yx": (2, 1, 24, 32), "zyx": (1, 1, 3, 16, 24)}


def silenced(network, share):
    """The network with all but a `share` of the channels of each hidden layer switched off, at random places."""
    for layer in network.modules():
        if isinstance(layer, CONV["yx"] | CONV["zyx"]):
            torch.nn.init.kaiming_normal_(layer.weight)
            torch.nn.init.normal_(layer.bias, 0, 0.1)
            if layer.out_channels > 1:
                off = torch.randperm(layer.out_channels)[int(share * layer.out_channels) :]
                with torch.no_grad():
                    layer.weight[off] = 0
                    layer.bias[off] = 0
    return network


@pytest.mark.parametrize("axes", ["yx", "zyx"])
@pytest.mark.parametrize("convs", [2, 3])
def test_pruning_dead_channels_changes_nothing(axes, convs):
    torch.manual_seed(0)
    teacher = silenced(build(NetworkConfig(width=8, depth=2, convs=convs, head=12), axes), 0.5)
    small = student(NetworkConfig(width=4, depth=2, convs=convs, head=6), teacher)
    x = torch.rand(SHAPES[axes])
    for a, b in zip(small(x), teacher(x), strict=True):
        assert b.std() > 1e-3
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_nothing_pruned_is_a_copy():
    teacher = build(TINY, "yx")
    copied = student(TINY, teacher).state_dict()
    assert all(torch.equal(value, copied[name]) for name, value in teacher.state_dict().items())


def test_a_quarter_of_the_channels_begins_with_random_weights():
    """Pruned so far, a network's features were all below 0, and it gave nothing for ever."""
    teacher = build(NetworkConfig(width=16, depth=2, head=16), "yx")
    assert prunes(build(NetworkConfig(width=8, depth=2, head=8), "yx"), teacher)
    assert not prunes(build(NetworkConfig(width=4, depth=2, head=4), "yx"), teacher)


@pytest.mark.parametrize(
    ("config", "axes", "expected"),
    [
        (NetworkConfig(width=3, depth=2, head=8), "yx", True),
        (NetworkConfig(width=4, depth=2, head=4), "zyx", True),
        (NetworkConfig(width=5, depth=2, head=8), "yx", False),
        (NetworkConfig(width=4, depth=2, head=9), "yx", False),
        (NetworkConfig(width=4, depth=1, head=8), "yx", False),
        (NetworkConfig(width=4, depth=2, convs=3, head=8), "yx", False),
        (RCANConfig(kind="rcan", width=4, blocks=1, head=4), "zyx", False),
    ],
)
def test_a_student_prunes_when_it_is_the_teacher_but_narrower(config, axes, expected):
    teacher = build(TINY, axes)
    assert prunes(build(config, axes), teacher) is expected
    assert student(config, teacher).axes == axes


def choices(**values):
    return make_config(**({"scheme": "distill", "network": TINY, "patch": 32, "batch": 2, "device": "cpu"} | values))


def test_a_student_learns_what_the_teacher_gives(run_folder, simulation, tmp_path):
    """Both outputs, on the image itself; and held-out tiles tell it."""
    teacher = load_run(run_folder)
    config = choices(network=NetworkConfig(width=8, depth=1, head=8), steps=300, precision="fp32")
    run = train([simulation.noisy], teacher.psf, config, tmp_path / "run", teacher=teacher)
    assert (run.offset, run.scale, run.measured.noise) == (teacher.offset, teacher.scale, teacher.measured.noise)
    noisy = torch.tensor((simulation.noisy[None, None] - teacher.offset) / teacher.scale, dtype=torch.float32)
    with torch.inference_mode():
        for ours, theirs in zip(run.network(noisy), teacher.network(noisy), strict=True):
            assert torch.mean((ours - theirs) ** 2) < 0.5 * theirs.var()  # of a flat image it is 1
    assert run.measured.held_out_error < 0.1 * float(np.var(noisy.numpy()))


def test_a_copy_of_the_teacher_has_nothing_to_learn(run_folder, simulation, tmp_path):
    teacher = load_run(run_folder)
    config = choices(steps=1, learning_rate=1e-9, precision="fp32")
    run = train([simulation.noisy], teacher.psf, config, tmp_path / "run", teacher=teacher)
    assert run.measured.held_out_error < 1e-9


def test_a_student_on_another_grid_is_refused(run_folder, simulation, tmp_path):
    teacher = load_run(run_folder)
    config = choices(network=NetworkConfig(width=4, depth=1, grid_factor=1), steps=1)
    with pytest.raises(InputError, match=r"network.grid_factor = 1, .* set it to 2"):
        train([simulation.noisy], teacher.psf, config, tmp_path / "run", teacher=teacher)
    assert not (tmp_path / "run").exists()
