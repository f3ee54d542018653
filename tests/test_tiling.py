from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zsd_runtime import InputError
from zsd_runtime.blend import Blend
from zsd_runtime.tiling import choose_tile, plan, reflected


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
        "size_multiple": step,
        "overlap": each(st.integers(0, 10)),
        "grid": each(st.integers(1, 12)),
        "edge": draw(st.none() | st.tuples(*[st.integers(0, 20)] * axes)),
    }, each(st.integers(1, 3))


@settings(max_examples=100, deadline=None)
@given(plans(), st.integers(0, 2**32 - 1))
def test_tiles_put_together_are_the_image(geometry, seed):
    arguments, scale = geometry
    image = np.random.default_rng(seed).random(arguments["image_shape"], np.float32)
    expected = np.kron(image, np.ones(scale, np.float32))
    planned = plan(**arguments)
    result, weights = np.full_like(expected, np.nan), np.full_like(expected, np.nan)
    images, ones = Blend(planned, scale), Blend(planned, scale)
    for tile in planned:
        values = np.kron(tile.read(image), np.ones(scale, np.float32))
        for axis, (span, n, h) in enumerate(zip(tile.spans, tile.shape, arguments["halo"], strict=True)):
            # What lies in the halo must not come through, but at the image's own edge.
            line = np.arange(values.shape[axis]) // scale[axis]
            low = h if span.start > 0 else 0
            high = n - h if span.start + n < arguments["image_shape"][axis] else n
            values[tuple([slice(None)] * axis + [(line < low) | (line >= high)])] = 1e6
        core = values[tile.core(scale)]
        where = tile.finished(scale)
        assert np.isnan(result[where]).all()  # each pixel is finished once
        weights[where] = ones.add(tile, np.ones_like(core))
        result[where] = images.add(tile, core)
    assert (weights == 1).all()
    np.testing.assert_allclose(result, expected, atol=1e-6)


@settings(max_examples=300, deadline=None)
@given(plans())
def test_tiles_have_one_shape_and_see_the_same_edges(geometry):
    arguments, _ = geometry
    planned = plan(**arguments)
    whole = plan(**{**arguments, "tile": (1000,) * len(arguments["tile"])})
    (only,) = whole
    for axis, line in enumerate(planned.lines):
        step, length = arguments["size_multiple"][axis], planned.tile[axis]
        assert length % step == 0
        assert all(span.start % step == 0 for span in line)
        assert line[0].start == only.spans[axis].start
        assert line[-1].start + length == only.spans[axis].start + whole.tile[axis]


@settings(max_examples=300, deadline=None)
@given(plans())
def test_what_is_finished_lies_on_the_grid(geometry):
    arguments, _ = geometry
    planned = plan(**arguments)
    for line, step, grid, tile, halo in zip(
        planned.lines, arguments["size_multiple"], arguments["grid"], planned.tile, arguments["halo"], strict=True
    ):
        room = tile - 2 * -(-halo // step) * step - arguments["overlap"][0]
        if room >= np.lcm(step, grid) and len(arguments["tile"]) == 1:
            assert all(span.low % grid == 0 for span in line)


@settings(max_examples=300, deadline=None)
@given(plans(), st.integers(1, 10**5))
def test_a_chosen_tile_fits_and_can_be_planned(geometry, pixels):
    arguments, _ = geometry
    arguments = {key: value for key, value in arguments.items() if key != "tile"}
    tile = choose_tile(pixels=pixels, **arguments)
    planned = plan(tile=tile, **arguments)
    assert planned.tile == tile
    smallest = [
        2 * -(-h // s) * s + -(-(np.lcm(s, g) + o) // s) * s
        for h, s, g, o in zip(*(arguments[k] for k in ("halo", "size_multiple", "grid", "overlap")), strict=True)
    ]
    assert prod(tile) <= max(pixels, prod(smallest))


def test_a_chosen_tile_wastes_little():
    """4096² in tiles of at most 1200², a halo of 96: four parts an axis would be five with squares of 1200."""
    tile = choose_tile((4096, 4096), (96, 96), (16, 16), 1200**2)
    assert plan((4096, 4096), tile, (96, 96), (16, 16)).arithmetic < 1.65


@pytest.mark.parametrize(("n", "expected"), [(1, [0, 0, 0, 0, 0]), (2, [0, 1, 0, 1, 0]), (3, [2, 1, 0, 1, 2])])
def test_reflection(n, expected):
    assert reflected(np.arange(-2, 3), n).tolist() == expected


def test_a_tile_without_a_core_is_refused():
    with pytest.raises(InputError, match="give one of at least 72"):
        plan((100,), (64,), (32,), (8,))
