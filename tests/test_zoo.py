"""The model zoo: its models, their cards and recipes, what stands for them on the command line, and a remake."""

import json
import re
import shutil
import tomllib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from tests.command import zsd
from tests.jdll import problems
from tests.test_bioimageio import python
from tests.test_no_torch import PROGRAM
from zsd_export import convert
from zsd_export.comparison.methods import methods_from
from zsd_export.graph.precision import quantized
from zsd_export.measure.loss import LARGEST_LOSS_DB
from zsd_export.zoo.images import on_grid, simulated
from zsd_export.zoo.make import SCORES, beyond_tolerance, make
from zsd_export.zoo.recipe import Exposure, Recipe, StartRecipe, read_recipe, recipe_from
from zsd_optics.metrics import evaluate
from zsd_runtime import InputError, load_model
from zsd_runtime.archive import read_member
from zsd_runtime.engines import run_once
from zsd_runtime.engines.cache import engines_folder, user_cache
from zsd_runtime.engines.onnxruntime import OnnxRuntime
from zsd_runtime.images import Image, Voxel, write_image
from zsd_runtime.package import read_package
from zsd_runtime.sim.reconstruction import reconstruct
from zsd_runtime.zoo import CARD, PACKAGE, RECIPE, WEIGHTS, copy, entries, entry_of, package_path

FOLDER = Path(__file__).parent.parent / "model_zoo"
MODELS = [name for name, entry in entries().items() if entry.kind == "model"]
LARGEST = 5_000_000  # bytes of a package
BOAST = re.compile(r"(\d+\.\d) dB")
# All packages in one process: its import takes seconds.
TESTS = """
import sys
from bioimageio.core import test_model
from bioimageio.spec import load_description
for path in sys.argv[1:]:
    summary = test_model(path)
    print(path, summary.status, "" if summary.status == "passed" else summary.details)
"""


@pytest.fixture(scope="module")
def recipes():
    return {name: read_recipe(entry.path(RECIPE)) for name, entry in entries().items()}


@pytest.fixture(scope="module")
def tiny():
    """A model of few pixels and steps."""
    values = tomllib.loads(entry_of("microtubules-2d").path(RECIPE).read_text())
    values["simulate"]["size"] = [96, 96]
    values["train_on"] = [{"photons": 60, "seed": 8}, {"photons": 200, "seed": 2}]
    values["held_out"] = [{"photons": 60, "seed": 102, "size": [64, 80]}]
    network = {"width": 4, "depth": 2, "head": 8, "coarse": False}
    values["train"] = {"steps": 2, "patch": 32, "batch": 1, "network": network}
    values["export"]["test_size"] = [64, 64]
    del values["scores"]
    return values


def test_every_model_has_its_files_and_no_other():
    assert {path.name for path in FOLDER.iterdir() if path.is_dir() and path.name[0] not in "._"} == set(entries())
    for name, entry in entries().items():
        files = {path.name for path in (FOLDER / name).iterdir()}
        assert files == {entry.content, CARD, RECIPE}, name
        assert entry.path(entry.content).stat().st_size < LARGEST, name
    assert {"microtubules-2d", "lattice-3d", "sim-2d", "deconoising-2d", "start-2d"} <= set(entries())


def test_wheels_carry_the_zoo():
    patterns = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    carried = {path for pattern in patterns["model_zoo"] for path in FOLDER.glob(pattern)}
    assert carried >= {FOLDER / "index.toml", *(FOLDER / name / entry.content for name, entry in entries().items())}


@pytest.mark.parametrize("name", entries())
def test_a_card_says_what_the_recipe_recorded(name, recipes):
    card, recipe = entry_of(name).path(CARD).read_text(), recipes[name]
    for heading in ("What for.", "What not for.", "What", "How", "Licence.", "Reproducible?"):
        assert f"**{heading}" in card, heading
    assert "CC0-1.0" in card
    if isinstance(recipe, StartRecipe):
        return
    recorded = {
        f"{getattr(score, field):.1f}"
        for score in recipe.scores
        for field in ("denoised", "best_filter", "deconvolved", "best_richardson_lucy")
    }
    assert recorded <= set(BOAST.findall(card)), "a score is missing in the card"
    simulate = recipe.simulate
    for text in (f"NA {simulate.na:g}", f"{simulate.wavelength_nm:g} nm", f"gain {simulate.gain:g}",
                 f"offset {simulate.offset:g}", f"{1000 * simulate.pixel_size_um:g} nm", f"zoo:{name}"):  # fmt: skip
        assert text in card, text
    worse = [s for s in recipe.scores if s.denoised <= s.best_filter or s.deconvolved <= s.best_richardson_lucy]
    assert not worse or "worse than" in "\n".join(card.splitlines()[:8])


