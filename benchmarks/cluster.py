"""A volume of 16 GB through two workers of dask: their peak memory, and their speed against one worker.

The volume is virtual: four shards of noise, and links to them for all others, so that it takes no disk and yet each of
its shards is read and decoded. The network is a single convolution, so that reading, blending, compressing and writing
are what is measured; or --package. Results are uint16. Each worker is bound to one core. Memory is the resident memory
of a worker's process, looked at ten times a second. For the speed a smaller volume is restored in turns by one worker
and by two, and medians are compared. Nothing else should run. 16 GB take 17 GB of disk for the results.

    python benchmarks/cluster.py [--gb 16] [--memory 0.5] [--speed-gb 1] [--rounds 3] [--package PACKAGE]
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from statistics import median

import distributed
import numpy as np
import onnx
import psutil
import yaml
from onnx import TensorProto, helper, numpy_helper

from zsd_runtime.images import Image, Voxel
from zsd_runtime.images.ome_zarr_shards import Sharded, begin, describe, shard_file

SIDE = 4096  # of a plane
SPEED_SIDE = 512
DEPTH = 8  # slices of a shard, by which volumes are extended
SHARDS = 4  # that differ
RESULTS = Path(__file__).parent / "results" / "cluster.json"
MOST_GB, LEAST_SCALING = 1.5, 1.7  # what is wanted


def stand_in() -> bytes:
    """denoised = a 3 × 3 × 3 mean."""
    kernel = numpy_helper.from_array(np.full((1, 1, 3, 3, 3), 1 / 27, np.float32), "kernel")
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 1, "z", "y", "x"]) for n in ("noisy", "denoised")]
    node = helper.make_node("Conv", ["noisy", "kernel"], ["denoised"], pads=[1] * 6)
    graph = helper.make_graph([node], "stand-in", ends[:1], ends[1:], [kernel])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def write_package(folder: Path) -> Path:
    """The stand-in as a package: what the runtime reads of one."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(stand_in())
    leading = [{"type": "batch"}, {"type": "channel", "id": "channel", "channel_names": ["signal"]}]
    axes = [{"type": "space", "id": a, "size": {"min": 16, "step": 1}} for a in "zyx"]
    result = [{"type": "space", "id": a, "size": {"tensor_id": "noisy", "axis_id": a}, "halo": 4} for a in "zyx"]
    rdf = {
        "type": "model", "format_version": "0.5.3", "name": "stand-in",
        "inputs": [{"id": "noisy", "axes": [*leading, *axes], "data": {"type": "float32"}, "preprocessing": [
            {"id": "scale_linear", "kwargs": {"gain": 0.02, "offset": -2.0}}]}],
        "outputs": [{"id": "denoised", "axes": [*leading, *result], "data": {"type": "float32"}, "postprocessing": [
            {"id": "scale_linear", "kwargs": {"gain": 50.0, "offset": 100.0}}]}],
        "weights": {"onnx": {"source": "model.onnx", "opset_version": 17}},
        "config": {"zsd": {"schema": 1, "bytes_per_voxel": 40.0}},
    }  # fmt: skip
    (folder / "rdf.yaml").write_text(yaml.safe_dump(rdf))
    return folder


