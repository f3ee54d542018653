"""What is known of a camera's noise, and what it means for a user."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError

Array = NDArray[np.float64]
SHARED = 0.1  # correlation above which two pixels count as sharing noise


@dataclass(frozen=True)
class NoiseModel:
    """variance(counts) = max(gain · counts + constant, floor), with one standard error each.

    Parameters
    ----------
    gain : float
        Counts per photo-electron; 0 if the images do not show it.
    constant : float
        Variance at 0 counts, counts².
    floor : float
        Variance of the darkest pixels, counts².
    offset : float
        Level of the darkest pixels, counts: the camera offset if part of the image is dark, otherwise offset and
        background together.
    gain_error, constant_error, offset_error : float
        One standard error each.
    message : str
        How it was estimated.
    correlated : str
        Axes ("Y", "X") along which neighbouring pixels share noise, as in interpolated, deskewed or compressed
        images.
    correlation : tuple of tuple of float or None
        Correlation of the noise of a pixel with that of the pixels around it (Y, X), 1 in the middle; None for white
        noise, or where it could not be measured.
    phases : tuple or None
        The covariance of the pixels at (even, even), (even, odd), (odd, even), (odd, odd) places with the pixels
        around, over the mean variance; None if all places are alike. In demosaiced images they are not.
    row_noise, column_noise : float
        Standard deviation of the offset that all pixels of a row (a column) share, counts; 0 if not significant. It
        is not part of the variance.
    fixed_pattern : float
        Standard deviation of the offset that a pixel keeps from frame to frame, counts; 0 if not significant or
        unknown: only repeats of one scene show it. It is not part of the variance.
    undersampled : bool
        The image has structure at the highest frequencies, which the estimate takes for noise.
    remarks : tuple of str
        Other sentences that a user should read: clipped pixels, blank images.
    """

    gain: float
    constant: float
    floor: float
    offset: float
    gain_error: float = 0.0
    constant_error: float = 0.0
    offset_error: float = 0.0
    message: str = ""
    correlated: str = ""
    row_noise: float = 0.0
    column_noise: float = 0.0
    fixed_pattern: float = 0.0
    undersampled: bool = False
    remarks: tuple[str, ...] = ()
    correlation: tuple[tuple[float, ...], ...] | None = None
    phases: tuple[tuple[tuple[float, ...], ...], ...] | None = None

    @property
    def read_noise(self) -> float:
        """Standard deviation (counts) at the offset."""
        return float(np.sqrt(self.variance(self.offset)))

    @property
    def warnings(self) -> list[str]:
        """Sentences for the user, each of them about something that makes results worse; empty for good images."""
        found = [correlated_noise(self)] if self.correlated else []
        lines = [
            f"{lines} share noise of {size:.2g} counts"
            for lines, size in (("rows", self.row_noise), ("columns", self.column_noise))
            if size
        ]
        if lines:
            which = "both" if len(lines) > 1 else "rows" if self.row_noise else "columns"
            found.append(f"{' and '.join(lines)}: the restored image will show stripes: set `remove_lines` to {which}")
        if self.fixed_pattern:
            found.append(
                f"the camera has a fixed pattern of {self.fixed_pattern:.2g} counts, which stays in the restored "
                "image: give `dark`, frames without light"
            )
        if self.undersampled:
            found.append(
                "the image is undersampled or has structure at the highest frequencies: the gain is too high, and fine "
                "structure may be removed as noise: use smaller pixels, repeats of one scene, or give `offset`, `gain` "
                "and `read_noise`"
            )
        return [*found, *self.remarks]

    @property
    def next_pixel(self) -> dict[str, float]:
        """Correlation of the noise with that of the next pixel along Y and X; empty for white noise."""
        if self.correlation is None:
            return {}
        middle = len(self.correlation) // 2
        return {"Y": self.correlation[middle + 1][middle], "X": self.correlation[middle][middle + 1]}

    @property
    def reach(self) -> tuple[int, int]:
        """How many pixels to either side along Y and X share a pixel's noise: those with a correlation of 0.1 or more.

        Where the correlation is known to be there but not measured, 2.
        """
        if self.correlation is None:
            return 2 * ("Y" in self.correlated), 2 * ("X" in self.correlated)
        shared = np.argwhere(np.abs(self.correlation) >= SHARED) - len(self.correlation) // 2
        y, x = np.abs(shared).max(0).tolist()
        return y, x

    def variance(self, counts: Array | float) -> Array:
        """Noise variance (counts²) of a noise-free image of `counts`, any shape."""
        return np.maximum(self.gain * np.asarray(counts, np.float64) + self.constant, self.floor)


def known_noise(offset: float, gain: float, read_noise: float) -> NoiseModel:
    """The model of a camera with known values.

    Parameters
    ----------
    offset : float
        Camera offset, counts.
    gain : float
        Counts per photo-electron.
    read_noise : float
        Standard deviation, counts.
    """
    for option, value in (("offset", offset), ("gain", gain), ("read_noise", read_noise)):
        if not np.isfinite(value):
            raise InputError(f"{option} {value:g} must be a number of counts", option=option)
    if not gain > 0:
        raise InputError(
            f"gain {gain} must be above 0 counts per electron", "see the camera's data sheet", option="gain"
        )
    if read_noise < 0:
        raise InputError(f"read noise {read_noise} must be 0 or above (counts)", option="read_noise")
    floor = max(read_noise**2, 1e-6 * gain)
    return NoiseModel(gain, read_noise**2 - gain * offset, floor, offset, message="given by the user")


LEARNT = "zsd learns with this correlation"


def correlated_noise(noise: NoiseModel, remedy: str = LEARNT) -> str:
    """What correlated noise means for a user; `remedy` is what zsd does if it knows the correlation."""
    axes, shared = " and ".join(noise.correlated), ""
    if noise.correlation is None:
        remedy = (
            remedy if remedy != LEARNT else "how far is unknown (small images do not show it), so such noise will stay"
        )
    else:
        values = [f"{noise.next_pixel[axis]:.2f}" for axis in noise.correlated]
        shared = f" ({' and '.join(dict.fromkeys(values))} with the next pixel)"
    return (
        f"the noise is correlated along {axes}{shared}: the image was resized, registered, deskewed, demosaiced or "
        f"compressed; {remedy}; use the image as the camera gave it if you can"
    )
