"""Micro-Manager's core as zsd runs it: a camera's last frame cannot stay behind in the buffer."""

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymmcore_plus import CMMCorePlus


def draining_core() -> "CMMCorePlus":
    """A core whose sequences end when the camera has stopped *and* the buffer is empty.

    The engine of pymmcore-plus 0.18 looks into the buffer first, then asks whether the camera runs. A frame that
    arrives between the two, as the last one, would never be fetched.

    Raises
    ------
    ImportError
        When pymmcore-plus is not installed.
    """
    from pymmcore_plus import CMMCorePlus
    from pymmcore_plus.mda import MDAEngine

    class Core(CMMCorePlus):
        draining = False  # only in a sequence: elsewhere, frames of an earlier stream may lie in the buffer for good

        def isSequenceRunning(self, *camera: str) -> bool:  # noqa: N802
            running: bool = super().isSequenceRunning(*camera)
            return running or (self.draining and self.getRemainingImageCount() > 0)

    class Engine(MDAEngine):
        def exec_sequenced_event(self, event: Any) -> Generator[Any, Any, None]:
            core: Any = self.mmcore
            core.draining = True
            try:
                yield from super().exec_sequenced_event(event)
            finally:
                core.draining = False

    core = Core()
    core.mda.set_engine(Engine(core))
    return core
