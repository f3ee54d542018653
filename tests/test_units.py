import pytest

from zsd_runtime import InputError
from zsd_runtime.images import Voxel
from zsd_runtime.images.units import length_um, plausible, position_um, time_s, voxel_um

LENGTHS = [
    (1, "µm", 1.0),  # micro sign
    (1, "μm", 1.0),  # Greek mu
    ("0.0626", "\\u00B5m", 0.0626),  # ImageJ escapes it
    (1, "\\u00b5", 1.0),
    (1, "Âµm", 1.0),  # UTF-8 that was read as Latin-1
    (1, "Î¼m", 1.0),
    (1, "�m", 1.0),  # an encoding that was lost
    (1, "㎛", 1.0),
    (1, "um", 1.0),
    (1, "UM", 1.0),
    (0.0626, "Micron", 0.0626),
    (2, "microns", 2.0),
    (2, "micrometre", 2.0),
    (2, "Micrometers", 2.0),
    (0.1, "µm/pixel", 0.1),
    (0.1, "[um]", 0.1),
    (65, "nm", 0.065),
    (65, "nanometer", 0.065),
    (626, "Å", 0.0626),  # the letter
    (626, "Å", 0.0626),  # the sign of the unit
    (626, "Å", 0.0626),  # A and a ring
    (626, "angstrom", 0.0626),
    (62600, "pm", 0.0626),
    (1, "mm", 1e3),
    (1e-9, "Mm", 1e3),  # OME's megametre
    (1, "cm", 1e4),
    ("6.26E-7", "dm", 0.0626),
    (1, "m", 1e6),
    (1e-9, "km", 1.0),
    (1, "inch", 25400.0),
    (1, "in", 25400.0),
    (1, "thou", 25.4),
    (-0.3, "um", 0.3),  # the stage went down
    ("-0.3", "um", 0.3),
    (0, "um", None),
    ("NaN", "um", None),
    (float("inf"), "um", None),
    ("0,3", "um", None),
    ("1_0", "um", None),
    ("", "um", None),
    (None, "um", None),
    (True, "um", None),
    (1, "pixel", None),
    (1, "reference frame", None),
    (1, "furlong", None),
    (1, "", None),
    (1, None, None),
]


@pytest.mark.parametrize(("value", "unit", "um"), LENGTHS)
def test_lengths(value, unit, um):
    assert length_um(value, unit) == um


@pytest.mark.parametrize(
    ("value", "unit", "seconds"),
    [
        (1, "s", 1.0), ("2.5", "sec", 2.5), (500, "ms", 0.5), (1, "Ms", 1e6), (3, "millisecond", 0.003),
        (1, "µs", 1e-6), (2, "min", 120.0), (1, "hour", 3600.0), (1, "d", 86400.0), (0, "s", None), (-1, "s", None),
        ("x", "s", None), (1, "fortnight", None), (1, None, None),
    ],
)  # fmt: skip
def test_times(value, unit, seconds):
    assert time_s(value, unit) == seconds


@pytest.mark.parametrize(("value", "unit", "um"), [(0, "µm", 0.0), (-2, "mm", -2e3), (3, "nm", 3e-3), (0, "x", None)])
def test_positions_keep_their_sign(value, unit, um):
    assert position_um(value, unit) == um


@pytest.mark.parametrize(
    ("voxel", "expected", "named"),
    [
        (Voxel(0.3, 0.1, 0.1), Voxel(0.3, 0.1, 0.1), []),
        (Voxel(), Voxel(), []),
        (Voxel.square(10000.0), Voxel(), ["10000 µm"]),  # a camera that does not know
        (Voxel.square(25400 / 72, 0.3), Voxel(0.3), ["352.778 µm"]),  # 72 dpi
        (Voxel.square(25400 / 300), Voxel(), ["84.6667 µm"]),  # 300 dpi
        (Voxel.square(0.0002), Voxel(), ["0.0002 µm"]),
        (Voxel.square(0.1, 25400.0), Voxel.square(0.1), ["25400 µm"]),
        (Voxel.square(5.0, 100.0), Voxel.square(5.0, 100.0), []),  # a macroscope
    ],
)
def test_implausible_sizes_are_unknown_and_named(voxel, expected, named):
    found, notices = plausible(voxel)
    assert found == expected
    assert len(notices) == len(named)
    for notice, value in zip(notices, named, strict=True):
        assert value in notice


def test_what_cannot_be_used_is_named():
    assert voxel_um({"Z": (0.3, "um"), "Y": (65, "nm"), "X": (65, "nm")}) == (Voxel(0.3, 0.065, 0.065), ())
    assert voxel_um({"Y": (1, "pixel"), "X": (1, "pixel"), "Z": (None, "um")}) == (Voxel(), ())
    voxel, notices = voxel_um({"Z": ("0,3", "um"), "Y": (1, "furlong"), "X": (1, "furlong")})
    assert voxel == Voxel()
    assert len(notices) == 2
    assert "0,3" in notices[0]
    assert "1 furlong" in notices[1]
    assert voxel_um({"Y": (None, "um"), "X": (0.1, "um")}) == (
        Voxel(),
        ("the file gives a pixel size along X only, so it counts as unknown",),
    )


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        (Voxel.square(0.065), Voxel.square(0.06500000162), True),
        (Voxel.square(0.065), Voxel.square(0.0654), True),
        (Voxel.square(0.065), Voxel.square(0.066), False),
        (Voxel.square(0.065, 0.3), Voxel.square(0.065, 0.5), False),
        (Voxel.square(0.065, 0.3), Voxel.square(0.065), True),
    ],
)
def test_voxels_agree_within_1_percent(one, other, agree):
    assert one.agrees(other) is other.agrees(one) is agree


def test_square_within_1_percent():
    assert Voxel(None, 0.1, 0.1009).pixel_size_um("a") == 0.1009
    with pytest.raises(InputError, match=r"0.1 x 0.102 µm|0.102 x 0.1"):
        Voxel(None, 0.102, 0.1).pixel_size_um("a")
