"""The linear reconstruction of SIM: exact, the same for windows, for torch and for volumes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from zsd_optics.sim.simulate import Illumination, lit_frames, simulate_sim
from zsd_optics.simulate import Camera
from zsd_runtime.errors import InputError
from zsd_runtime.sim.microscope import Sim
from zsd_runtime.sim.reconstruction import HALO, Reconstruction, fast_length, reconstruct

CAMERA = Camera(100, 2, 1)


def seen(truth: np.ndarray, sim: Sim) -> np.ndarray:
    """The truth through H_SIM; it wraps around."""
    return np.fft.ifftn(np.fft.fftn(truth) * sim.transfer_function(truth.shape)).real


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    return float(10 * np.log10(truth.max() ** 2 / np.mean((image - truth) ** 2)))


@pytest.fixture(scope="module")
def plane():
    return simulate_sim((144, 160), photons=200, camera=CAMERA, seed=4)


@pytest.fixture(scope="module")
def volume():
    lit = Illumination(modulation=(0.6, 0.8))
    return simulate_sim((12, 96, 96), sample="vesicles", photons=500, camera=CAMERA, illumination=lit, seed=1)


def test_a_microscope_repeats_its_stripes():
    lit = Illumination(first_phases_rad=(0.4, 1.9, 3.3))
    one, other = (simulate_sim((64, 64), camera=CAMERA, illumination=lit, seed=seed) for seed in (1, 2))
    assert one.sim.parameters.patterns == other.sim.parameters.patterns
    assert [pattern.phases_rad[0] for pattern in one.sim.parameters.patterns] == [0.4, 1.9, 3.3]
    assert not np.array_equal(one.truth, other.truth)
    with pytest.raises(InputError, match="2 first phases must be one for each direction"):
        Illumination(first_phases_rad=(0.4, 1.9))


@pytest.mark.parametrize("wiener", [0.05, 0.3])
@pytest.mark.parametrize("notch", [0.0, 0.9])
def test_without_noise_it_is_the_truth_through_h_sim(wiener, notch, plane):
    sim = replace(plane.sim, parameters=replace(plane.sim.parameters, wiener=wiener, notch=notch))
    found, expected = reconstruct(plane.clean, sim), seen(plane.truth.astype(np.float64), sim)
    assert found.shape == (288, 320)
    assert found.dtype == np.float32
    inner = (slice(40, -40),) * 2  # light from beyond the edge is unknown
    assert psnr(found[inner], expected[inner]) > 50
    assert found[inner].sum() == pytest.approx(expected[inner].sum(), rel=0.005)


def test_light_is_conserved(plane):
    found = reconstruct(plane.clean, plane.sim)
    widefield = plane.clean.mean(axis=0) - plane.sim.parameters.offset
    assert found.mean() == pytest.approx(widefield.mean(), rel=0.005)


def test_it_is_linear(plane):
    whole = Reconstruction.of(plane.sim, (64, 64))
    a, b = np.random.default_rng(0).normal(0, 1, (2, 9, 64, 64)).astype(np.float32)
    np.testing.assert_allclose(whole(a + 3 * b), whole(a) + 3 * whole(b), atol=2e-4)


@pytest.mark.parametrize("start", [(0, 0), (13, 40), (37, 5)])
def test_a_window_with_a_halo_equals_the_whole_image(start, plane):
    frames = plane.raw.astype(np.float32) - plane.sim.parameters.offset
    y, x = start
    window = frames[:, y : y + 96, x : x + 96]
    found = Reconstruction.of(plane.sim, (96, 96))(window, start)
    whole = reconstruct(plane.raw, plane.sim)[2 * y : 2 * y + 192, 2 * x : 2 * x + 192]
    inner = (slice(2 * HALO, -2 * HALO),) * 2
    error = np.sqrt(np.mean((found[inner] - whole[inner]) ** 2)) / np.sqrt(np.mean(whole[inner] ** 2))
    assert error < 0.006
    elsewhere = Reconstruction.of(plane.sim, (96, 96))(window, (y + 1, x))
    assert np.abs(elsewhere - found)[inner].max() > 0.02 * whole.max()  # the phases matter


def test_several_windows_at_once(plane):
    frames = np.random.default_rng(1).normal(50, 5, (2, 3, 9, 48, 64)).astype(np.float32)
    reconstruction = Reconstruction.of(plane.sim, (48, 64))
    together = reconstruction(frames, (3, 4))
    assert together.shape == (2, 3, 96, 128)
    for index in np.ndindex(2, 3):
        np.testing.assert_allclose(together[index], reconstruction(frames[index], (3, 4)), atol=1e-3)


def test_torch_gives_the_same(plane, volume):
    for simulation in (plane, volume):
        shape = simulation.raw.shape[1:]
        frames = simulation.raw.astype(np.float32) - 100
        inside = np.ones(shape[-2:], np.float32)
        inside[:5] = 0
        with_numpy = Reconstruction.of(simulation.sim, shape)
        expected = with_numpy(frames, (3, 7), inside)
        found = with_numpy.on(torch, "cpu")(torch.from_numpy(frames), (3, 7), torch.from_numpy(inside))
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-4 * np.abs(expected).max())


def test_a_volume_without_noise(volume):
    sim = volume.sim
    found = reconstruct(volume.clean, sim)
    assert found.shape == (12, 192, 192)
    expected = seen(volume.truth.astype(np.float64), sim)
    inner = (slice(4, -4), slice(40, -40), slice(40, -40))  # light from beyond the first and last slices is unknown
    correlation = np.corrcoef(found[inner].ravel(), expected[inner].ravel())[0, 1]
    assert correlation > 0.95
    widefield = volume.clean.mean(axis=0) - sim.parameters.offset
    assert found.mean() == pytest.approx(widefield.mean(), rel=0.02)


def test_a_periodic_volume_is_exact(volume):
    """Frames made from the model on a grid that wraps around: only rounding is left."""
    sim = volume.sim
    rng = np.random.default_rng(3)
    truth = np.zeros((8, 64, 64))
    truth[tuple(rng.integers(0, n, 40) for n in truth.shape)] = 100
    # Stripes that fit into the window, so that nothing breaks at its edges.
    step = 1 / (32 * sim.parameters.pixel_size_um)
    waves = [np.array([10, 2]) * step, np.array([-4, 9]) * step]
    patterns = tuple(
        replace(p, angle_rad=float(np.arctan2(*w)), spacing_nm=float(1000 / np.hypot(*w)))
        for p, w in zip(sim.parameters.patterns, waves, strict=False)
    )
    sim = replace(sim, parameters=replace(sim.parameters, patterns=patterns))
    frames = np.concatenate(
        [lit_frames(truth, p, sim, tuple(slice(0, n) for n in truth.shape)) for p in patterns]
    ).astype(np.float32)
    found = Reconstruction.of(sim, (8, 32, 32))(frames)
    expected = seen(truth, sim)
    assert psnr(found, expected) > 50


@pytest.mark.parametrize("shape", [(8, 64, 64), (9, 1, 64, 64), (9, 64)])
def test_frames_that_are_not_those_of_the_parameters(shape, plane):
    with pytest.raises(InputError, match="are not 3 directions x 3 phases of planes"):
        reconstruct(np.zeros(shape, np.uint16), plane.sim)


def test_fast_lengths():
    assert [fast_length(n) for n in (1, 7, 96, 97, 127)] == [2, 8, 96, 100, 128]
