"""From packages and a microscope to restored frames: what `zsd live` does, step by step."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsd_runtime.channel_models import assigned, channel_of
from zsd_runtime.corrections.corrected import Corrections
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.files import written_whole
from zsd_runtime.images import Voxel
from zsd_runtime.live.first_frames import FirstFrames
from zsd_runtime.live.isolated import Isolated
from zsd_runtime.live.live import Live
from zsd_runtime.live.micromanager import Acquired, acquire, follow, frame_shape
from zsd_runtime.live.plan import Planned, check_stacks, raw_image
from zsd_runtime.live.recorder import Files, Recorder
from zsd_runtime.live.restorers import Restorer, open_models
from zsd_runtime.notices import Notice
from zsd_runtime.package import ModelDescription
from zsd_runtime.terminal import Bar

if TYPE_CHECKING:
    from pymmcore_plus import CMMCorePlus

RAW = {"zarr": "raw.ome.zarr", "tiff": "raw.ome.tiff"}  # the raw frames, by the format of the files
SUMMARY = "live.json"
LOOK_S = 0.1  # between looks at the counts
LINE_S = 5.0  # between lines of progress where there is no terminal

Packages = Sequence[tuple[Path, ModelDescription]]


class Incomplete(RuntimeError):
    """Something is missing: of the camera's frames, in the files, or of the results."""


def channels_of_sequence(
    plan: Planned, packages: Packages, path: Path, channel: str | None, notice: Notice
) -> dict[str, Path]:
    """The package of each channel of a sequence that is restored, as `zsd predict` chooses it; `channel` as there.

    Raises
    ------
    InputError
        When no package fits, or one cannot restore the sequence's stacks.
    """
    names = plan.channels
    image = raw_image(plan, (1, 1), "uint16", None, names)
    each = assigned([description for _, description in packages], image, path, channel, notice)
    package_of = {chosen.number: package for (package, _), many in zip(packages, each, strict=True) for chosen in many}
    restored = {name: package_of[number] for number, name in enumerate(names) if number in package_of}
    if len(packages[0][1].axes) == 3:
        check_stacks(plan, tuple(restored))
    return restored


def channel_of_stream(core: "CMMCorePlus", packages: Packages) -> Mapping[str, Path] | Path:
    """The package that restores the camera's continuous stream.

    Raises
    ------
    InputError
        When it restores volumes, or none of several is for the channel that is set.
    """
    if len(packages[0][1].axes) == 3:
        raise InputError(
            "the camera's continuous stream has no z; this model restores volumes",
            "acquire a sequence with a z_plan (`mda`), or take a 2D model", option="mda",
        )  # fmt: skip
    if len(packages) == 1:
        return packages[0][0]
    by_name = {channel_of(description) or "": package for package, description in packages}
    group = core.getChannelGroup()
    channel = core.getCurrentConfig(group) if group else ""
    if channel not in by_name:
        raise InputError(
            f"the camera's channel is {channel or 'not set'}, and the packages are for {', '.join(by_name)}"
        )
    return by_name


def open_restorer(
    packages: Mapping[str, Path] | Path, corrections: Corrections, isolate: bool, **how: str
) -> Restorer:  # fmt: skip
    """Open packages in this process, or in another one; `how` as for `load_model`."""
    make = partial(open_models, packages, corrections, **how)
    if not isolate:
        return make()
    return Isolated(make, tuple(packages) if isinstance(packages, Mapping) else None)


def files_of(
    core: "CMMCorePlus", plan: Planned, packages: Packages, restored: Mapping[str, Path], folder: Path, *, every: int,
    format: str, dtype: str,  # noqa: A002
) -> Files:  # fmt: skip
    """The files of the results, with what is known of the frames and what was done to them."""
    description = packages[0][1]
    several = next((output.name for output in description.outputs if output.channels > 1), None)
    if several:
        raise InputError(f"the model makes several channels of one ({several})", "take another model, or set `every` 0",
                         option="every")  # fmt: skip
    used = [(path, d) for path, d in packages if path in restored.values()]
    pixels, kind = frame_shape(core)
    raw = raw_image(plan, pixels, kind, core.getPixelSizeUm() or None, tuple(restored), every=every)
    processing = "; ".join(_processing(path, d) for path, d in used)
    raw = replace(raw, description=replace(raw.description, processing=processing))
    positions = {axis: n for axis, n in plan.sizes.items() if axis not in "tcz" and n}
    return Files(folder, raw, description.outputs, tuple(restored), positions, every, format, dtype)


def _processing(package: Path, description: ModelDescription) -> str:
    digest = sha256(description.weights).hexdigest()
    return f"restored live with {package.name} ({description.name}, weights sha256 {digest}) by zsd {version('zsd')}"


def warm_up(core: "CMMCorePlus", live: Live, plan: Planned | None, channels: Sequence[str], bar: Bar) -> None:
    """Prepare every shape that will come; `plan` is that of stacks, None for planes."""
    pixels, dtype = frame_shape(core)
    depths = {(key[0], n) for key, n in plan.stacks.items()} if plan else set()
    of_shape: dict[tuple[int, ...], list[str]] = {}
    for channel in channels:
        stacks: list[tuple[int, ...]] = [(n, *pixels) for name, n in sorted(depths) if name == channel]
        for shape in stacks or [pixels]:
            of_shape.setdefault(shape, []).append(channel)
    for shape, names in of_shape.items():
        bar(0, f"preparing the model for {size_text(shape)}", milestone=True)
        live.warm_up(shape, names, dtype)


