"""How well one noisy volume is restored, against the classical methods at their best.

    python benchmarks/restoration_3d.py baselines --seeds 0 1 2
    python benchmarks/restoration_3d.py simulated --seeds 0 1 2 --minutes 10      (and 30)
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
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import tifffile
import torch
from scipy.signal import fftconvolve

from zsd_export import export
from zsd_runtime import Prediction, load_model
from zsd_train import train
from zsd_train.config import TrainConfig, make_config
from zsd_train.evaluate import best_gaussian, best_richardson_lucy, evaluate, richardson_lucy
from zsd_train.pictures import binned, enlarged, middle, montage
from zsd_train.psf import fwhm_px, prepare_psf
from zsd_train.run import Run
from zsd_train.simulate import Camera, Simulation, simulate

RESULTS = Path(__file__).parent / "results" / "restoration_3d.json"
DOCS = Path(__file__).parent.parent / "docs"
SHAPE, PIXEL_UM, STEP_UM, OFFSET = (64, 256, 256), 0.1, 0.3, 100.0
CAMERA = Camera(OFFSET, 1.0, 2.0)
DETAIL = 144  # raw pixels of a picture
BEADS = 40


def simulation(seed: int) -> Simulation:
    return simulate(
        SHAPE, photons=40, camera=CAMERA, na=1.1, refractive_index=1.33, pixel_size_um=PIXEL_UM, z_step_um=STEP_UM,
        seed=seed,
    )  # fmt: skip


def restore(volume: Any, psf: Any, config: TrainConfig, others: list[Any]) -> tuple[list[Prediction], Run]:
    """Train on a volume, export, and predict it and the others."""
    with tempfile.TemporaryDirectory() as name:
        run = train([volume], psf, config, Path(name) / "run", pixel_size_um=PIXEL_UM, z_step_um=STEP_UM)
        package = export(Path(name) / "run", Path(name) / "model.zip", name="benchmark")
        with load_model(package) as model:
            return [model.predict(image) for image in (volume, *others)], run


def baselines(seeds: list[int]) -> None:
    for seed in seeds:
        s = simulation(seed)
        noisy = s.noisy.astype(np.float32)
        sigma, gaussian = best_gaussian(noisy, s.clean)
        iterations, lucy = best_richardson_lucy(noisy, OFFSET, s.psf, s.truth)
        keep(f"baselines {seed}", {
            "noisy": evaluate(noisy, s.clean).psnr, "gaussian": gaussian.psnr, "sigma": sigma, "lucy": lucy.psnr,
            "iterations": iterations,
        })  # fmt: skip


def simulated(seeds: list[int], minutes: float, scheme: str) -> None:
    for seed in seeds:
        s = simulation(seed)
        fine = (STEP_UM, PIXEL_UM / 2)
        psf = prepare_psf(s.psf, fine, fine)
        bead_volume, places = beads(s.psf)
        (result, bead_result), run = restore(
            s.noisy, psf, make_config(axes="zyx", minutes=minutes, seed=seed, scheme=scheme), [bead_volume]
        )
        above = s.noisy.mean() - run.offset
        bars = json.loads(RESULTS.read_text())[f"baselines {seed}"]
        denoised, deconvolved = evaluate(result.denoised, s.clean).psnr, evaluate(result.deconvolved, s.truth).psnr
        blurred = float(np.mean(fwhm_px(s.psf)[1:])) * fine[1] * 1000
        sharp = float(np.mean(fwhm_px(average(bead_result.deconvolved, places))[1:])) * fine[1] * 1000
        keep(f"simulated {seed}, {minutes:g} minutes, {run.config.scheme}", {
            "denoised": denoised, "deconvolved": deconvolved, "over_gaussian": denoised - bars["gaussian"],
            "over_lucy": deconvolved - bars["lucy"], "flux_denoised": float(result.denoised.mean() / above),
            "flux_deconvolved": float(result.deconvolved.mean() / above), "steps": run.measured["steps"],
            "kept_step": run.measured["kept_step"], "offset": run.offset, "gain": run.measured["noise"]["gain"],
            "bead_fwhm_nm": {"blurred": blurred, "deconvolved": sharp, "ratio": blurred / sharp},
            "threads": torch.get_num_threads(), "cores": len(os.sched_getaffinity(0)),
        })  # fmt: skip
        if seed == 0 and run.config.scheme == "recorrupt":
            draw("volume-simulated", s.noisy, result, s.truth)


def beads(psf: Any) -> tuple[Any, list[tuple[int, int, int]]]:
    """Points far from each other through the same microscope onto the same camera, and where they are (fine grid)."""
    rng = np.random.default_rng(0)
    fine = np.zeros((SHAPE[0], 2 * SHAPE[1], 2 * SHAPE[2]), np.float32)
    grid = [(z, y, x) for z in (16, 48) for y in range(64, 450, 76) for x in range(64, 450, 76)][:BEADS]
    places = [(z + int(rng.integers(-3, 4)), y + int(rng.integers(8)), x + int(rng.integers(8))) for z, y, x in grid]
    for place in places:
        fine[place] = 1
    electrons = np.clip(binned(fftconvolve(fine, psf, mode="same"), 2), 0, None)
    return CAMERA.expose(40 * electrons / electrons.max(), rng), places


def average(image: Any, places: list[tuple[int, int, int]]) -> Any:
    """The mean of the boxes around points of the fine grid, without its background."""
    box = np.mean([image[z - 5 : z + 6, y - 16 : y + 17, x - 16 : x + 17] for z, y, x in places], axis=0, dtype=float)
    return box - np.median(box)


def pollen(folder: Path, minutes: float) -> None:
    """Confocal pollen as the truth; blur and noise were simulated by those who published it."""
    noisy, truth, psf = (
        tifffile.imread(folder / "pollen" / f"{name}.tif").astype(np.float32)
        for name in ("pollen_poisson_noise_blurred", "pollen", "pollen_psf")
    )
    kernel = prepare_psf(psf, (1.0, 1.0), (1.0, 1.0), centre=True)
    clean = fftconvolve(np.pad(truth, 8, mode="reflect"), kernel, mode="same")[8:-8, 8:-8, 8:-8]
    (result,), run = restore(noisy, kernel, make_config(axes="zyx", minutes=minutes, network={"upsample": 1}), [])
    sigma, gaussian = best_gaussian(noisy, clean)
    iterations, lucy = best_richardson_lucy(noisy, run.offset, kernel, truth)
    above = noisy.mean() - run.offset
    keep(f"pollen, {minutes:g} minutes", {
        "noisy": evaluate(noisy, clean).psnr, "gaussian": gaussian.psnr, "sigma": sigma, "lucy": lucy.psnr,
        "iterations": iterations, "denoised": evaluate(result.denoised, clean).psnr,
        "deconvolved": evaluate(result.deconvolved, truth).psnr, "scheme": run.config.scheme,
        "flux_denoised": float(result.denoised.mean() / above), "steps": run.measured["steps"],
        "flux_deconvolved": float(result.deconvolved.mean() / above), "noise": run.measured["noise"],
    })  # fmt: skip
    *_, best = richardson_lucy(noisy - run.offset, kernel, 1, iterations)
    draw("volume-pollen", noisy, result, truth, best)


def lattice(folder: Path, minutes: float) -> None:
    """A deskewed stack of a lattice light-sheet, with its measured bead; there is no truth."""
    data = folder / "lattice-light-sheet"
    noisy, bead = (tifffile.imread(data / f"{name}.tif") for name in ("im_deskewed", "psf"))
    # The file does not say the bead's z step; with 0.05 µm its depth is what a lattice light-sheet gives.
    psf = prepare_psf(bead, (0.05, 0.1), (0.157, 0.05), centre=True)
    (result,), run = restore(noisy, psf, make_config(axes="zyx", minutes=minutes), [])
    above = noisy.mean() - run.offset

    def flicker(volume: Any) -> float:
        means = volume.mean(axis=(1, 2), dtype=float)
        return float(np.abs(np.diff(means)).mean())

    keep(f"lattice, {minutes:g} minutes", {
        "scheme": run.config.scheme, "correlated": run.measured["noise"]["correlated"], "steps": run.measured["steps"],
        "flux_denoised": float(result.denoised.mean() / above),
        "flux_deconvolved": float(result.deconvolved.mean() / above),
        "flicker": {"noisy": flicker(noisy), "denoised": flicker(result.denoised),
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


def keep(name: str, row: dict[str, Any]) -> None:
    print(name, json.dumps(row), flush=True)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(dict(sorted((known | {name: row}).items())), indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["baselines", "simulated", "pollen", "lattice"])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scheme", default="auto", help="simulated: auto, recorrupt or odd-even")
    arguments = parser.parse_args()
    if arguments.what == "baselines":
        baselines(arguments.seeds)
    elif arguments.what == "simulated":
        simulated(arguments.seeds, arguments.minutes, arguments.scheme)
    else:
        {"pollen": pollen, "lattice": lattice}[arguments.what](arguments.folder, arguments.minutes)
