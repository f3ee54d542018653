"""What all widgets share: fields, a worker process, progress, and errors that name the field at fault."""

import re
from collections.abc import Callable
from typing import Any

from magicgui.widgets import Container, Label, ProgressBar, PushButton, Widget
from napari.utils.notifications import show_error, show_warning
from napari.viewer import Viewer
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from zsd_napari.job import Message, Worker
from zsd_napari.source import Read
from zsd_runtime.errors import InputError

POLL_MS = 30
AT_FAULT = "border: 1px solid #e5484d; border-radius: 2px;"


class Panel(Container[Widget]):
    """A widget with a worker process.

    A subclass adds its fields to `fields`, by the names that zsd's errors have for them, and answers messages of the
    worker in methods `on_<kind>`.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(labels=True)
        self.viewer, self.worker = viewer, Worker()
        self.fields: dict[str, Widget] = {}
        self.progress = ProgressBar(value=0, min=0, max=1000, label=" ", visible=False)
        self.status = Label(value="", label=" ", visible=False)
        self.status.native.setWordWrap(True)
        self.said: list[str] = []  # all errors and warnings, for tests and for people who ask
        self._at_fault: Widget | None = None
        self._timer = QTimer(self.native)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._poll)
        # A closed viewer must not leave a training behind.
        self.native.destroyed.connect(self.worker.close)
        if (application := QApplication.instance()) is not None:
            application.aboutToQuit.connect(self.worker.close)

    def begin(
        self, task: str, arguments: dict[str, Any], read: Read | None = None,
        take: Callable[[Message], bool] = lambda message: False,
    ) -> None:  # fmt: skip
        """Start a task in the worker process."""
        self.worker.start(task, arguments, read, take)
        self.show_progress(0.0, "starting")
        self.update_buttons()
        self._timer.start()

    def guarded(self, work: Callable[[], None]) -> None:
        """Do something that a click asks for; show its error."""
        self.clear_error()
        try:
            work()
        except InputError as error:
            self.on_refused(str(error), error.options)

    def named(self, text: str) -> str:
        """A sentence whose options in backticks are written as the widget labels them."""

        def label(match: re.Match[str]) -> str:
            field = self.fields.get(match[1])
            return f"“{field.label}”" if field is not None else match[1].replace("_", " ")

        return re.sub(r"`(\w+)`", label, text)

    def show_progress(self, share: float, text: str) -> None:
        """Set the progress bar and the line below it."""
        self.progress.visible = self.worker.busy
        self.progress.value = round(1000 * min(max(share, 0.0), 1.0))
        self.show_status(text)

    def show_status(self, text: str) -> None:
        """Set the line below the progress bar."""
        self.status.native.setStyleSheet("")
        self.status.value = text
        self.status.visible = bool(text)

    def clear_error(self) -> None:
        """Forget the last error."""
        self.show_status("")
        if self._at_fault is not None:
            self._at_fault.native.setStyleSheet("")
            self._at_fault = None

    def on_refused(self, text: str, options: tuple[str, ...]) -> None:
        """Something of the person's input is at fault: say it, and mark the field."""
        message = self.named(text)
        self.said.append(message)
        self.show_progress(0.0, message)
        self.status.native.setStyleSheet("color: #e5484d;")
        field = next((self.fields[o] for o in options if o in self.fields and self.fields[o].visible), None)
        if field is not None:
            field.native.setStyleSheet(AT_FAULT)
            self._at_fault = field
        show_error(message)

    def on_failed(self, text: str, details: str) -> None:
        """Something went wrong that is nobody's input."""
        self.said.append(text)
        if details:
            print(details)  # napari's console and terminal: for a report to the developers
        self.show_progress(0.0, f"failed: {text}")
        show_error(f"zsd failed: {text}")

    def on_stopped(self, text: str) -> None:
        """The person has stopped it."""
        self.show_progress(0.0, text)

    def on_progress(self, share: float, text: str) -> None:
        """How far the task is."""
        self.show_progress(share, text)

    def on_notice(self, text: str) -> None:
        """A sentence that a person should read."""
        message = self.named(text)
        if message not in self.said:
            self.said.append(message)
            show_warning(message)

    def on_done(self, result: Any) -> None:
        """The task has ended; for subclasses."""

    def update_buttons(self) -> None:
        """Enable what can be clicked now; for subclasses."""

    def on_tick(self) -> None:
        """After messages, while a task is being done; for subclasses."""

    def _poll(self) -> None:
        for kind, *values in self.worker.messages():
            getattr(self, f"on_{kind}")(*values)
        self.on_tick()
        if not self.worker.busy:
            self._timer.stop()
            self.progress.visible = False
            self.update_buttons()


def buttons(*texts: str) -> tuple[Container[Widget], list[PushButton]]:
    """Buttons in a row."""
    made = [PushButton(text=text) for text in texts]
    row: Container[Widget] = Container(widgets=made, layout="horizontal", labels=False, label=" ")
    row.margins = (0, 0, 0, 0)
    return row, made
