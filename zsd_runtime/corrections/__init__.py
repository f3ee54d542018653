"""Corrections of camera images: what is no data, and what the camera added, is found and taken out."""
