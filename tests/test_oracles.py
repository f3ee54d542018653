"""Resolution and error map against NanoPyx: with its recorded numbers, and with itself where it is installed."""

from functools import cache
from importlib.util import find_spec

import pytest

from benchmarks.oracle_nanopyx import NANOPYX, by_nanopyx, by_zsd, images
from zsd_optics.decorrelation import Details, decorrelation_analysis
from zsd_optics.error_map import error_map

AGREEMENT = 0.03

# NanoPyx 2.1.5 (NumPy 2.4.6, SciPy 1.17.1, Python 3.11), printed by
#   python benchmarks/oracle_nanopyx.py --nanopyx OTHER/bin/python
# "frc" and "same details" (decorrelation with 200 radii) in pixels; error maps of a denoised result, and of one without
# blur, on the grid of the image. None: NanoPyx has no peak, or one at structure of over 50 pixels.
MEASURES = (
    "frc",
    "same details",
    "denoised RSE",
    "denoised RSP",
    "deconvolved RSE",
    "deconvolved RSP",
    "deconvolved sigma",
)
RECORDED = {
    ("cell", 20): (4.6691, None, 2.4943, 0.7441, 2.8758, 0.6376, 1.2898),
    ("cell", 100): (3.7663, 4.0612, 4.5928, 0.9343, 5.0046, 0.9215, 1.3002),
    ("filaments", 500): (3.4103, 3.5899, 13.0057, 0.9824, 10.2194, 0.9892, 1.2659),
    ("membranes", 100): (3.3706, 3.6648, 3.5891, 0.9697, 3.2876, 0.9741, 1.2521),
    ("points", 100): (3.6986, 4.6796, 1.9962, 0.8025, 2.2629, 0.7367, 1.2171),
}
# Not reached: zsd says 4.19 pixels, 10 % less; with its own details 4.23.
DIFFERENT = {("points", 100, "same details")}

CASES = [
    pytest.param(
        scene, name, value, id=f"{scene[0]}-{scene[1]}-{name}",
        marks=[pytest.mark.xfail(strict=True)] if (*scene, name) in DIFFERENT else [],
    )
    for scene, values in RECORDED.items()
    for name, value in zip(MEASURES, values, strict=True)
    if value is not None
]  # fmt: skip


@cache
def scene_of(structure, photons):
    return images(structure, photons)


@cache
def measured(structure, photons):
    return by_zsd(scene_of(structure, photons))


@pytest.mark.parametrize(("scene", "name", "value"), CASES)
def test_recorded_numbers(scene, name, value):
    assert measured(*scene)[name] == pytest.approx(value, rel=AGREEMENT)


def test_the_details_are_what_differs():
    """With its own, zsd differs by 3.8 % from NanoPyx in this scene; with the same and 50 radii it agrees, too."""
    theirs = RECORDED["membranes", 100][MEASURES.index("same details")]
    assert measured("membranes", 100)["decorrelation"] != pytest.approx(theirs, rel=AGREEMENT)
    few = decorrelation_analysis(scene_of("cell", 100)["first"], details=Details(**NANOPYX | {"radii": 50}))
    assert few.resolution_px == pytest.approx(3.889, rel=AGREEMENT)  # NanoPyx 2.1.5, DecorrAnalysis(n_r=50, n_g=10)


def test_a_finer_result_has_the_error_map_of_the_same_result_on_the_grid_of_the_image():
    """NanoPyx interpolates the image instead, half a fine pixel off: only RSP can be compared."""
    scene = scene_of("filaments", 500)
    fine, same = (error_map(scene[name], scene["image"]) for name in ("fine", "deconvolved"))
    assert fine.rsp == pytest.approx(0.9810, rel=AGREEMENT)  # NanoPyx
    assert fine.rse == pytest.approx(same.rse, rel=0.01)
    assert fine.sigma_px == pytest.approx(2 * same.sigma_px, rel=0.01)


@pytest.mark.skipif(find_spec("nanopyx") is None, reason='needs NanoPyx: pip install "zsd[oracle]"')
@pytest.mark.filterwarnings("ignore")  # NanoPyx's own
def test_nanopyx_itself():
    scene = scene_of("cell", 100)
    mine, theirs = by_zsd(scene), by_nanopyx(scene)
    for name in MEASURES:
        assert mine[name] == pytest.approx(theirs[name], rel=AGREEMENT), name
