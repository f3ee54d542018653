"""A measured PSF: find the beads of a stack, reject what would spoil the average, align to a sub-pixel, average."""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from zsd_optics.psf import centroid, fwhm_px, prepare_psf, resampled, without_background
from zsd_runtime.errors import InputError, size_text

Array = NDArray[np.float64]
Places = NDArray[np.int_]  # voxels
FAINTEST = 0.2  # of the brightest; what is dimmer is taken for side lobes, dust and noise
CLIPPED_VOXELS = 3  # of the stack's largest value in one bead: a peak has one, a clipped one a plateau
MARGIN = 2  # voxels around a bead's box, for bringing its centre to the middle
WIDTH_TOLERANCE = 0.25  # a bead whose FWHM is further from the median in any axis is an outlier
BORDER, CLIPPED, CLUMP, OUTLIER = "too near to the border", "clipped", "in clumps", "outliers in width"


@dataclass(frozen=True)
class Beads:
    """What `average_beads` found.

    psf : (Z, Y, X) or (Y, X), odd-sized, centred, non-negative, sums to 1 · centres : (N, axes) of the averaged
    beads, voxels · rejected : how many for each reason.
    """

    psf: Array
    centres: Array
    rejected: dict[str, int]

    @property
    def report(self) -> str:
        """One line: what was averaged and what not."""
        return f"{len(self.centres)} beads averaged, rejected: {_counted(self.rejected)}"


def average_beads(
    stack: NDArray[np.generic],
    voxel_um: tuple[float, ...],
    size: tuple[int, ...] | None = None,
    *,
    name: str = "the stack",
) -> Beads:
    """Average the beads of a stack into one PSF.

    Each bead is cut out around its sub-pixel centre, freed from its background (the median of its box's faces) and
    summed: by that bright beads weigh more, as their photons do.

    Parameters
    ----------
    stack : ndarray
        (Z, Y, X) or (Y, X), any real dtype.
    voxel_um : tuple of float
        (z step, pixel size) or (pixel size,), µm.
    size : tuple of int
        The box that a bead must have to itself, voxels, odd; four FWHM if not given. The PSF is cropped from it.
    name : str
        What error messages call the stack.

    Raises
    ------
    InputError
        When no usable bead is left; it says how many were rejected, and why.
    """
    if stack.ndim not in (2, 3) or stack.dtype.kind not in "uif" or not np.isfinite(stack).all():
        raise InputError(f"{name} is {stack.dtype} of shape {stack.shape}: beads are YX or ZYX, real and finite")
    if size is not None and (len(size) != stack.ndim or any(n % 2 == 0 or n < 3 for n in size)):
        raise InputError(f"size {size_text(size)} must be {stack.ndim} odd numbers of at least 3, for {name}")
    signal = stack.astype(np.float64)
    signal -= np.median(signal)
    width = _bead_width(signal)
    radii = np.asarray(size) // 2 if size else np.ceil(2 * np.array([*width[:-2], *[width[-2:].max()] * 2])).astype(int)
    candidates = _candidates(signal, width)
    reasons = [_reason_against(seed, candidates, signal, radii) for seed in candidates]
    single = [seed for seed, reason in zip(candidates, reasons, strict=True) if not reason]
    aligned = [_aligned(signal, seed, radii) for seed in single]
    alike = _alike([box for box, _ in aligned], width)
    rejected = {reason: reasons.count(reason) for reason in (BORDER, CLIPPED, CLUMP)} | {OUTLIER: int(np.sum(~alike))}
    if not alike.any():
        raise InputError(
            f"{name} has no usable bead: {len(candidates)} found, rejected: {_counted(rejected)}; give a stack of "
            f"single beads, or a smaller --size than {'x'.join(str(2 * r + 1) for r in radii)}"
        )
    used = [bead for bead, good in zip(aligned, alike, strict=True) if good]
    total = np.sum([box for box, _ in used], axis=0)
    total -= total.min()  # a pedestal, for noise below 0 is no light taken away
    return Beads(prepare_psf(total, voxel_um, voxel_um, name=name), np.array([centre for _, centre in used]), rejected)


