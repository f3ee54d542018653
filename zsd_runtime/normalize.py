"""The declared pre- and postprocessing of a package: what stands in rdf.yaml is what is computed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError


@dataclass(frozen=True)
class Linear:
    """``gain · x + offset``: BioImage.IO's scale_linear. Fixed at training, so a live stream does not flicker."""

    gain: float = 1.0
    offset: float = 0.0

    def __call__(self, x: NDArray[np.generic]) -> NDArray[np.float32]:
        """Apply to an array of any real dtype and shape; float32."""
        # Counts of 32 bit and more lose their last digits in float32 unless the offset goes first.
        return (x.astype(np.float64) * self.gain + self.offset).astype(np.float32)

    def then(self, other: "Linear") -> "Linear":
        """This one, followed by `other`."""
        return Linear(self.gain * other.gain, self.offset * other.gain + other.offset)


def from_description(steps: list[dict[str, Any]], where: str) -> Linear:
    """Read the `preprocessing` or `postprocessing` of a tensor description.

    Raises
    ------
    InputError
        For an operation other than scale_linear (and ensure_dtype, which float32 fulfils).
    """
    result = Linear()
    for step in steps:
        name, kwargs = step.get("id") or step.get("name"), step.get("kwargs") or {}
        if name == "ensure_dtype":
            continue
        if name != "scale_linear":
            raise InputError(f"{where} asks for {name!r}; zsd runs models with scale_linear: export the model with zsd")
        result = result.then(Linear(float(_one(kwargs.get("gain", 1.0))), float(_one(kwargs.get("offset", 0.0)))))
    return result


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value
