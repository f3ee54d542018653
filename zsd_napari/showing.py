"""Results as they come: the worker's messages become layers, which fill while the viewer stays alive."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from napari.layers import Image
from napari.viewer import Viewer
from numpy.typing import NDArray

from zsd_napari.job import Message
from zsd_napari.layers import empty, fit_contrast, free_name, opened, place_of, result_layer
from zsd_napari.source import Result

REFRESH_S = 0.5  # between the redrawings of a layer that fills
SAMPLE = 4  # every so many pixels tell how bright a result is


class Results:
    """The layers of one task: previews while a network learns, then the results themselves.

    A preview's layer becomes the result's: to remove a layer takes napari a sixth of a second. `take` is called in the
    worker's thread and only fills memory; everything that the viewer sees happens in the other methods.

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
        self.offset = 0.0
        self.layers: dict[str, Image] = {}
        self.appear: list[Image] = []  # layers that were added and are not visible yet
        self._arrays: dict[str, NDArray[Any]] = {}
        self._samples: dict[str, NDArray[Any]] = {}
        self._filled: set[str] = set()
        self._fitted: set[str] = set()
        self._refreshed = 0.0

    def take(self, message: Message) -> bool:
        """Fill memory with what has come; True if the message is dealt with."""
        kind, *values = message
        if kind == "results":
            self._arrays = {r.output: empty(r) for r in values[0] if r.path is None}
        if kind != "part":
            return False
        output, box, block = values
        self._arrays[output][box] = block
        self._samples.setdefault(output, block[..., ::SAMPLE, ::SAMPLE])
        self._filled.add(output)
        return True

    def name(self, output: str) -> str:
        """Of a layer."""
        return " ".join(part for part in (self.layer.name, self.title, output) if part)

    def preview(self, output: str, pixels: NDArray[Any], start: Sequence[int], whole: Sequence[int]) -> None:
        """Show what a network makes of a part of the image; its first pixel is `start`, its size `whole`."""
        axes = "".join(letter for letter in self.axes if letter not in self.left_out)
        pixels = pixels.reshape((1,) * (len(axes) - pixels.ndim) + pixels.shape)
        if output not in self.layers:
            result = Result(output, pixels.shape, "float32", axes)
            name = free_name([layer.name for layer in self.viewer.layers], f"{self.name(output)} (preview)")
            made = result_layer(
                self.layer, self.axes, result, pixels, offset=self.offset, left_out=self.left_out, start=start,
                whole=whole, name=name,
            )  # fmt: skip
            made.visible = False  # shown a moment later: to add a layer and to draw it are two pauses then
            self.layers[output] = made
            self.viewer.add_layer(made)
            self.appear.append(made)
        elif self.layers[output] in self.viewer.layers:  # the person may have removed it
            self.layers[output].data = pixels
        else:
            return
        fit_contrast(self.layers[output], pixels)

    def steps(self, results: Sequence[Result]) -> list[Callable[[], None]]:
        """What makes layers of results, one after the other."""
        return [partial(self._add, result) for result in results]

    def _add(self, result: Result) -> None:
        data = opened(result) if result.path else self._arrays[result.output]
        names = [layer.name for layer in self.viewer.layers]
        shown = self.layers.get(result.output)
        if shown is not None and shown in self.viewer.layers and shown.ndim == len(result.axes):
            scale, translate = place_of(self.layer, self.axes, result, self.left_out)
            shown.data, shown.scale, shown.translate = data, scale, translate
            shown.name = free_name([name for name in names if name != shown.name], self.name(result.output))
        else:
            name = free_name(names, self.name(result.output))
            shown = result_layer(
                self.layer, self.axes, result, data, offset=self.offset, left_out=self.left_out, name=name
            )
            shown.visible = False
            self.layers[result.output] = shown
            self.viewer.add_layer(shown)
            self.appear.append(shown)
        if result.path:
            shown.metadata["zsd"]["path"] = str(result.path)

    def update(self, *, at_once: bool = False) -> None:
        """Show a new layer, or redraw one that was filled, not too often."""
        if self.appear:
            self.appear.pop(0).visible = True
            return
        if not self._filled or (not at_once and time.monotonic() - self._refreshed < REFRESH_S):
            return
        self._refreshed = time.monotonic()
        for output in sorted(self._filled & set(self.layers)):
            made = self.layers[output]
            self._filled.discard(output)
            if made in self.viewer.layers and made.data is self._arrays.get(output):
                if output not in self._fitted:
                    self._fitted.add(output)
                    fit_contrast(made, self._samples[output])
                made.refresh()
                if not at_once:
                    return

    def discard(self) -> None:
        """Remove layers that were not filled to the end: they would look like results."""
        for made in self.layers.values():
            if made in self.viewer.layers:
                self.viewer.layers.remove(made)
        self.layers = {}
