"""Padding, clipped, hot and dead pixels: what is found, what is left alone."""

import imageio.v3 as iio
import numpy as np
import pytest
import scipy.ndimage as ndi
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scenes import camera, hot, scene
from zsd_runtime.corrections.bad_pixels import find_bad_pixels
from zsd_runtime.corrections.camera_maps import CameraMaps
from zsd_runtime.corrections.corrected import Corrected, Corrections
from zsd_runtime.corrections.padding import mirrored_into
from zsd_runtime.errors import InputError

CLEAN = scene((160, 160), seed=2)
IMAGE = camera(CLEAN)
FRAME = np.zeros(IMAGE.shape, bool)
FRAME[:24], FRAME[:, -20:] = True, True
THIN = np.zeros(IMAGE.shape, bool)
THIN[0] = True
MISSING_TILE = np.zeros(IMAGE.shape, bool)
MISSING_TILE[40:80, 50:90] = True
CORNERS = ndi.rotate(np.ones(IMAGE.shape), 30, reshape=False, order=0) == 0
SMALL_ANGLE = ndi.rotate(np.ones(IMAGE.shape), 2.5, reshape=False, order=0) == 0  # wedges, 3 pixels thick
GAP = np.zeros(IMAGE.shape, bool)
GAP[79:82], GAP[:, 79:82] = True, True
RIM = np.ones(IMAGE.shape, bool)
RIM[1:-1, 1:-1] = False
BRIGHT = camera(CLEAN * 100)
BRIGHT[100, 90] = 0  # a dead pixel
CELL = ndi.gaussian_filter(np.hypot(*np.mgrid[:160, -80:80]) < 50, 2.0, output=np.float64) * 300
SHEARED = np.add.outer(np.arange(160), np.arange(160)) < 60


def padded(where, value, image=IMAGE):
    """The image with a value, or NaN, at some places."""
    result = image.astype(np.float32) if np.isnan(value) else image.copy()
    result[where] = value
    return result


PADDINGS = {
    "26 % zeros": (FRAME, 0), "26 % of the offset": (FRAME, 100), "26 % NaN": (FRAME, np.nan),
    "26 % white": (FRAME, 65535), "one row": (THIN, 0), "a missing tile of a mosaic": (MISSING_TILE, 0),
    "rotated": (CORNERS, 0), "rotated, NaN": (CORNERS, np.nan), "deskewed": (SHEARED, 98), "-1": (FRAME, -1.0),
    "rotated by 2.5 degrees": (SMALL_ANGLE, 0), "rotated by 2.5 degrees, NaN": (SMALL_ANGLE, np.nan),
    "a gap between tiles": (GAP, 0), "1 pixel around": (RIM, 0), "1 pixel around, NaN": (RIM, np.nan),
    "the lowest value": (FRAME, IMAGE.min()), "the mean": (FRAME, IMAGE.mean().astype(np.uint16)),
}  # fmt: skip


@pytest.mark.parametrize("name", PADDINGS)
def test_padding_is_found(name):
    where, value = PADDINGS[name]
    image = padded(where, value, IMAGE.astype(np.float32) if value == -1 else IMAGE)
    bad = find_bad_pixels(image)
    assert bad.padding is not None
    wrong = bad.padding != where
    assert not (wrong & where).any()
    assert (wrong & ~where).mean() < 6e-3  # pixels beside it that happen to have its value
    assert bad.hot is None
    assert bad.dead is None


