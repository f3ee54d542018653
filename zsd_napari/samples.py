"""Sample data: simulated images, of which the truth is known."""

from typing import Any

import numpy as np

Layer = tuple[Any, dict[str, Any], str]
UM = "um"
OFFSET, GAIN, READ_NOISE = 100.0, 2.0, 3.0  # as of the models that come with zsd
PIXEL_UM = 0.065
FIRST_PHASES = (0.4, 1.9, 3.3)  # radians, of the stripes that sim-2d was trained with
SIDE = 256  # pixels of the plane
WORST, BEST = 1.0, 99.9  # percentiles, for the contrast


def plane() -> list[Layer]:
    """A noisy plane of a cell, its PSF and its truth."""
    from zsd_optics.simulate import Camera, simulate

    made = simulate((SIDE, SIDE), photons=40, camera=Camera(OFFSET, GAIN, READ_NOISE), pixel_size_um=PIXEL_UM, seed=1)
    return _layers("cell", made.noisy, made.truth, made.psf, (made.pixel_size_um,) * 2)


def volume() -> list[Layer]:
    """A noisy volume of a cell, its PSF and its truth."""
    from zsd_optics.simulate import Camera, simulate

    made = simulate((24, 96, 96), photons=30, camera=Camera(OFFSET, GAIN, READ_NOISE), seed=2)
    assert made.z_step_um is not None
    return _layers("cell volume", made.noisy, made.truth, made.psf, (made.z_step_um, *(made.pixel_size_um,) * 2))


def raw_sim() -> list[Layer]:
    """Raw frames of structured illumination, for the model sim-2d, and their truth."""
    from zsd_optics.sim.simulate import Illumination, simulate_sim
    from zsd_optics.simulate import Camera

    made = simulate_sim(
        (192, 192), photons=60, camera=Camera(OFFSET, GAIN, READ_NOISE), pixel_size_um=PIXEL_UM,
        illumination=Illumination(first_phases_rad=FIRST_PHASES), seed=3,
    )  # fmt: skip
    step = (made.sim.parameters.pixel_size_um,) * 2
    layers = _layers("raw SIM", made.raw, made.truth, None, (1.0, *step))
    layers[-1][1].update(axis_labels=("t", "y", "x"), units=("pixel", UM, UM))
    return layers


def _layers(name: str, noisy: Any, truth: Any, psf: Any, step: tuple[float, ...]) -> list[Layer]:
    """The truth and the PSF hidden, the noisy image above them."""
    labels = tuple("zyx"[-noisy.ndim :])
    raw = {
        "name": name, "scale": step, "units": (UM,) * len(step), "axis_labels": labels, "colormap": "gray",
        "contrast_limits": _levels(noisy),
    }  # fmt: skip
    fine_step = (*step[-truth.ndim : -2], *(s / 2 for s in step[-2:]))
    fine = {
        "units": (UM,) * truth.ndim, "axis_labels": tuple("zyx"[-truth.ndim :]), "scale": fine_step, "visible": False,
    }  # fmt: skip
    corner = (*(0.0 for _ in fine_step[:-2]), *(-s / 4 for s in step[-2:]))  # of the first fine pixel's centre
    layers: list[Layer] = [
        (truth, fine | {"name": f"{name} truth", "translate": corner, "contrast_limits": _levels(truth)}, "image")
    ]
    if psf is not None:
        middle = tuple(-(n // 2) * s for n, s in zip(psf.shape, fine_step, strict=True))
        shown = {"name": f"{name} PSF", "translate": middle, "contrast_limits": (0.0, float(psf.max())), "gamma": 0.5}
        layers.append((psf.astype(np.float32), fine | shown, "image"))
    return [*layers, (noisy, raw, "image")]


def _levels(image: Any) -> tuple[float, float]:
    low, high = np.percentile(image, (WORST, BEST))
    return float(low), float(high)
