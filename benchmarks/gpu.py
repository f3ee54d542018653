"""A CUDA machine: every engine that is there, against torch eager and torch.compile, and against its own peak.

    python benchmarks/gpu.py            (torch with CUDA; onnxruntime-gpu, tensorrt or tensorrt-rtx where installed)

For published widths and compact ones, random weights, at 512² and 2048²: milliseconds a frame from host uint16 counts
to host float32 results, and of the network alone (torch: on the device; engines: with their copies); frames/s; TFLOP/s
of the network and their share of what a large fp16 matrix product reaches on the same card; the largest difference and
the PSNR from fp32 on the CPU. Results are written as they come.
"""

import copy
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from runtime import described, network_of
from torch.utils.flop_counter import FlopCounterMode

from zsd_export.graph.counts import counts_graph
from zsd_export.graph.to_onnx import to_onnx
from zsd_runtime.engine_choice import open_engine
from zsd_runtime.errors import InputError
from zsd_runtime.model import Model
from zsd_runtime.normalize import Linear
from zsd_train.networks.dual_stage import DualStageUNet

SECONDS = 2.0
TARGETS = {("reference", 512): "at most 1.6 ms a frame", ("compact", 2048): "at least 100 frames/s"}
Array = NDArray[Any]


@dataclass(frozen=True)
class Case:
    """One network at one size, with what all of its runs share."""

    preset: str
    side: int
    network: DualStageUNet
    image: NDArray[np.uint16]
    expected: list[Array]
    flops: float


def milliseconds(run: Callable[[], object]) -> tuple[float, float]:
    """Median and 99th percentile, after a warm-up."""
    for _ in range(5):
        run()
    times: list[float] = []
    while sum(times) < SECONDS or len(times) < 10:
        torch.cuda.synchronize()
        started = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return 1e3 * float(np.median(times)), 1e3 * float(np.percentile(times, 99))


def peak_tflops(size: int = 8192) -> float:
    """Of a large fp16 matrix product: what this card reaches, not what its data sheet says."""
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.float16) for _ in range(2))
    return 2 * size**3 / milliseconds(lambda: a @ b)[0] / 1e9


def with_torch(case: Case, compiled: bool) -> dict[str, Any]:
    """fp16, channels last, counts to results with pinned memory: what a careful user of torch would write."""
    network: Any = copy.deepcopy(case.network).to("cuda", torch.float16, memory_format=torch.channels_last)
    if compiled:
        network = torch.compile(network, mode="max-autotune")
    counts = torch.from_numpy(case.image.astype(np.int32)).pin_memory()
    shapes = [output.shape for output in case.expected]
    host = [torch.empty(1, 1, *shape, pin_memory=True) for shape in shapes]
    batch = torch.randn(1, 1, case.side, case.side, device="cuda", dtype=torch.float16)

    def frame() -> None:
        x = counts.to("cuda", non_blocking=True)[None, None].float() * 0.01 - 1
        for target, output in zip(host, network(x.half()), strict=True):
            target.copy_(output.float() * 100, non_blocking=True)

    with torch.inference_mode():
        whole, p99 = milliseconds(frame)
        alone, _ = milliseconds(lambda: network(batch))
        torch.cuda.synchronize()
    found = [target[0, 0].numpy() for target in host]
    return row("torch.compile" if compiled else "torch eager", "fp16", case, whole, p99, alone, found)


