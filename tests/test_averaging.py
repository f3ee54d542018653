"""How many flips and turns a restoration is averaged over, when nobody says it."""

from types import SimpleNamespace

import numpy as np
import pytest

from zsd_export.averaging import MOST_VOXELS, average_for, symmetries
from zsd_optics.psf import gaussian_psf, widefield_psf


def test_a_round_psf_has_all_symmetries_of_the_square():
    assert symmetries(gaussian_psf(2.0)) == 8
    assert symmetries(np.stack([gaussian_psf(2.0)] * 3)) == 8


def test_one_that_is_longer_along_an_axis_only_flips():
    long = np.outer(np.hanning(25), np.hanning(13))
    assert symmetries(long) == symmetries(long.T) == 4


@pytest.mark.parametrize(("shift", "count"), [((0, 1), 1), ((1, 0), 2)])
def test_a_lopsided_one_keeps_what_is_left(shift, count):
    round_ = gaussian_psf(2.0)
    assert symmetries(round_ + 0.2 * np.roll(round_, np.multiply(shift, 4), (0, 1))) == count


def test_noise_of_a_measured_one_does_not_count():
    noisy = gaussian_psf(2.0)
    noisy = noisy + np.random.default_rng(0).normal(0, 0.004 * noisy.max(), noisy.shape)
    assert symmetries(noisy) == 8


def run_of(psf, preset="compact", sim=None, **noise):
    told = {"correlated": "", "row_noise": 0.0, "column_noise": 0.0} | noise
    return SimpleNamespace(
        psf=psf, config=SimpleNamespace(preset=preset), sim=sim,
        measured=SimpleNamespace(noise=SimpleNamespace(**told)),
    )  # fmt: skip


ROUND, LONG = gaussian_psf(2.0), np.outer(np.hanning(25), np.hanning(13))


@pytest.mark.parametrize(
    ("runs", "count"),
    [
        ([run_of(ROUND)], 8),
        ([run_of(ROUND), run_of(LONG)], 4),
        ([run_of(ROUND, correlated="X")], 4),
        ([run_of(ROUND, correlated="YX")], 8),
        ([run_of(ROUND, row_noise=2.0)], 4),
        ([run_of(ROUND, preset="reference")], 1),
        ([run_of(ROUND, sim=object())], 1),
    ],
)
def test_all_channels_and_their_noise_count(runs, count):
    assert average_for(512**2, runs) == count


def test_large_images_are_not_averaged():
    assert average_for(MOST_VOXELS, [run_of(ROUND)]) == 8
    assert average_for(MOST_VOXELS + 1, [run_of(ROUND)]) == 1


def test_a_calculated_one_is_round():
    assert symmetries(widefield_psf(1.4, 525, 0.0313)) == 8
