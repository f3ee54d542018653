"""The PSF of a report: given, of the run, or as the package describes it; with what is wrong with it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_export.report.opened import Opened
from zsd_optics.optics import Optics
from zsd_optics.psf_check import judge_psf
from zsd_optics.psf_faults import Fault
from zsd_optics.psf_source import PsfFile, PsfGaussian, PsfOptics, PsfSource, psf_source_from_dict
from zsd_runtime.errors import InputError
from zsd_runtime.images import Voxel
from zsd_runtime.terminal import flag

Array = NDArray[Any]
HOW = (
    "Give it with --psf FILE, --na and --wavelength, or --psf-sigma; or report on the run (--run) in place of the "
    "package."
)
SAME = 0.02  # of the peak: two programs, or a file and theory, make the same PSF


@dataclass(frozen=True)
class Psf:
    """A PSF, if one is known.

    Attributes
    ----------
    kernel : ndarray or None
        ([Z,] Y, X), odd-sized, sums to 1, on the grid of the deconvolved image.
    origin : str
        Where it comes from, for people.
    faults : tuple of Fault
    other : bool or None
        Whether the model was trained with another one; None if that is not known.
    missing : str
        Why there is none, and how to give it.
    optics : Optics or None
        If they are known.
    """

    kernel: Array | None = None
    origin: str = ""
    faults: tuple[Fault, ...] = ()
    other: bool | None = None
    missing: str = ""
    optics: Optics | None = None


def psf_of(opened: Opened, given: PsfSource | Array | None, axes: str, voxel: Voxel, grid_factor: int) -> Psf:
    """The PSF that is given, else that of the training as far as it can be had.

    Parameters
    ----------
    opened : Opened
    given : PsfSource, ndarray or None
        An array is a kernel on the grid of the deconvolved image.
    axes : {"yx", "zyx"}
    voxel : Voxel
        Of the raw image.
    grid_factor : int
        How much finer the deconvolved grid is.

    Raises
    ------
    InputError
        When the given PSF cannot be read.
    """
    trained, origin, why_not, source = _trained(opened, axes, voxel, grid_factor)
    if given is None:
        if trained is None or trained.size == 1:
            return Psf(missing=f"{why_not or 'The model was trained without a PSF.'} {HOW}")
        return Psf(trained, origin, _faults(trained, voxel, grid_factor), other=False, optics=_optics(source))
    if isinstance(given, np.ndarray):
        kernel, faults = np.asarray(given, np.float64), _faults(given, voxel, grid_factor)
        kernel = kernel / kernel.sum()
    else:
        source, faults = given, _of_file(given, axes) if isinstance(given, PsfFile) else ()
        if any(fault.refuse for fault in faults):
            return Psf(None, _text(given), faults, missing="The PSF has a fault that makes wrong images.")
        kernel = given.kernel(axes, voxel, grid_factor)
        faults = faults or _faults(kernel, voxel, grid_factor)
    text = "an array" if isinstance(given, np.ndarray) else _text(given)
    optics = None if isinstance(given, np.ndarray) else _optics(given)
    return Psf(kernel, text, faults, _differs(kernel, trained, opened), optics=optics)


def _trained(
    opened: Opened, axes: str, voxel: Voxel, grid_factor: int
) -> tuple[Array | None, str, str, PsfSource | None]:
    """The PSF of the training, its origin, why it is not known, and its source."""
    described = opened.measured.get("psf")
    try:
        source = psf_source_from_dict(described) if described else None
    except (InputError, KeyError, TypeError, ValueError):
        source = None
    origin = f"of the training: {_text(source)}" if source else "of the training"
    if opened.run is not None:
        return opened.run.psf, origin, "", source
    if source is None:
        return None, "", "The package holds no PSF.", None
    try:
        description = opened.description
        trained = Voxel.square(description.pixel_size_um or voxel.x_um, description.z_step_um or voxel.z_um)
        return source.kernel(axes, trained, grid_factor), origin, "", source
    except (InputError, OSError):
        return None, "", f"The package holds no PSF, and that of its training ({_text(source)}) is not there.", source


def _faults(kernel: Array, voxel: Voxel, grid_factor: int) -> tuple[Fault, ...]:
    """What is wrong with a kernel, whose background and borders were cut off before: only its form is judged."""
    fine = None
    if voxel.x_um:
        fine = (voxel.x_um / grid_factor,) if kernel.ndim == 2 else (voxel.z_um or 0.0, voxel.x_um / grid_factor)
    try:
        verdict = judge_psf(kernel, fine if fine and min(fine) > 0 else None)
    except InputError:
        return ()
    cropped = ("is cut off", "ends at a border", "has a background")  # by `prepare_psf`, at 99 % of the light
    return tuple(fault for fault in verdict.faults if not fault.what.startswith(cropped))


def _of_file(source: PsfFile, axes: str) -> tuple[Fault, ...]:
    """What is wrong with a PSF as its file holds it."""
    from zsd_optics.inputs import read_sized

    given = Voxel.square(source.pixel_size_um, source.z_step_um)
    psf, own = read_sized(source.path, given, "psf_", needs_z_step=axes == "zyx", channel=source.channel)
    if psf.ndim == 3 and len(own) == 1:  # planes take its focal plane
        psf = psf[int(np.argmax(psf.max(axis=(1, 2))))]
    return judge_psf(psf, own, centre=source.centre, name=str(source.path)).faults


def _differs(kernel: Array, trained: Array | None, opened: Opened) -> bool | None:
    if trained is not None and trained.ndim == kernel.ndim:
        shape = [max(pair) for pair in zip(kernel.shape, trained.shape, strict=True)]
        a, b = (_padded(each / each.sum(), shape) for each in (kernel, trained))
        return bool(np.abs(a - b).max() > SAME * b.max())
    known = opened.measured.get("psf_sha256")
    if not known:
        return None
    from zsd_train.run import sha256

    return None if sha256([kernel.astype(np.float32)]) != known else False


def _padded(kernel: Array, shape: list[int]) -> Array:
    """With zeros around, its middle in the middle; sizes are odd."""
    return np.pad(kernel, [((n - m) // 2, n - m - (n - m) // 2) for n, m in zip(shape, kernel.shape, strict=True)])


def _optics(source: PsfSource | None) -> Optics | None:
    if not isinstance(source, PsfOptics):
        return None
    try:
        return Optics(source.na, source.wavelength_nm, source.refractive_index)
    except InputError:
        return None


def _text(source: PsfSource) -> str:
    if isinstance(source, PsfOptics):
        return f"theory, NA {source.na:g}, {source.wavelength_nm:g} nm, refractive index {source.refractive_index:g}"
    if isinstance(source, PsfGaussian):
        return f"a Gaussian, σ {'x'.join(f'{s:g}' for s in source.sigma_px)} raw pixels"
    return f"the file {Path(source.path).name}"


def fault_text(fault: Fault) -> str:
    """A fault as a sentence."""
    return fault.error("The PSF").message(flag) + "."
