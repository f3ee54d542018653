"""How long the viewer stands still at most while a lazily opened time-lapse of 4 GB is restored.

    python benchmarks/napari_pause.py            (on a machine without a screen, behind xvfb-run)

The movie exists nowhere: each frame is made when it is read. A timer of 10 ms beats in the viewer's event loop; the
longest time between two beats is printed for each part of the work, beside what napari takes by itself to add or remove
a layer that zsd has nothing to do with. Training lasts --train seconds. Then frames are restored into OME-Zarr for
--restore seconds and the rest is cancelled: all of them would take hours on a laptop, and the viewer does the same for
each. Where other programs keep the core busy, run it with `nice -n -15`: else theirs are the pauses.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dask.array as da
import napari
import numpy as np
from napari.layers import Image
from napari_tutorial import register, settle, until
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from zsd_optics.simulate import Camera, simulate

SIDE = 512
BEAT_MS = 10


def movie(frames: int, side: int = SIDE) -> tuple[da.Array, list[int]]:
    """A time-lapse (T, Y, X), uint16, made where it is read, and the numbers of the frames that were."""
    still = simulate((side, side), photons=40, camera=Camera(100, 2, 3)).clean.astype(np.float64) - 100
    made: list[int] = []

    def frame(block_info: dict | None = None) -> NDArray[np.uint16]:
        number = block_info[None]["array-location"][0][0] if block_info else 0
        made.append(number)
        rng = np.random.default_rng(number)
        moved = np.roll(still, number % side, axis=1)
        counts = 100 + 2 * rng.poisson(moved / 2) + rng.normal(0, 3, moved.shape)
        return np.clip(counts, 0, 65535).astype(np.uint16)[None]

    chunks = ((1,) * frames, (side,), (side,))
    return da.map_blocks(frame, chunks=chunks, dtype=np.uint16, meta=np.empty((0, 0, 0), np.uint16)), made


class Beats:
    """A timer in the event loop, and the times between its beats."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.last = time.perf_counter()
        self.timer = QTimer()
        self.timer.setInterval(BEAT_MS)
        self.timer.timeout.connect(self.beat)
        self.timer.start()

    def beat(self) -> None:
        now = time.perf_counter()
        self.pauses.append(now - self.last)
        self.last = now

    @contextmanager
    def during(self, what: str) -> Iterator[None]:
        """Print the longest pause of a part of the work."""
        self.pauses, self.last = [], time.perf_counter()
        yield
        pauses = np.array(self.pauses or [0])
        print(
            f"{what:<44} longest pause {1000 * pauses.max():5.0f} ms, over 100 ms: {int((pauses > 0.1).sum())} of "
            f"{pauses.size} beats", flush=True,
        )  # fmt: skip


def measured(frames: int, train_s: float, restore_s: float, out: Path) -> Beats:
    """Restore a movie of so many frames, and print the pauses."""
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1000, 700)
    register()
    data, made = movie(frames)
    print(f"a movie of {data.nbytes / 1e9:.1f} GB, {frames} frames of {SIDE}x{SIDE}")
    layer = viewer.add_layer(Image(data, name="movie", contrast_limits=(100, 200), scale=(1, 0.065, 0.065),
                                   units=("s", "um", "um"), axis_labels=("t", "y", "x")))  # fmt: skip
    _, widget = viewer.window.add_plugin_dock_widget("zsd", "Restore")
    widget.minutes.value, widget.out.value = train_s / 60, out
    settle(2)
    beats = Beats()
    with beats.during("napari at rest"):
        settle(3)
    others = [Image(np.zeros((SIDE, SIDE), np.float32), contrast_limits=(0, 1), name=f"other {n}") for n in range(2)]
    with beats.during("napari adds a layer by itself"):
        viewer.add_layer(others[0])
        settle(2)
    with beats.during("napari adds a second one"):
        viewer.add_layer(others[1])
        settle(2)
    with beats.during("napari removes a layer by itself"):
        viewer.layers.remove(others[1])
        settle(2)
    with beats.during("napari moves the slider by itself"):
        for step in range(10):
            viewer.dims.set_current_step(0, step)
            settle(0.2)
    viewer.layers.selection.active = layer

    def ended() -> bool:
        return not widget.worker.busy and not widget._timer.isActive()

    def restoring() -> bool:
        return "tile" in widget.status.value or "hot" in widget.status.value or ended()

    parts: list[tuple[str, Callable[[], bool]]] = [
        ("start, until the first loss", lambda: bool(widget.losses) or ended()),
        ("until both previews are shown", lambda: all(layer.visible for layer in viewer.layers) or ended()),
        ("training, previews are redrawn", restoring),
    ]
    with beats.during("a click on Start, two layers are added"):
        widget.start.native.click()
        until(lambda: len(viewer.layers) == 4)
        settle(0.2)
    for what, until_when in parts:
        with beats.during(what):
            until(until_when)
    before, end = len(made), time.monotonic() + restore_s
    with beats.during("frames are restored into OME-Zarr"):
        until(lambda: time.monotonic() > end or ended())
    print(f"frames read meanwhile: {len(made) - before}; of all frames, {len(set(made))} were ever in memory")
    with beats.during("cancelled"):
        widget.stop.native.click()
        until(ended)
    print(widget.status.value)
    viewer.close()
    return beats


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=8192)
    parser.add_argument("--train", type=float, default=60)
    parser.add_argument("--restore", type=float, default=60)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        measured(arguments.frames, arguments.train, arguments.restore, Path(out))


if __name__ == "__main__":
    main()
