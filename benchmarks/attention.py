"""What channel attention over a window costs in dB, against the published mean over whole tiles.

    python benchmarks/attention.py --steps 200

Two RCAN3D that differ in this alone (width 16, two blocks), trained on the same simulated volume for the same number
of steps; each predicts the volume whole and in tiles. Results: benchmarks/results/attention.json.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from restoration_3d import PIXEL_UM, STEP_UM, machine, simulation

from zsd_export import Credits, export
from zsd_optics.metrics import evaluate
from zsd_optics.psf import prepare_psf
from zsd_runtime import load_model
from zsd_train import train
from zsd_train.config import make_config

RESULTS = Path(__file__).parent / "results" / "attention.json"
WINDOWS = {"window": (5, 17, 17), "global": "global"}
NETWORK = {"kind": "rcan", "width": 16, "blocks": 2, "head": 16}
TILES = {"whole": None, "tiles": (64, 128, 128)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    s = simulation(0)
    fine = (STEP_UM, PIXEL_UM / 2)
    psf = prepare_psf(s.psf, fine, fine)
    for name, window in WINDOWS.items():
        config = make_config(
            axes="zyx", steps=arguments.steps, batch=2, slices=16, patch=48, learning_rate=1e-3,
            network=NETWORK | {"window": window},
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            run = train([s.noisy], psf, config, Path(folder) / "run", pixel_size_um=PIXEL_UM, z_step_um=STEP_UM)
            package = export(Path(folder) / "run", Path(folder) / "model.zip", credits=Credits("benchmark"))
            with load_model(package) as model:
                results = {label: model.predict(s.noisy, tile=tile or s.noisy.shape) for label, tile in TILES.items()}
        row = {
            label: {
                "denoised": evaluate(r.denoised, s.clean).psnr,
                "deconvolved": evaluate(r.deconvolved, s.truth).psnr,
            }
            for label, r in results.items()
        }
        whole, tiles = results["whole"].deconvolved, results["tiles"].deconvolved
        row["largest difference"] = float(np.abs(whole - tiles).max() / np.ptp(whole))
        row |= machine(run) | {"seconds": run.measured.seconds}
        print(name, json.dumps(row), flush=True)
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps(known | {name: row}, indent=1) + "\n")


if __name__ == "__main__":
    main()
