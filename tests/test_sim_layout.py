"""Raw SIM files: how planes follow each other, and what is known of the patterns, as JSON."""

import json
import re
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from zsd_runtime.errors import InputError
from zsd_runtime.images import Image
from zsd_runtime.sim.layout import ORDERS, Layout, acquisitions, check_frames, check_saturation, layout_of
from zsd_runtime.sim.parameters import Pattern, SimParameters


def image(axes: str, *shape: int) -> Image:
    return Image(np.broadcast_to(np.zeros((), np.uint16), (*shape, 8, 8)), axes)


@pytest.mark.parametrize(
    ("axes", "shape", "asked", "expected", "number"),
    [
        ("ZYX", (9,), {}, Layout(3, 3), 1),
        ("TYX", (9,), {}, Layout(3, 3), 1),
        ("CYX", (9,), {}, Layout(3, 3), 1),
        ("TYX", (18,), {}, Layout(3, 3), 2),
        ("TZYX", (4, 9), {}, Layout(3, 3), 4),
        ("TZYX", (3, 3), {}, Layout(3, 3), 1),  # directions along T
        ("ZYX", (15,), {}, Layout(3, 5), 1),
        ("ZYX", (75,), {}, Layout(3, 5, 5), 1),
        ("TZYX", (2, 75), {}, Layout(3, 5, 5), 2),
        ("ZYX", (75,), {"slices": 1}, Layout(3, 5), 5),
        ("ZYX", (135,), {"phases": 5}, Layout(3, 5, 9), 1),
        ("ZYX", (45,), {"phases": 3}, Layout(3, 3), 5),
        ("ZYX", (6,), {"directions": 2}, Layout(2, 3), 1),
        ("ZYX", (27,), {"phases": 3, "slices": 3}, Layout(3, 3, 3), 1),
    ],
)
def test_layout_of_a_file(axes, shape, asked, expected, number):
    opened = image(axes, *shape)
    found = layout_of(opened, "a.tif", **asked)
    assert found == expected
    stacks = acquisitions(opened, found)
    assert len(stacks) == number
    assert all(stack.shape == (expected.planes, 8, 8) for stack in stacks)


@pytest.mark.parametrize(
    ("shape", "asked", "message"),
    [
        (1, {}, "has a single plane, and 3 directions x 3 phases have 9: give a file with all raw frames, or a folder"),
        (8, {}, "8 planes, no multiple of 3 directions x 3 phases"),
        (9, {"directions": 2}, "no multiple of 2 directions"),
        (10, {"phases": 5}, "no multiple of 3 directions x 5 phases"),
        (45, {}, "3 directions of 3 phases or of 5"),
        (75, {"slices": 2}, "no multiple of 2 slices"),
    ],
)
def test_planes_that_are_no_acquisition(shape, asked, message):
    with pytest.raises(InputError, match=message):
        layout_of(image("ZYX", shape), "a.tif", **asked)


@pytest.mark.parametrize(
    ("layout", "order"),
    [(Layout(3, 3), o) for o in ORDERS[2]] + [(Layout(3, 5), o) for o in ORDERS[2]]
    + [(Layout(2, 5, 4), o) for o in ORDERS[3]],
)  # fmt: skip
def test_planes_are_brought_into_one_order(layout, order):
    lengths = {"d": layout.directions, "p": layout.phases, "z": layout.slices or 1}
    planes = []
    for index in product(*(range(lengths[letter]) for letter in order)):
        at = dict(zip(order, index, strict=True))
        planes.append(np.full((2, 2), 100 * at["d"] + 10 * at["p"] + at.get("z", 0)))
    arranged = layout.arranged(np.stack(planes), order)
    d, p, z = np.indices((layout.directions, layout.phases, layout.slices or 1))
    expected = (100 * d + 10 * p + z).reshape(-1, layout.slices or 1)
    found = arranged[..., 0, 0]
    np.testing.assert_array_equal(found if layout.slices else found[:, None], expected)


