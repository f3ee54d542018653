"""How far a result may be from the truth, pixel by pixel, without a truth.

The denoised image is taken for the sample: a camera with the training's noise records it again, the network restores
the recording, turned or flipped, and what it makes of it is compared with the first result. Where the two differ, the
network is at the mercy of noise (variance), or changes what is there (bias). The size of the differences over a few
repeats is close to that of the true error wherever the denoised image is close to the truth (a parametric bootstrap:
Efron 1979; over transformations of the image: Tachella and Pereyra 2023). It is made the half-width of an interval that
holds the truth of 68 % of the pixels with light; how well that holds was measured on simulations
(docs/decisions/uncertainty.md).

What a network changes every time, whatever the noise, and what optics hide, stay unseen.
"""

from dataclasses import replace
from math import prod
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import DTypeLike, NDArray

from zsd_runtime.average import SYMMETRIES
from zsd_runtime.camera import Camera
from zsd_runtime.engines import Array, Engine
from zsd_runtime.errors import InputError
from zsd_runtime.images import as_dtype
from zsd_runtime.normalize import Linear
from zsd_runtime.package import ModelDescription
from zsd_runtime.tensors import OutputSpec

REPEATS = 8
SUFFIX = "_uncertainty"
# The square of the mean root of a normal number of standard deviation 1 is 0.676 = 1 / 1.48. Errors with long tails, as
# of thin bright structures, move it less than a mean square. Simulations say 1.43 (benchmarks/trust.py coverage).
FACTOR = 1.43
# Deconvolution leaves errors that recording again does not show, and that grow with the light. By the fineness of the
# grid.
SHARE_OF_LIGHT = {1: 0.0, 2: 0.025}  # of the result
LEVEL = 0.002  # of the scale: no level is known better
REACH = 1  # pixels to either side over which roots are averaged: few repeats say little of a pixel
LIGHT_REACH = 4  # the same of the light


def with_uncertainty(description: ModelDescription) -> ModelDescription:
    """The description of a model whose outputs are followed by the uncertainty of each.

    Raises
    ------
    InputError
        When the package does not say the camera's noise, or has no output on the image's grid.
    """
    d = description
    _source(d)
    outputs = (*d.outputs, *map(_uncertainty_of, d.outputs))
    held = 4 * (2 * d.input.channels + 2 * sum(o.channels * prod(o.scale) for o in d.outputs))  # by `Uncertain`
    return replace(d, outputs=outputs, bytes_per_voxel=d.bytes_per_voxel and d.bytes_per_voxel + held)


class Uncertain:
    """An engine that also gives the uncertainty of each output; it follows the protocol of `Engine`.

    Parameters
    ----------
    engine : Engine
    description : ModelDescription
        Of the model that the engine runs, before `with_uncertainty`.
    repeats : int
        How often each tile is recorded and restored again. It takes 1 + `repeats` times as long.

    Raises
    ------
    InputError
        As of `with_uncertainty`, or when `repeats` is below 2.
    """

    def __init__(self, engine: Engine, description: ModelDescription, repeats: int = REPEATS) -> None:
        if repeats < 2:
            raise InputError(f"`uncertainty` {repeats} must be 2 repeats or more, 0 for none", option="uncertainty")
        self._engine, self._outputs, self._repeats = engine, description.outputs, repeats
        self._source, self._recorded = _source(description)
        self.name, self.device, self.precision = engine.name, engine.device, engine.precision
        self.input_dtype = engine.input_dtype
        self.output_names = [*engine.output_names, *(name + SUFFIX for name in engine.output_names)]
        self.output_dtypes = [*engine.output_dtypes, *(np.dtype(np.float32) for _ in engine.output_dtypes)]

    def prepare(self, batch_shape: tuple[int, ...], output_shapes: list[tuple[int, ...]]) -> None:
        """See `Engine`."""
        shapes = output_shapes[: len(self._outputs)]
        self._engine.prepare(batch_shape, shapes)
        self._again = self.empty(batch_shape, self.input_dtype)
        self._restored = [self.empty(s, t) for s, t in zip(shapes, self._engine.output_dtypes, strict=True)]

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """See `Engine`."""
        return self._engine.empty(shape, dtype)

    def run(self, batch: Array, outputs: list[Array]) -> None:
        """See `Engine`. The same batch always has the same uncertainty: its bytes seed the random numbers."""
        results, spreads = outputs[: len(self._outputs)], outputs[len(self._outputs) :]
        self._engine.run(batch, results)
        rng = np.random.default_rng(crc32(batch.tobytes()))
        expected = self._recorded.electrons(results[self._source])
        for spread in spreads:
            spread[:] = 0
        turns = batch.shape[-1] == batch.shape[-2]
        for repeat in range(self._repeats):
            symmetry = SYMMETRIES[repeat % (8 if turns else 4)]
            np.copyto(self._again, symmetry(self._recorded.image(rng.poisson(expected), self.input_dtype)))
            self._engine.run(self._again, self._restored)
            for spread, result, restored in zip(spreads, results, self._restored, strict=True):
                spread += np.sqrt(np.abs(symmetry.undone(restored).astype(np.float32) - result))
        for spread, result, spec in zip(spreads, results, self._outputs, strict=True):
            spread[:] = self._half_width(spread / np.float32(self._repeats), result, spec)

    def _half_width(self, roots: NDArray[Any], result: Array, spec: OutputSpec) -> NDArray[np.float64]:
        """From the mean roots of absolute differences, (N, C, [Z,] Y, X)."""
        share = SHARE_OF_LIGHT[max(k for k in SHARE_OF_LIGHT if k <= spec.scale[-1])]
        light = share * _smoothed(np.abs(result), LIGHT_REACH) if share else 0
        level = LEVEL * self._recorded.scale / spec.processing.slope
        return FACTOR * np.sqrt(_smoothed(roots, REACH) ** 4 + light**2 + level**2)

    def close(self) -> None:
        """See `Engine`."""
        self._engine.close()


