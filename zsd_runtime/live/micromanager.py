"""Micro-Manager through pymmcore-plus: what zsd uses of its interface, still in motion, is used here and in `core`."""

import gc
import importlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from zsd_runtime.errors import InputError
from zsd_runtime.live.core import draining_core
from zsd_runtime.live.live import Live
from zsd_runtime.live.plan import INSTALL, Planned, channel_of, extra_missing, index_of, stack_of

if TYPE_CHECKING:
    from pymmcore_plus import CMMCorePlus
    from useq import MDAEvent

POLL_S = 0.1  # between looks at an acquisition
LEAST_POLL_S = 0.001  # between looks at a camera's last frame


@dataclass(frozen=True)
class Acquired:
    """What became of an acquisition.

    Attributes
    ----------
    frames : int
        That the camera gave.
    seconds : float
        From the first to the last.
    cancelled : bool
    problems : tuple of str
        Why the files may not be complete; none if all is well.
    warnings : tuple of str
        Of pymmcore-plus.
    """

    frames: int
    seconds: float
    cancelled: bool
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@contextmanager
def microscope(config: Path | None = None) -> Iterator["CMMCorePlus"]:
    """A microscope by its Micro-Manager configuration file; without one, the demo camera.

    Raises
    ------
    EngineMissing
        When pymmcore-plus is not installed.
    InputError
        When the file is missing or cannot be loaded, or there is no camera.
    """
    if config is not None and not config.is_file():
        raise InputError(f"{config} is not a file", "give a Micro-Manager configuration, .cfg", option="config")
    try:
        core = draining_core()
    except ImportError as error:
        raise extra_missing(error) from None
    try:
        try:
            core.loadSystemConfiguration(*([] if config is None else [str(config)]))
        except (RuntimeError, OSError) as error:
            raise InputError(
                f"{config or 'the demo configuration'} cannot be loaded ({_one_line(error)})",
                f"try it in Micro-Manager, or install the demo devices: {INSTALL}",
            ) from None
        if not core.getCameraDevice():
            raise InputError(f"{config} has no camera", "choose one in Micro-Manager's hardware wizard")
        yield core
    finally:
        # Otherwise the process may abort when it ends, even after success.
        core.reset()
        del core
        gc.collect()


def frame_shape(core: "CMMCorePlus") -> tuple[tuple[int, int], str]:
    """Shape (Y, X) and dtype of the camera's frames.

    Raises
    ------
    InputError
        When they are in colour, or several cameras take a frame at once.
    """
    if (cameras := core.getNumberOfCameraChannels()) > 1:
        raise InputError(f"the camera is {cameras} cameras in one", "choose one of them in the configuration")
    if core.getNumberOfComponents() > 1:
        raise InputError("the camera makes colour images", "set its pixel type to one of grey values")
    return (core.getImageHeight(), core.getImageWidth()), f"uint{8 * core.getBytesPerPixel()}"


def check_channels(core: "CMMCorePlus", plan: Planned) -> None:
    """Refuse a sequence whose channels the microscope does not have.

    Raises
    ------
    InputError
        With the channels that it has.
    """
    for channel in plan.sequence.channels:
        presets = core.getAvailableConfigs(channel.group) if channel.group in core.getAvailableConfigGroups() else ()
        if channel.config not in presets:
            raise InputError(
                f"the sequence's channel {channel.config} is not in the microscope's group {channel.group}",
                f"it has {', '.join(presets) or 'none'}",
            )


class _Handler:
    """Hands frames to `Live`. It never raises: pymmcore-plus would stop calling it without a word."""

    def __init__(self, live: Live, plan: Planned, volumes: bool) -> None:
        self.live, self.plan, self.volumes = live, plan, volumes
        self.frames = self.blank = 0
        self.error = ""

    def frameReady(self, image: Any, event: "MDAEvent", meta: dict[str, Any]) -> None:  # noqa: N802
        self.frames += 1
        try:
            self.blank += not (image[:1].any() or image.any())  # one row says it of nearly every frame
            channel, index = channel_of(event), index_of(event)
            stack = {"z": index.pop("z", 0), "slices": self.plan.stacks.get(stack_of(event), 1)} if self.volumes else {}
            self.live.put(image, channel, index=index, details=_details(meta), **stack)
        except Exception as error:  # told at the end
            self.error = self.error or _one_line(error)


class _Camera:
    """Counts frames in the camera's thread, each after the runner has given it to its file."""

    def __init__(self) -> None:
        self.frames, self.first_s, self.last_s = 0, 0.0, 0.0

    def arrived(self, *_: Any) -> None:
        self.last_s = time.perf_counter()
        self.first_s = self.first_s or self.last_s
        self.frames += 1


def _connect(signal: Any, slot: Callable[..., None]) -> None:
    """So that the slot runs in the thread that emits.

    In a process with a Qt application pymmcore-plus has Qt's signals, which otherwise wait for an event loop.
    """
    binding = type(signal).__module__.partition(".")[0]
    if binding.startswith(("PyQt", "PySide")):
        qt = importlib.import_module(f"{binding}.QtCore").Qt
        signal.connect(slot, qt.ConnectionType.DirectConnection)
    else:
        signal.connect(slot)