def test_saturated_frames():
    stack = np.random.default_rng(0).integers(100, 60000, (9, 64, 64)).astype(np.uint16)
    assert check_saturation(stack, "a.tif") == ""
    stack[3, 0, :3] = 65535
    assert "0.07%" in check_saturation(stack, "a.tif")
    stack[3, :2] = 65535
    with pytest.raises(InputError, match=r"3.1% of the pixels of a frame of a.tif are saturated \(65535\)"):
        check_saturation(stack, "a.tif")
    twelve_bits = np.minimum(stack // 4, 4095)
    with pytest.raises(InputError, match=r"saturated \(4095\)"):
        check_saturation(twelve_bits, "a.tif")


@pytest.mark.parametrize("photons", [0.02, 0.3, 3.0])
def test_few_grey_levels_are_not_saturated(photons):
    """Photon counts: many pixels have the highest of few values, and hardly any is cut off."""
    few = np.minimum(np.random.default_rng(1).poisson(photons, (9, 64, 64)), 9 if photons > 1 else 1).astype(np.uint16)
    assert (few == few.max()).sum() > 20
    assert check_saturation(few, "a.tif") == ""


def test_counts_that_end_at_one_value_are_saturated():
    cut = np.minimum(np.random.default_rng(1).poisson(50, (9, 64, 64)), 55).astype(np.uint16)
    with pytest.raises(InputError, match=r"saturated \(55\)"):
        check_saturation(cut, "a.tif")


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_constant_frames_are_blank_and_not_saturated(value):
    stack = np.full((9, 64, 64), value, np.uint16)
    assert check_saturation(stack, "a.tif") == ""
    with pytest.raises(InputError, match=f"frame 0 of a.tif is blank: all of its pixels are {value}"):
        check_frames(stack, "a.tif")
    stack[:8] = np.random.default_rng(0).integers(100, 60000, (8, 64, 64))
    assert check_saturation(stack, "a.tif") == ""
    with pytest.raises(InputError, match=r"frame 8 of a\.tif is blank"):
        check_frames(stack, "a.tif")


PATTERN = Pattern(0.3, 201.5, (0.1, 2.2, 4.3), (0.7,), (12.5,), 1.02)
PARAMETERS = SimParameters((PATTERN, replace(PATTERN, angle_rad=-0.7)), 0.0626, None, 101.5, "pd", 0.12, 0.5, ("why",))


def test_parameters_come_back_from_json(tmp_path):
    PARAMETERS.save(tmp_path / "parameters.json")
    back = SimParameters.load(tmp_path / "parameters.json")
    assert back == PARAMETERS
    assert back.remarks == ("why",)
    assert hash(back) == hash(PARAMETERS)
    three_beams = Pattern(0.3, 201.5, (0.1, 1.4, 2.6, 3.9, 5.1), (0.5, 0.6), (5.5, 6.5))
    volumes = replace(PARAMETERS, z_step_um=0.125, patterns=(three_beams,), order="dzp")
    volumes.save(tmp_path / "parameters.json")
    assert SimParameters.load(tmp_path / "parameters.json") == volumes


@pytest.mark.parametrize(
    "change",
    [
        {"zsd_sim": 2}, {"patterns": []}, {"patterns": 3}, {"patterns": [{"angle": 0}]}, {"wiener": 0},
        {"wiener": None}, {"pixel_size_um": "0.06"}, {"pixel_size_um": float("nan")}, {"surprise": 1},
        {"order": 7}, {"order": ["dp"]}, {"notch": 2},
        {"patterns": [{"angle_rad": 0, "spacing_nm": -3, "phases_rad": [0, 1, 2], "modulation": [0.5]}]},
        {"patterns": [{"angle_rad": 0, "spacing_nm": 200, "phases_rad": [0, 1], "modulation": [0.5]}]},
        {"patterns": [{"angle_rad": 0, "spacing_nm": 200, "phases_rad": ["0", 1, 2], "modulation": [0.5]}]},
    ],
)  # fmt: skip
def test_malformed_parameters(change, tmp_path):
    path = tmp_path / "parameters.json"
    path.write_text(json.dumps(PARAMETERS.as_dict() | change))
    with pytest.raises(InputError):
        SimParameters.load(path)


def described(**change) -> dict:
    """One direction with a change."""
    return {"angle_rad": 0, "spacing_nm": 200, "phases_rad": [0, 2, 4], "modulation": [0.5], **change}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patterns": [described(phases_rad=3.0)]}, "phases_rad, modulation and trust of every direction as lists"),
        ({"patterns": [described(modulation=0.5)]}, "as lists"),
        ({"patterns": [described(trust="12")]}, "as lists"),
        ({"patterns": [described(modulation=[-5])]}, "a modulation of -5, and light allows 0 to 1.41"),
        ({"patterns": [described(modulation=[2.1])]}, "a modulation of 2.1, and"),
        ({"patterns": [described(spacing_nm=10**400)]}, "all values as numbers"),
        ({"smooth_wiener": -1}, "the Wiener parameter above 0"),
        ({"order": "dpz"}, "the order 'dpz', and planes have one of dp, pd"),
        ({"order": "dp", "z_step_um": 0.1}, "the order 'dp', and volumes have one of dpz, dzp"),
    ],
)
def test_what_is_wrong_with_parameters(change, message, tmp_path):
    path = tmp_path / "parameters.json"
    path.write_text(json.dumps(PARAMETERS.as_dict() | change))
    with pytest.raises(InputError, match=f"{re.escape(message)}.*`zsd sim reconstruct`"):
        SimParameters.load(path)


@pytest.mark.parametrize("modulation", [0.0, 1.0, 2**0.5])
def test_modulations_that_light_allows(modulation, tmp_path):
    possible = replace(PARAMETERS, patterns=(replace(PATTERN, modulation=(modulation,)),))
    possible.save(tmp_path / "parameters.json")
    assert SimParameters.load(tmp_path / "parameters.json") == possible


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x9c", b"II*\x00\x80\x81", b"[" * 100_000])
def test_binary_files_are_no_parameters(content, tmp_path):
    path = tmp_path / "parameters.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"is no JSON: give parameters\.json of `zsd sim reconstruct`"):
        SimParameters.load(path)
    with pytest.raises(InputError, match="cannot be read"):
        SimParameters.load(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", "\x00\x01"])
def test_files_that_are_no_parameters(content, tmp_path):
    path = tmp_path / "parameters.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"parameters\.json"):
        SimParameters.load(path)
    with pytest.raises(InputError, match="does not exist"):
        SimParameters.load(tmp_path / "other.json")
