"""`zsd train`."""

from pathlib import Path
from typing import Annotated

import typer

from zsd_optics import options as optics
from zsd_runtime.notices import notices
from zsd_runtime.terminal import Quiet, command_line, progress_bar, reporting
from zsd_train import options

app = command_line()


@app.command()
def train(
    images: options.Images,
    out: Annotated[Path, typer.Option(help="Run folder; of several channels, a run folder for each in it.")],
    psf: optics.Psfs = None,
    psf_pixel_size: optics.PsfPixelSize = None,
    psf_z_step: optics.PsfZStep = None,
    centre_psf: optics.CentrePsf = False,
    psf_sigma: optics.PsfSigma = None,
    na: optics.Na = None,
    wavelength: optics.Wavelength = None,
    refractive_index: optics.RefractiveIndex = None,
    otf: options.Otf = None,
    sim_parameters: options.SimParameters = None,
    pixel_size: optics.PixelSize = None,
    z_step: optics.ZStep = None,
    preset: options.Preset = None,
    config: options.ConfigFile = None,
    scheme: options.Scheme = None,
    slices: options.Slices = None,
    frames: options.Frames = None,
    start: options.Start = None,
    minutes: options.Minutes = None,
    steps: options.Steps = None,
    offset: options.Offset = None,
    gain: options.Gain = None,
    read_noise: options.ReadNoise = None,
    seed: options.Seed = None,
    device: options.Device = None,
    devices: options.Devices = None,
    nodes: options.Nodes = None,
    axes: optics.Axes = None,
    series: optics.Series = None,
    channels: options.Channels = None,
    keep_hot_pixels: optics.KeepHotPixels = False,
    remove_lines: optics.RemoveLines = None,
    dark: optics.Dark = None,
    gain_map: optics.GainMap = None,
    resume: options.Resume = False,
    quiet: Quiet = False,
) -> None:
    """Train a network on noisy images alone. Ctrl-C saves the run; --resume continues it.

    Several channels (--channels) are trained one after the other, each for --minutes, into OUT/<channel>.
    """
    from zsd_train.processes import processes_for

    with reporting(quiet):
        leads = processes_for(devices, nodes).leads  # of processes that a launcher has started, one talks
        quiet = quiet or not leads
        described = {
            "psf": psf, "psf_pixel_size": psf_pixel_size, "psf_z_step": psf_z_step, "centre_psf": centre_psf,
            "psf_sigma": psf_sigma, "na": na, "wavelength": wavelength, "refractive_index": refractive_index,
        }  # fmt: skip
        tasks = options.tasks_of(
            images, described, axes=axes, series=series, channels=channels, pixel_size=pixel_size, z_step=z_step,
            config=config, preset=preset, scheme=scheme, slices=slices, frames=frames, start=start, minutes=minutes,
            steps=steps, offset=offset, gain=gain, read_noise=read_noise, seed=seed, device=device,
            notice=notices(quiet), hot_pixels="keep" if keep_hot_pixels else None, remove_lines=remove_lines,
            dark=dark, gain_map=gain_map,
            sim={"otf": otf, "parameters": sim_parameters}, devices=devices, nodes=nodes,
        )  # fmt: skip
        runs = options.train_each(tasks, out, lambda title: progress_bar(title, quiet), resume=resume)
        if not leads:
            return
        if len(runs) == 1:
            print(f"OK {runs[0].measured.stopped}; {out}")
        else:
            print(f"OK {len(runs)} channels trained: {', '.join(str(run.folder) for run in runs)}")
