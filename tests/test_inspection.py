import json
import shutil

import pytest
import yaml

from tests.test_imports import zsd_without_torch
from zsd_runtime.engine_choice import CANDIDATES
from zsd_runtime.inspection import describe, engines
from zsd_runtime.package import read_package

NAMES = ["2D zoo", "2D deepimagej", "3D zoo", "3D deepimagej"]


@pytest.mark.parametrize("name", NAMES)
def test_the_page_says_what_the_package_says(packages, name):
    result = zsd_without_torch("inspect", str(packages[name]))
    assert result.returncode == 0, result.stderr
    model = read_package(packages[name])
    halo = "x".join(map(str, model.halo))
    expected = [
        model.name, model.rdf["format_version"], model.axes.upper(), f"{halo} pixels", "TRAINED ON", "VALIDATION",
        f"{len(model.weights) / 1e6:.1f} MB", "camera counts above the offset", "(counts - ", model.precision,
        "onnxruntime on cpu", *model.facts["trained_on"].values(), *model.facts["validation"].values(),
    ]  # fmt: skip
    assert [text for text in expected if text not in result.stdout] == []
    assert max(map(len, result.stdout.splitlines())) < 400


def test_pixel_sizes_follow_the_grid(package):
    sections = describe(read_package(package))
    assert sections["input"]["pixel size"] == "62.6 nm"
    assert "pixels of 31.3 nm" in sections["outputs"]["deconvolved"]


def test_json(packages):
    result = zsd_without_torch("inspect", str(packages["2D deepimagej"]), "--json")
    found = json.loads(result.stdout)
    assert found["model"]["licence"] == "CC-BY-4.0"
    assert found["model"]["authors"] == "Ada Lovelace, Ro"
    assert [(e["engine"], e["device"]) for e in found["engines"]] == list(CANDIDATES)
    reasons = {(e["engine"], e["device"]): e["reason"] for e in found["engines"]}
    assert reasons["onnxruntime", "cpu"] is None


def test_an_engine_that_is_missing_says_why(package, monkeypatch):
    monkeypatch.setattr("zsd_runtime.engine_choice.cuda_driver", lambda: None)
    tried = {(t.engine, t.device): t.reason for t in engines(read_package(package))}
    assert "needs an NVIDIA GPU and its driver" in tried["tensorrt", "cuda"]
    assert tried["onnxruntime", "cpu"] == ""


def test_a_package_that_says_little_is_inspected(package, tmp_path):
    shutil.copytree(package, tmp_path / "bare")
    rdf = yaml.safe_load((package / "rdf.yaml").read_text())
    del rdf["config"], rdf["authors"]
    (tmp_path / "bare" / "rdf.yaml").write_text(yaml.safe_dump(rdf))
    sections = describe(read_package(tmp_path / "bare"))
    assert sections["trained on"] == {"images": "the package does not say"}
    assert sections["input"]["pixel size"] == "not known"
    assert "the same for every image" in sections["input"]["normalisation"]
    assert "stated, not measured" in sections["input"]["halo"]


def test_what_is_no_package(tmp_path):
    result = zsd_without_torch("inspect", str(tmp_path))
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
