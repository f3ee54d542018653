"""What the estimate makes of cameras and files as they are: the gain within 15 %, and the right warnings, no others."""

import numpy as np
import pytest
import scipy.ndimage as ndi

from tests.command import zsd
from tests.test_lines import beads
from zsd_optics.measured_planes import measured_planes
from zsd_optics.noise import estimate_noise
from zsd_runtime import InputError
from zsd_runtime.corrections.corrected import Corrected
from zsd_runtime.images import Image, write_image

GAIN, OFFSET, READ = 2.0, 100.0, 2.0
SIZE = (256, 256)
ROWS, COLUMNS, PATTERN = "rows share noise", "columns share noise", "fixed pattern"
UNDERSAMPLED, CORRELATED, CLIPPED, SATURATED = "undersampled", "correlated along", "clipped at", "saturated at"
STEPS, BLANK, FEW = "step of the grey values", "blank", "too few"
LIGHT = beads(SIZE)


def exposed(light=LIGHT, seed=1, gain=GAIN):
    rng = np.random.default_rng(seed)
    return np.rint(rng.poisson(light) * gain + OFFSET + rng.normal(0, READ, light.shape))


def repeats(count, pattern=0.0, light=LIGHT, lines=0.0):
    fixed = np.random.default_rng(5).normal(0, pattern, light.shape)
    rng = np.random.default_rng(6)
    return [
        np.rint(exposed(light, seed) + fixed + rng.normal(0, lines, (len(light), 1))) for seed in range(10, 10 + count)
    ]


def hot(share, low, high, light=LIGHT):
    rng = np.random.default_rng(3)
    image = exposed(light)
    where = rng.random(image.shape) < share
    image[where] += np.rint(rng.uniform(low, high, where.sum()))
    return image


def replaced(image, value, where):
    image = image.copy()
    image[where] = value
    return image


def amplified(light, gain=30.0):
    """An EMCCD: each electron gives a random number of counts, so that variance = 2 · gain · signal."""
    rng = np.random.default_rng(2)
    return np.rint(rng.gamma(np.maximum(rng.poisson(light), 1e-9), gain) + 200 + rng.normal(0, 10, light.shape))


def normal(size, shape, seed=7):
    return np.rint(np.random.default_rng(seed).normal(0, size, shape))


def photons(light):
    return np.random.default_rng(4).poisson(light).astype(float)


def few_blocks():
    """Clusters of 2x2 hot pixels."""
    image, rng = exposed(), np.random.default_rng(8)
    for y, x in rng.integers(5, 250, (60, 2)):
        image[y : y + 2, x : x + 2] += np.rint(rng.uniform(300, 3000))
    return image


def padded(rows, left=0):
    return replaced(replaced(exposed(), 0, np.s_[:rows]), 0, np.s_[:, :left])


