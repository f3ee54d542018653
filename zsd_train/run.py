"""The folder that a training writes, and what is read back from it.

RUN/config.toml            its schema, the choices made, and what was measured on the data
RUN/weights.safetensors    the averaged weights that validated best
RUN/state.safetensors      everything else that resuming needs
RUN/sample.tif             the middle of the first image: export tests and measures the network on it
RUN/psf.tif metrics.csv preview.png tensorboard/
RUN/.training.lock         held while a training writes
RUN/sim.json sim_otf.tif   of scheme sim: the patterns of the raw frames, and the transfer functions
"""

import hashlib
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import tomli_w
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from safetensors import SafetensorError
from safetensors.torch import load_file

from zsd_optics.noise import NoiseModel
from zsd_runtime.errors import InputError
from zsd_runtime.files import written_whole
from zsd_runtime.images import Image, Voxel, write_image
from zsd_runtime.normalize import Linear
from zsd_runtime.sim.files import load_microscope
from zsd_runtime.sim.microscope import Sim
from zsd_train.config import TrainConfig, make_config
from zsd_train.networks.build import build
from zsd_train.networks.network import Network

SCHEMA = 4  # of config.toml; older ones are read, newer ones are refused
RENAMED = {"light_lacked": "flux_deficit"}  # keys of schema 1
# What resuming must not change: its hash in config.toml, and what is said of it.
TRAINED = {
    "data_sha256": "on other images", "psf_sha256": "with another PSF",
    "camera_maps_sha256": "with other calibration maps of the camera",
    "teacher_sha256": "with another teacher (zsd compress), or with none (zsd train)",
}  # fmt: skip


