"""Packages in both formats, 2D and 3D, in bioimageio.core; what refuses to be written, and what is replaced."""

import json
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import onnx
import pytest
import yaml

from tests.command import zsd
from tests.conftest import CREDITS
from zsd_export import convert, export
from zsd_export.bioimageio import cover
from zsd_optics.pictures import continued
from zsd_runtime import InputError, load_model
from zsd_runtime.archive import read_member
from zsd_runtime.files import written_whole
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


NAMES = ["2D zoo", "2D deepimagej", "3D zoo", "3D deepimagej"]


@pytest.mark.parametrize("name", ["2D deepimagej", "3D deepimagej"])
def test_both_formats_say_the_same(packages, name):
    old, new = read_package(packages[name]), read_package(packages[name.replace("deepimagej", "zoo")])
    assert old.weights == new.weights
    for field in ("name", "axes", "size_multiple", "halo", "pixel_size_um", "input"):
        assert getattr(old, field) == getattr(new, field), field
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


def test_a_package_keeps_what_its_source_says(packages, tmp_path):
    again = convert(packages["2D deepimagej"], tmp_path / "again", tags=["more"])
    rdf = read_package(again).rdf
    assert rdf["format_version"] == "0.5.4"
    assert rdf["license"] == "CC-BY-4.0"
    assert [author["name"] for author in rdf["authors"]] == ["Ada Lovelace", "Ro"]
    assert {"test", "more"} <= set(rdf["tags"])
    assert not {"fiji", "deepimagej"} & set(rdf["tags"])


def test_no_author_and_no_licence_are_said_not_invented(package, tmp_path):
    told: list[str] = []
    made = convert(package, tmp_path / "a", format="deepimagej", notice=told.append)
    assert [word in " ".join(told) for word in ("--author", "--licence", "zoo will ask")] == [True] * 3
    assert read_package(made).rdf["license"] == "NOASSERTION"
    assert "license" not in read_package(package).rdf
    told.clear()
    convert(made, tmp_path / "b", notice=told.append)
    assert len(told) == 2
    assert "license" not in read_package(tmp_path / "b").rdf
    convert(made, tmp_path / "c", notice=told.append, **CREDITS)
    assert len(told) == 2


