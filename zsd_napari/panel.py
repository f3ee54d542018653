"""What all widgets share: fields, a worker process, progress, and errors that name the field at fault."""

import re
import time
from collections.abc import Callable
from typing import Any

from magicgui.widgets import ComboBox, Container, Label, ProgressBar, PushButton, Widget
from napari.utils.notifications import show_error, show_warning
from napari.viewer import Viewer
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QComboBox, QSizePolicy

from zsd_napari.job import Message, Worker
from zsd_napari.source import Read
from zsd_runtime.errors import InputError

POLL_MS = 30
SHOWN_S = 0.3  # between two redrawings of the progress bar: each one redraws the whole window
LATEST = ("progress", "training")  # messages of which only the last one counts
BLANK = "\u2003" * 8  # a label as wide as the widest: magicgui measures labels before napari makes their font larger
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
        self.progress = ProgressBar(value=0, min=0, max=1000, label=BLANK, visible=False)
        self.status = Label(value="", label=BLANK, visible=False)
        wrap(self.status)
        self.said: list[str] = []  # all errors and warnings, for tests and for people who ask
        self._at_fault: Widget | None = None
        self._waiting: list[Message] = []
        self._later: list[Callable[[], None]] = []
        self._shown, self._turn = 0.0, False
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
            self.refuse(str(error), error.options)

    def named(self, text: str) -> str:
        """A sentence whose options in backticks are written as the widget labels them."""

        def label(match: re.Match[str]) -> str:
            field = self.fields.get(match[1])
            return f"“{field.label}”" if field is not None else match[1].replace("_", " ")

        return re.sub(r"`(\w+)`", label, text)

    def show_progress(self, share: float, text: str) -> None:
        """Set the progress bar and the line below it."""
        self.progress.visible = self.worker.busy
        value = round(1000 * min(max(share, 0.0), 1.0))
        if value != self.progress.value:
            self.progress.value = value
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
        """The worker refuses what it was given."""
        self.refuse(text, options)
        self.drop_results()

    def refuse(self, text: str, options: tuple[str, ...]) -> None:
        """Something of the person's input is at fault: say it, and mark the field."""
        message = self.named(text)
        self.said.append(message)
        self.show_progress(0.0, message)
        self.status.native.setStyleSheet("color: #e5484d;")
        fields = [self.fields[option] for option in options if option in self.fields]
        field = next((field for field in fields if field.visible), fields[0] if fields else None)
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
        self.drop_results()

    def on_stopped(self, text: str) -> None:
        """The person has stopped it."""
        self.show_progress(0.0, text)
        self.drop_results()

    def drop_results(self) -> None:
        """Forget what a task that did not end has made; for subclasses."""

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

    def on_end(self) -> None:
        """After the last message of a task; for subclasses."""

    def on_tick(self) -> None:
        """After messages, while a task is being done; for subclasses."""

    def _poll(self) -> None:
        """Answer one message of the worker at most: what it takes the viewer to add a layer must not add up."""
        self._waiting += self.worker.messages()
        while len(self._waiting) > 1 and self._waiting[0][0] in LATEST:
            if self._waiting[0][0] != self._waiting[1][0]:
                break
            self.on_passed(self._waiting.pop(0))
        if self._waiting and self._due(self._waiting[0][0]):
            kind, *values = self._waiting.pop(0)
            getattr(self, f"on_{kind}")(*values)
        elif self._later and self._turn:
            self._later.pop(0)()
        else:
            self.on_tick()
        self._turn = not self._turn
        if not self.worker.busy and not self._waiting and not self._later:
            self._timer.stop()
            self.on_end()
            self.progress.visible = False
            self.update_buttons()

    def _due(self, kind: str) -> bool:
        """Whether a message is answered now: layers come first, and progress is shown as often as it is seen."""
        if kind not in LATEST:
            return not self._later or kind == "offset"
        if time.monotonic() - self._shown < SHOWN_S and self.worker.busy:
            return False
        self._shown = time.monotonic()
        return True

    def later(self, *work: Callable[[], None]) -> None:
        """Do something in the next moments, one thing at a time."""
        self._later += work

    def on_passed(self, message: Message) -> None:
        """A message that a later one has overtaken; for subclasses."""


def wrap(label: Label) -> None:
    """Let a label's text take the width that there is, and as many lines as it needs."""
    label.native.setWordWrap(True)
    label.native.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
    label.native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)


def narrow(box: ComboBox) -> ComboBox:
    """Let a long choice be cut rather than make the dock as wide as it is."""
    box.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.native.setMinimumContentsLength(14)
    return box


def buttons(*texts: str) -> tuple[Container[Widget], list[PushButton]]:
    """Buttons in a row."""
    made = [PushButton(text=text) for text in texts]
    row: Container[Widget] = Container(widgets=made, layout="horizontal", labels=False, label=BLANK)
    row.margins = (0, 0, 0, 0)
    return row, made
