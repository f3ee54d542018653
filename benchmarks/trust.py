"""Whether a report can be trusted: right and wrong results of which the truth is known.

    python benchmarks/trust.py train OUT --steps 600     (one core: about 75 s for each of 21 trainings)

OUT then holds a folder for each case: image, truth, PSF, run and package.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zsd_export import Credits, export
from zsd_optics.psf import gaussian_psf
from zsd_optics.simulate import Camera, Simulation, simulate
from zsd_train import TrainConfig, train

STRUCTURES = ("cell", "filaments", "hollow-vesicles", "membranes", "nuclei")
PHOTONS = (10, 30, 200)
CAMERA = Camera(offset=100.0, gain=2.0, read_noise=3.0)


@dataclass(frozen=True)
class Case:
    """A training on a simulated image; `wrong`: what was done wrong on purpose."""

    sample: str
    photons: float
    seed: int = 1
    wrong: str = ""
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return "-".join(filter(None, (self.sample, f"{self.photons:g}", self.wrong)))

    def simulated(self) -> Simulation:
        return simulate((256, 256), sample=self.sample, photons=self.photons, camera=CAMERA, seed=self.seed)

    def psf(self, simulation: Simulation) -> Any:
        if self.wrong in ("wide-psf", "narrow-psf"):
            # A widefield PSF of NA 1.4 at 525 nm is about 2.7 fine pixels (sigma) wide.
            return gaussian_psf(2.7 * (1.6 if self.wrong == "wide-psf" else 0.5))
        return simulation.psf


RIGHT = tuple(Case(sample, photons) for sample in STRUCTURES for photons in PHOTONS)
WRONG = (
    Case("cell", 200, wrong="wide-psf"),
    Case("filaments", 200, wrong="wide-psf"),
    Case("cell", 200, wrong="narrow-psf"),
    Case("cell", 30, wrong="gain", config={"gain": 6.0, "read_noise": 9.0, "offset": 100.0}),
    Case("cell", 30, wrong="low-gain", config={"gain": 0.5, "read_noise": 1.0, "offset": 100.0}),
)


def train_all(out: Path, steps: int, only: list[str]) -> Iterator[str]:
    for case in (*RIGHT, *WRONG):
        folder = out / case.name
        if (folder / "model.zip").exists() or (only and case.name not in only):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        simulation = case.simulated()
        np.savez(
            folder / "data.npz", noisy=simulation.noisy, clean=simulation.clean, truth=simulation.truth,
            psf=case.psf(simulation),
        )  # fmt: skip
        config = TrainConfig(steps=steps, **case.config)
        run = train([simulation.noisy], case.psf(simulation), config, folder / "run", pixel_size_um=0.0626)
        export(run.folder, folder / "model.zip", credits=Credits(case.name))
        yield case.name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--only", nargs="*", default=[])
    arguments = parser.parse_args()
    for name in train_all(arguments.out, arguments.steps, arguments.only):
        print(name, flush=True)


if __name__ == "__main__":
    main()
