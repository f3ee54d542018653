"""How well one noisy image is restored, against the classical methods at their best.

    python benchmarks/restoration.py simulated --minutes 4 --seeds 5
    python benchmarks/restoration.py fmd DATA --minutes 1        (also at four times the minutes)
    python benchmarks/restoration.py fmd DATA --minutes 1 --recorruption gaussian --only Confocal_FISH_1
    python benchmarks/restoration.py pictures DATA --minutes 2

DATA is a folder of real microscopy with fmd/, lattice-light-sheet/ and sim-2d-microtubules/. Every number goes the
whole way: train, export, predict with ONNX Runtime. Results: benchmarks/results/, pictures: docs/.
"""

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Literal

import imageio.v3 as iio
import mrcfile
import numpy as np
import scipy.ndimage as ndi
import tifffile
import torch
from safetensors.torch import load_file

from zsd_export import Credits, export
from zsd_optics.metrics import best_gaussian, best_richardson_lucy, evaluate
from zsd_optics.noise import estimate_noise
from zsd_optics.pictures import enlarged, montage
from zsd_optics.psf import gaussian_psf, prepare_psf, widefield_psf
from zsd_optics.simulate import Camera, simulate
from zsd_runtime import Prediction, load_model
from zsd_train import TrainConfig, fit, setup, train
from zsd_train.fit import Progress
from zsd_train.networks.build import build
from zsd_train.run import Run
from zsd_train.schemes import Recorrupt

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs"
DETAIL = 144  # raw pixels of a picture
FMD_PSF_SIGMA = 1.0  # raw pixels; the data set does not say its pixel size