def acquire(
    core: "CMMCorePlus", plan: Planned, live: Live, raw: Path, *, volumes: bool = False,
    report: Callable[[int], None] = lambda frames: None,
) -> Acquired:  # fmt: skip
    """Run a sequence: the runner writes raw frames to `raw` first, then they go to `live`.

    Ctrl-C stops the acquisition; what was acquired stays. It does not raise: `Acquired` has the problems.

    Parameters
    ----------
    core : CMMCorePlus
    plan : Planned
    live : Live
    raw : Path
        OME-Zarr or OME-TIFF, by its name.
    volumes : bool
        Whether the model restores stacks.
    report : callable
        Called with the number of frames so far, ten times a second.
    """
    handler, camera = _Handler(live, plan, volumes), _Camera()
    failures: list[str] = []
    ended = threading.Event()  # not the thread's end: Ctrl-C in `Thread.join` makes a running thread look dead

    def run() -> None:
        try:
            core.mda.run(plan.sequence, output=[str(raw), cast(Any, handler)])
        except Exception as error:  # of devices, and of the file
            failures.append(f"the acquisition failed ({_one_line(error)})")
        finally:
            ended.set()

    _connect(core.mda.events.frameReady, camera.arrived)
    try:
        with _logged() as (errors, warnings):
            threading.Thread(target=run, name="zsd acquisition", daemon=True).start()
            while not ended.is_set():
                try:
                    ended.wait(POLL_S)
                    report(camera.frames)
                except KeyboardInterrupt:
                    core.mda.cancel()
    finally:
        core.mda.events.frameReady.disconnect(camera.arrived)
    live.cancel()  # stacks whose slices will not come
    reason = str(core.mda.status.finish_reason)
    problems = failures + errors
    if not problems and reason != "canceled":
        if reason != "completed":
            problems.append(f"the acquisition ended as {reason}")
        if camera.frames != plan.frames:
            problems.append(f"{camera.frames} of {plan.frames} frames came from the camera")
    if handler.frames != camera.frames:
        problems.append(f"{handler.frames} of {camera.frames} frames reached the restoration")
    if handler.error:
        problems.append(f"the restoration refused a frame ({handler.error})")
    if (stored := stored_frames(raw)) + handler.blank < camera.frames:  # frames of zeros are not stored
        problems.append(f"{raw} holds {stored} of {camera.frames} frames")
    seconds = camera.last_s - camera.first_s
    return Acquired(camera.frames, seconds, reason == "canceled", tuple(problems), tuple(warnings))


def follow(
    core: "CMMCorePlus", live: Live, *, frames: int | None = None, seconds: float | None = None,
    report: Callable[[int], None] = lambda frames: None,
) -> int:  # fmt: skip
    """Hand the newest frames of the camera's continuous stream to `live`, until Ctrl-C; how many these were.

    Raises
    ------
    RuntimeError
        When the camera stops by itself.
    """
    group = core.getChannelGroup()
    channel = core.getCurrentConfig(group) if group else ""
    exposure_ms = core.getExposure()
    details = {"pixel_size_um": core.getPixelSizeUm() or None, "exposure_ms": exposure_ms}
    pause_s = max(LEAST_POLL_S, min(exposure_ms / 4000, 5 * LEAST_POLL_S))
    last, count, end_s = None, 0, time.monotonic() + (seconds or float("inf"))
    core.startContinuousSequenceAcquisition()
    try:
        while (frames is None or count < frames) and time.monotonic() < end_s:
            if not core.isSequenceRunning():
                raise RuntimeError(f"the camera stopped after {count} frames")
            try:
                image, meta = core.getLastImageAndMD()
            except IndexError:  # none yet
                time.sleep(pause_s)
                continue
            number = meta.get("ImageNumber")
            if number is not None and number == last:
                time.sleep(pause_s)
                continue
            last, count = number, count + 1
            live.put(image, channel, details=details | {"camera_frame": number})
            report(count)
    except KeyboardInterrupt:
        pass
    finally:
        core.stopSequenceAcquisition()
    return count


def stored_frames(raw: Path) -> int:
    """Planes that are really in the file or the folder that an acquisition wrote: its shape is set beforehand."""
    if raw.suffix == ".zarr":
        return sum(len(files) for folder, _, files in os.walk(raw) if "c" in Path(folder).relative_to(raw).parts)
    import tifffile

    folder = raw.with_name(raw.name.removesuffix(".ome.tiff"))  # several positions have a file each
    files = [raw] if raw.is_file() else sorted(folder.glob("*.tiff"))
    count = 0
    for path in files:
        with tifffile.TiffFile(path) as tiff:
            count += len(tiff.pages)
    return count


@contextmanager
def _logged() -> Iterator[tuple[list[str], list[str]]]:
    """Errors and warnings that pymmcore-plus only logs, such as those of closing a file."""
    errors: list[str] = []
    warnings: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage().split("\n")[0]
            if not text.startswith("MDA "):  # it was cancelled: known
                (errors if record.levelno >= logging.ERROR else warnings).append(text)

    handler, logger = Collect(logging.WARNING), logging.getLogger("pymmcore-plus")
    others, logger.handlers = logger.handlers, [handler]
    try:
        yield errors, warnings
    finally:
        logger.handlers = others


def _details(meta: dict[str, Any]) -> dict[str, Any]:
    known = ("pixel_size_um", "exposure_ms", "runner_time_ms", "images_remaining_in_buffer")
    return {name: meta[name] for name in known if name in meta}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
