"""Raw SIM files as a person describes them: opened, their frames in order, their patterns known."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_optics.optics import Optics
from zsd_optics.psf_options import psf_sources_of
from zsd_optics.psf_source import PsfOptics
from zsd_optics.sim.acquisition import Acquisition, acquisition
from zsd_optics.sim.described import DIRECTIONS, SimOptions
from zsd_optics.sim.estimate import DOUBTFUL
from zsd_optics.sim.folders import open_raw
from zsd_optics.sim.order import check_layout_order
from zsd_optics.sim.otf import read_transfer
from zsd_optics.sim.theory import axial_transfer, planar_transfer
from zsd_runtime.channels import channels_of, named
from zsd_runtime.corrections.corrected import Corrected, corrections_of
from zsd_runtime.errors import InputError, see_info
from zsd_runtime.images import Image, Voxel, check_array, read_box
from zsd_runtime.notices import Notice, file_notices, no_notice
from zsd_runtime.sim.layout import PHASES, Layout, acquisitions, check_frames, check_saturation, layout_of
from zsd_runtime.sim.microscope import Sim
from zsd_runtime.sim.moved import stripes_moved
from zsd_runtime.sim.parameters import SimParameters
from zsd_runtime.sim.transfer import Transfer
from zsd_runtime.sizes import required, sized

FIRST_GUESS = 0.9  # of the detection's cutoff: the finest stripes, before they are found
SAME_SIZE = 0.01


@dataclass(frozen=True)
class Opened:
    """A raw file.

    Attributes
    ----------
    path : path
    image : Image
        As its file holds it, with the voxel size that is used.
    layout : Layout
    acquisitions : list of Acquisition
        One, or those of each time point.
    """

    path: Path
    image: Image
    layout: Layout
    acquisitions: list[Acquisition]


def open_acquisitions(
    paths: Sequence[Path], *, each: bool = False, notice: Notice = no_notice, **options: Any
) -> list[Opened]:
    """Open raw SIM files.

    Parameters
    ----------
    paths : sequence of path
        Files with all raw frames, or folders of single frames.
    each : bool
        Estimate the patterns of each acquisition; by default those of the first serve all.
    notice : callable
        Gets a sentence for everything that a user should know.
    **options
        Fields of `SimOptions`.

    Raises
    ------
    InputError
        When a file is not what the options say, or shows no stripes.
    """
    unknown = set(options) - {field.name for field in fields(SimOptions)}
    if unknown:
        raise TypeError(f"unknown options {', '.join(sorted(unknown))}")
    said = SimOptions(**options)
    opened: list[Opened] = []
    for path in dict.fromkeys(paths):
        shared = opened[0].acquisitions[0].sim if opened and not each else None
        opened.append(open_acquisition(path, said, shared, each=each, notice=notice))
    return opened


def open_acquisition(
    path: Path, options: SimOptions, shared: Sim | None = None, *, each: bool = False, notice: Notice = no_notice
) -> Opened:
    """Open one file; its patterns are those of `shared`, if given, else of its first acquisition; see above."""
    if each and options.parameters is not None:
        raise InputError("`each` estimates what `parameters` gives", "leave one out", option=("each", "parameters"))
    image = open_raw(path, options, notice)
    file_notices([(path, image.description.notices)], notice)
    image = sized(image, path, Voxel.square(options.pixel_size, options.z_step), notice)
    known = _known(options) if shared is None else shared.parameters
    layout = _layout(image, path, options, known)
    check_layout_order(options.order, layout)
    pixel_size = required(image.voxel.pixel_size_um(str(path)), "pixel_size", str(path))
    z_step = None if layout.slices is None else required(image.voxel.z_um, "z_step", str(path))
    data = read_box(image.data, tuple(slice(0, n) for n in image.data.shape), str(path))
    check_array(data, str(path))
    check_frames(data, str(path))
    if data.dtype.kind in "iu":  # what was computed has no hot pixels of a camera
        hot = corrections_of(keep_hot_pixels=options.keep_hot_pixels)
        corrected = Corrected(data, hot, volumes=False, name=str(path))
        if found_hot := corrected.notice():
            notice(f"{path}: {found_hot}")
        data = np.asarray(corrected[tuple(slice(0, n) for n in data.shape)])
    stacks = acquisitions(replace(image, data=data), layout)
    if known is not None:
        _check_alike(known, layout, pixel_size, z_step, str(path))
    transfer = shared.transfer if shared is not None else _transfer(options, image, path, pixel_size, z_step, notice)
    if known is not None and shared is None:
        shared = Sim(_adjusted(known, options), transfer)
    sizes: dict[str, Any] = {"pixel_size_um": pixel_size, "z_step_um": z_step}
    found: list[Acquisition] = []
    for number, planes in enumerate(stacks):
        name = str(path) if len(stacks) == 1 else f"{path}, acquisition {number} (of 0 to {len(stacks) - 1})"
        if shared is None:
            one = _estimated(planes, layout, transfer, options, name, sizes)
            shared = None if each else one.sim
        else:
            one = reused(planes, layout, shared, options.order, name)
        for remark in one.sim.parameters.remarks:
            notice(f"{name}: {remark}")
        found.append(one)
    return Opened(path, image, layout, found)


def reused(planes: NDArray[Any], layout: Layout, sim: Sim, order: str | None, name: str) -> Acquisition:
    """Another acquisition with the same patterns, and a remark if its stripes lie elsewhere."""
    remarks = [check_saturation(planes, name)]
    frames = layout.arranged(planes, order or sim.parameters.order)
    if moved := stripes_moved(frames, sim, DOUBTFUL):
        remarks.append(moved)
    parameters = replace(sim.parameters, remarks=tuple(text for text in remarks if text))
    return Acquisition(frames, replace(sim, parameters=parameters))


def _known(options: SimOptions) -> SimParameters | None:
    return None if options.parameters is None else SimParameters.load(options.parameters)


def _layout(image: Image, path: Path, options: SimOptions, known: SimParameters | None) -> Layout:
    directions = options.directions or (known.directions if known else DIRECTIONS)
    phases = options.phases or (known.phases if known else None)
    if phases is None and _of_volumes(options):
        phases = PHASES[1]
    sizes = dict(zip(image.axes, image.data.shape, strict=True))
    channels, planes = sizes.get("C", 1), prod(image.data.shape[:-2])
    if channels > 1 and (planes // channels) % (directions * (phases or 3)) == 0:
        raise InputError(
            f"{path} has {channels} channels, {named(channels_of(image))}, and one is reconstructed at a time",
            f"save one of them by itself; {see_info(path)}",
        )
    return layout_of(image, str(path), directions, phases, options.slices)


def _of_volumes(options: SimOptions) -> bool:
    """Whether the optics are those of volumes, which are lit by 3 beams in 5 phases."""
    if options.otf is None:
        return options.excitation is not None
    try:
        read_transfer(options.otf, 0.1, 0.1)
    except InputError:
        return False
    return True


def _check_alike(
    known: SimParameters, layout: Layout, pixel_size_um: float, z_step_um: float | None, name: str
) -> None:
    """Refuse parameters of another kind of acquisition."""
    if (known.directions, known.phases) != (layout.directions, layout.phases):
        raise InputError(
            f"{name} has {layout.directions} directions of {layout.phases} phases and the parameters are for "
            f"{known.directions} of {known.phases}",
            "give the parameters of this kind of acquisition", option="parameters",
        )  # fmt: skip
    if (known.z_step_um is None) != (z_step_um is None):
        raise InputError(
            f"{name} holds {'volumes' if z_step_um else 'planes'} and the parameters are for "
            f"{'planes' if z_step_um else 'volumes'}",
            "give the parameters of this kind of acquisition", option="parameters",
        )  # fmt: skip
    sizes = [("pixel_size", pixel_size_um, known.pixel_size_um)]
    if z_step_um is not None and known.z_step_um is not None:
        sizes.append(("z_step", z_step_um, known.z_step_um))
    for option, size, other in sizes:
        if abs(size / other - 1) > SAME_SIZE:
            raise InputError(
                f"{name} has a {option.replace('_', ' ')} of {size:g} µm and the parameters were found at {other:g} µm",
                f"give the right `{option}`, or parameters of this acquisition", option=(option, "parameters"),
            )  # fmt: skip


def _adjusted(parameters: SimParameters, options: SimOptions) -> SimParameters:
    """With the values that the options give."""
    typed = {"offset": options.offset, "wiener": options.wiener, "notch": options.notch, "order": options.order}
    return replace(parameters, **{name: value for name, value in typed.items() if value is not None})  # type: ignore[arg-type]


def _estimated(
    planes: NDArray[Any], layout: Layout, transfer: Transfer, options: SimOptions, name: str, sizes: dict[str, Any]
) -> Acquisition:
    found = acquisition(
        planes, layout, transfer, **sizes, order=options.order, given=options.given, offset=options.offset, name=name
    )
    return replace(found, sim=replace(found.sim, parameters=_adjusted(found.sim.parameters, options)))


def _transfer(
    options: SimOptions, image: Image, path: Path, pixel_size_um: float, z_step_um: float | None, notice: Notice
) -> Transfer:
    """The OTF of the file, or of the optics; of volumes, order 1 depends on the spacing, which is found with it."""
    if options.otf is not None:
        return read_transfer(options.otf, pixel_size_um, z_step_um)
    channels = channels_of(image)[:1]
    (source,) = psf_sources_of(
        channels, na=options.na, wavelength=options.wavelength, refractive_index=options.refractive_index, notice=notice
    )
    assert isinstance(source, PsfOptics)
    optics = Optics(source.na, source.wavelength_nm, source.refractive_index)
    if z_step_um is None:
        return planar_transfer(optics, pixel_size_um)
    if options.excitation is None:
        raise InputError(
            f"{path} holds volumes, whose OTFs depend on the wavelength of the excitation, too",
            "add `excitation` (nm), or give a measured `otf`", option=("excitation", "otf"),
        )  # fmt: skip
    guess = 1000 / (FIRST_GUESS * 2000 * optics.na / optics.wavelength_nm)
    return axial_transfer(optics, options.excitation, options.spacing or guess, (z_step_um, pixel_size_um))
