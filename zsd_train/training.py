"""From noisy images and a PSF to a run folder."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.corrections.camera_maps import CameraMaps
from zsd_runtime.errors import InputError, Interrupted
from zsd_runtime.files import cannot_write
from zsd_runtime.images import Voxel
from zsd_runtime.images.remote import local
from zsd_runtime.sim.files import load_microscope, save_microscope
from zsd_runtime.sim.microscope import Sim
from zsd_runtime.sim.reconstruction import reconstruct
from zsd_train.checks import accelerator, channelled, check_teacher, checked_psf, config_for
from zsd_train.claim import claimed
from zsd_train.config import TrainConfig, make_config
from zsd_train.correct import correct
from zsd_train.fit import Preview, Progress, fit
from zsd_train.group import check_processes
from zsd_train.launch import call_in_processes
from zsd_train.movies import frames_of
from zsd_train.processes import Processes, processes_for
from zsd_train.run import (
    Measured,
    Run,
    check_unused,
    config_to_resume,
    load_run,
    sha256,
    write_array,
    write_config,
)
from zsd_train.schemes import Distill, Recorrupt, SimOddEven, StructuredIllumination
from zsd_train.setup import Setup, set_up
from zsd_train.stopping import STOP, interruptible, taken


def train(
    images: list[NDArray[np.generic]],
    psf: NDArray[np.float64] | None,
    config: TrainConfig | None = None,
    out: str | Path = "run",
    *,
    pixel_size_um: float | None = None,
    z_step_um: float | None = None,
    psf_source: dict[str, Any] | None = None,
    channel: str | None = None,
    channel_number: int | None = None,
    teacher: Run | None = None,
    camera_maps: CameraMaps | None = None,
    sim: Sim | None = None,
    devices: int | None = None,
    nodes: int | None = None,
    resume: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    preview: Callable[[Preview], None] | None = None,
) -> Run:
    """Train a network on noisy images alone (ZS-DeconvNet, Qiao et al. 2024, eq. 2-9).

    Parameters
    ----------
    images : list of ndarray
        (Y, X), or volumes (Z, Y, X), also memory-mapped: camera counts, any real dtype, all of one kind of sample and
        one camera setting. Schemes that learn from several channels take (C, [Z,] Y, X); with `config.frames` above 1,
        images are movies (T, [Z,] Y, X).
    psf : ndarray or None
        ([Z,] Y, X) on the deconvolved grid, odd-sized, sum 1: from `zsd_optics.psf`. None for schemes that have no use
        for one.
    config : TrainConfig
    out : path
        The run folder; must be new unless `resume`.
    pixel_size_um, z_step_um : float
        Of the raw grid, kept with the run.
    psf_source : dict
        How the PSF was made (`zsd_optics.psf_source`), kept with the run.
    channel, channel_number : str, int
        Which channel of their file the images are, by name and from 0, kept with the run.
    teacher : Run
        Learn what its network gives in place of recorrupted targets (`zsd_train.schemes.distill`). The camera and the
        normalisation are the teacher's.
    camera_maps : CameraMaps
        Offset and gain of each pixel: the images are corrected by them first.
    sim : Sim
        For scheme sim: the patterns of the raw frames and the transfer function. Images are (frames, [Z,] Y, X) then,
        direction by direction, and the PSF and the pixel size are those of the reconstruction.
    devices, nodes : int
        Processes on each machine, one a GPU or, without one, on the CPU, and machines. They share each batch; the
        result is that of one process, but for rounding. On one machine they are started here: a script then needs
        ``if __name__ == "__main__":``. On several, srun or torchrun starts them, and each calls this function. Default:
        one process, or what torchrun has started.
    resume : bool
        Go on with an interrupted run of the same images. On the CPU the result is bit for bit the same as without the
        interruption (with a teacher, whose answers are not saved, only nearly). Another number of devices is fine.
    report : callable
        Gets `Progress`.
    stop : callable
        Asked after every step, from any thread: True stops the training as Ctrl-C does.
    preview : callable
        Gets `Preview` after each validation: what the network makes of a part of the first image by then.
        Not called when several processes are started here.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        When an image or the PSF cannot be trained with, or `out` cannot be written or another training writes there.
    RuntimeError
        When one of several processes is lost.
    Interrupted
        After Ctrl-C or `stop`, once everything is saved.
    """
    out = local(out)
    config = config or make_config()
    given: dict[str, Any] = {
        "pixel_size_um": pixel_size_um, "z_step_um": z_step_um, "psf_source": psf_source, "channel": channel,
        "channel_number": channel_number, "teacher": teacher, "camera_maps": camera_maps, "sim": sim, "resume": resume,
    }  # fmt: skip
    processes = processes_for(devices, nodes)
    if processes.total > 1 and processes.environment is None:
        check_processes(config, processes, accelerator(config))
        given |= {"images": images, "psf": psf, "config": config, "out": out}

        def hear(message: Any) -> None:
            if isinstance(message, Progress):
                report(message)
            elif preview is not None:
                preview(message)

        said = ("report",) if preview is None else ("report", "preview")
        with interruptible() as interrupted:
            call_in_processes(
                train, processes.total, given, out, said=said, hear=hear, stop=stop, interrupted=interrupted
            )
        return load_run(out)
    return _train(images, psf, config, out, processes=processes, report=report, stop=stop, preview=preview, **given)


def _train(
    images: list[NDArray[np.generic]],
    psf: NDArray[np.float64] | None,
    config: TrainConfig,
    out: Path,
    *,
    pixel_size_um: float | None,
    z_step_um: float | None,
    psf_source: dict[str, Any] | None,
    channel: str | None,
    channel_number: int | None,
    teacher: Run | None,
    camera_maps: CameraMaps | None,
    sim: Sim | None,
    resume: bool,
    processes: Processes,
    report: Callable[[Progress], None],
    stop: Callable[[], bool],
    preview: Callable[[Preview], None] | None,
) -> Run:
    """As `train`, in this process."""
    if sim is not None:
        if psf is not None or not isinstance(config.scheme, StructuredIllumination | SimOddEven):
            raise InputError("`sim` takes the place of a PSF, for scheme sim", "leave one of them out", option="psf")
        config = config.model_copy(update={"axes": "zyx"[-sim.axes :]})
        sim = sim.sharper()
        psf, (*z, pixel_size_um) = sim.compact_psf(min(i.shape[-3] for i in images)), sim.fine_voxel_um[:-1]
        z_step_um = z[0] if z else None
        if isinstance(config.scheme, SimOddEven):
            images = [reconstruct(image, sim) for image in images]
    psf = checked_psf(psf, config, sim)
    movies: list[int] = []
    if config.frames > 1:
        images, movies = frames_of(images, config.frames, psf.ndim)
    channels = channelled(images, psf)
    hashes = {"data_sha256": sha256(images), "psf_sha256": sha256([psf.astype(np.float32)])}
    if camera_maps is not None:
        given = [camera_maps.offset, *([] if camera_maps.gain is None else [camera_maps.gain])]
        hashes["camera_maps_sha256"] = sha256(given)
    if teacher is not None:
        hashes["teacher_sha256"] = sha256([t.cpu().numpy() for t in teacher.network.state_dict().values()])
    resumed = None
    if resume:
        config, resumed = config_to_resume(out, config, hashes)
    if resume and sim is not None:
        _check_same_patterns(out, sim)
    if sim is not None and isinstance(config.scheme, StructuredIllumination):
        config = config.model_copy(update={"scheme": config.scheme.with_microscope(sim)})
    config = config_for(_taught(config, teacher), channels, psf)
    channels, bad = correct(channels, psf, config, camera_maps)
    if config.frames > 1 and bad.blank:
        raise InputError(
            f"{bad.notice}, but with `frames` {config.frames} they are the neighbours of others",
            "cut the movie there, or set `frames` to 1", option="frames",
        )  # fmt: skip
    if not resume:
        check_unused(out)
    check_teacher(teacher, config)
    voxel = Voxel.square(pixel_size_um, z_step_um)
    found = {
        "pixel_size_um": pixel_size_um, "z_step_um": z_step_um, "psf": psf_source, "channel": channel,
        "channel_number": channel_number, **hashes, "bad_pixels": bad.counts, "blank_images": bad.blank,
    }  # fmt: skip
    setup = set_up(channels, psf, config, found, teacher, resumed, processes, movies)
    group = setup.group
    with group.connected(), _writing(out), claimed(out) if group.leads else nullcontext():
        if resume:
            taken(out / STOP)  # of the training that ended
            setup.state.load(out)
            group.wait()
        notice = "; ".join(filter(None, (bad.notice, group.notice)))
        if group.leads:
            _begin(out, setup, voxel, sim or (teacher.sim if teacher else None), resume=resume)
        reason, interrupted = fit(setup, out, report, stop, notice, preview)
        if interrupted:
            raise Interrupted(f"{reason}, saved in {out}")
        if group.leads:
            write_config(out, setup.config, _ended(setup, reason))
        group.wait()
    return load_run(out)


def _taught(config: TrainConfig, teacher: Run | None) -> TrainConfig:
    """With a teacher, recorruption is distillation: so it was called in schema 1, and `auto` means it."""
    scheme = config.scheme
    if teacher is None or not isinstance(scheme, Recorrupt) or isinstance(scheme, Distill):
        return config
    return config.model_copy(update={"scheme": Distill(noise=scheme.noise, alpha=scheme.alpha)})


def _check_same_patterns(out: Path, sim: Sim) -> None:
    """Refuse to go on with other stripes than those that the run began with."""
    begun = load_microscope(out)
    if begun is None or (begun.parameters.patterns, begun.parameters.offset) != (
        sim.parameters.patterns,
        sim.parameters.offset,
    ):
        raise InputError(
            f"{out} was trained with other SIM parameters", "resume with the same, or train into a new folder",
            option=("sim_parameters", "offset"),
        )  # fmt: skip


def _begin(out: Path, setup: Setup, voxel: Voxel, microscope: Sim | None, *, resume: bool) -> None:
    """Write what a run folder has from its beginning."""
    if resume:
        write_config(out, setup.config, setup.measured)  # the state is saved with today's names
        return
    check_unused(out)  # again: another training may have ended here meanwhile
    finer = dict.fromkeys("YX", float(setup.config.network.grid_factor))
    axes = setup.config.axes.upper()
    sample = setup.sample if len(setup.sample) > 1 else setup.sample[0]
    write_array(out / "psf.tif", setup.psf, axes, voxel.finer(finer))
    leading = "T" if setup.config.frames > 1 else "C"
    write_array(out / "sample.tif", sample, (leading + axes)[-sample.ndim :], voxel)
    write_config(out, setup.config, setup.measured)
    if microscope:
        save_microscope(out, microscope)


def _ended(setup: Setup, reason: str) -> Measured:
    """What was measured, and how the training went."""
    state = setup.state
    return setup.measured.model_copy(update={
        "steps": state.step, "kept_step": state.best_step, "seconds": round(state.seconds, 1),
        "flux_deficit": state.flux_deficit,
        "held_out_error": float(state.best_errors.mean()) if state.best_errors.numel() else None,
        "stopped": reason,
    })  # fmt: skip


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(folder, error) from error
