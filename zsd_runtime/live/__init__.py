"""Beside the microscope: restoration that never costs a frame."""

from zsd_runtime.live.isolated import Isolated
from zsd_runtime.live.live import Live
from zsd_runtime.live.recorder import Files, Recorder
from zsd_runtime.live.restorers import Models, open_models

__all__ = ["Files", "Isolated", "Live", "Models", "Recorder", "open_models"]
