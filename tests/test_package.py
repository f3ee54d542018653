import shutil
import zipfile

import pytest
import yaml

from zsd_runtime import InputError, load_model
from zsd_runtime.package import SCHEMA, read_package


def changed(package, tmp_path, change):
    copy = tmp_path / "copy"
    shutil.copytree(package, copy)
    rdf = yaml.safe_load((copy / "rdf.yaml").read_text())
    change(rdf)
    (copy / "rdf.yaml").write_text(yaml.safe_dump(rdf))
    return copy


def test_what_the_runtime_reads(package):
    d = read_package(package)
    assert (d.axes, d.size_multiple) == ("yx", (4, 4))
    assert d.halo[0] % 4 == 0
    assert [(o.name, o.scale) for o in d.outputs] == [("denoised", (1, 1)), ("deconvolved", (2, 2))]
    assert read_package(package / "rdf.yaml") == d


def _set(*path, value):
    def change(rdf):
        for key in path[:-1]:
            rdf = rdf[key]
        rdf[path[-1]] = value

    return change


BAD = {
    "opset": (_set("weights", "onnx", "opset_version", value=99), "opset is 99"),
    "no onnx": (_set("weights", value={"keras_hdf5": {}}), "no onnx"),
    "newer": (_set("config", "zsd", "schema", value=SCHEMA + 1), f"schema is {SCHEMA + 1}.*: update zsd"),
    "no outputs": (_set("outputs", value=[]), "no outputs"),
    "a path as a name": (_set("outputs", 0, "id", value="../mask"), "cannot be part of a file's name"),
    "the same name twice": (_set("outputs", 0, "id", value="Deconvolved"), "each needs a name of its own"),
    "no channels": (_set("inputs", 0, "axes", 1, "channel_names", value=[]), "has 0 channels"),
    "format": (_set("format_version", value="0.3.2"), "0.3.2"),
    "type": (_set("type", value="dataset"), "dataset"),
    "climbs out": (_set("weights", "onnx", "source", value="../../etc/passwd"), "leads out"),
    "drive": (_set("weights", "onnx", "source", value="C:/secret"), "leads out"),
    "absolute": (_set("weights", "onnx", "source", value="/etc/passwd"), "leads out"),
    "no file": (_set("weights", "onnx", "source", value="other.onnx"), "holds no other.onnx"),
    "preprocessing": (_set("inputs", 0, "preprocessing", 0, "id", value="sigmoid"), "sigmoid"),
    "half scale": (_set("outputs", 1, "axes", 2, "scale", value=0.4), "2.5 times"),
    "no inputs": (lambda rdf: rdf.pop("inputs"), "inputs"),
    "axes": (_set("inputs", 0, "axes", 2, "id", value="q"), "'qx'"),
}


@pytest.mark.parametrize("name", BAD)
def test_descriptions_that_do_not_fit_are_told(package, tmp_path, name):
    change, message = BAD[name]
    with pytest.raises(InputError, match=message):
        read_package(changed(package, tmp_path, change))


def test_outputs_that_the_graph_lacks(package, tmp_path):
    swapped = changed(package, tmp_path, lambda rdf: None)
    rdf = (swapped / "rdf.yaml").read_text()
    import onnx

    model = onnx.load(swapped / "model.onnx")
    model.graph.output[0].name, model.graph.node[-1].output[0] = "other", model.graph.node[-1].output[0]
    for node in model.graph.node:
        node.output[:] = ["other" if o == "denoised" else o for o in node.output]
        node.input[:] = ["other" if i == "denoised" else i for i in node.input]
    onnx.save(model, swapped / "model.onnx")
    assert "denoised" in rdf
    with pytest.raises(InputError, match="network's outputs are \\['other'"):
        load_model(swapped)


