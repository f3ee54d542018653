"""The physics runs where torch is not installed, and importing it costs next to nothing."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.test_beads import GOOD, field
from tests.test_otf import OPTICS, radial_otf, steps_of, write_mrc
from zsd_runtime.images import Image, Voxel, write_image

# Not pydantic: typer itself imports it.
BLOCKED = ("torch", "lightning_fabric", "onnx", "zsd_train", "zsd_export")
# Runs command lines (a JSON list of lists) one after the other in one process without the blocked packages.
PROGRAM = f"""
import importlib.abc, json, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {BLOCKED}:
            raise ModuleNotFoundError(f'{{name}} is blocked', name=name)
sys.meta_path.insert(0, Block())
import zsd
for arguments in json.loads(sys.argv[1]):
    sys.argv = ['zsd', *arguments]
    try:
        zsd.main()
    except SystemExit as end:
        if end.code:
            sys.exit(f'{{arguments}} failed with status {{end.code}}')
"""
MICROSCOPE = ("--na", 1.1, "--wavelength", 525, "--refractive-index", 1.33)
VERBS = [
    ("simulate", "s", "--size", "96x112"),
    ("noise", "s/noisy.tif"),
    ("evaluate", "s/noisy.tif", "--truth", "s/clean.tif"),
    ("filter", "s/noisy.tif", "--kind", "richardson-lucy", "--psf-sigma", 1.2, "--out", "filtered"),
    ("damp", "s/noisy.tif", "damped.tif"),
    ("psf", "generate", "psf.tif", *MICROSCOPE, "--pixel-size", 0.05),
    ("psf", "show", "psf.tif", "psf.png"),
    ("psf", "from-otf", "otf.mrc", "from-otf.tif", "--pixel-size", 0.05),
    ("psf", "from-beads", "beads.tif", "from-beads.tif"),
]


def python(*arguments, cwd=None):
    return subprocess.run([sys.executable, "-c", *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_every_verb_of_optics_runs_without_torch(tmp_path):
    psf = OPTICS.psf((65, 65), (0.05,))
    write_mrc(tmp_path / "otf.mrc", radial_otf(psf)[None], steps_of(psf, (0.05,)))
    write_image(tmp_path / "beads.tif", Image(field(GOOD)[24].astype(np.float32), "YX", Voxel.square(0.06)))
    lines = [[str(part) for part in verb] for verb in VERBS]
    result = python(PROGRAM, json.dumps(lines), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert sum(line.startswith("OK ") for line in result.stdout.splitlines()) == len(VERBS)


@pytest.mark.parametrize(
    ("imported", "numpy_and_typer"),
    [("zsd_optics", False), ("zsd_optics.cli, zsd_optics.psf_cli, zsd_optics.filter_cli", True)],
)
def test_imports_are_lazy(imported, numpy_and_typer):
    """A verb imports what it needs when it runs: `zsd filter --help` does not wait for scipy."""
    result = python(f"import sys, {imported}; print(*{{name.partition('.')[0] for name in sys.modules}})")
    loaded = set(result.stdout.split())
    assert "zsd_optics" in loaded
    assert not {"scipy", "skimage", "psfmodels", "PIL", "zarr"} & loaded
    assert ({"numpy", "typer"} <= loaded) == numpy_and_typer
