"""Measure how fast a package runs here: engine × precision × size, each in a process of its own."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
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
from zsd_runtime.pace import SECONDS, pace_of
from zsd_runtime.package import ModelDescription, read_package

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


@dataclass(frozen=True)
class LiveRow:
    """One measured combination, frame by frame.

    Attributes
    ----------
    engine, device, precision, size : str
        As of `Row`.
    frames : int
        That were timed.
    frames_per_s : float
        Over all of them.
    median_ms, p99_ms : float
        Latency: from a frame in memory to its results in memory, ms.
    """

    engine: str
    device: str
    precision: str
    size: str
    frames: int
    frames_per_s: float
    median_ms: float
    p99_ms: float


def bench(
    package: str | Path,
    sizes: Sequence[tuple[int, ...]],
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
    seconds: float = SECONDS,
) -> Iterator[Row | str]:
    """Measure what runs here: a row for each combination, or the reason why it does not run.

    Parameters
    ----------
    package : path
    sizes : sequence of tuple of int
        Image shapes, (Y, X) or (Z, Y, X).
    device, engine, precision : str
        As for `load_model`; "auto" is all of them.
    seconds : float
        Of timed predictions for each row; at least 5 predictions, at most 300.

    Raises
    ------
    InputError
        When the package cannot be read, or a size has another number of axes.
    """
    with tempfile.TemporaryDirectory() as folder:
        result, first = Path(folder) / "result.npz", dict[str, list[NDArray[np.float32]]]()
        for row in _measured(package, sizes, device, engine, precision, seconds, str(result)):
            if isinstance(row, str):
                yield row
                continue
            with np.load(result) as outputs:
                values = [outputs[name] for name in outputs.files]
            expected = first.setdefault(row["size"], values)
            yield Row(**row, difference=max(map(relative_difference, values, expected)))


def bench_live(
    package: str | Path,
    sizes: Sequence[tuple[int, ...]],
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
    seconds: float = SECONDS,
) -> Iterator[LiveRow | str]:
    """Measure how many frames a camera may send: as `bench`, but frame by frame, as `pace_of` says."""
    for row in _measured(package, sizes, device, engine, precision, seconds):
        yield row if isinstance(row, str) else LiveRow(**row)


def synthetic(description: ModelDescription, shape: tuple[int, ...]) -> NDArray[np.uint16]:
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


def _measured(
    package: str | Path,
    sizes: Sequence[tuple[int, ...]],
    device: str,
    engine: str,
    precision: str,
    seconds: float,
    *result: str,
) -> Iterator[dict[str, Any] | str]:
    """What a child process measured of each combination that runs, or why it does not run."""
    description = read_package(package)
    description.check_single_frames("zsd bench")
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
    for size in sizes:
        for combination in combinations:
            if combination in missing:
                continue
            arguments = json.dumps([str(package), *combination, size, seconds, *result])
            child = subprocess.run(
                [sys.executable, "-m", "zsd_runtime.bench", arguments], capture_output=True, text=True, check=False
            )
            if child.returncode:
                missing.add(combination)
                reason = (child.stderr.strip().splitlines() or ["it was killed: out of memory?"])[-1]
                yield f"{' '.join(combination)}: {reason}"
                continue
            yield json.loads(child.stdout.splitlines()[-1])


def _measure_live(
    package: str, engine: str, device: str, precision: str, size: list[int], seconds: float
) -> dict[str, Any]:
    """One combination, in this process, frame by frame."""
    image = synthetic(read_package(package), tuple(size))
    with load_model(package, device, engine=engine, precision=precision) as model:
        pace, used = pace_of(model, image, seconds), model.engine
    return {
        "engine": used.name, "device": used.device, "precision": used.precision, "size": size_text(size),
        **asdict(pace),
    }  # fmt: skip


def _measure(
    package: str, engine: str, device: str, precision: str, size: list[int], seconds: float, result: str
) -> dict[str, Any]:
    """One combination, in this process; its outputs go to the file `result`."""
    image = synthetic(read_package(package), tuple(size))
    with peak_memory() as peak:
        started = time.perf_counter()
        with load_model(package, device, engine=engine, precision=precision) as model:
            prediction = model.predict(image)
            first = time.perf_counter() - started
            times: list[float] = []
            while len(times) < RUNS[0] or (sum(times) < seconds and len(times) < RUNS[1]):
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
        arguments = json.loads(sys.argv[1])
        print(json.dumps((_measure_live if len(arguments) == 6 else _measure)(*arguments)))
    except (InputError, RuntimeError, MemoryError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    _main()
