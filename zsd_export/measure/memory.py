"""The memory that a prediction takes, measured in its own process, so that nothing else allocates meanwhile."""

import subprocess
import sys

from zsd_runtime.errors import size_text

# Three runs: ONNX Runtime may change its plan for a shape after the first.
_PROGRAM = """
import sys
import numpy, psutil
from zsd_runtime.engines import run_once
from zsd_runtime.engines.onnxruntime import OnnxRuntime
from zsd_runtime.memory import peak_memory

shape, *scales = (tuple(map(int, text.split("x"))) for text in sys.argv[2:])
engine = OnnxRuntime(sys.stdin.buffer.read())
tile = numpy.zeros((1, int(sys.argv[1]), *shape), engine.input_dtype)
before = psutil.Process().memory_info().rss
with peak_memory(interval_s=0.001) as peak:
    for _ in range(3):
        run_once(engine, tile, scales)
print((peak[0] - before) / tile[0, 0].size)
"""
# Tiles of 2 and 3 axes, so large that memory which does not grow with the tile is negligible.
TILES = {2: (256, 256), 3: (16, 64, 64)}


def bytes_per_voxel(onnx: bytes, scales: list[tuple[int, ...]], channels: int = 1) -> float:
    """Peak memory of a prediction by ONNX Runtime on the CPU, in bytes for each input voxel of a tile."""
    shapes = [TILES[len(scales[0])], *scales]
    command = [sys.executable, "-c", _PROGRAM, str(channels), *(size_text(shape) for shape in shapes)]
    result = subprocess.run(command, input=onnx, capture_output=True, check=False)
    if result.returncode:
        raise RuntimeError(f"the memory of a prediction cannot be measured: {result.stderr.decode().splitlines()[-1]}")
    return round(float(result.stdout))
