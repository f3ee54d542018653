"""OME-Zarr results: what is carried over, and the pyramid."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import zarr

from zsd_runtime.images import Channel, Description, Image, Voxel, create_image, open_image, read_image, write_image

RNG = np.random.default_rng(0)
DESCRIBED = Description(
    name="embryo #3",
    channels=(Channel("GFP", "00FF00", 509.0), Channel("", "FF00FF"), Channel("far red", None, 670.0)),
    time_step_s=2.5, origin_um={"Z": 3.0, "Y": 12.5, "X": -40.0},
)  # fmt: skip
STACK = RNG.poisson(100, (2, 3, 4, 50, 60)).astype(np.uint16)  # TCZYX
VOXEL = Voxel(0.3, 0.1, 0.1)


def ome(path):
    return json.loads((path / "zarr.json").read_text())["attributes"]["ome"]


def levels(path):
    group = zarr.open_group(path, mode="r")
    return [group[d["path"]][:] for d in ome(path)["multiscales"][0]["datasets"]]


def test_what_a_file_says_comes_back(tmp_path):
    write_image(tmp_path / "a.zarr", Image(STACK, "TCZYX", VOXEL, description=DESCRIBED))
    back = read_image(tmp_path / "a.zarr")
    np.testing.assert_array_equal(back.data, STACK)
    assert (back.axes, back.voxel) == ("TCZYX", VOXEL)
    assert replace(back.description, size_source="") == replace(
        DESCRIBED, channels=(*DESCRIBED.channels[:2], Channel("far red", "FFFFFF", 670.0))
    )
    axes = ome(tmp_path / "a.zarr")["multiscales"][0]["axes"]
    assert [axis.get("unit") for axis in axes] == ["second", None, "micrometer", "micrometer", "micrometer"]


PARTS = {
    "nothing": (Description(), Voxel()),
    "a name": (Description(name="a"), Voxel()),
    "a position": (Description(origin_um={"Z": 0.0, "Y": 1.5, "X": 0.0}), Voxel.square(0.065)),
    "a z step only": (Description(), Voxel(0.3)),
    "a pixel size only": (Description(), Voxel.square(0.065)),
}


@pytest.mark.parametrize("name", PARTS)
def test_what_a_file_does_not_say_stays_unknown(tmp_path, name):
    described, voxel = PARTS[name]
    write_image(tmp_path / "a.zarr", Image(STACK[0, 0], "ZYX", voxel, description=described))
    back = open_image(tmp_path / "a.zarr")
    assert (back.voxel, replace(back.description, size_source="")) == (voxel, described)
    assert "omero" not in ome(tmp_path / "a.zarr")


@pytest.mark.parametrize("axes", ["CTYX", "CTZYX", "TCYX", "CYX"])
def test_axes_are_in_the_order_of_the_standard(tmp_path, axes):
    """Time, channels, space; what is assigned keeps its own order."""
    data = STACK[tuple(slice(None) if a in axes else 0 for a in "TCZYX")]
    data = data.swapaxes(0, 1) if axes.startswith("CT") else data
    image = Image(data, axes, Voxel.square(0.1), description=replace(DESCRIBED, origin_um={}))
    with create_image(tmp_path / "a.zarr", image) as target:
        assert target.shape == data.shape
        assert len(target.chunks) == data.ndim
        for index in range(3 if axes[0] == "C" else 2):
            whole = tuple(slice(0, n) for n in data.shape[1:])
            target[(index, *whole)] = data[index]
    back = read_image(tmp_path / "a.zarr")
    order = [a for a in "TCZYX" if a in axes]
    assert back.axes == "".join(order)
    np.testing.assert_array_equal(back.data, data.transpose([axes.index(a) for a in order]))
    assert [c.name for c in back.description.channels] == ["GFP", "", "far red"]


# shape, axes, voxel, and the shapes of the coarser levels
PYRAMIDS = {
    "small": ((250, 256), "YX", Voxel(), []),
    "plane": ((600, 1100), "YX", Voxel.square(0.1), [(300, 550), (150, 275), (75, 137)]),
    "row": ((1, 1100), "YX", Voxel(), [(1, 550), (1, 275), (1, 137)]),
    "odd": ((515, 301), "YX", Voxel(), [(257, 150), (128, 75)]),
    "isotropic": ((9, 300, 520), "ZYX", Voxel(0.1, 0.1, 0.1), [(4, 150, 260), (2, 75, 130)]),
    "coarse slices": ((9, 300, 520), "ZYX", Voxel(0.3, 0.1, 0.1), [(9, 150, 260), (4, 75, 130)]),
    "coarser slices": ((9, 300, 520), "ZYX", Voxel(1.0, 0.1, 0.1), [(9, 150, 260), (9, 75, 130)]),
    "unknown slices": ((9, 300, 520), "ZYX", Voxel.square(0.1), [(9, 150, 260), (9, 75, 130)]),
    "one slice": ((1, 300, 520), "ZYX", Voxel(0.1, 0.1, 0.1), [(1, 150, 260), (1, 75, 130)]),
    "frames and channels": ((2, 3, 260, 258), "TCYX", Voxel.square(0.1), [(2, 3, 130, 129)]),
}


def mean(values, factors):
    for axis, k in enumerate(factors):
        values = np.moveaxis(values, axis, 0)
        values = values[: len(values) // k * k]
        values = np.moveaxis(values.reshape(-1, k, *values.shape[1:]).mean(1, dtype=np.float64), 0, axis)
    return values


@pytest.mark.parametrize("name", PYRAMIDS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_levels_are_means_of_each_other(tmp_path, name, dtype):
    shape, axes, voxel, coarser = PYRAMIDS[name]
    data = RNG.poisson(100, shape).astype(dtype)
    write_image(tmp_path / "a.zarr", Image(data, axes, voxel))
    found = levels(tmp_path / "a.zarr")
    assert [level.shape for level in found] == [shape, *coarser]
    assert {level.dtype.name for level in found} == {dtype}
    np.testing.assert_array_equal(found[0], data)
    for fine, coarse in pairwise(found):
        factors = [n // m if m else 1 for n, m in zip(fine.shape, coarse.shape, strict=True)]
        expected = mean(fine, factors)
        np.testing.assert_allclose(coarse, np.rint(expected) if dtype != "float32" else expected, rtol=1e-6)


def test_levels_lie_where_their_pixels_lie(tmp_path):
    """A spot at a known place is at this place in every level: the centre of mass, by scale and translation."""
    z, y, x = np.ogrid[:16, :512, :512]
    spot = np.exp(-((z - 7) ** 2 / 18 + (y - 211) ** 2 / 200 + (x - 322) ** 2 / 200)).astype(np.float32)
    described = replace(DESCRIBED, channels=())
    write_image(tmp_path / "a.zarr", Image(spot, "ZYX", Voxel(0.1, 0.1, 0.1), description=described))
    datasets = ome(tmp_path / "a.zarr")["multiscales"][0]["datasets"]
    assert len(datasets) == 2
    for values, dataset in zip(levels(tmp_path / "a.zarr"), datasets, strict=True):
        scale, translation = (step[step["type"]] for step in dataset["coordinateTransformations"])
        for axis, truth in enumerate((3.0 + 0.7, 12.5 + 21.1, -40.0 + 32.2)):
            weights = values.astype(float).sum(tuple({0, 1, 2} - {axis}))
            centre = np.average(np.arange(len(weights)), weights=weights) * scale[axis] + translation[axis]
            assert centre == pytest.approx(truth, abs=0.01)
    assert open_image(tmp_path / "a.zarr" / "1").voxel == Voxel(0.2, 0.2, 0.2)


def test_a_finer_result_lies_where_its_image_lies(tmp_path):
    """Twice as many pixels, half as large; the field begins at the same edge."""
    described = replace(DESCRIBED, channels=())
    image = Image(STACK[:, 0, 0], "TYX", Voxel.square(0.1), description=described)
    result = image.resized((2, 100, 120), "uint16")
    with create_image(tmp_path / "a.zarr", result, (2, 2)) as target:
        target[0:2, 0:100, 0:120] = result.data
    back = open_image(tmp_path / "a.zarr")
    assert back.voxel == Voxel.square(0.05)
    assert back.description.time_step_s == 2.5
    assert back.description.origin_um["Y"] == pytest.approx(12.5 - 0.025)
    assert back.description.origin_um["X"] == pytest.approx(-40.0 - 0.025)


def test_names_of_channels_follow_the_channels(tmp_path):
    """One channel needs no axis; where a model makes channels of its own, the names are those of others."""
    one = Description(channels=(Channel("GFP", "00FF00"),))
    image = Image(STACK[0, 0, 0], "YX", description=one)
    write_image(tmp_path / "a.zarr", image.resized((100, 120), "uint16"))
    assert open_image(tmp_path / "a.zarr").description.channels == one.channels
    assert image.resized((1, 50, 60), "uint16", "CYX").description.channels == one.channels
    assert image.resized((2, 50, 60), "uint16", "CYX").description.channels == ()
    three = Image(STACK[0, :, 0], "CYX", description=DESCRIBED)
    assert three.resized((50, 60), "uint16", "YX").description.channels == ()
    assert three.resized((3, 100, 120), "uint16").description.channels == DESCRIBED.channels


def test_the_pyramid_is_made_chunk_by_chunk(tmp_path, monkeypatch):
    """No more than a block of chunks is in memory, and no pixel of the image is read twice."""
    from zsd_runtime.images import ome_zarr_write

    blocks = []
    original = ome_zarr_write.averaged
    monkeypatch.setattr(ome_zarr_write, "averaged", lambda v, f: (blocks.append(v.shape), original(v, f))[1])
    data = np.zeros((20, 1024, 700), np.uint8)
    write_image(tmp_path / "a.zarr", Image(data, "ZYX", Voxel(0.1, 0.1, 0.1)))
    assert max(map(np.prod, blocks)) <= 16 * 512 * 512
    read = sum(int(np.prod(shape)) for shape in blocks)
    assert read == 20 * 1024 * 700 + 10 * 512 * 350


def test_windows_span_each_channel(tmp_path):
    """The standard wants them, and viewers begin with them; NaN and infinity of padding are none of it."""
    data = np.ones((3, 300, 300), np.float32)
    data[0, :150] = 7
    data[1, :10] = np.nan
    data[2, :] = np.nan
    write_image(tmp_path / "a.zarr", Image(data, "CYX", description=DESCRIBED))
    windows = [channel["window"] for channel in ome(tmp_path / "a.zarr")["omero"]["channels"]]
    assert [(w["start"], w["end"]) for w in windows] == [(1, 7), (1, 2), (0, 1)]
    write_image(tmp_path / "b.zarr", Image(STACK[0, :, 0], "CYX", description=DESCRIBED))
    windows = [channel["window"] for channel in ome(tmp_path / "b.zarr")["omero"]["channels"]]
    assert [(w["start"], w["end"]) for w in windows] == [(c.min(), c.max()) for c in STACK[0, :, 0]]
    assert {(w["min"], w["max"]) for w in windows} == {(0, 65535)}
    assert "NaN" not in (tmp_path / "a.zarr" / "zarr.json").read_text()


def test_black_chunks_are_stored(tmp_path):
    """So that a result is not taken for a copy that lost chunks."""
    write_image(tmp_path / "a.zarr", Image(np.zeros((300, 300), np.uint16), "YX"))
    assert open_image(tmp_path / "a.zarr").description.notices == ()
    assert len([p for p in (tmp_path / "a.zarr" / "0").rglob("*") if p.is_file()]) == 1 + 4


def test_a_failure_in_the_pyramid_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zsd_runtime.images.ome_zarr_write.averaged", fail)
    with pytest.raises(ValueError, match=r"cannot write .*No space left"):
        write_image(tmp_path / "a.zarr", Image(np.zeros((300, 300), np.uint16), "YX"))
    assert list(tmp_path.iterdir()) == []
