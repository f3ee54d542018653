"""DecoNoising and its relatives on single images: the table of Goncharova et al. 2020, and the poster's.

    python benchmarks/seeds.py table DATA --minutes 10 [--only "fmd/*"] [--methods n2v deconoising]
    python benchmarks/seeds.py poster DATA --minutes 2
    python benchmarks/seeds.py print              (the tables of the saved results)

DATA is a folder of real microscopy with fmd/, w2s/ and pollen/. Every network goes the whole way: train, export,
predict with ONNX Runtime. Each image is its own training set. The paper's sets had 100 and more images, and their truth
is not at hand: the order of the methods can be compared, the values cannot. Results: benchmarks/results/seeds.json,
pictures: docs/.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import scipy.ndimage as ndi
import tifffile
import torch
from kept import RESULTS
from restoration import DOCS, brightest, detail, fitted_psnr, plain_psnr

from zsd_export import Credits, export
from zsd_optics.filters import box, gaussian, median
from zsd_optics.metrics import best_gaussian, psnr, snr
from zsd_optics.pictures import montage
from zsd_optics.psf import gaussian_psf
from zsd_optics.resolution import decorrelation_analysis
from zsd_runtime import Prediction, load_model
from zsd_train import TrainConfig, train
from zsd_train.run import Run

SIGMA = 1.0  # raw pixels; the paper has it for FMD and W2S, whose files say no optics
METHODS: dict[str, dict[str, Any]] = {
    "n2v": {"kind": "noise2void"},
    "n2v conv.": {"kind": "blind-spot", "blur": "after"},
    "deconoising": {"kind": "blind-spot", "positivity": 0.0},
    "deconoising+": {"kind": "blind-spot", "positivity": 1.0},
    "zsd": {"kind": "auto"},
}
# As published: raw, N2V, N2V conv., DecoNoising, DecoNoising+, CARE (which learns from clean images).
PUBLISHED = {
    "Convallaria": (28.98, 35.85, 32.86, 36.39, 36.26, 36.71),
    "Mouse actin": (23.71, 33.35, 33.48, 33.94, 34.04, 34.20),
    "Mouse nuclei": (28.10, 35.86, 34.59, 36.34, 36.27, 36.58),
    "Flywing": (11.15, 23.62, 23.51, 24.10, 24.30, 25.60),
    "Mouse": (20.84, 33.61, 32.27, 33.91, 33.83, 34.63),
    "W2S avg1 ch0": (21.86, 34.30, 34.38, 34.90, 34.24, 34.30),
    "W2S avg1 ch1": (19.35, 31.80, 32.23, 32.31, 32.24, 32.11),
    "W2S avg1 ch2": (20.43, 34.65, 35.19, 35.03, 35.09, 34.73),
    "W2S avg16 ch0": (33.20, 38.80, 38.73, 39.17, 37.84, 41.94),
    "W2S avg16 ch1": (31.24, 37.81, 37.49, 38.33, 38.19, 39.09),
    "W2S avg16 ch2": (32.35, 40.19, 40.32, 40.60, 40.74, 40.88),
}  # fmt: skip
PICTURED = "fmd/Confocal_FISH_1"
NOISE_SIGMA = 20.0  # of the poster's Gaussian noise, of 255 grey values


def images(folder: Path, only: str) -> Iterator[tuple[str, Any, Any]]:
    for data_set, kind, truths in (("fmd", "png", "gt"), ("w2s", "tif", "avg400")):
        for path in sorted((folder / data_set / "raw").glob(f"*.{kind}")):
            if fnmatch(name := f"{data_set}/{path.stem}", only):
                yield name, iio.imread(path), iio.imread(folder / data_set / truths / path.name).astype(np.float64)


def restored(image: Any, scheme: dict[str, Any], minutes: float, sigma: float = SIGMA) -> tuple[Prediction, Run]:
    config = TrainConfig(scheme=scheme, minutes=minutes)  # type: ignore[arg-type]
    psf = gaussian_psf(sigma * config.network.grid_factor) if config.scheme.needs_psf else None
    with tempfile.TemporaryDirectory() as name:
        run = train([image], psf, config, Path(name) / "run")
        with load_model(export(run.folder, Path(name) / "model.zip", credits=Credits("benchmark"))) as model:
            return model.predict(image), run


def table(folder: Path, minutes: float, only: str, methods: list[str]) -> None:
    for name, noisy, truth in images(folder, only):
        fmd = name.startswith("fmd")
        rows: dict[str, Any] = saved().get("table", {}).get(name, {})
        rows["raw"] = {"psnr": plain_psnr(noisy, truth) if fmd else fitted_psnr(noisy.astype(np.float64), truth)}
        filtered = ndi.gaussian_filter(noisy.astype(np.float64), best_gaussian(noisy.astype(np.float64), truth)[0])
        rows["best gaussian"] = {"psnr": plain_psnr(filtered, truth) if fmd else fitted_psnr(filtered, truth)}
        shown: dict[str, Prediction] = {}
        for method in methods:
            result, run = restored(noisy, METHODS[method], minutes)
            denoised = result.denoised + run.offset
            score = plain_psnr(np.clip(denoised, 0, 255), truth) if fmd else fitted_psnr(denoised, truth)
            rows[method] = {
                "psnr": score, "minutes": minutes, "steps": run.measured.steps, "kept": run.measured.kept_step,
                "threads": torch.get_num_threads(), "edge_px": edge_width(result.denoised),
                "resolution_px": decorrelation(result.denoised),
            }  # fmt: skip
            if "deconvolved" in result:
                sharp = result.deconvolved
                factor = sharp.shape[-1] // noisy.shape[-1]
                rows[method] |= {
                    "deconvolved_edge_px": edge_width(sharp) / factor,
                    "deconvolved_resolution_px": decorrelation(sharp) / factor,
                    "least": float(sharp.min() / np.ptp(sharp)), "checkerboard": checkerboard(sharp),
                }  # fmt: skip
            rows[method]["denoised_checkerboard"] = checkerboard(result.denoised)
            save("table", {name: rows})
            print(name, method, json.dumps(rows[method]), flush=True)
            shown[method] = result
        if name == PICTURED and {"n2v", "deconoising+"} <= shown.keys():
            picture(noisy, shown["n2v"], shown["deconoising+"], truth)


def picture(noisy: Any, noise2void: Prediction, deconoising: Prediction, truth: Any) -> None:
    corner = brightest(truth)
    panels = [noisy, noise2void.denoised, *deconoising.values(), truth]
    iio.imwrite(DOCS / "deconoising.png", montage([detail(panel, corner) for panel in panels]))


def edge_width(image: Any) -> float:
    """Pixels: the range around the steepest 0.2 % of pixels over their slope, the median. Sharp edges are narrow."""
    smooth = image.astype(np.float64)
    slope = np.hypot(*np.gradient(smooth))
    height = ndi.maximum_filter(smooth, 9) - ndi.minimum_filter(smooth, 9)
    steep = slope >= np.quantile(slope, 0.998)
    return float(np.median(height[steep] / slope[steep]))


def decorrelation(image: Any) -> float:
    """Resolution in pixels, by decorrelation analysis; NaN without one."""
    return decorrelation_analysis(image).resolution_px


def checkerboard(image: Any) -> float:
    """Power at the highest frequencies (both axes above 0.45 cycles a pixel) over the mean power of the rest."""
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2
    high = np.abs(np.fft.fftfreq(image.shape[0]))[:, None] > 0.45
    wide = np.abs(np.fft.fftfreq(image.shape[1]))[None] > 0.45
    return float(power[high & wide].mean() / power.mean())


def poster(folder: Path, minutes: float) -> None:
    """Gaussian noise added to an image; its filters, and DecoNoising with three PSFs."""
    stack = tifffile.imread(folder / "pollen" / "pollen.tif").astype(np.float64)
    stack = (stack - stack.min()) * 255 / np.ptp(stack)
    noisy = stack + np.random.default_rng(0).normal(0, NOISE_SIGMA, stack.shape)
    z = len(stack) // 2
    truth, image = stack[z], noisy[z]
    results = {
        "noisy": image, "box": box(3).function(image), "gaussian": gaussian(1.0).function(image),
        "median": median(3).function(image), "3D box": box(3, 3).function(noisy)[z],
    }  # fmt: skip
    for sigma in (0.5, 1.0, 1.5):
        result, run = restored(image.astype(np.float32), METHODS["deconoising+"], minutes, sigma)
        results[f"deconoising+ σ {sigma}"] = result.denoised + run.offset
        if sigma == 1.0:
            sharp = result.deconvolved + run.offset
    scores = {name: {"snr": snr(x, truth), "psnr": psnr(x, truth)} for name, x in results.items()}
    save("poster", {"minutes": minutes, "noise_sigma": NOISE_SIGMA, "rows": scores})
    print(json.dumps(scores, indent=1))
    corner = brightest(truth)
    shown = [*results.values(), sharp, truth]
    iio.imwrite(DOCS / "poster.png", montage([detail(x, corner) for x in shown], (0, 200)))


def saved() -> dict[str, Any]:
    return json.loads((RESULTS / "seeds.json").read_text()) if (RESULTS / "seeds.json").exists() else {}


def save(part: str, values: dict[str, Any]) -> None:
    results = saved()
    results[part] = results.get(part, {}) | values
    (RESULTS / "seeds.json").write_text(json.dumps(results, indent=1) + "\n")


def print_tables() -> None:
    results, columns = saved(), ("raw", "best gaussian", *METHODS)
    print(f"| image | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for name, row in results.get("table", {}).items():
        cells = [f"{row[column]['psnr']:.2f}" if column in row else "" for column in columns]
        print(f"| {name} | {' | '.join(cells)} |")
    print("\n| published, data set | raw | N2V | N2V conv. | DecoNoising | DecoNoising+ | CARE |\n|---|" + "---:|" * 6)
    for name, values in PUBLISHED.items():
        print(f"| {name} | {' | '.join(f'{value:.2f}' for value in values)} |")
    print("\n| filter | SNR, dB | PSNR, dB |\n|---|---:|---:|")
    for name, row in results.get("poster", {}).get("rows", {}).items():
        print(f"| {name} | {row['snr']:.2f} | {row['psnr']:.2f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["table", "poster", "print"])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--only", default="*", help="data set/image, with *")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=[*METHODS])
    given = parser.parse_args()
    if given.part == "print":
        print_tables()
    elif given.part == "table":
        table(given.folder, given.minutes, given.only, given.methods)
    else:
        poster(given.folder, given.minutes)