def restore(image: Any, psf: Any, config: TrainConfig, watcher: Any = None) -> tuple[Prediction, Run]:
    """Train, export, predict; `watcher`, given the run folder, makes the reporter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        run = train([image], psf, config, folder, report=watcher(folder) if watcher else lambda progress: None)
        package = export(folder, Path(name) / "model.zip", credits=Credits("benchmark"))
        with load_model(package) as model:
            return model.predict(image), run


def simulated(minutes: float, seeds: int) -> None:
    rows = []
    for gain in (1.0, 2.2):
        for seed in range(seeds):
            s = simulate((512, 512), photons=30, camera=Camera(100, gain, 2.0), seed=seed)
            noisy, clean = s.noisy.astype(np.float64), s.clean.astype(np.float64)
            fine = s.pixel_size_um / 2
            psf = prepare_psf(s.psf, fine, fine)
            sigma, gaussian = best_gaussian(noisy, clean)
            iterations, lucy = best_richardson_lucy(noisy, 100.0, s.psf, s.truth.astype(np.float64))
            result, run = restore(s.noisy, psf, TrainConfig(minutes=minutes, seed=seed))
            above = noisy.mean() - run.offset
            rows.append({
                "gain": gain, "seed": seed, "gaussian": gaussian.psnr, "lucy": lucy.psnr, "sigma": sigma[0],
                "iterations": iterations, "denoised": evaluate(result.denoised, s.clean).psnr,
                "deconvolved": evaluate(result.deconvolved, s.truth).psnr,
                "flux_denoised": float(result.denoised.mean() / above),
                "flux_deconvolved": float(result.deconvolved.mean() / above),
                "noise": {k: getattr(run.measured.noise, k) for k in ("gain", "offset")}, "steps": run.measured.steps,
                "threads": torch.get_num_threads(),
            })  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    save("simulated", {"minutes": minutes, "rows": rows})
    print(
        "| gain | denoised - best Gaussian, worst | deconvolved - best Richardson-Lucy, worst | flux off by at most |"
    )
    for gain in (1.0, 2.2):
        part = [r for r in rows if r["gain"] == gain]
        flux = max(abs(r[k] - 1) for r in part for k in ("flux_denoised", "flux_deconvolved"))
        print(f"| {gain} | {min(r['denoised'] - r['gaussian'] for r in part):+.2f} dB "
              f"| {min(r['deconvolved'] - r['lucy'] for r in part):+.2f} dB | {flux:.2%} |")  # fmt: skip


def fmd(folder: Path, minutes: float, recorruption: Literal["poisson", "gaussian"], only: str) -> None:
    rows: list[dict[str, Any]] = []
    pictures = []
    for path in sorted((folder / "fmd" / "raw").glob(f"{only}.png")):
        noisy = iio.imread(path)
        truth = iio.imread(folder / "fmd" / "gt" / path.name).astype(np.float64)
        psf = gaussian_psf(2 * FMD_PSF_SIGMA)
        sigma, gaussian = best_gaussian(noisy.astype(np.float64), truth)
        row: dict[str, Any] = {
            "image": path.stem, "raw": evaluate(noisy, truth).psnr, "gaussian": gaussian.psnr, "sigma": sigma[0]
        }  # fmt: skip
        for factor in (1, 4):
            seen: list[float] = []
            result, run = restore(
                noisy,
                psf,
                TrainConfig(minutes=factor * minutes, scheme=Recorrupt(noise=recorruption)),
                partial(watch, noisy=noisy, truth=truth, seen=seen),
            )
            score = evaluate(result.denoised, truth).psnr
            above = noisy.mean() - run.offset
            row[f"x{factor}"] = {
                "denoised": score, "best_seen": max([*seen, score]), "seen": seen, "steps": run.measured.steps,
                "kept_step": run.measured.kept_step, "flux_denoised": float(result.denoised.mean() / above),
                "flux_deconvolved": float(result.deconvolved.mean() / above),
            }  # fmt: skip
        rows.append(row)
        print(json.dumps(row), flush=True)
        raw = (noisy, ndi.gaussian_filter(noisy.astype(np.float64), sigma), result.denoised)
        corner = brightest(truth)
        panels = [detail(image, corner) for image in raw]
        panels += [detail(result.deconvolved, corner, 2), detail(truth, corner)]
        pictures.append(montage(panels))
    name = "fmd" if recorruption == "poisson" else "fmd-gaussian"
    iio.imwrite(DOCS / f"{name}.png", np.vstack(pictures))
    save(name, {"minutes": minutes, "psf_sigma": FMD_PSF_SIGMA, "threads": torch.get_num_threads(), "rows": rows})
    print("| image | raw | best Gaussian | denoised | after 4 x | best seen on the way |")
    for r in rows:
        print(f"| {r['image']} | {r['raw']:.2f} | {r['gaussian']:.2f} | {r['x1']['denoised']:.2f} "
              f"| {r['x4']['denoised']:.2f} | {r['x4']['best_seen']:.2f} |")  # fmt: skip


def pictures(folder: Path, minutes: float) -> None:
    """Real images without a truth: noisy | denoised | deconvolved, to be looked at."""
    lattice = tifffile.imread(folder / "lattice-light-sheet" / "im_deskewed.tif")
    bead = tifffile.imread(folder / "lattice-light-sheet" / "psf.tif")
    slice_ = lattice[int(np.argmax(lattice.mean(axis=(1, 2))))]
    with mrcfile.open(folder / "sim-2d-microtubules" / "MT.mrc", permissive=True) as file:
        microtubules = np.asarray(file.data).astype(np.float64).mean(axis=0)
    fine = 0.0626 / 2
    cases = {
        "lattice-light-sheet": (slice_, prepare_psf(bead, 0.1, 0.05, centre=True)),
        "sim-2d-microtubules": (microtubules, prepare_psf(widefield_psf(1.3, 525, fine), fine, fine)),
    }
    rows = []
    for name, (image, psf) in cases.items():
        result, run = restore(image, psf, TrainConfig(minutes=minutes))
        above = image.mean() - run.offset
        rows.append({
            "image": name, "flux_denoised": float(result.denoised.mean() / above), "steps": run.measured.steps,
            "flux_deconvolved": float(result.deconvolved.mean() / above), "kept_step": run.measured.kept_step,
        })  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
        corner = brightest(result.denoised)
        panels = [detail(image, corner), detail(result.denoised, corner), detail(result.deconvolved, corner, 2)]
        iio.imwrite(DOCS / f"{name}.png", montage(panels))
    save("pictures", {"minutes": minutes, "rows": rows})


def brightest(image: Any) -> tuple[int, int]:
    """Corner of the brightest square of DETAIL raw pixels."""
    means = ndi.uniform_filter(image.astype(np.float64), DETAIL, origin=-(DETAIL // 2))
    y, x = np.unravel_index(np.argmax(means[: 1 - DETAIL, : 1 - DETAIL]), [n - DETAIL + 1 for n in image.shape])
    return int(y), int(x)


def detail(image: Any, corner: tuple[int, int], factor: int = 1) -> Any:
    """DETAIL raw pixels of an image `factor` times as fine, brought to the fine grid."""
    y, x = (c * factor for c in corner)
    return enlarged(image[y : y + DETAIL * factor, x : x + DETAIL * factor], 2 // factor)


def watch(folder: Path, noisy: Any, truth: Any, seen: list[float]) -> Any:
    """A reporter that scores the averaged weights, good or bad, each time that the run saves itself."""
    fit.SECONDS_BETWEEN_SAVES = 10.0
    offset = estimate_noise([noisy.astype(np.float64)]).offset
    last = 0.0

    def report(progress: Progress) -> None:
        nonlocal last
        if progress.seconds - last < 11:
            return
        last = progress.seconds
        state = folder / "state.safetensors"
        if not state.exists():
            return
        weights = load_file(state)
        network = build(TrainConfig().network, "yx")
        prefix = "averaged."
        network.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
        with torch.inference_mode():  # the scale does not matter to the score, only to the network
            smooth = setup._scale([noisy.astype(np.float64)], offset)
            batch = torch.tensor((noisy[None, None] - offset) / smooth, dtype=torch.float32)
            seen.append(evaluate(network(batch).denoised[0, 0].numpy(), truth).psnr)

    return report


def save(name: str, content: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["simulated", "fmd", "pictures"])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--recorruption", choices=["poisson", "gaussian"], default="poisson")
    parser.add_argument("--only", default="*", help="fmd: image name")
    arguments = parser.parse_args()
    if arguments.what == "simulated":
        simulated(arguments.minutes, arguments.seeds)
    elif arguments.what == "fmd":
        fmd(arguments.folder, arguments.minutes, arguments.recorruption, arguments.only)
    else:
        pictures(arguments.folder, arguments.minutes)
