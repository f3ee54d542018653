"""Plain scores by hand."""

import math

import numpy as np
import pytest

from zsd_optics.metrics import evaluate, psnr, snr
from zsd_runtime import InputError

TRUTH = np.array([[0, 3], [4, 10]], np.uint16)
IMAGE = np.array([[1, 3], [4, 8]], np.float32)  # squared differences: 1, 0, 0, 4


def test_plain_scores_by_hand():
    assert snr(IMAGE, TRUTH) == pytest.approx(10 * math.log10((9 + 16 + 100) / 5))
    assert psnr(IMAGE, TRUTH) == pytest.approx(10 * math.log10(10**2 / (5 / 4)))


def test_only_the_fitted_score_forgives_an_offset():
    truth = np.random.default_rng(0).random((40, 40))
    image = 2 * truth + 5
    assert psnr(image, truth) < 0
    assert evaluate(image, truth).psnr > 100


def test_an_offset_in_both_raises_the_snr_and_not_the_psnr():
    assert snr(IMAGE + 100, TRUTH + 100) > snr(IMAGE, TRUTH) + 20
    assert psnr(IMAGE + 100, TRUTH + 100) == pytest.approx(psnr(IMAGE, TRUTH))


def test_equal_images_are_infinitely_good():
    assert snr(TRUTH, TRUTH) == psnr(TRUTH, TRUTH) == math.inf


@pytest.mark.parametrize("score", [snr, psnr])
def test_grids_must_agree_and_a_truth_has_structure(score):
    with pytest.raises(InputError, match=r"9x9.*8x8"):
        score(np.zeros((9, 9)), np.zeros((8, 8)))
    with pytest.raises(InputError, match="constant"):
        score(np.zeros((9, 9)), np.ones((9, 9)))
