"""zsd_train: from noisy images and a PSF to a trained network. Needs torch: ``pip install "zsd[train]"``."""

from zsd_train.config import TrainConfig
from zsd_train.run import Run, load_run
from zsd_train.train import train

__all__ = ["Run", "TrainConfig", "load_run", "train"]
