"""Measure how fast a package runs here: engine × precision × size, each in a process of its own."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.engine_choice import CANDIDATES, PRECISIONS, reaches
from zsd_runtime.engines import relative_difference
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.memory import peak_memory
from zsd_runtime.model import load_model
from zsd_runtime.normalize import Linear
from zsd_runtime.package import ModelDescription, read_package

SECONDS = 3.0  # of timed runs for each row
RUNS = (5, 300)  # at least, and at most


@dataclass(frozen=True)
class Row:
    """One measured combination.

    Attributes
    ----------
    engine, device, precision : str
        As they really ran.
    size : str
        Of the image, pixels.
    median_ms, p99_ms : float
        Time of a whole prediction, from an image in memory to results in memory, ms.
    megapixels_per_s : float
        Of the image, at the median.
    first_result_s : float
        From opening the package to the first result, s.
    peak_memory_mb : float
        Resident in main memory, MB.
    difference : float
        The largest from the first row of the same size, as a share of its range, over all outputs.
    """

    engine: str
    device: str
    precision: str
    size: str
    median_ms: float
    p99_ms: float
    megapixels_per_s: float
    first_result_s: float
    peak_memory_mb: float
    difference: float


def bench(
    package: str | Path,
    sizes: Sequence[tuple[int, ...]],
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
) -> Iterator[Row | str]:
    """Measure what runs here: a row for each combination, or the reason why it does not run.

    Parameters
    ----------
    package : path
    sizes : sequence of tuple of int
        Image shapes, (Y, X) or (Z, Y, X).
    device, engine, precision : str
        As for `load_model`; "auto" is all of them.

    Raises
    ------
    InputError
        When the package cannot be read, or a size has another number of axes.
    """
    description = read_package(package)
    for size in sizes:
        if len(size) != len(description.axes):
            raise InputError(
                f"`size` {size_text(size)} must have {len(description.axes)} numbers, for {description.axes.upper()}",
                option="size",
            )
    combinations = [
        (name, where, wanted)
        for name, where in reversed(CANDIDATES)  # ONNX Runtime on the CPU is the first: the others are compared with it
        for wanted in PRECISIONS
        if engine in ("auto", name) and device in ("auto", where) and precision in ("auto", wanted)
        if reaches((name, where), description.precision, wanted)
    ]
    missing: set[tuple[str, str, str]] = set()
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            first: list[NDArray[np.float32]] = []
            for combination in combinations:
                if combination in missing:
                    continue
                result = Path(folder) / "result.npz"
                arguments = json.dumps([str(package), *combination, size, str(result)])
                child = subprocess.run(
                    [sys.executable, "-m", "zsd_runtime.bench", arguments], capture_output=True, text=True, check=False
                )
                if child.returncode:
                    missing.add(combination)
                    reason = (child.stderr.strip().splitlines() or ["it was killed: out of memory?"])[-1]
                    yield f"{' '.join(combination)}: {reason}"
                    continue
                with np.load(result) as outputs:
                    values = [outputs[name] for name in outputs.files]
                first = first or values
                yield Row(
                    **json.loads(child.stdout.splitlines()[-1]), difference=max(map(relative_difference, values, first))
                )


def _synthetic(description: ModelDescription, shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """Counts in the range that the model was trained on: structures of all sizes and noise, in every channel."""
    random = np.random.default_rng(0)
    grids = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij", sparse=True)
    waves = sum(
        np.cos(sum(g * k for g, k in zip(grids, random.normal(0, 0.3, len(shape)), strict=True))) for _ in range(6)
    )
    normalised = 0.3 + 0.1 * waves + random.normal(0, 0.05, shape)
    line = description.input.processing
    if not isinstance(line, Linear) or line == Linear():  # the package does not say what a count is worth
        line = Linear(1e-3, -0.1)
    counts = (normalised - line.intercept) / line.slope
    image = np.clip(counts, 0, 65535).astype(np.uint16)
    return np.broadcast_to(image, description.input.shape((), shape))


def _measure(package: str, engine: str, device: str, precision: str, size: list[int], result: str) -> dict[str, Any]:
    """One combination, in this process."""
    image = _synthetic(read_package(package), tuple(size))
    with peak_memory() as peak:
        started = time.perf_counter()
        with load_model(package, device, engine=engine, precision=precision) as model:
            prediction = model.predict(image)
            first = time.perf_counter() - started
            times: list[float] = []
            while len(times) < RUNS[0] or (sum(times) < SECONDS and len(times) < RUNS[1]):
                started = time.perf_counter()
                prediction = model.predict(image)
                times.append(time.perf_counter() - started)
            used = model.engine
    np.savez(result, *prediction.values())
    median = float(np.median(times))
    return {
        "engine": used.name, "device": used.device, "precision": used.precision, "size": size_text(size),
        "median_ms": 1e3 * median, "p99_ms": 1e3 * float(np.percentile(times, 99)),
        "megapixels_per_s": prod(size) / median / 1e6, "first_result_s": first, "peak_memory_mb": peak[0] / 1e6,
    }  # fmt: skip


def _main() -> None:
    try:
        print(json.dumps(_measure(*json.loads(sys.argv[1]))))
    except (InputError, RuntimeError, MemoryError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    _main()
