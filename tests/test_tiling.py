import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zsd_runtime import InputError
from zsd_runtime.tiling import plan, reflected


@st.composite
def plans(draw: st.DrawFn):
    axes = draw(st.integers(1, 3))

    def each(strategy):
        return tuple(draw(strategy) for _ in range(axes))

    step = each(st.sampled_from([1, 2, 4, 8]))
    halo = each(st.integers(0, 12))
    cores = each(st.integers(1, 6))
    tile = tuple(2 * -(-h // s) * s + s * n for h, s, n in zip(halo, step, cores, strict=True))
    return {
        "image_shape": each(st.integers(1, 60)),
        "tile": tile,
        "halo": halo,
        "step": step,
        "overlap": each(st.integers(1, 10)),
    }, each(st.integers(1, 3))


@settings(max_examples=200, deadline=None)
@given(plans(), st.integers(0, 2**32 - 1))
def test_tiles_put_together_are_the_image(geometry, seed):
    arguments, scale = geometry
    image = np.random.default_rng(seed).random(arguments["image_shape"], np.float32)
    expected = np.kron(image, np.ones(scale, np.float32))
    result, weights = np.zeros_like(expected), np.zeros_like(expected)
    for tile in plan(**arguments):
        values = np.kron(tile.read(image), np.ones(scale, np.float32))
        for axis, (n, h, k) in enumerate(zip(tile.shape, arguments["halo"], scale, strict=True)):
            spoiled = np.arange(values.shape[axis]) // k
            spoiled = (spoiled < h) | (spoiled >= n - h)
            values[tuple([slice(None)] * axis + [spoiled])] = 1e6  # what lies in the halo must not come through
        result[tile.write(scale)] += values[tile.crop(scale)] * tile.weight(scale)
        weights[tile.write(scale)] += tile.weight(scale) * np.ones_like(values[tile.crop(scale)])
    assert (weights == 1).all()
    np.testing.assert_allclose(result, expected, atol=1e-6)


@settings(max_examples=200, deadline=None)
@given(plans())
def test_tiles_have_one_shape_and_start_on_the_pooling_grid(geometry):
    arguments, _ = geometry
    tiles = plan(**arguments)
    assert len({tile.shape for tile in tiles}) == 1
    for tile in tiles:
        assert all(n % s == 0 for n, s in zip(tile.shape, arguments["step"], strict=True))
        assert all(span.start % s == 0 for span, s in zip(tile.spans, arguments["step"], strict=True))


@pytest.mark.parametrize(("n", "expected"), [(1, [0, 0, 0, 0, 0]), (2, [0, 1, 0, 1, 0]), (3, [2, 1, 0, 1, 2])])
def test_reflection(n, expected):
    assert reflected(np.arange(-2, 3), n).tolist() == expected


def test_a_tile_without_a_core_is_refused():
    with pytest.raises(InputError, match="give one of at least 72"):
        plan((100,), (64,), (32,), (8,))
