"""Packages from packages: credits kept and given, what is refused, what is replaced, packages of schema 1."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

from tests.command import zsd
from tests.conftest import CREDITS
from tests.jdll import problems
from zsd_export import Credits, convert, export
from zsd_runtime import InputError, load_model
from zsd_runtime.files import written_whole
from zsd_runtime.images import read_image
from zsd_runtime.package import read_package

FIXTURES = Path(__file__).parent / "fixtures" / "schema-1"


@pytest.mark.parametrize("name", ["plane", "volume"])
def test_a_package_of_schema_1_is_converted_and_predicts_the_same(name, tmp_path):
    """`expected.json` has the mean, the standard deviation and the median of what today's predecessor predicted."""
    source = FIXTURES / f"{name}.zip"
    assert "schema" not in read_package(source).facts
    made = convert(source, tmp_path / "fiji.zip", format="deepimagej")
    assert read_package(made).facts["schema"] == 2  # older versions read all but movies
    shutil.unpack_archive(made, tmp_path / "fiji")
    assert problems(tmp_path / "fiji") == []
    image = read_image(FIXTURES / f"{name}.tif").data
    expected = json.loads((FIXTURES / "expected.json").read_text())[name]["predicted"]
    with load_model(source, "cpu") as old, load_model(made, "cpu") as new:
        before, after = old.predict(image), new.predict(image)
    for output, numbers in expected.items():
        np.testing.assert_allclose(after[output], before[output], rtol=1e-5, atol=1e-4)
        assert [np.mean(before[output]), np.std(before[output])] == pytest.approx(numbers[:2], rel=1e-3)


def test_a_package_keeps_what_its_source_says(packages, tmp_path):
    again = convert(packages["2D deepimagej"], tmp_path / "again", credits=Credits(tags=["more"]))
    rdf = read_package(again).rdf
    assert rdf["format_version"] == "0.5.4"
    assert rdf["license"] == "CC-BY-4.0"
    assert [author["name"] for author in rdf["authors"]] == ["Ada Lovelace", "Ro"]
    assert {"test", "more"} <= set(rdf["tags"])
    assert not {"fiji", "deepimagej"} & set(rdf["tags"])


def test_no_author_and_no_licence_are_said_not_invented(package, tmp_path):
    told: list[str] = []
    made = convert(package, tmp_path / "a", format="deepimagej", notice=told.append)
    assert [word in " ".join(told) for word in ("`authors`", "`licence`", "zoo asks")] == [True] * 3
    assert read_package(made).rdf["license"] == "NOASSERTION"
    assert "license" not in read_package(package).rdf
    told.clear()
    convert(made, tmp_path / "b", notice=told.append)
    assert len(told) == 2
    assert "license" not in read_package(tmp_path / "b").rdf
    convert(made, tmp_path / "c", notice=told.append, credits=CREDITS)
    assert len(told) == 2


REFUSED = {
    "short name": ({"credits": Credits(name="cell")}, "zoo refuses the name 'cell'"),
    "long name": ({"credits": Credits(name="x" * 129)}, "5 to 128"),
    "slash": ({"credits": Credits(name="cells/actin")}, "'cells/actin'"),
    "spaces": ({"credits": Credits(name="      ")}, "refuses"),
    "licence": (
        {"credits": Credits(licence="CC-BY-4")},
        r"'CC-BY-4' is no SPDX identifier .* did you mean .*CC-BY-4.0",
    ),
    "no licence at all": ({"credits": Credits(licence="ask me")}, "is no SPDX identifier"),
    "author": ({"credits": Credits(authors=["; Institute"])}, "has no name"),
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
    with pytest.raises(InputError, match="`input` float32"):
        export(run_folder, tmp_path / "never", format="deepimagej", input="uint16")
    counts = export(run_folder, tmp_path / "counts", input="uint16")
    with pytest.raises(InputError, match="uint16 counts: export the run with"):
        convert(counts, tmp_path / "never", format="deepimagej")
    assert read_package(convert(counts, tmp_path / "b.zip")).input.dtype == "uint16"
    assert not (tmp_path / "never").exists()


def test_overwriting(package, tmp_path):
    folder, archive = tmp_path / "cell", tmp_path / "cell.zip"
    for place in (folder, archive):
        convert(package, place, credits=Credits("first"))
        with pytest.raises(InputError, match=r"exists already: .*`overwrite`"):
            convert(package, place, credits=Credits("second"))
        assert read_package(place).name == "first"
        (folder / "engines").mkdir(exist_ok=True)  # of the old graph
        convert(package, place, credits=Credits("second"), overwrite=True)
        assert read_package(place).name == "second"
    assert not (folder / "engines" / "x").exists()
    convert(folder, folder, credits=Credits("third"), overwrite=True)  # onto itself
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
    place = convert(package, tmp_path / "cell", credits=Credits("first"))
    monkeypatch.setattr("zsd_export.package.write.readme", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        convert(package, place, credits=Credits("second"), overwrite=True)
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
    made = export(run_folder, tmp_path / "half", format="deepimagej", precision="fp16", credits=CREDITS)
    again = read_package(convert(made, tmp_path / "zoo"))
    assert again.precision == "fp16"
    assert again.facts["precision_loss_db"].keys() == {"denoised", "deconvolved"}
    assert onnx.load_from_string(again.weights).ir_version == 8