class Measured(BaseModel):
    """What was found out about the data, and how the training went.

    Attributes
    ----------
    offset, scale : float
        Counts: networks see ``(counts - offset) / scale``.
    noise : NoiseModel
    data_sha256, psf_sha256, teacher_sha256 : str
        What a resumed training must find again; of a teacher, if there was one.
    margin : list of int
        Pixels around a patch, axis by axis.
    images : list of list of int
        Shapes of the images.
    bad_pixels : dict of str to int
        Pixels that are no data, by kind (`zsd_runtime.corrections.bad_pixels`).
    blank_images : list of int
        Numbers, from 0, of images that hold nothing.
    camera_maps_sha256 : str or None
        Of the calibration maps that the images were corrected by.
    dtype : str or None
        Of the images.
    lowest, highest : float or None
        Counts of the darkest and the brightest pixel of the planes that the noise was measured on.
    psf_shape : list of int
    psf : dict or None
        How the PSF was made (`zsd_optics.psf_source`).
    method : str
        What papers call the way of learning; of a student, its teacher's.
    start : str or None
        Whose weights the training started from; None for random ones.
    versions : dict of str
        Of the libraries that matter.
    pixel_size_um, z_step_um : float or None
        Of the raw grid.
    channel : str or None
        Name of the channel that the images are of.
    channel_number : int or None
        Its place in the images' file, from 0, if that has several.
    steps, kept_step : int or None
        Made, and those of the kept weights; None until the training has ended.
    seconds : float or None
    flux_deficit : list of float or None
        Counts a pixel, by output, before they were corrected.
    held_out_error : float or None
        Of the kept weights; None without held-out tiles.
    stopped : str or None
        Why the training ended.
    compressed : dict or None
        What a distillation gained and cost.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    offset: float
    scale: float
    noise: NoiseModel
    data_sha256: str
    psf_sha256: str
    teacher_sha256: str | None = None
    margin: list[int]
    images: list[list[int]]
    bad_pixels: dict[str, int] = Field(default_factory=dict)
    blank_images: list[int] = Field(default_factory=list)
    camera_maps_sha256: str | None = None
    dtype: str | None = None
    lowest: float | None = None
    highest: float | None = None
    psf_shape: list[int]
    psf: dict[str, Any] | None = None
    method: str = "ZS-DeconvNet"
    start: str | None = None
    versions: dict[str, str]
    pixel_size_um: float | None = None
    z_step_um: float | None = None
    channel: str | None = None
    channel_number: int | None = None
    steps: int | None = None
    kept_step: int | None = None
    seconds: float | None = None
    flux_deficit: list[float] | None = None
    held_out_error: float | None = None
    stopped: str | None = None
    compressed: dict[str, Any] | None = None

    @field_validator("held_out_error")
    @classmethod
    def _none_of_older_runs(cls, error: float | None) -> float | None:
        return None if error is not None and math.isnan(error) else error  # descriptions of packages know no NaN

    @property
    def line(self) -> Linear:
        """The normalisation."""
        return Linear(1 / self.scale, -self.offset / self.scale)


@dataclass(frozen=True)
class Run:
    """A training's result, as `load_run` reads it from its folder.

    Attributes
    ----------
    folder : Path
    config : TrainConfig
    network : Network
        With the kept weights, on the CPU, in fp32, in evaluation mode.
    psf : ndarray
        ([Z,] Y, X) on the deconvolved grid.
    sample : ndarray
        ``([C,] [Z,] Y, X)``, counts, some of the training data as the network sees it; frames of a movie are C.
    measured : Measured
    sim : Sim or None
        Of scheme sim: how raw frames are reconstructed for the network.
    """

    folder: Path
    config: TrainConfig
    network: Network
    psf: NDArray[np.float64]
    sample: NDArray[np.float64]
    measured: Measured
    sim: Sim | None = None

    @property
    def offset(self) -> float:
        """Counts that the network sees as 0."""
        return self.measured.offset

    @property
    def scale(self) -> float:
        """Counts above the offset that the network sees as 1."""
        return self.measured.scale

    @property
    def pixel_size_um(self) -> float | None:
        """Of the raw grid."""
        return self.measured.pixel_size_um

    @property
    def z_step_um(self) -> float | None:
        """Of the raw grid."""
        return self.measured.z_step_um


def load_run(folder: str | Path) -> Run:
    """Read a run folder.

    Raises
    ------
    InputError
        When it is not one, or never finished a validation.
    """
    folder = Path(folder)
    if not (folder / "config.toml").exists():
        raise InputError(f"{folder} is not a run: it has no config.toml", "give the folder that `zsd train` wrote")
    if not (folder / "weights.safetensors").exists():
        raise InputError(
            f"{folder} holds no weights: its training was interrupted before the first", "`resume` it", option="resume"
        )
    config, measured = read_run_config(folder)
    try:
        psf, sample = (tifffile.imread(folder / name).astype(np.float64) for name in ("psf.tif", "sample.tif"))
        psf = psf.reshape((1,) * (len(config.axes) - psf.ndim) + psf.shape) / psf.sum()
        network = build(config.network, config.axes, psf)
        network.load_state_dict(load_file(folder / "weights.safetensors"))
    except (KeyError, OSError, RuntimeError, SafetensorError, tifffile.TiffFileError) as error:
        raise InputError(f"{folder} is damaged ({error})", "train again") from error
    return Run(folder, config, network.eval(), psf, sample, measured, load_microscope(folder))


def read_run_config(folder: Path) -> tuple[TrainConfig, Measured]:
    """What config.toml says, also of older schemas.

    Raises
    ------
    InputError
        When it is unreadable, or of a schema that this version does not know.
    """
    try:
        stored = tomllib.loads((folder / "config.toml").read_text("utf-8"))
        if type(schema := stored.get("schema", 1)) is not int or not 1 <= schema <= SCHEMA:
            raise InputError(
                f"{folder} is a run of schema {schema!r}; this version of zsd reads up to {SCHEMA}",
                "update zsd: pip install --upgrade zsd",
            )
        measured = {RENAMED.get(key, key): value for key, value in stored["measured"].items()}
        if stored["config"]["network"].get("kind", "unet") == "unet":  # the preset was another then
            before: dict[str, Any] = {"upsampling": "nearest"} if schema < 3 else {}
            before |= {"coarse": False} if schema < 4 else {}
            stored["config"]["network"] = before | stored["config"]["network"]
        return make_config(**stored["config"]), Measured(**measured)
    except (
        OSError,
        KeyError,
        TypeError,
        AttributeError,
        UnicodeDecodeError,
        tomllib.TOMLDecodeError,
        ValidationError,
    ) as error:
        raise InputError(f"{folder} is damaged: its config.toml is not readable ({error})", "train again") from error


def write_array(path: Path, array: NDArray[np.float64], axes: str, voxel: Voxel) -> None:
    """Write an array as a float32 TIFF with its pixel sizes."""
    write_image(path, Image(array.astype(np.float32), axes, voxel))


def sha256(arrays: Sequence[NDArray[Any]]) -> str:
    """Of the arrays' values, one after the other."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def check_unused(folder: Path) -> None:
    """Refuse a folder that a training has begun in."""
    if (folder / "state.safetensors").exists():
        raise InputError(
            f"{folder} already holds a run", "choose another `out`, or go on with it with `resume`",
            option=("out", "resume"),
        )  # fmt: skip


def config_to_resume(folder: Path, wanted: TrainConfig, hashes: dict[str, str]) -> tuple[TrainConfig, Measured]:
    """The stored configuration, with a new budget if one is asked for, and what was measured.

    Raises
    ------
    InputError
        When the run was trained on other data.
    """
    if not (folder / "config.toml").exists():
        raise InputError(f"{folder} cannot be resumed: it holds no config.toml", "train into a new folder")
    config, measured = read_run_config(folder)
    changed = [what for key, what in TRAINED.items() if getattr(measured, key) != hashes.get(key)]
    if changed:
        said = f"; it was trained by `scheme` {config.scheme.kind}" * (config.network != wanted.network)
        raise InputError(
            f"{folder} was trained {changed[0]}", f"resume with the same{said}, or train into a new folder",
            option=("scheme",),
        )  # fmt: skip
    if config.frames != wanted.frames:
        raise InputError(
            f"{folder} was trained with `frames` {config.frames}, not {wanted.frames}",
            "resume with the same, or train into a new folder", option="frames",
        )  # fmt: skip
    if wanted.minutes or wanted.steps:
        config = config.model_copy(update={"minutes": wanted.minutes, "steps": wanted.steps})
    return config, measured


def write_config(folder: Path, config: TrainConfig, measured: Measured) -> None:
    """Write config.toml."""
    sections = {"config": config.model_dump(exclude_none=True), "measured": measured.model_dump(exclude_none=True)}
    with written_whole(folder / "config.toml") as temporary:
        temporary.write_text(tomli_w.dumps({"schema": SCHEMA} | sections), "utf-8")