def with_engine(case: Case, name: str, precision: str, counts: bool) -> dict[str, Any]:
    onnx = to_onnx(case.network, half=precision == "fp16")
    description = described(case.preset, onnx, case.network.size_multiple[0], 0, precision)
    if counts:  # the same line as `described` has, inside the graph
        source = replace(description.input, processing=Linear())
        outputs = tuple(replace(output, processing=Linear()) for output in description.outputs)
        onnx = counts_graph(onnx, Linear(0.01, -1), Linear(100))
        description = replace(description, weights=onnx, input=source, outputs=outputs)
    with Model(description, open_engine(description, "cuda", name, precision)) as model:
        results = [model.engine.empty(shape, np.float32) for shape in model.output_shapes(case.image.shape)]
        whole, p99 = milliseconds(lambda: model.predict_into(case.image, results, tile=case.image.shape))
        session = model.session(case.image.shape)
        batch, outputs = session.batches[0], session.outputs[0]
        alone, _ = milliseconds(lambda: model.engine.run(batch, outputs))  # with its copies
        title = f"{model.engine.name}{' counts' if counts else ''}"
        return row(title, precision, case, whole, p99, alone, results)


def row(
    engine: str, precision: str, case: Case, whole: float, p99: float, alone: float, found: list[Array]
) -> dict[str, Any]:
    spans = [max(float(np.ptp(b)), 1e-12) for b in case.expected]
    differences = [a.astype(np.float64) - b for a, b in zip(found, case.expected, strict=True)]
    return {
        "network": case.preset, "side": case.side, "engine": engine, "precision": precision,
        "frame_ms": whole, "p99_ms": p99, "network_ms": alone, "frames_per_s": 1e3 / whole,
        "tflops": case.flops / alone / 1e9,
        "difference": max(float(np.abs(d).max()) / s for d, s in zip(differences, spans, strict=True)),
        "psnr_to_fp32": min(20 * np.log10(s / np.sqrt(np.mean(d**2))) for d, s in zip(differences, spans, strict=True)),
    }  # fmt: skip


def show(entry: dict[str, Any], peak: float) -> None:
    case = (entry["network"], entry["side"])
    columns = [
        f"{case[0]:10}{case[1]:5}² {entry['engine']:20}{entry['precision']:5}",
        f"{entry['frame_ms']:8.2f} ms a frame (p99 {entry['p99_ms']:.2f})",
        f"{entry['frames_per_s']:.0f} frames/s",
        f"network {entry['network_ms']:.2f} ms, {100 * entry['tflops'] / peak:.0f} % of peak",
        f"{entry['psnr_to_fp32']:.0f} dB to fp32",
        TARGETS.get(case, ""),
    ]
    print("; ".join(filter(None, columns)), flush=True)


def case_of(preset: str, side: int) -> Case:
    network = network_of(preset)
    image = np.random.default_rng(0).poisson(150, (side, side)).astype(np.uint16)
    batch = torch.from_numpy(image[None, None].astype(np.float32) * 0.01 - 1)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        expected = [100 * output[0, 0].numpy() for output in network(batch)]
    return Case(preset, side, network, image, expected, float(counter.get_total_flops()))


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("error: torch sees no CUDA device: this benchmark is for a machine with one")
    path = Path(__file__).parent / "results" / "gpu.json"
    results: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": []}
    results["peak_tflops_fp16"] = peak = peak_tflops()
    print(f"{results['gpu']}: {peak:.0f} TFLOP/s in an fp16 matrix product of 8192²")
    for preset in ("reference", "compact"):
        for side in (512, 2048):
            case = case_of(preset, side)
            runs: list[Callable[[], dict[str, Any]]] = [
                lambda case=case, compiled=compiled: with_torch(case, compiled) for compiled in (False, True)
            ]
            runs += [
                lambda case=case, name=name, precision=precision, counts=counts: with_engine(
                    case, name, precision, counts
                )
                for name in ("onnxruntime", "tensorrt")
                for precision in ("fp32", "fp16")
                for counts in ((False, True) if name == "onnxruntime" else (False,))  # TensorRT takes no uint16
            ]
            for run in runs:
                try:
                    entry = run()
                except (InputError, RuntimeError) as error:
                    print(f"not run: {preset} {side}²: {error}", file=sys.stderr)
                    continue
                results["rows"].append(entry)
                show(entry, peak)
                path.write_text(json.dumps(results, indent=1) + "\n")  # what is done is kept


if __name__ == "__main__":
    main()
