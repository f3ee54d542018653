"""Packages in both formats, 2D and 3D, in bioimageio.core; what refuses to be written, and what is replaced."""

import json
import shutil
import subprocess
import sys
from io import BytesIO

import imageio.v3 as iio
import numpy as np
import pytest

from zsd_export.package.write import cover
from zsd_optics.pictures import continued
from zsd_runtime import load_model
from zsd_runtime.archive import read_member
from zsd_runtime.images import read_image
from zsd_runtime.package import read_package
from zsd_runtime.tiling import round_up

# In a process of its own: its import changes logging and warnings for everybody.
TEST = "import sys; from bioimageio.core import test_model as t; s = t(sys.argv[1]); print(s.status, s.details)"
PREDICT = """
import json, sys
import numpy as np
from bioimageio.core import predict
from bioimageio.core.axis import AxisId
from bioimageio.core.tensor import Tensor
from bioimageio.spec import load_description

package, folder, block = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
model = load_description(package, format_version="latest")
image = np.load(f"{folder}/image.npy")
dims = [AxisId(a) for a in ("batch", "channel", *block)]
sample = predict(
    model=model, inputs={"noisy": Tensor.from_numpy(image[None, None], dims=dims)},
    input_block_shape={"noisy": {"batch": 1, "channel": 1, **block}},
)
for name, tensor in sample.members.items():
    np.save(f"{folder}/{name}.npy", np.asarray(tensor.data.data)[0, 0])
"""


def python(program, *arguments):
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, check=False
    )


NAMES = ["2D zoo", "2D deepimagej", "3D zoo", "3D deepimagej", "blind-spot zoo", "blind-spot deepimagej"]


@pytest.mark.parametrize("name", ["2D deepimagej", "3D deepimagej"])
def test_both_formats_say_the_same(packages, name):
    old, new = read_package(packages[name]), read_package(packages[name.replace("deepimagej", "zoo")])
    assert old.weights == new.weights
    for field in ("name", "axes", "size_multiple", "halo", "pixel_size_um"):
        assert getattr(old, field) == getattr(new, field), field
    assert (old.input.dtype, old.input.channels) == (new.input.dtype, new.input.channels)
    assert [(o.name, o.scale, o.dtype) for o in old.outputs] == [(o.name, o.scale, o.dtype) for o in new.outputs]
    lines = [[d.input.processing, *(output.processing for output in d.outputs)] for d in (old, new)]
    for a, b in zip(*lines, strict=True):
        assert (a.slope, a.intercept) == pytest.approx((b.slope, b.intercept), rel=1e-12)
    assert old.rdf["format_version"] == "0.4.10"
    assert {**old.facts, "exported": ""} == {**new.facts, "exported": ""}
    assert old.rdf["license"] == "CC-BY-4.0"
    assert old.rdf["authors"] == [{"name": "Ada Lovelace", "affiliation": "Analytical Engine"}, {"name": "Ro"}]
    assert "test" in old.rdf["tags"]


@pytest.mark.parametrize("name", NAMES)
def test_bioimageio_accepts_and_reproduces_it(packages, name):
    source = packages[name]
    result = python(TEST, source / "rdf.yaml" if source.is_dir() else source)
    assert result.stdout.startswith("passed"), result.stdout + result.stderr


@pytest.mark.parametrize("name", NAMES)
def test_bioimageio_predicts_block_by_block_as_we_do(packages, name, tmp_path):
    """On an image of odd sizes.

    bioimageio.core moves its last block back to the image's end. There the block must start on the pooling grid, so the
    image is continued by reflection to a multiple of the step first, as zsd does by itself. Beyond the image's edges it
    repeats other pixels than zsd, so a halo of them is left out.
    """
    source = packages[name]
    model = read_package(source)
    block = [
        4 * halo + 2 * step for halo, step in zip(model.halo, model.size_multiple, strict=True)
    ]  # two along each axis
    shape = tuple(n + 1 for n in block)
    assert all(n % 2 for n in shape)
    image = continued(np.load(BytesIO(read_member(source, model.test_tensor)))[0, 0], shape)
    grid = [round_up(n, step) for n, step in zip(shape, model.size_multiple, strict=True)]
    np.save(tmp_path / "image.npy", continued(image, grid))
    result = python(
        PREDICT,
        source / "rdf.yaml" if source.is_dir() else source,
        tmp_path,
        json.dumps(dict(zip(model.axes, block, strict=True))),
    )
    assert result.returncode == 0, result.stderr
    with load_model(source, engine="onnxruntime") as opened:
        ours = opened.predict(image, tile=block)
    for output in model.outputs:
        found, expected = np.load(tmp_path / f"{output.name}.npy"), getattr(ours, output.name)
        inside = tuple(slice(h * k, (n - h) * k) for h, n, k in zip(model.halo, shape, output.scale, strict=True))
        assert expected[inside].size > 0
        assert np.abs(found[inside] - expected[inside]).max() < 1e-3 * np.ptp(expected), output.name


@pytest.mark.parametrize("name", NAMES)
def test_the_runtime_reproduces_the_test_tensors(packages, name, tmp_path):
    folder = packages[name]
    if folder.suffix == ".zip":
        shutil.unpack_archive(folder, tmp_path)
        folder = tmp_path
    test = np.load(folder / "test_noisy.npy")
    axes = read_package(folder).axes
    sample = read_image(folder / "sample_noisy.tif")
    assert sample.axes == axes.upper()
    np.testing.assert_array_equal(sample.data, test[0, 0])
    with load_model(folder, engine="onnxruntime") as model:
        result = model.predict(test[0, 0])
    for output in model.description.outputs:
        expected = np.load(folder / f"test_{output.name}.npy")[0, 0]
        inside = tuple(
            slice(h * k, n - h * k)
            for h, k, n in zip(model.description.halo, output.scale, expected.shape, strict=True)
        )
        assert np.abs(getattr(result, output.name)[inside] - expected[inside]).max() < 1e-3 * np.ptp(expected)
        fine = read_image(folder / f"sample_{output.name}.tif")
        np.testing.assert_array_equal(fine.data, expected)
        if sample.voxel.x_um:
            assert (fine.voxel.y_um, fine.voxel.x_um) == pytest.approx([sample.voxel.x_um / output.scale[-1]] * 2)


@pytest.mark.parametrize("name", NAMES)
def test_the_page_and_the_cover(packages, name, tmp_path):
    folder = packages[name]
    if folder.suffix == ".zip":
        shutil.unpack_archive(folder, tmp_path)
        folder = tmp_path
    page = (folder / "README.md").read_text()
    assert "\n# Validation\n" in page
    for row in [*read_package(folder).facts["trained_on"].values(), *read_package(folder).facts["validation"].values()]:
        assert row in page
    image = iio.imread(folder / "cover.png")
    assert image.shape[1] == 2 * image.shape[0]
    assert image.std() > 10
    assert (folder / "cover.png").stat().st_size < 500_000


@pytest.mark.parametrize("shape", [(64, 64), (65, 300), (256, 256), (300, 70), (7, 90, 81)])
@pytest.mark.parametrize("grid_factor", [1, 2])
def test_a_cover_is_twice_as_wide_as_high(shape, grid_factor):
    raw = np.random.default_rng(0).random(shape)
    image = cover(raw, raw, raw.repeat(grid_factor, -1).repeat(grid_factor, -2))
    assert image.shape[1] == 2 * image.shape[0]
    assert 64 <= image.shape[0] <= 256
