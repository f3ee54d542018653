"""The runtime runs where torch is not installed."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tifffile

PLANES = Path(__file__).parent / "fixtures" / "schema-1" / "plane.zip"
BLOCKED = (
    "torch", "zsd_train", "zsd_export", "lightning_fabric", "onnx", "scipy", "skimage", "bioimageio", "pymmcore_plus",
    "useq",
)  # fmt: skip
PROGRAM = """
import importlib.abc, pkgutil, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in %r:
            raise ModuleNotFoundError(f'{name} is blocked', name=name)
sys.meta_path.insert(0, Block())
import zsd, zsd_runtime
for module in pkgutil.walk_packages(zsd_runtime.__path__, 'zsd_runtime.'):
    __import__(module.name)
sys.argv = ['zsd', *sys.argv[1:]]
zsd.main()
"""


def zsd_without_torch(*arguments):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM % (BLOCKED,), *arguments], capture_output=True, text=True, check=False
    )


def test_every_runtime_module_imports_without_torch():
    result = zsd_without_torch("--version")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == version("zsd")


def test_every_runtime_module_imports_without_the_web_libraries():
    program = PROGRAM % (("starlette", "uvicorn", "websockets"),)
    command = [sys.executable, "-c", program, "serve", "model.zip"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == "error: the page needs starlette: pip install 'zsd[live]'\n"


def test_a_missing_extra_gives_its_install_line():
    result = zsd_without_torch("train", "x.tif", "--out", "y")
    assert result.returncode == 2
    assert "pip install 'zsd[train]'" in result.stderr
    result = zsd_without_torch("live", str(PLANES))
    assert result.returncode == 2
    assert "pip install 'zsd[live]'" in result.stderr


LOADED = """
import sys
from importlib.metadata import version
try:
    exec(sys.argv.pop(1))
finally:
    print(*{name.partition('.')[0] for name in sys.modules})
"""


def loaded(program, *arguments):
    """The packages that a new process has loaded when it ends."""
    result = subprocess.run(
        [sys.executable, "-c", LOADED, program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return set(result.stdout.splitlines()[-1].split())


def test_a_start_loads_only_what_it_needs(package, tmp_path):
    """What is imported is nearly all of a start-up (docs/performance.md), and does not depend on the machine."""
    heavy = {"torch", "onnx", "scipy", "skimage", "pandas", "matplotlib", "zarr", "h5py", "tensorrt", "tensorrt_rtx"}
    engines = {"openvino", "onnxruntime"}
    assert "zsd_runtime" in (alone := loaded("import zsd_runtime"))
    assert not alone & (heavy | engines | {"typer"})
    image = tmp_path / "image.tif"
    tifffile.imwrite(image, np.random.default_rng(0).poisson(30, (64, 64)).astype(np.uint16))
    for engine in sorted(engines):
        arguments = ("predict", package, image, "--out", tmp_path / engine, "--engine", engine)
        prediction = loaded("import zsd; zsd.main()", *arguments)
        assert (tmp_path / engine / "image_denoised.tif").exists()
        assert prediction & (heavy | engines) == {engine}
