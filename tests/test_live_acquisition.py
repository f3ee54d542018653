"""Acquisitions with Micro-Manager's demo camera: all raw frames, in the file and in the restoration."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import urllib.request
import zipfile
import zlib
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.command import zsd
from tests.live_fakes import FakeRestorer, agrees
from zsd import main
from zsd_runtime import InputError, load_model
from zsd_runtime.engines import EngineMissing
from zsd_runtime.images import open_image, read_box, read_image
from zsd_runtime.live import Live
from zsd_runtime.live import plan as plan_module
from zsd_runtime.live.micromanager import acquire, follow, microscope, stored_frames
from zsd_runtime.live.plan import check_stacks, planned

useq = pytest.importorskip("useq")
pytest.importorskip("pymmcore_plus")
PACKAGES = Path(__file__).parent / "fixtures" / "schema-1"
SIZE = 64
EVERYTHING = {
    "time_plan": {"interval": 0, "loops": 2}, "stage_positions": [{"x": 0, "y": 0}, {"x": 10, "y": 0}],
    "channels": ["DAPI", "FITC"], "z_plan": {"range": 4, "step": 2},
}  # fmt: skip


@pytest.fixture
def core(monkeypatch):
    monkeypatch.setenv("PYMM_SIGNALS_BACKEND", "psygnal")  # also if another test left a Qt application
    with microscope() as core:
        core.setProperty("Camera", "OnCameraCCDXSize", str(SIZE))
        core.setProperty("Camera", "OnCameraCCDYSize", str(SIZE))
        core.setExposure(1)
        yield core


def sums(core):
    """A list that gets the checksum of every frame of the camera."""
    found = []
    core.mda.events.frameReady.connect(noted := lambda image, event, meta: found.append(zlib.crc32(image)))
    return found, noted  # the signal holds it weakly


def times(loops):
    return planned(useq.MDASequence(time_plan={"interval": 0, "loops": loops}))


WITH_QT = """
import sys
from pathlib import Path
from PyQt6.QtWidgets import QApplication
from tests.live_fakes import FakeRestorer
from tests.test_live_acquisition import times
from zsd_runtime.live import Live
from zsd_runtime.live.micromanager import acquire, microscope

application = QApplication([])
with microscope() as core, Live(FakeRestorer(fails=lambda image: False)) as live:
    assert type(core.mda.events.frameReady).__module__ == "PyQt6.QtCore"
    acquired = acquire(core, times(5), live, Path(sys.argv[1]))
