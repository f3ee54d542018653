"""What a person says of raw SIM files, checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from pathlib import Path

import numpy as np

from zsd_optics.sim.estimate import Given
from zsd_runtime.errors import InputError
from zsd_runtime.sim.layout import PHASES

DIRECTIONS = 3
LARGEST_NOTCH = 0.95
NUMBERS = (
    "na", "wavelength", "refractive_index", "excitation", "pixel_size", "z_step", "spacing", "offset", "wiener", "notch"
)  # fmt: skip


@dataclass(frozen=True)
class SimOptions:
    """What a person says of raw SIM files; the options of the command line.

    Attributes
    ----------
    otf : path or None
        The measured OTF, or `na` and the others.
    na, wavelength, refractive_index, excitation
        Of an OTF from theory; nm. The wavelength of the emission is that of the file if not given. Volumes of 3 beams
        need the excitation's, too.
    pixel_size, z_step : float or None
        µm; replace what the files say.
    directions, phases, slices : int or None
        Default: 3 directions; phases and slices by the number of planes.
    order : str or None
        How the planes follow each other, the slowest first, e.g. "dpz"; found if not given.
    spacing : float or None
        Of the finest stripes, nm.
    angles : str, sequence of float or None
        Of the wave vectors, rad; "-0.80,-1.86,0.24".
    parameters : path or None
        A parameters.json to be used instead of an estimation.
    offset : float or None
        Of the camera, counts; estimated if not given.
    wiener, notch : float or None
        Replace what is estimated.
    axes, series, keep_hot_pixels
        As for all images.
    """

    otf: Path | None = None
    na: float | None = None
    wavelength: float | None = None
    refractive_index: float | None = None
    excitation: float | None = None
    pixel_size: float | None = None
    z_step: float | None = None
    directions: int | None = None
    phases: int | None = None
    slices: int | None = None
    order: str | None = None
    spacing: float | None = None
    angles: str | Sequence[float] | None = None
    parameters: Path | None = None
    offset: float | None = None
    wiener: float | None = None
    notch: float | None = None
    axes: str | None = None
    series: int | None = None
    keep_hot_pixels: bool = False

    def __post_init__(self) -> None:
        if (self.otf is None) == (self.na is None):
            raise InputError(
                f"the optics are given by {'nothing' if self.otf is None else '`otf` and `na`'}",
                "give either `otf` FILE, or `na` with `wavelength`", option=("otf", "na", "wavelength"),
            )  # fmt: skip
        for option in ("wavelength", "refractive_index", "excitation"):
            if self.otf is not None and getattr(self, option) is not None:
                raise InputError(
                    f"`{option}` belongs to `na`, and the optics are given by `otf`", "leave it out",
                    option=(option, "na", "otf"),
                )  # fmt: skip
        for option in NUMBERS:
            value = getattr(self, option)
            if value is not None and not np.isfinite(value):
                raise InputError(f"`{option}` {value:g} must be a finite number", option=option)
        for option in ("directions", "slices", "spacing", "wiener", "excitation"):
            value = getattr(self, option)
            if value is not None and value <= 0:
                raise InputError(f"`{option}` {value:g} must be above 0", option=option)
        if self.phases is not None and self.phases not in PHASES:
            raise InputError(
                f"`phases` {self.phases} must be {PHASES[0]} (two beams) or {PHASES[1]} (three beams)", option="phases"
            )
        if self.notch is not None and not 0 <= self.notch <= LARGEST_NOTCH:
            raise InputError(f"`notch` {self.notch:g} must be 0 to {LARGEST_NOTCH:g}", option="notch")
        if self.parameters is not None:
            for option in ("spacing", "angles"):
                if getattr(self, option) is not None:
                    raise InputError(
                        f"`{option}` is given beside `parameters`, which holds it", "leave one of them out",
                        option=(option, "parameters"),
                    )  # fmt: skip
        elif self.angles is not None and self.spacing is None:
            raise InputError("`angles` needs the `spacing`, too", "add it (nm)", option=("angles", "spacing"))

    @property
    def given(self) -> Given:
        """What is known of the patterns."""
        return Given(self.spacing, None if self.angles is None else self._angles())

    def _angles(self) -> tuple[float, ...]:
        assert self.angles is not None
        parts = self.angles.split(",") if isinstance(self.angles, str) else self.angles
        directions = self.directions or DIRECTIONS
        try:
            angles = tuple(float(part) for part in parts)
        except ValueError:
            angles = ()
        if len(angles) != directions or not np.isfinite(angles).all() or max(np.abs(angles)) > 2 * pi:
            raise InputError(
                f"`angles` {self.angles} must be {directions} numbers (rad, -6.28 to 6.28) with commas between, one "
                "for each direction", option="angles",
            )  # fmt: skip
        return angles
