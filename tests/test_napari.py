"""The plugin in a real napari on a virtual screen: widgets, layers, errors, and that nothing holds up the viewer."""

import ctypes
import importlib
import os
import pickle
import shutil
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest

# That Qt's wheels need and do not bring.
LIBRARIES = {
    "libEGL.so.1": "libegl1", "libGL.so.1": "libgl1", "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4", "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0", "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1", "libxcb-randr.so.0": "libxcb-randr0", "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-sync.so.1": "libxcb-sync1", "libxcb-xfixes.so.0": "libxcb-xfixes0",
}  # fmt: skip


def loads(library):
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


LINUX = sys.platform.startswith("linux")
MISSING = [] if find_spec("napari") else ["napari (pip install 'zsd[napari]')"]
MISSING += [] if not LINUX or "DISPLAY" in os.environ or shutil.which("Xvfb") else ["Xvfb"]
MISSING += [name for name in LIBRARIES if LINUX and not loads(name)]
NEEDED = f"no {', '.join(MISSING)}: apt-get install xvfb {' '.join(LIBRARIES.values())}"
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=NEEDED),
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),  # npe2's
]
LONGEST_S = 200  # against hangs only
SETTINGS = """
steps = 12
patch = 32
precision = "fp32"
device = "cpu"
[network]
width = 4
depth = 2
head = 8
"""


@pytest.fixture(scope="module")
def screen():
    """A display, started if there is none."""
    if "DISPLAY" in os.environ or not LINUX:
        yield
        return
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x900x24"], pass_fds=[write], stderr=subprocess.DEVNULL
    )
    os.close(write)
    with os.fdopen(read) as display:
        os.environ["DISPLAY"] = f":{display.readline().strip()}"
    yield
    os.environ.pop("DISPLAY")
    server.terminate()
    server.wait()


@pytest.fixture(scope="module", autouse=True)
def imported(screen):  # noqa: ARG001
    os.environ["ZSD_NAPARI_NICE"] = "0"  # other tests keep the cores busy
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of napari's libraries
        import npe2  # noqa: F401


@pytest.fixture(scope="module")
def opened(screen, tmp_path_factory):  # noqa: ARG001
    """A viewer for all tests: to open one takes seconds."""
    os.environ["NAPARI_CONFIG"] = str(tmp_path_factory.mktemp("settings") / "settings.yaml")
    import napari
    from pytestqt.qt_compat import qt_api

    from benchmarks.napari_tutorial import register

    qt_api.set_qt_api("")
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1000, 700)
    register()
    yield viewer
    viewer.close()
    del os.environ["NAPARI_CONFIG"]


@pytest.fixture
def viewer(opened):
    yield opened
    opened.layers.clear()
    opened.window.remove_dock_widget("all")


@pytest.fixture
def bot(request):
    """pytest-qt, without its plugin: that would import Qt in every test."""
    from pytestqt.qtbot import QtBot

    return QtBot(request)


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(SETTINGS)
    return path


def noisy(shape=(64, 64), seed=0, dtype=np.uint16):
    from tests.scenes import camera, scene

    planes = [camera(scene(shape[-2:], seed), seed + n) for n in range(int(np.prod(shape[:-2])))]
    return np.stack(planes).reshape(shape).astype(dtype)


def dock(viewer, name):
    return viewer.window.add_plugin_dock_widget("zsd", name)[1]


def add(viewer, pixels, name="cell", **look):
    from napari.layers import Image

    look = {"scale": (0.1,) * 2, "units": ("um",) * 2, "axis_labels": ("y", "x")} | look if pixels.ndim == 2 else look
    return viewer.add_layer(Image(pixels, name=name, contrast_limits=(100, 220), **look))


def restorer(viewer, settings):
    widget = dock(viewer, "Restore")
    widget.settings.value, widget.minutes.value = settings, 0
    return widget


def ended(bot, widget):
    bot.waitUntil(lambda: not widget.worker.busy and not widget._timer.isActive(), timeout=LONGEST_S * 1000)


@contextmanager
def ticking():
    """Count how often the viewer's event loop comes round while something is done."""
    from qtpy.QtCore import QTimer

    ticks = []
    timer = QTimer()
    timer.setInterval(10)
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))
    timer.start()
    yield ticks
    timer.stop()


