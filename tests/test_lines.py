"""Row and column noise is taken out; structures along rows and columns are not."""

import numpy as np
import pytest
import scipy.ndimage as ndi

from zsd_runtime.corrections.lines import line_offsets, remove_lines


def beads(shape=(160, 160), seed=2, sigma=1.3, photons=60.0):
    """Beads and straight lines through a Gaussian PSF, photo-electrons."""
    rng = np.random.default_rng(seed)
    light = np.zeros(shape)
    count = light.size // 400
    light[rng.integers(0, shape[0], count), rng.integers(0, shape[1], count)] = rng.uniform(0.3, 1, count)
    for _ in range(6):
        y, x, angle = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(0, np.pi)
        t = np.arange(-shape[1], shape[1])
        rows, columns = (y + t * np.sin(angle)).astype(int), (x + t * np.cos(angle)).astype(int)
        inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        light[rows[inside], columns[inside]] = 0.5
    light = ndi.gaussian_filter(light, sigma)
    return light / light.max() * photons


def filament(share=1.0):
    light = np.zeros((160, 160))
    light[80, : int(share * 160)] = 1
    return beads() + ndi.gaussian_filter(light, 1.3) / 0.3 * 100


def kymograph(axis=0):
    rng = np.random.default_rng(5)
    profile = np.zeros(160)
    profile[rng.integers(0, 160, 15)] = rng.uniform(0.3, 1, 15)
    profile = ndi.gaussian_filter(profile, 1.3)
    return np.broadcast_to(np.expand_dims(profile / profile.max() * 60, 1 - axis), (160, 160))


def grating(period):
    """The light of structured illumination: stripes along X."""
    return (1 + np.cos(2 * np.pi * np.arange(256)[:, None] / period)) * (beads((256, 256), 3) + 5)


def cell():
    y, x = np.mgrid[:160, :160] / 160 - 0.5
    texture = ndi.gaussian_filter(np.random.default_rng(4).normal(0, 1, (160, 160)), 2)
    return ndi.gaussian_filter(1.0 * (y**2 + x**2 < 0.12), 2) * np.clip(40 + 15 * texture / texture.std(), 0, None)


SCENES = {
    "dark": np.zeros((256, 256)),
    "even": np.full((160, 160), 5.0),
    "ramp": np.mgrid[:160, :160][0] * 0.3,
    "beads": beads(),
    "wide": beads((96, 512)),
    "a filament along X": filament(),
    "a filament along 70 % of X": filament(0.7),
    "a kymograph, X and T": kymograph(0),
    "a kymograph, T and X": kymograph(1),
    "structured illumination, 4 pixels": grating(4),
    "structured illumination, 3.3 pixels": grating(3.3),
    "fibres along X": ndi.gaussian_filter(np.random.default_rng(3).gamma(0.2, 60, (160, 160)), (1.3, 25)),
    "a cell": cell(),
}


def camera(light, seed=1):
    rng = np.random.default_rng(seed)
    return np.rint(rng.poisson(light) * 2.0 + 100 + rng.normal(0, 2, light.shape))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scene", SCENES)
def test_a_clean_image_stays_as_it_is(scene, seed):
    rows, columns = line_offsets(camera(SCENES[scene], seed))
    assert not rows.any()
    assert not columns.any()


@pytest.mark.parametrize(
    ("scene", "size", "left"),
    [
        ("dark", 8, 0.4), ("dark", 3, 0.4), ("dark", 0.5, 0.25), ("even", 8, 1.8), ("even", 3, 1.0), ("beads", 8, 1.3),
        ("beads", 3, 1.0), ("beads", 1, 0.6), ("wide", 8, 0.6), ("a filament along 70 % of X", 8, 2.5),
        ("structured illumination, 4 pixels", 8, 2.8), ("structured illumination, 3.3 pixels", 3, 2.2),
        ("a kymograph, T and X", 8, 1.0), ("a cell", 8, 2.5),
    ],
)  # fmt: skip
@pytest.mark.parametrize("turned", [False, True])
def test_row_and_column_noise_is_found(scene, size, left, turned):
    light = SCENES[scene].T if turned else SCENES[scene]
    axis = int(turned)
    lines = np.random.default_rng(7).normal(0, size, light.shape[axis])
    image = camera(light) + np.expand_dims(lines, 1 - axis)
    found = line_offsets(image)
    assert not found[1 - axis].any()
    assert (found[axis] - lines).std() < left
    assert abs(found[axis].mean()) < 1e-4 * size  # the flux stays


def test_rows_and_columns_together():
    rng = np.random.default_rng(7)
    light, rows, columns = beads((256, 256)), rng.normal(0, 8, (256, 1)), rng.normal(0, 8, 256)
    image = camera(light) + rows + columns

    def error(restored):
        return np.sqrt(np.mean((restored - 2 * light - 100) ** 2))

    assert error(image) > 11
    assert error(remove_lines(image)) < 1.25 * error(camera(light))
    only_rows = line_offsets(image, axes="Y")
    assert only_rows[0].any()
    assert not only_rows[1].any()
    assert remove_lines(image).dtype == np.float32


def test_a_difference_of_odd_and_even_columns_is_found():
    image = camera(beads()) + 2.0 * (np.arange(160) % 2)
    rows, columns = line_offsets(image)
    assert not rows.any()
    assert columns[1::2].mean() - columns[::2].mean() == pytest.approx(2, abs=0.3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_any_type_of_numbers(dtype):
    image = camera(beads(photons=30)) + np.rint(np.random.default_rng(1).normal(0, 8, (160, 1)))
    rows, _ = line_offsets(np.clip(image, 0, 255).astype(dtype))
    assert rows.std() == pytest.approx(8, rel=0.2)


def test_padding_and_bad_pixels_are_left_out():
    rng = np.random.default_rng(2)
    lines = rng.normal(0, 8, 160)
    image = camera(beads()) + lines[:, None]
    valid = np.ones(image.shape, bool)
    valid[:20], valid[:, :50], valid[rng.random(image.shape) < 0.01] = False, False, False
    image[~valid] = rng.choice([0.0, 65535.0], (~valid).sum())
    rows, columns = line_offsets(image, valid)
    assert not rows[:19].any()
    assert not columns.any()
    assert (rows - lines)[20:].std() < 2.5


@pytest.mark.parametrize("value", [0, 7])
@pytest.mark.parametrize("shape", [(8, 200), (200, 8), (64, 64)])
def test_too_small_or_constant_images_have_no_lines(shape, value):
    image = np.full(shape, value, np.uint16)
    assert not any(part.any() for part in line_offsets(image))
    assert not any(part.any() for part in line_offsets(image, np.zeros(shape, bool)))
