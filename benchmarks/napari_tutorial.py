"""The steps of docs/napari.md in a real viewer, each with its screenshot.

    python benchmarks/napari_tutorial.py docs/napari --minutes 1.4

On a machine without a screen: xvfb-run -s "-screen 0 1600x1000x24" python …
tests/test_napari.py takes the same steps with a tiny network.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import napari
import numpy as np
import PIL.Image
from npe2 import PluginManager
from qtpy.QtWidgets import QApplication

from zsd_napari.restore import Restore

SIZE = 1280, 800
LONGEST_S = 600
COLOURS = 128  # of a screenshot: half the bytes
STEPS = (
    "sample", "noise", "psf", "restore", "training", "restored", "grid", "predict", "report",
)  # fmt: skip


def until(condition: Callable[[], bool], longest_s: float = LONGEST_S) -> None:
    """Let the viewer work until something holds."""
    end = time.monotonic() + longest_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {longest_s:g} s")
        QApplication.processEvents()
        time.sleep(0.005)


def settle(seconds: float = 0.3) -> None:
    """Let the viewer draw."""
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() > end)


def register() -> None:
    """Make the plugin known where zsd is not installed but only on the path."""
    manager = PluginManager.instance()
    if "zsd" not in manager:
        import zsd_napari

        manager.register(Path(zsd_napari.__file__).with_name("napari.yaml").as_posix())


def tutorial(
    viewer: napari.Viewer, folder: Path, prepare: Callable[[Restore], None], *, report: bool = True
) -> Restore:
    """Take all steps.

    Parameters
    ----------
    viewer : Viewer
    folder : path
        For the screenshots.
    prepare : callable
        Sets how long the widget trains.
    report : bool
        Also make the report.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def shoot(step: str) -> None:
        viewer.reset_view()
        settle()
        for notification in viewer.window._qt_window.findChildren(object):
            if type(notification).__name__ == "NapariQtNotification":
                notification.close()
        settle(0.1)
        picture = viewer.screenshot(canvas_only=False, flash=False)
        few_colours = PIL.Image.fromarray(picture[..., :3]).quantize(COLOURS)
        few_colours.save(folder / f"{STEPS.index(step) + 1:02d}-{step}.png", optimize=True)

    viewer.open_sample("zsd", "plane")
    image = viewer.layers["cell"]
    viewer.canvas.overlays.scale_bar.visible = True
    shoot("sample")

    _, measure = viewer.window.add_plugin_dock_widget("zsd", "Noise and PSF")
    measure.noise_button.native.click()
    until(lambda: not measure.worker.busy and "gain" in measure.result)
    shoot("noise")
    measure.psf_button.native.click()
    until(lambda: not measure.worker.busy and "kernel" in measure.result)
    shoot("psf")

    viewer.layers.selection.active = image
    _, restore = viewer.window.add_plugin_dock_widget("zsd", "Restore", tabify=True)
    prepare(restore)
    shoot("restore")
    restore.start.native.click()
    name = "cell deconvolved (preview)"
    until(lambda: name in viewer.layers or not restore.worker.busy)
    preview = viewer.layers[name]
    until(lambda: (len(restore.held_out) > 3 and preview.visible) or not restore.worker.busy)
    shoot("training")
    until(lambda: not restore.worker.busy and not restore._timer.isActive())
    if "cell deconvolved" not in viewer.layers:
        raise RuntimeError(f"no result: {restore.said}")
    shoot("restored")

    viewer.canvas.grid.enabled = True
    for layer in viewer.layers:
        layer.visible = layer.name in ("cell", "cell denoised", "cell deconvolved", "cell truth")
    shoot("grid")
    viewer.canvas.grid.enabled = False

    viewer.layers.selection.active = image
    _, predict = viewer.window.add_plugin_dock_widget("zsd", "Predict", tabify=True)
    predict.model.value = "zoo:microtubules-2d"
    predict.start.native.click()
    until(lambda: not predict.worker.busy and not predict._timer.isActive())
    shoot("predict")
    if not report:
        return restore

    viewer.layers.selection.active = image
    _, judge = viewer.window.add_plugin_dock_widget("zsd", "Report", tabify=True)
    judge.start.native.click()
    until(lambda: not judge.worker.busy and not judge._timer.isActive())
    shoot("report")
    return restore


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=1.4)
    arguments = parser.parse_args()
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*SIZE)
    register()

    def prepare(restore: Restore) -> None:
        restore.minutes.value = arguments.minutes

    tutorial(viewer, arguments.folder, prepare)
    for path in sorted(arguments.folder.glob("*.png")):
        print(path, f"{path.stat().st_size / 1000:.0f} kB, deviation {np.std(iio.imread(path)):.1f}")
    viewer.close()


if __name__ == "__main__":
    main()
