"""The training on raw SIM frames that options describe."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsd_optics.sim.sources import open_acquisitions
from zsd_runtime.errors import InputError
from zsd_runtime.images import Voxel
from zsd_runtime.notices import Notice

if TYPE_CHECKING:
    from zsd_optics.sim.sources import Opened
    from zsd_runtime.sim.microscope import Sim

OPTICS = ("na", "wavelength", "refractive_index")  # what a PSF may be described by, and the OTF, too
KNOWN = {"otf", *OPTICS, "pixel_size", "z_step", "offset", "axes", "series"}  # options of `zsd train`
NOT_OF_SIM = ("psf", "psf_sigma", "psf_pixel_size", "psf_z_step", "centre_psf")


def sim_frames(
    paths: list[Path], psf: dict[str, Any], sim: dict[str, Any], notice: Notice, **reading: Any
) -> tuple[list[Any], "Sim", Voxel]:
    """The raw frames of all files, the patterns of the first, and the voxel size of their reconstructions.

    Parameters
    ----------
    paths : list of path
    psf : dict
        Options that describe a PSF; those of theory describe the OTF.
    sim : dict
        `otf` and `parameters`.
    notice : callable
    **reading
        `pixel_size`, `z_step`, `offset`, `axes`, `series`.

    Raises
    ------
    InputError
        When the frames show no stripes, or an option is of other schemes.
    """
    other = next((name for name in NOT_OF_SIM if psf.get(name)), None)
    if other:
        raise InputError(
            f"`{other}` describes a PSF, and scheme sim needs the OTF of the detection",
            "give `otf` FILE, or `na` with `wavelength`", option=(other, "otf", "na", "wavelength"),
        )  # fmt: skip
    optics: dict[str, Any] = {name: psf.get(name) for name in OPTICS}
    if optics["wavelength"] is not None:
        optics["wavelength"] = _number(optics["wavelength"])
    try:
        opened: list[Opened] = open_acquisitions(paths, **optics, **sim, **reading, notice=notice)
    except InputError as error:
        if not set(error.options) - KNOWN:
            raise
        raise InputError(
            str(error).rpartition(": ")[0] or str(error),
            "run `zsd sim reconstruct` first, which has options for that, and give `sim_parameters` and `otf` from its "
            "folder", option=("sim_parameters", "otf"),
        ) from None  # fmt: skip
    acquisitions = [acquisition for file in opened for acquisition in file.acquisitions]
    microscope = acquisitions[0].sim
    *z, _, size = microscope.fine_voxel_um
    return [a.frames for a in acquisitions], microscope, Voxel.square(size, z[0] if z else None)


def _number(text: Any) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"`wavelength` {text} must be a number (nm)", option="wavelength") from None


def of_sim(scheme: Any, options: dict[str, Any] | None) -> bool:
    """Whether the scheme is that of structured illumination.

    Raises
    ------
    InputError
        When options of that scheme are given with another.
    """
    kind = scheme.get("kind") if isinstance(scheme, dict) else scheme
    given = [name for name, value in (options or {}).items() if value is not None]
    of_sim = kind in ("sim", "sim-odd-even")
    if given and not of_sim:
        option = {"parameters": "sim_parameters"}.get(given[0], given[0])
        raise InputError(f"`{option}` is of scheme sim", "add `scheme` sim, or leave it out", option=(option, "scheme"))
    return of_sim
