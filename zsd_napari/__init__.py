"""zsd_napari: zsd in the viewer napari. Needs ``pip install "zsd[napari]"``.

The viewer's process never imports torch and never computes: each widget has a worker process (`worker`), which reads
the layer through a pipe, piece by piece, and sends back losses, previews and results (`job`).
"""
