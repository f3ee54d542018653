"""The runtime runs where torch is not installed."""

import subprocess
import sys

BLOCKED = ("torch", "zsd_train", "zsd_export", "lightning_fabric", "onnx", "scipy", "skimage", "bioimageio")
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
    assert result.stdout.strip() == "0.1.0"


def test_a_missing_extra_is_told_as_its_install_line():
    result = zsd_without_torch("train", "x.tif", "--out", "y")
    assert result.returncode == 2
    assert "pip install 'zsd[train]'" in result.stderr
