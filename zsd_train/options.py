"""Options of the verbs that train, `zsd train` and `zsd restore`, and the training that they describe."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from zsd_optics.dimensions import check_dimensions
from zsd_optics.inputs import open_images
from zsd_optics.psf_options import psf_sources_of
from zsd_optics.psf_source import PsfSource
from zsd_runtime.channels import Chosen, channels_of, file_names
from zsd_runtime.corrections.camera_maps import CameraMaps, maps_of
from zsd_runtime.errors import InputError
from zsd_runtime.images import Voxel, images_in
from zsd_runtime.notices import Notice, no_notice, with_flags
from zsd_runtime.terminal import Bar, flag
from zsd_train.sim_tasks import of_sim, sim_frames

if TYPE_CHECKING:
    from zsd_runtime.sim.microscope import Sim
    from zsd_train.config import TrainConfig
    from zsd_train.run import Run

Images = Annotated[
    list[Path],
    typer.Argument(
        help="Noisy images of one kind, or folders of them. Along T are further images; along Z, slices of volumes."
    ),
]
Channels = Annotated[
    str | None,
    typer.Option(
        help="Of images with several channels: all, or names or numbers with commas between, e.g. GFP,2. Each gets a "
        "model of its own."
    ),
]
Preset = Annotated[str | None, typer.Option(help="compact (default) or reference (published widths).")]
ConfigFile = Annotated[Path | None, typer.Option(help="TOML file with any key of TrainConfig.")]
Scheme = Annotated[
    str | None,
    typer.Option(
        help="How pairs are made: auto, recorrupt, odd-even (volumes), blind-spot (DecoNoising), noise2void, which "
        "needs no PSF and denoises only, or sim (raw frames of structured illumination; sim-odd-even, as published)."
    ),
]
Otf = Annotated[
    Path | None, typer.Option(help="Of scheme sim: OTF of the detection (MRC, DV, TIFF), or --na with --wavelength.")
]
SimParameters = Annotated[
    Path | None,
    typer.Option(help="Of scheme sim: parameters.json of `zsd sim reconstruct`; default: found in the first image."),
]
Frames = Annotated[
    int | None,
    typer.Option(
        help="Of a movie (T) that the network sees at once: 3 is each frame with its neighbours. Default: 1, each by "
        "itself."
    ),
]
Slices = Annotated[int | None, typer.Option(help="Slices of a volume in a patch.")]
Start = Annotated[
    str | None,
    typer.Option(
        help="Weights to start from: zoo (default; trained on simulations), scratch (random), or the folder of an "
        "earlier run."
    ),
]
Minutes = Annotated[float | None, typer.Option(help="Time to train, for each channel; default: 4, for volumes 15.")]
Steps = Annotated[int | None, typer.Option(help="Steps to train, in place of a time: repeatable.")]
Offset = Annotated[float | None, typer.Option(help="Camera offset, counts; default: estimated.")]
Gain = Annotated[float | None, typer.Option(help="Counts per photo-electron; default: estimated.")]
ReadNoise = Annotated[float | None, typer.Option(help="Read noise, counts; default: estimated.")]
Seed = Annotated[int | None, typer.Option(help="Seed of weights, patches and noise.")]
Device = Annotated[str | None, typer.Option(help="auto (cuda, else cpu), cpu, cuda, or mps (an Apple GPU).")]
Devices = Annotated[
    int | None,
    typer.Option(help="GPUs of a machine to train on together; without a GPU, processes on the CPU. Default: 1."),
]
Nodes = Annotated[int | None, typer.Option(help="Machines; srun or torchrun starts the processes. Default: 1.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")]


@dataclass(frozen=True)
class Task:
    """A training that can start: the images, their voxel size and PSF, and the configuration.

    `channel` is what is known of the channel that the images are of; `folder`, the name for its run beside those of
    other channels, is empty if there are none; `devices` and `nodes` are the processes that share the work.
    """

    images: list[NDArray[np.generic]]
    voxel: Voxel
    psf: PsfSource | None
    kernel: NDArray[np.float64] | None
    config: "TrainConfig"
    channel: Chosen = field(default_factory=lambda: Chosen(0))
    camera_maps: CameraMaps | None = None
    of_several: bool = False
    folder: str = ""
    devices: int | None = None
    nodes: int | None = None
    sim: "Sim | None" = None

    def train(self, out: Path, bar: Bar, *, resume: bool = False) -> "Run":
        """Train into the run folder `out`; `bar` shows the progress. See `zsd_train.train`."""
        from zsd_train.training import train

        return train(
            self.images, self.kernel, self.config, out, pixel_size_um=self.voxel.x_um, z_step_um=self.voxel.z_um,
            psf_source=self.psf.to_dict() if self.psf else None, channel=self.channel.channel.name or None,
            channel_number=self.channel.number if self.of_several else None, camera_maps=self.camera_maps,
            sim=self.sim, devices=self.devices, nodes=self.nodes, resume=resume,
            report=lambda p: bar(p.fraction, with_flags(str(p)), bool(p.message)),
        )  # fmt: skip


def tasks_of(
    paths: list[Path],
    psf: dict[str, Any],
    *,
    axes: str | None = None,
    series: int | None = None,
    channels: str | None = None,
    pixel_size: float | None = None,
    z_step: float | None = None,
    config: Path | None = None,
    dark: Path | None = None,
    gain_map: Path | None = None,
    sim: dict[str, Any] | None = None,
    devices: int | None = None,
    nodes: int | None = None,
    notice: Notice = no_notice,
    **choices: Any,
) -> list[Task]:
    """The trainings that options describe, one a channel.

    Parameters
    ----------
    paths : list of path
        Image files, and folders of them.
    psf : dict
        How the PSF is given: arguments of `zsd_optics.psf_options.psf_sources_of`.
    axes : str
        Letters of "TCZYX" that replace what the files say.
    series : int
        Which image of a file that holds several, from 0.
    channels : str
        "all", or names or numbers with commas between.
    pixel_size, z_step : float
        µm; replace what the files say.
    config : path
        TOML file with keys of `TrainConfig`.
    dark, gain_map : path
        Calibration maps of the camera.
    sim : dict
        Options of scheme sim, `otf` and `parameters`.
    devices, nodes : int
        Processes that share the work, as for `zsd_train.train`.
    notice : callable
        Gets a sentence for everything that a user should know of the files.
    **choices
        Keys of `TrainConfig`, which replace those of the file; None is not given.

    Raises
    ------
    InputError
        When images, PSF and options do not fit together.
    """
    from zsd_train.config import make_config, read_config

    values = (read_config(config) if config else {}) | {k: v for k, v in choices.items() if v is not None}
    if config:
        values |= _scheme_of_both(read_config(config).get("scheme"), choices.get("scheme"), config)
    if of_sim(values.get("scheme"), sim):
        if channels is not None:
            raise InputError("scheme sim trains on one channel", "leave `channels` out", option="channels")
        if dark is not None or gain_map is not None:
            raise InputError(
                "calibration maps of the camera are not used for raw SIM frames",
                "correct the frames by them before", option=("dark", "gain_map"),
            )  # fmt: skip
        reading = {"pixel_size": pixel_size, "z_step": z_step, "axes": axes, "series": series}
        frames, microscope, voxel = sim_frames(
            images_in(paths), psf, sim or {}, notice, **reading, offset=values.get("offset")
        )
        chosen = make_config(**(values | {"axes": "zyx"[-microscope.axes :]}))
        return [Task(frames, voxel, None, None, chosen, sim=microscope, devices=devices, nodes=nodes)]
    noisy = open_images(
        images_in(paths), axes, series=series, channels=channels, typed=Voxel.square(pixel_size, z_step), notice=notice
    )
    every = channels_of(noisy.images[0])
    image_axes = noisy.spatial.lower()
    chosen = make_config(**({"axes": image_axes} | values))
    sources: list[PsfSource | None] = [None] * len(noisy.chosen)
    if chosen.scheme.needs_psf or any(psf.values()):
        without = "; or choose `scheme` noise2void, which denoises without a PSF"
        sources = [*psf_sources_of(noisy.chosen, every, **psf, otherwise=without, notice=notice)]
    volume_options = {
        "z_step": z_step, "slices": values.get("slices"),
        "scheme": chosen.scheme.kind if chosen.scheme.for_volumes_only else None,
    }  # fmt: skip
    given = {option: value for option, value in volume_options.items() if value is not None}
    deepest = max(zip(noisy.images, noisy.paths, strict=True), key=lambda opened: prod(opened[0].data.shape[:-2]))
    for source in sources:
        check_dimensions(deepest[1], deepest[0], noisy.spatial, axes, source, given, notice)
    maps = maps_of(dark, gain_map)
    if maps is not None and noisy.large:
        raise InputError(
            "calibration maps of the camera are for whole images, and only parts of large ones are read",
            "train on a few of the images, or on a crop", option=("dark", "gain_map"),
        )  # fmt: skip
    folders = file_names(noisy.chosen) if len(noisy.chosen) > 1 else [""]
    kernels = [
        source.kernel(image_axes, noisy.voxel, chosen.network.grid_factor, notice) if source else None
        for source in sources
    ]
    return [
        Task(
            noisy.movies(n) if chosen.frames > 1 else noisy.arrays(n, notice),
            noisy.voxel,
            sources[n],
            kernels[n],
            chosen,
            channel,
            camera_maps=maps,
            of_several=len(every) > 1,
            folder=folders[n],
            devices=devices,
            nodes=nodes,
        )
        for n, channel in enumerate(noisy.chosen)
    ]


def _scheme_of_both(table: Any, typed: str | None, config: Path) -> dict[str, Any]:
    """The scheme of a configuration file, whose choices stay if the same scheme is typed."""
    if not typed or not isinstance(table, dict):
        return {}
    if table.get("kind", typed) != typed:
        raise InputError(
            f"`scheme` is {typed}, and {config} describes scheme {table['kind']}", "leave one of them out",
            option=("scheme", "config"),
        )  # fmt: skip
    return {"scheme": table | {"kind": typed}}


def train_each(
    tasks: list[Task],
    out: Path,
    progress: Callable[[str], AbstractContextManager[Bar]],
    *,
    resume: bool = False,
) -> list["Run"]:
    """Train one task into `out`, or several, one after the other, into folders in it.

    If one of several fails, the others are still trained.

    Parameters
    ----------
    tasks : list of Task
    out : path
    progress : callable
        Makes a progress bar from a title.
    resume : bool
        Continue interrupted runs; of several, those that have not begun begin.

    Raises
    ------
    InputError
        When a run is there already, or a task cannot be trained.
    Interrupted
        After Ctrl-C, once the run is saved.
    """
    if len(tasks) == 1:
        with progress("training") as bar:
            return [tasks[0].train(out, bar, resume=resume)]
    begun = {task.folder: (out / task.folder / "state.safetensors").exists() for task in tasks}
    there = [out / name for name, exists in begun.items() if exists]
    if (out / "config.toml").exists() or (there and not resume):
        raise InputError(
            f"{there[0] if there else out} already holds a run", "choose another `out`, or go on with `resume`",
            option=("out", "resume"),
        )  # fmt: skip
    if resume and not there:
        raise InputError(f"{out} cannot be resumed: it holds no run of a channel", "train into a new folder")
    runs, failures = [], []
    for number, task in enumerate(tasks, 1):
        title = f"training {task.channel.name} ({number} of {len(tasks)})"
        with progress(title) as bar:
            bar(0, title, milestone=True)
            try:
                runs.append(task.train(out / task.folder, bar, resume=begun[task.folder]))
            except InputError as error:
                failures.append(f"{task.channel.name}: {error.message(flag)}")
                bar(0, f"error: {failures[-1]}", milestone=True)
    if failures:
        raise InputError(f"{len(failures)} of {len(tasks)} channels failed; {failures[0]}")
    return runs
