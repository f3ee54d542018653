"""Resolution and error map by zsd and by NanoPyx, on the same simulated images.

    python benchmarks/oracle_nanopyx.py                                  (NanoPyx beside zsd: pip install "zsd[oracle]")
    python benchmarks/oracle_nanopyx.py --nanopyx OTHER/bin/python       (NanoPyx in another virtual environment)

tests/test_oracles.py has NanoPyx's numbers from here, so that the test needs no NanoPyx.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
STRUCTURES = ("cell", "filaments", "membranes", "points")
PHOTONS = (20, 100, 500)
# The details of NanoPyx 2.1.5 in words of `zsd_optics.decorrelation.Details`, with as many radii as zsd takes.
NANOPYX = {"radii": 200, "finest_sigma_px": 0.14, "cut_sigma": 4, "nearest_ring": True, "odd_sides": False}


def images(structure: str, photons: int) -> dict[str, Array]:
    """Two exposures of a scene, and results: denoised, without blur on the grid of the image, and on a finer one."""
    import scipy.ndimage as ndi

    from zsd_optics.pictures import binned
    from zsd_optics.simulate import Camera, simulate

    camera = Camera(100, 1, 2)
    made = simulate((512, 512), sample=structure, photons=photons, camera=camera, seed=1)
    electrons = np.maximum(made.clean.astype(np.float64) - 100, 0)
    part = (slice(128, 384), slice(128, 384))  # an error map needs no more
    truth = made.truth[256:768, 256:768]
    return {
        "first": made.noisy,
        "second": camera.expose(electrons, np.random.default_rng(7)),
        "image": made.noisy[part],
        "denoised": ndi.gaussian_filter(made.noisy[part].astype(np.float32), 1.0),
        "deconvolved": binned(truth, 2),
        "fine": truth,
    }


def by_zsd(given: dict[str, Array]) -> dict[str, float]:
    """FRC and decorrelation (pixels), and the error maps of the three results."""
    from zsd_optics.decorrelation import Details, decorrelation_analysis
    from zsd_optics.error_map import error_map
    from zsd_optics.resolution import fourier_ring_correlation

    found = {
        "frc": fourier_ring_correlation(given["first"], given["second"]).resolution_px,
        "decorrelation": decorrelation_analysis(given["first"]).resolution_px,
        "same details": decorrelation_analysis(given["first"], details=Details(**NANOPYX)).resolution_px,
    }
    for name in ("denoised", "deconvolved", "fine"):
        made = error_map(given[name], given["image"])
        found |= {f"{name} RSE": made.rse, f"{name} RSP": made.rsp, f"{name} sigma": made.sigma_px}
        found |= {f"{name} mean": float(made.map.mean())}
    return found


def by_nanopyx(given: dict[str, Array]) -> dict[str, float]:
    """The same by NanoPyx; decorrelation with as many radii as zsd takes."""
    from nanopyx.core.analysis.decorr import DecorrAnalysis
    from nanopyx.core.analysis.frc import FIRECalculator
    from nanopyx.core.transform.error_map import ErrorMap

    decorrelation = DecorrAnalysis(n_r=NANOPYX["radii"], n_g=10)
    decorrelation.run_analysis(given["first"])
    found = {
        "frc": FIRECalculator(pixel_size=1).calculate_fire_number(given["first"], given["second"]),
        "decorrelation": decorrelation.resolution,
        "same details": decorrelation.resolution,
    }
    for name in ("denoised", "deconvolved", "fine"):
        made = ErrorMap()
        made.optimise(given["image"], given[name])
        found |= {f"{name} RSE": made.getRSE(), f"{name} RSP": made.getRSP(), f"{name} sigma": made.get_sigma()}
        found |= {f"{name} mean": float(np.asarray(made.imRSE).mean())}
    return found


def elsewhere(python: str) -> Callable[[dict[str, Array]], dict[str, float]]:
    """`by_nanopyx` in another interpreter."""

    def measured(given: dict[str, Array]) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "images.npz"
            np.savez(file, **given)  # type: ignore[arg-type]
            run = subprocess.run([python, __file__, "--measure", str(file)], capture_output=True, text=True, check=True)
        return dict(json.loads(run.stdout.splitlines()[-1]))  # NanoPyx prints lines of its own before

    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanopyx", metavar="PYTHON", help="interpreter that has NanoPyx")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--structures", nargs="*", default=STRUCTURES)
    given = parser.parse_args()
    if given.measure:
        with np.load(given.measure) as file:
            print(json.dumps(by_nanopyx(dict(file))))
        return
    other = elsewhere(given.nanopyx) if given.nanopyx else by_nanopyx
    for structure in given.structures:
        for photons in PHOTONS:
            scene = images(structure, photons)
            mine, theirs = by_zsd(scene), other(scene)
            print(f"{structure}, {photons} photo-electrons")
            for name, value in theirs.items():
                ratio = mine[name] / value if abs(value) > 1e-6 else float("nan")  # -0.0: no peak
                print(f"  {name:18} zsd {mine[name]:9.4f}  NanoPyx {value:9.4f}  ratio {ratio:.4f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
