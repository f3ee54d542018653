"""Results as they come: the worker's messages become layers, which fill while the viewer stays alive."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from magicgui.types import FileDialogMode
from magicgui.widgets import FileEdit
from napari.layers import Image
from napari.viewer import Viewer
from numpy.typing import NDArray

from zsd_napari.job import Message
from zsd_napari.layers import (
    contrast_of,
    default_folder,
    empty,
    finest,
    fit_contrast,
    free_name,
    is_lazy,
    opened,
    place_of,
    result_layer,
)  # fmt: skip
from zsd_napari.panel import Panel
from zsd_napari.source import Result

REFRESH_S = 0.5  # between the redrawings of a layer that fills
SAMPLE = 4  # every so many pixels tell how bright a result is


class Results:
    """The layers of one task: previews while a network learns, then the results themselves.

    A preview's layer becomes the result's: to remove a layer takes napari a quarter of a second. `take` is called in
    the worker's thread and only fills memory; everything that the viewer sees happens in the other methods.

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
        self.appear: list[Image] = []  # layers that are filled and not visible yet
        self._reserved: list[Image] = []  # those that wait for pixels
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

    def reserve(self, output: str) -> None:
        """Add a hidden layer for previews, before there are any: it holds up napari for a tenth of a second."""
        axes = "".join(letter for letter in self.axes if letter not in self.left_out)
        spatial = tuple(n for n, letter in zip(finest(self.layer).shape, self.axes, strict=True) if letter in "ZYX")
        shape = (1,) * (len(axes) - len(spatial)) + spatial
        nothing = np.broadcast_to(np.float32(0), shape)  # of no memory
        made = self._make(Result(output, shape, "float32", axes), nothing, f"{self.name(output)} (preview)")
        self._reserved.append(made)

    def preview(self, output: str, pixels: NDArray[Any], start: Sequence[int], whole: Sequence[int]) -> None:
        """Show what a network makes of a part of the image; its first pixel is `start`, its size `whole`."""
        if output not in self.layers:
            self.reserve(output)
        made = self.layers[output]
        if made not in self.viewer.layers:  # the person has removed it
            return
        pixels = pixels.reshape((1,) * (made.ndim - pixels.ndim) + pixels.shape)
        axes = "".join(made.axis_labels).upper()
        self._put(made, Result(output, pixels.shape, "float32", axes), pixels, start, whole)
        fit_contrast(made, pixels[..., ::SAMPLE, ::SAMPLE])

    def steps(self, results: Sequence[Result]) -> list[Callable[[], None]]:
        """What makes layers of results, one after the other."""
        unused = set(self.layers) - {result.output for result in results}
        return [
            *(partial(self._add, result) for result in results),
            *(partial(self._remove, self.layers.pop(output)) for output in unused),
        ]

    def _add(self, result: Result) -> None:
        data = opened(result) if result.path else self._arrays[result.output]
        shown = self.layers.get(result.output)
        if shown is not None and shown in self.viewer.layers and shown.ndim == len(result.axes):
            self._put(shown, result, data)
            names = [layer.name for layer in self.viewer.layers if layer is not shown]
            shown.name = free_name(names, self.name(result.output))
        else:
            shown = self._make(result, data, self.name(result.output))
            self.appear.append(shown)
        if result.path:
            shown.metadata["zsd"]["path"] = str(result.path)

    def _put(
        self, made: Image, result: Result, data: Any, start: Sequence[int] | None = None,
        whole: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        """Give a layer its pixels and its place; if it is hidden still, its contrast, and show it a moment later."""
        place = place_of(self.layer, self.axes, result, self.left_out, start, whole)
        made.data = data
        if not np.array_equal((made.scale, made.translate), place):
            made.scale, made.translate = place
        made.metadata["zsd"]["offset"] = self.offset
        if made in self._reserved:
            self._reserved.remove(made)
            made.contrast_limits = made.contrast_limits_range = contrast_of(self.layer, self.offset)
            self.appear.append(made)

    def _make(self, result: Result, data: Any, name: str) -> Image:
        """Add a hidden layer: to add it and to draw it are two pauses then."""
        made = result_layer(
            self.layer, self.axes, result, data, offset=self.offset, left_out=self.left_out,
            name=free_name([layer.name for layer in self.viewer.layers], name),
        )  # fmt: skip
        made.visible = False
        self.layers[result.output] = made
        self.viewer.add_layer(made)
        return made

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

    def discard(self) -> list[Callable[[], None]]:
        """What removes layers that were not filled to the end, one after the other: they would look like results."""
        unfinished, self.layers = list(self.layers.values()), {}
        return [partial(self._remove, made) for made in unfinished]

    def _remove(self, made: Image) -> None:
        if made in self.viewer.layers:
            self.viewer.layers.remove(made)


class Restorer(Panel):
    """A widget whose tasks restore a layer.

    Attributes
    ----------
    out : FileEdit
        Where results of a layer go that is not in memory.
    results : Results or None
        Of the last task.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer)
        self.out = FileEdit(
            mode=FileDialogMode.EXISTING_DIRECTORY, label="Results folder", nullable=True,
            tooltip="For layers that are not in memory: their results are written there as OME-Zarr.",
        )  # fmt: skip
        self.results: Results | None = None

    def folder_of(self, layer: Image) -> Path | None:
        """For the results of a layer; None: they come into memory, as the layer is."""
        return (path_in(self.out) or default_folder(layer)) if is_lazy(layer) else None

    def on_offset(self, offset: float) -> None:
        """What the camera adds."""
        assert self.results is not None
        self.results.offset = offset

    def on_results(self, results: list[Result]) -> None:
        """Layers that are going to be filled, or that are on the disk."""
        assert self.results is not None
        self.later(*self.results.steps(results), self.update_buttons)

    def drop_results(self) -> None:
        """Remove layers that were not filled."""
        if self.results is not None:
            self.later(*self.results.discard())

    def on_end(self) -> None:
        """Show all that has come."""
        if self.results is not None:
            while self.results.appear:
                self.results.update()
            self.results.update(at_once=True)

    def on_tick(self) -> None:
        """Redraw what was filled."""
        if self.results is not None:
            self.results.update()


def path_in(field: FileEdit) -> Path | None:
    """What a file field holds; None if it is empty."""
    value = field.value
    return Path(str(value)) if value is not None and str(value) not in ("", ".") else None
