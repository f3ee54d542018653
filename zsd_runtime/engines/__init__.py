"""Engines run a network on one batch; one file an engine."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


class Engine(Protocol):
    """What a model needs of an engine. `device` and `precision` name what really runs."""

    name: str
    device: str
    precision: str
    output_names: list[str]

    def run(self, batch: Float32) -> list[Float32]:
        """(N, 1, [Z,] Y, X) -> one array an output, in the order of `output_names`."""

    def close(self) -> None:
        """Release the device."""
