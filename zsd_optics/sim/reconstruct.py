"""Reconstruct raw SIM files: results with their parameters beside them, and a table of what was found."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from zsd_optics.sim.described import SimOptions
from zsd_optics.sim.sources import Opened, open_acquisition
from zsd_runtime.images import Image, create_image, stem
from zsd_runtime.notices import Notice, no_notice
from zsd_runtime.sim.microscope import FACTOR, Sim
from zsd_runtime.sim.parameters import SimParameters
from zsd_runtime.sim.reconstruction import reconstruct
from zsd_runtime.terminal import Bar

LABEL = "sim"


@dataclass(frozen=True)
class Written:
    """What became of a file.

    Attributes
    ----------
    path : path
        The result.
    first : Sim
        Of the first acquisition.
    """

    path: Path
    first: Sim


def reconstruct_file(
    path: Path,
    options: SimOptions,
    out: Path,
    shared: Sim | None = None,
    *,
    each: bool = False,
    notice: Notice = no_notice,
    bar: Bar | None = None,
) -> Written:
    """Reconstruct a file into `out`/<stem>_sim.tif.

    Its parameters are saved as parameters.json, its OTF as otf.tif; with `each`, also <stem>_parameters.json of every
    file, and of the time points of a movie <stem>_parameters_0001.json and so on.

    Parameters
    ----------
    path : path
    options : SimOptions
    out : path
        Folder; made if it is missing.
    shared : Sim
        The patterns and the OTF of an earlier file, which serve this one; nothing of them is saved again.
    each : bool
        Estimate the patterns of each acquisition.
    notice, bar : callable

    Raises
    ------
    InputError
        As of `open_acquisition`.
    """
    opened = open_acquisition(path, options, shared, each=each, notice=notice)
    found = opened.acquisitions
    target = out / f"{stem(path)}_{LABEL}.tif"
    result = result_image(opened)
    volumes = found[0].sim.axes
    with create_image(target, result) as file:
        for number, one in enumerate(found):
            place = tuple(slice(0, n) for n in result.data.shape[-volumes:])
            file[(number, *place) if len(found) > 1 else place] = reconstruct(one.frames, one.sim)
            if bar:
                bar((number + 1) / len(found))
    if shared is None or each:
        found[0].sim.transfer.save(out / "otf.tif")
    if shared is None:
        found[0].sim.parameters.save(out / "parameters.json")
    if each:
        for number, one in enumerate(found):
            end = f"_{number:04d}" if len(found) > 1 else ""
            one.sim.parameters.save(out / f"{stem(path)}_parameters{end}.json")
    return Written(target, found[0].sim)


def result_image(opened: Opened) -> Image:
    """The reconstructions of a file as an image without its pixels: axes, voxel size, and what was done to it."""
    image, found = opened.image, opened.acquisitions
    first = found[0].sim
    shape = found[0].frames.shape[1:]
    fine = (*shape[:-2], *(FACTOR * n for n in shape[-2:]))
    axes, voxel = "ZYX"[-len(fine) :], image.voxel
    if len(found) > 1:
        fine, axes = (len(found), *fine), "T" + axes
    if len(shape) == 2:
        voxel = replace(voxel, z_um=None)
    factors = {"Y": float(FACTOR), "X": float(FACTOR)}
    described = image.description.resized(factors, image.voxel)
    origin = {axis: at for axis, at in described.origin_um.items() if axis in axes}
    described = replace(
        described, labels=(), series=(), notices=(), origin_um=origin, processing=processing(first.parameters)
    )
    data = np.broadcast_to(np.zeros((), np.float32), fine)
    return Image(data, axes, voxel.finer(factors), image.ome, described)


def processing(parameters: SimParameters) -> str:
    """What was done, for people who find the file."""
    each = "; ".join(
        f"{p.angle_rad:.3f} rad, {p.spacing_nm:.1f} nm, modulation {_numbers(p.modulation, 2)}"
        for p in parameters.patterns
    )
    notch = f", notch {parameters.notch:g}" * bool(parameters.notch)
    return (
        f"SIM reconstruction of {parameters.directions} directions x {parameters.phases} phases ({each}); "
        f"w {parameters.wiener:.3g}{notch}; {parameters.offset:.5g} counts of offset subtracted"
    )


def table(parameters: SimParameters) -> str:
    """The patterns of all directions."""
    rows = [
        f"{number:<10} {p.angle_rad:>10.4f} {p.spacing_nm:>10.2f}   {_numbers(p.modulation, 2):<11} "
        f"{_numbers(p.trust, 1) or 'given'}"
        for number, p in enumerate(parameters.patterns, 1)
    ]
    return "\n".join([f"{'direction':<10} {'angle, rad':>10} {'spacing, nm':>10}  {'modulation':<11} trust", *rows])


def _numbers(values: tuple[float, ...], digits: int) -> str:
    return " ".join(f"{value:.{digits}f}" for value in values)
