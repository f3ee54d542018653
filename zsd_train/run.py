"""The folder that a training writes, and what is read back from it.

RUN/config.toml            the choices made, and what was measured on the data
RUN/weights.safetensors    the averaged weights that validated best
RUN/state.safetensors      everything else that resuming needs
RUN/sample.tif             the middle of the first image: export tests and measures the network on it
RUN/psf.tif metrics.csv preview.png tensorboard/
"""

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import tomli_w
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from zsd_runtime.errors import InputError
from zsd_runtime.files import written_whole
from zsd_runtime.images import Image, Voxel, write_image
from zsd_train.config import TrainConfig, make_config
from zsd_train.networks.dual_stage import DualStage, build

# What resuming must not change: its hash in config.toml, and what is said of it.
TRAINED = {
    "data_sha256": "on other images", "psf_sha256": "with another PSF",
    "teacher_sha256": "with another teacher (zsd compress), or with none (zsd train)",
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A training's result, as `load_run` reads it from its folder.

    network : with the kept weights, on the CPU, in fp32, evaluation mode · psf : ([Z,] Y, X) on the deconvolved grid ·
    sample : ([Z,] Y, X), counts, some of the training data · offset, scale : networks see ``(counts - offset) / scale``
    · pixel_size_um, z_step_um : of the raw grid, if known · measured : what was found out about data and training.
    """

    folder: Path
    config: TrainConfig
    network: DualStage
    psf: NDArray[np.float64]
    sample: NDArray[np.float64]
    offset: float
    scale: float
    pixel_size_um: float | None
    z_step_um: float | None
    measured: dict[str, Any]


def load_run(folder: str | Path) -> Run:
    """Read a run folder.

    Raises
    ------
    InputError
        When it is not one, or never finished a validation.
    """
    folder = Path(folder)
    if not (folder / "config.toml").exists():
        raise InputError(f"{folder} is not a run: it has no config.toml; give the --out of `zsd train`")
    if not (folder / "weights.safetensors").exists():
        raise InputError(f"{folder} holds no weights: its training was interrupted before the first; --resume it")
    try:
        stored = tomllib.loads((folder / "config.toml").read_text("utf-8"))
        config, measured = make_config(**stored["config"]), stored["measured"]
        network = build(config.network, config.axes)
        network.load_state_dict(load_file(folder / "weights.safetensors"))
        psf, sample = (tifffile.imread(folder / name).astype(np.float64) for name in ("psf.tif", "sample.tif"))
    except (KeyError, OSError, RuntimeError, SafetensorError, tomllib.TOMLDecodeError, tifffile.TiffFileError) as error:
        raise InputError(f"{folder} is damaged ({error}): train again") from error
    return Run(
        folder, config, network.eval(), psf / psf.sum(), sample, measured["offset"], measured["scale"],
        measured.get("pixel_size_um"), measured.get("z_step_um"), measured,
    )  # fmt: skip


def write_array(path: Path, array: NDArray[np.float64], pixel_size_um: float | None, z_step_um: float | None) -> None:
    """Write ([Z,] Y, X) as a float32 TIFF with its pixel sizes."""
    voxel = Voxel.square(pixel_size_um, z_step_um)
    write_image(path, Image(array.astype(np.float32), "ZYX"[-array.ndim :], voxel))


def sha256(arrays: Sequence[NDArray[Any]]) -> str:
    """Of the arrays' values, one after the other."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def config_to_resume(folder: Path, wanted: TrainConfig, hashes: dict[str, str]) -> TrainConfig:
    """The stored configuration, with a new budget if one is asked for."""
    try:
        stored = tomllib.loads((folder / "config.toml").read_text("utf-8"))
        values = stored["config"]
        changed = [what for key, what in TRAINED.items() if stored["measured"].get(key) != hashes.get(key)]
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{folder} cannot be resumed: it holds no readable config.toml ({error})") from error
    if changed:
        raise InputError(f"{folder} was trained {changed[0]}: resume with the same, or train into a new folder")
    if wanted.minutes or wanted.steps:
        values = {k: v for k, v in values.items() if k not in ("minutes", "steps")}
        values |= {"minutes": wanted.minutes} if wanted.minutes else {"steps": wanted.steps}
    return make_config(**values)


def write_config(folder: Path, config: TrainConfig, measured: dict[str, Any]) -> None:
    """Write config.toml."""
    with written_whole(folder / "config.toml") as temporary:
        text = tomli_w.dumps({"config": config.model_dump(exclude_none=True), "measured": measured})
        temporary.write_text(text, "utf-8")
