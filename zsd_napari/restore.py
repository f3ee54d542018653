"""The widget Restore: train on a layer, watch it learn, and keep the result."""

import re
import shutil
import tempfile
import weakref
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar

from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, ComboBox, FileEdit, FloatSpinBox, Label, PushButton
from napari.layers import Image
from napari.viewer import Viewer
from qtpy.QtWidgets import QFileDialog

from zsd_napari.fields import NONE, LayerFields, PsfFields
from zsd_napari.job import Message
from zsd_napari.layers import is_lazy
from zsd_napari.panel import BLANK, buttons
from zsd_napari.plot import Curve, plot
from zsd_napari.showing import Restorer, Results, path_in
from zsd_napari.wish import Wish
from zsd_runtime.errors import InputError
from zsd_runtime.images import stem

SCHEMES = ("auto", "recorrupt", "odd-even", "blind-spot", "noise2void")
PRESETS = ("compact", "reference")
OUTPUTS = ("denoised", "deconvolved")  # of nearly all networks
SMOOTHED = 10  # losses


class Restore(Restorer):
    """Train on a noisy image layer, and denoise and deconvolve it."""

    opened: "ClassVar[weakref.WeakSet[Restore]]" = weakref.WeakSet()  # noqa: RUF012 (a name for Report to find the model by)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer)
        self.image, self.psf = LayerFields(viewer), PsfFields(viewer)
        self.minutes = FloatSpinBox(
            value=4.0, min=0.0, max=10_000.0, step=1.0, label="Minutes",
            tooltip="Time to train: 4 for planes, 15 for volumes. 0: the usual time, or what the settings file says.",
        )  # fmt: skip
        self.more = CheckBox(value=False, text="More options")
        self.scheme = ComboBox(choices=SCHEMES, label="Scheme", tooltip="How it learns; auto fits most images.")
        self.preset = ComboBox(choices=PRESETS, label="Network", tooltip="compact: minutes; reference: hours.")
        self.settings = FileEdit(
            mode=FileDialogMode.EXISTING_FILE, label="Settings file", filter="TOML (*.toml)", nullable=True
        )
        row, (self.start, self.stop, self.go_on) = buttons("Start", "Stop", "Continue")
        self.start.tooltip = "Train from the beginning."
        self.stop.tooltip = "Stop training, and restore the layer with the result so far."
        self.go_on.tooltip = "Train the same network further, for the minutes above."
        self.curve = Label(label=BLANK, visible=False)
        self.save = PushButton(text="Save model…", visible=False)
        self.save.tooltip = "A package for further images: Predict opens it, and Fiji, and zsd predict."
        self.fields = self.image.fields | self.psf.fields | {
            "minutes": self.minutes, "scheme": self.scheme, "preset": self.preset, "settings": self.settings,
            "out": self.out,
        }  # fmt: skip
        for widget in (*self.fields.values(), row, self.progress, self.status, self.curve, self.save):
            self.append(widget)
            if widget is self.minutes:
                self.append(self.more)
        self.folder: Path | None = None
        self.losses: list[tuple[float, float]] = []
        self.held_out: list[tuple[float, float]] = []
        self._trained: tuple[Image, str] | None = None
        # The network of before, until a new training begins: a wrong field must not cost it.
        self._former: tuple[Path, tuple[Image, str] | None] | None = None
        self.start.changed.connect(lambda: self.guarded(self.begin_training))
        self.stop.changed.connect(self.stop_training)
        self.go_on.changed.connect(lambda: self.guarded(lambda: self.begin_training(resume=True)))
        self.save.changed.connect(lambda: self.guarded(self.save_model))
        self.image.layer.changed.connect(self._layer_changed)
        self.image.axes.changed.connect(self.show_fields)
        self.more.changed.connect(self.show_fields)
        self.psf.kind.changed.connect(self.show_fields)
        self.scheme.changed.connect(self._scheme_changed)
        self._layer_changed()
        self.update_buttons()
        self.opened.add(self)

    def show_fields(self) -> None:
        """Show what applies to the layer and the PSF that are chosen."""
        self.image.update()
        self.psf.update(self.image.spatial == "ZYX")
        for field in (self.scheme, self.preset, self.settings):
            field.visible = self.more.value
        layer = self.image.layer.value
        self.out.visible = self.more.value or (layer is not None and is_lazy(layer))

    def _layer_changed(self) -> None:
        self.image.changed()
        if self.minutes.value in (4.0, 15.0):
            self.minutes.value = 15.0 if self.image.spatial == "ZYX" else 4.0
        self.show_fields()

    def _scheme_changed(self) -> None:
        if self.scheme.value == "noise2void":
            self.psf.kind.value = NONE

    def begin_training(self, *, resume: bool = False) -> None:
        """Start, or continue, a training on the layer.

        Raises
        ------
        InputError
            When a field is at fault.
        """
        if self.worker.busy:
            raise InputError("a training is running here", "stop it first")
        source, read = self.image.source()
        layer, axes = self.image.layer.value, self.image.axes.value
        if resume and self._trained is not None and self._trained[0] is not layer:
            raise InputError(
                f"Continue goes on with the layer {self._trained[0].name}, and {layer.name} is chosen",
                "choose that layer, or press Start", option="layer",
            )  # fmt: skip
        wish = Wish(
            self.psf.psf(), self.minutes.value or None, self.scheme.value if self.scheme.value != "auto" else None,
            self.preset.value if self.preset.value != "compact" else None, path_in(self.settings),
        )  # fmt: skip
        if wish.psf is None and wish.scheme != "noise2void" and wish.settings is None:
            raise InputError("`psf` is none, which only the scheme noise2void needs", "describe the PSF, or choose "
                             "that `scheme` under More options", option=("psf", "scheme"))  # fmt: skip
        if not resume or self.folder is None:
            self._former = (self.folder, self._trained) if self.folder is not None else None
            self.folder = Path(tempfile.mkdtemp(prefix="zsd-napari-"))
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
            self.losses, self.held_out = [], []
        channel = source.channels[0] if source.channels and self.image.left_out else ""
        self.results = Results(self.viewer, layer, axes, self.image.left_out, channel)
        self._trained = layer, axes
        arguments = {
            "source": source, "spatial": self.image.spatial, "wish": wish, "folder": self.folder,
            "results": self.folder_of(layer), "resume": resume,
        }  # fmt: skip
        self.begin("train", arguments, read, self.results.take)
        self.later(*(partial(self.results.reserve, output) for output in OUTPUTS))

    def stop_training(self) -> None:
        """Stop, and use the result so far."""
        if self.worker.busy:
            self.worker.stop()
            self.stop.enabled = False
            self.show_status("stopping: the layer is restored with the result so far")

    def save_model(self) -> None:
        """Ask for a place, and copy the package there."""
        if self.folder is None:
            return
        suggested = f"{stem(Path(self._trained[0].name if self._trained else 'model'))}.zip"
        chosen, _ = QFileDialog.getSaveFileName(self.native, "Save the model", suggested, "Model package (*.zip)")
        if chosen:
            self.save_to(Path(chosen))

    def save_to(self, path: Path) -> None:
        """Copy the package."""
        assert self.folder is not None
        try:
            shutil.copyfile(self.folder / "model.zip", path)
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror})", "choose another place") from None
        self.show_status(f"saved {path}")

    @staticmethod
    def _forget(folder: Path | None) -> None:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    # What the worker says.

    def on_training(self, progress: dict[str, Any]) -> None:
        """A step of the training."""
        self.on_passed(("training", progress))
        step, left = progress["step"], progress["seconds_left"]
        text = f"step {step}, {progress['steps_per_second']:.1f}/s"
        self.show_progress(progress["fraction"], text + (f", {left:.0f} s left" if left is not None else ""))
        curves = [
            Curve(name, *zip(*values, strict=True))
            for name, values in (("loss, smoothed", _smoothed(self.losses)), ("held-out error", self.held_out))
            if len(values) > 1
        ]  # fmt: skip
        if curves:
            self.curve.native.setPixmap(plot(curves, "step", "loss (log)", log=True))
            self.curve.visible = True

    def on_passed(self, message: Message) -> None:
        """Keep the losses, also of messages that are not shown."""
        kind, progress = message[0], message[-1]
        if kind != "training" or not progress["step"]:
            return
        if self._former is not None:  # the new training has begun
            self._forget(self._former[0])
            self._former = None
        if isfinite(progress["loss"]):
            self.losses.append((progress["step"], progress["loss"]))
        if (found := _held_out(progress["message"])) is not None:
            self.held_out.append((progress["step"], found))

    def on_preview(self, preview: dict[str, Any]) -> None:
        """What the network makes of a part of the image by now."""
        results = self.results
        assert results is not None
        results.offset = preview["offset"]
        for output, pixels in preview["restored"].items():
            self.later(partial(results.preview, output, pixels, preview["start"], preview["shape"]))

    def drop_results(self) -> None:
        """Remove layers that were not filled; have the network of before again if the new training did not begin."""
        super().drop_results()
        if self._former is not None:
            former, self._former = self._former, None
            self._forget(self.folder)
            self.folder, self._trained = former

    def on_done(self, result: dict[str, Any]) -> None:
        """The layer is restored."""
        how = "stopped" if result["stopped"] else "trained"
        self.save.visible = True
        self.show_status(f"{how} after {result['steps']} steps; the layer is restored")

    def update_buttons(self) -> None:
        """Enable what can be clicked now."""
        busy = self.worker.busy
        begun = self.folder is not None and (self.folder / "run" / "state.safetensors").exists()
        self.start.enabled, self.stop.enabled, self.go_on.enabled = not busy, busy, begun and not busy
        self.save.visible = self.folder is not None and (self.folder / "model.zip").exists()


def _smoothed(values: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Each loss is of a few patches: the mean over the last ones shows where it goes."""
    return [
        (step, sum(loss for _, loss in values[max(0, n - SMOOTHED) : n + 1]) / min(n + 1, SMOOTHED + 1))
        for n, (step, _) in enumerate(values)
    ]


def _held_out(message: str) -> float | None:
    """The error in a message of a validation."""
    found = re.match(r"held-out error ([\d.]+)", message)
    return float(found[1]) if found else None
