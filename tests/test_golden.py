"""Numbers stay what they were: trainings, exports and commands of tests/golden, and files that older versions wrote."""

import json
import shutil
from pathlib import Path

import pytest
import tifffile

from tests.golden import cases
from tests.golden.cases import COMMANDS, GOLDEN, TRAININGS
from zsd_runtime import InputError, load_model
from zsd_train import load_run
from zsd_train.run import SCHEMA

EXPECTED = json.loads(GOLDEN.read_text("utf-8"))
OLD = Path(__file__).parent / "fixtures" / "schema-1"
# Adam divides by the gradient's size: what processors round in their own way grows over 30 steps.
TOLERANCE = {"rel": 0.05, "abs": 2e-3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("golden")
    cases.images(made)
    cases.trained(made, "2d-poisson")
    return made


def assert_alike(found, expected):
    assert found["moments"].keys() == expected["moments"].keys()
    for name, numbers in expected["moments"].items():
        assert found["moments"][name] == pytest.approx(numbers, **TOLERANCE), name


@pytest.mark.parametrize("name", TRAININGS)
def test_weights(name, folder):
    if name != "2d-poisson":
        cases.trained(folder, name)
    assert_alike(cases.weights(folder / name), EXPECTED["weights"][name])


def test_an_export(folder):
    found, expected = cases.exported(folder, "2d-poisson", "package"), EXPECTED["exports"]["2d-poisson"]
    assert_alike(found, expected)
    rdf, wanted = json.loads(json.dumps(found["rdf"])), expected["rdf"]
    for description in (rdf, wanted):  # measured on this machine
        description["config"].pop("bioimageio")
        for key in ("halo_error", "halo", "validation", "schema", "trained_on", "intensities", "camera"):
            description["config"]["zsd"].pop(key, None)
        for tensor in (*description["inputs"], *description["outputs"]):
            tensor.pop("preprocessing", None), tensor.pop("postprocessing", None)
            for axis in tensor["axes"]:
                axis.pop("halo", None), axis.pop("size", None)
    assert rdf == wanted


@pytest.mark.parametrize("name", [n for n in COMMANDS if not n.startswith(("export", "convert", "predict", "licence"))])
def test_commands(name, folder):
    """Exit status and last line, but for numbers."""
    status, last = EXPECTED["commands"][name]
    done = cases.zsd(folder, *COMMANDS[name])
    found = (done.stderr if done.returncode else done.stdout).strip().splitlines()[-1]
    if name == "evaluate another size":
        cases.zsd(folder, *COMMANDS["simulate"])
        done = cases.zsd(folder, *COMMANDS[name])
        found = done.stderr.strip().splitlines()[-1]
    assert (done.returncode, _words(found)) == (status, _words(last))


def _words(line):
    return "".join(c for c in line if not c.isdigit())


@pytest.mark.parametrize("kind", ["plane", "volume"])
def test_a_package_of_schema_1_predicts_the_same(kind):
    expected = json.loads((OLD / "expected.json").read_text())[kind]["predicted"]
    with load_model(OLD / f"{kind}.zip", engine="onnxruntime") as model:
        result = model.predict(tifffile.imread(OLD / f"{kind}.tif"))
    for name, (mean, std, one) in expected.items():
        values = getattr(result, name)
        found = [float(values.mean()), float(values.std()), float(values.reshape(-1)[values.size // 3])]
        assert found == pytest.approx([mean, std, one], rel=1e-3, abs=1e-3 * std)


@pytest.mark.parametrize(("kind", "scheme"), [("plane", "recorrupt"), ("volume", "odd-even")])
def test_a_run_of_schema_1_loads_resumes_and_exports(kind, scheme, tmp_path):
    shutil.copytree(OLD / f"{kind}-run", tmp_path / "run")
    shutil.copy(OLD / f"{kind}.tif", tmp_path)
    run = load_run(tmp_path / "run")
    assert (run.config.scheme.kind, run.config.network.grid_factor, run.measured.steps) == (scheme, 2, 20)
    assert run.measured.flux_deficit is not None
    if kind == "plane":
        assert (run.config.scheme.noise, run.config.scheme.alpha) == ("gaussian", (0.6, 1.2))
    else:
        assert run.config.scheme.gap_weight == 0.5
    psf = "1.3" if kind == "plane" else "1.2x1.1"
    done = cases.zsd(tmp_path, "train", f"{kind}.tif", "--psf-sigma", psf, "--out", "run", "--steps", "40", "--resume")
    assert done.returncode == 0, done.stderr
    assert_alike(cases.weights(tmp_path / "run"), json.loads((OLD / "expected.json").read_text())[kind]["resumed"])
    assert f"schema = {SCHEMA}\n" in (tmp_path / "run" / "config.toml").read_text()
    assert cases.zsd(tmp_path, "export", "run", "model.zip").returncode == 0


@pytest.mark.parametrize("schema", ["99", "0", "true", "'2'"])
def test_a_run_of_another_schema_is_refused(schema, tmp_path):
    shutil.copytree(OLD / "plane-run", tmp_path / "run")
    text = (tmp_path / "run" / "config.toml").read_text()
    (tmp_path / "run" / "config.toml").write_text(f"schema = {schema}\n" + text)
    with pytest.raises(InputError, match=rf"is a run of schema .*up to {SCHEMA}.*update zsd"):
        load_run(tmp_path / "run")


def test_the_referee_can_fail(folder):
    """Other numbers are found out."""
    other = json.loads(json.dumps(EXPECTED["weights"]["2d-poisson"]))
    name = next(iter(other["moments"]))
    other["moments"][name][1] *= 1.2
    with pytest.raises(AssertionError):
        assert_alike(cases.weights(folder / "2d-poisson"), other)
