import shutil
import zipfile

import pytest
import yaml

from zsd_runtime import InputError, load_model
from zsd_runtime.package import read_package


def changed(package, tmp_path, change):
    copy = tmp_path / "copy"
    shutil.copytree(package, copy)
    rdf = yaml.safe_load((copy / "rdf.yaml").read_text())
    change(rdf)
    (copy / "rdf.yaml").write_text(yaml.safe_dump(rdf))
    return copy


def test_what_the_runtime_reads(package):
    d = read_package(package)
    assert (d.axes, d.step) == ("yx", (4, 4))
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
    "output": (_set("outputs", 0, "id", value="mask"), "mask"),
    "one output": (lambda rdf: rdf["outputs"].pop(), "outputs are"),
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
    with pytest.raises(InputError, match="garbles"):
        read_package(copy)
