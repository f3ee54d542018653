"""`zsd zoo make`: a model again, from its recipe alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import tomli_w

from zsd_export.convert import convert
from zsd_export.export import export
from zsd_export.zoo.images import simulated, training_psf
from zsd_export.zoo.recipe import Recipe, Score, StartRecipe, StartScore
from zsd_export.zoo.scores import picture, scored
from zsd_runtime.errors import InputError
from zsd_runtime.files import written_whole
from zsd_runtime.package import read_package
from zsd_runtime.zoo import PACKAGE, WEIGHTS

SCORES = "scores.toml"

Report = Callable[[float, str], None]  # the share that is done (0..1), and what happens
Scores = tuple[Score, ...] | tuple[StartScore, ...]


def make(recipe: Recipe | StartRecipe, out: Path, report: Report = lambda share, text: None) -> Scores:
    """Make a model from its recipe.

    Parameters
    ----------
    recipe : Recipe or StartRecipe
    out : path
        New folder: model.zip or weights.safetensors, scores.toml, and a picture of each held-out image.
    report : callable
        Gets the progress.

    Returns
    -------
    tuple of Score or StartScore
        What was measured, in the order of the recipe's.

    Raises
    ------
    InputError
        When `out` exists or cannot be written. Nothing is left of an interrupted making.
    """
    if out.exists() or out.is_symlink():
        raise InputError(f"{out} exists already", "choose a new folder for what is made", option="out")
    with written_whole(out) as folder:
        folder.mkdir(parents=True)
        made = _start(recipe, folder, report) if isinstance(recipe, StartRecipe) else _model(recipe, folder, report)
        (folder / SCORES).write_text(scores_text(made), "utf-8")
    return made


def scores_text(scores: Scores) -> str:
    """As a recipe holds them."""
    return tomli_w.dumps({"scores": [score.model_dump() for score in scores]})


def _start(recipe: StartRecipe, folder: Path, report: Report) -> tuple[StartScore, ...]:
    from zsd_train.pretrain import Budget, pretrain

    p = recipe.pretrain
    left = pretrain(p.axes, Budget(steps=p.steps), folder / WEIGHTS, p.seed, lambda text: report(0.0, text))
    return (StartScore(noise_db=round(left.noise_db, 2), blur_db=round(left.blur_db, 2)),)


def _model(recipe: Recipe, folder: Path, report: Report) -> tuple[Score, ...]:
    from zsd_train.training import train

    images = []
    for number, exposure in enumerate(recipe.train_on, 1):
        report(0.0, f"simulating image {number} of {len(recipe.train_on)}")
        images.append(simulated(recipe, exposure))
    psf, source = training_psf(recipe, images[0])
    s = recipe.simulate
    run = train(
        [image.noisy for image in images], psf, recipe.config, folder / "run", pixel_size_um=s.pixel_size_um,
        z_step_um=s.z_step_um, psf_source=source, sim=images[0].sim,
        report=lambda p: report(0.05 + 0.8 * p.fraction, str(p)),
    )  # fmt: skip
    return package(recipe, run.folder, folder, report)


def package(recipe: Recipe, run: Path, folder: Path, report: Report) -> tuple[Score, ...]:
    """Write the package of a run that was trained by a recipe, with its scores, and a picture of each held-out image.

    Raises
    ------
    VerificationError
        When the model loses too much in int8: those who use it on slow machines may want that.
    """
    report(0.85, "exporting: measuring the model")
    how: dict[str, Any] = {"credits": recipe.export.credits, "test": recipe.export.test_size}
    exported, eight_bits = export(run, folder / "exported.zip", **how), folder / "int8.zip"
    lost = read_package(export(run, eight_bits, precision="int8", **how)).facts["precision_loss_db"]
    restored = []
    for number, exposure in enumerate(recipe.held_out, 1):
        report(0.9, f"restoring held-out image {number} of {len(recipe.held_out)}")
        restored.append(scored(exported, recipe, exposure))
        iio.imwrite(folder / f"held_out_{number}.png", picture(restored[-1]))
    scores = tuple(r.score for r in restored)
    convert(exported, folder / PACKAGE, credits=recipe.export.credits, validation=validation(scores, lost))
    exported.unlink()
    eight_bits.unlink()
    return scores


def validation(scores: tuple[Score, ...], lost_in_int8: dict[str, float]) -> dict[str, str]:
    """Lines for the package's page, by name."""
    lost = ", ".join(f"{name} {loss:.2f} dB" for name, loss in lost_in_int8.items())
    return {
        f"Simulated image of {s.photons:g} photo-electrons": f"denoised {s.denoised:.1f} dB (best classical filter, "
        f"{s.filter}: {s.best_filter:.1f} dB); deconvolved {s.deconvolved:.1f} dB (best Richardson-Lucy, "
        f"{s.iterations} iterations: {s.best_richardson_lucy:.1f} dB); PSNR against what was simulated, on an "
        "image that took no part in the training"
        for s in scores
    } | {"PSNR lost in int8": f"{lost} (this package is fp32)"}


def beyond_tolerance(recipe: Recipe | StartRecipe, measured: Scores) -> list[str]:
    """Each score of a remake that differs from the recorded one by more than the recipe allows, in words."""
    recorded: Any = recipe.scores
    return [
        f"{name} differs by {difference:+.2f} dB"
        for old, new in zip(recorded, measured, strict=True)
        for name, difference in old.differences(new).items()
        if abs(difference) > recipe.tolerance_db
    ]  # fmt: skip
