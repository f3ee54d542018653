"""Structured illumination microscopy: transfer functions, patterns found in raw frames, simulation."""
