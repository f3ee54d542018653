"""Classical filters by the words of the command line: a kind and its settings, checked, made into a `Filter`."""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_optics import edge_filters, filters
from zsd_optics.filters import Filter
from zsd_optics.noise import NoiseModel, correlated_noise, estimate_noise, known_noise
from zsd_optics.planewise import sample_planes
from zsd_runtime.errors import InputError
from zsd_runtime.images import Image, Voxel
from zsd_runtime.notices import Notice, no_notice
from zsd_runtime.sizes import lengths, required

# The options that not every kind takes. What belongs to the PSF or the camera describes the image, not the filter.
PSF = ("psf", "psf_pixel_size", "psf_z_step", "centre_psf", "psf_sigma", "na", "wavelength", "refractive_index")
CAMERA = ("offset", "gain", "read_noise")
KINDS = {
    "gaussian": ("sigma", "sigma_um"),
    "median": ("size", "size_um"),
    "box": ("size", "size_um"),
    "bilateral": ("sigma", "sigma_um", "strength", "sigma_color", *CAMERA),
    "nlm": ("strength", "size", "size_um", "search", *CAMERA),
    "tv": ("strength", *CAMERA),
    "richardson-lucy": (*PSF, "offset", "iterations", "grid_factor", "tv"),
    "wiener": (*PSF, "offset", "noise_ratio"),
}
TYPES: dict[str, type] = {
    "sigma": str, "sigma_um": str, "size": str, "size_um": str, "strength": float, "sigma_color": float, "search": int,
    "iterations": int, "grid_factor": int, "noise_ratio": float, "tv": float,
}  # fmt: skip


def check_settings(kind: str, given: Mapping[str, Any]) -> None:
    """Raise `InputError` unless the kind exists and takes the options that are given."""
    if kind not in KINDS:
        raise InputError(f"`kind` {kind} must be one of {', '.join(KINDS)}", option="kind")
    for option in given:
        if option not in KINDS[kind]:
            takes = ", ".join(f"`{name}`" for name in KINDS[kind])
            raise InputError(f"`{option}` is not for {kind}", f"it takes {takes}", option=(option, *KINDS[kind]))


def deconvolves(kind: str) -> bool:
    """Whether a kind needs a PSF, and gives counts above the camera offset."""
    return "psf" in KINDS[kind]


def denoiser(kind: str, given: Mapping[str, Any], image: Image, notice: Notice) -> Filter:
    """A filter that needs no PSF.

    Parameters
    ----------
    kind : str
        One of `KINDS` that does not deconvolve.
    given : dict
        Its settings, by the names in `TYPES` and `CAMERA`; the others have their defaults.
    image : Image
        What it will be applied to: its voxel size counts, and its noise unless the camera is given.
    notice : callable
        Gets a sentence where its noise is not what the filter assumes.

    Raises
    ------
    InputError
        When settings contradict each other, or are out of their ranges.
    """
    given = dict(given)
    if kind in ("gaussian", "median", "box"):
        option, default = ("sigma", "1") if kind == "gaussian" else ("size", "3")
        return getattr(filters, kind)(*_pixels(option, default, given, image.voxel))
    strength = {"strength": given["strength"]} if "strength" in given else {}
    if kind == "bilateral":
        sigma = _pixels("sigma", f"{edge_filters.SPATIAL_PX}", given, image.voxel)
        if "sigma_color" not in given:
            return edge_filters.bilateral(*sigma, noise=noise_of(given, image, notice), **strength)
        beside = [option for option in ("strength", *CAMERA) if option in given]
        if beside:
            raise InputError(
                f"`sigma_color` and `{beside[0]}` are both given, and `sigma_color` means filtering without them",
                "give one of them", option=("sigma_color", beside[0]),
            )  # fmt: skip
        return edge_filters.bilateral(*sigma, strength=given["sigma_color"])
    noise = noise_of(given, image, notice)
    if kind == "tv":
        return edge_filters.tv(noise, **strength)
    size = _pixels("size", f"{edge_filters.PATCH_PX}", given, image.voxel)
    if len(size) > 1:
        raise InputError(
            "nlm filters planes, and its size has a number for Z", "give one number, for Y and X", option="size"
        )
    return edge_filters.nlm(noise, size_px=size[0], search_px=given.get("search", edge_filters.SEARCH_PX), **strength)


def deconvolution(kind: str, given: Mapping[str, Any], kernel: NDArray[np.float64], offset: float) -> Filter:
    """Richardson-Lucy or Wiener with a PSF on the grid of the result, for images in counts with the camera's `offset`.

    Raises
    ------
    InputError
        When the offset is not a number, or a setting is out of its range.
    """
    if not isfinite(offset):
        raise InputError(f"`offset` {offset:g} must be a number of counts", option="offset")
    make: Callable[..., Filter] = filters.inverse_filter if kind == "wiener" else filters.iterative_filter
    return make(kernel, offset, **{option: value for option, value in given.items() if option in TYPES})


def estimated_noise(image: Image) -> NoiseModel:
    """The camera's noise, estimated from some planes."""
    return estimate_noise([plane.astype(np.float64) for plane in sample_planes(image)])


def noise_of(given: Mapping[str, Any], image: Image, notice: Notice = no_notice) -> NoiseModel:
    """The noise of the camera that is given by all of `CAMERA`, else of the image, estimated.

    Raises
    ------
    InputError
        When only some of `CAMERA` are given, or the image does not show its noise.
    """
    known = [option for option in CAMERA if option in given]
    if known:
        missing = [f"`{option}`" for option in CAMERA if option not in known]
        if missing:
            raise InputError(
                f"`{known[0]}` is given without {' and '.join(missing)}", "give all three, or none", option=CAMERA
            )
        return known_noise(*(given[option] for option in CAMERA))
    noise = estimated_noise(image)
    if noise.correlated:
        notice(correlated_noise(noise, "this filter expects white noise and leaves much of it"))
    return noise


def _pixels(option: str, default: str, given: Mapping[str, Any], voxel: Voxel) -> tuple[float, ...]:
    """A length in pixels: one for Y and X, or before it one for Z; given in pixels, or in µm as `<option>_um`."""
    in_um = f"{option}_um"
    if in_um not in given:
        return lengths(given.get(option, default), option)
    if option in given:
        raise InputError(f"`{option}` and `{in_um}` are both given", "give one", option=(option, in_um))
    *z, lateral = lengths(given[in_um], in_um)
    axial = [um / required(voxel.z_um, "z_step", "the image") for um in z]
    pixels = (*axial, lateral / required(voxel.pixel_size_um("the image"), "pixel_size", "the image"))
    if option == "size":  # the next odd number of pixels
        return tuple(2.0 * round((n - 1) / 2) + 1 for n in pixels)
    return pixels