REFUSED = {
    "short name": ({"name": "cell"}, "zoo refuses the name 'cell'"),
    "long name": ({"name": "x" * 129}, "5 to 128"),
    "slash": ({"name": "cells/actin"}, "'cells/actin'"),
    "spaces": ({"name": "      "}, "refuses"),
    "licence": ({"licence": "CC-BY-4"}, r"'CC-BY-4' is no SPDX identifier .* did you mean .*CC-BY-4.0"),
    "no licence at all": ({"licence": "ask me"}, "is no SPDX identifier"),
    "author": ({"authors": ["; Institute"]}, "has no name"),
    "format": ({"format": "0.6"}, "must be one of zoo, deepimagej"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_zoo_refuses_is_refused(package, run_folder, case, tmp_path):
    options, message = REFUSED[case]
    for write, source in ((convert, package), (export, run_folder)):
        with pytest.raises(InputError, match=message) as error:
            write(source, tmp_path / "never", **options)
        assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_graphs_of_counts_are_not_for_deepimagej(run_folder, tmp_path):
    with pytest.raises(InputError, match="--input float32"):
        export(run_folder, tmp_path / "never", format="deepimagej", input="uint16")
    counts = export(run_folder, tmp_path / "counts", input="uint16")
    with pytest.raises(InputError, match="uint16 counts: export the run with"):
        convert(counts, tmp_path / "never", format="deepimagej")
    assert read_package(convert(counts, tmp_path / "b.zip")).input.dtype == "uint16"
    assert not (tmp_path / "never").exists()


def test_overwriting(package, tmp_path):
    folder, archive = tmp_path / "cell", tmp_path / "cell.zip"
    for place in (folder, archive):
        convert(package, place, name="first")
        with pytest.raises(InputError, match=r"exists already: .*--overwrite"):
            convert(package, place, name="second")
        assert read_package(place).name == "first"
        (folder / "engines").mkdir(exist_ok=True)  # of the old graph
        convert(package, place, name="second", overwrite=True)
        assert read_package(place).name == "second"
    assert not (folder / "engines" / "x").exists()
    convert(folder, folder, name="third", overwrite=True)  # onto itself
    assert read_package(folder).name == "third"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cell", "cell.zip"]


def _places(folder: Path, package: Path) -> dict[str, tuple[Path, str]]:
    (folder / "images").mkdir()
    (folder / "images" / "cell.tif").write_text("precious")
    shutil.copytree(package, folder / "mixed")
    (folder / "mixed" / "my notes.txt").write_text("precious")
    (folder / "images.zip").write_text("precious")
    (folder / "notes.txt").write_text("precious")
    (folder / "folder.zip").mkdir()
    shutil.copytree(package, folder / "kept")
    (folder / "link").symlink_to(folder / "kept")
    return {
        "a folder of images": (folder / "images", "it is no package .*holds no rdf"),
        "a package with notes in it": (folder / "mixed", "it holds 'my notes.txt'"),
        "another zip": (folder / "images.zip", "it is no package .*not a readable zip"),
        "a text file": (folder / "notes.txt", "it is a file that is no zip"),
        "a folder called zip": (folder / "folder.zip", "it is a folder, and a zip was asked for"),
        "a link": (folder / "link", "it is a link"),
    }


def test_only_packages_are_overwritten(package, tmp_path):
    places = _places(tmp_path, package)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for place, message in places.values():
        with pytest.raises(InputError, match=f"is left alone: {message}"):
            convert(package, place, overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_replacement_that_fails_leaves_what_was_there(package, tmp_path, monkeypatch):
    place = convert(package, tmp_path / "cell", name="first")
    monkeypatch.setattr("zsd_export.bioimageio.readme", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        convert(package, place, name="second", overwrite=True)
    assert read_package(place).name == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["cell"]


def test_a_folder_that_cannot_take_its_place_puts_the_old_one_back(tmp_path, monkeypatch):
    place = tmp_path / "there"
    place.mkdir()
    (place / "old").write_text("")
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp":
            raise OSError("a virus scanner holds it")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(InputError, match="virus scanner"), written_whole(place) as temporary:
        temporary.mkdir()
    assert [path.name for path in tmp_path.rglob("*")] == ["there", "old"]


def test_a_source_that_zsd_did_not_write(package, tmp_path):
    shutil.copytree(package, tmp_path / "other")
    rdf = yaml.safe_load((package / "rdf.yaml").read_text())
    del rdf["config"]["zsd"]
    (tmp_path / "other" / "rdf.yaml").write_text(yaml.safe_dump(rdf))
    with pytest.raises(InputError, match="does not say 'origin', which zsd writes"):
        convert(tmp_path / "other", tmp_path / "never")
    shutil.copytree(package, tmp_path / "cut")
    (tmp_path / "cut" / "test_noisy.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match="its test tensor cannot be read"):
        convert(tmp_path / "cut", tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_the_command(package, tmp_path):
    result = zsd("export", package, tmp_path / "a.zip", "--format", "deepimagej")
    assert (result.returncode, result.stdout[:3]) == (0, "OK ")
    assert result.stderr.count("warning: ") == 2
    result = zsd("export", package, tmp_path / "a.zip", "--overwrite", "--quiet")
    assert (result.returncode, result.stdout[:3], result.stderr) == (0, "OK ", "")
    assert read_package(tmp_path / "a.zip").rdf["format_version"] == "0.5.4"
    result = zsd("export", package, tmp_path / "b", "--precision", "fp16")
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {package} is a package, whose graph stays as it is: leave --precision out")
    result = zsd("export", tmp_path / "nothing", tmp_path / "b")
    assert result.returncode == 2
    assert "is not a run" in result.stderr


def test_reduced_graphs_reach_deepimagej(run_folder, tmp_path):
    made = export(run_folder, tmp_path / "half", format="deepimagej", precision="fp16", **CREDITS)
    again = read_package(convert(made, tmp_path / "zoo"))
    assert again.precision == "fp16"
    assert again.facts["precision_loss_db"].keys() == {"denoised", "deconvolved"}
    assert onnx.load_from_string(again.weights).ir_version == 8
