"""A saturated pixel says that the light is at least its value: in the loss, in the flux, and in patches."""

import numpy as np
import pytest
import torch

from zsd_runtime.corrections.corrected import Corrected
from zsd_train.flux import _known
from zsd_train.frames import Frame
from zsd_train.movies import Neighbourhood
from zsd_train.objective import data_term, residual

HIGH = 255
BRIGHT, OVEREXPOSED = np.s_[16:48, 16:48], np.s_[64:88, 64:88]


def exposed():
    """Counts (96, 96) as they would be, and as an 8-bit camera gives them; a few of the bright ones are saturated."""
    light = np.full((96, 96), 100.0)
    light[BRIGHT], light[OVEREXPOSED] = 235, 400
    counts = np.random.default_rng(0).poisson(light)
    return counts, np.minimum(counts, HIGH).astype(np.uint8)


def frame(image):
    return Frame.of(Corrected(image[None]), 0.1, np.random.default_rng(0))


def test_only_what_a_prediction_lacks_counts():
    prediction, target = torch.tensor([200.0, 300.0, 200.0, 300.0]), torch.full((4,), 255.0)
    mask = torch.tensor([1.0, 1.0, -1.0, -1.0])
    assert residual(prediction, target, mask).tolist() == [-55, 45, -55, 0]
    assert residual(prediction, target, 2 * mask).tolist() == [-110, 90, -110, 0]
    mean = data_term(prediction, target, squared=True, mask=mask)
    assert mean == pytest.approx((55**2 + 45**2 + 55**2) / 4)


def test_the_best_constant_is_the_light():
    counts, image = exposed()
    target = torch.tensor(image[BRIGHT], dtype=torch.float32)
    mask = torch.where(target == HIGH, -1.0, 1.0)
    tried = np.linspace(200, 280, 401)
    losses = [data_term(torch.full_like(target, p), target, squared=True, mask=mask) for p in tried]
    light = counts[BRIGHT].mean()
    assert tried[np.argmin(losses)] == pytest.approx(light, abs=1)
    assert target[mask > 0].mean() < light - 2  # leaving saturated pixels out


def test_what_is_learnt_from_each_pixel():
    _, image = exposed()
    image[5, 5] = 0  # dead
    made = frame(image)
    mask = made.mask((0, 0), image.shape)
    held_out = np.kron(made.held_out, np.ones((96 // made.held_out.shape[0],) * 2, bool))
    assert (mask[held_out] == 0).all()
    judged = made.mask((0, 0), image.shape, judged=True)
    assert ((judged == -1) == (image == HIGH)).all()
    assert np.argwhere(judged == 0).tolist() == [[5, 5]]
    assert (mask[~held_out] == judged[~held_out]).all()


def test_the_flux_is_that_of_places_whose_light_is_known():
    counts, image = exposed()
    known = _known(frame(image), (0, 0), image.shape)
    assert known[BRIGHT].all()
    assert image[BRIGHT].mean() == pytest.approx(counts[BRIGHT].mean(), abs=1)
    assert image[BRIGHT][image[BRIGHT] < HIGH].mean() < counts[BRIGHT].mean() - 2
    assert not known[66:86, 66:86].any()
    assert (~known).sum() <= 24**2


def test_a_movie_has_the_saturated_pixels_of_the_frame_itself():
    _, image = exposed()
    dark = Corrected(np.full((1, 96, 96), 100, np.uint8) + np.arange(96, dtype=np.uint8) % 7)
    seen = Neighbourhood([dark, Corrected(image[None]), dark])
    box = (slice(None), *BRIGHT)
    assert (seen.saturated(box)[0] == (image[BRIGHT] == HIGH)).all()
    assert Neighbourhood([dark, dark, dark]).saturated(box) is None
