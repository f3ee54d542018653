"""Score what `make demo` made, beside the classical methods at their best, and draw demo/montage.png."""

import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import scipy.ndimage as ndi

from zsd_optics.filters import richardson_lucy
from zsd_optics.metrics import best_gaussian, best_richardson_lucy, evaluate
from zsd_optics.pictures import GAP, enlarged, middle, montage
from zsd_runtime.images import read_image
from zsd_train.run import load_run

SIDE = 160  # raw pixels of the detail shown


def main(folder: Path) -> None:
    noisy, clean, truth, psf = (
        read_image(folder / "sample" / f"{name}.tif").data.astype(np.float64)
        for name in ("noisy", "clean", "truth", "psf")
    )
    denoised, deconvolved = (read_image(folder / f"noisy_{name}.tif").data for name in ("denoised", "deconvolved"))
    offset = load_run(folder / "run").offset
    sigma, gaussian = best_gaussian(noisy, clean)
    iterations, lucy = best_richardson_lucy(noisy, offset, psf, truth)
    *_, lucy_image = richardson_lucy(noisy - offset, psf, 2, iterations)
    print(f"{'':34}PSNR dB   SSIM")
    for name, scores in (
        ("noisy image", evaluate(noisy, clean)),
        (f"best Gaussian filter (σ {sigma[0]:.1f} px)", gaussian),
        ("denoised", evaluate(denoised, clean)),
        (f"best Richardson-Lucy ({iterations} iterations)", lucy),
        ("deconvolved", evaluate(deconvolved, truth)),
    ):
        print(f"{name:34}{scores.psnr:7.2f}  {scores.ssim:.4f}")
    above = noisy.mean() - offset
    print(f"flux kept: denoised {denoised.mean() / above:.2%}, deconvolved {deconvolved.mean() / above:.2%}")
    raw = [enlarged(middle(image, SIDE, 1), 2) for image in (noisy, ndi.gaussian_filter(noisy, sigma), denoised, clean)]
    fine = [middle(image, 2 * SIDE, 1) for image in (lucy_image, deconvolved, truth)]
    top, bottom = montage(raw), montage(fine)
    left = np.full((bottom.shape[0], top.shape[1] - bottom.shape[1]), 255, np.uint8)
    line = np.full((GAP, top.shape[1]), 255, np.uint8)
    iio.imwrite(folder / "montage.png", np.vstack([top, line, np.hstack([left, bottom])]))
    print(
        f"{folder}/montage.png: noisy | best Gaussian | denoised | clean; below: Richardson-Lucy | deconvolved | truth"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
