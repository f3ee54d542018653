"""Put the results of a plan's tiles together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zsd_runtime.tiling import Plan, Span, Tile


class Blend:
    """Weighted sum of a plan's tiles, with weights that add up to one; finished parts are returned at once.

    It holds only the strips that a tile shares with the next one along each axis, never an image.
    """

    def __init__(self, plan: Plan, scale: Sequence[int]) -> None:
        self._scale = scale
        self._ramps = [_ramp(o * k) for o, k in zip(plan.overlap, scale, strict=True)]
        # Of a part of a plan, the strips begin where its first tile does.
        self._first = [line[0].low * k for line, k in zip(plan.lines, scale, strict=True)]
        full = [(line[-1].keep - line[0].low) * k for line, k in zip(plan.lines, scale, strict=True)]
        local = [max(s.high - s.low for s in line) * k for line, k in zip(plan.lines, scale, strict=True)]
        # A strip is one tile long on the axes before its own, and as long as the plan on those after it.
        self._carried = [
            np.zeros(
                [*local[:axis], ramp.size if any(s.low or s.high > s.keep for s in line) else 0, *full[axis + 1 :]],
                np.float32,
            )
            for axis, (ramp, line) in enumerate(zip(self._ramps, plan.lines, strict=True))
        ]

    def add(self, tile: Tile, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add a tile's core (as `Tile.core` cuts it; overwritten); return the values of `Tile.finished`."""
        spans = [
            Span(s.start * k, s.low * k, s.keep * k, s.high * k) for s, k in zip(tile.spans, self._scale, strict=True)
        ]
        for axis, (span, ramp) in enumerate(zip(spans, self._ramps, strict=True)):
            along = np.moveaxis(values, axis, -1)
            if span.low:
                rise = min(ramp.size, along.shape[-1])
                along[..., :rise] *= ramp[:rise]
            if span.high > span.keep:
                along[..., span.keep - span.low :] *= 1 - ramp[: span.high - span.keep]
        for axis in reversed(range(len(spans))):
            span = spans[axis]
            values = np.moveaxis(values, axis, 0)
            carried = np.moveaxis(self._carried[axis], axis, 0)
            before = map(slice, values.shape[1 : axis + 1])
            after = [slice(s.low - n, s.keep - n) for s, n in zip(spans, self._first, strict=True)][axis + 1 :]
            carried = carried[(slice(None), *before, *after)]
            if span.low:
                shared = min(len(carried), len(values))
                values[:shared] += carried[:shared]
            if span.high > span.keep:
                carried[: span.high - span.keep] = values[span.keep - span.low :]
            values = np.moveaxis(values[: span.keep - span.low], 0, axis)
        return values


def _ramp(length: int) -> NDArray[np.float32]:
    """Rises from near 0 to near 1 in multiples of 2⁻⁸, whose products over three axes float32 adds without rounding."""
    return (np.round((np.arange(length) + 0.5) / max(length, 1) * 256) / 256).astype(np.float32)
