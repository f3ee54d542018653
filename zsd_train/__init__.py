"""zsd_train: from noisy images and a PSF to a trained network. Needs torch: ``pip install "zsd[train]"``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zsd_train.config import TrainConfig
    from zsd_train.run import Run, load_run
    from zsd_train.training import train

__all__ = ["Run", "TrainConfig", "load_run", "train"]
_MODULES = {"Run": "run", "TrainConfig": "config", "load_run": "run", "train": "training"}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: torch takes seconds."""
    if name in _MODULES:
        return getattr(import_module(f"zsd_train.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
