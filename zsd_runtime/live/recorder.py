"""Results to files, in a thread of its own: a slow disk costs results, never frames or memory."""

import threading
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from shutil import disk_usage
from typing import Any, Protocol

import numpy as np

from zsd_runtime.errors import InputError, size_text
from zsd_runtime.files import cannot_write
from zsd_runtime.images import Image, as_dtype, create_image
from zsd_runtime.live.inbox import Frame
from zsd_runtime.live.restorers import Outputs
from zsd_runtime.tensors import OutputSpec

MOST_BYTES = 16 << 20  # of results that wait for the disk, or one result
ENDINGS = {"zarr": ".ome.zarr", "tiff": ".ome.tif"}

Place = tuple[int, ...]


class Sink(Protocol):
    """Where `Live` keeps results."""

    def wants(self, channel: str, index: Mapping[str, int]) -> bool:
        """Whether it keeps the results of a frame; called by the camera's thread."""

    def put(self, frame: Frame, outputs: Outputs) -> None:
        """Take the results of a frame without waiting for the disk."""

    def status(self) -> dict[str, Any]:
        """Plain values for `Live.status`."""


@dataclass(frozen=True)
class Files:
    """The files of an acquisition's results: one for each output, and for each position of the stage.

    Attributes
    ----------
    folder : Path
    raw : Image
        All frames of one position, as the camera makes them, with what is known of them; no pixels.
    outputs : sequence of OutputSpec
        Of the model.
    channels : tuple of str
        That are restored; the C axis has these.
    positions : dict of str to int
        Length of each axis of the acquisition that a file does not have, by its key: "p", "g".
    every : int
        Results of each n-th point in time are kept.
    format : {"zarr", "tiff"}
    dtype : str
    """

    folder: Path
    raw: Image
    outputs: tuple[OutputSpec, ...]
    channels: tuple[str, ...] = ("",)
    positions: dict[str, int] = field(default_factory=dict)
    every: int = 1
    format: str = "zarr"
    dtype: str = "float32"

    @property
    def leading(self) -> str:
        """The axes of a file before those of one result."""
        return self.raw.axes[: len(self.raw.axes) - len(self.outputs[0].scale)]

    def wants(self, channel: str, index: Mapping[str, int]) -> bool:
        """Whether the results of a frame are kept."""
        return channel in self.channels and index.get("t", 0) % self.every == 0

    def place(self, frame: Frame) -> tuple[Place, Place]:
        """Position, and index in its files."""
        at = frame.index | {"c": self.channels.index(frame.channel), "t": frame.index.get("t", 0) // self.every}
        return tuple(frame.index.get(p, 0) for p in self.positions), tuple(at.get(a.lower(), 0) for a in self.leading)

    def path(self, output: str, position: Place) -> Path:
        """The file of an output at a position."""
        where = "".join(f"_{key}{number}" for key, number in zip(self.positions, position, strict=True))
        return self.folder / f"{output}{where}{ENDINGS[self.format]}"

    def image(self, output: OutputSpec) -> Image:
        """What one file holds."""
        axes = len(output.scale)
        shape = self.raw.data.shape
        finer = (*shape[:-axes], *(round(n * k) for n, k in zip(shape[-axes:], output.scale, strict=True)))
        return self.raw.resized(finer, self.dtype)


class Recorder:
    """Writes results; a context manager whose end closes the files.

    Files appear under their names at the end. A result that was not written in time is NaN there (0 in files of
    integers), and counted.
    """

    def __init__(self, files: Files, most_bytes: int = MOST_BYTES) -> None:
        self.files, self.most_bytes = files, most_bytes
        try:
            files.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(files.folder, error) from None
        self.error: str | None = None
        self._changed = threading.Condition()  # guards what follows
        self._waiting: deque[tuple[Frame, Outputs]] = deque()
        self._bytes = self._saved = 0
        self._not_kept: Counter[str] = Counter()
        self._closing = self._ended = False
        self._written: dict[Place, set[Place]] = {}
        self._targets: dict[tuple[str, Place], Any] = {}
        self._open_files = ExitStack()
        threading.Thread(target=self._work, name="zsd recorder", daemon=True).start()

    def wants(self, channel: str, index: Mapping[str, int]) -> bool:
        """As `Sink`."""
        return self.files.wants(channel, index)

    def put(self, frame: Frame, outputs: Outputs) -> None:
        """As `Sink`."""
        size = sum(values.nbytes for values in outputs.values())
        with self._changed:
            if self._bytes + size > self.most_bytes and self._waiting:
                self._not_kept["disk too slow"] += 1
                return
            self._waiting.append((frame, outputs))
            self._bytes += size
            self._changed.notify_all()

    def status(self) -> dict[str, Any]:
        """As `Sink`."""
        with self._changed:
            return {
                "kept": self._saved, "waiting_for_disk": len(self._waiting), "not_kept": dict(self._not_kept),
                "disk_error": self.error,
                "disk_free_bytes": disk_usage(self.files.folder).free,
            }  # fmt: skip

    def close(self) -> list[Path]:
        """Write what waits, and close the files; which they are.

        Raises
        ------
        InputError
            When a file cannot be written.
        """
        with self._open_files:  # an error in here leaves none of them
            with self._changed:
                self._closing = True
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._ended)
            if self.error is not None:
                raise InputError(self.error)
            for (_, position), target in self._targets.items():
                self._blank_missing(position, target)
            return [self.files.path(output, position) for output, position in self._targets]

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if not self._waiting:
                    self._ended = True
                    self._changed.notify_all()
                    return
                frame, outputs = self._waiting[0]
            reason = self.error and "disk error"
            try:
                reason = reason or self._write(frame, outputs)
            except Exception as error:  # a full disk, whatever the format's library raises; acquisition goes on
                self.error, reason = str(error) or type(error).__name__, "disk error"
            with self._changed:
                self._waiting.popleft()
                self._bytes -= sum(values.nbytes for values in outputs.values())
                if reason:
                    self._not_kept[reason] += 1
                else:
                    self._saved += 1
                self._changed.notify_all()

    def _write(self, frame: Frame, outputs: Outputs) -> str:
        """Write all outputs of a frame; or the reason why not."""
        position, index = self.files.place(frame)
        for spec in self.files.outputs:
            expected = self.files.image(spec).data.shape[len(index) :]
            if outputs[spec.name].shape != expected:
                return f"another shape than {size_text(expected)}"
        for spec in self.files.outputs:
            target = self._target(spec, position)
            values = as_dtype(outputs[spec.name].copy(), np.dtype(self.files.dtype))
            target[(*index, *(slice(0, n) for n in values.shape))] = values
        self._written[position].add(index)
        return ""

    def _target(self, spec: OutputSpec, position: Place) -> Any:
        key = (spec.name, position)
        if key not in self._targets:
            path, image = self.files.path(*key), self.files.image(spec)
            self._targets[key] = self._open_files.enter_context(create_image(path, image, spec.scale))
            self._written.setdefault(position, set())
        return self._targets[key]

    def _blank_missing(self, position: Place, target: Any) -> None:
        """Results that are missing become NaN, as chunks that are not stored are: nobody takes them for dark ones."""
        if np.dtype(self.files.dtype).kind != "f" or hasattr(target, "chunks"):
            return
        leading = tuple(target.shape[: len(self.files.leading)])
        blank = np.full(target.shape[len(leading) :], np.nan, self.files.dtype)
        for index in np.ndindex(leading):
            if index not in self._written[position]:
                target[(*index, *(slice(0, n) for n in blank.shape))] = blank
