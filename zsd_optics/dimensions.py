"""Planes or volumes: whether images, their PSF and the options of volumes mean the same."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zsd_optics.psf_source import PsfFile, PsfGaussian, PsfSource
from zsd_runtime.errors import InputError
from zsd_runtime.images import Image
from zsd_runtime.notices import Notice


def check_dimensions(
    path: Path, image: Image, spatial: str, axes: str | None, psf: PsfSource | None, volume_options: Mapping[str, Any],
    notice: Notice,
) -> None:  # fmt: skip
    """Ask whether frames are slices where a PSF or an option is for volumes and the images are planes.

    A 3D PSF serves planes by its focal plane: that is said, and done where nothing can be meant but planes.

    Parameters
    ----------
    path, image
        The image, or the one of several with most planes.
    spatial : {"YX", "ZYX"}
        What the images are taken for.
    axes : str or None
        What a person typed; their word is final.
    psf : PsfSource or None
    volume_options : dict
        Options that mean something for volumes only, as far as they are given.
    notice : callable
        Gets a sentence.

    Raises
    ------
    InputError
        When it cannot be told what is meant, or an option would have no effect.
    """
    slices = psf.slices() if isinstance(psf, PsfFile) else 1
    frames = dict(zip(image.axes, image.data.shape, strict=True)).get("T", 1)
    swapped = image.axes.translate(str.maketrans("TZ", "ZT"))
    if spatial == "ZYX":
        if slices == 1 and isinstance(psf, PsfFile):
            raise InputError(
                f"the PSF {psf.path} is one plane, and {path} is a volume (axes {image.axes})",
                f"give a 3D PSF; or say `axes` {swapped} if it holds frames, not slices",
                option="axes",
            )
        return
    reasons = [f"the PSF {psf.path} has {slices} slices"] if isinstance(psf, PsfFile) and slices > 1 else []
    if isinstance(psf, PsfGaussian) and len(psf.sigma_px) > 1:
        reasons.append("`psf_sigma` has a number for Z")
    reasons += [f"`{option}` {value} is for volumes" for option, value in volume_options.items()]
    if reasons and frames > 1 and axes is None:
        raise InputError(
            f"{path} has {frames} frames (axes {image.axes}), but {' and '.join(reasons)}",
            f"say `axes` {swapped} if these are slices of a volume, or `axes` {image.axes} if they are frames",
            option=("axes", "psf_sigma", *volume_options),
        )
    if frames > 1 and axes is None and image.voxel.z_um:
        notice(
            f"{path}: its {frames} frames (axes {image.axes}) are taken as planes, although it says a z step of "
            f"{image.voxel.z_um:g} µm; if they are slices, say `axes` {swapped}"
        )
    if isinstance(psf, PsfFile) and slices > 1:
        notice(f"the images are planes: of the {slices} slices of {psf.path}, the focal plane is used")
    for option, value in volume_options.items():
        if axes is None or option != "z_step":
            raise InputError(
                f"`{option}` {value} is for volumes, and the images are planes (axes {image.axes})",
                "leave it out; slices of one volume must be in one file", option=option,
            )  # fmt: skip
        notice(f"`{option}` {value} is not used: `axes` {axes} says that the images are planes")
