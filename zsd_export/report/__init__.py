"""`zsd report`: what can be known of a restoration, with or without a truth, on one page."""

from zsd_export.report.report import Report, judge

__all__ = ["Report", "judge"]
