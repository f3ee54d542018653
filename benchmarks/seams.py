"""The largest step that tiling makes between neighbouring voxels, as a share of the signal around: of any package.

    python benchmarks/seams.py PACKAGE [--size 64x512x512] [--image TIFF] [--tile ZxYxX] [--larger ZxYxX]

Two tilings of one image, whose seams lie at different places, are compared: what is in both is the image, and a step of
their difference is a seam of one of them. Where tiles differ in gain, their difference also has the image's texture;
so it is averaged over the plane across the axis of each step, where a seam is as long as a tile. Small tiles if not
told: about as much core as halo. No tile needs to hold the whole volume.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from zsd_runtime import Model, load_model
from zsd_runtime.images import read_image
from zsd_runtime.terminal import numbers

AROUND = 9  # voxels along each axis that are averaged, for the local signal and for the steps
DARK = 0.05  # share of the bright signal (its 99.9th percentile) that counts where there is less


def largest_step(
    model: Model, image: NDArray[Any], tile: Sequence[int], larger: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """Of each output: the largest step, a share of the local signal; tiles of both; the largest difference alike."""
    d = model.description
    plans = [model.plan(image.shape, t) for t in (tile, larger)]
    cut = [axis for axis in range(image.ndim) if any(len(p.lines[axis]) > 1 for p in plans)]
    one, other = (model.predict(image, tile=t) for t in (tile, larger))
    result = {}
    for output in d.outputs:
        a, b = (on_raw_grid(getattr(p, output.name), output.scale) for p in (one, other))
        above = a - np.percentile(a, 1)  # a random network's background is not 0
        signal = ndi.uniform_filter(above, AROUND)
        np.maximum(signal, DARK * np.percentile(above, 99.9), out=signal)
        drift = a - b
        steps = []
        for axis in cut:
            across = [1 if i == axis else AROUND for i in range(a.ndim)]
            near = np.minimum(*(np.take(signal, range(k, a.shape[axis] - 1 + k), axis) for k in (0, 1)))
            steps.append((np.abs(np.diff(ndi.uniform_filter(drift, across), axis=axis)) / near).max())
        result[output.name] = {
            "step": float(max(steps, default=0)), "tiles": [len(p) for p in plans],
            "difference": float((np.abs(drift) / signal).max()),
        }  # fmt: skip
    return result


def on_raw_grid(values: NDArray[np.float32], scale: Sequence[int]) -> NDArray[np.float32]:
    """Means of what a raw voxel has become: upsampling leaves a pattern in it, of which no seam is made."""
    shape = [m for n, k in zip(values.shape, scale, strict=True) for m in (n // k, k)]
    return values.reshape(shape).mean(axis=tuple(range(1, len(shape), 2)))


def synthetic(shape: Sequence[int]) -> NDArray[np.uint16]:
    """Structures under shot noise, bright on one side and dark on the other, so that tiles differ."""
    random = np.random.default_rng(0)
    points = ndi.gaussian_filter((random.random(shape) < 2e-3).astype(np.float32), (0.7, 1.5, 1.5))
    light = points / points.max() * np.linspace(20, 400, shape[-1]) + 20
    return (random.poisson(light) + 100).astype(np.uint16)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("package", type=Path)
    parser.add_argument("--size", default="64x512x512")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--tile")
    parser.add_argument("--larger")
    arguments = parser.parse_args()
    image = read_image(arguments.image).data if arguments.image else synthetic(numbers(arguments.size, "--size") or ())
    with load_model(arguments.package, device="cpu") as model:
        halo = model.description.halo
        tile = numbers(arguments.tile, "--tile") or tuple(4 * h + 16 for h in halo)
        larger = numbers(arguments.larger, "--larger") or tuple(n + n // 3 for n in tile)
        print(json.dumps(largest_step(model, image, tile, larger), indent=1))


if __name__ == "__main__":
    main()
