"""Runs of several channels, and the package of each."""

from pathlib import Path

from zsd_runtime.errors import InputError


def packages_of(source: Path, package: Path, *, overwrite: bool = False) -> dict[Path, Path]:
    """The package to write for each run: `package` for one run, PACKAGE/<channel>.zip for a folder of runs.

    Raises
    ------
    InputError
        When a folder of runs is to become one zip, or a package is there already.
    """
    runs = [] if (source / "config.toml").exists() or not source.is_dir() else sorted(_runs_in(source))
    if not runs:
        return {source: package}
    if package.suffix == ".zip" or package.is_file():
        raise InputError(
            f"{source} holds the runs of {len(runs)} channels, {', '.join(run.name for run in runs)}",
            f"give a folder for their packages in place of {package}",
        )
    packages = {run: package / f"{run.name}.zip" for run in runs}
    there = next((path for path in packages.values() if path.exists()), None)
    if there and not overwrite:  # before the first is measured
        raise InputError(
            f"{there} exists already", "choose another name, or replace it with `overwrite`", option="overwrite"
        )
    return packages


def _runs_in(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if (path / "config.toml").exists()]
