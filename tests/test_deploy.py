"""The files of deploy/ and .github/ say what this version of zsd says: versions, extras, libraries, options."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.command import zsd

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
MODULE = DEPLOY / "workflows" / "nf-core" / "zsd" / "restore"
DATA = DEPLOY / "workflows" / "test-data"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
YAML = sorted(path for folder in (DEPLOY, ROOT / ".github") for path in folder.rglob("*.y*ml"))
# Where a file names the version of zsd: in these words, at least once.
VERSIONED = {
    "Dockerfile": r"-t zsd:([\w.]+)",
    "conda/recipe.yaml": r"version: \"(.+)\"",
    "workflows/snakemake/environment.yaml": r"zsd\[.+\]==(.+)",
    "workflows/nf-core/zsd/restore/environment.yml": r"zsd\[.+\]==(.+)",
    "workflows/nf-core/zsd/restore/main.nf": r"container \"zsd:(.+)\"",
}


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_yaml_can_be_read(path):
    assert isinstance(yaml.safe_load(path.read_text("utf-8")), dict)


@pytest.mark.parametrize("name", VERSIONED)
def test_versions(name):
    found = re.findall(VERSIONED[name], (DEPLOY / name).read_text("utf-8"))
    assert found
    assert {version.removesuffix("-gpu") for version in found} == {PROJECT["version"]}


@pytest.mark.parametrize("name", ["Dockerfile", "zsd.def"])
def test_containers_install_extras_that_exist_and_fit(name):
    lines = re.findall(r"EXTRAS=([\w,]+)", (DEPLOY / name).read_text("utf-8"))
    assert len(lines) == 2  # the default, and the one for GPUs
    for extras in (line.split(",") for line in lines):
        assert set(extras) <= set(PROJECT["optional-dependencies"])
        assert not {"gpu", "export"} <= set(extras)


def test_containers_are_given_every_package():
    packages = {path.parent.name for path in ROOT.glob("zsd_*/__init__.py")} | {"model_zoo", "zsd.py"}
    definition = (DEPLOY / "zsd.def").read_text("utf-8")
    assert packages <= set(re.findall(r"^    (\S+) /source/\1$", definition, re.MULTILINE))
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert {"!zsd_*", "!model_zoo", "!zsd.py"} <= set(kept)


def test_the_conda_package_has_the_libraries_of_prediction():
    recipe = yaml.safe_load((DEPLOY / "conda" / "recipe.yaml").read_text("utf-8"))
    (engine,) = (line for line in PROJECT["optional-dependencies"]["cpu"] if line.startswith("onnxruntime"))
    wanted = {f"python{PROJECT['requires-python']}", engine, *PROJECT["dependencies"]}
    assert {line.replace(" ", "") for line in recipe["requirements"]["run"]} == wanted


def test_workflows_use_options_that_zsd_restore_has():
    known = set(re.findall(r"--[\w-]+", zsd("restore", "--help").stdout))
    rules = DEPLOY / "workflows" / "snakemake"
    for path in (MODULE / "main.nf", MODULE / "tests" / "nextflow.config", rules / "Snakefile", rules / "config.yaml"):
        lines = [line for line in path.read_text("utf-8").splitlines() if "snakemake --" not in line]
        used = set(re.findall(r"--[a-z][\w-]*", "\n".join(lines).replace("zsd --version", "")))
        assert used, path
        assert used <= known, path


def test_the_test_data_is_an_image_with_its_psf():
    seen = json.loads(zsd("info", DATA / "images" / "noisy.tif", "--json").stdout)
    assert seen["shape"] == [64, 64]
    assert zsd("info", DATA / "psf.tif").returncode == 0
    assert sum(path.stat().st_size for path in DATA.rglob("*.tif")) < 50_000


def test_paths_to_the_test_data_exist():
    files = [*ROOT.glob(".github/workflows/*.yml"), *MODULE.rglob("*.nf.test")]
    named = [name for path in files for name in re.findall(r"test-data/([\w./]+)", path.read_text("utf-8"))]
    assert len(named) >= 6
    assert [name for name in named if not (DATA / name).exists()] == []


def module_script(**values):
    """The script of the nf-core module as Nextflow fills it in."""
    text = re.search(r'script:.*?"""\n(.*?)"""', (MODULE / "main.nf").read_text("utf-8"), re.DOTALL)[1]
    for name, value in values.items():
        text = text.replace(f"${{{name.replace('_of_', '.')}}}", str(value))
    return re.sub(r"^ {4}", "", text, flags=re.MULTILINE).replace(r"\$", "$")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Nextflow runs scripts in bash")
def test_the_script_of_the_module_makes_its_outputs(tmp_path):
    command = tmp_path / "bin" / "zsd"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "import zsd; zsd.main()" "$@"\n')
    command.chmod(0o755)
    script = module_script(
        image=DATA / "images" / "noisy.tif", psf_option=f"--psf '{DATA / 'psf.tif'}'", prefix="a cell",
        args="--steps 10", task_of_cpus=1, task_of_process="ZSD_RESTORE",
    )  # fmt: skip
    assert "${" not in script
    path = {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env={**os.environ, **path}, check=True)
    for pattern in ("a cell/*_denoised.tif", "a cell/*_deconvolved.tif", "a cell/model.zip", "a cell/run"):
        assert len(list(tmp_path.glob(pattern))) == 1, pattern
    versions = yaml.safe_load((tmp_path / "versions.yml").read_text())
    assert list(versions) == ["ZSD_RESTORE"]
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", str(versions["ZSD_RESTORE"]["zsd"]))
