"""Judge a PSF: what is wrong with it, what to do about it, and whether it can be used all the same.

PSFs of all optics must pass: widefield, confocal, light-sheet and STED; calculated ones, and beads with noise,
aberrations and a size of their own. So a bound stands here only if it holds for all of them.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from zsd_optics.optics import Optics
from zsd_optics.psf_faults import Fault, Verdict
from zsd_optics.psf_measure import Array, centroid, noise, rim, slopes, without_background
from zsd_optics.psf_repair import unwrapped, without_bad_pixels
from zsd_optics.psf_shape import (
    Shape,
    clipped,
    dark_middle,
    edges,
    far_light,
    flatness,
    odd_line,
    second_peak,
    shape_of,
    sharpness,
    step_at_border,
)
from zsd_runtime.errors import InputError, size_text

ANOTHER_BEAD = "measure another bead, or use a PSF from theory"
ONE_BEAD = "crop it to a single bead, or average single beads with `zsd psf from-beads`"
SHARP = 0.05  # of the peak in the pixels beside it: a point of FWHM 1 px; nothing is known of its width
# A point's FWHM is 0.51 λ/NA in widefield and at best 0.37 λ/NA in confocal: at 350 nm and NA 1.49, 87 nm.
NARROWEST_UM, WIDEST_UM = 0.08, 20.0
CONFOCAL, WIDEFIELD = 0.37, 0.51  # λ/NA
SINC = 1.76  # FWHM in Z, 0.88 λ/(n - √(n² - NA²)), in z steps of Nyquist
ROUND = 1.5  # times as deep as wide: objectives of NA 1.49 make 2, those of less NA more; only light sheets make less
FLATTEST = 0.8  # times as deep as wide, which not even light sheets and several views reach
# µm, of a width of 1 µm, squared: widefield makes 0.88 λ/(n - √(n² - NA²)), which is 6.8 n w²/λ: 26 for 400 nm in oil.
# Aberrations make it deeper.
DEEPEST = 5 * 26.0
OBLONG = 1.6  # times as wide in Y as in X; the beads of a good confocal microscope reach 1.4
LATERAL_EDGE = 0.05  # of the peak; a focal plane is dark 2 FWHM from its peak (first ring of Airy: 0.0175)
AXIAL_EDGE = 0.15  # of the peak; the first side lobe along Z, of sinc², has 0.047: more belongs to the main lobe
LEAST_SNR, POOR_SNR = 2.5, 8.0  # peak over noise


def judge_psf(
    psf: NDArray[np.generic],
    voxel_um: float | tuple[float, ...] | None = None,
    *,
    centre: bool = False,
    optics: Optics | None = None,
    name: str = "the PSF",
) -> Verdict:
    """Judge a PSF, and repair what can be repaired.

    Parameters
    ----------
    psf : ndarray
        (Y, X) or (Z, Y, X), any real dtype.
    voxel_um : float or tuple of float
        (pixel size,) or (z step, pixel size), µm; without it the width is not compared with what optics can do.
    centre : bool
        Accept even sizes, a peak far from the middle, and a peak in the corner, where FFTs have it.
    optics : Optics
        The objective, if it is known: the width is compared with it.
    name : str
        Name of the PSF in error messages.

    Raises
    ------
    InputError
        When it is no image of real, finite numbers with a peak, of at least 3 pixels an axis.
    """
    values = usable(psf, name)
    if negative := _negative(values):
        return Verdict(values, (negative,))
    values, bad = without_bad_pixels(values)
    if no_peak := _no_peak(values):
        return Verdict(values, (no_peak,))
    raw, wrapped = unwrapped(values)
    it = shape_of(raw)
    voxel = None if voxel_um is None else _per_axis(voxel_um, psf.ndim)
    found = [*_repaired(bad, [it.axes[axis] for axis in wrapped], centre), *_form(it), *_surroundings(it)]
    if not centre:
        found += _place(it)
    if voxel is not None:
        found += _size(it, voxel, optics)
    return Verdict(it.values, tuple(sorted(found, key=lambda fault: not fault.refuse)))


def usable(psf: NDArray[np.generic], name: str) -> Array:
    """The values of a PSF; an `InputError` if they cannot be those of one."""
    if psf.ndim not in (2, 3) or psf.size == 0:
        raise InputError(f"{name} has shape {psf.shape}; a PSF is YX or ZYX")
    if psf.dtype.kind not in "uif":
        raise InputError(f"{name} has dtype {psf.dtype}; a PSF is real numbers")
    values = psf.astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{name} contains NaN or infinity", "repair the file")
    if min(psf.shape) < 3:
        least = size_text((3,) * psf.ndim)
        raise InputError(f"{name} is {size_text(psf.shape)}; a PSF needs at least {least} pixels")
    if values.max() <= values.min():
        raise InputError(f"{name} is constant ({values.max():g}); a PSF has a peak")
    return values


def _negative(values: Array) -> Fault | None:
    lowest = values.min()
    if lowest < -max(0.05 * np.abs(values).max(), 6 * noise(values)):
        remedy = "subtract no more than its background"
        return Fault(f"has values down to {lowest:g}; light is not negative", remedy, refuse=True)
    return None


def _no_peak(values: Array) -> Fault | None:
    """What is dark where a PSF is bright, or has nothing but noise."""
    smooth = ndi.gaussian_filter(without_background(values), 0.7, mode="nearest")
    level = noise(values)
    inside = smooth[(slice(1, -1),) * values.ndim]
    depth = rim(smooth).min() - inside.min()
    if depth > max(2 * smooth.max(), 4 * level):
        what = f"is dark ({values.min():g}) on a bright background ({np.median(rim(values)):g}); a PSF is bright"
        return Fault(what, "invert it, so that more light is a larger number", refuse=True)
    if smooth.max() < LEAST_SNR * level:
        what = f"has no peak above its noise (peak {smooth.max():.3g}, noise {level:.3g})"
        return Fault(what, "average more beads, or record them with more light", refuse=True)
    if depth > max(0.1 * smooth.max(), 4 * level):
        what = f"is darker beside its peak than its background, by {_percent(depth / smooth.max())} of the peak"
        return Fault(what, "give it as it was recorded, without sharpening or deconvolution", refuse=True)
    return None


def _repaired(bad: int, wrapped: list[str], centre: bool) -> Iterator[Fault]:
    if bad:
        what = f"has {bad} hot or dead pixel{'s' * (bad > 1)}, replaced by the median of the neighbours"
        yield Fault(what, "if they are light, give a PSF with smaller pixels", refuse=False)
    if wrapped and not centre:
        what = f"has its peak in the corner, as FFTs store it ({', '.join(wrapped)})"
        yield Fault(what, "set `centre_psf` to move it to the middle", refuse=True, option="centre_psf")
    elif wrapped:
        what = f"had its peak in the corner, as FFTs store it ({', '.join(wrapped)}); it was moved to the middle"
        yield Fault(what, "check it with `zsd psf show`", refuse=False)


def _form(it: Shape) -> Iterator[Fault]:
    """What the peak looks like."""
    if line := odd_line(it):
        axis, place, brighter = line
        kind = {"Z": "slice", "Y": "row", "X": "column"}[axis]
        what = f"has a {'bright' if brighter else 'dark'} {kind} ({axis.lower()} {place})"
        yield Fault(what, f"repair it, or {ANOTHER_BEAD}", refuse=True)
    if clipped(it):
        what = f"is clipped: its brightest voxels all have the value {it.raw.max():g}, so it is too wide"
        yield Fault(what, "record the bead with less light, or use a PSF from theory", refuse=True)
    elif (share := flatness(it)) > 0.35:
        what = f"has a flat top ({_percent(share)} of the area above its half is above 90 %; a point has 15 %)"
        yield Fault(what, "check whether it was saturated, or the bead was too large", refuse=False)
    if dark_middle(it):
        what = "is dark in its middle: a bead out of focus, or the ring of STED"
        yield Fault(what, "give the image of a point in focus", refuse=True)
    elif other := second_peak(it):
        # Aberrations make lobes: coma and spherical aberration beside the peak, the latter along Z, too.
        lobe = other.height < 0.4 and other.sideways < 2
        what = f"has a second peak of {_percent(other.height)} of the first at {_position(other.position)}"
        why = "a lobe of an aberration, or a second bead" if lobe else "two beads, or a reflection"
        remedy = "check the bead" if lobe else ONE_BEAD
        yield Fault(f"{what}, {why}", remedy, refuse=not lobe, position=other.position)
    across, along = sorted(it.width[-2:])
    if np.isfinite(along) and along > OBLONG * across:
        what = f"is {along / across:.1f} times as wide in {'YX'[int(np.argmax(it.width[-2:]))]} as across"
        yield Fault(what, "check it for drift, astigmatism and pixels that are not square", refuse=False)
    if sharpness(it) < SHARP:
        what = f"has all its light in one pixel, at {_position(it.peak)}: narrower than optics allow"
        yield Fault(
            what, "give a PSF with smaller pixels; if it is a hot pixel, another one", refuse=True, position=it.peak
        )


def _surroundings(it: Shape) -> Iterator[Fault]:
    """What is around the peak."""
    for axis, (share, end) in edges(it).items():
        kind = {"Z": "slice", "Y": "row", "X": "column"}[axis]
        endless = not np.isfinite(it.width[it.axes.index(axis)])
        if endless or share > (AXIAL_EDGE if axis == "Z" else LATERAL_EDGE):
            what = f"is cut off in {axis}: its {end} {kind} has {_percent(share)} of its peak, so it looks too narrow"
            larger = "more slices" if axis == "Z" else "a larger area"
            yield Fault(what, f"give it with {larger}, so that it is dark at its ends", refuse=endless or share > 0.5)
    if (step := step_at_border(it)) > LATERAL_EDGE:
        what = f"ends at a border of the value {it.raw.flat[0]:g}, with a step of {_percent(step)} of its peak"
        yield Fault(what, "crop the border off, so that the background is even", refuse=True)
    for axis, rise in zip(it.axes, slopes(it.raw), strict=True):
        if rise:
            what = f"has a background that changes by {_percent(abs(rise) / it.top)} of its peak along {axis}"
            yield Fault(what, "a plane was subtracted; an even background is better", refuse=False)
    if it.top < POOR_SNR * it.noise:
        what = f"is noisy: its peak is {it.top / it.noise:.1f} times its noise"
        yield Fault(what, "average more beads, or use a PSF from theory", refuse=False)
    if (share := far_light(it)) > 0.5:
        what = f"has {_percent(share)} of its light further than 2.5 FWHM from its peak"
        yield Fault(what, "give the plane in focus, not a sum over slices, without haze", refuse=False)


def _place(it: Shape) -> Iterator[Fault]:
    shape = it.raw.shape
    if any(n % 2 == 0 for n in shape):
        what = f"is {size_text(shape)}; a PSF needs an odd size so that it has a centre pixel"
        odd = size_text(n - 1 + n % 2 for n in shape)
        yield Fault(what, f"crop it to {odd}, or set `centre_psf`", refuse=True, option="centre_psf")
    peak, middle = centroid(it.values), (np.asarray(shape) - 1) / 2
    if np.any(np.abs(peak - middle) > 0.1 * np.asarray(shape) + 1):
        what = f"has its peak at {_position(peak)}, far from its middle {_position(middle)}"
        yield Fault(what, "set `centre_psf` to move it there", refuse=True, option="centre_psf")


def _size(it: Shape, voxel_um: Array, optics: Optics | None) -> Iterator[Fault]:
    """Its width and depth, against what optics can do."""
    wide = (it.width * voxel_um)[-2:].min()
    if not np.isfinite(wide):
        return
    check = "check its pixel size"
    if not NARROWEST_UM <= wide <= WIDEST_UM:
        bound = f"less than {NARROWEST_UM:g}" if wide < NARROWEST_UM else f"more than {WIDEST_UM:g}"
        yield Fault(f"is {wide:.3g} µm wide, {bound} µm", f"{check}, unless it is of STED or a lens", refuse=False)
    if optics:
        unit = optics.wavelength_nm / 1000 / optics.na
        least, most = 0.85 * CONFOCAL * unit, 1.5 * np.hypot(WIDEFIELD * unit, voxel_um[-1])
        if not least <= wide <= most:
            what = f"is {wide:.3g} µm wide; NA {optics.na:g} makes {CONFOCAL * unit:.3g} to {WIDEFIELD * unit:.3g} µm"
            yield Fault(what, check, refuse=False)
    if it.axes == "ZYX" and np.isfinite(it.width[0]):
        deep = float(it.width[0] * voxel_um[0])
        yield from _depth(deep, float(wide), voxel_um)
        if optics and deep > 2 * (focus := np.hypot(SINC * optics.nyquist_um[0], voxel_um[0])):
            what = f"is {deep:.3g} µm deep; NA {optics.na:g} makes {focus:.3g} µm"
            yield Fault(what, "check its z step, and the objective for aberrations", refuse=False)


def _depth(deep: float, wide: float, voxel_um: Array) -> Iterator[Fault]:
    voxels = "x".join(f"{um:g}" for um in voxel_um)
    what = f"with voxels of {voxels} µm (ZxYxX) would be {deep:.3g} µm deep and {wide:.3g} µm wide"
    remedy = "check its z step"
    same_step = abs(voxel_um[0] / voxel_um[-1] - 1) < 0.01
    if deep < FLATTEST * wide:
        yield Fault(f"{what}, which no objective can do", "correct the PSF's z step", refuse=True)
    elif deep < wide or (same_step and deep < ROUND * wide):
        yield Fault(f"{what}; only a light sheet or several views make it so round", remedy, refuse=False)
    elif deep > DEEPEST * wide**2:
        yield Fault(f"{what}, which is too deep for an objective", remedy, refuse=False)


def _per_axis(voxel_um: float | tuple[float, ...], axes: int) -> Array:
    """From p to (p, p) for Y, X; from (z, p) to (z, p, p)."""
    *z, pixel_size = np.atleast_1d(voxel_um)
    return np.array([*z, pixel_size, pixel_size])[-axes:]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _position(point: Iterable[float]) -> str:
    place = list(point)
    return ", ".join(f"{axis} {value:.3g}" for axis, value in zip("zyx"[-len(place) :], place, strict=True))
