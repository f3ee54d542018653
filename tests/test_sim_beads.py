"""Beads from raw frames to the reconstruction: they look as H_SIM says."""

from dataclasses import replace

import numpy as np
import pytest

from tests.test_sim_transfer import microscope
from zsd_optics.sim.beads import bead_image, psf_from_beads
from zsd_optics.sim.simulate import illumination_of, simulate_sim
from zsd_runtime.errors import InputError


@pytest.mark.parametrize(("wiener", "notch"), [(0.1, 0.0), (0.3, 0.0), (0.1, 0.8)])
def test_beads_have_the_psf_of_h_sim(wiener, notch):
    sim = microscope(wiener=wiener, notch=notch, offset=100.0)
    measured, exact = psf_from_beads(sim), sim.psf((33, 33))
    assert np.sqrt(np.mean((measured - exact) ** 2)) < 0.003 * exact.max()
    assert measured.min() < -0.005 * measured.max()  # its lobes are kept
    assert np.unravel_index(measured.argmax(), measured.shape) == (16, 16)


def test_other_parameters_show_in_the_beads():
    """The check can fail: a wrong modulation or spacing gives another PSF."""
    sim = microscope()
    other = replace(sim.parameters.patterns[0], modulation=(0.4,))
    wrong = replace(sim, parameters=replace(sim.parameters, patterns=(other, *sim.parameters.patterns[1:])))
    difference = psf_from_beads(sim) - wrong.psf((33, 33))
    assert np.sqrt(np.mean(difference**2)) > 0.003 * wrong.psf((33, 33)).max()


def test_beads_are_where_they_are_said_to_be():
    image, places = bead_image(microscope(), (96, 128), apart_px=32, seed=3)
    assert image.shape == (192, 256)
    assert len(places) == 3 * 4
    for y, x in places:
        box = image[y - 3 : y + 4, x - 3 : x + 4]
        assert box.argmax() == 24
    again, _ = bead_image(microscope(), (96, 128), apart_px=32, seed=3)
    np.testing.assert_array_equal(again, image)


def test_what_beads_cannot_be_simulated_for():
    with pytest.raises(InputError, match="no bead fits into 32x32 pixels, 40 apart"):
        bead_image(microscope(), (32, 32))
    volume = simulate_sim((4, 32, 32), illumination=illumination_of(3)).sim
    with pytest.raises(InputError, match="the microscope is for volumes"):
        bead_image(volume)