print(acquired.frames, acquired.problems)
"""


def test_frames_are_counted_beside_a_qt_application(tmp_path):
    """As in napari, whose event loop does not run meanwhile."""
    pytest.importorskip("PyQt6.QtWidgets", exc_type=ImportError)
    done = subprocess.run(
        [sys.executable, "-c", WITH_QT, tmp_path / "raw.ome.zarr"], capture_output=True, text=True, check=False,
        env=os.environ | {"QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1:] == ["5 ()"], done.stderr


@pytest.mark.parametrize("name", ["raw.ome.zarr", "raw.ome.tiff"])
def test_every_raw_frame_is_in_the_file_and_seen(core, tmp_path, name):
    plan, model = times(12), FakeRestorer(fails=lambda image: True)
    expected, _noted = sums(core)
    with Live(model) as live:
        acquired = acquire(core, plan, live, tmp_path / name)
    status = live.status()
    assert (acquired.frames, acquired.problems, acquired.cancelled) == (12, (), False)
    assert (status["frames"], status["seen"], status["done"]) == (12, 12, 0)
    assert agrees(status)
    raw = open_image(tmp_path / name)
    assert raw.data.shape == (12, SIZE, SIZE)
    assert [zlib.crc32(read_box(raw.data, (t, slice(0, SIZE), slice(0, SIZE)))) for t in range(12)] == expected
    assert len(set(expected)) > 1  # the camera has content
    assert {"pixel_size_um", "exposure_ms", "index"} <= set(live.latest().details)


def test_stacks_of_channels_and_positions(core, tmp_path):
    plan = planned(useq.MDASequence(**EVERYTHING))
    assert (plan.frames, plan.channels, set(plan.stacks.values())) == (24, ("DAPI", "FITC"), {3})
    check_stacks(plan, plan.channels)
    stacks = []

    class Sees(FakeRestorer):
        def restore(self, image, channel):
            stacks.append((channel, image.shape))
            return super().restore(image, channel)

    class Everything:
        wants = staticmethod(lambda channel, index: True)
        put = staticmethod(lambda frame, outputs: None)
        status = staticmethod(dict)

    with Live(Sees(), sink=Everything()) as live:
        acquired = acquire(core, plan, live, tmp_path / "raw.ome.zarr", volumes=True)
    assert acquired.problems == ()
    status = live.status()
    assert (status["frames"], status["seen"], status["done"], status["stacks_incomplete"]) == (24, 8, 8, 0)
    assert sorted(stacks) == [(channel, (3, SIZE, SIZE)) for channel in ("DAPI", "FITC") for _ in range(4)]
    assert stored_frames(tmp_path / "raw.ome.zarr") == 24


def test_a_cancelled_acquisition_keeps_what_it_has(core, tmp_path):
    plan = planned(useq.MDASequence(time_plan={"interval": 0, "loops": 400}, z_plan={"range": 4, "step": 2}))
    with Live(FakeRestorer()) as live:
        acquired = acquire(
            core, plan, live, tmp_path / "raw.ome.zarr", volumes=True,
            report=lambda frames: core.mda.cancel() if frames else None,
        )  # fmt: skip
    status = live.status()
    assert acquired.cancelled
    assert acquired.problems == ()
    assert 0 < acquired.frames < plan.frames
    assert stored_frames(tmp_path / "raw.ome.zarr") == acquired.frames == status["frames"]
    assert status["seen"] == acquired.frames // 3
    assert status["stacks_incomplete"] == (acquired.frames % 3 > 0)


def test_ctrl_c_cancels(core, tmp_path):
    plan = planned(useq.MDASequence(time_plan={"interval": 0.05, "loops": 4000}))

    def interrupt(frames):
        if frames:
            os.kill(os.getpid(), signal.SIGINT)

    with Live(FakeRestorer()) as live:
        acquired = acquire(core, plan, live, tmp_path / "raw.ome.zarr", report=interrupt)
    assert acquired.cancelled
    assert acquired.frames == live.status()["frames"] == stored_frames(tmp_path / "raw.ome.zarr")


def test_what_pymmcore_plus_only_logs_is_a_problem(core, tmp_path):
    plan = times(4)
    logger = logging.getLogger("pymmcore-plus")
    told = iter(["Error closing data sink: disk full"])
    with Live(FakeRestorer()) as live:
        acquired = acquire(
            core, plan, live, tmp_path / "raw.ome.zarr", report=lambda frames: [logger.error(text) for text in told]
        )
    assert acquired.problems == ("Error closing data sink: disk full",)


def test_planes_that_are_missing_on_the_disk_are_a_problem(core, tmp_path, monkeypatch):
    from ome_writers import OMEStream

    close = OMEStream.close

    def lossy(self):
        close(self)
        (tmp_path / "raw.ome.zarr" / "0" / "c" / "2" / "0" / "0").unlink()

    monkeypatch.setattr(OMEStream, "close", lossy)
    with Live(FakeRestorer()) as live:
        acquired = acquire(core, times(4), live, tmp_path / "raw.ome.zarr")
    assert acquired.problems == (f"{tmp_path / 'raw.ome.zarr'} holds 3 of 4 frames",)


def test_frames_of_zeros_are_not_stored_and_no_problem(core, tmp_path):
    core.setProperty("Camera", "FastImage", "1")  # its frames are empty
    with Live(FakeRestorer()) as live:
        acquired = acquire(core, times(4), live, tmp_path / "raw.ome.zarr")
    assert acquired.frames == 4
    assert acquired.problems == ()
    assert stored_frames(tmp_path / "raw.ome.zarr") == 0
    assert not live.latest().raw.any()


def test_a_failing_camera_is_a_problem(core, tmp_path, monkeypatch):
    def broken(_):
        raise RuntimeError("the shutter is stuck")

    monkeypatch.setattr(core.mda.engine, "setup_event", broken)
    with Live(FakeRestorer()) as live:
        acquired = acquire(core, times(4), live, tmp_path / "raw.ome.zarr")
    assert acquired.problems == ("the acquisition failed (the shutter is stuck)",)
    assert not acquired.cancelled


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_last_frame_that_arrives_while_the_engine_looks_away_is_not_lost(core, tmp_path, monkeypatch, cancelled):
    """After it looked into the buffer, before it asks whether the camera runs."""
    looks = []

    def remaining():
        looks.append(type(core).getRemainingImageCount(core))
        if looks[-1] == 0 and not any(looks):  # the first look is as early
            while super(type(core), core).isSequenceRunning():
                pass
        return looks[-1]

    monkeypatch.setattr(core, "getRemainingImageCount", remaining)
    core.setExposure(30)
    with Live(FakeRestorer()) as live:
        if cancelled:
            core.mda.events.frameReady.connect(cancel := lambda *_: core.mda.cancel())
            acquired = acquire(core, times(5), live, tmp_path / "raw.ome.zarr")
            assert acquired.cancelled
            assert acquired.frames < 5
            core.mda.events.frameReady.disconnect(cancel)
        acquired = acquire(core, times(5), live, tmp_path / "again.ome.zarr")
    assert acquired.problems == ()
    assert acquired.frames == stored_frames(tmp_path / "again.ome.zarr") == 5


def test_a_handler_never_raises(core, tmp_path):
    live = Live(FakeRestorer())
    live.close()
    acquired = acquire(core, times(5), live, tmp_path / "raw.ome.zarr")
    assert acquired.frames == 5
    assert stored_frames(tmp_path / "raw.ome.zarr") == 5
    assert acquired.problems == ("the restoration refused a frame (the live restoration has ended: start another one)",)


def test_the_continuous_stream_gives_each_frame_once(core):
    images = []

    class Sees(FakeRestorer):
        def restore(self, image, channel):
            images.append(zlib.crc32(image))
            return super().restore(image, channel)

    with Live(Sees()) as live:
        assert follow(core, live, frames=15) == 15
    status = live.status()
    assert agrees(status)
    assert status["frames"] == 15
    assert not core.isSequenceRunning()
    numbers = live.latest().details["camera_frame"]
    assert int(numbers) >= 14


def test_the_continuous_stream_ends_with_ctrl_c(core):
    def interrupt(frames):
        if frames == 3:
            raise KeyboardInterrupt

    with Live(FakeRestorer()) as live:
        assert follow(core, live, report=interrupt) == 3
    assert not core.isSequenceRunning()


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        ({"time_plan": {"interval": 0, "loops": 3}}, "no z; this model restores volumes"),
        (
            {"channels": ["DAPI", {"config": "FITC", "do_stack": False}], "z_plan": {"range": 4, "step": 2}},
            "no z in channel FITC",
        ),
        ({**EVERYTHING, "axis_order": "ztpc"}, "z slower than t, p"),
    ],
)
def test_sequences_that_make_no_stacks(sequence, message):
    plan = planned(useq.MDASequence(**sequence))
    with pytest.raises(InputError, match=message):
        check_stacks(plan, plan.channels)
    if "FITC" in message:
        check_stacks(plan, ("DAPI",))  # FITC is not restored


def test_without_the_extra_the_install_line_is_told(monkeypatch, tmp_path):
    for library in ("pymmcore_plus", "useq"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(EngineMissing, match=r"pip install 'zsd\[live\]'"), microscope():
        pass
    with pytest.raises(EngineMissing, match=r"pip install 'zsd\[live\]'"):
        plan_module.read_sequence(tmp_path / "sequence.yaml")


BAD = [
    (["--config", "nowhere.cfg"], "nowhere.cfg is not a file"),
    (["--config", "empty.cfg"], "empty.cfg has no camera"),
    (["--mda", "nowhere.yaml", "--save", "new"], "nowhere.yaml cannot be read"),
    (["--mda", "bad.yaml", "--save", "new"], "bad.yaml is not a sequence of useq-schema (time_plan: "),
    (["--mda", "empty.yaml", "--save", "new"], "makes no frames"),
    (["--mda", "unknown.yaml", "--save", "new"], "channel nope is not in the microscope's group Channel: it has Cy5"),
    (["--mda", "times.yaml"], "--mda needs --save"),
    (["--mda", "times.yaml", "--save", "full"], "full is there already"),
    (["--mda", "times.yaml", "--save", "new", "--frames", "3"], "--frames"),
    (["--mda", "times.yaml", "--save", "new", "--channel", "GFP"], "no channel 'GFP'"),
    (["--save", "new"], "--save needs --mda"),
    (["--seconds", "0"], "--seconds 0 must be above 0"),
    (["--channel", "GFP"], "--channel needs --mda"),
    (["--queue", "inf"], "--queue inf must be above 0"),
    (["--format", "png"], "--format png"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for name, text in [
        ("empty.cfg", "# nothing"), ("bad.yaml", "time_plan: 7"), ("empty.yaml", "{}"),
        ("unknown.yaml", "channels: [nope]"), ("times.yaml", "time_plan: {interval: 0, loops: 3}"),
    ]:  # fmt: skip
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(("options", "message"), BAD)
def test_wrong_input_is_told_in_one_line_before_anything_runs(folder, options, message):
    result = zsd("live", PACKAGES / "plane.zip", *options)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert len([line for line in result.stderr.splitlines() if not line.startswith("notice")]) == 1
    assert not (folder / "new").exists()


@pytest.mark.usefixtures("folder")
def test_volumes_need_z():
    for options in ([], ["--mda", "times.yaml", "--save", "new"]):
        result = zsd("live", PACKAGES / "volume.zip", *options)
        assert result.returncode == 2
        assert "no z" in result.stderr


def small_camera(path):
    """The demo configuration with a small chip."""
    from pymmcore_plus import find_micromanager

    demo = (Path(find_micromanager()) / "MMConfig_demo.cfg").read_text().splitlines()
    at = next(n for n, line in enumerate(demo) if line.startswith("Property,Core,Initialize,1"))
    size = [f"Property,Camera,OnCameraCCD{axis}Size,{SIZE}" for axis in "XY"]
    path.write_text("\n".join([*demo[: at + 1], *size, *demo[at + 1 :]]))
    return path


def test_an_acquisition_from_the_command_line(folder):
    config = small_camera(folder / "small.cfg")
    sequence = {**EVERYTHING, "channels": ["FITC"], "z_plan": None}
    (folder / "all.yaml").write_text(yaml.safe_dump(sequence))
    program = "import zsd; zsd.main()"
    arguments = ["live", PACKAGES / "plane.zip", "--config", config, "--mda", "all.yaml", "--save", "saved", "--engine",
                 "onnxruntime", "--isolate"]  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr  # and no abort at the end
    assert result.stdout.startswith("OK 4 raw frames and their results in 4 files in saved; 4 restored, 0 replaced")
    summary = json.loads((folder / "saved" / "live.json").read_text())
    assert (summary["seen"], summary["kept"], summary["acquired"]["problems"]) == (4, 4, [])
    model = load_model(PACKAGES / "plane.zip", engine="onnxruntime")
    for p in range(2):
        raw = read_image(folder / "saved" / "raw.ome.zarr", series=p)
        for name in ("denoised", "deconvolved"):
            path = folder / "saved" / f"{name}_p{p}.ome.zarr"
            restored = read_image(path)
            assert [c.name for c in restored.description.channels] == ["FITC"]
            for t in range(2):
                assert (restored.data[t, 0] == model.predict(raw.data[t, 0])[name]).all()
            described = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]["multiscales"][0]
            assert "plane.zip" in described["metadata"]["description"]
            assert "sha256" in described["metadata"]["description"]


def test_images_that_fail_are_told_and_the_raw_frames_are_there(folder, monkeypatch):
    from zsd_runtime.live.restorers import Models

    def fails(*_):
        raise RuntimeError("no luck")

    monkeypatch.setattr(Models, "prepare", lambda *_: {})
    monkeypatch.setattr(Models, "restore", fails)
    config = small_camera(folder / "small.cfg")
    arguments = ("--config", config, "--mda", "times.yaml", "--save", "saved", "--quiet")
    result = zsd("live", PACKAGES / "plane.zip", *arguments)
    assert result.returncode == 1
    assert result.stdout == (
        "ERROR Incomplete: 3 of 3 images could not be restored (no luck); what was acquired is in saved\n"
    )
    assert stored_frames(folder / "saved" / "raw.ome.zarr") == 3


def test_the_stream_from_the_command_line(folder):
    config = small_camera(folder / "small.cfg")
    result = zsd("live", PACKAGES / "plane.zip", "--config", config, "--frames", 5, "--exposure", 5)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("OK 5 frames of the camera; ")


def package_for(path, channel):
    """The package, as if it had been trained on a channel."""
    with zipfile.ZipFile(PACKAGES / "plane.zip") as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "rdf.yaml":
                rdf = yaml.safe_load(data)
                rdf["config"]["zsd"]["channel"] = channel
                data = yaml.safe_dump(rdf).encode()
            target.writestr(name, data)


def test_each_channel_is_restored_by_its_own_package(folder):
    (folder / "packages").mkdir()
    for channel in ("DAPI", "FITC"):
        package_for(folder / "packages" / f"{channel}.zip", channel)
    (folder / "channels.yaml").write_text("channels: [FITC, Cy5, DAPI]\ntime_plan: {interval: 0, loops: 3}")
    config = small_camera(folder / "small.cfg")
    arguments = ("--config", config, "--mda", "channels.yaml", "--save", "saved", "--every", 2, "--format", "tiff")
    result = zsd("live", "packages", *arguments)
    assert result.returncode == 0, result.stderr
    assert "there is no package for Cy5 (1): not restored" in result.stderr
    summary = json.loads((folder / "saved" / "live.json").read_text())
    assert (summary["frames"], summary["seen"], summary["unassigned"]) == (9, 6, 3)
    assert (summary["to_keep"], summary["kept"]) == (4, 4)
    raw, restored = (read_image(folder / "saved" / name) for name in ("raw.ome.tiff", "denoised.ome.tif"))
    assert (raw.data.shape, restored.data.shape) == ((3, 3, SIZE, SIZE), (2, 2, SIZE, SIZE))
    assert [c.name for c in restored.description.channels] == ["FITC", "DAPI"]
    assert all(f"{name}.zip" in restored.description.text for name in ("FITC", "DAPI"))
    model = load_model(PACKAGES / "plane.zip")
    for c, channel in enumerate((0, 2)):
        for t in range(2):
            assert np.abs(restored.data[t, c] - model.predict(raw.data[2 * t, channel]).denoised).max() < 1e-3
    stream = zsd("live", "packages", "--config", config, "--frames", 3)
    assert stream.returncode == 0, stream.stderr  # the channel that is set is DAPI
    package_for(folder / "packages" / "DAPI.zip", "Rhodamine")
    stream = zsd("live", "packages", "--config", config, "--frames", 3)
    assert stream.returncode == 2
    assert "the camera's channel is DAPI, and the packages are for " in stream.stderr


def test_the_page_is_served_while_the_camera_runs(folder, monkeypatch):
    """The address is printed before the first frame; whoever has it sees the page."""
    from zsd_runtime.live import run

    pages = []

    def visited(*arguments):
        address = next(line for line in printed.getvalue().splitlines() if line.startswith("page: "))[6:]
        with urllib.request.urlopen(address, timeout=60) as page:
            pages.append((page.status, page.read()))
        return stream(*arguments)

    stream, printed = run.stream, io.StringIO()
    monkeypatch.setattr(run, "stream", visited)
    monkeypatch.setattr(sys, "argv", ["zsd", "live", str(PACKAGES / "plane.zip"), "--config",
                                      str(small_camera(folder / "small.cfg")), "--frames", "3", "--page"])  # fmt: skip
    before = signal.getsignal(signal.SIGTERM)  # the command's own handler is for its process
    try:
        with redirect_stderr(printed), pytest.raises(SystemExit) as ended:
            main()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not ended.value.code
    assert pages[0][0] == 200
    assert b"<html" in pages[0][1]
