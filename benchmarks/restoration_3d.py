"""How well one noisy volume is restored, against the classical methods at their best.

    python benchmarks/restoration_3d.py baselines --seeds 0 1 2
    python benchmarks/restoration_3d.py simulated --seeds 0 1 2 --minutes 10      (and 30)
    python benchmarks/restoration_3d.py beads --minutes 10
    python benchmarks/restoration_3d.py pollen DATA --minutes 10
    python benchmarks/restoration_3d.py lattice DATA --minutes 10

The simulated volumes are 64×256×256 voxels of 300×100×100 nm, NA 1.1, n 1.33, 40 photo-electrons at the peak. DATA is a
folder of real microscopy with pollen/ and lattice-light-sheet/. Every number goes the whole way: train, export,
predict. Results: benchmarks/results/restoration_3d.json, pictures: docs/.
"""

import argparse
import json
import os
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import tifffile
import torch
from kept import RESULTS, keep
from scipy.signal import fftconvolve

from zsd_export import Credits, export
from zsd_optics.filters import richardson_lucy
from zsd_optics.metrics import best_gaussian, best_richardson_lucy, evaluate
from zsd_optics.pictures import binned, enlarged, middle, montage
from zsd_optics.psf import fwhm_px, prepare_psf
from zsd_optics.simulate import Camera, Simulation, simulate
from zsd_runtime import Model, Prediction, load_model
from zsd_train import train
from zsd_train.config import TrainConfig, make_config
from zsd_train.run import Run

FILE = "restoration_3d.json"
DOCS = Path(__file__).parent.parent / "docs"
SHAPE, PIXEL_UM, STEP_UM, OFFSET = (64, 256, 256), 0.1, 0.3, 100.0
CAMERA = Camera(OFFSET, 1.0, 2.0)
DETAIL = 144  # raw pixels of a picture
BEADS = (5, 12, 12)  # along Z, Y, X
BOX = (5, 16, 16)  # around a bead, to each side: fine voxels
LUCY = 130  # iterations, at which Richardson-Lucy is best on the structures


def simulation(seed: int) -> Simulation:
    return simulate(
        SHAPE, photons=40, camera=CAMERA, na=1.1, refractive_index=1.33, pixel_size_um=PIXEL_UM, z_step_um=STEP_UM,
        seed=seed,
    )  # fmt: skip


@contextmanager
def trained(volume: Any, psf: Any, config: TrainConfig) -> Iterator[tuple[Model, Run]]:
    """Train on a volume and export: the model, ready to predict."""
    with tempfile.TemporaryDirectory() as name:
        run = train([volume], psf, config, Path(name) / "run", pixel_size_um=PIXEL_UM, z_step_um=STEP_UM)
        package = export(Path(name) / "run", Path(name) / "model.zip", credits=Credits("benchmark"))
        with load_model(package) as model:
            yield model, run


def baselines(seeds: list[int]) -> None:
    for seed in seeds:
        s = simulation(seed)
        noisy = s.noisy.astype(np.float32)
        sigma, gaussian = best_gaussian(noisy, s.clean)
        iterations, lucy = best_richardson_lucy(noisy, OFFSET, s.psf, s.truth)
        keep(FILE, f"baselines {seed}", {
            "noisy": evaluate(noisy, s.clean).psnr, "gaussian": gaussian.psnr, "sigma": sigma, "lucy": lucy.psnr,
            "iterations": iterations,
        })  # fmt: skip


def simulated(seeds: list[int], minutes: float, scheme: str) -> None:
    for seed in seeds:
        s = simulation(seed)
        fine = (STEP_UM, PIXEL_UM / 2)
        psf = prepare_psf(s.psf, fine, fine)
        config = make_config(axes="zyx", minutes=minutes, seed=seed, scheme=scheme)
        with trained(s.noisy, psf, config) as (model, run):
            result, averaged = model.predict(s.noisy), model.predict(s.noisy, average=8)
        bars = json.loads((RESULTS / FILE).read_text())[f"baselines {seed}"]
        denoised, deconvolved = evaluate(result.denoised, s.clean).psnr, evaluate(result.deconvolved, s.truth).psnr
        iterations, lucy = best_richardson_lucy(result.denoised, 0.0, s.psf, s.truth)
        keep(FILE, f"simulated {seed}, {minutes:g} minutes, {run.config.scheme.kind}", {
            "denoised": denoised, "deconvolved": deconvolved, "over_gaussian": denoised - bars["gaussian"],
            "over_lucy": deconvolved - bars["lucy"], "lucy_of_denoised": lucy.psnr, "iterations": iterations,
            "over_lucy_of_denoised": deconvolved - lucy.psnr,
            "denoised_averaged": evaluate(averaged.denoised, s.clean).psnr,
            "deconvolved_averaged": evaluate(averaged.deconvolved, s.truth).psnr, **flux(s.noisy, result, run),
            "of_true_light": true_light(result, s, run.offset),
            **machine(run), "offset": run.offset, "gain": run.measured.noise.gain,
        })  # fmt: skip
        if seed == 0 and run.config.scheme.kind == "recorrupt":
            draw("volume-simulated", s.noisy, result, s.truth)