def record(
    core: "CMMCorePlus", plan: Planned, live: Live, recorder: Recorder | None, folder: Path, raw: Path, volumes: bool,
    bar: Bar, first: FirstFrames,
) -> str:  # fmt: skip
    """Acquire, restore what waits, close the files, compare all counts; the last line of the command.

    Raises
    ------
    Incomplete
        When raw frames are missing, the acquisition was cancelled or failed, or images were not restored.
    InputError
        When the results cannot be written.
    """
    shown = progress(live, bar, first)
    acquired = acquire(
        core, plan, live, raw, volumes=volumes, report=lambda frames: shown(frames / plan.frames)
    )  # fmt: skip
    for text in dict.fromkeys(acquired.warnings):
        bar(1, f"warning: Micro-Manager: {text}", milestone=True)
    finish(live, bar)
    bar(1, "closing the files")
    try:
        files = recorder.close() if recorder is not None else []
    finally:
        status = live.status()
        _write_summary(folder, acquired, status)
    problems = [*acquired.problems, *mismatches(status)]
    if acquired.cancelled:
        problems.insert(0, f"the acquisition was cancelled after {acquired.frames} of {plan.frames} frames")
    if problems:
        raise Incomplete(f"{'; '.join(problems)}; what was acquired is in {folder}")
    if missed := ", ".join(f"{n} {reason}" for reason, n in status["not_kept"].items() if n):
        kept = f"{status['kept']} of {status['to_keep']} results are in the files ({missed})"
        bar(1, f"warning: {kept}: zsd predict restores all of {raw}", milestone=True)
    made = f" and their results in {len(files)} files" if files else ""
    return f"OK {acquired.frames} raw frames{made} in {folder}; {summary(status)}"


def stream(
    core: "CMMCorePlus", live: Live, frames: int | None, seconds: float | None, bar: Bar, first: FirstFrames
) -> str:
    """Restore the camera's continuous stream; the last line of the command.

    Raises
    ------
    Incomplete
        When frames could not be restored.
    """
    shown, started = progress(live, bar, first), time.monotonic()

    def report(count: int) -> None:
        elapsed = time.monotonic() - started
        shown(count / frames if frames else elapsed / seconds if seconds else 0.0)

    count = follow(core, live, frames=frames, seconds=seconds, report=report)
    finish(live, bar)
    status = live.status()
    if problems := mismatches(status):
        raise Incomplete("; ".join(problems))
    return f"OK {count} frames of the camera; {summary(status)}"


def finish(live: Live, bar: Bar) -> None:
    """Restore the frames that wait; Ctrl-C leaves them."""
    try:
        live.close(report=lambda waiting: bar(1, f"restoring {waiting} frames that wait (Ctrl-C leaves them)"))
    except KeyboardInterrupt:
        live.close(drain=False)


def mismatches(status: Mapping[str, Any]) -> list[str]:
    """What is wrong with the counts at the end."""
    found = []
    if status["seen"] != status["done"] + status["replaced"] + status["failed"]:
        counts = ", ".join(f"{name} {status[name]}" for name in ("seen", "done", "replaced", "failed"))
        found.append(f"the counts do not agree ({counts})")
    if status["failed"]:
        found.append(f"{status['failed']} of {status['seen']} images could not be restored ({status['error']})")
    if status["stacks_incomplete"]:
        found.append(f"{status['stacks_incomplete']} stacks were incomplete and are not restored")
    return found


def summary(status: Mapping[str, Any]) -> str:
    """The counts in words."""
    text = f"{status['done']} restored, {status['replaced']} replaced by newer ones, {status['failed']} failed"
    if status["latency_p50_ms"] is None:
        return text
    return f"{text}; latency {status['latency_p50_ms']:.0f} ms (p99 {status['latency_p99_ms']:.0f} ms)"


def first_frames(
    core: "CMMCorePlus", live: Live, packages: Packages, restored: Mapping[str, Path] | Path, bar: Bar
) -> FirstFrames:
    """Warns when the first frames are of another kind than those of the training."""
    described = dict(packages)
    named = restored if isinstance(restored, Mapping) else {"": restored}
    models = {channel: described[path] for channel, path in named.items()}
    voxel = Voxel.square(core.getPixelSizeUm() or None)
    return FirstFrames(live, models, voxel, lambda text: bar(0, f"warning: {text}", milestone=True))


def progress(live: Live, bar: Bar, first: FirstFrames) -> Callable[[float], None]:
    """A function that shows a share and the counts: on a terminal always, else every few seconds."""
    looked_at = printed_at = time.monotonic()

    def shown(share: float) -> None:
        nonlocal looked_at, printed_at
        if (now := time.monotonic()) - looked_at < LOOK_S:
            return
        looked_at = now
        first.look()
        status = live.status()
        rate = f", {status['camera_fps']:.1f}/s" if status["camera_fps"] else ""
        line = now - printed_at > LINE_S
        bar(min(share, 1.0), f"{status['frames']} frames{rate}: {summary(status)}", milestone=line)
        printed_at = now if line else printed_at

    return shown


def _write_summary(folder: Path, acquired: Acquired, status: Mapping[str, Any]) -> None:
    with written_whole(folder / SUMMARY) as temporary:
        temporary.write_text(json.dumps({"zsd": version("zsd"), "acquired": asdict(acquired), **status}, indent=1))