WHITE = np.random.default_rng(9).random(SIZE)
CASES = {
    # as it should be
    "a good image": (exposed(), 2, set()),
    "sharp and bright": (exposed(beads(SIZE, photons=1000)), 2, set()),
    "repeats": (repeats(6), 2, set()),
    "floats from 0 to 1": ((exposed() - 90) / 256, 2 / 256, set()),
    "the background subtracted, below 0": (exposed() - 104, 2, set()),
    "8 bit": (np.clip(exposed() // 2, 0, 255), 1, set()),
    "photons in the dark": (photons(LIGHT / 30 + 0.01), 1, set()),
    "photons": (photons(LIGHT + 1), 1, set()),
    "an EMCCD": (amplified(LIGHT * 0.3), 60, set()),
    "an EMCCD, 1 photon": (amplified(LIGHT * 0.1 + 1), 60, set()),
    # hot and dead pixels
    "hot 0.2 %": (hot(0.002, 300, 3000), 2, set()),
    "hot 0.05 %, mild": (hot(0.0005, 100, 1000), 2, set()),
    "hot 1 %": (hot(0.01, 300, 3000), 2, set()),
    "hot 1 %, mild": (hot(0.01, 100, 1000), 2, set()),
    "saturated hot pixels": (replaced(exposed(), 65535, WHITE < 0.003), 2, set()),
    "dead pixels": (replaced(exposed(), 0, WHITE < 0.01), 2, set()),
    "hot clusters": (few_blocks(), 2, set()),
    "hot columns": (replaced(exposed(), 900, np.s_[:, [40, 90]]), 2, set()),
    "hot pixels in repeats": ([f + 900 * (WHITE < 0.004) for f in repeats(4)], 2, set()),
    # fixed pattern
    "fixed pattern 2, 6 repeats": (repeats(6, 2), 2, {PATTERN}),
    "fixed pattern 6, 6 repeats": (repeats(6, 6), 2, {PATTERN}),
    "fixed pattern 1, 3 repeats": (repeats(3, 1), 2, {PATTERN}),
    "fixed pattern 2, 2 repeats": (repeats(2, 2), 2, {PATTERN}),
    "fixed pattern 3, single": (repeats(1, 3)[0], 2, set()),  # shows in the read noise only
    # row and column noise
    "rows 8": (exposed() + normal(8, (256, 1)), 2, {ROWS}),
    "rows 3": (exposed() + normal(3, (256, 1)), 2, {ROWS}),
    "rows 1": (exposed() + normal(1, (256, 1)), 2, {ROWS}),
    "rows 20": (exposed() + normal(20, (256, 1)), 2, {ROWS}),
    "columns 8": (exposed() + normal(8, (1, 256)), 2, {COLUMNS}),
    "rows and columns 5": (exposed() + normal(5, (256, 1)) + normal(5, (1, 256), 8), 2, {ROWS, COLUMNS}),
    "odd and even columns": (exposed() + 4.0 * (np.arange(256) % 2), 2, {COLUMNS}),
    "rows 3, new in each repeat": (repeats(4, lines=3), 2, {ROWS}),
    "columns 3, the same in each repeat": ([f + normal(3, (1, 256)) for f in repeats(4)], 2, {COLUMNS}),
    "rows 8, hot, padding": (replaced(hot(0.01, 300, 3000) + normal(8, (256, 1)), 0, np.s_[:66]), 2, {ROWS}),
    # undersampling
    "sigma 0.5": (exposed(beads(SIZE, sigma=0.5)), None, {UNDERSAMPLED}),
    "sigma 0.65": (exposed(beads(SIZE, sigma=0.65)), None, {UNDERSAMPLED}),
    "sigma 0.8, bright": (exposed(beads(SIZE, sigma=0.8, photons=1000)), None, {UNDERSAMPLED}),
    "sigma 0.8": (exposed(beads(SIZE, sigma=0.8), 2), 2, set()),
    "sigma 1.0": (exposed(beads(SIZE, sigma=1.0)), 2, set()),
    "sigma 1.0, bright": (exposed(beads(SIZE, sigma=1.0, photons=500)), 2, set()),
    "sigma 0.5, repeats": (repeats(6, light=beads(SIZE, sigma=0.5)), 2, set()),
    "binned 2x2": (exposed(beads((512, 512), seed=4)).reshape(256, 2, 256, 2).sum((1, 3)), None, {UNDERSAMPLED}),
    # correlated noise
    "shifted by half a pixel": (ndi.shift(exposed(), (0, 0.5), order=1, mode="nearest"), None, {CORRELATED}),
    "smoothed by the detector": (
        ndi.convolve1d(photons(LIGHT / 2) * 40, [0.25, 0.5, 0.25], axis=1) + 20, None, {CORRELATED},
    ),
    "smoothed": (ndi.gaussian_filter(exposed(), 0.7), None, {CORRELATED}),
    # clipped and quantised
    "clipped at its median": (np.maximum(exposed() - 100, 0), None, {CLIPPED}),
    "clipped 2 sigma above": (np.maximum(exposed() - 104, 0), None, {CLIPPED}),
    "clipped half a sigma below": (np.maximum(exposed() - 99, 0), None, {CLIPPED}),
    "clipped, not at 0": (np.maximum(exposed(), 102) / 16, None, {CLIPPED}),
    "saturated": (np.minimum(exposed(), 160), 2, {SATURATED}),
    "coarse steps": (np.round(exposed() / 16), None, {STEPS}),
    # padding and blank images
    "padding": (padded(40, 30), 2, set()),
    "padding of 3 rows": (padded(3), 2, set()),
    "padding of 1 column": (padded(0, 1), 2, set()),
    "padding of 65535": (replaced(exposed(), 65535, np.s_[:, 200:]), 2, set()),
    "a blank frame": ([*repeats(5), np.zeros(SIZE)], 2, {BLANK}),
    "blank frames of another level": ([np.full(SIZE, 100.0), *repeats(3), np.full(SIZE, 100.0)], 2, {BLANK}),
    "small": (exposed(beads((40, 40))), 2, set()),
    "too small": (exposed(beads((34, 34), photons=3)), None, {FEW}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_gain_and_warnings(case):
    images, gain, expected = CASES[case]
    model = estimate_noise([np.asarray(i, np.float64) for i in (images if isinstance(images, list) else [images])])
    kinds = {ROWS, COLUMNS, PATTERN, UNDERSAMPLED, CORRELATED, CLIPPED, SATURATED, STEPS, BLANK, FEW}
    assert {kind for kind in kinds if any(kind in text for text in model.warnings)} == expected, model
    if gain is not None:
        assert model.gain == pytest.approx(gain, rel=0.15)


@pytest.mark.parametrize(
    ("name", "size"), [("rows 8", 8), ("rows 3", 3), ("columns 8", 8), ("odd and even columns", 2)]
)
def test_the_strength_of_lines(name, size):
    model = estimate_noise([CASES[name][0]])
    assert max(model.row_noise, model.column_noise) == pytest.approx(size, rel=0.2)
    assert model.offset == pytest.approx(OFFSET, abs=2.5)
    assert model.read_noise == pytest.approx(READ, rel=0.25)


@pytest.mark.parametrize(("count", "size"), [(6, 2), (6, 6), (3, 1), (2, 2)])
def test_the_strength_of_a_fixed_pattern(count, size):
    assert estimate_noise(repeats(count, size)).fixed_pattern == pytest.approx(size, rel=0.15)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (exposed().astype(np.uint16) - np.uint16(104), "above 64225 beside pixels near 0: .*wrapped around to 65535"),
        (exposed().astype(np.uint8) - np.uint8(101), "wrapped around to 255"),
        (exposed().astype(np.uint32) - np.uint32(104), "wrapped around to 4294967295"),
        (exposed(LIGHT * 400).astype(np.uint16).astype(np.int16), "numbers above 32767 have wrapped around"),
    ],
)
def test_numbers_that_have_wrapped_around_are_refused(image, message):
    with pytest.raises(InputError, match=message):
        estimate_noise([image.astype(np.float64)])


def test_pixels_that_a_mask_leaves_out_do_not_matter():
    rng = np.random.default_rng(1)
    image, data = exposed(), np.ones(SIZE, bool)
    data[:40], data[:, 200:], data[rng.random(SIZE) < 0.01] = False, False, False
    spoilt = np.where(data, image, rng.uniform(0, 5000, SIZE))
    model = estimate_noise([spoilt], [data])
    assert model.gain == pytest.approx(2, rel=0.15)
    assert model.offset == pytest.approx(OFFSET, abs=1)
    assert not model.warnings
    assert estimate_noise([image], [np.ones(SIZE, bool)]) == estimate_noise([image], [None]) == estimate_noise([image])


def test_blank_images_are_named():
    model = estimate_noise([*repeats(3), np.zeros(SIZE), np.zeros(SIZE)])
    assert model.warnings == ["images 4, 5 of 5 are blank (all pixels 0) and were left out"]
    with pytest.raises(InputError, match="no noise to measure"):
        estimate_noise([np.zeros(SIZE), np.zeros(SIZE)])


def test_blank_slices_of_a_volume_are_not_looked_at():
    volume = np.concatenate([np.zeros((3, *SIZE)), np.stack(repeats(4)), np.zeros((3, *SIZE))])
    looked_at = measured_planes([Corrected(volume[None], volumes=True)])
    np.testing.assert_array_equal([plane for plane, _ in looked_at], volume[3:7])


def test_one_level_has_no_gain():
    model = estimate_noise([np.random.default_rng(0).normal(100, 3, SIZE)])
    assert model.gain == 0
    assert model.read_noise == pytest.approx(3, rel=0.05)
    assert not model.warnings


def test_the_command_says_it_in_its_last_lines(tmp_path):
    path = tmp_path / "rows.tif"
    write_image(path, Image(CASES["rows 8"][0].astype(np.uint16), "YX"))
    done = zsd("noise", path)
    assert "row noise   7." in done.stdout
    assert done.stderr.strip().splitlines()[-1].startswith("warning: rows share noise of 7.")
    assert done.stderr.strip().endswith("--remove-lines to rows")
