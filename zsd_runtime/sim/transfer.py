"""The optical transfer function of the detection, as tables over the radial frequency."""

import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from zsd_runtime.errors import InputError
from zsd_runtime.files import written_whole

Array = NDArray[np.float64]
SCHEMA = 1
NEGLIGIBLE = 0.005  # of the contrast at frequency 0: beyond, the OTF counts as 0


@dataclass(frozen=True, eq=False)
class Transfer:
    """The contrast that a microscope leaves of each spatial frequency, around the centre of each order.

    The orders of 3D-SIM have one OTF each: the illumination varies along Z, too, and moves with the focus (Gustafsson
    et al. 2008). In planes all orders have the same.

    Attributes
    ----------
    values : ndarray
        (orders, kr) in 2D; (orders, kz, kr) in 3D with kz from negative to positive frequencies, an odd number, 0 in
        the middle. Order 0 is 1 at frequency 0.
    step : tuple of float
        ([kz,] kr), cycles/µm between two samples.
    """

    values: Array
    step: tuple[float, ...]

    @cached_property
    def cutoff(self) -> float:
        """The highest frequency that is transferred in Y and X, cycles/µm."""
        seen = np.flatnonzero(self.in_focus > NEGLIGIBLE)
        return float(seen[-1] + 1) * self.step[-1]

    @cached_property
    def in_focus(self) -> Array:
        """(kr,): the contrast of order 0 in the focal plane; 1 at frequency 0."""
        table = self.values[0] if self.values.ndim == 2 else self.values[0].sum(axis=0)
        return table / table[0]  # type: ignore[no-any-return]

    @cached_property
    def axial_cutoff(self) -> float:
        """The highest frequency that any order transfers along Z, cycles/µm; of volumes."""
        strongest = self.values.max(axis=(0, 2))
        return float(np.abs(np.flatnonzero(strongest > NEGLIGIBLE) - len(strongest) // 2).max() + 1) * self.step[0]

    def __call__(self, frequency: tuple[Array, ...], order: int = 0) -> Array:
        """The contrast at frequencies ([kz,] ky, kx), cycles/µm, from the centre of the order; they broadcast."""
        *axial, ky, kx = frequency
        radial = np.hypot(ky, kx) / self.step[-1]
        table = self.values[min(order, len(self.values) - 1)]
        if not axial:
            return _interpolated(table, radial)
        depth = axial[0] / self.step[0] + len(table) // 2
        padded = np.pad(table, ((1, 1), (0, 2)))
        above = np.clip(depth, -1, len(table)) + 1  # in the padded table
        row = np.minimum(above.astype(np.int64), len(table))
        column = np.minimum(radial.astype(np.int64), table.shape[1])
        down, right = above - row, np.minimum(radial - column, 1.0)
        upper = padded[row, column] + right * (padded[row, column + 1] - padded[row, column])
        lower = padded[row + 1, column] + right * (padded[row + 1, column + 1] - padded[row + 1, column])
        return upper + down * (lower - upper)  # type: ignore[no-any-return]

    def to_tiff(self) -> bytes:
        """A TIFF whose description has the steps."""
        buffer = io.BytesIO()
        about = json.dumps({"zsd_transfer": SCHEMA, "step": self.step})
        values = self.values.astype(np.float32)
        tifffile.imwrite(buffer, values, photometric="minisblack", description=about, metadata=None)
        return buffer.getvalue()

    @classmethod
    def from_tiff(cls, content: bytes, name: str = "the file") -> "Transfer":
        """From `to_tiff`.

        Raises
        ------
        InputError
            When it is another file.
        """
        try:
            with tifffile.TiffFile(io.BytesIO(content)) as file:
                values, about = file.asarray(), json.loads(file.pages.first.description)
            if about["zsd_transfer"] != SCHEMA:
                raise ValueError
            return cls(np.asarray(values, np.float64), tuple(map(float, about["step"])))
        except Exception:  # decoders fail in many ways on other files
            raise InputError(f"{name} is no OTF that zsd wrote", "give otf.tif of `zsd sim reconstruct`") from None

    def save(self, path: Path) -> None:
        """Write `to_tiff`."""
        with written_whole(path) as unfinished:
            unfinished.write_bytes(self.to_tiff())

    @classmethod
    def load(cls, path: Path) -> "Transfer":
        """Read what `save` wrote.

        Raises
        ------
        InputError
            When the file is missing or another.
        """
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise InputError(f"{path} does not exist", "give the OTF of the detection") from None
        return cls.from_tiff(content, str(path))

    def along_r(self, fraction: Array) -> Array:
        """The in-focus contrast of order 0 at a fraction (0..1) of the cutoff."""
        return _interpolated(self.in_focus, fraction * self.cutoff / self.step[-1])


def _interpolated(table: Array, place: Array) -> Array:
    """Linear between the samples, 0 behind the last; faster than `numpy.interp` on large grids."""
    padded = np.append(table, [0.0, 0.0])
    low = np.minimum(place.astype(np.int64), len(table))
    share = np.minimum(place - low, 1.0)
    return padded[low] + share * (padded[low + 1] - padded[low])  # type: ignore[no-any-return]
