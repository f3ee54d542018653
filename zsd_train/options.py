"""Options of the verbs that train, `zsd train` and `zsd restore`, and the training that they describe."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from zsd_optics.inputs import agreed, open_images
from zsd_optics.psf_source import PsfSource
from zsd_runtime.cli import Bar
from zsd_runtime.images import Voxel

if TYPE_CHECKING:
    from zsd_train.config import TrainConfig
    from zsd_train.run import Run

Images = Annotated[
    list[Path], typer.Argument(help="Noisy images of one kind. Along T are further images; along Z, slices of volumes.")
]
Preset = Annotated[str | None, typer.Option(help="compact (default) or reference (published widths).")]
ConfigFile = Annotated[Path | None, typer.Option(help="TOML file with any key of TrainConfig.")]
Scheme = Annotated[str | None, typer.Option(help="How pairs are made: auto, recorrupt, or odd-even (volumes).")]
Slices = Annotated[int | None, typer.Option(help="Slices of a volume in a patch.")]
Minutes = Annotated[float | None, typer.Option(help="Time to train; default: 4, for volumes 15.")]
Steps = Annotated[int | None, typer.Option(help="Steps to train, in place of a time: repeatable.")]
Offset = Annotated[float | None, typer.Option(help="Camera offset, counts; default: estimated.")]
Gain = Annotated[float | None, typer.Option(help="Counts per photo-electron; default: estimated.")]
ReadNoise = Annotated[float | None, typer.Option(help="Read noise, counts; default: estimated.")]
Seed = Annotated[int | None, typer.Option(help="Seed of weights, patches and noise.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")]


@dataclass(frozen=True)
class Task:
    """A training that can start: the images, their voxel size and PSF, and the configuration."""

    images: list[NDArray[np.generic]]
    voxel: Voxel
    psf: PsfSource
    kernel: NDArray[np.float64]
    config: "TrainConfig"

    def train(self, out: Path, bar: Bar, *, resume: bool = False) -> "Run":
        """Train into the run folder `out`; `bar` shows the progress. See `zsd_train.train`."""
        from zsd_train.training import train

        return train(
            self.images, self.kernel, self.config, out, pixel_size_um=self.voxel.x_um, z_step_um=self.voxel.z_um,
            psf_source=self.psf.to_dict(), resume=resume, report=lambda p: bar(p.fraction, str(p), bool(p.message)),
        )  # fmt: skip


def task_of(
    paths: list[Path],
    psf: PsfSource,
    *,
    axes: str | None = None,
    pixel_size: float | None = None,
    z_step: float | None = None,
    config: Path | None = None,
    **choices: Any,
) -> Task:
    """The training that options describe.

    Parameters
    ----------
    paths : list of path
        Image files.
    psf : PsfSource
    axes : str
        Letters of "TCZYX" that replace what the files say.
    pixel_size, z_step : float
        µm, for files that do not say them.
    config : path
        TOML file with keys of `TrainConfig`.
    **choices
        Keys of `TrainConfig`, which replace those of the file; None is not given.

    Raises
    ------
    InputError
        When images, PSF and options do not fit together.
    """
    from zsd_train.config import make_config, read_config

    given = {key: value for key, value in choices.items() if value is not None}
    images, found = open_images(paths, axes)
    image_axes = "zyx"[-images[0].ndim :]
    chosen = make_config(**({"axes": image_axes} | (read_config(config) if config else {}) | given))
    voxel = Voxel.square(
        agreed(pixel_size, found.x_um, "pixel_size", str(paths[0])),
        agreed(z_step, found.z_um, "z_step", str(paths[0])) if image_axes == "zyx" else None,
    )
    return Task(images, voxel, psf, psf.kernel(image_axes, voxel, chosen.network.grid_factor), chosen)