class _Recorded:
    """What the camera of the training records of a denoised image, in the network's numbers."""

    def __init__(self, camera: Camera, before: Linear, after: Linear) -> None:
        self.before = before
        zero = -camera.constant / camera.gain  # counts at which the noise line, shot noise and read noise, begins
        self.gain, self.zero, self.above = camera.gain, zero, camera.offset - zero
        self.counts, self.scale = after.slope, camera.scale

    def electrons(self, denoised: Array) -> NDArray[np.float32]:
        """Expected photo-electrons; read noise counts as some (Snyder et al. 1995)."""
        counts = denoised.astype(np.float32) * np.float32(self.counts)
        return np.maximum((counts + np.float32(self.above)) / np.float32(self.gain), 0)

    def image(self, electrons: NDArray[np.integer[Any]], dtype: np.dtype[Any]) -> Array:
        """As the network sees it."""
        counts = electrons * np.float32(self.gain) + np.float32(self.zero)
        return as_dtype(self.before(counts), dtype)


def _source(d: ModelDescription) -> tuple[int, _Recorded]:
    """Which output is the image without noise, and how its camera records it.

    Raises
    ------
    InputError
        As of `with_uncertainty`.
    """
    why = ""
    denoised = next((i for i, o in enumerate(d.outputs) if o.name == "denoised" and set(o.scale) == {1}), None)
    if d.camera is None or not isinstance(d.input.processing, Linear):
        why = "its package does not say the noise of its images" + " (they are reconstructions)" * (d.sim is not None)
    elif d.frames > 1:
        why = f"it sees {d.frames} frames of a movie at once"
    elif not d.camera.gain > 0:
        why = "the images that it was trained on do not show the gain of their camera"
    elif d.camera.correlated:
        why = f"the noise of its images is shared by neighbouring pixels along {' and '.join(d.camera.correlated)}"
    elif denoised is None or d.outputs[denoised].channels != d.input.channels:
        why = "it has no output `denoised` on the image's own grid"
    if why or d.camera is None or denoised is None or not isinstance(d.input.processing, Linear):
        raise InputError(
            f"the model has no uncertainty: {why}",
            "leave `uncertainty` out, or train on raw images with zsd, with `frames` 1",
            option="uncertainty",
        )  # fmt: skip
    return denoised, _Recorded(d.camera, d.input.processing, d.outputs[denoised].processing)


def _uncertainty_of(output: OutputSpec) -> OutputSpec:
    """Half-widths scale as the output does, and have no offset."""
    line = Linear(abs(output.processing.slope))
    return replace(output, name=output.name + SUFFIX, dtype="float32", processing=line)


def _smoothed(image: NDArray[Any], reach: int) -> NDArray[np.float64]:
    """Mean over (2 · reach + 1)² neighbours of each pixel in Y and X."""
    mean = image.astype(np.float64)
    width = 2 * reach + 1
    for axis in (-2, -1):
        ends = [(0, 0)] * mean.ndim
        ends[axis] = (reach, reach)
        mean = np.lib.stride_tricks.sliding_window_view(np.pad(mean, ends, mode="edge"), width, axis).mean(-1)
    return mean
