"""The Anscombe transform makes noise equal everywhere, and its inverse has no bias."""

import numpy as np
import pytest

from zsd_optics.noise import NoiseModel, known_noise
from zsd_optics.stabilise import stabilised, unstabilised

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("offset", "gain", "read_noise"), [(100, 1, 0), (100, 2.5, 3), (0, 0.4, 1)])
@pytest.mark.parametrize("electrons", [3, 10, 100, 3000])
def test_noise_becomes_one_and_the_inverse_has_no_bias(offset, gain, read_noise, electrons):
    noise = known_noise(offset, gain, read_noise)
    counts = offset + gain * RNG.poisson(electrons, 400_000) + RNG.normal(0, read_noise, 400_000)
    transformed = stabilised(counts, noise)
    assert transformed.std() == pytest.approx(1, abs=0.02 if electrons > 5 else 0.1)
    mean = unstabilised(transformed.mean(keepdims=True), noise)[0] - offset
    assert mean == pytest.approx(gain * electrons, rel=0.01)


def test_the_algebraic_inverse_would_be_biased():
    noise = known_noise(0, 1, 0)
    mean = stabilised(RNG.poisson(3, 400_000), noise).mean()
    assert (mean / 2) ** 2 - 3 / 8 < 2.8
    assert unstabilised(np.array([mean]), noise)[0] == pytest.approx(3, rel=0.01)


def test_without_photon_noise_the_image_is_only_scaled():
    noise = NoiseModel(0.0, 25.0, 25.0, 100.0)
    counts = RNG.normal(100, 5, (40, 50))
    np.testing.assert_allclose(stabilised(counts, noise), counts / 5)
    np.testing.assert_allclose(unstabilised(stabilised(counts, noise), noise), counts)


def test_integers_far_below_the_offset_are_no_error():
    noise = known_noise(100, 2, 1)
    values = unstabilised(stabilised(np.array([0, 50, 99, 101], np.uint16), noise), noise)
    assert np.isfinite(values).all()
    assert values.min() >= 100 - 1  # nothing below what no light gives