def test_the_manifest_names_what_exists():
    from npe2 import PluginManifest

    manifest = PluginManifest.from_file(Path(__file__).parents[1] / "zsd_napari" / "napari.yaml")
    for command in manifest.contributions.commands:
        module, name = command.python_name.split(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_the_viewer_does_not_import_torch():
    """Importing it takes a second, in which the viewer would stand still."""
    modules = ("restore", "predict", "measure", "report", "samples", "reader")
    code = "import sys; " + "; ".join(f"import zsd_napari.{m}" for m in modules) + "; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_restore_stop_and_continue(viewer, bot, settings, tmp_path):
    layer = add(viewer, noisy(), colormap="green")
    widget = restorer(viewer, settings)
    assert (widget.image.layer.value, widget.image.pixel_size.value) == (layer, 0.1)
    settings.write_text(SETTINGS.replace("steps = 12", "steps = 100000"))
    with ticking() as ticks:
        widget.start.native.click()
        assert not widget.start.enabled
        bot.waitUntil(lambda: "cell deconvolved (preview)" in viewer.layers, timeout=LONGEST_S * 1000)
        preview = viewer.layers["cell deconvolved (preview)"]
        assert not preview.visible
        assert not widget.losses
        bot.waitUntil(lambda: preview.visible, timeout=LONGEST_S * 1000)
        assert (preview.data > 0).any()
        bot.waitUntil(lambda: bool(widget.losses), timeout=LONGEST_S * 1000)
        widget.stop.native.click()
        ended(bot, widget)
    assert len(ticks) > 100  # the loop went on all the time
    assert "stopped after" in widget.status.value
    denoised, deconvolved = viewer.layers["cell denoised"], viewer.layers["cell deconvolved"]
    assert deconvolved is preview
    assert not [name for name in viewer.layers if "preview" in name.name]
    assert (denoised.data.shape, deconvolved.data.shape) == ((64, 64), (128, 128))
    assert (denoised.data > 0).any()
    assert str(deconvolved.units[0]) == "micrometer"
    assert np.allclose(deconvolved.scale, 0.05)
    assert np.allclose(deconvolved.extent.world, layer.extent.world, atol=0.026)
    assert deconvolved.colormap.name == "green"
    offset = deconvolved.metadata["zsd"]["offset"]
    assert np.allclose(denoised.contrast_limits, (max(0, 100 - offset), 220 - offset))

    first = int(widget.status.value.split()[2])
    settings.write_text(SETTINGS)
    widget.go_on.native.click()
    ended(bot, widget)
    assert int(widget.status.value.split()[2]) == first + 12
    assert "cell deconvolved [1]" in viewer.layers
    widget.save_to(tmp_path / "model.zip")

    layer.data = noisy(seed=5)  # another image: what was learnt is not of it
    widget.go_on.native.click()
    ended(bot, widget)
    assert "not the one that the network was trained on" in widget.said[-1]

    widget.image.pixel_size.value, widget.psf.kind.value = 0, "optics"
    widget.start.native.click()
    ended(bot, widget)
    widget.save_to(tmp_path / "again.zip")  # a Start that is refused costs no network
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "model.zip").read_bytes()

    from zsd_napari.reader import get_reader

    layers = get_reader(str(tmp_path / "model.zip"))(str(tmp_path / "model.zip"))
    assert [look["name"].split()[-1] for _, look, _ in layers][1:] == ["denoised", "deconvolved"]
    assert layers[2][1]["scale"] == pytest.approx([0.05, 0.05])
    assert layers[2][1]["translate"] == pytest.approx([-0.025, -0.025])


def test_closing_the_viewer_ends_the_training(opened, bot, settings):  # noqa: ARG001
    import napari

    other = napari.Viewer(show=False)
    add(other, noisy())
    settings.write_text(SETTINGS.replace("steps = 12", "steps = 100000"))
    widget = restorer(other, settings)
    widget.start.native.click()
    process = widget.worker._process
    bot.waitUntil(lambda: bool(widget.losses), timeout=LONGEST_S * 1000)
    folder = widget.folder
    other.close()
    bot.waitUntil(lambda: process.poll() is not None, timeout=LONGEST_S * 1000)
    assert (folder / "run" / "state.safetensors").exists()


def lazy(shape, made):
    """A time-lapse that is made where it is read; `made` gets the numbers of the frames."""
    import dask.array as da

    def frame(block_info=None):
        number = block_info[None]["array-location"][0][0]
        made.append(number)
        return noisy((1, *shape[1:]), seed=number)

    return da.map_blocks(
        frame, chunks=((1,) * shape[0], *((n,) for n in shape[1:])), dtype=np.uint16, meta=np.empty(0, np.uint16)
    )


