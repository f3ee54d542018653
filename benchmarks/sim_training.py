"""What training adds to a SIM reconstruction.

    python benchmarks/sim_training.py simulated --photons 10 30 100 --minutes 6
    python benchmarks/sim_training.py low-light DATA --minutes 6    (LE restored, compared with HE reconstructed)
    python benchmarks/sim_training.py print

The simulated frames are filaments, 256 x 256, with a known camera offset. PSNR is that of the middle against the truth
at the resolution of SIM (the noiseless frames, reconstructed with w = 0.02), or, of deconvolved images, against the
truth itself. Every competitor has its best parameter by the truth; zsd has none. DATA is a folder with
sim-3beam-microtubules/. Results: benchmarks/results/sim_training.json, picture: docs/sim_training.png.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import tifffile
import torch
from scipy.ndimage import shift

from zsd_export import Credits, export
from zsd_optics.filters import richardson_lucy
from zsd_optics.optics import Optics
from zsd_optics.pictures import montage
from zsd_optics.resolution import decorrelation_analysis, fourier_ring_correlation
from zsd_optics.sim.acquisition import acquisition
from zsd_optics.sim.simulate import simulate_sim
from zsd_optics.sim.theory import planar_transfer
from zsd_optics.simulate import Camera
from zsd_runtime import load_model
from zsd_runtime.sim.layout import Layout
from zsd_runtime.sim.microscope import Sim
from zsd_runtime.sim.reconstruction import reconstruct
from zsd_train import TrainConfig, train

RESULTS = Path(__file__).parent / "results" / "sim_training.json"
PICTURE = Path(__file__).parent.parent / "docs" / "sim_training.png"
OFFSET, EDGE = 100.0, 24
WIENER = (0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.9)
ITERATIONS = 64
DETAIL = slice(120, 330)


def inside(image: Any) -> Any:
    return image[EDGE:-EDGE, EDGE:-EDGE]


def psnr(image: Any, truth: Any) -> float:
    difference = inside(image).astype(np.float64) - inside(truth)
    return float(10 * np.log10(np.ptp(inside(truth)).item() ** 2 / np.mean(difference**2)))


def with_wiener(sim: Sim, wiener: float, **others: Any) -> Sim:
    return replace(sim, parameters=replace(sim.parameters, wiener=wiener, **others))


def restored(frames: Any, sim: Sim, minutes: float) -> tuple[Any, Any]:
    with tempfile.TemporaryDirectory() as name:
        run = train([frames], None, TrainConfig(scheme="sim", minutes=minutes), Path(name) / "run", sim=sim)  # type: ignore[arg-type]
        with load_model(export(run.folder, Path(name) / "model.zip", credits=Credits("benchmark"))) as model:
            assert model.description.sim is not None
            return model.predict(reconstruct(frames, model.description.sim)), run


def best_richardson_lucy(image: Any, sim: Sim, truth: Any) -> tuple[float, Any]:
    estimates = richardson_lucy(image.astype(np.float64), sim.psf((65, 65)), 1, ITERATIONS)
    scored = [(psnr(estimate, truth), n, estimate) for n, estimate in enumerate(estimates, 1)]
    score, _, estimate = max(scored, key=lambda s: s[0])
    return score, estimate


def frc_nm(image: Any, truth: Any) -> float:
    result = fourier_ring_correlation(inside(image).astype(float), inside(truth).astype(float))
    return float(result.resolution_px * 31.3)


def simulated(photons: list[float], minutes: float) -> None:
    panels = []
    for light in photons:
        made = simulate_sim((256, 256), photons=light, sample="filaments", camera=Camera(OFFSET, 1, 2), seed=3)
        found = acquisition(
            made.raw, Layout(), made.sim.transfer, pixel_size_um=made.sim.parameters.pixel_size_um, offset=OFFSET
        )
        sim = found.sim
        clean = reconstruct(made.clean, with_wiener(made.sim, 0.02))
        reconstructions = {w: reconstruct(found.frames, with_wiener(sim, w)) for w in WIENER}
        best_w = max(WIENER, key=lambda w: psnr(reconstructions[w], clean))
        result, run = restored(found.frames, sim, minutes)
        lucy = {
            "of the best-w reconstruction": best_richardson_lucy(
                reconstructions[best_w], with_wiener(sim, best_w), made.truth
            ),
            "of the denoised image": best_richardson_lucy(result.denoised, run.sim, made.truth),
        }
        row = {
            "minutes": minutes, "steps": run.measured.steps, "threads": torch.get_num_threads(),
            "automatic w": sim.parameters.wiener, "best w": best_w,
            "reconstruction, best w": psnr(reconstructions[best_w], clean),
            "reconstruction, automatic w": psnr(reconstruct(found.frames, sim), clean),
            "denoised": psnr(result.denoised, clean),
            "Richardson-Lucy": {name: score for name, (score, _) in lucy.items()},
            "deconvolved": psnr(result.deconvolved, made.truth),
            "FRC nm": {
                "reconstruction, best w": frc_nm(reconstructions[best_w], made.truth),
                "denoised": frc_nm(result.denoised, made.truth),
                "deconvolved": frc_nm(result.deconvolved, made.truth),
            },
        }  # fmt: skip
        save("simulated", {f"{light:g} photons": row})
        print(light, json.dumps(row), flush=True)
        widefield = made.raw.mean(axis=0).repeat(2, 0).repeat(2, 1)
        panels.append([widefield, reconstructions[best_w], result.denoised, result.deconvolved, made.truth])
    picture(panels)


def picture(rows: list[list[Any]]) -> None:
    """widefield | reconstruction | denoised | deconvolved | truth, a row for each level of light."""
    shown = []
    for row in rows:
        levels = [np.percentile(image, (0.5, 99.7)) for image in row]
        levels[3] = levels[4]
        parts = [np.clip((i[DETAIL, DETAIL] - a) / (b - a), 0, 1) for i, (a, b) in zip(row, levels, strict=True)]
        shown.append(montage(parts, (0.0, 1.0)))
    iio.imwrite(PICTURE, np.vstack(shown))


def low_light(data: Path, minutes: float) -> None:
    """LE, of 150 times less signal: is the restored image more like the reconstruction of HE than LE's own is?"""
    transfer = planar_transfer(Optics(1.4, 590), 0.06)
    stacks = {}
    for name in ("HE", "LE"):
        folder = data / "sim-3beam-microtubules" / "microtuble" / f"{name}_X2" / "Sample_1"
        frames = [tifffile.imread(folder / f"{name}_{n:02d}.tif").astype(np.float32) for n in range(15)]
        stacks[name] = np.stack(frames).reshape(15, 128, 2, 128, 2).mean(axis=(2, 4))  # they were enlarged
    bright = acquisition(stacks["HE"], Layout(3, 5), transfer, pixel_size_um=0.06)
    reference = reconstruct(bright.frames, with_wiener(bright.sim, 0.1))
    offset = float(np.percentile(stacks["LE"], 1))
    dim = with_wiener(bright.sim, 0.6, offset=offset)  # the largest that is chosen automatically
    candidates = {w: reconstruct(stacks["LE"], with_wiener(dim, w)) for w in WIENER}
    result, run = restored(stacks["LE"], dim, minutes)
    row = {
        "minutes": minutes, "steps": run.measured.steps,
        "correlation with HE": {
            "LE reconstruction, best w": max(correlation(image, reference) for image in candidates.values()),
            "denoised": correlation(result.denoised, reference),
            "deconvolved": correlation(result.deconvolved, reference),
        },
        "decorrelation nm": {
            name: float(decorrelation_analysis(image).resolution_px * 30)
            for name, image in (("HE", reference), ("LE", candidates[0.3]), ("denoised", result.denoised))
        },
    }  # fmt: skip
    save("low light", row)
    print(json.dumps(row))
    shown = [
        stacks["LE"].mean(axis=0).repeat(2, 0).repeat(2, 1),
        candidates[0.4],
        result.denoised,
        result.deconvolved,
        reference,
    ]
    iio.imwrite(PICTURE.with_name("sim_low_light.png"), montage(shown))


def correlation(image: Any, reference: Any) -> float:
    """Pearson's, at the best shift of at most 2 pixels."""
    scores = []
    for y in range(-2, 3):
        for x in range(-2, 3):
            moved = shift(image, (y, x), order=1, mode="nearest")
            scores.append(np.corrcoef(inside(moved).ravel(), inside(reference).ravel())[0, 1])
    return float(max(scores))


def saved() -> dict[str, Any]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}  # type: ignore[no-any-return]


def save(part: str, values: dict[str, Any]) -> None:
    kept = saved()
    kept[part] = kept.get(part, {}) | values
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("simulated", "low-light", "print"))
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--photons", type=float, nargs="+", default=[10.0, 30.0, 100.0])
    parser.add_argument("--minutes", type=float, default=6.0)
    chosen = parser.parse_args()
    if chosen.part == "simulated":
        simulated(chosen.photons, chosen.minutes)
    elif chosen.part == "low-light":
        low_light(chosen.data, chosen.minutes)
    else:
        print(json.dumps(saved(), indent=1))
