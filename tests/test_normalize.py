import numpy as np
import pytest

from zsd_runtime import InputError
from zsd_runtime.normalize import Linear, ZeroMeanUnitVariance, from_description, percentiles

RNG = np.random.default_rng(0)


def test_steps_follow_each_other():
    steps = [
        {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
        {"id": "scale_linear", "kwargs": {"gain": 2.0, "offset": 1.0}},
        {"id": "scale_linear", "kwargs": {"gain": [0.5], "offset": [3.0]}},
    ]
    np.testing.assert_allclose(from_description(steps, "x")(np.array([0, 10], np.uint16)), [3.5, 13.5])


@pytest.mark.parametrize(
    "step",
    [
        {
            "name": "zero_mean_unit_variance",
            "kwargs": {"mode": "fixed", "axes": "yx", "mean": [100], "std": [4.9], "eps": 0.1},
        },
        {"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": 100.0, "std": 4.999999}},
    ],
)
def test_a_given_mean_is_a_line(step):
    line = from_description([step], "x")
    assert isinstance(line, Linear)
    np.testing.assert_allclose(line(np.array([100, 110], np.uint16)), [0, 2], rtol=1e-6)


@pytest.mark.parametrize("name", ["scale_range", "zero_mean_unit_variance"])
def test_a_data_set_is_not_an_image(name):
    with pytest.raises(InputError, match=f"'{name}'"):
        from_description([{"name": name, "kwargs": {"mode": "per_dataset", "axes": "yx"}}], "the input")


def test_large_counts_keep_their_differences():
    counts = np.array([2**31, 2**31 + 3], np.uint32)
    np.testing.assert_array_equal(Linear(1.0, -(2.0**31))(counts), [0, 3])


def test_what_is_not_one_line_for_the_image_is_named():
    with pytest.raises(InputError, match="'sigmoid'"):
        from_description([{"id": "sigmoid"}], "the input")
    with pytest.raises(InputError, match="'scale_range'"):
        from_description([{"id": "scale_linear", "kwargs": {"gain": 2}}, {"id": "scale_range"}], "the input")


IMAGES = {
    "uint8": RNG.poisson(20, (70, 90)).astype(np.uint8),
    "int16": RNG.normal(-5, 3000, (70, 90)).astype(np.int16),
    "uint16": RNG.poisson(300, (70, 90)).astype(np.uint16),
    "uint32": (RNG.random((70, 90)) * 1e9).astype(np.uint32),
    "float32": RNG.normal(0, 1, (70, 90)).astype(np.float32),
    "float64": RNG.lognormal(0, 3, (70, 90)),
    "flat": np.full((70, 90), 7, np.uint16),
}


@pytest.mark.parametrize("name", IMAGES)
def test_statistics_of_blocks_are_those_of_the_image(name):
    image = IMAGES[name]
    blocks = np.array_split(image, 7)
    found = percentiles(blocks, (0.5, 3, 50, 99.8))
    expected = np.percentile(image, (0.5, 3, 50, 99.8))
    exact = image.dtype.itemsize <= 2
    np.testing.assert_allclose(found, expected, rtol=1e-12 if exact else 2e-3, atol=0 if exact else 2e-3)
    assert percentiles(blocks, (0, 100)) == [image.min(), image.max()]
    line = ZeroMeanUnitVariance().fit(blocks)
    np.testing.assert_allclose(line(image).mean(), 0, atol=1e-3)
    if name != "flat":
        np.testing.assert_allclose(line(image).std(), 1, atol=1e-3)


def test_scale_range_puts_its_percentiles_at_0_and_1_and_clips_nothing():
    image = IMAGES["uint16"]
    steps = [{"id": "scale_range", "kwargs": {"min_percentile": 3, "max_percentile": 99.8}}]
    scaled = from_description(steps, "x").fit([image])(image)
    np.testing.assert_allclose(np.percentile(scaled, (3, 99.8)), (0, 1), atol=1e-5)
    assert scaled.max() > 1
    assert scaled.min() < 0
