"""Results as they come: the worker's messages become layers, which fill while the viewer stays alive."""

import time
from collections.abc import Sequence
from typing import Any

from napari.layers import Image
from napari.viewer import Viewer
from numpy.typing import NDArray

from zsd_napari.job import Message
from zsd_napari.layers import empty, fit_contrast, free_name, opened, result_layer
from zsd_napari.source import Result

REFRESH_S = 0.5  # between the redrawings of a layer that fills
SAMPLE = 4  # every so many pixels tell how bright a result is


class Results:
    """The results of one task.

    `take` is called in the worker's thread and only fills memory; everything that the viewer sees happens in `update`.

    Parameters
    ----------
    viewer : Viewer
    layer : Image
        That is restored.
    axes, left_out : str
        Of the layer; and those that the source does not have.
    title : str
        Added to the layers' names: a channel.
    """

    def __init__(self, viewer: Viewer, layer: Image, axes: str, left_out: str = "", title: str = "") -> None:
        self.viewer, self.layer, self.axes, self.left_out, self.title = viewer, layer, axes, left_out, title
        self.layers: list[Image] = []
        self.offset = 0.0
        self._arrays: dict[str, NDArray[Any]] = {}
        self._samples: dict[str, NDArray[Any]] = {}
        self._filled: set[str] = set()
        self._fitted: set[str] = set()
        self._refreshed = 0.0

    def take(self, message: Message) -> bool:
        """Fill memory with what has come; True if the message is dealt with."""
        kind, *values = message
        if kind == "results":
            try:
                self._arrays = {r.output: empty(r) for r in values[0] if r.path is None}
            except MemoryError:
                self._arrays = {}
        if kind != "part":
            return False
        output, box, block = values
        if output in self._arrays:
            self._arrays[output][box] = block
            self._samples.setdefault(output, block[..., ::SAMPLE, ::SAMPLE])
            self._filled.add(output)
        return True

    def add(self, results: Sequence[Result]) -> None:
        """Add a layer for each result, from the first output to the last, above all others."""
        for result in results:
            if result.path is None and result.output not in self._arrays:
                continue
            data = opened(result) if result.path else self._arrays[result.output]
            name = free_name([layer.name for layer in self.viewer.layers], self.name(result.output))
            made = result_layer(
                self.layer, self.axes, result, data, offset=self.offset, left_out=self.left_out, name=name
            )
            if result.path:
                made.metadata["zsd"]["path"] = str(result.path)
            self.viewer.add_layer(made)
            self.layers.append(made)

    def name(self, output: str) -> str:
        """Of a layer."""
        return " ".join(part for part in (self.layer.name, self.title, output) if part)

    def update(self, *, at_once: bool = False) -> None:
        """Redraw the layers that were filled, not too often."""
        if not self._filled or (not at_once and time.monotonic() - self._refreshed < REFRESH_S):
            return
        self._refreshed = time.monotonic()
        filled, self._filled = self._filled, set()
        for made in self.layers:
            output = made.metadata["zsd"]["output"]
            if output in filled and made in self.viewer.layers:
                if output not in self._fitted:
                    self._fitted.add(output)
                    fit_contrast(made, self._samples[output])
                made.refresh()

    def discard(self) -> None:
        """Remove layers that were not filled to the end: they would look like results."""
        for made in self.layers:
            if made in self.viewer.layers:
                self.viewer.layers.remove(made)
        self.layers = []
