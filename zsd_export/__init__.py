"""zsd_export: from a run to a model package. Needs torch and onnx: ``pip install "zsd[export]"``."""

from zsd_export.convert import convert
from zsd_export.export import export
from zsd_export.package.credits import Credits
from zsd_export.pytorch import import_torch

__all__ = ["Credits", "convert", "export", "import_torch"]
