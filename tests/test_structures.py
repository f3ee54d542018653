"""Samples that simulations draw: in a plane and in a volume."""

import numpy as np
import pytest

from zsd_optics.simulate import SAMPLES, simulate
from zsd_optics.structures import STRUCTURES, Grid, mixed, scene
from zsd_runtime import InputError

GRIDS = {"plane": Grid((160, 200)), "volume": Grid((8, 64, 72), plane_px=5.0)}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("kind", STRUCTURES)
def test_a_structure_is_light_of_about_one(kind, grid):
    drawn, again = (STRUCTURES[kind](grid, np.random.default_rng(3)) for _ in range(2))
    assert drawn.shape == grid.shape
    np.testing.assert_array_equal(drawn, again)
    assert drawn.min() >= 0
    assert 0.8 < drawn.max() < 30
    assert drawn.std() > 0.01
    assert not np.array_equal(drawn, STRUCTURES[kind](grid, np.random.default_rng(4)))


def test_hollow_vesicles_are_hollow_in_their_middle_plane():
    grid = Grid((40, 40, 40), plane_px=1.0)
    image, radius = np.zeros(grid.shape), 8.0
    directions = np.random.default_rng(0).normal(0, 1, (3, 5000))
    directions /= np.linalg.norm(directions, axis=0)
    grid.add(image, 20.0 + radius * directions, np.ones(5000))
    assert image[20, 20, 20] == 0
    assert image[20, 20, 28] + image[20, 20, 27] > 0
    assert image.sum() == pytest.approx(5000)


def test_points_between_pixels_and_planes_keep_their_weight():
    grid = Grid((4, 16, 16), plane_px=5.0)
    image = np.zeros(grid.shape)
    grid.add(image, np.array([[7.5], [8.25], [3.0]]), np.array([2.0]))  # Z 1.5 planes, Y 8.25, X 3
    assert image[1, 8, 3] == image[2, 8, 3] == pytest.approx(2 * 0.5 * 0.75)
    assert image.sum() == pytest.approx(2)


@pytest.mark.parametrize("drawing", [mixed, scene])
def test_mixtures_have_an_even_background_and_differ(drawing):
    first, second = (drawing(Grid((96, 96)), np.random.default_rng(seed)) for seed in (0, 1))
    assert first.min() > 0
    assert not np.allclose(first, second)


def test_mixed_samples_stay_what_recipes_of_the_zoo_were_made_with():
    assert mixed(Grid((96, 96)), np.random.default_rng(0)).sum() == pytest.approx(957.0604290979221, rel=1e-6)


def test_every_sample_can_be_imaged():
    for sample in SAMPLES:
        s = simulate((48, 48), sample=sample, photons=20)
        assert s.clean.max() == pytest.approx(20)
        assert s.truth.shape == (96, 96)


def test_an_unknown_sample_is_refused():
    with pytest.raises(InputError, match=r"sample 'cheese' is not known.*nuclei"):
        simulate((48, 48), sample="cheese")