@pytest.mark.parametrize("name", MODELS)
def test_recipes_record_a_score_for_each_held_out_image(name, recipes):
    recipe = recipes[name]
    assert [score.photons for score in recipe.scores] == [exposure.photons for exposure in recipe.held_out]
    assert recipe.made_on


@pytest.mark.parametrize("name", MODELS)
def test_a_model_reproduces_its_test_tensors(name):
    package = entry_of(name).path(PACKAGE)
    with load_model(f"zoo:{name}", "cpu", engine="onnxruntime") as model:
        description = model.description
        result = model.predict(np.load(BytesIO(read_member(package, description.test_tensor)))[0, 0])
    for output in description.outputs:
        expected = np.load(BytesIO(read_member(package, f"test_{output.name}.npy")))[0, 0]
        inside = tuple(
            slice(h * k, n - h * k) for h, k, n in zip(description.halo, output.scale, expected.shape, strict=True)
        )
        assert expected[inside].size
        assert np.abs(result[output.name][inside] - expected[inside]).max() < 1e-3 * np.ptp(expected)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_ready_for_the_collection(name, tmp_path, recipes):
    missing: list[str] = []
    folder = convert(f"zoo:{name}", tmp_path / "again", notice=missing.append)
    assert missing == []
    rdf = read_package(folder).rdf
    assert rdf["authors"] == [{"name": "The zsd authors"}]
    assert rdf["license"] == recipes[name].export.licence == "CC0-1.0"
    assert set(recipes[name].export.tags) <= set(rdf["tags"])
    assert rdf["cite"]
    assert (folder / "cover.png").stat().st_size < 500_000
    page = (folder / "README.md").read_text()
    for score in recipes[name].scores:
        assert f"denoised {score.denoised:.1f} dB (best classical filter, {score.filter}: " in page


@pytest.mark.parametrize("name", MODELS)
def test_a_model_passes_the_rules_of_deepimagej(name, tmp_path):
    shutil.unpack_archive(convert(f"zoo:{name}", tmp_path / "fiji.zip", format="deepimagej"), tmp_path / "fiji")
    assert problems(tmp_path / "fiji") == []


def test_bioimageio_accepts_and_reproduces_all_models():
    paths = [str(entry_of(name).path(PACKAGE)) for name in MODELS]
    result = python(TESTS, *paths)
    lines = result.stdout.splitlines()
    assert [line.strip() for line in lines if ".zip passed" in line] == [f"{path} passed" for path in paths], (
        result.stdout + result.stderr
    )


@pytest.mark.parametrize("name", MODELS)
def test_a_model_loses_little_in_eight_bits(name, recipes):
    """On a small image that took no part in the training, against the truth."""
    recipe, size = recipes[name], (64, 96) if len(recipes[name].axes) == 2 else (16, 48, 64)
    image = simulated(recipe, recipe.held_out[0].model_copy(update={"size": size}))
    description = read_package(f"zoo:{name}")
    noisy = reconstruct(image.noisy, description.sim) if description.sim else image.noisy
    scales = [output.scale for output in description.outputs]
    batch = description.input.processing.fit([noisy])(noisy)[None, None].astype(np.float32)
    scores = []
    for graph in (description.weights, quantized(description.weights, batch[0, 0])):
        engine = OnnxRuntime(graph)
        images = [values[0, 0] for values in run_once(engine, batch, scales)]
        engine.close()
        truths = (image.clean, on_grid(image.truth, images[1].shape))
        scores.append([evaluate(*pair).psnr for pair in zip(images, truths, strict=True)])
    assert (np.subtract(*scores) <= LARGEST_LOSS_DB["int8"]).all(), scores


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("zoo:microtubule", r"no 'microtubule': did you mean microtubules-2d\? zsd zoo list shows all"),
        ("zoo:", "the model zoo has no '': zsd zoo list shows all"),
        ("zoo:../start-2d", "the model zoo has no"),
        ("zoo:start-2d", "zoo:start-2d is no model, but weights that a training starts from: train on your image"),
    ],
)
def test_other_names_are_refused(name, said):
    for reads in (package_path, load_model, read_package):
        with pytest.raises(InputError, match=said):
            reads(name)


