"""What is known of the patterns of a SIM acquisition: estimated once, saved, shown, given and reused."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError
from zsd_runtime.files import written_whole
from zsd_runtime.sim.layout import ORDERS

SCHEMA = 1
LARGEST = 1e30  # numbers that are no mistake
MOST_MODULATION = 1.01 * 2**0.5  # of order 1 of three beams it is √2 (Gustafsson et al. 2008); some room for rounding
REMEDY = "estimate them again with `zsd sim reconstruct`, which writes parameters.json"


@dataclass(frozen=True)
class Pattern:
    """The stripes of one direction.

    Attributes
    ----------
    angle_rad : float
        Direction of the wave vector, across the stripes: 0 is along +X, π/2 along +Y.
    spacing_nm : float
        Period of the finest stripes: with 3 beams those of order 2.
    phases_rad : tuple of float
        Of each frame, at the centre of the first pixel; of order 1.
    modulation : tuple of float
        Contrast of each order from 1 on, 0 to 1; of order 1 of three beams up to √2.
    trust : tuple of float
        Of each order: the peak of the correlation that shows it, over the median around it. Below 5 there is none.
    intensity : float
        Brightness of the illumination relative to the mean of all directions.
    """

    angle_rad: float
    spacing_nm: float
    phases_rad: tuple[float, ...]
    modulation: tuple[float, ...]
    trust: tuple[float, ...] = ()
    intensity: float = 1.0

    @property
    def orders(self) -> int:
        """Number of orders beside 0."""
        return len(self.modulation)

    def wave_vector(self, order: int) -> NDArray[np.float64]:
        """(ky, kx) of an order, cycles/µm."""
        length = 1000 / self.spacing_nm * order / self.orders
        return length * np.array([np.sin(self.angle_rad), np.cos(self.angle_rad)])

    @property
    def separation(self) -> NDArray[np.complex128]:
        """(1 + orders, phases): from frames to bands, order 0 and the positive ones, by the pseudo-inverse."""
        phases = np.array(self.phases_rad)
        columns = [np.exp(1j * order * phases) for order in range(-self.orders, self.orders + 1)]
        return np.linalg.pinv(np.stack(columns, axis=1))[self.orders :]  # type: ignore[no-any-return]


@dataclass(frozen=True)
class SimParameters:
    """The patterns of all directions, and the grid that they were found on.

    Attributes
    ----------
    patterns : tuple of Pattern
    pixel_size_um : float
        Of the raw frames.
    z_step_um : float or None
        Of volumes.
    offset : float
        Counts of the camera where there is no light.
    order : str
        How the planes of a file follow each other, the slowest first: d (direction), p (phase), z.
    wiener : float
        w: what is added to the squared contrast, w², so that noise is not amplified where there is no signal.
    smooth_wiener : float or None
        Of images for eyes, where `wiener` is that of a network, which needs a smaller one.
    notch : float
        Share of order 0's low frequencies that is left out, 0 to 0.95: out-of-focus light has no others.
    remarks : tuple of str
        Sentences on what is doubtful in these frames, for the user. They do not count when parameters are compared.
    """

    patterns: tuple[Pattern, ...]
    pixel_size_um: float
    z_step_um: float | None = None
    offset: float = 0.0
    order: str = "dp"
    wiener: float = 0.1
    notch: float = 0.0
    remarks: tuple[str, ...] = field(default=(), compare=False)
    smooth_wiener: float | None = None

    @property
    def directions(self) -> int:
        """Number of directions."""
        return len(self.patterns)

    @property
    def phases(self) -> int:
        """Frames of each direction."""
        return len(self.patterns[0].phases_rad)

    @property
    def frames(self) -> int:
        """Raw frames of one plane."""
        return self.directions * self.phases

    @property
    def least_trust(self) -> float:
        """Of the direction whose stripes show least; infinite if nothing was measured."""
        return min((max(p.trust) for p in self.patterns if p.trust), default=float("inf"))

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"zsd_sim": SCHEMA, **asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any], name: str = "the parameters") -> "SimParameters":
        """From `as_dict`.

        Raises
        ------
        InputError
            When a value is missing, unknown or impossible.
        """
        try:
            values = dict(values)
            if (schema := values.pop("zsd_sim")) != SCHEMA:
                raise InputError(f"{name} have schema {schema}; this zsd reads {SCHEMA}", REMEDY)
            patterns = tuple(_pattern(pattern) for pattern in values.pop("patterns"))
            values["remarks"] = tuple(values.get("remarks", ()))
            found = cls(patterns, **values)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{name} are not those of a SIM acquisition: {error}", REMEDY) from None
        found.check(name)
        return found

    def check(self, name: str = "the parameters") -> None:
        """Refuse what no microscope has.

        Raises
        ------
        InputError
            When a value is of another kind, or impossible.
        """
        lists = [values for p in self.patterns for values in (p.phases_rad, p.modulation, p.trust)]
        if not self.patterns or not all(isinstance(values, tuple) for values in lists):
            raise InputError(f"{name} must give phases_rad, modulation and trust of every direction as lists", REMEDY)
        numbers: list[Any] = [self.pixel_size_um, self.wiener]
        numbers += [n for n in (self.z_step_um, self.smooth_wiener) if n is not None]
        others: list[Any] = [self.offset, self.notch]
        for p in self.patterns:
            numbers += [p.spacing_nm, p.intensity]
            others += [p.angle_rad, *p.phases_rad, *p.modulation, *p.trust]
        alike = len({(len(p.phases_rad), p.orders) for p in self.patterns}) == 1
        enough = all(len(p.phases_rad) > 2 * p.orders > 0 for p in self.patterns)
        real = all(isinstance(n, int | float) and abs(n) < LARGEST for n in numbers + others)
        if not (alike and enough and real and min(numbers) > 0 and 0 <= self.notch < 1):
            raise InputError(
                f"{name} must give every direction as many phases and orders, and all values as numbers: sizes, "
                "spacings and the Wiener parameter above 0, the notch below 1",
                REMEDY,
            )
        strange = [m for p in self.patterns for m in p.modulation if not 0 <= m <= MOST_MODULATION]
        if strange:
            raise InputError(f"{name} have a modulation of {strange[0]:g}, and light allows 0 to 1.41", REMEDY)
        orders = ORDERS[2 if self.z_step_um is None else 3]
        if self.order not in orders:
            raise InputError(
                f"{name} have the order {self.order!r}, and {'planes' if self.z_step_um is None else 'volumes'} have "
                f"one of {', '.join(orders)}",
                REMEDY,
            )

    def save(self, path: Path) -> None:
        """Write them as JSON."""
        with written_whole(path) as unfinished:
            unfinished.write_text(json.dumps(self.as_dict(), indent=2) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path) -> "SimParameters":
        """Read what `save` wrote.

        Raises
        ------
        InputError
            When the file is missing or malformed.
        """
        try:
            values = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise InputError(f"{path} does not exist", "`zsd sim reconstruct` writes parameters.json") from None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}", "give a parameters.json") from None
        except (ValueError, RecursionError):  # no text, or no JSON
            raise InputError(f"{path} is no JSON", "give parameters.json of `zsd sim reconstruct`") from None
        if not isinstance(values, dict):
            raise InputError(f"{path} holds no parameters of SIM", "`zsd sim reconstruct` writes parameters.json")
        return cls.from_dict(values, str(path))


def _pattern(values: dict[str, Any]) -> Pattern:
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return Pattern(**plain)
