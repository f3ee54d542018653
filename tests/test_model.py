import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zsd_runtime import InputError, load_model
from zsd_train.simulate import Camera, simulate


@pytest.fixture(scope="module")
def model(package):
    with load_model(package) as opened:
        yield opened


@pytest.fixture(scope="module")
def large():
    return simulate((330, 410), camera=Camera(100, 1.5, 2), seed=9).noisy


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_tiles_equal_the_whole(model, large, data):
    shape = data.draw(st.tuples(st.integers(1, 330), st.integers(1, 410)))
    halo = model.description.halo[0]
    tile = data.draw(st.tuples(*[st.integers(2 * halo + 4, 300)] * 2))
    image = large[: shape[0], : shape[1]]
    whole = model.predict(image, tile=(1000, 1000))
    tiled = model.predict(image, tile=tile)
    for name, k in (("denoised", 1), ("deconvolved", 2)):
        a, b = getattr(whole, name), getattr(tiled, name)
        assert a.shape == b.shape == (k * shape[0], k * shape[1])
        span = model.description.outputs[0].postprocessing.gain  # the scale: counts that training saw as 1
        assert np.abs(a - b).max() <= 1e-3 * max(span, np.ptp(a))


@pytest.mark.parametrize("shape", [(1, 1), (1, 97), (33, 1), (2, 3), (65, 127)])
def test_any_size(model, large, shape):
    result = model.predict(large[: shape[0], : shape[1]])
    assert result.denoised.shape == shape
    assert result.deconvolved.shape == (2 * shape[0], 2 * shape[1])
    assert result.denoised.dtype == result.deconvolved.dtype == np.float32


def test_intensities_are_counts_above_the_offset(model, large):
    result = model.predict(large)
    above = large.mean() - 100
    assert result.denoised.mean() == pytest.approx(above, rel=0.15)  # a network of seconds; docs/ has the real one
    assert result.deconvolved.mean() == pytest.approx(above, rel=0.15)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint64, np.float64])
def test_real_dtypes_give_the_same(model, large, dtype):
    image = np.minimum(large[:64, :64], 255)
    expected = model.predict(image).denoised
    np.testing.assert_allclose(model.predict(image.astype(dtype)).denoised, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((3, 8, 8)), "each plane by itself"),
        (np.zeros((0, 8)), "at least one pixel"),
        (np.zeros((8, 8), bool), "truth values"),
        (np.zeros((8, 8), complex), "complex"),
        (np.full((8, 8), np.nan), "64 pixels that are NaN"),
    ],
)
def test_what_is_not_an_image_is_told(model, image, message):
    with pytest.raises(InputError, match=message):
        model.predict(image)


def test_bad_tiles_and_devices_are_told(model, large, package):
    with pytest.raises(InputError, match="twice the halo"):
        model.predict(large, tile=(4, 4))
    with pytest.raises(InputError, match="must have 2 numbers"):
        model.predict(large, tile=(64,))
    with pytest.raises(InputError, match="'tpu'"):
        load_model(package, device="tpu")
