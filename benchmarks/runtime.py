"""The runtime against a plain session, torch and MONAI on a CPU, in one process, round by round.

    python benchmarks/runtime.py [--large]        (--large: the 4096² tiling overhead, minutes; pip install monai first)
    python benchmarks/runtime.py --only rcan3d    (the published 3D network alone)
    python benchmarks/runtime.py --only batches   (tiles of 64² to 512² in batches of 1 to 16)

Networks have the published widths (and the compact ones) with random weights: speed does not depend on them.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime as ort
import torch

from zsd_export.graph.precision import quantized
from zsd_export.graph.to_onnx import to_onnx
from zsd_export.measure.halo import measure_halo
from zsd_runtime.engine_choice import open_engine
from zsd_runtime.engines import EngineMissing
from zsd_runtime.fitting import fitting_tile
from zsd_runtime.model import Model
from zsd_runtime.normalize import Linear
from zsd_runtime.package import ModelDescription
from zsd_runtime.tensors import TensorSpec
from zsd_runtime.tiling import plan
from zsd_train.config import PRESETS
from zsd_train.networks.dual_stage import DualStage, DualStageRCAN, DualStageUNet

ROUNDS = 7
PAUSE = 0.5  # seconds: threads that spin after their work would take the next one's cores
SIDE = 512
PATCH = (17, 80, 80)  # of the published 3D code: 13 x 64 x 64 with its margins of 2 and 8
MEMORY = 3 << 30  # bytes that a prediction may take where several sessions are held at once
BYTES_PER_VOXEL = {"reference": 4400, "compact": 1600}  # as export measures them
Runs = dict[str, Callable[[], object]]


def network_of(preset: str) -> DualStageUNet:
    torch.manual_seed(0)
    settings = PRESETS[preset, "yx"]["network"]
    return DualStageUNet(settings.width, settings.depth, settings.convs, settings.head).eval()


def described(preset: str, onnx: bytes, step: int, halo: int, precision: str = "fp32") -> ModelDescription:
    source = TensorSpec("noisy", 1, (1, 1), "float32", Linear(0.01, -1))
    outputs = tuple(
        TensorSpec(name, 1, (k, k), "float32", Linear(100)) for name, k in (("denoised", 1), ("deconvolved", 2))
    )
    return ModelDescription(
        preset, "yx", (step, step), (halo, halo), source, outputs, onnx, precision,
        bytes_per_voxel=BYTES_PER_VOXEL[preset],
    )  # fmt: skip


def packaged_as(precision: str) -> str:
    """What a package says that runs in `precision`: bf16 needs no graph of its own."""
    return "int8" if precision == "int8" else "fp32"


def seconds(runs: Runs, rounds: int = ROUNDS) -> dict[str, float]:
    """Median of each, taken in turns; the first round is warm-up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(rounds + 1):
        for name, run in runs.items():
            time.sleep(PAUSE)
            started = time.perf_counter()
            run()
            if round_:
                times[name].append(time.perf_counter() - started)
    return {name: median(t) for name, t in times.items()}


def rcan3d() -> dict[str, Any]:
    """The published RCAN3D (2.0 million parameters, global pooling) on one patch; as in `networks_alone`."""
    torch.manual_seed(0)
    network = DualStageRCAN(window=None).eval()
    print(f"RCAN3D on {PATCH}, {torch.get_num_threads()} threads", flush=True)
    onnx = to_onnx(network)
    graphs = [("onnxruntime", "fp32", onnx), ("openvino", "fp32", onnx), ("openvino", "bf16", onnx)]
    measured = networks_alone(onnx, network, PATCH, graphs, rounds=3)
    show(f"RCAN3D on {PATCH}", measured, "torch eager")
    return {"threads": torch.get_num_threads(), "patch": PATCH, **measured}


