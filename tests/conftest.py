"""What several tests share: a small simulated image, a network trained on it for seconds, its package."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from zsd_export import Credits, convert, export
from zsd_export.keras import import_keras
from zsd_optics.psf import gaussian_psf, prepare_psf
from zsd_optics.simulate import Camera, Simulation, simulate
from zsd_train import TrainConfig, fit, train
from zsd_train.config import NetworkConfig, make_config
from zsd_train.networks.dual_stage import DualStageUNet

SHARED = Path(__file__).resolve().parents[2] / "shared"
CREDITS = Credits(authors=["Ada Lovelace; Analytical Engine", "Ro"], licence="cc-by-4.0", tags=["test"])
if "PYTEST_XDIST_WORKER" in os.environ:  # several at once: each has one core
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
write_preview = fit._write_preview
# Once in a training: 40 times, as in a long one, they take a fourth of these short ones.
fit._write_preview = lambda folder, setup: (folder / "preview.png").exists() or write_preview(folder, setup)
TINY = NetworkConfig(width=4, depth=2, convs=2, head=8)


def needs_shared(*names: str) -> pytest.MarkDecorator:
    """Skip where the folder of reference numbers and real data is absent."""
    missing = [name for name in names if not (SHARED / name).exists()]
    return pytest.mark.skipif(bool(missing), reason=f"no {', '.join(missing)} beside the repository")


Make = Callable[[Path], Path]  # makes something in an empty folder


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Make], Path]:
    """Make something of a name, once for all processes of the tests: trainings and exports take long."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make: Make) -> Path:
        folder, done = shared / f"once-{name}", shared / f"once-{name}.done"
        with FileLock(shared / f"once-{name}.lock"):
            if not done.exists():
                folder.mkdir()
                done.write_text(str(make(folder)))
        return Path(done.read_text())

    return made


@pytest.fixture(scope="session")
def simulation() -> Simulation:
    return simulate((128, 160), camera=Camera(100, 1.5, 2), seed=3)


@pytest.fixture(scope="session")
def psf(simulation: Simulation) -> np.ndarray:
    fine = simulation.pixel_size_um / 2
    return prepare_psf(simulation.psf, fine, fine)


@pytest.fixture(scope="session")
def run_folder(simulation: Simulation, psf: np.ndarray, once: Callable[[str, Make], Path]) -> Path:
    def make(folder: Path) -> Path:
        config = TrainConfig(steps=500, network=TINY, patch=32, precision="fp32", device="cpu")
        pixel_size_um = simulation.pixel_size_um
        return train([simulation.noisy], psf, config, folder / "cell run", pixel_size_um=pixel_size_um).folder

    return once("trained", make)


@pytest.fixture(scope="session")
def package(run_folder: Path, once: Callable[[str, Make], Path]) -> Path:
    return once("exported", lambda folder: export(run_folder, folder / "cell"))


@pytest.fixture(scope="session")
def blind_spot_folder(simulation: Simulation, once: Callable[[str, Make], Path]) -> Path:
    """A run of DecoNoising: one network, whose graph blurs its deconvolved image."""

    def make(folder: Path) -> Path:
        config = make_config(
            scheme="blind-spot", network={"width": 8, "depth": 2}, patch=32, steps=80, learning_rate=4e-3, holdout=0,
            precision="fp32", device="cpu",
        )  # fmt: skip
        psf, pixel_size_um = gaussian_psf(1.0), simulation.pixel_size_um
        return train([simulation.noisy], psf, config, folder / "deco noised", pixel_size_um=pixel_size_um).folder

    return once("blind", make)


@pytest.fixture(scope="session")
def blind_spot_package(blind_spot_folder: Path, once: Callable[[str, Make], Path]) -> Path:
    return once("blind-exported", lambda folder: export(blind_spot_folder, folder / "blind"))


def untrained(folder: Path, make: Callable[[], DualStageUNet], name: str) -> Path:
    """A package of a network with random weights."""
    from tests.test_keras import random_weights, write_keras  # which imports this module

    weights = write_keras(folder / "cells.h5", random_weights(make))
    return import_keras(weights, folder / name, offset=100, scale=50, margin="reflect")  # as our own models


@pytest.fixture(scope="session")
def untrained_package(once: Callable[[str, Make], Path]) -> Path:
    """2D, of random weights: for what does not depend on a training, which takes longer."""
    return once("plane", lambda folder: untrained(folder, lambda: DualStageUNet(4, 2, 2, 8, 2, slope=0), "plane"))


@pytest.fixture(scope="session")
def volume_package(once: Callable[[str, Make], Path]) -> Path:
    """3D; nothing of the writing depends on a training."""

    def network() -> DualStageUNet:
        return DualStageUNet(4, 1, 2, 6, 2, axes="zyx", slope=0)

    return once("volume", lambda folder: untrained(folder, network, "volume"))


@pytest.fixture(scope="session")
def imported(once: Callable[[str, Make], Path]) -> Callable[[str], Path]:
    """Packages of the published weights among the reference numbers, each made once: it takes long."""
    return cache(
        lambda name: once(name, lambda folder: import_keras(SHARED / "reference" / f"{name}.h5", folder / name))
    )


@pytest.fixture(scope="session")
def packages(
    package: Path, volume_package: Path, blind_spot_package: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The same graphs, 2D, 3D and of a blind spot, in both formats."""
    folder = tmp_path_factory.mktemp("formats")
    graphs = {"2D": package, "3D": volume_package, "blind-spot": blind_spot_package}
    made = {f"{name} zoo": graph for name, graph in graphs.items()}
    for name, graph in graphs.items():
        converted = convert(graph, folder / f"{name}.zip", format="deepimagej", credits=CREDITS)
        made[f"{name} deepimagej"] = converted
    return made
