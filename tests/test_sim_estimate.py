"""Patterns found in raw SIM frames: how exactly, the order of the planes, and everything that makes them doubtful."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import scipy.ndimage as ndi

from zsd_optics.noise import estimate_noise
from zsd_optics.optics import Optics
from zsd_optics.sim.acquisition import acquisition, clamped, doubts, most_modulation
from zsd_optics.sim.drift import drift_px
from zsd_optics.sim.estimate import Given, brightness, estimate
from zsd_optics.sim.simulate import Illumination, SimSimulation, illumination_of, simulate_sim
from zsd_optics.sim.theory import planar_transfer
from zsd_optics.sim.width import best_stretch
from zsd_optics.simulate import Camera
from zsd_runtime.errors import InputError
from zsd_runtime.sim.bands import Bands
from zsd_runtime.sim.layout import Layout
from zsd_runtime.sim.moved import stripes_moved
from zsd_runtime.sim.parameters import Pattern

CAMERA = Camera(100, 1, 2)
PIXEL = 0.0626
TWO_BEAMS = Layout(3, 3)


@cache
def simulated(photons: float = 200, seed: int = 0, modulation: float = 0.8) -> SimSimulation:
    rng = np.random.default_rng(seed)
    lit = Illumination(spacing_nm=rng.uniform(180, 220), angle_rad=rng.uniform(0, np.pi), modulation=(modulation,))
    return simulate_sim((256, 256), photons=photons, camera=CAMERA, seed=seed, illumination=lit)


def found_in(simulation: SimSimulation, frames=None, **options):
    frames = simulation.raw if frames is None else frames
    return acquisition(frames, TWO_BEAMS, simulation.sim.transfer, pixel_size_um=PIXEL, **options)


def errors(found: Pattern, true: Pattern, size: int) -> tuple[float, float, float]:
    """Of the wave vector (steps of the spectrum), the phase in the middle of the image (rad), the modulation."""
    k, true_k, sign = found.wave_vector(1), true.wave_vector(1), 1
    if k @ true_k < 0:
        k, sign = -k, -1
    middle = 2 * np.pi * (size - 1) / 2 * PIXEL * (k - true_k).sum()
    phase = np.angle(np.exp(1j * (sign * found.phases_rad[0] - true.phases_rad[0] + middle)))
    return float(np.hypot(*(k - true_k)) * size * PIXEL), abs(phase), abs(found.modulation[0] - true.modulation[0])


@pytest.mark.parametrize(
    ("photons", "wave", "phase", "modulation"),
    [(1000, 0.05, 0.02, 0.02), (50, 0.06, 0.06, 0.08), (20, 0.1, 0.12, 0.25)],  # with a little room: benchmarks/sim.py
)
def test_accuracy(photons, wave, phase, modulation):
    for seed in range(3):
        simulation = simulated(photons, seed, modulation=(0.5, 0.7, 0.9)[seed])
        found = estimate(simulation.raw, simulation.sim.transfer, directions=3, pixel_size_um=PIXEL, offset=100)
        for one, true in zip(found.patterns, simulation.sim.parameters.patterns, strict=True):
            assert max(one.trust) > 6
            k, p, m = errors(one, true, 256)
            assert (k < wave, p < phase, m < modulation) == (True, True, True), (k, p, m)


def test_brightness_of_directions_does_not_depend_on_the_offset():
    simulation = simulated(500)
    factors = np.array([0.8, 1.15, 1.05])
    frames = (simulation.raw.astype(float) - 100) * np.repeat(factors, 3)[:, None, None]
    for offset in (0, 40):
        bands = [
            Bands.of(part - offset, simulation.sim.transfer, (PIXEL, PIXEL)) for part in frames.reshape(3, 3, 256, 256)
        ]
        np.testing.assert_allclose(brightness(bands), factors, atol=0.01)


@pytest.mark.parametrize("photons", [30])
def test_order_of_planes_is_found(photons):
    simulation = simulated(photons, 1)
    direction_first = found_in(simulation)
    assert direction_first.sim.parameters.order == "dp"
    assert not any("ordered" in text for text in direction_first.sim.parameters.remarks)
    phase_first = simulation.raw.reshape(3, 3, 256, 256).swapaxes(0, 1).reshape(9, 256, 256)
    found = found_in(simulation, phase_first)
    assert found.sim.parameters.order == "pd"
    assert any("ordered phase, direction" in text for text in found.sim.parameters.remarks)
    np.testing.assert_array_equal(found.frames, direction_first.frames)
    with pytest.raises(InputError, match=r"ordered phase, direction \(slowest first\).* and not 'dp'"):
        found_in(simulation, phase_first, order="dp")
    assert found_in(simulation, phase_first, order="pd").sim.parameters.order == "pd"


def test_three_beams_in_planes():
    """5 phases: orders 1 and 2 of the same stripes, found together."""
    lit = illumination_of(3, spacing=210)
    simulation = simulate_sim((192, 192), photons=200, camera=CAMERA, illumination=lit, seed=2)
    found = acquisition(simulation.raw, Layout(3, 5), simulation.sim.transfer, pixel_size_um=PIXEL)
    for one, true in zip(found.sim.parameters.patterns, simulation.sim.parameters.patterns, strict=True):
        k = one.wave_vector(2)
        k = k if k @ true.wave_vector(2) > 0 else -k
        assert np.hypot(*(k - true.wave_vector(2))) * 192 * PIXEL < 0.1
        np.testing.assert_allclose(one.modulation, true.modulation, atol=0.05)


def test_three_beams_in_a_volume():
    simulation = simulate_sim(
        (8, 96, 96), sample="vesicles", photons=300, camera=CAMERA, illumination=illumination_of(3), seed=1
    )
    planes = np.moveaxis(simulation.raw.reshape(3, 5, 8, 96, 96), 2, 1).reshape(-1, 96, 96)  # as cudasirecon has them
    found = acquisition(
        planes, Layout(3, 5, 8), simulation.sim.transfer, pixel_size_um=PIXEL, z_step_um=0.125, offset=100
    )
    assert found.sim.parameters.order == "dzp"
    np.testing.assert_array_equal(found.frames, simulation.raw)
    for one, true in zip(found.sim.parameters.patterns, simulation.sim.parameters.patterns, strict=True):
        assert one.spacing_nm == pytest.approx(true.spacing_nm, rel=0.005)


def test_what_is_given_is_used():
    simulation = simulated(200)
    true = simulation.sim.parameters.patterns
    given = Given(true[0].spacing_nm, [p.angle_rad for p in true])
    found = found_in(simulation, given=given, offset=90.0, order="dp").sim.parameters
    assert found.offset == 90
    for one, other in zip(found.patterns, true, strict=True):
        assert one.angle_rad == pytest.approx(other.angle_rad, abs=0.002)  # also its sign
    with pytest.raises(InputError, match=r"order 'dz' must be one of dp, pd"):
        found_in(simulation, order="dz")


def test_no_stripes():
    simulation = simulated(200)
    widefield = simulation.clean.mean(axis=0) - 100
    frames = CAMERA.expose(np.repeat(widefield[None], 9, 0), np.random.default_rng(0))
    with pytest.raises(InputError, match="shows no stripes in direction 1: its highest peak is") as error:
        found_in(simulation, frames, name="a.tif")
    assert "parameters" in error.value.options


def test_stripes_of_hardly_any_contrast():
    faint = simulated(5000, 3, modulation=0.05)
    with pytest.raises(InputError, match=r"modulation of 0\.0\d; below 0.1"):
        found_in(faint)


def test_saturation():
    simulation = simulated(200)
    with pytest.raises(InputError, match=r"of the pixels of a frame of a\.tif are saturated"):
        found_in(simulation, np.minimum(simulation.raw, 180), name="a.tif")


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint32])
def test_noise_of_frames_as_the_camera_gives_them(dtype):
    frames = simulated(200).raw[:3]
    as_numbers = [frame.astype(np.float64) for frame in frames]
    assert estimate_noise([frame.astype(dtype) for frame in frames]) == estimate_noise(as_numbers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:, :20, :20], "frames of 20x20 pixels, and stripes are found from 32x32 on: give the whole"),
        (lambda raw: np.full_like(raw, 7), "frame 0 of a.tif is blank: all of its pixels are 7"),
    ],
)
def test_frames_without_anything_to_find(change, message):
    with pytest.raises(InputError, match=message) as error:
        found_in(simulated(200), change(simulated(200).raw), name="a.tif")
    assert not error.value.options


def test_drift_between_directions():
    simulation = simulated(200)
    shifts = [(0, 0), (0.6, -0.8), (-0.3, 0.2)]
    moved = np.stack(
        [ndi.shift(frame.astype(float), shifts[n // 3], mode="nearest") for n, frame in enumerate(simulation.raw)]
    )
    bands = [Bands.of(part - 100, simulation.sim.transfer, (PIXEL, PIXEL)) for part in moved.reshape(3, 3, 256, 256)]
    assert drift_px(bands) == pytest.approx(1.0, abs=0.11)
    remarks = found_in(simulation, moved).sim.parameters.remarks
    assert any("the sample moved by 1.0 px between directions" in text for text in remarks)
    assert not any("moved" in text for text in found_in(simulation).sim.parameters.remarks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trust": (5.5,)}, "direction 1: the stripes hardly show (trust 5.5)"),
        ({"spacing_nm": 170.0}, "are finer than the objective resolves"),
        ({"modulation": (1.3,)}, "a modulation of 1.30 is more than light allows"),
        ({"spacing_nm": 230.0}, "the directions have different spacings (230.0, 200.0 nm)"),
        ({"modulation": (0.15,)}, "the finest stripes have a low modulation, 0.15"),
        ({"modulation": (0.8, 0.05), "trust": (9.0, 9.0)}, "the finest stripes have a modulation of 0.05"),
    ],
)
def test_what_is_doubtful(change, message):
    good = Pattern(0.0, 200.0, (0.0, 2.0, 4.0), (0.8,), (12.0,))
    parameters = replace(simulated(200).sim.parameters, patterns=(replace(good, **change), good))
    found = doubts(parameters, simulated(200).sim.transfer)
    assert len([text for text in found if message in text]) == 1, found
    assert doubts(replace(parameters, patterns=(good, good)), simulated(200).sim.transfer) == []


@pytest.mark.parametrize(("photons", "room"), [(20, 0.1), (200, 0.03)])
@pytest.mark.parametrize("wavelength", [440, 525, 600])
def test_the_width_of_the_otf_is_measured(photons, room, wavelength):
    simulation = simulated(photons)
    transfer = planar_transfer(Optics(1.4, wavelength), PIXEL)
    bands = [Bands.of(part - 100.0, transfer, (PIXEL, PIXEL)) for part in simulation.raw.reshape(3, 3, 256, 256)]
    stretch, _ = best_stretch(bands, simulation.sim.parameters.patterns)
    assert stretch == pytest.approx(wavelength / 525, abs=room)


def test_modulations_are_made_believable():
    transfer = simulated(200).sim.transfer
    pattern = Pattern(0.0, 200.0, (0.0,) * 5, (1.6, 1.2))
    assert clamped(pattern, transfer).modulation == pytest.approx((2**0.5, 1.0))
    assert clamped(replace(pattern, modulation=(0.2,), spacing_nm=170.0), transfer).modulation == (0.5,)
    assert most_modulation(1) == (1.0,)


def test_stripes_that_moved_since_the_parameters_were_found():
    simulation, sim = simulated(50), found_in(simulated(50)).sim
    again = CAMERA.expose(simulation.clean - 100, np.random.default_rng(5))
    assert stripes_moved(again, sim, 6.0) == ""
    turned = again[[1, 2, 0, 3, 4, 5, 6, 7, 8]]  # one phase step of the first direction
    assert "direction 1 by 2.1 rad" in stripes_moved(turned, sim, 6.0)


@pytest.mark.parametrize(
    ("wavelength", "na", "pixel", "expected"),
    [
        (525, 1.4, 1.0, ""),
        (560, 1.4, 1.0, ""),  # 7 % longer or shorter: hardly matters
        (490, 1.4, 1.0, ""),
        (420, 1.4, 1.0, "it is for another wavelength, NA or pixel size"),
        (525, 1.4, 0.8, "it is for another wavelength, NA or pixel size"),
        (680, 1.4, 1.0, "it is for another wavelength, NA or pixel size"),
        (525, 1.0, 1.0, "it is for another wavelength, NA or pixel size"),
        (525, 1.4, 1.5, "it is for another wavelength, NA or pixel size"),
    ],
)
def test_an_otf_that_is_too_narrow_or_too_wide(wavelength, na, pixel, expected):
    simulation = simulated(1000)
    transfer = planar_transfer(Optics(na, wavelength), PIXEL)
    if pixel != 1:  # made for other pixels: its frequencies are taken for others
        transfer = replace(transfer, step=(transfer.step[0] / pixel,))
    given = Given(simulation.sim.parameters.patterns[0].spacing_nm)
    try:
        found = acquisition(simulation.raw, TWO_BEAMS, transfer, pixel_size_um=PIXEL, given=given)
        remarks = found.sim.parameters.remarks
    except InputError as error:
        remarks = (str(error),)
    if expected:
        assert any(expected in text or "shows no stripes" in text for text in remarks), remarks
    else:
        assert not any("another wavelength" in text for text in remarks)
