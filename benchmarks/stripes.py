"""Fourier damping on simulated volumes: what goes of the stripes, what it costs, and how surely they are found.

    python benchmarks/stripes.py [--seeds 12] [--picture PNG] [IMAGE…]

The images are truths of `zsd simulate --kind 3d`, blurred by a Gaussian of 1 pixel, as a deconvolved volume is; stripes
are white noise across, the same all along, their standard deviation a share of the 99th percentile. PSNR is against the
volume without stripes, of its range. Of every further IMAGE the coherence in both directions is told.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from zsd_optics.damping import LENGTH, WIDTH, coherence, damped, find_stripes, spectrum_picture
from zsd_optics.pictures import montage
from zsd_optics.simulate import simulate
from zsd_runtime.images import read_image

SHAPE = (4, 128, 160)
AMPLITUDES = (0.0, 0.01, 0.03, 0.05, 0.2)
EDGE = 8  # rows from the border that are also told by themselves

Array = NDArray[Any]


def published(plane: Array, width: int, length: float) -> Array:
    """The published bar: of the spectrum of the plane as it is, whose borders jump."""
    rows, columns = plane.shape
    spectrum = np.fft.fftshift(np.fft.fft2(plane))
    cut, middle = round(length * rows / 2), columns // 2
    for part in (slice(0, cut), slice(rows - cut, rows)):
        spectrum[part, middle - width : middle + width + 1] = 0
    return np.real(np.fft.ifft2(np.fft.ifftshift(spectrum)))


def psnr(image: Array, truth: Array, part: Any = slice(None)) -> float:
    return float(10 * np.log10(np.ptp(truth) ** 2 / np.mean((image - truth)[:, part] ** 2)))


def along(volume: Array, direction: str) -> Array:
    """A view in which stripes of `direction` are horizontal."""
    return volume if direction == "horizontal" else volume.swapaxes(1, 2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=Path, nargs="*")
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        volume = ndi.gaussian_filter(simulate(SHAPE, seed=seed).truth, (0, 1, 1)).astype(np.float64)
        bright = np.percentile(volume, 99)
        for direction in ("horizontal", "vertical"):
            clean = along(volume, direction)
            without = np.stack([damped(plane) for plane in clean])
            for amplitude in AMPLITUDES:
                profile = np.random.default_rng(seed).normal(0, amplitude * bright, clean.shape[1])
                stripes = np.broadcast_to(profile[:, None], clean.shape)
                striped = clean + stripes
                ours = np.stack([damped(plane) for plane in striped])
                theirs = np.stack([published(plane, WIDTH, LENGTH) for plane in striped])
                edge = np.r_[:EDGE, -EDGE:0]
                rows.append({
                    "seed": seed, "direction": direction, "amplitude": amplitude,
                    "found": find_stripes(list(along(striped, direction))),
                    "coherence": float(np.mean([coherence(plane) for plane in striped])),
                    "energy_left": float(((ours - without) ** 2).sum() / (stripes**2).sum()) if amplitude else None,
                    "psnr_before": psnr(striped, clean) if amplitude else None, "psnr": psnr(ours, clean),
                    "psnr_edge": psnr(ours, clean, edge), "psnr_published": psnr(theirs, clean),
                    "psnr_published_edge": psnr(theirs, clean, edge),
                    "flux": float(ours.sum() / striped.sum() - 1),
                })  # fmt: skip
                if arguments.picture and (seed, direction, amplitude) == (0, "horizontal", 0.05):
                    iio.imwrite(arguments.picture, montage([striped[2], ours[2].astype(np.float64), clean[2]]))
                    iio.imwrite(
                        arguments.picture.with_stem(arguments.picture.stem + "_spectrum"),
                        spectrum_picture(list(striped), list(ours)),
                    )
    print("| stripes | found in the right direction only | coherence | energy left | PSNR before | after | published | "
          "at the border: after | published |")  # fmt: skip
    for amplitude in AMPLITUDES:
        part = [row for row in rows if row["amplitude"] == amplitude]
        right = sum(row["found"] == ((row["direction"],) if amplitude else ()) for row in part)
        low, high = min(row["coherence"] for row in part), max(row["coherence"] for row in part)

        def mean(key: str, part: list[dict[str, Any]] = part) -> str:
            values = [row[key] for row in part if row[key] is not None]
            return f"{np.mean(values):.3g}" if values else ""

        keys = ("energy_left", "psnr_before", "psnr", "psnr_published", "psnr_edge", "psnr_published_edge")
        print(f"| {amplitude:.0%} | {right} of {len(part)} | {low:.2f} to {high:.2f} | {' | '.join(map(mean, keys))} |")
    print(f"flux off by at most {max(abs(row['flux']) for row in rows):.1e}")
    (Path(__file__).parent / "results" / "stripes.json").write_text(json.dumps(rows, indent=1) + "\n")
    for path in arguments.images:
        image = read_image(path).data
        planes = list(image.reshape(-1, *image.shape[-2:])[:: max(1, len(image) // 16 if image.ndim > 2 else 1)])
        along_x, along_y = np.mean([(coherence(plane), coherence(plane.T)) for plane in planes], axis=0)
        print(f"{path.name}: coherence {along_x:.2f} horizontal, {along_y:.2f} vertical; found: {find_stripes(planes)}")


if __name__ == "__main__":
    main()
