"""Micro-Manager's core as zsd runs it: a camera's last frame cannot stay behind in the buffer."""

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from pymmcore_plus import CMMCorePlus
from pymmcore_plus.mda import MDAEngine

if TYPE_CHECKING:
    from pymmcore_plus.core._sequencing import SequencedEvent


class Core(CMMCorePlus):
    """A core whose sequences end when the camera has stopped *and* the buffer is empty.

    The engine of pymmcore-plus 0.18 looks into the buffer first, then asks whether the camera runs. A frame that
    arrives between the two, as the last one, would never be fetched.
    """

    draining = False

    def __init__(self) -> None:
        super().__init__()
        self.mda.set_engine(_Engine(self))

    def isSequenceRunning(self, *camera: str) -> bool:  # noqa: N802
        """Whether the camera runs; in a sequence of the engine, also whether frames are left in the buffer."""
        running: bool = super().isSequenceRunning(*camera)
        return running or (self.draining and self.getRemainingImageCount() > 0)


class _Engine(MDAEngine):
    """Says when the core shall count the buffer: elsewhere, frames of an earlier stream may lie there for good."""

    def exec_sequenced_event(self, event: "SequencedEvent") -> Generator[Any, Any, None]:
        core = self.mmcore
        assert isinstance(core, Core)
        core.draining = True
        try:
            yield from super().exec_sequenced_event(event)
        finally:
            core.draining = False
