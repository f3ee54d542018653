"""How well a model restores images that it has not seen, beside the best that classical methods can do."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_export.zoo.images import Image, on_grid, simulated, training_psf
from zsd_export.zoo.recipe import Exposure, Recipe, Score
from zsd_optics.metrics import best_gaussian, best_richardson_lucy, evaluate
from zsd_optics.pictures import enlarged, middle, montage
from zsd_runtime.model import Model, load_model
from zsd_runtime.sim.microscope import Sim
from zsd_runtime.sim.reconstruction import reconstruct

Array = NDArray[Any]
WIENER = (0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.9)
SIM_EDGE = 24  # pixels along the border of a reconstruction that are left out
SHOWN = {2: 160, 3: 96}  # raw pixels of a picture's detail, for 2 and 3 axes
MOST_ITERATIONS = 200


@dataclass(frozen=True)
class Restored:
    """A held-out image and what was made of it.

    Attributes
    ----------
    score : Score
    panels : tuple of ndarray
        Noisy (of SIM, the best reconstruction), denoised, deconvolved, truth: each on its own grid.
    """

    score: Score
    panels: tuple[Array, ...]


def scored(package: Path, recipe: Recipe, exposure: Exposure) -> Restored:
    """Restore a held-out image of a recipe with a package, on the CPU."""
    image = simulated(recipe, exposure)
    with load_model(package, "cpu", engine="onnxruntime") as model:
        if image.sim is not None:
            return _of_sim(model, exposure, image, image.sim)
        result = model.predict(image.noisy)
    denoised, deconvolved = result["denoised"], result["deconvolved"]
    truth = on_grid(image.truth, deconvolved.shape)
    psf, _ = training_psf(recipe, image)
    assert psf is not None
    sigmas, gaussian = best_gaussian(image.noisy.astype(np.float32), image.clean)
    iterations, lucy = best_richardson_lucy(
        image.noisy.astype(np.float32), recipe.simulate.offset, psf, truth, MOST_ITERATIONS
    )
    shown = "x".join(f"{sigma:.1f}" for sigma in dict.fromkeys(sigmas))
    score = Score(
        photons=exposure.photons,
        denoised=_rounded(evaluate(denoised, image.clean).psnr), best_filter=_rounded(gaussian.psnr),
        filter=f"Gaussian, sigma {shown} px",
        deconvolved=_rounded(evaluate(deconvolved, truth).psnr), best_richardson_lucy=_rounded(lucy.psnr),
        iterations=iterations,
    )  # fmt: skip
    return Restored(score, (image.noisy, denoised, deconvolved, truth))


def _of_sim(model: Model, exposure: Exposure, image: Image, sim: Sim) -> Restored:
    """The same for raw frames: the classical filter is the Wiener parameter of the reconstruction, and a Gaussian."""
    microscope = model.description.sim
    assert microscope is not None
    seen = reconstruct(image.noisy, microscope)
    result = model.predict(seen)
    clean, truth = _inside(image.clean), _inside(image.truth)

    def with_wiener(wiener: float) -> Sim:
        return replace(sim, parameters=replace(sim.parameters, wiener=wiener))

    candidates = {w: reconstruct(image.noisy, with_wiener(w)) for w in WIENER}
    best = max(WIENER, key=lambda w: evaluate(_inside(candidates[w]), clean).psnr)
    plain = evaluate(_inside(candidates[best]), clean).psnr
    (sigma, _), smoothed = best_gaussian(_inside(candidates[best]), clean)
    with_gaussian = smoothed.psnr > plain
    psf = with_wiener(best).psf((65, 65))
    iterations, lucy = best_richardson_lucy(_inside(candidates[best]), 0.0, psf, truth, MOST_ITERATIONS)
    score = Score(
        photons=exposure.photons,
        denoised=_rounded(evaluate(_inside(result["denoised"]), clean).psnr),
        best_filter=_rounded(max(plain, smoothed.psnr)),
        filter=f"reconstruction, w {best:g}" + f", and Gaussian, sigma {sigma:.1f} px" * with_gaussian,
        deconvolved=_rounded(evaluate(_inside(result["deconvolved"]), truth).psnr),
        best_richardson_lucy=_rounded(lucy.psnr), iterations=iterations,
    )  # fmt: skip
    return Restored(score, (candidates[best], result["denoised"], result["deconvolved"], image.truth))


def picture(restored: Restored) -> NDArray[np.uint8]:
    """Noisy | denoised | deconvolved | truth: the middle of each, with its own grey levels; stacks show a slice."""
    planes = [image if image.ndim == 2 else image[len(image) // 2] for image in restored.panels]
    finest = max(plane.shape[-1] for plane in planes)
    coarsest = min(plane.shape[-1] for plane in planes)
    side = min(SHOWN[restored.panels[0].ndim] * finest // coarsest, finest)
    panels = [middle(enlarged(plane, finest // plane.shape[-1]), side, 1) for plane in planes]
    return montage(panels)


def _inside(image: Array) -> Array:
    return image[SIM_EDGE:-SIM_EDGE, SIM_EDGE:-SIM_EDGE]


def _rounded(decibel: float) -> float:
    return round(decibel, 2)
