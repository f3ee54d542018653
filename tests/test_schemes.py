"""Two toy schemes that touch no other file: the doors for blind spots and for several raw frames are wide enough."""

import numpy as np
import pytest
import torch

from zsd_optics.psf import gaussian_psf
from zsd_optics.simulate import Camera, simulate
from zsd_runtime import InputError
from zsd_train import load_run, train
from zsd_train.config import NetworkConfig, make_config
from zsd_train.schemes import Recorrupt
from zsd_train.schemes.scheme import Batch, Chance, Sample, Scheme, Window

PSF = gaussian_psf(2.0)
SINGLE = NetworkConfig(width=4, depth=2, stages=1)
DUAL = NetworkConfig(width=4, depth=2, head=8)


class BlindSpot(Scheme):
    """Some pixels are replaced by a neighbour; only there is the output compared with what was seen."""

    kind: str = "toy-blind-spot"
    share: float = 0.03

    def sample(self, window, chance, noise_rng):
        image = window.image
        blind = torch.rand(image.shape, generator=noise_rng, device=image.device) < self.share
        shift = 1 if chance.coin else -1
        return Sample(torch.where(blind, image.roll(shift, -1), image), image, window.mask[None] * blind)


class NineFrames(Scheme):
    """Of nine raw frames, four make the input and five the target: their noise is independent."""

    kind: str = "toy-nine-frames"

    def view(self, counts):
        return counts.mean(axis=0, keepdims=True)

    def sample(self, window, _chance, noise_rng):
        frames = window.image[torch.randperm(9, generator=noise_rng)]
        return Sample(frames[:4].mean(0, keepdim=True), frames[4:].mean(0, keepdim=True), window.mask[None])


def config(scheme, network, **values):
    small = {"patch": 32, "batch": 2, "steps": 30, "device": "cpu", "precision": "fp32"}
    return make_config(**(small | {"scheme": scheme, "network": network} | values))


def frames(count, shape=(96, 96)):
    rng = np.random.default_rng(0)
    clean = simulate(shape, photons=40, camera=Camera(100, 1, 2), seed=0).clean - 100.0
    return np.stack([Camera(100, 1, 2).expose(clean, rng) for _ in range(count)])


def error(run, noisy):
    """Mean squared error of the denoised image beside that of the noisy one."""
    clean = simulate(noisy.shape, photons=40, camera=Camera(100, 1, 2), seed=0).clean
    scaled = torch.tensor((noisy[None, None] - run.offset) / run.scale, dtype=torch.float32)
    with torch.inference_mode():
        denoised = run.network(scaled).denoised[0, 0].numpy() * run.scale + run.offset
    return float(np.mean((denoised - clean) ** 2) / np.mean((noisy - clean) ** 2))


def test_a_blind_spot_scheme_with_one_stage_denoises(tmp_path):
    image = frames(1)[0]
    run = train([image], PSF, config(BlindSpot(share=0.05), SINGLE, steps=300), tmp_path / "run")
    assert run.network.outputs == ("denoised",)
    assert run.network.scales == [(1, 1)]
    assert error(run, image.astype(float)) < 0.6
    assert load_run(tmp_path / "run").config.scheme == BlindSpot(share=0.05)


def test_only_masked_pixels_have_a_gradient():
    scheme, noise_rng = BlindSpot(), torch.Generator().manual_seed(0)
    image = torch.rand(1, 16, 16)
    sample = scheme.sample(Window(None, image, torch.ones(16, 16), None, 0, 1), Chance(0.5, True), noise_rng)
    batch = Batch(sample.noisy[None], sample.target[None], sample.mask[None], torch.zeros(1, dtype=torch.long))
    assert 0 < batch.mask.sum() < 40
    assert torch.equal(batch.noisy[0][~sample.mask.bool()], image[~sample.mask.bool()])


def test_a_scheme_draws_from_nine_channels(tmp_path):
    stack = frames(9)
    run = train([stack], PSF, config(NineFrames(), DUAL, steps=200), tmp_path / "run")
    assert run.measured.images == [[9, 96, 96]]
    assert run.sample.shape == (96, 96)
    assert error(run, stack.mean(axis=0)) < 0.7 * 9  # beside the noise of a single frame, which is nine times that
    restored = run.network(torch.zeros(1, 1, 16, 16))
    assert restored.deconvolved.shape == (1, 1, 32, 32)
    again = train([stack], PSF, make_config(steps=203), tmp_path / "run", resume=True)
    assert again.measured.steps == 203


def test_channels_that_no_scheme_reads_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"shape \(9, 96, 96\) is not YX .* channels are 1, the image's 9"):
        train([frames(9)], PSF, config(Recorrupt(), DUAL), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_several_channels_can_go_into_a_network(tmp_path):
    class Neighbours(Recorrupt):
        """The middle one of three frames is restored from all three."""

        kind: str = "toy-neighbours"

        def sample(self, window, chance, noise_rng):
            pair = super().sample(window, chance, noise_rng)
            return Sample(pair.noisy, pair.target[1:2], pair.mask)

    network = NetworkConfig(width=4, depth=2, head=8, channels=3)
    run = train([frames(3)], PSF, config(Neighbours(), network, steps=5), tmp_path / "run")
    assert run.sample.shape == (3, 96, 96)
    assert run.network(torch.zeros(2, 3, 16, 16)).denoised.shape == (2, 1, 16, 16)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nothing", "scheme 'nothing' is not known.*auto.*recorrupt"),
        ({"kind": "recorrupt", "alpha": (2, 1)}, "alpha .* range low <= high"),
        ({"kind": "recorrupt", "alhpa": (1, 2)}, "alhpa"),
        ({"kind": "odd-even", "gap_weight": -1}, "gap_weight = -1"),
        (["recorrupt"], "scheme"),
    ],
)
def test_what_is_wrong_with_a_scheme_is_named(value, message):
    with pytest.raises(InputError, match=message):
        make_config(scheme=value)


def test_distillation_needs_a_teacher(tmp_path):
    with pytest.raises(InputError, match="needs a trained network"):
        train([frames(1)[0]], PSF, config("distill", DUAL), tmp_path / "run")


def test_choices_of_a_scheme_may_stand_beside_it():
    """As in files of schema 1, which have those of all schemes."""
    old = {"scheme": "recorrupt", "recorruption": "gaussian", "alpha": [0.6, 1.2], "gap_weight": 2.0}
    assert make_config(**old).scheme == Recorrupt(noise="gaussian", alpha=(0.6, 1.2))
    assert make_config(recorruption="gaussian").scheme.noise == "gaussian"