def bead_note(bead_nm: float | None, fwhm_nm: float) -> str:
    """Whether the bead's diameter matters at the FWHM that was measured.

    A ball of diameter d has the variance d²/20 along each axis, which adds to that of the PSF: as FWHM, 0.527 d.
    """
    ball = np.sqrt(8 * np.log(2) / 20)
    if bead_nm is None:
        harmless = fwhm_nm * np.sqrt(1 - 1 / 1.05**2) / ball
        return f"beads of up to {harmless:.0f} nm widen the PSF by less than 5 %; say their size with --bead-size"
    if not 0 < ball * bead_nm < fwhm_nm:
        raise InputError(f"bead size {bead_nm:g} nm does not fit the measured FWHM of {fwhm_nm:.0f} nm: give it in nm")
    widening = fwhm_nm / np.sqrt(fwhm_nm**2 - (ball * bead_nm) ** 2) - 1
    verdict = "which is little" if widening < 0.05 else "which matters: use smaller beads, or `zsd psf generate`"
    return f"beads of {bead_nm:g} nm widen the PSF by {100 * widening:.1f} %, {verdict}"


def _bead_width(signal: Array) -> Array:
    """FWHM (voxels, roughly) of a typical bead: the median extent of what is brighter than half of its own maximum."""
    smooth = ndi.gaussian_filter(signal, 1)
    labels, _ = ndi.label(smooth > FAINTEST * smooth.max())
    cores = [np.nonzero(smooth[region] > smooth[region].max() / 2) for region in ndi.find_objects(labels)]
    return np.median([[np.ptp(axis) + 1 for axis in core] for core in cores], axis=0) if cores else np.ones(signal.ndim)


def _candidates(signal: Array, width: Array) -> Places:
    """The peaks (N, axes) of the smoothed signal that are the highest within a FWHM and stand out of the noise."""
    smooth = ndi.gaussian_filter(signal, width / 4)
    noise = 1.48 * np.median(np.abs(smooth - np.median(smooth)))
    highest = smooth == ndi.maximum_filter(smooth, 2 * (width // 2).astype(int) + 1)
    labels, count = ndi.label(highest & (smooth > max(FAINTEST * smooth.max(), 6 * noise)))
    return np.rint(ndi.center_of_mass(highest, labels, range(1, count + 1))).astype(int).reshape(-1, signal.ndim)


def _reason_against(seed: Places, candidates: Places, signal: Array, radii: Places) -> str:
    """Why the bead at `seed` is not to be used; empty if it is."""
    around = _box(seed, radii + MARGIN)
    if any(s.start < 0 or s.stop > n for s, n in zip(around, signal.shape, strict=True)):
        return BORDER
    if np.sum(signal[around] == signal.max()) >= CLIPPED_VOXELS:
        return CLIPPED
    neighbours = np.all(np.abs(candidates - seed) <= radii + MARGIN, axis=1)
    return CLUMP if neighbours.sum() > 1 else ""


def _aligned(signal: Array, seed: Places, radii: Places) -> tuple[Array, Array]:
    """The bead at `seed` in the middle of its box, without its background; and its sub-pixel centre in the stack."""
    around = signal[_box(seed, radii + MARGIN)]
    centre = centroid(around)
    box = resampled(around, centre, np.ones(centre.size), radii)
    return without_background(box), seed - radii - MARGIN + centre


def _alike(boxes: list[Array], width: Array) -> NDArray[np.bool_]:
    """Which beads are of about the median FWHM in every axis; one wider than its box counts as that wide."""
    widths = np.array([np.minimum(fwhm_px(ndi.gaussian_filter(box, width / 8)), box.shape) for box in boxes])
    if not boxes:
        return np.zeros(0, bool)
    return np.all(np.abs(widths / np.median(widths, axis=0) - 1) <= WIDTH_TOLERANCE, axis=1)


def _box(middle: Places, radii: Places) -> tuple[slice, ...]:
    return tuple(slice(m - r, m + r + 1) for m, r in zip(middle, radii, strict=True))


def _counted(rejected: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in rejected.items())
