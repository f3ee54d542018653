"""A model repository for NVIDIA Triton: one graph that does everything, its configuration, and a client."""

import json
import re
from importlib.resources import files
from pathlib import Path

import onnx as onnx_module

from zsd_export.graph.whole import whole_graph
from zsd_export.package.contents import Contents
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.files import written_whole

TYPES = {"float32": "TYPE_FP32", "uint16": "TYPE_UINT16"}
MOST_PLANES = 8  # in a batch; their memory adds up
QUEUE_US = 5000  # that a plane waits for others: shorter than restoring one takes
README, CLIENT, CONFIG, GRAPH = "README.md", "client.py", "config.pbtxt", "model.onnx"


def write_repository(path: Path, contents: Contents, onnx: bytes) -> None:
    """Write a model repository, whole or not at all.

    Parameters
    ----------
    path : Path
        A folder.
    contents : Contents
    onnx : bytes
        The graph of `contents`.

    Raises
    ------
    InputError
        When the graph cannot do alone what zsd does for it, or the folder cannot be written to.
    """
    if contents.sim:
        raise InputError(
            "structured illumination is reconstructed before the network, which a server of graphs does not do",
            "use zsd serve or zsd predict",
        )
    tensors = (contents.input, contents.outputs)
    graph = whole_graph(onnx, tensors, contents.size_multiple, contents.halo.pixels, contents.zero_margin)
    name = model_name(contents.credits.name)
    with written_whole(path) as folder:
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "1" / GRAPH).write_bytes(graph)
        onnx_module.checker.check_model(str(folder / name / "1" / GRAPH))
        (folder / name / CONFIG).write_text(config(name, contents), "utf-8")
        (folder / README).write_text(_readme(name, contents), "utf-8")
        client = files("zsd_export").joinpath("static", "triton_client.py").read_text("utf-8")
        (folder / CLIENT).write_text(client.replace('MODEL = "model"', f"MODEL = {json.dumps(name)}"), "utf-8")


def model_name(name: str) -> str:
    """The name of a folder and of an address."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "zsd"


def no_repository(path: Path) -> str:
    """Why a folder must not be replaced by a repository; empty if it may."""
    if not path.is_dir():
        return "it is a file, and a model repository is a folder"
    found = {file.name for file in path.iterdir()} - {README, CLIENT}
    models = [name for name in found if (path / name / CONFIG).is_file()]
    if len(models) != 1 or len(found) > 1:
        return "it is no model repository with one model of zsd"
    return ""


def config(name: str, contents: Contents) -> str:
    """The configuration of the model, as protobuf text."""
    planes = len(contents.axes) == 2

    def tensor(tensor_name: str, channels: int, dtype: str) -> str:
        dims = ", ".join(["-1"] * len(contents.axes))
        return f'  {{ name: "{tensor_name}" data_type: {TYPES[dtype]} dims: [ {channels}, {dims} ] }}'

    lines = [
        f"# {contents.credits.name}: camera counts of any size in, {contents.units} out. Axes: batch, channel, "
        + ", ".join(contents.axes.upper()),
        f'name: "{name}"',
        'backend: "onnxruntime"',
        f"max_batch_size: {MOST_PLANES if planes else 1}",
        "input [", tensor(contents.input.name, contents.input.channels, contents.input.dtype), "]",
        "output [", ",\n".join(tensor(o.name, o.channels, o.dtype) for o in contents.outputs), "]",
    ]  # fmt: skip
    if planes:
        lines += [
            "# Planes of one size that arrive together are restored together.",
            f"dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_US} }}",
        ]
    lines += ["# On a GPU if there is one, else on the CPU.", "instance_group [ { count: 1 kind: KIND_AUTO } ]"]
    return "\n".join(lines) + "\n"


def _readme(name: str, c: Contents) -> str:
    """How to start the server and what it gives."""
    outputs = "\n".join(
        f"- `{o.name}`: {o.dtype} {c.units}, {size_text(o.scale)} pixels for each of the image" for o in c.outputs
    )
    megabytes = "" if c.bytes_per_voxel is None else (
        f" An image takes about {c.bytes_per_voxel:.0f} bytes of memory for each of its pixels; "
        f"{MOST_PLANES if len(c.axes) == 2 else 1} at a time."
    )  # fmt: skip
    return f"""# {c.credits.name} for NVIDIA Triton

{c.summary}

    docker run --rm --gpus all -p 8000:8000 -v "$PWD:/models" nvcr.io/nvidia/tritonserver:<release>-py3 \\
        tritonserver --model-repository=/models
    python client.py image.tif --url http://localhost:8000 --out restored

Without a GPU leave out `--gpus all`. Take a release with the ONNX Runtime backend; this graph has opset 17. The model
is `{name}`. To add it to a repository that you have, copy its folder there.

- `{c.input.name}`: {c.input.dtype} camera counts, axes N, C, {", ".join(c.axes.upper())}, any size. Normalisation and
  padding are in the graph.
{outputs}

The server restores an image as one tile, so it must fit into memory.{megabytes} Hot pixels stay: `zsd predict` and
`zsd serve` remove them. {c.intensities[:1].upper()}{c.intensities[1:]}.

{c.origin}
"""
