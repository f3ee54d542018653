"""Restore images that other programs send: the model is opened once, requests take turns."""
