import numpy as np
import pytest
import torch
from scipy.signal import fftconvolve

from zsd_optics.noise import NoiseModel, known_noise
from zsd_train.forward import blur, dihedral, otf_of
from zsd_train.frames import Frame
from zsd_train.sampler import Sampler
from zsd_train.schemes import Recorrupt
from zsd_train.schemes.recorrupt import split_photons


def sampler(image, noise, scheme=None, **options):
    settings = {"offset": 0.0, "scale": 1.0, "patch": (32, 32), "margin": (8, 8)} | options
    frame = Frame.of(image[None], settings.pop("holdout", 0.0), np.random.default_rng(0))
    return Sampler([frame], scheme or Recorrupt(), noise, **settings)


def rngs(positions=0, noise=0):
    return torch.Generator().manual_seed(positions), torch.Generator().manual_seed(noise)


@pytest.mark.parametrize("scheme", ["poisson", "gaussian"])
@pytest.mark.parametrize(("gain", "read_noise", "electrons"), [(1.0, 2.0, 20.0), (3.0, 1.0, 2.0), (0.3, 3.0, 200.0)])
def test_both_copies_keep_the_mean_and_their_noise_is_uncorrelated(scheme, gain, read_noise, electrons):
    rng, offset = np.random.default_rng(0), 50.0
    counts = offset + gain * rng.poisson(electrons, (400, 400)) + rng.normal(0, read_noise, (400, 400))
    noise = known_noise(offset, gain, read_noise)
    chosen = Recorrupt(noise=scheme, alpha=(1.0, 1.0))
    source = sampler(counts, noise, chosen, offset=offset, scale=10.0, patch=(352, 352))
    pairs = source.draw(1, *rngs(0, 1))
    middle = slice(source.margin[0], -source.margin[0])
    first = pairs.noisy[0, 0, middle, middle].double() * 10
    second = pairs.target[0, 0].double() * 10
    variance = gain**2 * electrons + read_noise**2
    precision = 5 * np.sqrt(2 * variance / first.numel())
    assert first.mean() == pytest.approx(gain * electrons, abs=precision)
    assert second.mean() == pytest.approx(gain * electrons, abs=precision)
    assert first.var() == pytest.approx(2 * variance, rel=0.1)  # α = 1: each copy has twice the variance
    covariance = ((first - first.mean()) * (second - second.mean())).mean()
    assert abs(covariance) < 0.03 * variance


def test_split_photons_are_independent_where_gaussian_recorruption_is_only_uncorrelated():
    """At one photon a pixel: what a bright input says of the target's noise, in standard deviations of the mean."""
    rng = np.random.default_rng(0)
    y = torch.tensor(rng.poisson(1.0, 400_000), dtype=torch.float64)
    first, second = split_photons(y, 1.0, torch.Generator().manual_seed(0))
    z = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def excess(input_, target):
        bright = target[input_ >= torch.quantile(input_[:100_000], 0.98)]
        return float((bright.mean() - 1) / bright.std() * np.sqrt(bright.numel()))

    assert abs(excess(first, second)) < 4
    assert excess(y + z, y - z) > 20


def test_numbers_below_zero_do_not_raise_the_mean_of_the_target():
    electrons = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25
    _, target = split_photons(electrons, 1.0, torch.Generator().manual_seed(1))
    assert float(target.mean()) == pytest.approx(0.25, abs=0.005)


def test_without_a_gain_recorruption_is_gaussian():
    image = np.random.default_rng(0).normal(100, 3, (64, 64))
    poisson, gaussian = (
        sampler(image, NoiseModel(0.0, 9.0, 9.0, 100.0), Recorrupt(noise=name)).draw(2, *rngs())
        for name in ("poisson", "gaussian")
    )
    assert torch.equal(poisson.noisy, gaussian.noisy)


@pytest.mark.parametrize("k", range(8))
def test_a_turned_patch_is_blurred_by_the_turned_psf(k):
    rng = np.random.default_rng(k)
    image, psf = rng.random((24, 24)), rng.random((5, 5))
    expected = dihedral(torch.tensor(fftconvolve(image, psf, mode="same")), k)
    turned = dihedral(torch.tensor(psf), k)
    result = blur(dihedral(torch.tensor(image), k)[None, None], otf_of(turned, (24, 24)))[0, 0]
    torch.testing.assert_close(result[3:-3, 3:-3], expected[3:-3, 3:-3])


def test_the_eight_symmetries_differ():
    image = torch.rand(5, 5)
    assert len({dihedral(image, k).numpy().tobytes() for k in range(8)}) == 8


def test_held_out_pixels_are_never_targets():
    image = np.random.default_rng(0).normal(100, 3, (256, 256))
    source = sampler(image, known_noise(90, 1, 2), holdout=0.1)
    frame = source.frames[0]
    held = np.zeros(image.shape, bool)
    for y, x in frame.tiles():
        held[y : y + 32, x : x + 32] = True
    assert 0.05 < held.mean() < 0.15
    np.testing.assert_array_equal(frame.mask((0, 0), image.shape) == 0, held)
    frozen = source.held_out(7, 64)
    again = source.held_out(7, 64)
    assert frozen is not None
    assert again is not None
    assert torch.equal(frozen.noisy, again.noisy)
    assert frozen.mask.sum() == held.sum()


def test_every_draw_has_fresh_noise():
    image = np.random.default_rng(0).normal(100, 3, (64, 64))
    source = sampler(image, known_noise(90, 1, 2))
    generators = rngs()
    first, second = source.draw(4, *generators), source.draw(4, *generators)
    assert not torch.equal(first.noisy, second.noisy)
