"""The widget Report: whether to trust what a model makes of a layer."""

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

from magicgui.types import FileDialogMode
from magicgui.widgets import ComboBox, FileEdit, Label, PushButton
from napari.viewer import Viewer
from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices

from zsd_napari.fields import NONE, LayerFields, PsfFields
from zsd_napari.panel import BLANK, Panel, buttons, narrow
from zsd_napari.predict import PACKAGE, models
from zsd_napari.restore import Restore
from zsd_runtime.errors import InputError

TRAINED = "trained by Restore"
COLOURS = {"green": "#2e9e5b", "yellow": "#d9a514", "red": "#e5484d", "grey": "#8a8f98"}


class Report(Panel):
    """Judge what a model makes of the image that the viewer shows, without a truth."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer)
        self.image, self.psf = LayerFields(viewer), PsfFields(viewer, optional=True)
        choices = [("the one that Restore trained", TRAINED), *models()]
        self.model = narrow(ComboBox(choices=choices, label="Model", tooltip="Whose results are judged."))
        self.package = FileEdit(
            mode=FileDialogMode.EXISTING_FILE, label="Package", filter="Packages (*.zip rdf.yaml);;All (*)"
        )
        row, (self.start, self.cancel) = buttons("Report", "Cancel")
        self.lights = Label(label=BLANK, visible=False)
        self.open = PushButton(text="Open the page", visible=False)
        self.fields = {"layer": self.image.layer, "model": self.model, "package": self.package} | (
            self.image.fields | self.psf.fields
        )
        for widget in (*self.fields.values(), row, self.progress, self.status, self.lights, self.open):
            self.append(widget)
        self.page: Path | None = None
        self.rows: list[tuple[str, str, str]] = []
        self.start.changed.connect(lambda: self.guarded(self.begin_report))
        self.cancel.changed.connect(self.worker.stop)
        self.open.changed.connect(self.open_page)
        self.image.layer.changed.connect(self._layer_changed)
        for field in (self.image.axes, self.psf.kind, self.model):
            field.changed.connect(self.show_fields)
        self._layer_changed()
        self.update_buttons()

    def show_fields(self) -> None:
        """Show what applies to the layer and the model that are chosen."""
        self.image.update()
        own = self.model.value == TRAINED
        self.psf.update(self.image.spatial == "ZYX")
        self.psf.kind.visible = not own  # a run knows its PSF
        if own:
            for field in list(self.psf.fields.values())[1:]:
                field.visible = False
        self.package.visible = self.model.value == PACKAGE

    def _layer_changed(self) -> None:
        self.image.changed()
        self.show_fields()

    def begin_report(self) -> None:
        """Report on the image that the viewer shows.

        Raises
        ------
        InputError
            When a field is at fault.
        """
        if self.worker.busy:
            raise InputError("a report is being made here", "wait, or cancel it")
        source, read = self.image.source()
        package, run = self._package()
        steps = tuple(
            min(int(step), n - 1)
            for letter, n, step in zip(
                self.image.axes.value, self.image.layer.value.data.shape, self._steps(), strict=True
            ) if letter not in self.image.left_out
        )  # fmt: skip
        self.page = None
        folder = Path(tempfile.mkdtemp(prefix="zsd-napari-report-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        psf = None if self.model.value == TRAINED or self.psf.kind.value == NONE else self.psf.psf()
        arguments = {"source": source, "package": package, "run": run, "psf": psf, "steps": steps, "folder": folder}
        self.begin("report", arguments, read)

    def _steps(self) -> list[int]:
        """Where the sliders stand, in pixels of the layer."""
        layer = self.image.layer.value
        world = self.viewer.dims.point[-layer.ndim :]
        return [max(0, round(float(at))) for at in layer.world_to_data(world)]

    def _package(self) -> tuple[str, Path | None]:
        if self.model.value == TRAINED:
            folder = next((restore.folder for restore in Restore.opened if restore.folder), None)
            if folder is None or not (folder / "model.zip").exists():
                raise InputError(
                    "nothing was trained yet", "train with Restore first, or choose another `model`", option="model"
                )
            return str(folder / "model.zip"), folder / "run"
        if self.model.value == PACKAGE:
            if not Path(str(self.package.value)).is_file():
                raise InputError("no `package` is chosen", "choose a file made by zsd export", option="package")
            return str(self.package.value), None
        return str(self.model.value), None

    def open_page(self) -> None:
        """Open the page in the web browser."""
        if self.page is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.page)))

    def on_stopped(self, text: str) -> None:  # noqa: ARG002
        """The person cancelled it."""
        super().on_stopped("cancelled")

    def on_done(self, result: dict[str, Any]) -> None:
        """Show the lights."""
        self.page, self.rows = result["page"], result["rows"]
        shown = [("all in all", result["light"], result["word"]), *self.rows]
        self.lights.value = "<table cellpadding=2>" + "".join(
            f"<tr><td style='color:{COLOURS[light]}'>●</td><td>{title}</td><td>{word}</td></tr>"
            for title, light, word in shown
        ) + "</table>"  # fmt: skip
        self.lights.visible = self.open.visible = True
        self.show_status("")

    def update_buttons(self) -> None:
        """Enable what can be clicked now."""
        self.start.enabled, self.cancel.enabled = not self.worker.busy, self.worker.busy