def test_a_lazy_movie_becomes_ome_zarr(viewer, bot, untrained_package, tmp_path):
    from zsd_runtime import load_model
    from zsd_runtime.images import read_image

    made = []
    layer = add(viewer, lazy((5, 48, 48), made), scale=(1, 0.1, 0.1))  # axes without names: frames
    widget = dock(viewer, "Predict")
    widget.model.value, widget.package.value, widget.out.value = "a package file", untrained_package, tmp_path
    assert widget.image.axes.value == "TYX"
    before = len(made)
    with ticking() as ticks:
        widget.start.native.click()
        viewer.layers.remove(layer)  # nobody needs it any more but the worker
        ended(bot, widget)
    assert len(ticks) > 5  # a loop that waits for the result ticks once
    assert len(made) - before <= 4 * 5  # plane by plane, some of them again: statistics, bad pixels, network
    shown = viewer.layers["cell deconvolved"]
    assert not isinstance(shown.data, np.ndarray)
    assert shown.metadata["zsd"]["path"] == str(tmp_path / "cell_deconvolved.zarr")
    assert np.allclose(shown.scale, (1, 0.05, 0.05))
    with load_model(untrained_package) as model:
        expected = model.predict(noisy((48, 48), seed=3))["deconvolved"]
    assert np.allclose(read_image(tmp_path / "cell_deconvolved.zarr").data[3], expected, rtol=1e-3, atol=0.5)


def test_predict_in_memory_and_cancel(viewer, bot, untrained_package):
    layer = add(viewer, noisy((4, 48, 48), dtype=np.uint8), scale=(1, 0.1, 0.1))
    widget = dock(viewer, "Predict")
    widget.model.value, widget.package.value = "a package file", untrained_package
    widget.start.native.click()
    ended(bot, widget)
    assert viewer.layers["cell denoised"].data.shape == (4, 48, 48)
    assert viewer.layers["cell deconvolved"].data[3].any()
    count = len(viewer.layers)
    widget.image.layer.value = layer
    widget.start.native.click()
    widget.cancel.native.click()
    ended(bot, widget)
    assert widget.status.value == "cancelled"
    assert len(viewer.layers) == count


def test_predict_a_volume(viewer, bot, volume_package):
    from zsd_runtime import load_model

    pixels = noisy((6, 40, 40))
    layer = add(viewer, pixels, scale=(0.3, 0.1, 0.1), units=("um",) * 3, axis_labels=("z", "y", "x"))
    widget = dock(viewer, "Predict")
    widget.model.value, widget.package.value = "a package file", volume_package
    assert (widget.image.axes.value, widget.image.z_step.value) == ("ZYX", 0.3)
    widget.start.native.click()
    ended(bot, widget)
    with load_model(volume_package) as model:
        expected = model.predict(pixels)
    for output, pixels in expected.items():
        shown = viewer.layers[f"cell {output}"]
        assert np.allclose(shown.data, pixels, rtol=1e-3, atol=0.5)
        assert np.allclose(shown.extent.world, layer.extent.world, atol=0.026)


def test_predict_raw_sim(viewer, bot):
    """Frames of a movie become one image; another number of frames is refused."""
    from napari.layers import Image

    from zsd_napari.samples import raw_sim

    pixels, look, _ = raw_sim()[-1]
    layer = viewer.add_layer(Image(pixels, **look))
    widget = dock(viewer, "Predict")
    widget.model.value = "zoo:sim-2d"
    widget.start.native.click()
    ended(bot, widget)
    assert not [text for text in widget.said if "wrong" in text]  # the sample is one that the model knows
    for output in ("denoised", "deconvolved"):
        shown = viewer.layers[f"raw SIM {output}"]
        assert shown.data.shape == tuple(2 * n for n in pixels.shape[1:])
        assert shown.metadata["zsd"]["offset"] == 100  # so that black is 0
        assert (shown.data > 0).any()
        assert np.allclose(shown.extent.world, layer.extent.world[:, 1:], atol=0.026)
    layer.data = pixels[:-1]
    widget.start.native.click()
    ended(bot, widget)
    assert "no multiple of the 9 that the model's patterns have" in widget.said[-1]
    assert len(viewer.layers) == 3


