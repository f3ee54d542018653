"""Whether a report can be trusted: right and wrong results of which the truth is known.

    python benchmarks/trust.py train OUT --steps 350     (one core: about 80 s for each of 25 trainings)
    python benchmarks/trust.py coverage OUT              (uncertainty, error map and resolution against the truth)
    python benchmarks/trust.py lights OUT                (which lights right and wrong cases turn on in `zsd report`)

OUT then holds a folder for each case: image, truth, PSF, run and package. Factors of uncertainties were fitted on the
cases of seed 1; those of seed 2 check them. Results: benchmarks/results/trust.json.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage as ndi

from zsd_export import Credits, export
from zsd_export.report.lights import Light
from zsd_export.report.report import judge
from zsd_optics.error_map import error_map
from zsd_optics.fourier_rings import Rings
from zsd_optics.noise import estimate_noise
from zsd_optics.pictures import binned
from zsd_optics.psf import gaussian_psf
from zsd_optics.resolution import resolved
from zsd_optics.simulate import Camera, Simulation, simulate
from zsd_optics.split_checks import THRESHOLD, split_checks
from zsd_runtime import load_model
from zsd_runtime.images import Image, Voxel
from zsd_train import train
from zsd_train.config import make_config

RESULTS = Path(__file__).parent / "results" / "trust.json"
PIXEL_UM = 0.0626
LIGHT = 0.05  # of the model's scale: a pixel with light has more in the denoised image
EDGE = 8  # raw pixels
SHOWN = (
    "covered_light", "covered_dark", "uncertainty_and_error", "error_map_and_error", "resolution_px",
    "resolution_by_truth_px",
)  # fmt: skip
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
    size: int = 256

    @property
    def name(self) -> str:
        seed = "" if self.seed == 1 else f"seed{self.seed}"
        return "-".join(filter(None, (self.sample, f"{self.photons:g}", self.wrong, seed)))

    def simulated(self) -> Simulation:
        return simulate((self.size, self.size), sample=self.sample, photons=self.photons, camera=CAMERA, seed=self.seed)

    def psf(self, simulation: Simulation) -> Any:
        if self.wrong in ("wide-psf", "narrow-psf"):
            # A widefield PSF of NA 1.4 at 525 nm is about 2.7 fine pixels (sigma) wide.
            return gaussian_psf(2.7 * (1.6 if self.wrong == "wide-psf" else 0.5))
        return simulation.psf


RIGHT = tuple(Case(sample, photons) for sample in STRUCTURES for photons in PHOTONS)
CHECKS = tuple(Case(sample, 30, seed=2) for sample in STRUCTURES)
WRONG = (
    Case("cell", 200, wrong="wide-psf"),
    Case("filaments", 200, wrong="wide-psf"),
    Case("cell", 200, wrong="narrow-psf"),
    Case("cell", 30, wrong="gain", config={"gain": 6.0, "read_noise": 9.0, "offset": 100.0}),
    Case("cell", 30, wrong="low-gain", config={"gain": 0.5, "read_noise": 1.0, "offset": 100.0}),
    # A hundred pixels a side, no tile held out to stop by, and a gain that leaves half of the noise in both copies.
    Case(
        "cell",
        10,
        wrong="over-trained",
        size=96,
        config={
            "holdout": 0,
            "start": "scratch",
            "steps": 500,
            "gain": 1.0,
            "read_noise": 2.0,
            "offset": 100.0,
            "scheme": {"kind": "recorrupt", "noise": "gaussian"},
        },
    ),
)


OTHER_STRUCTURES = (
    ("filaments-30", "nuclei-30"), ("nuclei-30", "filaments-30"), ("hollow-vesicles-200", "cell-200"),
)  # fmt: skip


def train_all(out: Path, steps: int, only: list[str]) -> Iterator[str]:
    for case in (*RIGHT, *WRONG, *CHECKS):
        folder = out / case.name
        if (folder / "model.zip").exists() or (only and case.name not in only):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        simulation = case.simulated()
        np.savez(
            folder / "data.npz", noisy=simulation.noisy, clean=simulation.clean, truth=simulation.truth,
            psf=case.psf(simulation),
        )  # fmt: skip
        config = make_config(**{"steps": steps} | case.config)
        run = train([simulation.noisy], case.psf(simulation), config, folder / "run", pixel_size_um=PIXEL_UM)
        export(run.folder, folder / "model.zip", credits=Credits(case.name))
        yield case.name


def coverage(out: Path) -> dict[str, Any]:
    """Of each right case: how well the report knows what only the truth knows."""
    found = {}
    for case in (*RIGHT, *CHECKS):
        folder = out / case.name
        if not (folder / "model.zip").exists():
            continue
        data = np.load(folder / "data.npz")
        with load_model(folder / "model.zip", engine="onnxruntime", uncertainty=8) as model:
            result, camera = model.predict(data["noisy"]), model.description.camera
        assert camera is not None
        truths = {"denoised": data["clean"] - camera.offset, "deconvolved": data["truth"]}
        light = result.denoised > LIGHT * camera.scale
        maps = {
            "denoised": error_map(result.denoised, data["noisy"], sigma_px=0),
            "deconvolved": error_map(result.deconvolved, data["noisy"], data["psf"]),
        }
        with load_model(folder / "model.zip", engine="onnxruntime") as model:
            noise = estimate_noise([data["noisy"]])
            checks = split_checks(model.predict, data["noisy"], noise, noise.offset, psf=data["psf"])
        row: dict[str, Any] = {"light": float(light.mean())}
        for name, truth in truths.items():
            grid = truth.shape[-1] // light.shape[-1]
            inside = (slice(EDGE * grid, -EDGE * grid),) * 2
            error, width = np.abs(result[name] - truth)[inside], result[f"{name}_uncertainty"][inside]
            bright = np.kron(light, np.ones((grid, grid), bool))[inside]
            coarse = np.sqrt(binned(np.abs(result[name] - truth) ** 2, grid))
            rings = Rings.of(truth.shape, "tukey", 1.0)
            limit = np.full(rings.count.size, THRESHOLD)
            by_truth = resolved(rings, rings.correlation(result[name], truth), limit, "", None).resolution_px / grid
            row[name] = {
                "covered_light": float((error <= width)[bright].mean()),
                "covered_dark": float((error <= width)[~bright].mean()),
                "covered": float((error <= width).mean()),
                "uncertainty_and_error": correlation(width, error, 4 * grid),
                "error_map_and_error": correlation(maps[name].map, coarse, 4),
                "resolution_px": checks.reproduced[name].resolution_px / grid,
                "confirmed_px": checks.resolution[name].resolution_px,
                "resolution_by_truth_px": by_truth,
            }
        raw = Rings.of(data["noisy"].shape, "tukey", 1.0)
        limit = np.full(raw.count.size, THRESHOLD)
        row["raw"] = {
            "resolution_px": checks.resolution["raw"].resolution_px,
            "resolution_by_truth_px": resolved(
                raw, raw.correlation(data["noisy"], data["clean"]), limit, "", None
            ).resolution_px,
        }
        half = np.sqrt(max(checks.error, 0.0))
        row["error"] = {
            "estimated_rms": half,
            "rms": float(np.sqrt(np.mean((result.denoised - truths["denoised"]) ** 2))),
        }
        found[case.name] = row
        print(f"{case.name:26}", *(f"{row[o][k]:6.2f}" for o in truths for k in SHOWN), flush=True)
    return found


def subjects(out: Path) -> Iterator[tuple[str, bool, Path, Any]]:
    """Name, whether it is right, run and image of everything that is reported on."""

    def image(name: str) -> Any:
        return np.load(out / name / "data.npz")["noisy"]

    for case in (*RIGHT, *CHECKS):
        yield case.name, True, out / case.name / "run", image(case.name)
    for case in WRONG:
        yield case.name, False, out / case.name / "run", image(case.name)
    for model, sample in OTHER_STRUCTURES:
        yield f"{model} model on {sample}", False, out / model / "run", image(sample)
    padded = image("cell-30").copy()
    padded[:, :60] = 0
    yield "cell-30 with padding", False, out / "cell-30" / "run", padded
    rescaled = ((image("cell-30").astype(float) - 100) * 2 + 100).clip(0).astype(np.uint16)
    yield "cell-30 times 2", False, out / "cell-30" / "run", rescaled


def lights(out: Path) -> dict[str, Any]:
    """What `zsd report` says of each."""
    found = {}
    for name, right, run, counts in subjects(out):
        if not (run / "weights.safetensors").exists():
            continue
        report = judge(run, Image(counts, "YX", Voxel.square(PIXEL_UM)))
        raised = {
            f"{section.name}: {f.name}": str(f.light)
            for c in (Light.RED, Light.YELLOW)
            for section, f in report.findings(c)
        }
        found[name] = {"right": right, "light": str(report.light), "raised": raised}
        print(f"{'right' if right else 'wrong'} {name:34} {report.light:7}", ", ".join(raised), flush=True)
    return found


def correlation(a: Any, b: Any, sigma: float) -> float:
    """After smoothing."""
    return float(np.corrcoef(ndi.gaussian_filter(a, sigma).ravel(), ndi.gaussian_filter(b, sigma).ravel())[0, 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "coverage", "lights"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=350)
    parser.add_argument("--only", nargs="*", default=[])
    arguments = parser.parse_args()
    if arguments.what == "train":
        for name in train_all(arguments.out, arguments.steps, arguments.only):
            print(name, flush=True)
        return
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    results[arguments.what] = {"coverage": coverage, "lights": lights}[arguments.what](arguments.out)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
