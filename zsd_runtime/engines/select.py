"""Which engine runs a model here: the best that really opens, or the one that was asked for."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from zsd_runtime.engines import Engine, EngineMissing
from zsd_runtime.errors import InputError
from zsd_runtime.memory import cuda_driver
from zsd_runtime.package import ModelDescription
from zsd_runtime.session import Session
from zsd_runtime.tiling import plan

# Best first. Measured: docs/performance.md.
CANDIDATES = (
    ("tensorrt", "cuda"),
    ("onnxruntime", "cuda"),
    ("openvino", "intel"),
    ("openvino", "cpu"),
    ("onnxruntime", "cpu"),
)
ENGINES = tuple(dict.fromkeys(engine for engine, _ in CANDIDATES))
DEVICES = tuple(dict.fromkeys(device for _, device in CANDIDATES))
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
CLASSES = {"onnxruntime": "OnnxRuntime", "openvino": "OpenVINO", "tensorrt": "TensorRT"}
INSTALL = {"onnxruntime": "zsd[cpu]", "openvino": "zsd[cpu]", "tensorrt": "zsd[tensorrt]"}
# Precisions that an engine reaches from a package of another one, by asking.
REACHED = {("openvino", "cpu"): ("fp32", "bf16"), ("openvino", "intel"): ("fp32", "fp16")}


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
        One of DEVICES, ENGINES, PRECISIONS, or "auto": the best that opens here, and the package's own precision.
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
        ("device", device, DEVICES), ("engine", engine, ENGINES), ("precision", precision, PRECISIONS)
    ):  # fmt: skip
        if value not in ("auto", *known):
            raise InputError(f"{option} {value!r} is not one of auto, {', '.join(known)}")
    asked = [c for c in CANDIDATES if engine in ("auto", c[0]) and device in ("auto", c[1])]
    if not asked:
        able = ", ".join(d for e, d in CANDIDATES if e == engine)
        raise InputError(f"engine {engine} does not run on device {device}: it runs on {able}")
    able_to = [c for c in asked if reaches(c, description.precision, precision)]
    if not able_to:
        raise InputError(
            f"the package is {description.precision}; {engine} on {device} cannot run it in {precision}: export it "
            f"again with --precision {precision}" + (", or use --engine openvino" if precision == "bf16" else "")
        )
    reasons: list[InputError] = []
    for name, where in able_to:
        try:
            opened = _open(description, name, where, precision, engines)
            if where != "cpu" and len(able_to) > 1:  # a GPU's libraries fail when they are used, not when they open
                run_smallest(opened, description)
            return opened
        except InputError as error:  # it is missing, or cannot read this graph: the next may
            reasons.append(error)
        except RuntimeError as error:
            reasons.append(EngineMissing(str(error)))
    kind = EngineMissing if all(isinstance(reason, EngineMissing) for reason in reasons) else InputError
    raise kind("; ".join(dict.fromkeys(map(str, reasons))))


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
    return packaged != "int8" and precision in REACHED.get(candidate, ())


def _open(description: ModelDescription, name: str, device: str, precision: str, engines: Path | None) -> Engine:
    if device == "cuda" and cuda_driver() is None:
        raise EngineMissing(
            f"{name} on cuda needs an NVIDIA GPU and its driver, and none is installed (nvidia-smi would show them): "
            "use --device cpu"
        )
    precision = description.precision if precision == "auto" else precision
    if device == "cpu" and precision == "fp16":
        precision = "fp32"  # CPUs compute with half weights in single precision
    try:
        module = import_module(f"zsd_runtime.engines.{name}")
    except ImportError as error:
        raise EngineMissing(f"{name} is not installed ({error}): pip install '{INSTALL[name]}'") from None
    make: Callable[..., Engine] = getattr(module, CLASSES[name])
    return make(description.weights, device, precision, **({"engines": engines} if name == "tensorrt" else {}))