def flux(noisy: Any, result: Prediction, run: Run) -> dict[str, float]:
    """What the results hold of the light that the image has above the offset that the run took."""
    above = noisy.mean(dtype=float) - run.offset
    return {f"flux_{name}": float(image.mean(dtype=float) / above) for name, image in named(result)}


def true_light(result: Prediction, s: Simulation, offset: float) -> dict[str, float]:
    """The same of what is really there: some light leaves the field, and what enters it is not in the truth."""
    there = {"denoised": s.clean.mean(dtype=float) - offset, "deconvolved": s.truth.mean(dtype=float) + OFFSET - offset}
    return {name: float(image.mean(dtype=float) / there[name]) for name, image in named(result)}


def named(result: Prediction) -> list[tuple[str, Any]]:
    return [("denoised", result.denoised), ("deconvolved", result.deconvolved)]


def machine(run: Run) -> dict[str, Any]:
    """What the training had, and made of it."""
    return {
        "steps": run.measured.steps, "kept_step": run.measured.kept_step, "threads": torch.get_num_threads(),
        "cores": len(os.sched_getaffinity(0)), "cpu": torch.backends.cpu.get_cpu_capability(),
    }  # fmt: skip


def of_beads(minutes: float) -> None:
    """The width of points, before and after: a volume of beads as bright as the structures, trained on itself."""
    fine = (STEP_UM, PIXEL_UM / 2)
    theory = simulation(0).psf
    noisy, places = beads(theory)
    psf = prepare_psf(theory, fine, fine)
    with trained(noisy, psf, make_config(axes="zyx", minutes=minutes)) as (model, run):
        result = model.predict(noisy)

    def nm(image: Any) -> float:
        return float(np.mean(fwhm_px(image)[1:])) * fine[1] * 1000

    lucy = deque(richardson_lucy(noisy - OFFSET, psf, 2, LUCY), maxlen=1).pop()
    blurred, sharp, classical = nm(theory), nm(average(result.deconvolved, places)), nm(average(lucy, places))
    keep(FILE, f"beads, {minutes:g} minutes", {
        "fwhm_nm": {"blurred": blurred, "deconvolved": sharp, f"lucy {LUCY}": classical}, "ratio": blurred / sharp,
        "ratio_lucy": blurred / classical, **flux(noisy, result, run), **machine(run), "offset": run.offset,
    })  # fmt: skip
    draw("volume-beads", noisy, result, lucy)


