"""A volume larger than memory: peak resident memory, throughput against the same run in memory, SIGKILL half-way.

A one-layer 3D network with a 2 × output stands in for a real one, so that reading, blending, compressing and writing
are what is measured. From a memory-mapped TIFF of uint16 into two OME-Zarr of uint16, compressed. Each run is a process
of its own, and nothing else should run.

    python benchmarks/volume.py [--gb 4] [--work FOLDER]
    python benchmarks/volume.py --formats        (200 planes, TIFF to Zarr to TIFF, --memory 1; zsd damp)
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from zsd_runtime.engines.onnxruntime import OnnxRuntime
from zsd_runtime.images import Image, Voxel, create_image, open_image
from zsd_runtime.memory import peak_memory
from zsd_runtime.model import Model
from zsd_runtime.normalize import Linear
from zsd_runtime.package import ModelDescription
from zsd_runtime.tensors import TensorSpec

PLANE = (2048, 2048)
TILE = (34, 258, 258)  # the same for all runs
SCALE = (1, 2, 2)
MEMORY = 10**9  # bytes, where the tile is chosen from them


def stand_in() -> bytes:
    """denoised = a 3 × 3 × 3 mean; deconvolved = that, each pixel four times."""
    kernel = np.full((1, 1, 3, 3, 3), 1 / 27, np.float32)
    nodes = [
        helper.make_node("Conv", ["noisy", "kernel"], ["denoised"], pads=[1] * 6),
        helper.make_node("Resize", ["denoised", "", "scales"], ["deconvolved"], mode="nearest",
                         coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    ]  # fmt: skip
    constants = [
        numpy_helper.from_array(kernel, "kernel"),
        numpy_helper.from_array(np.array([1, 1, *SCALE], np.float32), "scales"),
    ]

    def tensor(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, None, None, None])

    graph = helper.make_graph(
        nodes, "stand-in", [tensor("noisy")], [*map(tensor, ("denoised", "deconvolved"))], constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def open_stand_in() -> Model:
    ones = (1, 1, 1)
    source = TensorSpec("noisy", 1, ones, "float32", Linear(1e-3))
    denoised = TensorSpec("denoised", 1, ones, "float32", Linear(1000))
    deconvolved = TensorSpec("deconvolved", 1, SCALE, "float32", Linear(1000))
    description = ModelDescription(
        "stand-in", "zyx", ones, ones, source, (denoised, deconvolved), stand_in(), bytes_per_voxel=40
    )
    return Model(description, OnnxRuntime(description.weights))


def make_volume(path: Path, gb: float) -> None:
    """Photons on structures, so that it compresses as camera images do."""
    depth = round(gb * 1e9 / 2 / PLANE[0] / PLANE[1])
    random = np.random.default_rng(0)
    y, x = np.ogrid[: PLANE[0], : PLANE[1]]
    planes = [random.poisson(100 + 60 * (1 + np.sin(x / (9 + k)) * np.sin(y / 13))).astype(np.uint16) for k in range(4)]
    image = Image(np.broadcast_to(np.zeros((), np.uint16), (depth, *PLANE)), "ZYX", Voxel(0.3, 0.1, 0.1))
    with create_image(path, image) as target:
        for z in range(depth):
            target[slice(z, z + 1), slice(0, PLANE[0]), slice(0, PLANE[1])] = planes[z % 4]


def restore(source: Path, out: Path, in_memory: bool, suffix: str, chosen: bool) -> None:
    """One run; prints what it measured."""
    image = open_image(source)
    with open_stand_in() as model, ExitStack() as files, peak_memory() as peak:
        shapes = model.output_shapes(image.data.shape)
        if in_memory:
            data, targets = np.array(image.data), [np.zeros(shape, np.uint16) for shape in shapes]
            for target in targets:
                target[...] = 1  # pages are there before the clock starts
        else:
            data, names = image.data, [out / f"{o.name}{suffix}" for o in model.description.outputs]
            targets = [
                files.enter_context(create_image(name, image.resized(shape, "uint16"), o.scale))
                for name, shape, o in zip(names, shapes, model.description.outputs, strict=True)
            ]
        started, cpu = time.perf_counter(), time.process_time()
        model.predict_into(data, targets, tile=None if chosen else TILE, memory=MEMORY)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    voxels = float(np.prod(image.data.shape))
    print(json.dumps({
        "gigabytes": voxels * image.data.dtype.itemsize / 1e9, "tile": None if chosen else TILE, "seconds": seconds,
        "cpu_seconds": cpu, "megavoxels_per_second": voxels / seconds / 1e6, "peak_resident_gb": peak[0] / 1e9,
    }))  # fmt: skip


def child(source: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, __file__, "--restore", str(source), "--work", str(out), *options]


def run(*arguments: object) -> dict[str, object]:
    return json.loads(subprocess.run(child(*arguments), check=True, capture_output=True, text=True).stdout)  # type: ignore[arg-type]


def killed(source: Path, out: Path, seconds: float) -> list[str]:
    """What lies in the folder after SIGKILL."""
    process = subprocess.Popen(child(source, out))
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return sorted(path.name for path in out.iterdir())


def formats(work: Path) -> dict[str, object]:
    """A 200 x 2048 x 2048 volume through each format, what comes out going in again; then its stripes damped."""
    make_volume(work / "noisy.tif", 200 * 2 * PLANE[0] * PLANE[1] / 1e9)
    results = {"tiff to zarr": run(work / "noisy.tif", work, "--chosen")}
    print(results, flush=True)
    results["zarr to tiff"] = run(work / "denoised.zarr", work, "--chosen", "--suffix", ".tif")
    print(results["zarr to tiff"], flush=True)
    for source, result in (("deconvolved.zarr", "damped.zarr"), ("deconvolved.tif", "damped.tif")):
        program = (
            "import sys, time; from zsd_optics.filter_cli import app; from zsd_runtime.memory import peak_memory\n"
            "with peak_memory() as peak:\n"
            "    started = time.perf_counter()\n"
            "    app(sys.argv[1:], standalone_mode=False)\n"
            "print(peak[0] / 1e9, time.perf_counter() - started)"
        )
        arguments = ["damp", str(work / source), str(work / result), "--stripes", "horizontal", "--quiet"]
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peak, seconds = map(float, done.stdout.splitlines()[-1].split())
        results[f"damp {source}"] = {"seconds": seconds, "peak_resident_gb": peak}
        print(source, results[f"damp {source}"], flush=True)
        for path in (work / source, work / result):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return results


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gb", type=float, default=4)
    parser.add_argument("--work", type=Path, default=Path("volume-benchmark"))
    parser.add_argument("--restore", type=Path)
    parser.add_argument("--in-memory", action="store_true")
    parser.add_argument("--chosen", action="store_true")
    parser.add_argument("--suffix", default=".zarr")
    parser.add_argument("--formats", action="store_true")
    arguments = parser.parse_args()
    work: Path = arguments.work
    if arguments.restore:
        restore(arguments.restore, work, arguments.in_memory, arguments.suffix, arguments.chosen)
        return
    work.mkdir(parents=True, exist_ok=True)
    path = Path(__file__).parent / "results" / "volume.json"
    results: dict[str, object] = json.loads(path.read_text())
    if arguments.formats:
        results["200 planes"] = formats(work)
        shutil.rmtree(work)
        path.write_text(json.dumps(results, indent=1) + "\n")
        return
    for name, gb in (("quarter", arguments.gb / 4), ("whole", arguments.gb)):
        make_volume(work / f"{name}.tif", gb)
        results[name] = run(work / f"{name}.tif", work)
        print(name, results[name], flush=True)
        for zarr in work.glob("*.zarr"):
            shutil.rmtree(zarr)
    results["quarter in memory"] = run(work / "quarter.tif", work, "--in-memory")
    print("quarter in memory", results["quarter in memory"], flush=True)
    after = work / "killed"
    after.mkdir()
    results["after SIGKILL"] = killed(work / "quarter.tif", after, float(results["quarter"]["seconds"]) / 2)  # type: ignore[index]
    print("after SIGKILL", results["after SIGKILL"])
    shutil.rmtree(work)
    path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
