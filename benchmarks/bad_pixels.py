"""What padding, hot pixels, a blank frame and row noise cost a restoration, all of them together.

Images are simulated, spoilt, trained on, and restored; the control is trained and restored without the faults.
Scores are those of the area that both have, against the truth, after a fit of gain and offset; flux is the light there
over the true light, above the true offset of the camera.

python benchmarks/bad_pixels.py [--steps 1500] [--volume-steps 400] [--row-noise 2] [--only 2d] [--pictures DIR]
"""

import argparse
import json
import tempfile
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from zsd_export.export import export
from zsd_optics.metrics import evaluate
from zsd_optics.pictures import enlarged, montage
from zsd_optics.psf import prepare_psf
from zsd_optics.simulate import Camera, simulate
from zsd_runtime.corrections.corrected import Corrections
from zsd_runtime.model import load_model
from zsd_train import TrainConfig, train

CAMERA = Camera(100, 2.0, 2.0)
HOT, LOWEST, HIGHEST = 0.01, 100.0, 2000.0  # share, counts
BORDER = 0.14  # share of each side that is padding, at two sides: 26 % of the area


def spoilt(image, row_noise, rng):
    """An image or volume with hot pixels, row noise, and zeros at two sides."""
    counts = image + rng.normal(0, row_noise, (*image.shape[:-1], 1))
    counts += (rng.random(image.shape[-2:]) < HOT) * rng.uniform(LOWEST, HIGHEST, image.shape[-2:])
    counts = np.clip(np.rint(counts), 0, 65535).astype(np.uint16)
    rows, columns = (round(BORDER * n) for n in image.shape[-2:])
    counts[..., :rows, :], counts[..., -columns:] = 0, 0
    return counts


def inside(image, shape):
    """The part without padding, a few pixels away from it, on a grid that may be finer."""
    finer = image.shape[-1] // shape[-1]
    rows, columns = (finer * (round(BORDER * n) + 4) for n in shape[-2:])
    return image[..., rows:, : image.shape[-1] - columns]


def restored(images, psf, config, corrections, folder):
    """Train on `images`, and restore those that are not blank."""
    run = train(images, psf, config, folder / "run", report=lambda p: p.message and print(f"  {p.message}", flush=True))
    export(folder / "run", folder / "model.zip")
    with load_model(folder / "model.zip", "cpu") as model:
        return run, [model.predict(image, corrections=corrections) for image in images if image.any()]


def measure(kind, steps, seed, row_noise, pictures):
    """One comparison; a row for each output."""
    shape, frames = ((256, 256), 4) if kind == "2d" else ((32, 144, 144), 1)
    scenes = [simulate(shape, photons=60, camera=CAMERA, seed=seed + n) for n in range(frames)]
    psf = prepare_psf(scenes[0].psf, *[_voxel(scenes[0])] * 2)
    rng = np.random.default_rng(seed)
    bad = [spoilt(scene.noisy, row_noise, rng) for scene in scenes]
    clean = [scene.noisy for scene in scenes]
    if kind == "2d":
        bad.insert(1, np.zeros_like(bad[0]))
    else:
        bad[0][shape[0] - 2] = 0
    config = TrainConfig(steps=steps, device="cpu", seed=seed)
    results = {}
    for name, images, lines in (("control", clean, "none"), ("spoilt", bad, "rows")):
        with tempfile.TemporaryDirectory() as folder:
            chosen = config.model_copy(update={"remove_lines": lines})
            corrections = Corrections(lines="Y" if lines == "rows" else "")
            results[name] = restored(images, psf, chosen, corrections, Path(folder))
    rows, slices = [], slice(None) if kind == "2d" else slice(0, shape[0] - 3)
    for output in ("denoised", "deconvolved"):
        row = {"kind": kind, "seed": seed, "row_noise": row_noise, "steps": steps, "output": output}
        truths = [scene.clean if output == "denoised" else scene.truth for scene in scenes]
        true = np.stack([inside(truth, shape)[slices] for truth in truths])
        light = np.mean([inside(scene.clean, shape)[slices].mean() for scene in scenes]) - CAMERA.offset
        for name, (run, predictions) in results.items():
            image = np.stack([inside(prediction[output], shape)[slices] for prediction in predictions])
            pairs = zip(image, true, strict=True)
            row[f"{name}_psnr"] = float(np.mean([evaluate(seen, truth).psnr for seen, truth in pairs]))
            # the estimated offset may include background
            row[f"{name}_flux"] = float((image.mean() + run.offset - CAMERA.offset) / light)
        row["loss_db"] = row["control_psnr"] - row["spoilt_psnr"]
        rows.append(row)
    if pictures:
        _write(pictures / f"bad-pixels-{kind}.png", bad[-1], results, scenes[-1], kind)
    return rows


def _voxel(scene):
    fine = scene.pixel_size_um / 2
    return fine if scene.z_step_um is None or scene.psf.ndim == 2 else (scene.z_step_um, fine)


def _write(path, image, results, scene, kind):
    middle = () if kind == "2d" else (image.shape[0] // 2,)
    panels = [enlarged(np.clip(image[middle], 90, 400), 2), enlarged(results["spoilt"][1][-1]["denoised"][middle], 2)]
    panels += [
        results["spoilt"][1][-1]["deconvolved"][middle],
        results["control"][1][-1]["deconvolved"][middle],
        scene.truth[middle],
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    iio.imwrite(path, montage(panels))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--volume-steps", type=int, default=400)
    parser.add_argument("--row-noise", type=float, default=2.0, help="counts; the read noise is 2")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", choices=("2d", "3d"))
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    for kind, steps in (("2d", arguments.steps), ("3d", arguments.volume_steps)):
        for seed in range(arguments.seeds) if arguments.only in (None, kind) else ():
            for row in measure(kind, steps, seed, arguments.row_noise, arguments.pictures):
                print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}), flush=True)


if __name__ == "__main__":
    main()
