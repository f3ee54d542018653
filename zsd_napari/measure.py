"""The widget Noise and PSF: the noise line of a layer, and sections of a PSF."""

from typing import Any

import numpy as np
from magicgui.widgets import Label
from napari.layers import Image
from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap

from zsd_napari.fields import LayerFields, PsfFields
from zsd_napari.layers import free_name
from zsd_napari.panel import BLANK, Panel, buttons, wrap
from zsd_napari.plot import Curve, plot
from zsd_runtime.errors import InputError

PICTURE_WIDTH = 340


class NoiseAndPsf(Panel):
    """Measure the noise of a layer, and look at a PSF before training with it."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer)
        self.image, self.psf = LayerFields(viewer), PsfFields(viewer)
        row, (self.noise_button, self.psf_button) = buttons("Measure noise", "Show PSF")
        self.picture = Label(label=BLANK, visible=False)
        self.text = Label(label=BLANK, visible=False)
        wrap(self.text)
        self.text.native.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.fields = self.image.fields | self.psf.fields
        for widget in (*self.fields.values(), row, self.progress, self.status, self.picture, self.text):
            self.append(widget)
        self.noise_button.changed.connect(lambda: self.guarded(self.measure_noise))
        self.psf_button.changed.connect(lambda: self.guarded(self.show_psf))
        self.image.layer.changed.connect(self._layer_changed)
        for field in (self.image.axes, self.psf.kind):
            field.changed.connect(self.show_fields)
        self._layer_changed()
        self.result: dict[str, Any] = {}

    def show_fields(self) -> None:
        """Show what applies to the layer and the PSF that are chosen."""
        self.image.update()
        self.psf.update(self.image.spatial == "ZYX")

    def _layer_changed(self) -> None:
        self.image.changed()
        self.show_fields()

    def measure_noise(self) -> None:
        """Measure some planes of the layer."""
        source, read = self.image.source()
        self.begin("noise", {"source": source}, read)

    def show_psf(self) -> None:
        """Draw the PSF, and add it as a layer."""
        psf = self.psf.psf()
        if psf is None:
            raise InputError("`psf` is none", "choose how it is described", option="psf")
        axes = self.image.spatial.lower() if self.image.layer.value is not None else "yx"
        self.begin("psf", {"psf": psf, "axes": axes, "voxel": self.image.voxel})

    def on_done(self, result: dict[str, Any]) -> None:
        """A measurement, or a picture of a PSF."""
        self.result = result
        self.show_status("")
        if "gain" in result:
            self._show_noise(result)
        else:
            self._show_psf(result)

    def _show_noise(self, found: dict[str, Any]) -> None:
        x = np.array([min(found["signal"]), max(found["signal"])])
        line = np.maximum(found["gain"] * x + found["constant"], found["floor"]).tolist()
        curves = [
            Curve("line", x.tolist(), line),
            Curve("measured", found["signal"], found["variance"], found["error"]),
        ]
        self.picture.native.setPixmap(plot(curves, "signal (counts)", "variance (counts²)"))
        self.picture.visible = True
        gain = f"{found['gain']:.3g} ± {found['gain_error']:.2g}" if found["gain"] else "not shown by this image"
        lines = [
            f"offset: {found['offset']:.4g} counts (level of the darkest pixels)",
            f"gain: {gain} counts per photo-electron",
            f"read noise: {found['read_noise']:.3g} counts",
            *map(self.named, found["warnings"]),
        ]
        self.text.value = "\n".join(lines)
        self.text.visible = True

    def _show_psf(self, found: dict[str, Any]) -> None:
        pixels = np.ascontiguousarray(found["picture"])
        height, width, _ = pixels.shape
        picture = QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
        self.picture.native.setPixmap(
            QPixmap.fromImage(picture).scaledToWidth(PICTURE_WIDTH, Qt.TransformationMode.SmoothTransformation)
        )
        self.picture.visible = True
        self.text.value = found["text"]
        self.text.visible = True
        kernel, (*z, pixel) = found["kernel"], found["voxel_um"]
        step = [*z, pixel, pixel]
        name = free_name([layer.name for layer in self.viewer.layers], "PSF")
        self.viewer.add_layer(Image(
            kernel, name=name, scale=step, units=["um"] * len(step), axis_labels=list("zyx"[-len(step) :]),
            translate=[-s * (n // 2) for s, n in zip(step, kernel.shape, strict=True)],
            colormap="magma", gamma=0.5, visible=False,
        ))  # fmt: skip

    def update_buttons(self) -> None:
        """Enable what can be clicked now."""
        self.noise_button.enabled = self.psf_button.enabled = not self.worker.busy
