"""napari-sim-processor (BSD-3) on raw frames, in a Python environment that has it; `benchmarks/sim.py` starts this.

    python benchmarks/sim_peer.py IN.npz OUT.npz

Its widget needs Qt, its processor does not: the widget is left out.
"""

import sys
import time
import types
from typing import Any

import numpy as np

WIENER = (0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)


def main() -> None:
    widget: Any = types.ModuleType("napari_sim_processor._sim_widget")
    widget.SimAnalysis = widget.reshape = None
    sys.modules[widget.__name__] = widget
    from napari_sim_processor.processors.convSimProcessor import ConvSimProcessor

    given = np.load(sys.argv[1])
    frames = given["frames"].astype(np.float32)
    found = {}
    for w in WIENER:
        processor = ConvSimProcessor(3, 3)
        processor.debug = False
        processor.magnification, processor.pixelsize = 1.0, float(given["pixel_size_um"])
        processor.NA, processor.n, processor.wavelength = (
            float(given[name]) for name in ("na", "index", "wavelength_um")
        )
        processor.w, processor.eta, processor.beta = w, float(given["eta"]), 0.0
        # Its arrays are allocated only when both sides of the image changed.
        processor.Ny, processor.Nx = frames.shape[-2:]
        started = time.process_time()
        processor.calibrate(frames)
        calibrated = time.process_time()
        found[f"w{w}"] = processor.reconstruct_rfftw(frames)
        times = []
        for _ in range(5):
            begun = time.process_time()
            processor.reconstruct_rfftw(frames)
            times.append(time.process_time() - begun)
        found["seconds"] = np.array([calibrated - started, min(times)])
        found["waves"] = np.concatenate([processor.ky, processor.kx], axis=1)
    np.savez(sys.argv[2], **found)


if __name__ == "__main__":
    main()
