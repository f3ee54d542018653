"""What is known of a camera's noise, and what it means for a user."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError

Array = NDArray[np.float64]


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
        images. Recorruption cannot remove such noise.
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

    @property
    def read_noise(self) -> float:
        """Standard deviation (counts) at the offset."""
        return float(np.sqrt(self.variance(self.offset)))

    @property
    def warnings(self) -> list[str]:
        """Sentences for the user, each of them about something that makes results worse; empty for good images."""
        found = [correlated_noise(self.correlated)] if self.correlated else []
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
    if not gain > 0:
        raise InputError(
            f"gain {gain} must be above 0 counts per electron", "see the camera's data sheet", option="gain"
        )
    if read_noise < 0:
        raise InputError(f"read noise {read_noise} must be 0 or above (counts)", option="read_noise")
    floor = max(read_noise**2, 1e-6 * gain)
    return NoiseModel(gain, read_noise**2 - gain * offset, floor, offset, message="given by the user")


def correlated_noise(axes: str) -> str:
    """What correlated noise means for a user."""
    return (
        f"the noise is correlated along {' and '.join(axes)}: the image was interpolated, deskewed, registered or "
        "compressed; such noise will not be removed: use the image as the camera gave it"
    )