@pytest.mark.parametrize(
    ("where", "value", "image"),
    [(FRAME, 0, BRIGHT), (FRAME, 0, (IMAGE - IMAGE.min()) / np.float64(np.ptp(IMAGE))), (FRAME, 1e300, IMAGE * 1.0),
     (FRAME, 0, np.minimum(IMAGE, 150)), (CORNERS, 0, (IMAGE // 2).astype(np.uint8)),
     (SMALL_ANGLE, 0, camera(CLEAN / 60))],
    ids=["bright, with a dead pixel", "0 to 1", "beyond float32", "saturated", "8 bit", "few photons"],
)  # fmt: skip
def test_padding_of_other_images_is_found(where, value, image):
    padding = find_bad_pixels(padded(where, value, image)).padding
    assert padding is not None
    assert not (where & ~padding).any()
    assert (padding & ~where).mean() < 1e-3


LEFT_ALONE = {
    "as the camera gave it": IMAGE,
    "float": IMAGE.astype(np.float32) / 7,
    "8 bit": (IMAGE // 2).astype(np.uint8),
    "signed, background subtracted": IMAGE.astype(np.int16) - 104,
    "few photons": camera(CLEAN / 60),
    "photon counting": np.random.default_rng(0).poisson(CLEAN / 60).astype(np.uint16),
    "photon counting, hardly any": np.random.default_rng(0).poisson(CLEAN / 600 + 0.01).astype(np.uint16),
    "EMCCD": camera(np.random.default_rng(1).gamma(np.maximum(np.random.default_rng(0).poisson(CLEAN), 1e-9)), gain=30),
    "undersampled": camera(scene((160, 160), 3, 200, sigma=0.5)),
    "points": camera(ndi.gaussian_filter((np.random.default_rng(3).random((160, 160)) < 1e-3) * 9e3, 1.0)),
    "binned": camera(CLEAN).reshape(80, 2, 80, 2).sum((1, 3)),
    "smooth": ndi.gaussian_filter(IMAGE.astype(np.float32), 1),
    "JPEG": iio.imread(
        iio.imwrite("<bytes>", (IMAGE - 60).clip(0, 255).astype(np.uint8), extension=".jpg", quality=75)
    ),
    "enlarged 6 times": IMAGE[:80, :80].repeat(6, axis=0).repeat(6, axis=1),
    "few grey levels": (camera(CELL) // 16).astype(np.uint8),
    "smooth, 8 bit": ndi.gaussian_filter(IMAGE / 16, 1).astype(np.uint8),
    "16 x 16": IMAGE[:16, :16],
    "a strip": IMAGE[:20],
    "one row": IMAGE[80:81],
    "one column": IMAGE[:, 80:81],
    "two rows": IMAGE[80:82],
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_data_is_left_alone(name):
    bad = find_bad_pixels(LEFT_ALONE[name])
    assert (bad.padding, bad.high, bad.dead) == (None, None, None)
    assert bad.counts()["hot"] <= 1


@pytest.mark.parametrize(
    ("share", "low", "high", "found"),
    [
        (1e-4, 100, 1000, 1.0), (5e-4, 100, 1000, 0.99), (2e-3, 300, 3000, 0.99), (1e-2, 300, 3000, 0.99),
        (1e-2, 50, 300, 0.9), (1e-3, 65000, 66000, 0.99),
    ],
)  # fmt: skip
def test_hot_pixels_are_found_and_nothing_else(share, low, high, found):
    image, where = hot(camera(scene((512, 512), 2)), share, low, high)
    bad = find_bad_pixels(image)
    assert (bad.hot & where).sum() >= found * where.sum()
    assert not (bad.hot & ~where).any()
    missed = (image - camera(scene((512, 512), 2)).astype(float))[where & ~bad.hot]
    assert missed.max(initial=0) < 350  # beside a bright structure, or next to another


@pytest.mark.parametrize("frames", [1, 8])
def test_hot_pixels_that_one_frame_hides_are_found_in_several(frames):
    movie = np.stack([camera(CLEAN, seed) for seed in range(frames)])
    places = (np.arange(5, 155, 25), np.arange(8, 158, 25))
    movie[(slice(None), *places)] += 20  # 8 standard deviations would be 18 in the dark, and more elsewhere
    movie[0, 77, 33] += 3000  # a cosmic ray in one of them
    found = Corrected(movie)
    hot = found.measured((slice(0, frames),))
    if frames == 1:
        assert (~hot[0])[places].sum() < 6
    else:
        assert not hot[(slice(None), *places)].any()
        assert not hot[0, 77, 33]
        assert hot[1:, 77, 33].all()
        assert (~hot).sum() == 8 * 6 + 1


def test_dead_pixels_and_lines():
    image = IMAGE.copy()
    image[70, 90] = 0
    image[:, 100] = 0
    image[:, 50] += 60
    image[7] = 65000
    bad = find_bad_pixels(image)
    assert np.flatnonzero(bad.dead.all(axis=0)).tolist() == [100]
    assert np.flatnonzero(bad.hot[20:].all(axis=0)).tolist() == [50]
    unmeasured = bad.unmeasured
    assert unmeasured[7].all()
    assert bad.dead[70, 90]


@pytest.mark.parametrize(
    ("image", "end"),
    [(np.minimum(IMAGE, 160), "high"), (np.minimum(IMAGE.astype(np.float32), 190.5), "high"),
     (np.clip(IMAGE.astype(int) - 104, 0, None).astype(np.uint16), "low"), (np.maximum(IMAGE, 101), "low"),
     (np.clip(IMAGE.astype(int) - 130, 0, None).astype(np.uint16), "low"), (np.minimum(camera(CELL), 150), "high"),
     (np.clip(ndi.gaussian_filter(camera(CELL) - 104.0, 1.5), 0, None), "low"),
     (np.minimum(CELL + 10, 255).round().astype(np.uint8), "high")],
)  # fmt: skip
def test_clipped_pixels_are_no_padding(image, end):
    bad = find_bad_pixels(image)
    assert bad.padding is None
    clipped = getattr(bad, end)
    np.testing.assert_array_equal(clipped, image == (image.max() if end == "high" else image.min()))


def test_a_single_plane_that_is_blank():
    assert Corrected(np.zeros((32, 32), np.uint16), Corrections()).notice().startswith("plane 1 is blank")


@pytest.mark.parametrize("value", [0, 100, 65535, np.nan])
def test_a_blank_frame(value):
    image = np.full((40, 50), value, np.float32 if np.isnan(value) else np.uint16)
    assert find_bad_pixels(image).blank
    assert not find_bad_pixels(IMAGE).blank


@given(st.integers(0, 2**32 - 1), st.integers(16, 70), st.integers(16, 70))
@settings(max_examples=30, deadline=None)
def test_a_mirrored_image_has_the_values_of_the_image_and_its_data_as_they_were(seed, height, width):
    rng = np.random.default_rng(seed)
    image = rng.random((height, width), np.float32)
    padding = np.zeros(image.shape, bool)
    for edge in rng.integers(0, 2, 4):
        padding = np.rot90(padding)
        padding[: edge * rng.integers(1, 7)] = True
        padding = padding if padding.shape == image.shape else np.rot90(padding)
    filled = mirrored_into(image, padding)
    np.testing.assert_array_equal(filled[~padding], image[~padding])
    assert np.isin(filled, image[~padding]).all()


def movie():
    """Six frames: one blank, one with NaN at its border, a hot pixel, a lone NaN."""
    frames = np.stack([camera(CLEAN[:64, :80], seed) for seed in range(6)]).astype(np.float32)
    frames[2] = 0
    frames[1, :12] = np.nan
    frames[3, 50, 60] = 5000
    frames[4, 30, 20] = np.nan
    return frames


MOVIE = movie()
CORRECTED = Corrected(MOVIE, volumes=True)
WHOLE = CORRECTED[:, :, :]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_box_of_a_corrected_image_is_that_of_the_whole(data):
    def forwards(n):
        return st.slices(n).filter(lambda s: (s.step or 1) > 0)

    box = tuple(data.draw(st.one_of(st.integers(0, n - 1), forwards(n))) for n in MOVIE.shape)
    np.testing.assert_array_equal(CORRECTED[box], WHOLE[box])
    index = data.draw(st.one_of(st.integers(-3, 5), forwards(6)))
    np.testing.assert_array_equal(CORRECTED[index], WHOLE[index])


def test_a_corrected_image():
    image = Corrected(MOVIE, volumes=True)
    assert np.isfinite(WHOLE).all()
    assert image.blank == [(2,)]
    assert {k: image.counts[k] for k in ("padding", "hot", "dead")} == {
        "padding": 64 * 80 + 12 * 80,
        "hot": 1,
        "dead": 1,
    }
    assert WHOLE[3, 50, 60] == np.median(np.delete(MOVIE[3, 48:53, 58:63].ravel(), 12))
    np.testing.assert_array_equal(WHOLE[1, 10:12], MOVIE[1, 13:11:-1])  # mirrored
    assert any((WHOLE[2] == WHOLE[z]).all() for z in (1, 3))  # a blank slice is its neighbour
    measured = image.measured((slice(0, 6),))
    assert [round(float(share), 4) for share in measured.mean(axis=(1, 2))] == [1, 0.8125, 0, 0.9998, 0.9998, 1]
    assert image.notice() == (
        "plane 3 is blank; 19.8 % of the pixels are padding: left out; 1 hot and 1 dead pixels: replaced by their "
        "neighbours"
    )
    assert not Corrected(MOVIE[:1]).changed


def test_hot_pixels_stay_if_wanted_and_nan_never():
    image = Corrected(MOVIE, Corrections(hot_pixels=False))
    assert image[3, 50, 60] == 5000
    assert np.isfinite(image[4]).all()


def test_camera_maps_make_all_pixels_alike():
    rng = np.random.default_rng(0)
    offset, gain = rng.normal(100, 8, CLEAN.shape), rng.normal(2, 0.1, CLEAN.shape)
    raw = (CLEAN * gain + offset).astype(np.float32)
    maps = CameraMaps(offset.astype(np.float32), gain.astype(np.float32))
    image = Corrected(raw, Corrections(maps=maps))
    np.testing.assert_allclose(image[:, :], CLEAN * gain.mean() + offset.mean(), rtol=1e-4)
    with pytest.raises(InputError, match="160x160 pixels, `dark` 9x9"):
        Corrected(raw, Corrections(maps=CameraMaps(np.zeros((9, 9), np.float32))))


def test_line_noise_is_taken_out():
    rng = np.random.default_rng(0)
    raw = IMAGE + rng.normal(0, 8, (160, 1))
    image = Corrected(raw, Corrections(lines="Y"))
    truth = 2 * CLEAN + 100
    assert np.std((image[:, :] - truth).mean(axis=1)) < 1.5
    assert np.std((raw - truth).mean(axis=1)) > 7


@pytest.mark.parametrize(
    ("image", "message"),
    [(np.where(np.random.default_rng(0).random((64, 64)) < 0.2, np.nan, 1.0 + IMAGE[:64, :64]), "pixels that are NaN"),
     (np.full((3, 64, 64), np.nan), "holds only NaN"), (np.full((8, 8), np.nan), "64 pixels that are NaN")],
)  # fmt: skip
def test_what_cannot_be_repaired_is_refused(image, message):
    with pytest.raises(InputError, match=message):
        Corrected(image)
