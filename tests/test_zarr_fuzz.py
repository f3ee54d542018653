"""Descriptions that somebody's program garbled: an image, or a sentence."""

import copy
import json
import shutil
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.zarr_files import axes, dataset, multiscale, write
from zsd_runtime import InputError
from zsd_runtime.images.ome_zarr import OME_ZARR

DATA = np.arange(2 * 3 * 5 * 6, dtype=np.uint16).reshape(2, 3, 5, 6)
VALID = {
    "bioformats2raw.layout": 3,
    "plate": {"wells": [{"path": "A/1"}]},
    "multiscales": [
        multiscale(
            "tzyx",
            (2.0, 0.5, 0.1, 0.1),
            [0.0, 1.0, 2.0, 3.0],
            name="a",
            coordinateTransformations=[{"type": "scale", "scale": [1.0, 1.0, 1.0, 1.0]}],
            coordinateSystems=[{"name": "physical", "axes": axes("tzyx")}],
        ),
        multiscale("zyx", (0.5, 0.1, 0.1), datasets=[dataset([1.0] * 3, path="A/1/0")]),
    ],
    "well": {"images": [{"path": "0"}]},
    "omero": {"channels": [{"label": "GFP", "color": "00FF00", "emissionWave": 509}]},
    "series": ["0"],
}
WORDS = [
    "", "0", "/", "..", "../..", "A/1", "labels", "scale", "translation", "sequence", "identity", "t", "c", "z", "y",
    "x", "q", "micrometer", "nm", "second", "µm", "\x00", "a" * 300, "NaN", "1e999", "0,3", "path", "axes", "type",
]  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=6,
)


def places(value, at=()):
    """The path to each value in a JSON."""
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*at, key))


@st.composite
def garbled(draw):
    """The valid description after a few changes: values replaced, left out, repeated or put elsewhere."""
    described = copy.deepcopy(VALID)
    for key in draw(st.sets(st.sampled_from(["multiscales", "plate", "well", "bioformats2raw.layout"]), max_size=3)):
        del described[key]
    for _ in range(draw(st.integers(1, 4))):
        all_places = [at for at in places(described) if at]
        if not all_places:
            break
        *above, last = draw(st.sampled_from(all_places))
        holder = described
        for key in above:
            holder = holder[key]
        change = draw(st.sampled_from(["replace", "replace", "replace", "drop", "repeat", "wrap"]))
        if change == "drop":
            del holder[last]
        elif change == "repeat" and isinstance(holder, list):
            holder.insert(last, copy.deepcopy(holder[last]))
        elif change == "wrap":
            holder[last] = draw(st.sampled_from([lambda v: [v], lambda v: {"path": v}, str]))(holder[last])
        else:
            holder[last] = draw(VALUES)
    return described


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Zarr 2 and 3, each with an image and a field of a plate."""
    found = {}
    for zarr_format in (2, 3):
        path = tmp_path_factory.mktemp(f"v{zarr_format}") / "a.zarr"
        group = write(path, DATA, zarr_format=zarr_format)
        write(group.create_group("A/1/0"), DATA[0], multiscale("zyx", (1, 1, 1)), zarr_format=zarr_format)
        group["A/1"].attrs.update({"well": {"images": [{"path": "0"}]}})
        group.create_group("OME").attrs.update({"series": ["0"]})
        found[zarr_format] = path
    return found


def opened(folders, zarr_format, described, typed, series):
    path = folders[zarr_format]
    if zarr_format == 2:
        (path / ".zattrs").write_text(json.dumps(described))
    else:
        document = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": described}}
        (path / "zarr.json").write_text(json.dumps(document))
    try:
        image = OME_ZARR.open(path, typed, series)  # not `open_image`, which turns all errors into sentences
    except InputError:
        return
    assert len(image.axes) == len(image.data.shape) or typed
    for axis in "ZYX":
        assert image.voxel[axis] is None or 0 < image.voxel[axis] < 1000
    known = image.description
    assert known.time_step_s is None or 0 < known.time_step_s < float("inf")
    assert all(np.isfinite(um) for um in known.origin_um.values())
    assert isinstance(known.name, str)
    if known.channels and not typed:
        assert len(known.channels) == dict(zip(image.axes, image.data.shape, strict=True)).get("C", 1)
    whole = image.data[tuple(slice(0, n) for n in image.data.shape)]
    assert whole.sum() in (DATA.sum(), DATA[0].sum())


SETTINGS = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
}
ARGUMENTS = {
    "zarr_format": st.sampled_from([2, 3]),
    "described": garbled() | VALUES.map(lambda value: {"multiscales": value}),
    "typed": st.sampled_from([None, None, None, "TZYX", "ZYX", "", "qq"]),
    "series": st.sampled_from([None, None, 0, 1, -1, 10**9]),
}


@settings(max_examples=80, **SETTINGS)
@given(**ARGUMENTS)
def test_garbled_descriptions_give_an_image_or_a_sentence(folders, zarr_format, described, typed, series):
    opened(folders, zarr_format, described, typed, series)


@pytest.mark.slow
@settings(max_examples=10_000, **SETTINGS)
@given(**ARGUMENTS)
def test_many_garbled_descriptions(folders, zarr_format, described, typed, series):
    opened(folders, zarr_format, described, typed, series)


@settings(max_examples=60, **SETTINGS)
@given(name=st.sampled_from([".zgroup", ".zattrs", "0/.zarray"]), start=st.integers(0, 200), rest=st.binary(max_size=9))
def test_damaged_json(tmp_path_factory, name, start, rest):
    path = tmp_path_factory.getbasetemp() / "damaged.zarr"
    if path.exists():
        shutil.rmtree(path)
    write(path, DATA, multiscale("tzyx", (2.0, 0.5, 0.1, 0.1)))
    damaged = (path / name).read_bytes()
    (path / name).write_bytes(damaged[:start] + rest + damaged[start + len(rest) :])
    with suppress(InputError):
        OME_ZARR.open(path, None, None)