def test_list_show_and_get(tmp_path):
    listed = zsd("zoo", "list")
    rows = json.loads(zsd("zoo", "list", "--json").stdout)
    assert [row["name"] for row in rows] == [*entries()]
    assert all(name in listed.stdout for name in entries())
    assert zsd("zoo", "show", "zoo:sim-2d").stdout == entry_of("sim-2d").path(CARD).read_text()
    for name, file in (("sim-2d", "sim.zip"), ("start-2d", "start.safetensors")):
        assert zsd("zoo", "get", name, tmp_path / file).stdout == f"OK {tmp_path / file} written\n"
        assert (tmp_path / file).read_bytes() == entry_of(name).path(entry_of(name).content).read_bytes()
    for name, file, said in (
        ("sim-2d", "sim.zip", "exists already"), ("sim-2d", "sim.safetensors", "must end in .zip"),
        ("nim-2d", "x.zip", "did you mean sim-2d?"),
    ):  # fmt: skip
        failed = zsd("zoo", "get", name, tmp_path / file)
        assert (failed.returncode, said in failed.stderr) == (2, True), failed.stderr
    assert zsd("zoo", "make", "--help").returncode == 0


def test_a_copy_is_whole_or_not_there(tmp_path, monkeypatch):
    def full(_, target):
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(InputError, match="No space left"):
        copy(entry_of("sim-2d"), tmp_path / "sim.zip")
    assert [*tmp_path.iterdir()] == []


def test_the_zoo_needs_no_torch(tmp_path, recipes):
    image = simulated(recipes["microtubules-2d"], Exposure(photons=50, seed=7, size=(48, 64)))
    write_image(tmp_path / "cells.tif", Image(image.noisy, "YX", Voxel.square(0.065)))
    model = "zoo:microtubules-2d"
    lines = [
        ["zoo", "list"], ["zoo", "show", "start-2d"], ["zoo", "get", "microtubules-2d", "copy.zip"], ["inspect", model],
        ["predict", model, "cells.tif", "--out", "out", "--device", "cpu"],
        ["watch", model, ".", "--out", "w", "--once"],
    ]  # fmt: skip
    result = python(f"import os; os.chdir({str(tmp_path)!r})\n{PROGRAM}", json.dumps(lines))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "cells_deconvolved.tif").exists()
    made = json.dumps([["zoo", "make", "start-2d", "--out", "x"]])
    assert "zsd zoo needs" in python(PROGRAM, made).stderr


def test_other_doors_take_a_name(tmp_path):
    (method,) = methods_from(["zoo:microtubules-2d:average=4"], psf_given=False)
    assert (method.kind, method.what, method.settings) == ("package", "zoo:microtubules-2d", {"average": 4})
    assert method.name == "zoo-microtubules-2d_average-4"
    with pytest.raises(InputError, match="did you mean sim-2d"):
        methods_from(["zoo:sim-2"], psf_given=False)
    exported = zsd("export", "zoo:microtubules-2d", tmp_path / "fiji.zip", "--format", "deepimagej")
    assert exported.returncode == 0, exported.stderr
    assert engines_folder(Path("zoo:sim-2d")) == user_cache() / "zoo-sim-2d"  # not where zsd is installed


SCORE = {
    "photons": 60, "denoised": 30, "best_filter": 29, "filter": "Gaussian", "deconvolved": 25,
    "best_richardson_lucy": 24, "iterations": 9,
}  # fmt: skip
WRONG = [
    ("unknown key", lambda r: r["simulate"].update(magnification=60), r"simulate.magnification: Extra inputs"),
    ("kind", lambda r: r["simulate"].update(kind="4d"), "simulate.kind"),
    ("sheet in a plane", lambda r: r["simulate"].update(sheet_um=1.0), "sheet_um is for kind 3d, and kind is 2d"),
    ("size", lambda r: r["simulate"].update(size=[8, 96, 96]), "size must have 2 numbers"),
    ("photons", lambda r: r["train_on"][0].update(photons=0), r"train_on.0.photons: Input should be greater than 0"),
    ("no image", lambda r: r.update(train_on=[]), "train_on"),
    ("minutes", lambda r: r["train"].update(minutes=6), "train.minutes is not for recipes"),
    ("no steps", lambda r: r["train"].pop("steps"), "train.steps is missing"),
    ("training", lambda r: r["train"].update(stepps=6), "unknown key 'stepps'.*did you mean 'steps'"),
    ("seen before", lambda r: r["held_out"][0].update(seed=8), "an image of held_out has the seed of one of train_on"),
    ("no author", lambda r: r["export"].update(authors=[]), "export.authors"),
    ("scores", lambda r: r.update(scores=[SCORE, SCORE]), "2 scores are not one for each of 1 held_out"),
    ("schema", lambda r: r.update(schema=2), "has schema 2; this zsd reads schema 1"),
]


