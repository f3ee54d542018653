"""What a network gains by seeing each frame of a movie between its neighbours, and whether what moves leaves a trail.

    python benchmarks/movies.py --steps 150

Simulated: still filaments, and vesicles that move 0, 1 or 4 raw pixels a frame, each in its own direction; 10 and 30
photo-electrons at the brightest pixel. Networks with --frames 1 and 3 make as many steps from the zoo's weights; torch
restores whole frames. Results: benchmarks/results/movies.json, picture: docs/movies.png. It takes 5 minutes of a core.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import scipy.ndimage as ndi
import torch
from numpy.typing import NDArray

from zsd_optics.imaging import imaged
from zsd_optics.optics import widefield_psf
from zsd_optics.pictures import enlarged, montage
from zsd_optics.psf import prepare_psf
from zsd_optics.simulate import Camera
from zsd_optics.structures import Grid, filaments, splat
from zsd_runtime.neighbours import neighbours
from zsd_train import TrainConfig, train
from zsd_train.run import Run

RESULTS = Path(__file__).parent / "results" / "movies.json"
PICTURE = Path(__file__).parent.parent / "docs" / "movies.png"
FRAMES, SIDE, FINER = 12, 160, 2  # raw pixels
PIXEL_UM = 0.0626
CAMERA = Camera(100, 2.0, 2.0)
SPEEDS = (0, 1, 4)  # raw pixels a frame
VESICLES, VESICLE_SIGMA = 25, 2.5  # of each speed; fine pixels
HOLDOUT = 0.02
BORDER = 32  # raw pixels by which frames are continued for the network
SHOWN = slice(30, 126)  # raw pixels of the picture

Array = NDArray[Any]


def vesicles(speed: float, rng: np.random.Generator) -> Array:
    """Round vesicles (T, Y, X) on the fine grid that leave it on one side and come back on the other."""
    size = FINER * SIDE
    start, angle = rng.uniform(0, size, (2, VESICLES)), rng.uniform(0, 2 * np.pi, VESICLES)
    brightness = rng.uniform(0.5, 1.5, VESICLES)
    movie = np.zeros((FRAMES, size, size))
    for t, image in enumerate(movie):
        splat(image, (start + t * FINER * speed * np.array([np.sin(angle), np.cos(angle)])) % size, brightness)
        image[:] = ndi.gaussian_filter(image, VESICLE_SIGMA, mode="wrap")
    return 1.5 * movie / movie.max()


def scene(photons: float, seed: int) -> dict[Any, Array]:
    """The `sample` on the fine grid; its `clean` image, and that of the vesicles by speed (electrons); the counts."""
    rng = np.random.default_rng(seed)
    moving = {speed: vesicles(speed, rng) for speed in SPEEDS}
    sample = filaments(Grid((FINER * SIDE, FINER * SIDE)), rng) + sum(moving.values())
    psf = kernel()
    images = {
        name: np.stack([imaged(frame, psf, FINER).clip(0) for frame in movie])
        for name, movie in {"clean": sample, **moving}.items()
    }
    scale = photons / images["clean"].max()
    images = {name: scale * movie for name, movie in images.items()}
    noisy = np.stack([CAMERA.expose(frame, rng) for frame in images["clean"]])
    return {**images, "sample": sample, "noisy": noisy}


def kernel() -> Array:
    """The PSF on the fine grid."""
    fine = PIXEL_UM / FINER
    return prepare_psf(widefield_psf(pixel_size_um=fine, na=1.4, wavelength_nm=525.0), fine, fine)


def restored(run: Run, noisy: Array) -> dict[str, Array]:
    """What a network makes of each frame; counts above the offset."""
    found: dict[str, list[Array]] = {name: [] for name in run.network.outputs}
    for t in range(len(noisy)):
        seen = noisy[neighbours(t, run.config.frames, len(noisy))].astype(np.float32)
        batch = torch.from_numpy((seen[None] - np.float32(run.offset)) / np.float32(run.scale))
        batch = torch.nn.functional.pad(batch, (BORDER,) * 4, mode="reflect")
        with torch.inference_mode():
            for name, image in zip(run.network.outputs, run.network(batch), strict=True):
                border = BORDER * image.shape[-1] // batch.shape[-1]
                found[name].append(image[0, 0, border:-border, border:-border].numpy() * run.scale)
    return {name: np.stack(frames) for name, frames in found.items()}


def decibel(image: Array, truth: Array, mask: Array | None = None) -> float:
    """PSNR after the best line through all pixels; of those of a mask alone if there is one."""
    slope, intercept = np.polyfit(image.ravel(), truth.ravel(), 1)
    error = (slope * image + intercept - truth) ** 2
    return float(10 * np.log10(np.ptp(truth) ** 2 / (error if mask is None else error[mask]).mean()))


def trails(image: Array, made: dict[Any, Array]) -> dict[str, float]:
    """By speed the share of the vesicles of the frames before and after that shows in a denoised frame.

    Least squares: the error is made of the vesicles of the frame itself, of each speed, and of the mean of those before
    and after; the share of the latter. The mean of three frames has 2/3.
    """
    error = (image - CAMERA.gain * made["clean"])[1:-1]
    own = [made[speed][1:-1] for speed in SPEEDS]
    near = [(made[speed][:-2] + made[speed][2:]) / 2 for speed in SPEEDS[1:]]
    terms = np.stack([CAMERA.gain * term.ravel() for term in (*own, *near)] + [np.ones(error.size)], axis=1)
    shares = np.linalg.lstsq(terms, error.ravel(), rcond=None)[0][len(own) : -1]
    return {str(speed): round(float(share), 3) for speed, share in zip(SPEEDS[1:], shares, strict=True)}


def scores(images: dict[str, Array], made: dict[Any, Array]) -> dict[str, Any]:
    """PSNR (dB) of each output, of everything and where vesicles of each speed are; the trails."""
    lit = {speed: made[speed] > 0.3 * made[speed].max() for speed in SPEEDS}
    still = ~np.logical_or.reduce([made[speed] > 0.05 * made[speed].max() for speed in SPEEDS])
    masks = {"all": np.ones_like(still), "filaments": still, **{f"moving {speed}": lit[speed] for speed in SPEEDS}}
    found: dict[str, Any] = {}
    for name, movie in images.items():
        finer = movie.shape[-1] // SIDE
        truth = made["clean" if finer == 1 else "sample"]
        found[name] = {
            which: round(decibel(movie, truth, mask.repeat(finer, 1).repeat(finer, 2)), 2)
            for which, mask in masks.items()
        }
    return found | {"trails": trails(images["denoised"], made)}


def mean_of_three(movie: Array) -> Array:
    """Each frame averaged with its neighbours."""
    return np.stack([movie[neighbours(t, 3, len(movie))].mean(0) for t in range(len(movie))])


def measure(photons: float, steps: int, seed: int, folder: Path) -> tuple[dict[str, Any], list[Array]]:
    """Scores by what restored the movie, and planes of one frame for the picture."""
    made = scene(photons, seed)
    noisy = made["noisy"]
    row: dict[str, Any] = {"photons": photons}
    row["noisy"] = scores({"denoised": noisy.astype(float) - CAMERA.offset}, made)
    results: dict[int, dict[str, Array]] = {}
    for frames in (1, 3):
        config = TrainConfig(frames=frames, steps=steps, seed=seed, holdout=HOLDOUT, device="cpu")
        began = time.process_time()
        images = list(noisy) if frames == 1 else [noisy]
        run = train(images, kernel(), config, folder / f"{photons:g}-{frames}")
        seconds = time.process_time() - began
        results[frames] = restored(run, noisy)
        row[f"frames {frames}"] = scores(results[frames], made) | {"training_cpu_s": round(seconds, 1)}
        print(json.dumps(row[f"frames {frames}"]), flush=True)
    means = {name: mean_of_three(movie) for name, movie in results[1].items()}
    row["frames 1, mean of three results"] = scores(means, made)
    movies = (noisy, results[1]["denoised"], results[3]["denoised"], means["denoised"], made["clean"])
    return row, [movie[FRAMES // 2, SHOWN, SHOWN] for movie in movies]


def main() -> None:
    """Measure, write the results and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--photons", type=float, nargs="+", default=[10, 30])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rows, lines = [], []
    about = {"steps": options.steps, "seed": options.seed, "frames": FRAMES, "side": SIDE, "camera": vars(CAMERA)}
    with tempfile.TemporaryDirectory() as place:
        for photons in options.photons:
            row, planes = measure(photons, options.steps, options.seed, Path(place))
            rows.append(row)
            lines.append(montage([enlarged(plane, 2) for plane in planes]))
            RESULTS.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n", "utf-8")
            gap = np.full((4, lines[0].shape[1]), 255, np.uint8)
            iio.imwrite(PICTURE, np.concatenate([part for line in lines for part in (line, gap)][:-1]))


if __name__ == "__main__":
    main()
