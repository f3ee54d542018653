"""The model that a report is on, from a package or from a training run."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsd_export.report.subject import sha256_of
from zsd_runtime.errors import InputError
from zsd_runtime.model import Model, load_model
from zsd_runtime.package import ModelDescription
from zsd_runtime.zoo import package_path

if TYPE_CHECKING:
    from zsd_train.run import Run


@dataclass(frozen=True)
class Opened:
    """A model that a report is on.

    Attributes
    ----------
    path : Path
        As it was given: a package, or a run.
    package : Path
        The same, or what the run was exported to.
    model : Model
    run : Run or None
        The training that it comes from, if that was given.
    sha256 : str
        Of the package; empty for a run.
    """

    path: Path
    package: Path
    model: Model
    run: "Run | None" = None
    sha256: str = ""

    @property
    def description(self) -> ModelDescription:
        """What the package says."""
        return self.model.description

    @property
    def measured(self) -> dict[str, Any]:
        """What the training found out, as its run or the package keeps it; empty for packages of other programs."""
        if self.run is not None:
            return self.run.measured.model_dump(mode="json", exclude_none=True)
        found = (self.description.facts.get("provenance") or {}).get("measured")
        return found if isinstance(found, dict) else {}

    @property
    def training(self) -> dict[str, Any]:
        """The settings of the training; empty for packages of other programs."""
        if self.run is not None:
            return self.run.config.model_dump(mode="json", exclude_none=True)
        found = (self.description.facts.get("provenance") or {}).get("training")
        return found if isinstance(found, dict) else {}


@contextmanager
def opened(package: str | Path, run: str | Path | None = None) -> Iterator[Opened]:
    """Open a package, or a run: that is exported to a package in a temporary folder first.

    Raises
    ------
    InputError
        When it is neither, or `run` is no run.
    """
    path = Path(package)
    if not (path / "config.toml").exists():
        _check_no_parent(path)
        with load_model(path) as model:
            yield Opened(path, path, model, _run(run), sha256_of(package_path(path)))
        return
    from zsd_export.export import export
    from zsd_train.run import load_run

    trained = load_run(path)
    place = tempfile.mkdtemp(prefix="zsd-report-")
    try:
        made = export(path, Path(place) / "package")
        with load_model(made) as model:
            yield Opened(path, made, model, trained)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _run(run: str | Path | None) -> "Run | None":
    if run is None:
        return None
    from zsd_train.run import load_run

    return load_run(run)


def _check_no_parent(path: Path) -> None:
    """Say which one, where a folder holds several runs or packages."""
    if not path.is_dir() or (path / "rdf.yaml").exists():
        return
    inside = sorted(p for p in path.iterdir() if (p / "config.toml").exists() or p.suffix == ".zip")
    if inside:
        raise InputError(f"{path} is neither a run nor a package", f"give one of those in it, for instance {inside[0]}")
