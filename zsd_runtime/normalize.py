"""Pre- and postprocessing exactly as a package declares them in rdf.yaml.

Each declaration becomes one straight line for the whole image, fitted once and never tile by tile.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.errors import InputError

FIXED = (
    "zero_mean_unit_variance",
    "fixed_zero_mean_unit_variance",
)  # in BioImage.IO 0.4 and 0.5: a line, if the mean is given
BINS = 20  # bits of a float32 that its histogram resolves: sign, exponent and 11 bits, 1 part in 2048


@dataclass(frozen=True)
class Linear:
    """``slope · x + intercept``: BioImage.IO's scale_linear. Fixed at training, so a live stream does not flicker."""

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, x: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Apply to an array of any real dtype and shape; float32, into `out` if given."""
        out = np.empty(x.shape, np.float32) if out is None else out
        if self == Linear():
            np.copyto(out, x, casting="unsafe")
        elif x.dtype.itemsize <= 2 or x.dtype == np.float32:
            np.multiply(x, np.float32(self.slope), out=out, casting="unsafe")
            if self.intercept:
                out += np.float32(self.intercept)
        else:  # counts of 32 bit and more lose their last digits in float32 unless the offset goes first
            np.copyto(out, x.astype(np.float64) * self.slope + self.intercept, casting="unsafe")
        return out

    def then(self, other: "Linear") -> "Linear":
        """The line that applies this one, then `other`."""
        return Linear(self.slope * other.slope, self.intercept * other.slope + other.intercept)

    def fit(self, blocks: Iterable[NDArray[Any]]) -> "Linear":  # noqa: ARG002
        """Itself: it does not depend on the image. The blocks are not read."""
        return self


@dataclass(frozen=True)
class ScaleRange:
    """BioImage.IO's scale_range: two percentiles of the whole image become 0 and 1, without clipping."""

    low: float = 0.0
    high: float = 100.0
    eps: float = 1e-6

    def fit(self, blocks: Iterable[NDArray[Any]]) -> Linear:
        """The line for one image; its blocks, read once, hold each pixel once."""
        low, high = percentiles(blocks, (self.low, self.high))
        slope = 1 / (high - low + self.eps)
        return Linear(slope, -low * slope)


@dataclass(frozen=True)
class ZeroMeanUnitVariance:
    """BioImage.IO's zero_mean_unit_variance, over the whole image."""

    eps: float = 1e-6

    def fit(self, blocks: Iterable[NDArray[Any]]) -> Linear:
        """See `ScaleRange.fit`."""
        count, mean, squares = 0, 0.0, 0.0
        for block in blocks:  # Chan et al. 1983: combine the means and sums of squares of parts
            values = block.astype(np.float64)
            difference = float(values.mean()) - mean
            squares += float(values.var()) * values.size + difference**2 * count * values.size / (count + values.size)
            count += values.size
            mean += difference * values.size / count
        slope = 1 / (np.sqrt(squares / count) + self.eps)
        return Linear(float(slope), float(-mean * slope))


class Normalisation(Protocol):
    """What becomes a line once the image is known."""

    def fit(self, blocks: Iterable[NDArray[Any]]) -> Linear:
        """The line for one image; see `ScaleRange.fit`."""


def percentiles(blocks: Iterable[NDArray[Any]], shares: tuple[float, ...]) -> list[float]:
    """Percentiles of an image that is read once: exact for 8 and 16 bit and for 0 and 100, else to 1 part in 2000.

    Values of at most 16 bits have a histogram bin each. Other values are counted by the first bits of their float32,
    which sort like the numbers: each bin is a fixed fraction of its value wide. Within a bin, a straight line.
    """
    dtype, counts, lowest, highest = None, np.zeros(0), np.inf, -np.inf
    for block in blocks:
        lowest, highest = min(lowest, float(block.min())), max(highest, float(block.max()))
        dtype = dtype if dtype is not None else block.dtype
        counts = counts if counts.size else np.zeros(1 << (BINS if _by_float(dtype) else 8 * dtype.itemsize))
        counts += np.bincount(_bin_of(block, dtype).ravel(), minlength=counts.size)
    if dtype is None:
        raise ValueError("no blocks")
    before = np.concatenate([[0], np.cumsum(counts)])

    def at(rank: float) -> float:
        if rank in (0, before[-1] - 1):
            return highest if rank else lowest
        index = int(np.searchsorted(before, rank, side="right")) - 1
        if not _by_float(dtype):
            return float(index - (1 << (8 * dtype.itemsize - 1) if dtype.kind == "i" else 0))
        low, high = _value_of(index), _value_of(index + 1)
        return low + (high - low) * float((rank - before[index] + 0.5) / counts[index])

    result = []
    for share in shares:  # numpy's "linear": between the two ranks beside it
        rank = share / 100 * (before[-1] - 1)
        low, high = at(np.floor(rank)), at(np.ceil(rank))
        result.append(low + (high - low) * (rank - np.floor(rank)))
    return result


def from_description(steps: list[dict[str, Any]], where: str) -> Normalisation:
    """Read the `preprocessing` or `postprocessing` of a tensor description.

    Raises
    ------
    InputError
        For operations that this runtime does not know, or that are not one line for the whole image.
    """
    result: Normalisation = Linear()
    for step in steps:
        name, kwargs = step.get("id") or step.get("name"), step.get("kwargs") or {}
        itself = not kwargs.get("reference_tensor") and kwargs.get("mode", "per_sample") == "per_sample"
        if name == "ensure_dtype":
            continue
        if name == "scale_linear" and isinstance(result, Linear):
            result = result.then(Linear(float(_one(kwargs.get("gain", 1.0))), float(_one(kwargs.get("offset", 0.0)))))
        elif name in FIXED and isinstance(result, Linear) and {"mean", "std"} <= kwargs.keys():
            mean, std = float(_one(kwargs["mean"])), float(_one(kwargs["std"])) + _eps(kwargs)
            result = result.then(Linear(1 / std, -mean / std))
        elif name == "scale_range" and result == Linear() and itself:
            result = ScaleRange(
                float(kwargs.get("min_percentile", 0)), float(kwargs.get("max_percentile", 100)), _eps(kwargs)
            )
        elif name == "zero_mean_unit_variance" and result == Linear() and itself:
            result = ZeroMeanUnitVariance(_eps(kwargs))
        else:
            raise InputError(
                f"{where} asks for {name!r}; zsd runs scale_linear, or one scale_range or zero_mean_unit_variance "
                "that depends on this image only",
                "export the model with zsd",
            )
    return result


def _eps(kwargs: dict[str, Any]) -> float:
    return float(kwargs.get("eps", 1e-6))


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def _by_float(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" or dtype.itemsize > 2


def _bin_of(block: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[np.int64]:
    if not _by_float(dtype):
        return block.astype(np.int64) + (1 << (8 * dtype.itemsize - 1) if dtype.kind == "i" else 0)
    bits = np.ascontiguousarray(block, np.float32).view(np.uint32)
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))  # as integers they now sort as the floats do
    return (ordered >> (32 - BINS)).astype(np.int64)


def _value_of(index: int) -> float:
    """The smallest float32 of a bin."""
    ordered = np.uint32(min(index << (32 - BINS), 0xFFFFFFFF))
    bits = ordered & np.uint32(0x7FFFFFFF) if ordered >> 31 else ~ordered
    return float(np.uint32(bits).view(np.float32))
