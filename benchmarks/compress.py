"""What a smaller network loses of a larger one, and how much faster it is.

    python benchmarks/compress.py --teacher-minutes 24 --minutes 7
    python benchmarks/compress.py --teacher RUN --minutes 7         (a run of this simulated image, trained before)

One simulated image (512², 30 photo-electrons at the peak). The teacher has the published widths (`reference`), with
small batches and a higher learning rate: there are few steps in minutes on a CPU. Students: compact, distilled; and the
teacher with half of its channels, pruned. All are compared in one run, as `zsd compress` does.
Results: benchmarks/results/compress.json, docs/compress.png.
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch

from zsd_export.cli import table
from zsd_export.compare import compare, picture
from zsd_export.compress import student_config
from zsd_optics.metrics import evaluate
from zsd_optics.psf import prepare_psf
from zsd_optics.simulate import Camera, simulate
from zsd_train import TrainConfig, load_run, train

RESULTS = Path(__file__).parent / "results" / "compress.json"
PICTURE = Path(__file__).parent.parent / "docs" / "compress.png"
STUDENTS = {"compact, distilled": None, "half the width, pruned": 16}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--teacher-minutes", type=float, default=24)
    parser.add_argument("--minutes", type=float, default=7)
    arguments = parser.parse_args()
    s = simulate((512, 512), photons=30, camera=Camera(100, 1, 2), seed=1)
    fine = s.pixel_size_um / 2
    psf = prepare_psf(s.psf, fine, fine)
    truths = {"denoised": s.clean, "deconvolved": s.truth}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.teacher is None:
            arguments.teacher = folder / "teacher"
            config = TrainConfig(
                preset="reference", patch=64, batch=2, learning_rate=1e-3, minutes=arguments.teacher_minutes
            )
            train([s.noisy], psf, config, arguments.teacher, pixel_size_um=s.pixel_size_um)
        runs = {"reference, the teacher": load_run(arguments.teacher)}
        for title, width in STUDENTS.items():
            teacher = load_run(arguments.teacher)
            config = student_config(teacher, width, {"minutes": arguments.minutes})
            runs[title] = train(
                [s.noisy], psf, config, folder / title, teacher=teacher,
                report=lambda p: print(p.step, p.message, flush=True) if p.message else None,
            )  # fmt: skip
        rows, restored = compare(runs, s.noisy, truths)
    first, *students = [p for (_, precision), p in restored.items() if precision == "fp32"]
    iio.imwrite(PICTURE, picture(first, students))
    print(table(rows))
    content = {
        "teacher_psnr": {name: evaluate(getattr(first, name), truth).psnr for name, truth in truths.items()},
        "minutes": arguments.minutes, "threads": torch.get_num_threads(),
        "steps": {name: run.measured.steps for name, run in runs.items()},
        "seconds": {name: run.measured.seconds for name, run in runs.items()},
        "noisy_psnr": evaluate(s.noisy.astype(np.float64), s.clean).psnr, "rows": [asdict(row) for row in rows],
    }  # fmt: skip
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