@pytest.mark.parametrize(("change", "said"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_wrong_recipes_are_refused(tiny, change, said):
    values = json.loads(json.dumps(tiny))
    change(values)
    with pytest.raises(InputError, match=said):
        recipe_from(values)


def test_a_recipe_that_is_no_toml(tmp_path):
    (tmp_path / "recipe.toml").write_text("schema = ")
    for path, said in ((tmp_path / "recipe.toml", "not readable TOML"), (tmp_path / "none.toml", "No such file")):
        failed = zsd("zoo", "make", path, "--out", tmp_path / "out")
        assert (failed.returncode, said in failed.stderr) == (2, True), failed.stderr


def test_a_remake(tiny, tmp_path, monkeypatch):
    """A few steps only: the files, the scores beside recorded ones, and what is refused."""
    monkeypatch.setitem(LARGEST_LOSS_DB, "int8", 9.0)  # two steps do not make a network that bears it
    scores = [SCORE | {"denoised": 50.0}]
    (tmp_path / "recipe.toml").write_text(tomli_w.dumps(tiny | {"scores": scores}))
    made = zsd("zoo", "make", tmp_path / "recipe.toml", "--out", tmp_path / "out")
    assert made.returncode == 1, made.stderr
    assert re.search(r"denoised, 60 photons +\d\d\.\d\d dB +50\.00 dB", made.stdout)
    assert "another model than the recorded one: denoised differs by -" in made.stderr
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {PACKAGE, SCORES, "held_out_1.png", "run"}
    recipe = recipe_from(tiny | tomllib.loads((tmp_path / "out" / SCORES).read_text()))
    assert isinstance(recipe, Recipe)
    assert beyond_tolerance(recipe, recipe.scores) == []
    description = read_package(tmp_path / "out" / PACKAGE)
    assert description.name == tiny["export"]["name"]
    assert description.camera.offset == tiny["simulate"]["offset"]
    test = np.load(BytesIO(read_member(tmp_path / "out" / PACKAGE, description.test_tensor)))
    assert max(test.shape) < 96  # that of the images; not below what its halo leaves something of
    again = zsd("zoo", "make", tmp_path / "recipe.toml", "--out", tmp_path / "out")
    assert (again.returncode, "exists already" in again.stderr) == (2, True)


def test_a_making_that_fails_leaves_nothing(tiny, tmp_path):
    values = json.loads(json.dumps(tiny))
    values["train"]["patch"] = 128  # larger than the images
    with pytest.raises(InputError, match="patch"):
        make(recipe_from(values), tmp_path / "out")
    assert [*tmp_path.iterdir()] == []


def test_starting_weights_are_made_from_a_recipe_too(tmp_path, monkeypatch):
    from tests.test_pretrain import SMALL
    from zsd_train import pretrain

    monkeypatch.setattr(pretrain, "WORLDS", SMALL)
    scores = [{"noise_db": 0, "blur_db": 90}]
    recipe = recipe_from({"schema": 1, "pretrain": {"axes": "yx", "steps": 2}, "scores": scores})
    measured = make(recipe, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {WEIGHTS, SCORES}
    assert any("blur differs by -" in text for text in beyond_tolerance(recipe, measured))


@pytest.mark.slow
def test_the_smallest_model_is_made_again(recipes, tmp_path):
    name = min(MODELS, key=lambda model: entry_of(model).path(PACKAGE).stat().st_size)
    measured = make(recipes[name], tmp_path / "out")
    assert beyond_tolerance(recipes[name], measured) == []
