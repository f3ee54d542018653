"""Which engine runs a model here: the best one that opens, or the one that the user chose."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from zsd_runtime.engines import Engine, EngineMissing
from zsd_runtime.errors import InputError
from zsd_runtime.memory import cuda_driver
from zsd_runtime.package import ModelDescription
from zsd_runtime.session import Session
from zsd_runtime.tiling import plan

PRECISIONS = ("fp32", "bf16", "fp16", "int8")


@dataclass(frozen=True)
class EngineSpec:
    """An engine: the class `make` in the module `zsd_runtime.engines.<name>`.

    Attributes
    ----------
    name : str
    make : str
    extra : str
        What pip installs for it.
    devices : dict
        For each device that it runs on, the precisions that it reaches from a package of another one.
    prebuilt : bool
        Whether it takes engine files that were built ahead of time.
    """

    name: str
    make: str
    extra: str
    devices: dict[str, tuple[str, ...]]
    prebuilt: bool = False


# The best first, as measured: docs/performance.md. An engine of your own: a file beside this one, and a line here.
DEVICES = ("cuda", "intel", "apple", "cpu")
ENGINES = {
    spec.name: spec
    for spec in (
        EngineSpec("tensorrt", "TensorRT", "zsd[tensorrt]", {"cuda": ()}, prebuilt=True),
        EngineSpec("coreml", "CoreML", "zsd[cpu]", {"apple": ()}),
        EngineSpec("openvino", "OpenVINO", "zsd[cpu]", {"intel": ("fp32", "fp16"), "cpu": ("fp32", "bf16")}),
        EngineSpec("onnxruntime", "OnnxRuntime", "zsd[cpu]", {"cuda": (), "cpu": ()}),
    )
}
CANDIDATES = tuple((name, device) for device in DEVICES for name, spec in ENGINES.items() if device in spec.devices)
NAMES = tuple(dict.fromkeys(name for name, _ in CANDIDATES))


def open_engine(
    description: ModelDescription,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
    engines: Path | None = None,
) -> Engine:
    """Open a model's network.

    Parameters
    ----------
    description : ModelDescription
    device, engine, precision : str
        One of DEVICES, NAMES, PRECISIONS, or "auto": the best that opens here, and the package's own precision.
    engines : Path
        Folder of engine files built ahead of time.

    Raises
    ------
    InputError
        For names and combinations that do not exist.
    EngineMissing
        When none of those asked for runs here; the message has the remedy for each.
    """
    for option, value, known in (
        ("device", device, DEVICES), ("engine", engine, NAMES), ("precision", precision, PRECISIONS)
    ):  # fmt: skip
        if value not in ("auto", *known):
            raise InputError(f"{option} {value!r} is not one of auto, {', '.join(known)}")
    asked = [c for c in CANDIDATES if engine in ("auto", c[0]) and device in ("auto", c[1])]
    if not asked:
        raise InputError(f"{engine} does not run on device {device}; it runs on {', '.join(ENGINES[engine].devices)}")
    able_to = [c for c in asked if reaches(c, description.precision, precision)]
    if not able_to:
        other = ', or set `engine` to "openvino"' if precision == "bf16" else ""
        raise InputError(
            f"the package is {description.precision}; {engine} on {device} cannot run it in {precision}",
            f'export it again with `precision` "{precision}"{other}',
            option=("precision", "engine"),
        )
    reasons: list[InputError] = []
    for name, where in able_to:
        try:
            opened = _open(description, name, where, precision, engines)
            if where != "cpu" and len(able_to) > 1:  # a GPU's libraries fail in use, not at opening
                run_smallest(opened, description)
            return opened
        except InputError as error:  # missing, or it cannot read this graph; the next one may
            reasons.append(error)
        except RuntimeError as error:
            reasons.append(EngineMissing(str(error)))
    kind = EngineMissing if all(isinstance(reason, EngineMissing) for reason in reasons) else InputError
    options = tuple(option for reason in reasons for option in reason.options)
    raise kind("; ".join(dict.fromkeys(map(str, reasons))), option=options)


def run_smallest(engine: Engine, description: ModelDescription) -> None:
    """Run the smallest tile that there is; closes the engine where that fails."""
    axes = len(description.axes)
    tile = plan((1,) * axes, (1,) * axes, (0,) * axes, description.size_multiple).tile
    try:
        session = Session(description, engine, tile)
        session.batches[0][:] = 0
        engine.run(session.batches[0], session.outputs[0])
    except BaseException:
        engine.close()
        raise


def reaches(candidate: tuple[str, str], packaged: str, precision: str) -> bool:
    """Whether an engine on a device runs a package of one precision in another, or in "auto"."""
    if precision in ("auto", packaged):
        return True
    engine, device = candidate
    return packaged != "int8" and precision in ENGINES[engine].devices[device]


def _open(description: ModelDescription, name: str, device: str, precision: str, engines: Path | None) -> Engine:
    if device == "cuda" and cuda_driver() is None:
        raise EngineMissing(
            f"{name} on cuda needs an NVIDIA GPU and its driver, and none is installed (nvidia-smi would show them)",
            'set `device` to "cpu"',
            option="device",
        )
    if device == "apple" and sys.platform != "darwin":
        raise EngineMissing(
            f"{name} on apple needs a Mac with macOS, and this is {sys.platform}",
            'set `device` to "cpu"',
            option="device",
        )
    spec = ENGINES[name]
    precision = description.precision if precision == "auto" else precision
    if device == "cpu" and precision == "fp16":
        precision = "fp32"  # CPUs compute with half weights in single precision
    try:
        module = import_module(f"zsd_runtime.engines.{name}")
    except ImportError as error:
        raise EngineMissing(f"{name} is not installed ({error}): pip install '{spec.extra}'") from None
    make: Callable[..., Engine] = getattr(module, spec.make)
    return make(description.weights, device, precision, **({"engines": engines} if spec.prebuilt else {}))
