"""How many training steps a second are left on a machine that other programs keep busy, against a fair share.

A fair share is that of a program with as many threads as there are cores: of C cores with B busy programs beside it,
C / (C + B) of its steps a second on the idle machine. Rows: torch's own number of threads throughout, one thread, and
what `zsd train --minutes` does (`zsd_train.threads`). Let nothing else run meanwhile.

python benchmarks/busy.py [--seconds 14] [--rounds 2]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

TRAINING = """
import sys, tempfile, time
from zsd_optics.psf import gaussian_psf
from zsd_optics.simulate import simulate
from zsd_train import TrainConfig, train

image, seconds, marks = simulate((256, 256), seed=1).noisy, float(sys.argv[1]), []
with tempfile.TemporaryDirectory() as folder:
    train([image], gaussian_psf(2.4), TrainConfig(minutes=seconds / 60), folder + "/run",
          report=lambda p: marks.append((p.seconds, p.step)))
warm = next(mark for mark in marks if mark[0] > 3)  # by then the number of threads has followed the load
print((marks[-1][1] - warm[1]) / (marks[-1][0] - warm[0]))
"""
BUSY = "while True: sum(range(10000))"
CORES = os.cpu_count() or 1
SETTINGS = {
    "torch's threads": {"OMP_NUM_THREADS": str(CORES)},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "zsd": {},
}


@contextmanager
def busy_programs(count: int) -> Iterator[None]:
    programs = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def steps_a_second(environment: dict[str, str], seconds: float) -> float:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, str(seconds)], env=clean | environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=14)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    found: dict[str, dict[int, list[float]]] = {name: {} for name in SETTINGS}
    for _ in range(options.rounds):
        for busy in range(CORES + 1):
            for name, environment in SETTINGS.items():  # in turns, so that a machine that drifts does so for all
                with busy_programs(busy):
                    found[name].setdefault(busy, []).append(steps_a_second(environment, options.seconds))
    idle = median(found["torch's threads"][0])
    rows = {
        name: {
            busy: {
                "steps_a_second": round(median(v), 2),
                "of_fair_share": round(median(v) / idle * (CORES + busy) / CORES, 2),
            }
            for busy, v in by_load.items()
        }
        for name, by_load in found.items()
    }
    for name, row in rows.items():
        cells = [f"{b} busy: {c['steps_a_second']:6.2f}/s ({c['of_fair_share']:.2f} of fair)" for b, c in row.items()]
        print(f"{name:16} " + "   ".join(cells))
    content = {"cores": CORES, "processor": platform.machine(), "seconds": options.seconds, "rows": rows}
    (Path(__file__).parent / "results" / "busy.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