def test_a_killed_worker_is_noticed(viewer, bot, untrained_package):
    add(viewer, noisy((300, 48, 48)), scale=(1, 0.1, 0.1))
    widget = dock(viewer, "Predict")
    widget.model.value, widget.package.value = "a package file", untrained_package
    widget.start.native.click()
    bot.waitUntil(lambda: "cell denoised" in viewer.layers, timeout=LONGEST_S * 1000)
    widget.worker._process.kill()
    ended(bot, widget)
    (said,) = widget.said
    assert "the worker process ended with status -9" in said
    assert widget.status.value == f"failed: {said}"
    assert [layer.name for layer in viewer.layers] == ["cell"]  # nothing half filled
    widget.start.native.click()
    bot.waitUntil(lambda: "cell denoised" in viewer.layers, timeout=LONGEST_S * 1000)
    widget.cancel.native.click()
    ended(bot, widget)
    assert widget.status.value == "cancelled"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_of_the_worker_does_not_keep_its_pipe_open():
    """OpenVINO's telemetry forks: the viewer waited for the end of a worker that had been killed long ago."""
    code = """
import os, time
from zsd_napari import worker
worker.serve = lambda link: link.send(pid) if (pid := os.fork()) else time.sleep(30)
worker.main()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    (fork,) = pickle.load(process.stdout)
    assert process.stdout.read() == b""  # its end comes
    child = psutil.Process(fork)
    assert child.status() != psutil.STATUS_ZOMBIE  # it came before the fork's end
    child.kill()
    process.communicate()


def colour(viewer):
    return viewer.add_image(np.zeros((64, 64, 3), np.uint8), rgb=True, name="cell")


@pytest.mark.parametrize(
    ("name", "image", "fields", "message"),
    [
        ("Restore", None, {}, "there is no image layer"),
        ("Restore", colour, {}, "cell is a colour picture (RGB)"),
        ("Restore", (64, 64), {"psf.kind": "file", "psf.file": "/nowhere.tif"}, "/nowhere.tif is not a file"),
        ("Restore", (64, 64), {"psf.kind": "Gaussian (σ)", "psf.sigma": 0.0}, "“σ (pixels)” is 0"),
        ("Restore", (64, 64), {"psf.kind": "none"}, "“PSF” is none"),
        ("Restore", (64, 64), {"image.pixel_size": 0.0}, "give it with “Pixel size (µm)” (µm), or use “σ (pixels)”"),
        ("Restore", (64, 64), {"psf.na": 1.6}, "correct “NA”, or set “Immersion n”"),
        ("Restore", (20, 64), {}, "cell has 20x64 pixels"),
        ("Predict", None, {}, "there is no image layer"),
        ("Predict", (64, 64), {}, "no “Package” is chosen"),
        ("Predict", (64, 64), {"package": "/nowhere.zip"}, "“Package” /nowhere.zip does not exist"),
        ("Predict", (64, 64), {"model": "zoo:lattice-3d"}, "set “Axes” so that it ends in ZYX"),
        ("Report", (64, 64), {}, "nothing was trained yet"),
        ("Noise and PSF", None, {}, "there is no image layer"),
    ],
)  # fmt: skip
def test_errors_name_the_field(viewer, bot, name, image, fields, message):
    from napari.utils.notifications import notification_manager

    if callable(image):
        image(viewer)
    elif image is not None:
        add(viewer, noisy(image))
    widget = dock(viewer, name)
    widget.worker = shared_worker(name)
    for path, value in fields.items():
        field = widget
        for part in path.split("."):
            field = getattr(field, part)
        field.value = value
    button = widget.noise_button if name == "Noise and PSF" else widget.start
    notification_manager.records.clear()
    button.native.click()
    ended(bot, widget)
    assert message in widget.said[-1]
    assert message in widget.status.value
    assert not [layer for layer in viewer.layers if "preview" in layer.name]
    assert notification_manager.records[-1].message == widget.said[-1]
    assert "`" not in widget.said[-1]
    if fields:
        assert "border" in widget._at_fault.native.styleSheet()


WORKERS = {}


def shared_worker(name):
    """One worker for all widgets of a kind: to start one takes seconds."""
    from zsd_napari.job import Worker

    return WORKERS.setdefault(name, Worker())


def test_noise_and_psf(viewer, bot):
    add(viewer, noisy((128, 128)))
    widget = dock(viewer, "Noise and PSF")
    widget.noise_button.native.click()
    ended(bot, widget)
    assert widget.result["gain"] == pytest.approx(2, rel=0.3)
    assert "gain: " in widget.text.value
    assert not widget.picture.native.pixmap().isNull()
    widget.psf_button.native.click()
    ended(bot, widget)
    shown = viewer.layers["PSF"]
    assert shown.data.sum() == pytest.approx(1)
    middle = np.array(shown.data.shape) // 2
    assert np.allclose(shown.data_to_world(middle), 0)
    assert np.unravel_index(shown.data.argmax(), shown.data.shape) == tuple(middle)


@pytest.mark.parametrize("axes", ["YX", "ZYX", "TYX", "CYX", "TZYX", "TCZYX"])
def test_results_lie_on_their_image(axes):
    """The mean place of the fine pixels of a pixel is that pixel's place."""
    from napari.layers import Image

    from zsd_napari.layers import place_of, result_layer
    from zsd_napari.source import Result

    rng = np.random.default_rng(len(axes))
    shape = rng.integers(3, 6, len(axes))
    scale, translate = rng.uniform(0.1, 3, len(axes)), rng.uniform(-5, 5, len(axes))
    layer = Image(np.zeros(shape), scale=scale, translate=translate)
    fine = [n * (2 if letter in "YX" else 1) for n, letter in zip(shape, axes, strict=True)]
    result = Result("deconvolved", tuple(fine), "float32", axes)
    made = result_layer(layer, axes, result, np.zeros(fine, np.float32), offset=0)
    pixel = [int(rng.integers(n)) for n in shape]
    inside = [[2 * i, 2 * i + 1] if letter in "YX" else [i] for i, letter in zip(pixel, axes, strict=True)]
    places = [made.data_to_world(place) for place in np.stack(np.meshgrid(*inside), -1).reshape(-1, len(axes))]
    assert np.allclose(np.mean(places, axis=0), layer.data_to_world(pixel))
    part = Result("deconvolved", (*fine[:-2], 4, 4), "float32", axes)
    _, corner = place_of(layer, axes, part, start=(1, 1), whole=(2, 2))
    assert np.allclose(np.subtract(corner, made.translate)[-2:], scale[-2:])


