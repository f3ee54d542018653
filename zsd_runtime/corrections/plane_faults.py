"""What is wrong with the planes of an image, kept in files: processes that share an image look at each plane once."""

import io
import uuid
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.images.remote import write_at_once

Index = tuple[int, ...]
Group = tuple[range, ...]  # planes that are looked at together: for each axis before Y and X


@dataclass(frozen=True)
class PlaneFaults:
    """What is wrong with a plane (Y, X), in little memory.

    Attributes
    ----------
    places : ndarray
        Of hot and dead pixels, flat and sorted.
    values : ndarray
        That replace them.
    rows, columns : ndarray or None
        Offsets that all pixels of a row, or a column, share.
    padding, unmeasured, saturated : ndarray or None
        Masks as packed bits; empty for a blank plane. Saturated pixels are unmeasured, too.
    """

    places: NDArray[np.int64]
    values: NDArray[np.float32]
    rows: NDArray[np.float32] | None = None
    columns: NDArray[np.float32] | None = None
    padding: NDArray[np.uint8] | None = None
    unmeasured: NDArray[np.uint8] | None = None
    saturated: NDArray[np.uint8] | None = None

    @property
    def blank(self) -> bool:
        """Whether the whole plane is padding."""
        return self.padding is not None and not self.padding.size


def packed(mask: NDArray[np.bool_] | None) -> NDArray[np.uint8] | None:
    """Bits; of a blank plane none."""
    return None if mask is None else np.packbits(mask[:0] if mask.all() else mask)


@dataclass(frozen=True)
class Findings:
    """A folder of what was found, a file for each group of planes.

    Whoever looks at a group first writes its file, whole. Two that look at once write the same.
    """

    folder: Path

    def read(self, group: Group) -> dict[Index, PlaneFaults] | None:
        """What was found in a group of planes; None if no process has looked, or its file is damaged."""
        try:
            with np.load(io.BytesIO(self._path(group).read_bytes()), allow_pickle=False) as arrays:
                found: dict[str, dict[str, NDArray[np.generic]]] = {}
                for name in arrays.files:
                    plane, field = name.split("/")
                    found.setdefault(plane, {})[field] = arrays[name]
                return {_index(plane): PlaneFaults(**each) for plane, each in found.items()}  # type: ignore[arg-type]
        except (FileNotFoundError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
            return None

    def write(self, group: Group, found: dict[Index, PlaneFaults]) -> None:
        """Keep what was found."""
        arrays = {
            f"{'.'.join(map(str, index))}/{field.name}": value
            for index, plane in found.items() for field in fields(plane)
            if (value := getattr(plane, field.name)) is not None
        }  # fmt: skip
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)
        write_at_once(self._path(group), file.getvalue(), uuid.uuid4().hex)

    def _path(self, group: Group) -> Path:
        return self.folder / ".".join([*(f"{r.start}-{r.stop}" for r in group), "npz"])


def _index(name: str) -> Index:
    return tuple(int(number) for number in name.split(".") if number)
