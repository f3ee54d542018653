"""What a package says of the camera that its model was trained with."""

import math
from dataclasses import asdict, dataclass
from reprlib import repr as short
from typing import Any

from zsd_runtime.errors import InputError

Ratios = tuple[float, float, float]


@dataclass(frozen=True)
class Camera:
    """The training images' counts and their noise: what images to restore are compared with (`zsd_runtime.mismatch`).

    variance(counts) = max(gain · counts + constant, floor), as `zsd_optics.noise` measured it.

    Attributes
    ----------
    offset : float
        Level of the darkest parts, counts.
    scale : float
        Counts from the offset to the bright parts. The network sees ``(counts - offset) / scale``.
    gain : float
        Counts per photo-electron; 0 if the images did not show it.
    constant, floor : float
        Variance at 0 counts, and of the darkest pixels, counts².
    dtype : str or None
        Of the images' files; None if unknown.
    lowest, highest : float or None
        Counts of the darkest and of the brightest pixel.
    saturated : float
        Share of the pixels that were saturated.
    correlated : str
        Axes ("Y", "X") along which neighbouring pixels share noise.
    noise_ratios : tuple of float
        How many times the noise of the line an image of the training shows, in its dark, middle and bright parts, when
        it is measured as `zsd_runtime.mismatch` does. Structure that is finer than the optics allow makes it more.
    """

    offset: float
    scale: float
    gain: float
    constant: float
    floor: float
    dtype: str | None = None
    lowest: float | None = None
    highest: float | None = None
    saturated: float = 0.0
    correlated: str = ""
    noise_ratios: Ratios = (1.0, 1.0, 1.0)

    def variance(self, counts: float) -> float:
        """Noise variance (counts²) at a level."""
        return max(self.gain * counts + self.constant, self.floor)

    @property
    def least_level(self) -> float:
        """The lowest mean level (counts) that this camera can give.

        At the camera's own offset there is no light, so shot noise ends there: the noise line crosses zero just below.
        The darkest parts of the training images may have been brighter. Without a gain, they are all that is known.
        """
        dark = min(self.offset, -self.constant / self.gain) if self.gain > 0 else self.offset
        unsigned = self.dtype is not None and self.dtype.startswith("uint")
        return max(dark, 0.0) if unsigned else dark

    @property
    def facts(self) -> dict[str, Any]:
        """As a package keeps it; unknown values are left out."""
        known = {**asdict(self), "noise_ratios": list(self.noise_ratios)}
        return {name: value for name, value in known.items() if value not in (None, "")}


def camera_of(facts: Any) -> Camera | None:
    """The camera of a package, from its `facts`.

    Raises
    ------
    InputError, KeyError, TypeError, ValueError
        When they are malformed.
    """
    if facts is None:
        return None
    required = {name: _number(facts[name]) for name in ("offset", "scale", "gain", "constant", "floor")}
    dark, middle, bright = map(_number, facts.get("noise_ratios", (1.0, 1.0, 1.0)))
    if required["gain"] < 0 or min(required["scale"], required["floor"], dark, middle, bright) <= 0:
        raise InputError("its camera has a negative gain, scale, floor or noise ratio", "export the model again")
    dtype = facts.get("dtype")
    if not isinstance(dtype, str | None):
        raise TypeError(f"a {type(dtype).__name__} in place of a dtype")
    correlated = facts.get("correlated", "")
    if correlated not in ("", "Y", "X", "YX"):
        raise InputError(f"its camera has noise correlated along {short(correlated)}", "export the model again")
    lowest, highest = (None if facts.get(name) is None else _number(facts[name]) for name in ("lowest", "highest"))
    saturated = _number(facts.get("saturated", 0.0))
    return Camera(
        **required, dtype=dtype, lowest=lowest, highest=highest, saturated=saturated, correlated=correlated,
        noise_ratios=(dark, middle, bright),
    )  # fmt: skip


def length_of(um: Any) -> float | None:
    """A length (µm) of a package's facts, if it is known."""
    return None if um is None else _number(um)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{short(value)} in place of a number")
    return float(value)