def beads(psf: Any) -> tuple[Any, list[tuple[int, int, int]]]:
    """Points through the same microscope onto the same camera, and where they are (fine grid), but those at the rim."""
    rng = np.random.default_rng(1)
    fine = np.zeros((SHAPE[0], 2 * SHAPE[1], 2 * SHAPE[2]), np.float32)
    grid = np.stack(np.meshgrid(*(np.linspace(6, n - 7, k) for n, k in zip(fine.shape, BEADS, strict=True))), axis=-1)
    places = np.rint(grid.reshape(-1, 3) + rng.uniform(-1, 1, (grid.size // 3, 3)) * (3, 12, 12)).astype(int)
    inside = ((places >= BOX) & (places < np.array(fine.shape) - BOX)).all(axis=1)
    places = np.clip(places, 0, np.array(fine.shape) - 1)
    fine[tuple(places.T)] = 1
    electrons = np.clip(binned(fftconvolve(fine, psf, mode="same"), 2), 0, None)
    return CAMERA.expose(40 * electrons / electrons.max(), rng), [tuple(place) for place in places[inside]]


def average(image: Any, places: list[tuple[int, int, int]]) -> Any:
    """The mean of the boxes around points of the fine grid, without its background."""
    a, b, c = BOX
    boxes = [image[z - a : z + a + 1, y - b : y + b + 1, x - c : x + c + 1] for z, y, x in places]
    box = np.mean(boxes, axis=0, dtype=float)
    return box - np.median(box)


def pollen(folder: Path, minutes: float) -> None:
    """Confocal pollen as the truth; blur and noise were simulated by those who published it."""
    noisy, truth, psf = (
        tifffile.imread(folder / "pollen" / f"{name}.tif").astype(np.float32)
        for name in ("pollen_poisson_noise_blurred", "pollen", "pollen_psf")
    )
    kernel = prepare_psf(psf, (1.0, 1.0), (1.0, 1.0), centre=True)
    clean = fftconvolve(np.pad(truth, 8, mode="reflect"), kernel, mode="same")[8:-8, 8:-8, 8:-8]
    with trained(noisy, kernel, make_config(axes="zyx", minutes=minutes, network={"grid_factor": 1})) as (model, run):
        result = model.predict(noisy)
    sigma, gaussian = best_gaussian(noisy, clean)
    iterations, lucy = best_richardson_lucy(noisy, run.offset, kernel, truth)
    keep(FILE, f"pollen, {minutes:g} minutes", {
        "noisy": evaluate(noisy, clean).psnr, "gaussian": gaussian.psnr, "sigma": sigma, "lucy": lucy.psnr,
        "iterations": iterations, "denoised": evaluate(result.denoised, clean).psnr,
        "deconvolved": evaluate(result.deconvolved, truth).psnr, "scheme": run.config.scheme.kind,
        **flux(noisy, result, run), **machine(run), "noise": asdict(run.measured.noise),
    })  # fmt: skip
    best = deque(richardson_lucy(noisy - run.offset, kernel, 1, iterations), maxlen=1).pop()
    draw("volume-pollen", noisy, result, truth, best)


def lattice(folder: Path, minutes: float) -> None:
    """A deskewed stack of a lattice light-sheet, with its measured bead; there is no truth."""
    data = folder / "lattice-light-sheet"
    noisy, bead = (tifffile.imread(data / f"{name}.tif") for name in ("im_deskewed", "psf"))
    # The file does not say the bead's z step; with 0.05 µm its depth is what a lattice light-sheet gives.
    psf = prepare_psf(bead, (0.05, 0.1), (0.157, 0.05), centre=True)
    with trained(noisy, psf, make_config(axes="zyx", minutes=minutes)) as (model, run):
        result = model.predict(noisy)

    def flicker(volume: Any) -> float:
        means = volume.mean(axis=(1, 2), dtype=float)
        return float(np.abs(np.diff(means)).mean())

    keep(FILE, f"lattice, {minutes:g} minutes", {
        "scheme": run.config.scheme.kind, "correlated": run.measured.noise.correlated, **flux(noisy, result, run),
        **machine(run), "flicker": {"noisy": flicker(noisy), "denoised": flicker(result.denoised),
                    "deconvolved": flicker(result.deconvolved)},
    })  # fmt: skip
    draw("volume-lattice", noisy, result)


def draw(name: str, noisy: Any, result: Prediction, *more: Any) -> None:
    """XY of the brightest slice and below it XZ through its middle: noisy | denoised | deconvolved | more."""
    z = int(np.argmax(result.denoised.std(axis=(1, 2))))
    volumes = [noisy, result.denoised, result.deconvolved, *more]
    finest = max(volume.shape[-1] for volume in volumes)
    panels = []
    for volume in volumes:
        k = volume.shape[-1] // noisy.shape[-1]
        view = middle(volume, (len(volume), DETAIL * k, DETAIL * k), 1)
        sections = np.vstack([view[z], view[:, view.shape[1] // 2].repeat(2 * k, axis=0)])
        panels.append(enlarged(sections, finest // volume.shape[-1]))
    iio.imwrite(DOCS / f"{name}.png", montage(panels))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["baselines", "simulated", "beads", "pollen", "lattice"])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scheme", default="auto", help="simulated: auto, recorrupt or odd-even")
    arguments = parser.parse_args()
    if arguments.what == "baselines":
        baselines(arguments.seeds)
    elif arguments.what == "simulated":
        simulated(arguments.seeds, arguments.minutes, arguments.scheme)
    elif arguments.what == "beads":
        of_beads(arguments.minutes)
    else:
        {"pollen": pollen, "lattice": lattice}[arguments.what](arguments.folder, arguments.minutes)
