"""zsd_export: from a run to a model package. Needs torch and onnx: ``pip install "zsd[export]"``."""

from zsd_export.convert import convert
from zsd_export.export import export

__all__ = ["convert", "export"]
