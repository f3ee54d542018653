"""`zsd zoo make`, beside the verbs that need no torch."""

from pathlib import Path
from typing import Annotated, Any

import typer

from zsd_export.zoo.recipe import Recipe, StartRecipe, read_recipe
from zsd_runtime.terminal import Quiet, progress_bar, reporting
from zsd_runtime.zoo import RECIPE, entry_of
from zsd_runtime.zoo_cli import app, verbs

__all__ = ["app"]

verbs.registered_commands = [command for command in verbs.registered_commands if command.name != "make"]


@verbs.command("make")
def make(
    name: Annotated[str, typer.Argument(help="Name of a model of the zoo, or a recipe, TOML.")],
    out: Annotated[Path, typer.Option(help="New folder for the package, its scores, and pictures to look at.")],
    quiet: Quiet = False,
) -> None:
    """Make a model again from its recipe, and compare its scores with the recorded ones.

    The exit status is 0 if all scores are within the recipe's tolerance. A recipe without scores has nothing to be
    compared with.
    """
    with reporting(quiet):
        from zsd_export.zoo.make import beyond_tolerance
        from zsd_export.zoo.make import make as make_model

        recipe = read_recipe(recipe_path(name))
        with progress_bar("making", quiet) as bar:
            measured = make_model(recipe, out, lambda share, text: bar(share, text, share in (0.0, 0.85, 0.9)))
        if not quiet:
            print(table(recipe, measured))
        if not recipe.scores:
            print(f"OK {out} is made; its recipe records no scores to compare with")
            return
        if beyond := beyond_tolerance(recipe, measured):
            raise RuntimeError(f"{out} is made, and is another model than the recorded one: {'; '.join(beyond)}")
        print(f"OK {out} is made; its scores are within {recipe.tolerance_db:g} dB of the recorded ones")


def recipe_path(name: str) -> Path:
    """The recipe of a model, or a file."""
    if name.endswith(".toml"):
        return Path(name)
    return entry_of(name).path(RECIPE)


def table(recipe: Recipe | StartRecipe, measured: Any) -> str:
    """Each measured score beside the recorded one."""
    lines = ["score                                measured  recorded"]
    recorded: Any = recipe.scores or [None] * len(measured)
    for new, old in zip(measured, recorded, strict=True):
        of = f", {new.photons:g} photons" if hasattr(new, "photons") else ""
        for name, value in new.model_dump().items():
            if name == "photons" or not isinstance(value, float):
                continue
            known = f"{getattr(old, name):>6.2f} dB" if old else "none"
            lines.append(f"{name.replace('_', ' ') + of:<35} {value:>6.2f} dB {known:>9}")
    return "\n".join(lines)
