"""Results hold the light of the images, whatever the training left."""

import numpy as np
import pytest
import torch

from zsd_runtime.tiling import EDGE, round_up
from zsd_train.defaults import DEFAULTS
from zsd_train.flux import _windows, keep_flux
from zsd_train.frames import Frame
from zsd_train.networks.dual_stage import DualStageRCAN, DualStageUNet
from zsd_train.schemes import Recorrupt
from zsd_train.state import with_weights

PLANES = DEFAULTS["yx"]

RNG = np.random.default_rng(0)
OFFSET, SCALE = 100.0, 40.0
NETWORKS = {
    "2D": lambda: DualStageUNet(4, 2, 2, 6),
    "3D": lambda: DualStageUNet(4, 1, 2, 6, axes="zyx"),
    "RCAN3D": lambda: DualStageRCAN(4, 1, 4, 1, window=(3, 5, 5)),
}


def frame(*shape):
    """Counts, bright on one side."""
    signal = 30 * (1 + np.linspace(-1, 1, shape[-1])) * np.ones(shape)
    return Frame.of((RNG.poisson(signal) + OFFSET).astype(np.uint16)[None], 0.0, RNG)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("2D", (90, 131)),
        ("2D", (300, 270)),
        ("2D", (5, 1)),
        ("3D", (9, 40, 51)),
        ("3D", (34, 9, 100)),
        ("RCAN3D", (9, 20, 21)),
    ],
)
def test_the_mean_is_that_of_the_images(name, shape):
    torch.manual_seed(0)
    network = NETWORKS[name]()
    weights = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    image = frame(*shape)
    deficit = keep_flux(network, weights, [image], Recorrupt(), OFFSET, SCALE)
    assert min(np.abs(deficit)) > 1  # random weights: far off
    changed = {key for key, tensor in network.state_dict().items() if not torch.equal(tensor, weights[key])}
    assert changed == {"to_denoised.bias", "to_deconvolved.bias"}
    again = keep_flux(network, weights, [image], Recorrupt(), OFFSET, SCALE)
    assert max(np.abs(again)) < 1e-3 * SCALE
    # As a prediction of the whole image has it.
    whole = [round_up(n + 2 * EDGE, s) for n, s in zip(shape, network.size_multiple, strict=True)]
    noisy = image.window((-EDGE,) * len(shape), tuple(whole))
    with torch.no_grad():
        results = with_weights(network, weights)(torch.tensor((noisy[None] - OFFSET) / SCALE, dtype=torch.float32))
    for result, factor in zip(results, network.scales, strict=True):
        inside = tuple(slice(f * EDGE, f * (EDGE + n)) for f, n in zip(factor, shape, strict=True))
        assert float(result[0, 0][inside].mean()) * SCALE == pytest.approx(image.image.mean() - OFFSET, rel=0.01)


def test_windows_lie_in_the_images_and_are_few():
    frames = [frame(700, 300), frame(40, 900), frame(256, 256)]
    windows = list(_windows(frames, (4, 4)))
    assert 10 <= len(windows) <= PLANES.flux_windows
    for image, start, size in windows:
        assert all(a >= 0 and a + n <= whole for a, n, whole in zip(start, size, image.shape, strict=True))
        assert all(n == min(side, whole) for n, side, whole in zip(size, PLANES.flux_window, image.shape, strict=True))
    assert {id(image) for image, _, _ in windows} == {id(image) for image in frames}
    many = [frame(256, 256)] * 40
    assert len(list(_windows(many, (4, 4)))) == PLANES.flux_windows
