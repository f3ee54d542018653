"""How much an image must be continued at its edges: RMSE by the distance from them, for several widths.

    python benchmarks/edges.py demo           (after `make demo`)

The image is continued by reflection, goes through the network at once, and is compared with the truth.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

from zsd_runtime.images import read_image
from zsd_runtime.normalize import Linear
from zsd_runtime.package import read_package

RINGS = ((0, 1), (1, 4), (4, 8), (8, 16), (16, 10000))  # pixels from the nearest edge


def main() -> None:
    folder = Path(sys.argv[1])
    description = read_package(folder / "model.zip")
    session = ort.InferenceSession(description.weights)
    noisy, clean = (read_image(folder / "sample" / f"{name}.tif").data for name in ("noisy", "clean"))
    before, after = description.input.processing, description.outputs[0].processing
    assert isinstance(before, Linear)
    assert isinstance(after, Linear)
    truth = clean + before.intercept / before.slope  # above the offset
    lines = [np.minimum(np.arange(n), np.arange(n)[::-1]) for n in noisy.shape]
    distance = np.minimum.outer(*lines)
    print("denoised, RMSE in counts" + "".join(f"{low:>6}-{high - 1}" for low, high in RINGS[:-1]) + "  inside")
    for width in (0, 8, 16, description.halo[0]):
        batch = before(np.pad(noisy, width, mode="reflect"))[None, None]
        restored = after(session.run(["denoised"], {"noisy": batch})[0])[0, 0]
        inside = tuple(slice(width, width + n) for n in noisy.shape)
        error = np.square(restored[inside] - truth)
        rings = (error[(distance >= low) & (distance < high)].mean() ** 0.5 for low, high in RINGS)
        print(f"  continued by {width:3} px     " + "".join(f"{value:8.2f}" for value in rings))


if __name__ == "__main__":
    main()