def _deflated(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_zip_bombs_are_told_with_their_sizes(package, tmp_path):
    with pytest.raises(InputError, match=r"rdf.yaml would unpack from 0.\d+ MB to 5 MB; .* at most 4.19 MB"):
        read_package(_deflated(tmp_path / "a.zip", {"rdf.yaml": b" " * 5_000_000}))
    members = {"rdf.yaml": (package / "rdf.yaml").read_bytes(), "model.onnx": bytes(100_000_000)}
    with pytest.raises(InputError, match=r"model.onnx would unpack from 0.0\d+ MB to 100 MB; .* 100 times") as error:
        read_package(_deflated(tmp_path / "b.zip", members))
    assert "\n" not in str(error.value)


def test_yaml_bombs_are_told(package, tmp_path):
    levels = [f"  l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9) if i else '1'}]" for i in range(30)]
    for key in ("type", "format_version", "name"):
        rdf = yaml.safe_load((package / "rdf.yaml").read_text())
        rdf[key] = "BOMB"
        text = "bomb:\n" + "\n".join(levels) + "\n" + yaml.safe_dump(rdf).replace("BOMB", "*l29")
        copy = tmp_path / key
        shutil.copytree(package, copy)
        (copy / "rdf.yaml").write_text(text)
        with pytest.raises(InputError, match="a list in place of a text is missing or malformed"):
            read_package(copy)
    copy = tmp_path / "deep"
    shutil.copytree(package, copy)
    (copy / "rdf.yaml").write_text("[" * 100_000)
    with pytest.raises(InputError):
        read_package(copy)


def _old(*path, value):
    return _set("inputs", 0, *path, value=value)


OLD = {  # descriptions 0.4 that zsd does not run
    "axes": (_old("axes", value="byxc"), "behind"),
    "few numbers": (_old("shape", "step", value=[4, 4]), "must have 4 numbers, for bcyx"),
    "offset": (_set("outputs", 0, "shape", "offset", value=[0, 0, -8, -8]), "without an offset"),
    "fixed output": (_set("outputs", 0, "shape", value=[1, 1, 64, 64]), "must follow the input's"),
    "other tensor": (_set("outputs", 1, "shape", "reference_tensor", value="raw"), "must follow the input's"),
    "coarser": (_set("outputs", 1, "shape", "scale", value=[1, 1, 0.5, 0.5]), "0.5 times as fine"),
    "per dataset": (
        _old("preprocessing", value=[{"name": "scale_range", "kwargs": {"mode": "per_dataset"}}]),
        "asks for",
    ),
    "clip": (_old("preprocessing", value=[{"name": "clip", "kwargs": {"min": 0, "max": 1}}]), "asks for 'clip'"),
}


@pytest.mark.parametrize("name", OLD)
def test_old_descriptions_that_do_not_fit_are_told(packages, tmp_path, name):
    change, message = OLD[name]
    shutil.unpack_archive(packages["2D deepimagej"], tmp_path / "package")
    with pytest.raises(InputError, match=message):
        read_package(changed(tmp_path / "package", tmp_path, change))


@pytest.mark.parametrize("halo", [None, [0, 0, 8, 8]])
def test_the_halo_of_an_old_description_is_in_output_pixels(packages, tmp_path, halo):
    shutil.unpack_archive(packages["2D deepimagej"], tmp_path / "package")
    copy = changed(tmp_path / "package", tmp_path, lambda rdf: rdf["outputs"][0].pop("halo"))
    rdf = yaml.safe_load((copy / "rdf.yaml").read_text())
    rdf["outputs"][1]["halo"] = halo
    (copy / "rdf.yaml").write_text(yaml.safe_dump(rdf))
    assert read_package(copy).halo == ((4, 4) if halo else (0, 0))


def test_damaged_packages_are_told(package, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_package(tmp_path / "none.zip")
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(InputError, match="not a readable zip"):
        read_package(tmp_path / "bad.zip")
    with pytest.raises(InputError, match="holds no rdf"):
        read_package(tmp_path)
    with zipfile.ZipFile(tmp_path / "climb.zip", "w") as archive:
        archive.writestr("../rdf.yaml", "type: model")
    with pytest.raises(InputError, match="leads out of the package"):
        read_package(tmp_path / "climb.zip")
    copy = tmp_path / "copy"
    shutil.copytree(package, copy)
    (copy / "model.onnx").write_bytes((copy / "model.onnx").read_bytes()[:5000])
    with pytest.raises(InputError, match="cannot load the model"):
        load_model(copy)
    (copy / "rdf.yaml").write_text("type: [model")
    with pytest.raises(InputError, match="not valid YAML"):
        read_package(copy)
    (copy / "rdf.yaml").write_text("just text")
    with pytest.raises(InputError, match="is missing or malformed"):
        read_package(copy)
