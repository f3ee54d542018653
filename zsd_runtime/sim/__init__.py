"""Structured illumination microscopy: raw frames, what is known of their patterns, and the reconstruction."""