def batches() -> dict[str, Any]:
    """Pixels a second with batches of N tiles, relative to N = 1, for the compact network.

    Measured on two shared cores, the best N: ONNX Runtime gains 1.21 at 64², 1.12 at 96² and at most 1.06 from 128² on.
    OpenVINO, the engine that `auto` takes, loses at 64² and 96² (0.73 to 0.93) and gains at most 1.12, at 256². No N
    pays on both, so `Session` restores one tile at a time.
    """
    network = network_of("compact")
    onnx = to_onnx(network)
    found: dict[str, Any] = {}
    for name in ("openvino", "onnxruntime"):
        for side in (64, 96, 128, 192, 256, 384, 512):
            runs: Runs = {}
            for count in (1, 2, 4, 8, 16):
                if count * side**2 > 1_200_000:
                    continue
                engine = open_engine(described("compact", onnx, 1, 0), "cpu", name)
                batch = np.random.default_rng(0).random((count, 1, side, side), np.float32)
                outputs = [np.empty((count, 1, side * k, side * k), np.float32) for k in (1, 2)]
                engine.prepare(batch.shape, [output.shape for output in outputs])
                rounds = 1_200_000 // batch.size
                runs[str(count)] = lambda e=engine, b=batch, o=outputs, n=rounds: [e.run(b, o) for _ in range(n)]
            times = seconds(runs)
            speed = {n: 1_200_000 // (int(n) * side**2) * int(n) / t for n, t in times.items()}
            found[f"{name} {side}"] = {n: s / speed["1"] for n, s in speed.items()}
            print(name, side, found[f"{name} {side}"], flush=True)
    return found


def networks_alone(
    onnx: bytes, network: DualStage, size: tuple[int, ...], graphs: list[tuple[str, str, bytes]], rounds: int = ROUNDS
) -> dict[str, float]:
    """The network on one batch of `size`: engines (name, precision, graph), a plain session, torch."""
    batch = np.random.default_rng(0).random((1, 1, *size), np.float32)
    shapes = [(1, 1, *(n * k for n, k in zip(size, scale, strict=True))) for scale in network.scales]
    session = ort.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    tensor = torch.from_numpy(batch)

    def eager() -> object:
        with torch.inference_mode():
            return network(tensor)

    runs: Runs = {"plain InferenceSession": lambda: session.run(None, {"noisy": batch}), "torch eager": eager}
    outputs = [np.empty(shape, np.float32) for shape in shapes]
    for name, precision, graph in graphs:
        try:
            engine = open_engine(described("compact", graph, 1, 0, packaged_as(precision)), "cpu", name, precision)
        except EngineMissing as error:
            print(f"not run: {name} {precision}: {error}", file=sys.stderr)
            continue
        engine.prepare(batch.shape, shapes)
        runs[f"{name} {precision}"] = lambda engine=engine: engine.run(batch, outputs)
    return seconds(runs, rounds)


def predictions(preset: str, onnx: bytes, network: DualStageUNet, halo: int, side: int) -> dict[str, float]:
    """A whole image: predict, a plain session on all of it, and MONAI's sliding window over torch."""
    image = np.random.default_rng(0).poisson(150, (side, side)).astype(np.uint16)
    session = ort.InferenceSession(onnx, providers=["CPUExecutionProvider"])

    def plain() -> object:
        batch = image[None, None].astype(np.float32) * 0.01 - 1
        return [100 * output for output in session.run(None, {"noisy": batch})]

    runs: Runs = {"plain InferenceSession": plain}
    models = {}
    for name, precision in (("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")):
        description = described(preset, onnx, network.size_multiple[0], halo)
        models[name, precision] = Model(description, open_engine(description, "cpu", name, precision))
        runs[f"predict, {name} {precision}"] = lambda m=models[name, precision]: m.predict(image, memory=MEMORY)
    try:
        from monai.inferers import sliding_window_inference
    except ImportError:
        print("not run: MONAI (pip install monai)", file=sys.stderr)
    else:

        def monai() -> object:
            with torch.inference_mode():
                batch = torch.from_numpy(image[None, None].astype(np.float32) * 0.01 - 1)
                window = min(SIDE, side)
                return sliding_window_inference(batch, (window, window), 1, network, overlap=0.25, mode="gaussian")

        runs["MONAI sliding window, torch"] = monai
    return seconds(runs, rounds=3)


def tiling_overhead(preset: str, onnx: bytes, step: int, halo: int, side: int) -> dict[str, Any]:
    """What reading, normalising, blending and writing add to the network's own time, over the tiles that were chosen.

    `waiting` is what a prediction takes beyond its own calls of the network: nothing can drift in between. `overhead`
    also sees what the other threads take from those calls.

    The network's own time is that of its calls in a loop over ready batches of the same shape, half of them before
    the prediction and half after it, so that a machine that drifts does not decide.
    """
    image = np.random.default_rng(0).poisson(150, (side, side)).astype(np.uint16)
    description = described(preset, onnx, step, halo)
    with Model(description, open_engine(description, "cpu", "onnxruntime")) as model:
        model.predict(image[: side // 8, : side // 8])
        tile = fitting_tile(description, model.overlap, image.shape, (1, 1), None, device="cpu")
        planned = plan(image.shape, tile, description.halo, description.size_multiple)
        session = model.session(planned.tile)
        batch, outputs = session.batches[0], session.outputs[0]
        batch[:] = 0.5

        def alone() -> float:
            model.engine.run(batch, outputs)
            count = max(2, len(planned) // 2)
            started = time.perf_counter()
            for _ in range(count):
                model.engine.run(batch, outputs)
            return (time.perf_counter() - started) / count

        inside: list[float] = []
        run = model.engine.run

        def timed(batch: np.ndarray, outputs: list[np.ndarray]) -> None:
            started = time.perf_counter()
            run(batch, outputs)
            inside.append(time.perf_counter() - started)

        before = alone()
        model.engine.run = timed  # type: ignore[method-assign]
        started = time.perf_counter()
        model.predict(image, tile=tile)
        whole = time.perf_counter() - started
        model.engine.run = run  # type: ignore[method-assign]
        network = len(planned) * (before + alone()) / 2
    return {
        "image": [side, side], "tile": planned.tile, "halo": halo, "tiles": len(planned),
        "arithmetic": planned.arithmetic,
        "seconds": whole, "network_seconds": network, "overhead": whole / network - 1,
        "network_seconds_inside": sum(inside), "waiting": whole / sum(inside) - 1,
    }  # fmt: skip


def show(title: str, measured: dict[str, float], base: str) -> None:
    print(f"\n{title}")
    for name, value in measured.items():
        print(f"  {name:34}{value:9.3f} s{value / measured[base]:8.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--only", choices=["rcan3d", "batches"])
    arguments = parser.parse_args()
    path = Path(__file__).parent / "results" / "runtime.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if arguments.only == "batches":
        results["batches"] = batches()
    elif not arguments.large:
        results["rcan3d"] = rcan3d()
    if arguments.only:
        path.write_text(json.dumps(results, indent=1) + "\n")
        return
    results["machine"] = {
        "processor": platform.machine(), "cores": torch.get_num_threads(), "onnxruntime": ort.__version__,
        "torch": torch.__version__,
    }  # fmt: skip
    calibration = np.random.default_rng(1).random((256, 256), np.float32)
    for preset in ("reference", "compact"):
        network = network_of(preset)
        onnx = to_onnx(network)
        halo = measure_halo(
            onnx, np.random.default_rng(0).random((768, 768), np.float32), network.size_multiple, network.scales
        ).pixels[0]
        entry = results.setdefault(preset, {})
        if arguments.large:
            entry["tiling"] = tiling_overhead(preset, onnx, network.size_multiple[0], halo, 4096)
            print(preset, entry["tiling"], flush=True)
            continue
        int8 = quantized(onnx, calibration)
        graphs = [
            ("onnxruntime", "fp32", onnx), ("onnxruntime", "int8", int8),
            ("openvino", "fp32", onnx), ("openvino", "bf16", onnx), ("openvino", "int8", int8),
        ]  # fmt: skip
        entry["network 512"] = networks_alone(onnx, network, (SIDE, SIDE), graphs)
        show(f"{preset}: network on 512²", entry["network 512"], "plain InferenceSession")
        for side in (512, 2048) if preset == "compact" else (512,):
            key = f"predict {side}"
            entry[key] = predictions(preset, onnx, network, halo, side)
            show(f"{preset}: image of {side}² (halo {halo})", entry[key], "plain InferenceSession")
    path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
