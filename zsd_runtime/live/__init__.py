"""Beside the microscope: restoration that never costs a frame."""
