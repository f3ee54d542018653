"""Images that a model was not trained on: how far brightness may differ, and how often a mismatch is found.

    python benchmarks/other_images.py            # trains for 30 s; two minutes on one core

Numbers of docs/decisions/other-images.md.
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from zsd_export import export
from zsd_optics.noise import estimate_noise
from zsd_optics.psf import prepare_psf
from zsd_optics.simulate import Camera, simulate
from zsd_runtime import camera as described
from zsd_runtime import load_model, mismatches, statistics
from zsd_runtime.mismatch import noise_ratios
from zsd_runtime.package import ModelDescription
from zsd_train import TrainConfig, train
from zsd_train.config import NetworkConfig

FACTORS = (1 / 20, 1 / 10, 1 / 5, 1 / 3, 1, 2, 3, 5, 10, 20)
SHAPE, PHOTONS, CAMERA = (192, 192), 60.0, Camera(100, 2, 2)
CAMERAS = 50


def brightness(package: Path) -> None:
    """PSNR and light of results for images that are brighter or dimmer than the training's."""
    print("brightness  denoised  noisy  best Gaussian (dB)  light kept")
    with load_model(package, engine="onnxruntime") as model:
        for factor in FACTORS:
            rows = []
            for seed in (5, 9, 11):
                s = simulate(SHAPE, photons=PHOTONS * factor, camera=CAMERA, seed=seed)
                truth, noisy = (image.astype(np.float64) - CAMERA.offset for image in (s.clean, s.noisy))
                restored = model.predict(s.noisy).denoised
                best = max(_psnr(ndi.gaussian_filter(noisy, sigma), truth) for sigma in np.geomspace(0.4, 8, 14))
                rows.append((_psnr(restored, truth), _psnr(noisy, truth), best, restored.sum() / truth.sum()))
            print(f"{factor:10.2f}  {'  '.join(f'{value:8.2f}' for value in np.mean(rows, axis=0))}", flush=True)


def _psnr(image: NDArray[Any], truth: NDArray[Any]) -> float:
    return float(10 * np.log10(truth.max() ** 2 / np.mean((image - truth) ** 2)))


def found(base: ModelDescription) -> None:
    """How many of CAMERAS random cameras an image is warned of, for each kind of image."""
    rng, counts = np.random.default_rng(0), Counter[str]()
    for seed in range(CAMERAS):
        camera = Camera(rng.uniform(20, 500), float(np.exp(rng.uniform(-1.6, 1.6))), rng.uniform(1, 6))
        s = simulate(SHAPE, photons=float(np.exp(rng.uniform(2.3, 6.2))), camera=camera, seed=seed)
        light = np.clip((s.clean - camera.offset) / camera.gain, 0, None)
        model = _trained_on(s.noisy, base)
        for name, make in _images(camera, light, seed).items():
            counts[name] += bool(mismatches(model, statistics(make())))
    for name, count in counts.items():
        print(f"{name:28} {count} of {CAMERAS}")


def _trained_on(image: NDArray[Any], base: ModelDescription) -> ModelDescription:
    noise = estimate_noise([image.astype(np.float64)])
    scale = float(np.percentile(ndi.uniform_filter(image.astype(np.float64), 5), 99.5)) - noise.offset
    camera = described.Camera(noise.offset, scale, noise.gain, noise.constant, noise.floor, image.dtype.name)
    return replace(base, camera=replace(camera, noise_ratios=noise_ratios(camera, statistics(image))))


def _images(camera: Camera, light: NDArray[Any], seed: int) -> dict[str, Callable[[], NDArray[Any]]]:
    rng = np.random.default_rng(seed)
    frames = np.stack([camera.expose(light, rng) for _ in range(4)]).astype(np.float64)
    one, hot = frames[0], rng.random(SHAPE) < 0.005
    return {
        "same: exposure / 3": lambda: camera.expose(light / 3, rng),
        "same: exposure": lambda: camera.expose(light, rng),
        "same: exposure * 3": lambda: camera.expose(light * 3, rng),
        "same: another field": lambda: simulate(SHAPE, photons=light.max(), camera=camera, seed=seed + 1000).noisy,
        "same: nothing dark": lambda: camera.expose(light + np.percentile(light, 99) / 3, rng),
        "same: a crop": lambda: one[60:130, 50:110],
        "same: 20 % zeros": lambda: np.where(np.arange(SHAPE[1]) < 40, 0, one),
        "same: 0.5 % hot pixels": lambda: np.where(hot, 60000, one),
        "same: a blank frame": lambda: np.concatenate([frames[:3], 0 * frames[3:]]),
        "background subtracted": lambda: one - camera.offset,
        "0 to 1": lambda: (one - one.min()) / np.ptp(one),
        "8 bit, stretched": lambda: ((one - one.min()) / np.ptp(one) * 255).astype(np.uint8),
        "halved": lambda: one / 2,
        "offset 100 higher": lambda: one + 100,
        "2 frames averaged": lambda: frames[:2].mean(0),
        "4 frames summed": lambda: frames.sum(0),
        "2x2 pixels summed": lambda: one.reshape(96, 2, 96, 2).sum((1, 3)),
        "median filter": lambda: ndi.median_filter(one, 3),
        "gain doubled": lambda: Camera(camera.offset, 2 * camera.gain, camera.read_noise).expose(light, rng),
        "gain halved": lambda: Camera(camera.offset, camera.gain / 2, camera.read_noise).expose(light, rng),
        "exposure * 10": lambda: camera.expose(light * 10, rng),
        "exposure / 20": lambda: camera.expose(light / 20, rng),
    }


def main() -> None:
    """Train, and print both tables."""
    with tempfile.TemporaryDirectory() as folder:
        s = simulate((256, 256), photons=PHOTONS, camera=CAMERA, seed=1)
        fine = s.pixel_size_um / 2
        config = TrainConfig(
            minutes=0.5, network=NetworkConfig(width=8, depth=2, head=12), patch=48, batch=2, device="cpu"
        )
        train([s.noisy], prepare_psf(s.psf, fine, fine), config, Path(folder) / "run", pixel_size_um=s.pixel_size_um)
        package = export(Path(folder) / "run", Path(folder) / "package")
        brightness(package)
        with load_model(package, engine="onnxruntime") as model:
            found(model.description)


if __name__ == "__main__":
    sys.exit(main())
