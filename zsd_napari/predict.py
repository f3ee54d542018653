"""The widget Predict: restore a layer with a package, or with a model that comes with zsd."""

from typing import Any

from magicgui.types import FileDialogMode
from magicgui.widgets import ComboBox, FileEdit
from napari.viewer import Viewer

from zsd_napari.fields import LayerFields
from zsd_napari.layers import is_lazy
from zsd_napari.panel import buttons, narrow
from zsd_napari.showing import Restorer, Results, path_in
from zsd_runtime.errors import InputError
from zsd_runtime.zoo import PREFIX, entries

PACKAGE = "a package file"
AVERAGES = (("1 (fast)", 1), ("2", 2), ("4", 4), ("8 (best)", 8))


def models() -> list[tuple[str, str]]:
    """What can be chosen: title and name."""
    zoo = [(f"{name}: {entry.title}", PREFIX + name) for name, entry in entries().items() if entry.kind == "model"]
    return [("a package file…", PACKAGE), *zoo]


class Predict(Restorer):
    """Restore an image layer with a model, tile by tile."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer)
        self.image = LayerFields(viewer)
        self.model = narrow(
            ComboBox(choices=models(), label="Model", tooltip="A package, or a model that comes with zsd.")
        )
        self.package = FileEdit(
            mode=FileDialogMode.EXISTING_FILE, label="Package", filter="Packages (*.zip rdf.yaml);;All (*)"
        )
        self.average = ComboBox(
            choices=AVERAGES, label="Average", tooltip="The mean over flips and turns of the image: fewer "
            "artefacts, and as many times slower.",
        )  # fmt: skip
        row, (self.start, self.cancel) = buttons("Restore", "Cancel")
        self.fields = {"layer": self.image.layer, "model": self.model, "package": self.package} | self.image.fields | {
            "average": self.average, "out": self.out,
        }  # fmt: skip
        for widget in (*self.fields.values(), row, self.progress, self.status):
            self.append(widget)
        self.start.changed.connect(lambda: self.guarded(self.begin_prediction))
        self.cancel.changed.connect(self.worker.stop)
        self.model.changed.connect(self.show_fields)
        self.image.layer.changed.connect(self._layer_changed)
        self.image.axes.changed.connect(self.show_fields)
        self._layer_changed()
        self.update_buttons()

    def show_fields(self) -> None:
        """Show what applies to the layer and the model that are chosen."""
        self.image.update()
        self.image.channel.visible = False  # all channels are restored
        self.package.visible = self.model.value == PACKAGE
        layer = self.image.layer.value
        self.out.visible = layer is not None and is_lazy(layer)

    def _layer_changed(self) -> None:
        self.image.changed()
        self.show_fields()

    def begin_prediction(self) -> None:
        """Restore the layer.

        Raises
        ------
        InputError
            When a field is at fault.
        """
        if self.worker.busy:
            raise InputError("a prediction is running here", "cancel it first")
        source, read = self.image.source(one_channel=False)
        layer = self.image.layer.value
        package = str(self.model.value)
        if package == PACKAGE:
            path = path_in(self.package)
            if path is None or not path.exists():
                what = "no `package` is chosen" if path is None else f"`package` {path} does not exist"
                raise InputError(what, "choose a file made by zsd export, or a model in the list", option="package")
            package = str(path)
        self.results = Results(self.viewer, layer, self.image.axes.value)
        arguments = {
            "source": source, "package": package, "folder": self.folder_of(layer), "average": int(self.average.value),
        }  # fmt: skip
        self.begin("predict", arguments, read, self.results.take)

    def on_stopped(self, text: str) -> None:  # noqa: ARG002
        """The person cancelled it."""
        super().on_stopped("cancelled")

    def on_done(self, result: dict[str, Any]) -> None:
        """The layer is restored."""
        self.show_status(f"restored by {result['model']}")

    def update_buttons(self) -> None:
        """Enable what can be clicked now."""
        self.start.enabled, self.cancel.enabled = not self.worker.busy, self.worker.busy
