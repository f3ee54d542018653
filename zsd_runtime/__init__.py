"""zsd_runtime: run exported models. Needs neither torch nor the training."""

from zsd_runtime.errors import InputError
from zsd_runtime.model import Model, Prediction, load_model

__all__ = ["InputError", "Model", "Prediction", "load_model"]
