"""What the worker process does: training, prediction, measurements, reports. Nothing here is imported by the viewer."""
