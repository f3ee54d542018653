"""zsd_runtime: run exported models. Needs neither torch nor the training."""

from zsd_runtime.errors import InputError
from zsd_runtime.image_statistics import statistics
from zsd_runtime.mismatch import mismatches
from zsd_runtime.model import Model, load_model
from zsd_runtime.session import Prediction

__all__ = ["InputError", "Model", "Prediction", "load_model", "mismatches", "statistics"]