def make_volume(path: Path, gb: float, side: int) -> float:
    """Its size, GB."""
    depth = max(1, round(gb * 1e9 / 2 / side**2 / DEPTH)) * DEPTH
    image = Image(np.broadcast_to(np.zeros((), np.uint16), (depth, side, side)), "ZYX", Voxel(0.3, 0.1, 0.1))
    begin(path, image, (1, 1, 1))
    target, random = Sharded(path, image), np.random.default_rng(0)
    size = target.shards
    counts = [n // s for n, s in zip(target.shape, size, strict=True)]
    for number, index in enumerate(product(*map(range, counts))):
        if number < SHARDS:
            box = tuple(slice(i * s, (i + 1) * s) for i, s in zip(index, size, strict=True))
            light = 100 + 60 * (1 + np.sin(np.arange(size[-1]) / (9 + number)))
            target[box] = random.poisson(light, size).astype(np.uint16)
            continue
        link = path / shard_file(index)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.hardlink_to(path / shard_file(tuple(np.unravel_index(number % SHARDS, counts))))
    describe(path, image, {})
    return float(depth * side**2 * 2 / 1e9)


@contextmanager
def workers(count: int) -> Iterator[tuple[str, list[int]]]:
    """The address of a scheduler, and the processes of its workers, each bound to a core."""
    with (
        distributed.LocalCluster(
            n_workers=count, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0, silence_logs=40
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        pids = list(client.run(os.getpid).values())
        for core, pid in enumerate(pids):
            psutil.Process(pid).cpu_affinity([core % (os.cpu_count() or 1)])
        yield cluster.scheduler_address, pids


class Peaks:
    """The most resident memory of each of some processes, bytes, while this is open."""

    def __init__(self, pids: list[int]) -> None:
        self.peaks = dict.fromkeys(pids, 0)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peaks":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            for pid in self.peaks:
                self.peaks[pid] = max(self.peaks[pid], psutil.Process(pid).memory_info().rss)


def predict(package: Path, source: Path, out: Path, address: str, options: list[str]) -> tuple[float, int]:
    """Seconds from the first region to the whole result, the pyramid among it; and the number of regions."""
    shutil.rmtree(out, ignore_errors=True)
    command = [
        sys.executable, "-c", "from zsd import main; main()", "predict", str(package), str(source), "--out", str(out),
        "--device", "cpu", "--engine", "onnxruntime", "--dtype", "uint16", "--cluster", address, *options,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    begun = out / f".{source.stem}.parts" / "job.json"
    while not begun.exists() and process.poll() is None:
        time.sleep(0.01)
    started = time.perf_counter()
    said = process.communicate()[0]
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(said)
    return seconds, int(re.search(r"of (\d+) regions", said)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=16, help="0: only the speed")
    parser.add_argument("--memory", type=float, default=0.5, help="of a worker, GB, for zsd predict")
    parser.add_argument("--speed-gb", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=3, help="0: only the memory")
    parser.add_argument("--tile", default="40x264x264", help="for the speed: the same for one and two workers")
    parser.add_argument("--package", type=Path)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        work = Path(name)
        package = options.package or write_package(work / "package")
        found: dict[str, object] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        found |= {
            "machine": platform.processor() or platform.machine(), "cores": os.cpu_count(),
            "package": options.package.name if options.package else "stand-in",
        }  # fmt: skip
        memory = ["--memory", f"{options.memory:g}"]
        if options.rounds:
            gb = make_volume(work / "part.zarr", options.speed_gb, SPEED_SIDE)
            times: dict[int, list[float]] = {1: [], 2: []}
            for turn in range(options.rounds):
                for count in (1, 2) if turn % 2 == 0 else (2, 1):
                    with workers(count) as (address, _):
                        seconds, regions = predict(
                            package, work / "part.zarr", work / "out", address, [*memory, "--tile", options.tile]
                        )
                    times[count].append(seconds)
                    print(f"{gb:.2f} GB, {count} workers: {seconds:.1f} s, {regions} regions", flush=True)
            scaling = median(times[1]) / median(times[2])
            found["speed"] = {"gigabytes": gb, "seconds": times, "scaling": scaling, "wanted": LEAST_SCALING}
            print(f"scaling {scaling:.2f}", flush=True)
        if options.gb:
            gb = make_volume(work / "volume.zarr", options.gb, SIDE)
            with workers(2) as (address, pids), Peaks(pids) as watched:
                seconds, regions = predict(package, work / "volume.zarr", work / "out", address, memory)
            peaks = [peak / 1e9 for peak in watched.peaks.values()]
            found["memory"] = {
                "gigabytes": gb, "regions": regions, "seconds": seconds, "peak_resident_gb": peaks, "wanted": MOST_GB,
            }  # fmt: skip
            print(f"{gb:.1f} GB: peaks {', '.join(f'{p:.2f}' for p in peaks)} GB, {seconds:.0f} s", flush=True)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
