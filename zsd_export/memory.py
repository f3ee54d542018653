"""What a prediction costs in memory, measured in a process of its own, where nothing else comes and goes."""

import subprocess
import sys

# A second run of one shape costs more than the first: ONNX Runtime then plans its memory in one piece.
_PROGRAM = """
import sys, threading
import numpy, psutil
from zsd_runtime.engines import run_once
from zsd_runtime.engines.onnxruntime import OnnxRuntime

side, upsample = int(sys.argv[1]), int(sys.argv[2])
resident = lambda: psutil.Process().memory_info().rss
engine = OnnxRuntime(sys.stdin.buffer.read())
tile = numpy.zeros((1, 1, side, side), engine.input_dtype)
peak = before = resident()
done = threading.Event()

def watch():
    global peak
    while not done.wait(0.001):
        peak = max(peak, resident())

watcher = threading.Thread(target=watch)
watcher.start()
for _ in range(3):
    run_once(engine, tile, [(1, 1), (upsample, upsample)])
peak = max(peak, resident())
done.set()
watcher.join()
print((peak - before) / tile.size)
"""
SIDE = 256  # pixels of the tile; what does not grow with it is small against what does


def bytes_per_voxel(onnx: bytes, upsample: int) -> float:
    """Peak memory (bytes) of a prediction by ONNX Runtime on the CPU, for each input voxel of a tile."""
    command = [sys.executable, "-c", _PROGRAM, str(SIDE), str(upsample)]
    result = subprocess.run(command, input=onnx, capture_output=True, check=False)
    if result.returncode:
        raise RuntimeError(f"the memory of a prediction cannot be measured: {result.stderr.decode().splitlines()[-1]}")
    return round(float(result.stdout))
