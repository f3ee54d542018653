"""What error map, residual and linearity say of results that are right, too smooth, or wrong.

    python benchmarks/error_map.py [PHOTONS] [STRUCTURE] [PICTURE.png]

The image is simulated. The picture has a row for each result: image, reblurred result, residual (± 4 standard
deviations), local mean of the difference (± 6 standard errors), autocorrelation of the residual (± 0.2).
"""

import sys
from collections import deque
from typing import Any

import imageio.v3 as iio
import numpy as np
import scipy.ndimage as ndi

from zsd_optics.error_map import error_map, error_significance
from zsd_optics.filters import richardson_lucy
from zsd_optics.imaging import reblurred
from zsd_optics.linearity import linearity
from zsd_optics.noise import estimate_noise
from zsd_optics.pictures import enlarged, grey_levels, montage
from zsd_optics.psf import resampled
from zsd_optics.residuals import residuals
from zsd_optics.simulate import Camera, simulate

Array = np.ndarray[Any, Any]
OFFSET = 100.0
WIDTHS = {"right": 1.0, "1.5 times too wide": 1.5, "1.5 times too narrow": 1 / 1.5}


def results(photons: float, structure: str) -> tuple[Array, dict[str, tuple[Array, Array | None]]]:
    """An image, and results: counts with the offset, or counts above it and the PSF that they were made with."""
    camera = Camera(OFFSET, 2.0, 3.0)
    made = simulate((256, 256), sample=structure, photons=photons, camera=camera, seed=3)
    other = simulate((256, 256), sample="membranes" if structure == "cell" else "cell", photons=photons, camera=camera)
    image, clean = made.noisy.astype(np.float64), made.clean.astype(np.float64)
    psf = made.psf / made.psf.sum()
    found: dict[str, tuple[Array, Array | None]] = {"truth": (clean, None), "truth, sharp": (made.truth, psf)}
    for sigma in (0.7, 1.0, 1.5, 2.5, 4.0):
        found[f"Gaussian, σ {sigma} px"] = ndi.gaussian_filter(image, sigma), None
    for name, width in WIDTHS.items():
        kernel = widened(psf, width)
        for iterations in (10, 40):
            last = deque(richardson_lucy(image - OFFSET, kernel, 2, iterations), maxlen=1)[0]
            found[f"RL {iterations}, PSF {name}"] = last, kernel
    found["another structure"] = ndi.gaussian_filter(other.noisy.astype(np.float64), 1), None
    found["truth, 10 % too bright"] = OFFSET + 1.1 * (clean - OFFSET), None
    bright = clean - OFFSET
    found["truth, bent (power 0.9)"] = OFFSET + np.clip(bright, 0, None) ** 0.9 * bright.max() ** 0.1, None
    y, x = np.unravel_index(np.argmax(clean), clean.shape)
    rows, columns = np.ogrid[: clean.shape[0], : clean.shape[1]]
    spot = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 2 / 2.5**2)
    found["truth without its brightest spot"] = OFFSET + bright * (1 - spot), None
    return image, found


def widened(psf: Array, width: float) -> Array:
    """The PSF, wider by a factor."""
    middle = (np.array(psf.shape) - 1) / 2
    radii = np.minimum((np.array(psf.shape) // 2 * width).astype(int), np.array(psf.shape) // 2)
    wide = np.clip(resampled(psf, middle, np.full(2, 1 / width), radii), 0, None)
    return wide / wide.sum()


def main() -> None:
    photons, structure, picture = [*sys.argv[1:], *("100", "cell", "")[len(sys.argv) - 1 :]]
    image, found = results(float(photons), structure)
    noise = estimate_noise([image])
    print(f"{structure}, {photons} photo-electrons: gain {noise.gain:.2f}, offset {noise.offset:.1f}")
    rows = []
    for name, (result, psf) in found.items():
        sharp = psf is not None
        expected = reblurred(result, image.shape, psf, offset=OFFSET if sharp else 0)
        left, where = residuals(expected, image, noise), error_significance(expected, image, noise)
        squirrel = error_map(result, image, psf, sigma_px=None if sharp else 0)
        light = linearity(result, image, noise, offset=OFFSET, result_offset=0 if sharp else OFFSET)
        print(
            f"{name:34} SD {left.deviation:.3f}  next {left.correlation_x:+.3f}  largest {left.largest:+.3f}"
            f"  brightest {left.by_brightness[-1].mean:+.2f}  | local mean: rms {where.deviation:5.2f}"
            f"  beyond 3: {100 * where.beyond:5.2f} %  largest {where.largest:+6.1f}"
            f"  | RSE {squirrel.rse:.2f}  RSP {squirrel.rsp:.3f}"
            f"  | slope {light.slope:.3f} ± {light.slope_error:.3f}  bend {light.bend:+.3f}  flux {light.flux:.3f}"
        )
        lags = left.autocorrelation.copy()
        lags[lags.shape[0] // 2, lags.shape[1] // 2] = 0
        shown = np.pad(enlarged(lags, 15), ((0, 1), (0, 0)))
        panels = [montage([a], levels) for a, levels in (
            (image, grey_levels(image)), (expected, grey_levels(image)), (left.map, (-4, 4)), (where.map, (-6, 6)),
            (shown, (-0.2, 0.2)),
        )]  # fmt: skip
        rows.append(np.hstack(panels))
    if picture:
        iio.imwrite(picture, np.vstack(rows))


if __name__ == "__main__":
    main()