@pytest.mark.parametrize(
    ("shape", "look", "expected"),
    [
        ((8, 8), {}, "YX"),
        ((3, 8, 8), {}, "TYX"),
        ((3, 8, 8), {"scale": (0.3, 0.1, 0.1), "units": ("um",) * 3}, "ZYX"),
        ((3, 8, 8), {"axis_labels": ("z", "y", "x")}, "ZYX"),
        ((3, 8, 8), {"axis_labels": ("channel", "y", "x")}, "CYX"),
        ((2, 3, 8, 8), {}, "TZYX"),
        ((2, 3, 4, 8, 8), {"axis_labels": ("time", "c", "z", "y", "x")}, "TCZYX"),
    ],
)
def test_axes_of_layers(shape, look, expected):
    from napari.layers import Image

    from zsd_napari.layers import axes_of

    assert axes_of(Image(np.zeros(shape), **look)) == expected


def test_samples():
    from zsd_napari import samples

    for make, names in ((samples.plane, 3), (samples.volume, 3), (samples.raw_sim, 2)):
        layers = make()
        assert len(layers) == names
        assert layers[-1][0].dtype == np.uint16
        assert layers[0][1]["visible"] is False


def test_every_step_of_the_tutorial_has_its_picture(viewer, tmp_path, settings, monkeypatch):
    import imageio.v3 as iio

    from benchmarks.napari_tutorial import STEPS, tutorial

    def prepare(restore):
        restore.settings.value, restore.minutes.value = settings, 0

    monkeypatch.setattr("zsd_napari.samples.SIDE", 96)
    tutorial(viewer, tmp_path, prepare)
    documents = Path(__file__).parents[1] / "docs" / "napari"
    for number, step in enumerate(STEPS, 1):
        picture = iio.imread(tmp_path / f"{number:02d}-{step}.png")
        assert picture.std() > 10  # not black
        assert (documents / f"{number:02d}-{step}.png").stat().st_size < 300_000
    text = (documents.parent / "napari.md").read_text()
    assert [step for step in STEPS if f"-{step}.png" not in text] == []
