"""A measured PSF: find the beads of a stack, reject bad ones, align the others to a fraction of a pixel, average."""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from zsd_optics.psf import prepare_psf, resampled
from zsd_optics.psf_measure import centroid, fwhm_px, without_background
from zsd_runtime.errors import InputError, size_text

Array = NDArray[np.float64]
Places = NDArray[np.int_]  # voxels
FAINTEST = 0.2  # of the brightest; anything dimmer counts as side lobes, dust and noise
CLIPPED_VOXELS = 3  # with the stack's largest value in one bead: a peak has one, a clipped peak several
MARGIN = 2  # voxels around a bead's box, needed to move its centre to the middle
WIDTH_TOLERANCE = 0.25  # a bead whose FWHM is further from the median in any axis is an outlier
BORDER, CLIPPED, CLUMP, OUTLIER = "too near to the border", "clipped", "in clumps", "outliers in width"


@dataclass(frozen=True)
class Beads:
    """What `average_beads` found.

    Parameters
    ----------
    psf : ndarray
        (Z, Y, X) or (Y, X), odd-sized, centred, non-negative, sums to 1.
    centres : ndarray
        (N, axes), of the averaged beads, voxels.
    rejected : dict
        How many beads were rejected for each reason.
    """

    psf: Array
    centres: Array
    rejected: dict[str, int]

    @property
    def report(self) -> str:
        """One line: how many beads were averaged and rejected."""
        return f"{len(self.centres)} beads averaged, rejected: {_counted(self.rejected)}"


def average_beads(
    stack: NDArray[np.generic],
    voxel_um: tuple[float, ...],
    size: tuple[int, ...] | None = None,
    *,
    name: str = "the stack",
) -> Beads:
    """Average the beads of a stack into one PSF.

    Each bead is cut out around its sub-pixel centre; its background (the median of its box's faces) is subtracted. The
    beads are summed, so that bright beads, with more photons, weigh more.

    Parameters
    ----------
    stack : ndarray
        (Z, Y, X) or (Y, X), any real dtype.
    voxel_um : tuple of float
        (z step, pixel size) or (pixel size,), µm.
    size : tuple of int
        The box around a bead that must contain no other bead, voxels, odd; default: four FWHM. The PSF is cropped
        from it.
    name : str
        Name of the stack in error messages.

    Raises
    ------
    InputError
        When no usable bead is left; the message says how many were rejected, and why.
    """
    if stack.ndim not in (2, 3) or stack.dtype.kind not in "uif" or not np.isfinite(stack).all():
        raise InputError(f"{name} is {stack.dtype} of shape {stack.shape}; beads are YX or ZYX, real and finite")
    if size is not None and (len(size) != stack.ndim or any(n % 2 == 0 or n < 3 for n in size)):
        raise InputError(
            f"size {size_text(size)} must be {stack.ndim} odd numbers of at least 3, for {name}", option="size"
        )
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
            f"{name} has no usable bead: {len(candidates)} found, rejected: {_counted(rejected)}",
            f"give a stack of single beads, or a smaller `size` than {size_text(2 * radii + 1)}", option="size",
        )  # fmt: skip
    used = [bead for bead, good in zip(aligned, alike, strict=True) if good]
    total = np.sum([box for box, _ in used], axis=0)
    total -= total.min()  # noise makes some pixels negative, which no PSF may be
    return Beads(prepare_psf(total, voxel_um, voxel_um, name=name), np.array([centre for _, centre in used]), rejected)


def bead_note(bead_nm: float | None, fwhm_nm: float) -> str:
    """Whether the bead's diameter matters at the measured FWHM.

    A ball of diameter d has the variance d²/20 along each axis, which adds to that of the PSF: as a FWHM, 0.527 d.
    """
    ball = np.sqrt(8 * np.log(2) / 20)
    if bead_nm is None:
        harmless = fwhm_nm * np.sqrt(1 - 1 / 1.05**2) / ball
        return f"beads of up to {harmless:.0f} nm widen the PSF by less than 5 %; give the bead size to check"
    if not 0 < ball * bead_nm < fwhm_nm:
        raise InputError(
            f"bead size {bead_nm:g} nm does not fit the measured FWHM of {fwhm_nm:.0f} nm", "give it in nm",
            option="bead_size",
        )  # fmt: skip
    widening = fwhm_nm / np.sqrt(fwhm_nm**2 - (ball * bead_nm) ** 2) - 1
    verdict = "which is little" if widening < 0.05 else "which matters: use smaller beads, or a PSF from theory"
    return f"beads of {bead_nm:g} nm widen the PSF by {100 * widening:.1f} %, {verdict}"


def _bead_width(signal: Array) -> Array:
    """Rough FWHM of a typical bead, voxels: the median extent of the regions above half of their own maximum."""
    smooth = ndi.gaussian_filter(signal, 1)
    labels, _ = ndi.label(smooth > FAINTEST * smooth.max())
    cores = [np.nonzero(smooth[region] > smooth[region].max() / 2) for region in ndi.find_objects(labels)]
    return np.median([[np.ptp(axis) + 1 for axis in core] for core in cores], axis=0) if cores else np.ones(signal.ndim)


def _candidates(signal: Array, width: Array) -> Places:
    """Peaks (N, axes) of the smoothed signal that are the highest within a FWHM and exceed the noise."""
    smooth = ndi.gaussian_filter(signal, width / 4)
    noise = 1.48 * np.median(np.abs(smooth - np.median(smooth)))
    highest = smooth == ndi.maximum_filter(smooth, 2 * (width // 2).astype(int) + 1)
    labels, count = ndi.label(highest & (smooth > max(FAINTEST * smooth.max(), 6 * noise)))
    return np.rint(ndi.center_of_mass(highest, labels, range(1, count + 1))).astype(int).reshape(-1, signal.ndim)


def _reason_against(seed: Places, candidates: Places, signal: Array, radii: Places) -> str:
    """Why the bead at `seed` is rejected; empty if it is not."""
    around = _box(seed, radii + MARGIN)
    if any(s.start < 0 or s.stop > n for s, n in zip(around, signal.shape, strict=True)):
        return BORDER
    if np.sum(signal[around] == signal.max()) >= CLIPPED_VOXELS:
        return CLIPPED
    neighbours = np.all(np.abs(candidates - seed) <= radii + MARGIN, axis=1)
    return CLUMP if neighbours.sum() > 1 else ""


def _aligned(signal: Array, seed: Places, radii: Places) -> tuple[Array, Array]:
    """The bead at `seed`, centred in its box, without background; and its sub-pixel centre in the stack."""
    around = signal[_box(seed, radii + MARGIN)]
    centre = centroid(around)
    box = resampled(around, centre, np.ones(centre.size), radii)
    return without_background(box), seed - radii - MARGIN + centre


def _alike(boxes: list[Array], width: Array) -> NDArray[np.bool_]:
    """Which beads have about the median FWHM along every axis; a FWHM is at most the size of the box."""
    widths = np.array([np.minimum(fwhm_px(ndi.gaussian_filter(box, width / 8)), box.shape) for box in boxes])
    if not boxes:
        return np.zeros(0, bool)
    return np.all(np.abs(widths / np.median(widths, axis=0) - 1) <= WIDTH_TOLERANCE, axis=1)


def _box(middle: Places, radii: Places) -> tuple[slice, ...]:
    return tuple(slice(m - r, m + r + 1) for m, r in zip(middle, radii, strict=True))


def _counted(rejected: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in rejected.items())
